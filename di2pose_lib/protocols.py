"""What is measured of one trained model under occlusion: errors, uncertainty, plausibility.

The test images as they are, with occluders in the scene, and in the sweeps of masks and crops
(`occlusions`): every condition has the same frames, so differences are paired.
"""

from typing import NamedTuple

import torch

from di2pose_lib import baselines, estimators, stages
from di2pose_lib.conditions import condition_of, joint_rows
from di2pose_lib.evaluation import (
    DI2POSE,
    MEAN_POSE,
    NEIGHBOUR,
    RECONSTRUCTION,
    TOKENIZER,
    Prediction,
    joint_errors,
)
from di2pose_lib.metric_conventions import convention_rows
from di2pose_lib.metrics import mpjpe_mm
from di2pose_lib.occlusions import CROP, MASK, RATIOS, occluded
from di2pose_lib.plausibility import own_bones, plausibility_rows
from di2pose_lib.progress import Progress
from di2pose_lib.seeding import seed_for
from di2pose_lib.uncertainty import uncertainty_rows

IMAGES = 220  # of the test split, at most, evenly spaced
HYPOTHESES = 8  # of each image, for its uncertainty
SAMPLES = 4  # of them, for the mean and the best of samples
AT_ONCE = 44  # images
OCCLUDERS = "occluders"  # in the scene: the split test_occluded
CLEAN = ("clean", 0.0)  # a mask and a crop of 0

# Where uncertainty and plausibility are asked for, besides errors.
LOOKED_INTO = (CLEAN, (MASK, 0.4), (CROP, 0.2), (OCCLUDERS, 1.0))


class Trained(NamedTuple):
    """A trained pipeline and its test images."""

    config: object
    data: dict
    encoder: torch.nn.Module
    model: estimators.PoseModel
    train_features: object
    """`rows -> features` of the training images."""


def trained(pipeline):
    """A `Trained` of a pipeline; trains what is missing."""
    encoder, data = stages.image_encoder(pipeline).model, stages.prepared_data(pipeline)
    features = stages.train_features(pipeline, encoder, data["train"])
    return Trained(pipeline.config, data, encoder, stages.pose_model(pipeline), features)


def settings():
    """What the rows depend on besides the training, for JSON."""
    return {
        "images": IMAGES,
        "hypotheses": HYPOTHESES,
        "samples": SAMPLES,
        "ratios": {name: list(ratios) for name, ratios in RATIOS.items()},
        "looked_into": [list(condition) for condition in LOOKED_INTO],
    }


def spread_rows(dataset, most):
    """Evenly spaced rows of a split, int64 (n,), n ≤ `most`."""
    return torch.linspace(0, len(dataset) - 1, min(most, len(dataset))).round().long()


def occlusion_rows(found):
    """{"errors", "uncertainty", "plausibility", "conventions": rows} of a `Trained`."""
    sweeps = [(name, ratio) for name, ratios in RATIOS.items() for ratio in ratios if ratio > 0]
    rows = {"errors": [], "uncertainty": [], "plausibility": [], "conventions": []}
    for protocol, level in (CLEAN, *sweeps, (OCCLUDERS, 1.0)):
        images, condition, dataset = _occlude(found, protocol, level)
        predictions, hypotheses = _predictions(found, images, condition, dataset, protocol, level)
        errors = error_rows(predictions, condition)
        if (protocol, level) == CLEAN:
            rows["errors"] += [{**row, "protocol": sweep} for sweep in RATIOS for row in errors]
            for prediction in predictions:
                rows["conventions"] += convention_rows(prediction, condition)
        else:
            rows["errors"] += errors
        if (protocol, level) in LOOKED_INTO:
            bones = own_bones(dataset)[spread_rows(dataset, IMAGES)]
            rows["uncertainty"] += uncertainty_rows(hypotheses, condition, DI2POSE)
            rows["plausibility"] += plausibility_rows(predictions, condition, bones)
    return rows


def error_rows(predictions, condition):
    """Rows of MPJPE and PA-MPJPE over all, visible and occluded joints.

    PA-MPJPE is aligned over all joints, also where a subset of them is averaged.

    Args:
        predictions: `evaluation.Prediction`s of the condition's images.
        condition: a `conditions.Condition`.
    """
    return [
        row
        for method, estimator, pose in predictions
        for metric, errors in joint_errors(pose, condition.pose).items()
        for row in joint_rows(condition, method, estimator, metric, errors, condition.joint_masks)
    ]


def _occlude(found, protocol, level):
    """(images uint8 (n, 3, h, w), their `Condition`, the split they are of)."""
    config = found.config
    dataset = found.data["test_occluded" if protocol == OCCLUDERS else "test"]
    rows = spread_rows(dataset, IMAGES)
    images, visible = dataset.take("image", rows), dataset.take("visible", rows)
    if protocol in RATIOS:
        seeds = [seed_for(config.seed, "occlusion", row) for row in rows.tolist()]
        lost = occluded(protocol, level, images, dataset.take("joints_2d", rows), seeds)
        images, visible = lost.images, visible & ~lost.hidden
    samples = config.evaluation.bootstrap_samples
    condition = condition_of(dataset, protocol, level, samples, config.seed, rows, visible)
    return images, condition, dataset


@torch.no_grad()
def _predictions(found, images, condition, dataset, protocol, level):
    """Every method's `Prediction`, and the hypotheses float (n, H, J, 3)."""
    where, model = next(found.encoder.parameters()).device, found.model
    rows = spread_rows(dataset, IMAGES)
    seeds = [seed_for(found.config.seed, "protocols", row) for row in rows.tolist()]
    progress = Progress(f"{protocol} {level:g}", len(images))
    features, poses, argmax, soft = [], [], [], []
    for first in range(0, len(images), AT_ONCE):
        some = slice(first, first + AT_ONCE)
        features.append(found.encoder(images[some].to(where)))
        drawn, most_probable = model.hypotheses(features[-1], HYPOTHESES, seeds[some])
        poses.append(drawn.cpu())
        argmax.append(most_probable.cpu())
        soft.append(model.soft_decode(features[-1]).cpu())
        progress.tick(min(first + AT_ONCE, len(images)))
    progress.report(len(images), {})
    poses, truth = torch.cat(poses), condition.pose
    train = found.data["train"]
    train_pose, position = train.take("pose"), train.take("camera_position")
    mean = baselines.mean_pose_per_camera(
        train_pose, position, dataset.take("camera_position", rows)
    )
    seen = torch.cat(features).cpu()
    nearest = baselines.nearest_neighbour(found.train_features, len(train), seen)
    few = poses[:, :SAMPLES]
    errors = mpjpe_mm(few.flatten(0, 1), truth.repeat_interleave(SAMPLES, dim=0))
    best = few[torch.arange(len(few)), errors.unflatten(0, (-1, SAMPLES)).argmin(dim=1)]
    predictions = [
        Prediction(MEAN_POSE, "mean", mean),
        Prediction(NEIGHBOUR, "copy", train_pose[nearest]),
        Prediction(DI2POSE, estimators.ONE_SAMPLE, poses[:, 0]),
        Prediction(DI2POSE, estimators.ARGMAX, torch.cat(argmax)),
        Prediction(DI2POSE, estimators.MEAN, few.mean(dim=1)),
        Prediction(DI2POSE, estimators.SOFT, torch.cat(soft)),
        Prediction(DI2POSE, estimators.BEST, best),
        Prediction(TOKENIZER, RECONSTRUCTION, model.tokenizer(truth.to(where)).cpu()),
    ]
    return predictions, poses
