"""How few reverse steps will do? Errors of poses drawn in few and in many steps."""

import torch

from di2pose_lib.checks import require
from di2pose_lib.encoder_training import encode_images
from di2pose_lib.estimators import PoseModel
from di2pose_lib.metrics import mpjpe_mm
from di2pose_lib.seeding import seed_for

COUNTS = (1, 2, 4, 8, 16, 25, 50, 100)
WAYS = {  # name: options of the sampler
    "uniform": {},
    "cosine": {"spacing": "cosine"},
    "uniform, confident tokens first": {"order": "confidence"},
}
SAMPLES = 2
SPLITS = ("validation", "test")  # to choose on, and to report
IMAGES = 80  # of each split


def settings():
    """What a curve depends on besides the model, for JSON."""
    return {"counts": COUNTS, "ways": WAYS, "samples": SAMPLES, "images": IMAGES, "splits": SPLITS}


def step_curve(model, encoder, data, seed):
    """Errors over the number of steps, by each way to go them.

    Args:
        model: a trained `PoseModel`.
        encoder: the frozen `ImageEncoder`.
        data: {split: PoseDataset}.
        seed: int.

    Returns:
        {split: {way: {"steps": [...], "one_sample_mm": [...], "mean_of_samples_mm": [...]}}},
        the mean MPJPE of a sample and of the mean of `SAMPLES` of them.
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
    one, mean = [], []
    for count in counts:
        drawn = PoseModel(model.denoiser, model.schedule, model.tokenizer, count, **options)
        poses, _ = drawn.hypotheses(features, SAMPLES, seeds)
        each = [mpjpe_mm(poses[:, h], pose).mean().item() for h in range(SAMPLES)]
        one.append(sum(each) / SAMPLES)
        mean.append(mpjpe_mm(poses.mean(dim=1), pose).mean().item())
    return {"steps": counts, "one_sample_mm": one, "mean_of_samples_mm": mean}


def fewest_steps(curves, share=0.99):
    """(way, steps) of the fewest steps whose error is at most 1 / `share` of the best way's at S.

    Args:
        curves: {way: {"steps", "one_sample_mm"}} of one split, as `step_curve` gives them;
            of several seeds, their means.
        share: of the quality (the reciprocal of the error) at the most steps to keep.

    Raises:
        ValueError: no curves.
    """
    require(len(curves) > 0, "`curves` must hold at least one way; got none")
    most = min(curve["one_sample_mm"][-1] for curve in curves.values())
    enough = [
        (steps, error, way)
        for way, curve in curves.items()
        for steps, error in zip(curve["steps"], curve["one_sample_mm"], strict=True)
        if error <= most / share
    ]
    steps, _, way = min(enough)
    return way, steps
