"""How few reverse steps will do? Errors of poses drawn in few and in many steps.

MPJPE alone might not tell: a sample whose tokens were drawn without seeing each other can be
nearer to the mean of all answers, and so err less, and be no body. Hence the error of its bones'
lengths stands beside it; notebook 07 says whether that happens.
"""

import torch

from di2pose_lib.base.checks import require
from di2pose_lib.base.metrics import MM_PER_M, mpjpe_mm, pa_mpjpe_mm
from di2pose_lib.base.seeding import seed_for
from di2pose_lib.base.skeleton import bone_lengths
from di2pose_lib.encoder.training import encode_images
from di2pose_lib.evaluation.estimators import PoseModel

COUNTS = (1, 2, 4, 8, 16, 25, 50, 100)
WAYS = {  # name: options of the sampler
    "uniform": {},
    "cosine": {"spacing": "cosine"},
    "uniform, confident tokens first": {"order": "confidence"},
}
SAMPLES = 2
SPLITS = ("validation", "test")  # to choose on, and to report
IMAGES = 80  # of each split
ERRORS = ("one_sample_mm", "one_sample_pa_mm", "one_sample_bones_mm", "mean_of_samples_mm")
DECIDE = ("one_sample_mm", "one_sample_bones_mm")  # of ERRORS: both are to be kept


def settings():
    """What a curve depends on besides the model, for JSON."""
    return {
        "counts": COUNTS,
        "ways": WAYS,
        "samples": SAMPLES,
        "images": IMAGES,
        "splits": SPLITS,
        "errors": ERRORS,
    }


def step_curve(model, encoder, data, seed):
    """Errors over the number of steps, by each way to go them.

    Args:
        model: a trained `PoseModel`.
        encoder: the frozen `ImageEncoder`.
        data: {split: PoseDataset}.
        seed: int.

    Returns:
        {split: {way: {"steps": [...], **{error: [...] for each of `ERRORS`}}}}: of a sample the
        mean MPJPE, PA-MPJPE and error of the bones' lengths; MPJPE of the mean of `SAMPLES`.
    """
    found = {}
    for split in SPLITS:
        dataset = data[split]
        rows = torch.linspace(0, len(dataset) - 1, min(IMAGES, len(dataset))).round().long()
        features, pose = encode_images(encoder, dataset, rows), dataset.take("pose", rows)
        seeds = [seed_for(seed, "step curve", split, row) for row in rows.tolist()]
        found[split] = {
            way: _errors(model, features, pose.to(features.device), seeds, options)
            for way, options in WAYS.items()
        }
    return found


def _errors(model, features, pose, seeds, options):
    counts = [count for count in COUNTS if count <= model.schedule.num_steps]
    found = {name: [] for name in ERRORS}
    for count in counts:
        drawn = PoseModel(model.denoiser, model.schedule, model.tokenizer, count, **options)
        poses, _ = drawn.hypotheses(features, SAMPLES, seeds)
        each, truth = poses.flatten(0, 1), pose.repeat_interleave(SAMPLES, dim=0)
        bones = MM_PER_M * (bone_lengths(each) - bone_lengths(truth)).abs()
        values = (
            mpjpe_mm(each, truth),
            pa_mpjpe_mm(each, truth),
            bones,
            mpjpe_mm(poses.mean(dim=1), pose),
        )
        for name, value in zip(ERRORS, values, strict=True):
            found[name].append(value.mean().item())
    return {"steps": counts, **found}


def fewest_steps(curves, share=0.99):
    """(way, steps) of the fewest steps that keep a share of the quality of the most steps.

    The quality is the reciprocal of an error; kept it must be for each error of `DECIDE`, beside
    the best way with the most steps. Of ways with as many steps the one with the lowest MPJPE.

    Args:
        curves: {way: {"steps", **errors}} of one split, as `step_curve` gives them; of several
            seeds, their means.
        share: in (0, 1].

    Raises:
        ValueError: no curves.
    """
    require(len(curves) > 0, "`curves` must hold at least one way; got none")
    bounds = {name: min(curve[name][-1] for curve in curves.values()) / share for name in DECIDE}
    enough = [
        (steps, curve["one_sample_mm"][i], way)
        for way, curve in curves.items()
        for i, steps in enumerate(curve["steps"])
        if all(curve[name][i] <= bound for name, bound in bounds.items())
    ]
    most = [(c["steps"][-1], c["one_sample_mm"][-1], way) for way, c in curves.items()]
    steps, _, way = min(enough or most)
    return way, steps
