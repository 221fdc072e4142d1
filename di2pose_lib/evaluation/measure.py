"""The engine: models predict for pictures under occlusions, and their errors become rows.

The pipeline, the ablations, the protocols and the rivals all measure here.
"""

import torch

from di2pose_lib.base.checks import require
from di2pose_lib.base.metrics import MM_PER_M, joint_errors_mm, procrustes
from di2pose_lib.base.progress import Progress
from di2pose_lib.evaluation import estimators
from di2pose_lib.evaluation.intervals import interval
from di2pose_lib.evaluation.models import (
    DI2POSE,
    FEATURES,
    GIVEN,
    MEAN_POSE,
    NEIGHBOUR,
    answers,
    predicted,
)
from di2pose_lib.evaluation.pictures import CLEAN, SPLITS, joined

EXCHANGED = "images shuffled"
SHUFFLED = f"{DI2POSE}, {EXCHANGED}"


@torch.no_grad()
def predict(models, encoder, pictures, seed_of, at_once, closely=False, few=None):
    """What models make of pictures.

    Args:
        models: `Model`s.
        encoder: the frozen `ImageEncoder`, for those that take its features.
        pictures: a `Pictures`.
        seed_of: (model, row of the split) → int: what is drawn for an image.
        at_once: pictures.
        closely: whether uncertainty is asked for: models give as many hypotheses as that takes.
        few: how many hypotheses are averaged, at most; None takes all.

    Returns:
        (a list of `Prediction`s; {(method, name): hypotheses float (n, H, J, 3)} of the models
        that give several, where uncertainty is asked for).
    """
    asked = [m for m in models if m.sees_pictures or pictures.occlusion[0] == CLEAN]
    for model in asked:
        known = f"`takes` of a model must be one of {', '.join(GIVEN)}; got {model.takes!r}"
        require(model.takes in GIVEN, known)
    features, predictions, hypotheses = None, [], {}
    if any(model.takes == FEATURES for model in asked):
        where = next(encoder.parameters()).device
        parts = [encoder(part.to(where)).cpu() for part in pictures.images.split(at_once)]
        features = torch.cat(parts)
    for model in asked:
        given = features if model.takes == FEATURES else getattr(pictures, model.takes)
        count = max(model.samples, model.hypotheses) if closely else model.samples
        poses = _drawn(model, given, pictures, count, seed_of, at_once)
        predictions += answers(model, poses, pictures.pose, few)
        if closely and count > 1:
            hypotheses[model.method, model.set_of(count)] = poses
    return predictions, hypotheses


def _drawn(model, given, pictures, count, seed_of, at_once):
    """A model's hypotheses (n, H, J, 3), on the CPU, with a line of progress."""
    seeds = [seed_of(model, row) for row in pictures.rows.tolist()]
    at_once, parts = len(given) if model.wants_all else at_once, []
    name = "{} {:g}, {}, {}".format(*pictures.occlusion, model.method, model.estimator)
    progress = Progress(name, len(given))
    for first in range(0, len(given), at_once):
        some = slice(first, first + at_once)
        parts.append(predicted(model.predict, given[some], seeds[some], count, model.takes).cpu())
        progress.tick(min(first + at_once, len(given)))
    progress.report(len(given), {})
    return torch.cat(parts)


def predict_shuffled(models, encoder, pictures, seed_of, at_once):
    """`Prediction`s, one sample each, of models that are given other images of the split.

    The proof that the picture is used: it must not help. Methods are named "…, images shuffled".
    """
    alone = [model._replace(method=f"{model.method}, {EXCHANGED}", samples=1) for model in models]
    return predict(alone, encoder, pictures.shuffled(), seed_of, at_once)[0]


def joint_errors(pose_pred, pose):
    """{metric: error of each joint, float64 (n, J), mm}.

    PA-MPJPE is aligned over all joints, also where a subset of them is averaged.
    """
    aligned = procrustes(pose_pred, pose)
    return {
        "mpjpe_mm": joint_errors_mm(pose_pred, pose),
        "pa_mpjpe_mm": (aligned - pose.double()).norm(dim=-1) * MM_PER_M,
    }


def error_rows(predictions, truth):
    """Rows of MPJPE and PA-MPJPE over all, visible and occluded joints.

    Args:
        predictions: `Prediction`s for the images of a `Truth`.
        truth: the `Truth`.
    """
    masks = truth.joint_masks
    return joined(
        [
            truth.joint_rows(errors, masks, method=method, estimator=estimator, metric=metric)
            for method, estimator, pose in predictions
            for metric, errors in joint_errors(pose, truth.pose).items()
        ]
    )


def action_rows(predictions, truth):
    """The same over all joints, action by action."""
    return joined(
        [
            truth.action_rows(errors.mean(dim=1), method=method, estimator=estimator, metric=metric)
            for method, estimator, pose in predictions
            for metric, errors in joint_errors(pose, truth.pose).items()
        ]
    )


def poses_by_method(predictions):
    """{occlusion: {(method, estimator): pose}} of {occlusion: `Prediction`s}."""
    return {
        occlusion: {(p.method, p.estimator): p.pose for p in each}
        for occlusion, each in predictions.items()
    }


def summary(rows):
    """The few numbers for `dvc metrics show`: MPJPE in mm over all joints.

    Algorithm 2's sample is there where the sampler is set otherwise.

    Raises:
        ValueError: the rows lack a method.
    """
    wanted = {
        "mean_pose": (MEAN_POSE, "mean"),
        "nearest_neighbour": (NEIGHBOUR, "copy"),
        "one_sample": (DI2POSE, estimators.ONE_SAMPLE),
        "one_sample_algorithm_2": (DI2POSE, estimators.CHAIN),
        "argmax": (DI2POSE, estimators.ARGMAX),
        "mean_of_samples": (DI2POSE, estimators.MEAN),
        "soft_decoding": (DI2POSE, estimators.SOFT),
    }
    rows = rows.query("joints == 'all' and action == 'all' and metric == 'mpjpe_mm'")
    numbers = {}
    for occlusion in SPLITS:
        for key, (method, estimator) in wanted.items():
            names = {"occlusion": occlusion, "method": method, "estimator": estimator}
            if (rows.estimator == estimator).any():
                chosen = rows[(rows[list(names)] == list(names.values())).all(axis=1)]
                if chosen.empty:
                    raise ValueError(f"the rows must have one with {names}; got none")
                numbers[f"{occlusion}_{key}_mpjpe_mm"] = interval(chosen).mean
    return numbers
