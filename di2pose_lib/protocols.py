"""What is measured of one trained model under occlusion: errors, uncertainty, plausibility.

The test images as they are, with occluders in the scene, and in the sweeps of masks and crops
(`occlusions`): every condition has the same frames, so differences are paired. Samples are drawn
as the model's sampler is set; where that leaves the chain of Eq. 9, Algorithm 2's stand beside
them.
"""

from typing import NamedTuple

import torch

from di2pose_lib import baselines, estimators, stages
from di2pose_lib.checks import require
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
from di2pose_lib.files import read_json
from di2pose_lib.metric_conventions import convention_rows
from di2pose_lib.metrics import mpjpe_mm
from di2pose_lib.occlusions import CROP, MASK, RATIOS, occluded
from di2pose_lib.plausibility import own_bones, plausibility_rows
from di2pose_lib.progress import Progress
from di2pose_lib.row_files import write_rows
from di2pose_lib.seeding import seed_for
from di2pose_lib.uncertainty import LEVELS, uncertainty_rows
from di2pose_lib.visibility import COVERED, SHARES, joint_kinds, kind_rows, share_rows

IMAGES = 220  # of the test split, at most, evenly spaced
HYPOTHESES = 8  # of each image, for its uncertainty
SAMPLES = 4  # of them, for the mean and the best of samples
AT_ONCE = 44  # images
OCCLUDERS = "occluders"  # in the scene: the split test_occluded
CLEAN = ("clean", 0.0)
CHAIN_MEAN = f"{estimators.MEAN}, {estimators.ALGORITHM_2}"

CONDITIONS = (
    CLEAN,
    *((name, ratio) for name, ratios in RATIOS.items() for ratio in ratios if ratio > 0),
    (OCCLUDERS, 1.0),
)

# What is measured in every convention and joint by joint, and what need not look like a body.
IN_DETAIL = (estimators.CHAIN, estimators.SOFT)
NO_BODIES = (estimators.ARGMAX, estimators.BEST)

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
        "chain_steps": estimators.CHAIN_STEPS,
        "ratios": {name: list(ratios) for name, ratios in RATIOS.items()},
        "shares": list(SHARES),
        "levels": list(LEVELS),
        "looked_into": [list(condition) for condition in LOOKED_INTO],
    }


def spread_rows(dataset, most):
    """Evenly spaced rows of a split, int64 (n,), n ≤ `most`."""
    return torch.linspace(0, len(dataset) - 1, min(most, len(dataset))).round().long()


def occlusion_rows(found, folder):
    """{"errors", "uncertainty", "plausibility", "conventions": rows} of a `Trained`.

    Args:
        found: a `Trained`.
        folder: of this model and these settings alone; keeps each condition's rows, so that a
            run that was killed goes on with the next condition.
    """
    rows = {}
    for protocol, level in CONDITIONS:
        path = folder / f"{protocol}-{level:g}.json"
        if not path.is_file():
            write_rows(path, condition_rows(found, protocol, level))
        for kind, own in read_json(path).items():
            rows.setdefault(kind, []).extend(own)
    return rows


def condition_rows(found, protocol, level):
    """The same of one of `CONDITIONS`; kinds that are not asked for there have no rows."""
    images, condition, dataset = _occlude(found, protocol, level)
    predictions, hypotheses = _predictions(found, images, condition, dataset, protocol, level)
    rows = {"errors": error_rows(predictions, condition)}
    rows |= {"uncertainty": [], "plausibility": [], "conventions": []}
    detailed = [p for p in predictions if p.estimator in IN_DETAIL]
    more_joints = {}
    if protocol in (CLEAN[0], OCCLUDERS):
        kinds = _joint_kinds(found.data)
        rows["errors"] += kind_rows(detailed, condition, kinds)
        more_joints = {COVERED: kinds[COVERED]}
    if protocol == OCCLUDERS:
        rows["errors"] += share_rows(detailed, condition)
    if protocol == CLEAN[0]:
        for prediction in detailed:
            rows["conventions"] += convention_rows(prediction, condition)
    if (protocol, level) in LOOKED_INTO:
        for estimator, poses in hypotheses.items():
            rows["uncertainty"] += uncertainty_rows(
                poses, condition, DI2POSE, estimator, more_joints
            )
        bones = own_bones(dataset)[spread_rows(dataset, IMAGES)]
        bodies = [p for p in predictions if p.estimator not in NO_BODIES]
        rows["plausibility"] += plausibility_rows(bodies, condition, bones)
    return rows


def _joint_kinds(data):
    """`visibility.joint_kinds` of the images that are taken, which both splits have alike."""
    rows = spread_rows(data["test"], IMAGES)
    same = torch.equal(data["test"].take("pose"), data["test_occluded"].take("pose"))
    require(same, "the splits test and test_occluded must hold the same frames")
    return joint_kinds(
        data["test"].take("visible", rows), data["test_occluded"].take("covered", rows)
    )


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


def _predictions(found, images, condition, dataset, protocol, level):
    """Every method's `Prediction`, and {estimator: hypotheses float (n, H, J, 3)}."""
    where, model = next(found.encoder.parameters()).device, found.model
    rows = spread_rows(dataset, IMAGES)
    seeds = [seed_for(found.config.seed, "protocols", row) for row in rows.tolist()]
    features = _encoded(found.encoder, images, where)
    drawn, argmax = _drawn(model, features, HYPOTHESES, seeds, f"{protocol} {level:g}")
    hypotheses = {f"{HYPOTHESES} samples": drawn}
    truth, train = condition.pose, found.data["train"]
    train_pose, position = train.take("pose"), train.take("camera_position")
    mean = baselines.mean_pose_per_camera(
        train_pose, position, dataset.take("camera_position", rows)
    )
    nearest = baselines.nearest_neighbour(found.train_features, len(train), features.cpu())
    few = drawn[:, :SAMPLES]
    errors = mpjpe_mm(few.flatten(0, 1), truth.repeat_interleave(SAMPLES, dim=0))
    best = few[torch.arange(len(few)), errors.unflatten(0, (-1, SAMPLES)).argmin(dim=1)]
    predictions = [
        Prediction(MEAN_POSE, "mean", mean),
        Prediction(NEIGHBOUR, "copy", train_pose[nearest]),
        Prediction(DI2POSE, estimators.ONE_SAMPLE, drawn[:, 0]),
        Prediction(DI2POSE, estimators.ARGMAX, argmax),
        Prediction(DI2POSE, estimators.MEAN, few.mean(dim=1)),
        Prediction(DI2POSE, estimators.SOFT, model.soft_decode(features).cpu()),
        Prediction(DI2POSE, estimators.BEST, best),
    ]
    if (protocol, level) == CLEAN:  # it does not see the picture
        rebuilt = _rebuilt(model.tokenizer, truth.to(where)).cpu()
        predictions.append(Prediction(TOKENIZER, RECONSTRUCTION, rebuilt))
    if not model.follows_chain:
        many = HYPOTHESES if (protocol, level) in LOOKED_INTO else 1
        name = f"{protocol} {level:g}, {estimators.ALGORITHM_2}"
        along, _ = _drawn(model.along_chain(), features, many, seeds, name)
        predictions.append(Prediction(DI2POSE, estimators.CHAIN, along[:, 0]))
        if many > 1:
            averaged = along[:, :SAMPLES].mean(dim=1)
            predictions.append(Prediction(DI2POSE, CHAIN_MEAN, averaged))
            hypotheses[f"{HYPOTHESES} samples, {estimators.ALGORITHM_2}"] = along
    return predictions, hypotheses


@torch.no_grad()
def _rebuilt(tokenizer, pose):
    return tokenizer(pose)


@torch.no_grad()
def _encoded(encoder, images, where):
    return torch.cat([encoder(part.to(where)) for part in images.split(AT_ONCE)])


def _drawn(model, features, num_hypotheses, seeds, name):
    """Hypotheses (n, H, J, 3) and the first one's arg-max (n, J, 3), on the CPU."""
    progress, poses, argmax = Progress(name, len(features)), [], []
    for first in range(0, len(features), AT_ONCE):
        some = slice(first, first + AT_ONCE)
        found = model.hypotheses(features[some], num_hypotheses, seeds[some])
        for parts, part in zip((poses, argmax), found, strict=True):
            parts.append(part.cpu())
        progress.tick(min(first + AT_ONCE, len(features)))
    progress.report(len(features), {})
    return torch.cat(poses), torch.cat(argmax)
