"""Errors of clean images by action, and of contenders that are given other images instead.

The mean of the actions' means is a row of its own, as the field's tables have it; it is no mean
of clusters. With the images exchanged an error must rise, or the picture was not used.
"""

import torch

from di2pose_lib.evaluation import estimators, protocols
from di2pose_lib.evaluation.conditions import MEAN_OF_ACTIONS, of_action, result_row
from di2pose_lib.evaluation.contenders import SAMPLES, answers
from di2pose_lib.evaluation.measure import EXCHANGED, Prediction, action_groups, joint_errors


def settings():
    """What the rows depend on besides the training, for JSON."""
    return {
        "images": protocols.IMAGES,
        "samples": SAMPLES,
        "chain_steps": estimators.CHAIN_STEPS,
    }


def action_rows(found):
    """Rows of MPJPE and PA-MPJPE over all joints, of clean images.

    Every method by action, group of actions and `MEAN_OF_ACTIONS`; and whoever is told in detail
    with other images of the split, as method "…, images shuffled".

    Args:
        found: a `protocols.Tested`.
    """
    pictures = protocols.pictures_of(found, *protocols.CLEAN)
    predictions = protocols.reference_answers(found, pictures)
    for contender in found.contenders:
        poses = protocols.drawn(found, contender, pictures, contender.samples)
        predictions += answers(contender, poses, pictures.condition.pose)
    groups = action_groups(pictures.dataset, found.config.data.source)
    groups = {name: members[pictures.rows] for name, members in groups.items()}
    rows = [row for prediction in predictions for row in _by_action(prediction, pictures, groups)]
    return rows + protocols.error_rows(_shuffled(found, pictures), pictures.condition)


def _by_action(prediction, pictures, groups):
    condition, rows = pictures.condition, []
    names = (prediction.method, prediction.estimator, "all")
    for metric, errors in joint_errors(prediction.pose, condition.pose).items():
        errors = errors.mean(dim=1)
        for action, members in groups.items():
            images = members.nonzero().flatten()
            own = condition._replace(protocol=of_action(condition.protocol, action))
            if len(images) > 0:
                rows.append(result_row(own, *names, metric, errors[images], images))
        own = condition._replace(protocol=of_action(condition.protocol, MEAN_OF_ACTIONS))
        every = torch.arange(len(errors))
        rows.append(result_row(own, *names, metric, errors, every, condition.action))
    return rows


def _shuffled(found, pictures):
    """`Prediction`s from images half a split away."""
    half = len(pictures.images) // 2
    others = pictures._replace(
        images=pictures.images.roll(half, dims=0), joints_2d=pictures.joints_2d.roll(half, dims=0)
    )
    return [
        Prediction(
            f"{contender.method}, {EXCHANGED}",
            contender.estimator,
            protocols.drawn(found, contender, others, 1)[:, 0],
        )
        for contender in found.contenders
        if contender.in_detail
    ]
