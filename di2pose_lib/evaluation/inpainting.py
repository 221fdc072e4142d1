"""Is inpainting worth it? Errors with some joints known, beside those of the image alone."""

from typing import NamedTuple

import torch

from di2pose_lib.base.metrics import joint_errors_mm
from di2pose_lib.base.seeding import seed_for
from di2pose_lib.base.skeleton import JOINT_NAMES
from di2pose_lib.diffusion.inpainting import inpaint
from di2pose_lib.encoder.training import encode_images
from di2pose_lib.evaluation.estimators import CHAIN, CHAIN_STEPS
from di2pose_lib.evaluation.models import DI2POSE, RECONSTRUCTION, TOKENIZER
from di2pose_lib.evaluation.pictures import CLEAN, OCCLUDERS, SPLITS, joined, spread_rows, truth_of

IMAGES = 120  # of a split, at most, evenly spaced
LEGS = ("hip", "knee", "ankle")

# What is known, and under which occlusion: both legs in clean images, or all joints that an
# image with an occluder shows.
LEGS_KNOWN, VISIBLE = "both legs", "visible joints"
CASES = {LEGS_KNOWN: CLEAN, VISIBLE: OCCLUDERS}

SAMPLE, INPAINTED = CHAIN, "inpainted"
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
    model, dataset = model.along_chain(), data[SPLITS[CASES[case]]]
    rows = spread_rows(dataset, IMAGES)
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
    poses = {SAMPLE: alone[:, 0], INPAINTED: given[:, 0], RECONSTRUCTION: rebuilt}
    return Inpainted(truth, known, {name: pose.cpu() for name, pose in poses.items()}, rows)


def image_errors(result, joints):
    """{estimate: mean error of each image in mm, float64 (n,)} of an `Inpainted`.

    Over its "known" or its "unknown" joints, as `joints` says; the pelvis, which is 0 by
    definition, is not counted.
    """
    mask = (result.known if joints == "known" else ~result.known)[:, 1:]
    return {
        name: (joint_errors_mm(pose, result.truth)[:, 1:] * mask).sum(dim=1) / mask.sum(dim=1)
        for name, pose in result.poses.items()
    }


def inpainting_rows(case, result, data, config):
    """Rows of mean errors in mm over the "known" and the "unknown" joints.

    The setting is "both legs known" or its like.

    Args:
        case: a key of `CASES`.
        result: its `Inpainted`.
        data: {split: PoseDataset}.
        config: a `Config`.
    """
    occlusion = CASES[case]
    truth = truth_of(data[SPLITS[occlusion]], config, occlusion, rows=result.rows)
    tables = []
    for joints in ("known", "unknown"):
        for estimator, values in image_errors(result, joints).items():
            method = TOKENIZER if estimator == RECONSTRUCTION else DI2POSE
            names = {"method": method, "estimator": estimator, "setting": f"{case} known"}
            tables.append(truth.rows(values, joints=joints, metric=METRIC, **names))
    return joined(tables)
