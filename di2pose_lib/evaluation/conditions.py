"""One condition of an evaluation, a protocol at one level: its truth, and rows of results.

Every measure hands over one number an image, or one a joint; here they become rows with
95 % intervals over clusters, for all, visible and occluded joints apart.
"""

from typing import NamedTuple

import torch

from di2pose_lib.base.checks import check_pose, check_range, check_tensor, require
from di2pose_lib.base.seeding import generator_for
from di2pose_lib.evaluation.measure import clusters_of
from di2pose_lib.evaluation.statistics import cluster_bootstrap

DIGITS = 4  # of the clusters' means: rows stay small
MEAN_OF_ACTIONS = "mean of actions"  # a group of actions, in `of_action`


class Condition(NamedTuple):
    """What is measured against: n images, and how their intervals are drawn."""

    protocol: str
    """What is done to the images, as "crop"."""
    level: float
    """How strongly, as 0.2."""
    pose: torch.Tensor
    """True joints, float (n, J, 3), metres."""
    visible: torch.Tensor
    """Which joints are seen, bool (n, J)."""
    clusters: torch.Tensor
    """int64 (n,), of each image: what is resampled."""
    action: torch.Tensor
    """int64 (n,), of each image."""
    num_samples: int
    """Bootstrap samples."""
    seed: int

    @property
    def joint_masks(self):
        """{"all", "visible", "occluded": bool (n, J)}."""
        return {
            "all": torch.ones_like(self.visible),
            "visible": self.visible,
            "occluded": ~self.visible,
        }


def condition_of(dataset, protocol, level, num_samples, seed, rows=None, visible=None):
    """The `Condition` of a split, or of some of its images.

    Args:
        dataset: a `PoseDataset`.
        protocol: str.
        level: float.
        num_samples: bootstrap samples.
        seed: int.
        rows: int64 (n,), images of the split; None takes all.
        visible: bool (n, J); None takes those of the split. A protocol that covers more
            of the image gives its own.

    Raises:
        ValueError: rows that the split lacks, or another shape.
    """
    if rows is None:
        rows = torch.arange(len(dataset))
    check_tensor("rows", rows, ("n",), "int64")
    check_range("rows", rows, 0, len(dataset) - 1)
    pose = dataset.take("pose", rows)
    if visible is None:
        visible = dataset.take("visible", rows)
    check_tensor("visible", visible, tuple(pose.shape[:2]), "bool")
    return Condition(
        protocol,
        level,
        pose,
        visible,
        clusters_of(dataset)[1][rows],
        dataset.take("action", rows).long(),
        num_samples,
        seed,
    )


def of_action(protocol, action):
    """The protocol of the rows of one action, or group of actions: "clean: Sitting"."""
    return f"{protocol}: {action}"


def result_row(condition, method, estimator, joints, metric, values, images, groups=None):
    """A row of results: the mean of `values` with its interval, and the means of its clusters.

    The latter, "clusters", is None where `groups` are given: their mean is no mean of clusters.
    All rows of a condition resample its clusters with the same draws.

    Args:
        condition: a `Condition`.
        method, estimator, joints, metric: names, for the row.
        values: float (k,).
        images: int64 (k,), the image of each value; the row's n counts different ones.
        groups: int64 (k,) or None, as in `statistics.cluster_bootstrap`.

    Raises:
        ValueError: no values, other shapes, NaN, or an image that the condition lacks.
    """
    check_tensor("images", images, (len(values),), "int64")
    check_range("images", images, 0, len(condition.pose) - 1)
    interval = cluster_bootstrap(
        values,
        condition.clusters[images],
        condition.num_samples,
        generator_for(condition.seed, "bootstrap"),
        groups,
    )
    return {
        "protocol": condition.protocol,
        "level": condition.level,
        "method": method,
        "estimator": estimator,
        "joints": joints,
        "metric": metric,
        "mean": interval.mean,
        "ci95_low": interval.low,
        "ci95_high": interval.high,
        "seeds": 1,
        "n": len(images.unique()),
        "clusters": None if groups is not None else _by_cluster(values, condition, images),
    }


def _by_cluster(values, condition, images):
    """{"names", "means", "counts"} of the values by cluster: what several seeds are joined by."""
    names, member, counts = condition.clusters[images].unique(
        return_inverse=True, return_counts=True
    )
    sums = torch.zeros(len(names), dtype=torch.float64).index_add_(0, member, values.double())
    means = [round(mean, DIGITS) for mean in (sums / counts).tolist()]
    return {"names": names.tolist(), "means": means, "counts": counts.tolist()}


def joint_rows(condition, method, estimator, metric, per_joint, masks):
    """Rows of a measure that each joint has: an image counts by the mean of its joints.

    Images without a joint that counts are left out, and rows without an image.

    Args:
        condition, method, estimator, metric: as in `result_row`.
        per_joint: float (n, K), K joints or bones.
        masks: {name of the row's joints: bool (n, K)}.

    Raises:
        ValueError: other shapes, NaN.
    """
    sizes = check_tensor("per_joint", per_joint, (len(condition.pose), "K"), "float")
    rows = []
    for joints, mask in masks.items():
        check_tensor("masks", mask, (len(condition.pose), sizes["K"]), "bool")
        images = mask.any(dim=1).nonzero().flatten()
        if len(images) > 0:
            values, mask = per_joint.double()[images], mask[images]
            values = (values * mask).sum(dim=1) / mask.sum(dim=1)
            rows.append(result_row(condition, method, estimator, joints, metric, values, images))
    return rows


def check_poses(name, poses, condition):
    """Refuse poses that are not one for each image of a `Condition`: float (n, J, 3)."""
    require(
        tuple(poses.shape) == tuple(condition.pose.shape),
        f"`{name}` must have shape {tuple(condition.pose.shape)}, as the condition's; "
        f"got {tuple(poses.shape)}",
    )
    check_pose(name, poses, tuple(condition.pose.shape))
