"""What is measured of one trained model under occlusion: errors, uncertainty, plausibility.

The test images as they are, with occluders in the scene, and in the sweeps of masks and crops
(`occlusions`): every condition has the same frames, so differences are paired. Who is tested is a
list of `contenders`: any object that predicts poses from images may be one.
"""

from typing import NamedTuple

import torch

from di2pose_lib.base.checks import require
from di2pose_lib.base.files import is_there, read_json
from di2pose_lib.base.progress import Progress
from di2pose_lib.base.seeding import seed_for
from di2pose_lib.data.occlusions import CROP, MASK, RATIOS, occluded, without_hidden
from di2pose_lib.evaluation import estimators
from di2pose_lib.evaluation.conditions import condition_of, joint_rows
from di2pose_lib.evaluation.contenders import (
    HYPOTHESES,
    SAMPLES,
    answers,
)
from di2pose_lib.evaluation.measure import joint_errors
from di2pose_lib.evaluation.metric_conventions import convention_rows
from di2pose_lib.evaluation.plausibility import own_bones, plausibility_rows
from di2pose_lib.evaluation.predictors import JOINTS_2D, predicted
from di2pose_lib.evaluation.row_files import write_rows
from di2pose_lib.evaluation.uncertainty import LEVELS, uncertainty_rows
from di2pose_lib.evaluation.visibility import COVERED, SHARES, joint_kinds, kind_rows, share_rows

IMAGES = 220  # of the test split, at most, evenly spaced
AT_ONCE = 44  # images
OCCLUDERS = "occluders"  # in the scene: the split test_occluded
CLEAN = ("clean", 0.0)
CHAIN_MEAN = f"{estimators.MEAN}, {estimators.ALGORITHM_2}"

CONDITIONS = (
    CLEAN,
    *((name, ratio) for name, ratios in RATIOS.items() for ratio in ratios if ratio > 0),
    (OCCLUDERS, 1.0),
)

# What need not look like a body.
NO_BODIES = (estimators.ARGMAX, estimators.BEST)

# Where uncertainty and plausibility are asked for, besides errors.
LOOKED_INTO = (CLEAN, (MASK, 0.4), (CROP, 0.2), (OCCLUDERS, 1.0))


class Tested(NamedTuple):
    """Who is tested, and on what."""

    config: object
    data: dict
    """{split: PoseDataset}: test and test_occluded."""
    contenders: tuple
    """`Contender`s."""
    references: object
    """`contenders.References`, or what has its methods."""


class Pictures(NamedTuple):
    """The images of a condition, evenly spaced over its split."""

    images: torch.Tensor
    """uint8 (n, 3, h, w)."""
    condition: object
    """Their `Condition`."""
    dataset: object
    """The split they are of."""
    rows: torch.Tensor
    """int64 (n,), of the split."""
    joints_2d: torch.Tensor
    """What a lifter is given: float (n, J, 2), pixels; hidden joints at the image's centre."""


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
    """{"errors", "uncertainty", "plausibility", "conventions": rows} of a `Tested`.

    Args:
        found: a `Tested`.
        folder: of these contenders and these settings alone; keeps each condition's rows, so that a
            run that was killed goes on with the next condition.
    """
    return each_condition(CONDITIONS, lambda *place: condition_rows(found, *place), folder)


def each_condition(places, rows_of, folder):
    """{kind: rows} of every (protocol, level), each kept in a file as soon as it is there.

    Args:
        places: list of (protocol, level).
        rows_of: (protocol, level) → {kind: rows}.
        folder: for the files, of this measurement alone.
    """
    rows = {}
    for protocol, level in places:
        path = folder / f"{protocol}-{level:g}.json"
        if not is_there(path):
            write_rows(path, rows_of(protocol, level))
        for kind, own in read_json(path).items():
            rows.setdefault(kind, []).extend(own)
    return rows


def condition_rows(found, protocol, level):
    """The same of one of `CONDITIONS`; kinds that are not asked for there have no rows."""
    pictures = pictures_of(found, protocol, level)
    condition = pictures.condition
    predictions, hypotheses = _answers(found, pictures)
    rows = {"errors": error_rows(predictions, condition)}
    rows |= {"uncertainty": [], "plausibility": [], "conventions": []}
    wanted = {(c.method, c.estimator) for c in found.contenders if c.in_detail}
    detailed = [p for p in predictions if (p.method, p.estimator) in wanted]
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
        for names, poses in hypotheses.items():
            rows["uncertainty"] += uncertainty_rows(poses, condition, *names, more_joints)
        bones = own_bones(pictures.dataset)[pictures.rows]
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


def pictures_of(found, protocol, level):
    """The `Pictures` of one condition of a `Tested`."""
    config = found.config
    dataset = found.data["test_occluded" if protocol == OCCLUDERS else "test"]
    rows = spread_rows(dataset, IMAGES)
    images, visible = dataset.take("image", rows), dataset.take("visible", rows)
    joints_2d = dataset.take("joints_2d", rows)
    if protocol in RATIOS:
        seeds = [seed_for(config.seed, "occlusion", row) for row in rows.tolist()]
        lost = occluded(protocol, level, images, joints_2d, seeds)
        images, joints_2d, visible = lost.images, lost.joints_2d, visible & ~lost.hidden
    elif protocol == OCCLUDERS:
        covered = dataset.take("covered", rows)
        joints_2d = without_hidden(joints_2d, covered, dataset.image_size)
    samples = config.evaluation.bootstrap_samples
    condition = condition_of(dataset, protocol, level, samples, config.seed, rows, visible)
    return Pictures(images, condition, dataset, rows, joints_2d)


def _answers(found, pictures):
    """Every method's `Prediction`, and {(method, name): hypotheses float (n, H, J, 3)}."""
    condition = pictures.condition
    where = (condition.protocol, condition.level)
    predictions, hypotheses = reference_answers(found, pictures), {}
    for contender in found.contenders:
        count = contender.looked_into if where in LOOKED_INTO else contender.samples
        poses = drawn(found, contender, pictures, count)
        predictions += answers(contender, poses, condition.pose)
        if where in LOOKED_INTO and count > 1:
            hypotheses[contender.method, contender.set_of(count)] = poses
    return predictions, hypotheses


def reference_answers(found, pictures):
    """The references' `Prediction`s for `Pictures`."""
    positions = pictures.dataset.take("camera_position", pictures.rows)
    predictions = found.references.of_images(pictures.images, positions)
    condition = pictures.condition
    if (condition.protocol, condition.level) == CLEAN:  # the tokenizer does not see the picture
        predictions += found.references.of_truth(condition.pose)
    return predictions


def drawn(found, contender, pictures, num_hypotheses):
    """A contender's hypotheses (n, H, J, 3), on the CPU, with a line of progress.

    An image's draws depend on the run's seed and the image's row alone.
    """
    condition, lifts = pictures.condition, contender.takes == JOINTS_2D
    given = pictures.joints_2d if lifts else pictures.images
    seeds = [seed_for(found.config.seed, "protocols", row) for row in pictures.rows.tolist()]
    name = f"{condition.protocol} {condition.level:g}, {contender.estimator}"
    progress, poses = Progress(name, len(given)), []
    for first in range(0, len(given), AT_ONCE):
        some = slice(first, first + AT_ONCE)
        asked = given[some], seeds[some], num_hypotheses, contender.takes
        poses.append(predicted(contender.predictor, *asked).cpu())
        progress.tick(min(first + AT_ONCE, len(given)))
    progress.report(len(given), {})
    return torch.cat(poses)
