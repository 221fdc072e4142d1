"""How few reverse steps will do? Errors of poses drawn in few and in many steps.

MPJPE alone might not tell: a sample whose tokens were drawn without seeing each other can be
nearer to the mean of all answers, and so err less, and be no body. Hence the error of its bones'
lengths stands beside it; notebook 07 says whether that happens.
"""

import pandas as pd

from di2pose_lib.base.metrics import MM_PER_M, mpjpe_mm, pa_mpjpe_mm
from di2pose_lib.base.seeding import seed_for
from di2pose_lib.base.skeleton import bone_lengths
from di2pose_lib.encoder.training import encode_images
from di2pose_lib.evaluation.estimators import MEAN, ONE_SAMPLE, PoseModel
from di2pose_lib.evaluation.models import DI2POSE
from di2pose_lib.evaluation.pictures import spread_rows
from di2pose_lib.evaluation.table import cluster_rows

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
    """Errors over the number of steps, by each way to go them: rows of the table.

    A row is the mean over a split's images; its `setting` is the way, its `steps` the number.

    Args:
        model: a trained `PoseModel`.
        encoder: the frozen `ImageEncoder`.
        data: {split: PoseDataset}.
        seed: int.
    """
    lines = []
    for split in SPLITS:
        dataset = data[split]
        rows = spread_rows(dataset, IMAGES)
        features, pose = encode_images(encoder, dataset, rows), dataset.take("pose", rows)
        pose = pose.to(features.device)
        seeds = [seed_for(seed, "step curve", split, row) for row in rows.tolist()]
        for way, options in WAYS.items():
            for steps in COUNTS:
                if steps > model.schedule.num_steps:
                    continue
                walk = PoseModel(model.denoiser, model.schedule, model.tokenizer, steps, **options)
                poses, _ = walk.hypotheses(features, SAMPLES, seeds)
                place = {"test_set": split, "setting": way, "steps": steps, "method": DI2POSE}
                for (estimator, metric), values in _errors(poses, pose).items():
                    mean = values.mean().reshape(1)
                    names = {"estimator": estimator, "metric": metric}
                    lines.append(cluster_rows(mean, [""], **place, **names).assign(n=len(rows)))
    return pd.concat(lines, ignore_index=True)


def _errors(poses, truth):
    """{(estimator, metric): values, in mm} of hypotheses (n, H, J, 3)."""
    each, again = poses.flatten(0, 1), truth.repeat_interleave(poses.shape[1], dim=0)
    bones = MM_PER_M * (bone_lengths(each) - bone_lengths(again)).abs()
    return {
        (ONE_SAMPLE, "mpjpe_mm"): mpjpe_mm(each, again),
        (ONE_SAMPLE, "pa_mpjpe_mm"): pa_mpjpe_mm(each, again),
        (ONE_SAMPLE, "bone_error_mm"): bones,
        (MEAN, "mpjpe_mm"): mpjpe_mm(poses.mean(dim=1), truth),
    }
