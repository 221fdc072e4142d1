"""Is inpainting worth it? Errors with some joints known, beside those of the image alone."""

from typing import NamedTuple

import torch

from di2pose_lib.base.metrics import joint_errors_mm
from di2pose_lib.base.seeding import seed_for
from di2pose_lib.base.skeleton import JOINT_NAMES
from di2pose_lib.diffusion.inpainting import inpaint
from di2pose_lib.encoder.training import encode_images
from di2pose_lib.evaluation.conditions import condition_of, result_row
from di2pose_lib.evaluation.estimators import CHAIN, CHAIN_STEPS
from di2pose_lib.evaluation.measure import DI2POSE

IMAGES = 120  # of a split, at most, evenly spaced
LEGS = ("hip", "knee", "ankle")

# What is known, and in which split's images: both legs in clean ones, or all joints that an
# image with an occluder shows.
LEGS_KNOWN, VISIBLE = "both legs", "visible joints"
CASES = {LEGS_KNOWN: "test", VISIBLE: "test_occluded"}

SAMPLE, INPAINTED, TOKENIZER = CHAIN, "inpainted", "tokenizer"
WORSE_THAN_TOKENIZER = f"{INPAINTED} − {TOKENIZER}"  # at the known joints
WORSE_THAN_SAMPLE = f"{INPAINTED} − {SAMPLE}"  # at the unknown ones
METRIC = "mpjpe_mm"


def settings():
    """What the rows depend on besides the training, for JSON."""
    return {"images": IMAGES, "cases": list(CASES), "chain_steps": CHAIN_STEPS}


class Inpainted(NamedTuple):
    """One case: poses (n, J, 3), metres, and which joints (n, J) were known."""

    truth: torch.Tensor
    known: torch.Tensor
    poses: dict
    """{estimate: poses}: the sample without known joints, the same draws with them, and the
    tokenizer's reconstruction of the truth."""
    rows: torch.Tensor
    """int64 (n,), of the split."""


def inpainted(model, encoder, data, case, seed):
    """An `Inpainted` of a case of `CASES`: one hypothesis for each image, along the chain.

    However the model's sampler is set: known joints tilt the chain's own law.
    Images without a known joint besides the pelvis, or without an unknown one, are left out.

    Args:
        model: a trained `PoseModel`.
        encoder: the frozen `ImageEncoder`.
        data: {split: PoseDataset}.
        case: a key of `CASES`.
        seed: int.
    """
    model, dataset = model.along_chain(), data[CASES[case]]
    rows = torch.linspace(0, len(dataset) - 1, min(IMAGES, len(dataset))).round().long()
    if case == LEGS_KNOWN:
        legs = torch.tensor([name.endswith(LEGS) for name in JOINT_NAMES])
        known = legs.expand(len(rows), -1)
    else:
        known = dataset.take("visible", rows)
    kept = known[:, 1:].any(dim=1) & (~known[:, 1:]).any(dim=1)
    rows, known = rows[kept], known[kept]
    features, truth = encode_images(encoder, dataset, rows), dataset.take("pose", rows)
    seeds = [seed_for(seed, "inpainting", case, row) for row in rows.tolist()]
    alone, _ = model.hypotheses(features, 1, seeds)
    given = inpaint(model, features, truth, known, seeds)
    with torch.no_grad():
        rebuilt = model.tokenizer(truth.to(features.device))
    poses = {SAMPLE: alone[:, 0], INPAINTED: given[:, 0], TOKENIZER: rebuilt}
    return Inpainted(truth, known, {name: pose.cpu() for name, pose in poses.items()}, rows)


def image_errors(found, joints):
    """{estimate: mean error of each image in mm, float64 (n,)} of an `Inpainted`.

    Over its "known" or its "unknown" joints, as `joints` says; the pelvis, which is 0 by
    definition, is not counted.
    """
    mask = (found.known if joints == "known" else ~found.known)[:, 1:]
    return {
        estimate: (joint_errors_mm(pose, found.truth)[:, 1:] * mask).sum(dim=1) / mask.sum(dim=1)
        for estimate, pose in found.poses.items()
    }


def inpainting_rows(case, found, dataset, num_samples, seed):
    """Rows of results: mean errors in mm with 95 % intervals, and two differences image by image.

    Protocol `protocol_of(case)`, level 1; the estimator is an estimate, or a difference of two;
    the joints are "known" or "unknown".

    Args:
        case: a key of `CASES`.
        found: its `Inpainted`.
        dataset: its split.
        num_samples, seed: of the intervals.
    """
    errors = {
        (joints, estimate): values
        for joints in ("known", "unknown")
        for estimate, values in image_errors(found, joints).items()
    }
    for joints, other, name in [
        ("known", TOKENIZER, WORSE_THAN_TOKENIZER),
        ("unknown", SAMPLE, WORSE_THAN_SAMPLE),
    ]:
        errors[joints, name] = errors[joints, INPAINTED] - errors[joints, other]
    condition = condition_of(dataset, protocol_of(case), 1.0, num_samples, seed, found.rows)
    every = torch.arange(len(found.rows))
    return [
        result_row(condition, DI2POSE, estimate, joints, METRIC, values, every)
        for (joints, estimate), values in errors.items()
    ]


def protocol_of(case):
    """The protocol of a case's rows: "both legs known"."""
    return f"{case} known"
