"""Test pictures under one occlusion, their truth, and the rows of what is measured on them.

An occlusion is a name and a level: "clean", "occluders" in the scene (the split test_occluded has
the same frames), "mask" and "crop" of `data.occlusions`. Every measure hands over one number an
image, or one a joint; here they become rows of the table, one for each cluster.
"""

from typing import NamedTuple

import pandas as pd
import torch

from di2pose_lib.base.checks import check_pose, check_range, check_tensor, require
from di2pose_lib.base.seeding import seed_for
from di2pose_lib.data.occlusions import RATIOS, occluded, without_hidden
from di2pose_lib.evaluation.table import cluster_rows

CLEAN, OCCLUDERS = "clean", "occluders"
SPLITS = {CLEAN: "test", OCCLUDERS: "test_occluded"}  # of the prepared data
LEVELS = {CLEAN: 0.0, OCCLUDERS: 1.0}
FEW_SUBJECTS = 10  # below, intervals resample recordings, for subjects are too few
DIGITS = 4  # of a row's value: tables stay small


class Truth(NamedTuple):
    """What predictions for n images are measured against, and what their rows share."""

    pose: torch.Tensor
    """True joints, float (n, J, 3), metres."""
    visible: torch.Tensor
    """Which joints are seen, bool (n, J)."""
    clusters: list
    """n names: what intervals resample."""
    actions: list
    """n names."""
    columns: dict
    """Of all its rows: source, scale, condition, seed, occlusion, level."""

    @property
    def joint_masks(self):
        """{"all", "visible", "occluded": bool (n, J)}."""
        return {
            "all": torch.ones_like(self.visible),
            "visible": self.visible,
            "occluded": ~self.visible,
        }

    def rows(self, values, images=None, **columns):
        """Rows of a measure: a DataFrame, its value the mean of each cluster.

        Args:
            values: float (k,).
            images: int64 (k,), the image of each value; None: one value for each image.
            columns: method, estimator, metric …

        Raises:
            ValueError: no values, other shapes, NaN, or an image that is not among the n.
        """
        images = torch.arange(len(self.pose)) if images is None else images
        check_tensor("images", images, (len(values),), "int64")
        check_range("images", images, 0, len(self.pose) - 1)
        check_tensor("values", values, ("k",), "float")
        clusters = [self.clusters[image] for image in images.tolist()]
        return cluster_rows(values, clusters, DIGITS, **self.columns | columns)

    def joint_rows(self, per_joint, masks, **columns):
        """Rows of a measure that each joint has: an image counts by the mean of its joints.

        Images without a joint that counts are left out, and choices of joints without an image.

        Args:
            per_joint: float (n, K), K joints or bones.
            masks: {name of the rows' joints: bool (n, K)}.
            columns: as in `rows`.

        Raises:
            ValueError: other shapes, NaN.
        """
        sizes = check_tensor("per_joint", per_joint, (len(self.pose), "K"), "float")
        tables = []
        for joints, mask in masks.items():
            check_tensor("masks", mask, (len(self.pose), sizes["K"]), "bool")
            images = mask.any(dim=1).nonzero().flatten()
            if len(images) > 0:
                chosen, counts = per_joint.double()[images], mask[images]
                values = (chosen * counts).sum(dim=1) / counts.sum(dim=1)
                tables.append(self.rows(values, images, **columns | {"joints": joints}))
        return joined(tables)

    def action_rows(self, values, **columns):
        """Rows of one value an image, float (n,), action by action."""
        numbers = {name: number for number, name in enumerate(sorted(set(self.actions)))}
        action = torch.tensor([numbers[name] for name in self.actions])
        tables = []
        for name, number in numbers.items():
            images = (action == number).nonzero().flatten()
            tables.append(self.rows(values[images], images, **columns | {"action": name}))
        return joined(tables)

    def check(self, name, poses):
        """Refuse poses that are not one for each image: float (n, J, 3)."""
        require(
            tuple(poses.shape) == tuple(self.pose.shape),
            f"`{name}` must have shape {tuple(self.pose.shape)}, as the truth; "
            f"got {tuple(poses.shape)}",
        )
        check_pose(name, poses, tuple(self.pose.shape))


class Pictures(NamedTuple):
    """Some pictures of a split under one occlusion."""

    images: torch.Tensor
    """uint8 (n, 3, h, w)."""
    joints_2d: torch.Tensor
    """What a lifter is given: float (n, J, 2), pixels; hidden joints at the image's centre."""
    camera_position: torch.Tensor
    """float (n, 3), metres."""
    truth: Truth
    dataset: object
    """The split that they are of."""
    rows: torch.Tensor
    """int64 (n,), of the split."""

    @property
    def pose(self):
        """The true joints."""
        return self.truth.pose

    @property
    def occlusion(self):
        """(name, level)."""
        return self.truth.columns["occlusion"], self.truth.columns["level"]

    def shuffled(self):
        """The same with the image (and 2D joints) of the picture half a split away."""
        half = len(self.images) // 2
        images, joints = (part.roll(half, dims=0) for part in (self.images, self.joints_2d))
        return self._replace(images=images, joints_2d=joints)


def joined(tables):
    """One DataFrame of several, in their order; of none an empty one."""
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def spread_rows(dataset, most):
    """Evenly spaced rows of a split, int64 (n,), n ≤ `most`."""
    return torch.linspace(0, len(dataset) - 1, min(most, len(dataset))).round().long()


def clusters_of(dataset):
    """(what is resampled, its number for each image): subjects, or recordings where few.

    Intervals over the recordings of two people speak of these two, not of people.
    """
    kind = "subject" if len(dataset.subjects) >= FEW_SUBJECTS else "recording"
    return kind, dataset.take(kind).long()


def cluster_names(dataset, config):
    """The name of each image's cluster, n strings: "recording 7", "person 3-12" of seed 3.

    Synthetic people are drawn anew with each seed; captured ones are the same in all.
    """
    kind, numbers = clusters_of(dataset)
    drawn = f"{config.seed}-" if config.data.source == "synthetic" else ""
    word = "person" if kind == "subject" else kind
    return [f"{word} {drawn}{number}" for number in numbers.tolist()]


def truth_of(dataset, config, occlusion=CLEAN, level=None, rows=None, visible=None):
    """The `Truth` of a split, or of some of its images.

    Args:
        dataset: a `PoseDataset`.
        config: a `Config`.
        occlusion, level: what hides the body; None: the level that the occlusion has.
        rows: int64 (n,), images of the split; None takes all.
        visible: bool (n, J); None takes those of the split. An occlusion that covers more of the
            image gives its own.

    Raises:
        ValueError: rows that the split lacks, or another shape.
    """
    rows = torch.arange(len(dataset)) if rows is None else rows
    check_tensor("rows", rows, ("n",), "int64")
    check_range("rows", rows, 0, len(dataset) - 1)
    pose = dataset.take("pose", rows)
    visible = dataset.take("visible", rows) if visible is None else visible
    check_tensor("visible", visible, tuple(pose.shape[:2]), "bool")
    clusters, actions = cluster_names(dataset, config), dataset.action_names()
    columns = {
        "source": config.data.source,
        "scale": config.scale,
        "condition": "pictures",
        "seed": config.seed,
        "occlusion": occlusion,
        "level": LEVELS[occlusion] if level is None else level,
    }
    names = ([each[row] for row in rows.tolist()] for each in (clusters, actions))
    return Truth(pose, visible, *names, columns)


def pictures_of(data, config, occlusion=CLEAN, level=None, most=None):
    """The `Pictures` of one occlusion, all or so many of them, evenly spaced over the split.

    Args:
        data: {split: PoseDataset}: test and test_occluded.
        config: a `Config`.
        occlusion, level: as in `truth_of`.
        most: int; None takes all.

    Raises:
        ValueError: an unknown occlusion, or a mask or crop without a level.
    """
    known = (*SPLITS, *RATIOS)
    require(occlusion in known, f"`occlusion` must be one of {', '.join(known)}; got {occlusion!r}")
    require(
        occlusion in SPLITS or level is not None,
        f"`level` of a {occlusion} must be given; got None",
    )
    dataset = data[SPLITS.get(occlusion, SPLITS[CLEAN])]
    rows = spread_rows(dataset, len(dataset) if most is None else most)
    images, visible = dataset.take("image", rows), dataset.take("visible", rows)
    joints_2d = dataset.take("joints_2d", rows)
    if occlusion in RATIOS:
        seeds = [seed_for(config.seed, "occlusion", row) for row in rows.tolist()]
        lost = occluded(occlusion, level, images, joints_2d, seeds)
        images, joints_2d, visible = lost.images, lost.joints_2d, visible & ~lost.hidden
    elif occlusion == OCCLUDERS:
        covered = dataset.take("covered", rows)
        joints_2d = without_hidden(joints_2d, covered, dataset.image_size)
    truth = truth_of(dataset, config, occlusion, level, rows, visible)
    return Pictures(images, joints_2d, dataset.take("camera_position", rows), truth, dataset, rows)
