"""Named conventions of the pose error: the same predictions, other numbers.

"MPJPE" is several measures. A convention says which point is the root, which joints count,
what is aligned and over which joints, and how images are averaged. `CONVENTIONS` names
those that peers use, and who; notebook 08 shows how far they lie apart.

All conventions take the 17 joints of `skeleton`. Where peers count 14, the joints of LSP,
ours that stand for them are `LSP_14`: ankles, knees, hips, wrists, elbows, shoulders, the
thorax for LSP's neck, and the head for its head top. Pelvis, spine and nose are left out,
so that no joint counted is 0 by definition. Mesh methods count the same set on Human3.6M
(`human36_eval_joint` in their code).
"""

from dataclasses import dataclass

import torch

from di2pose_lib.base.checks import check_pose, check_tensor, require
from di2pose_lib.base.metrics import MM_PER_M, procrustes
from di2pose_lib.base.skeleton import JOINT_NAMES, NUM_JOINTS
from di2pose_lib.evaluation.pictures import joined

LSP_14 = tuple(j for j, n in enumerate(JOINT_NAMES) if n not in ("pelvis", "spine", "nose"))
JOINT_SETS = {
    "17": tuple(range(NUM_JOINTS)),
    "16": tuple(range(1, NUM_JOINTS)),  # without the pelvis, which is 0 by definition
    "14": LSP_14,
}
PELVIS, HIPS = 0, (1, 4)

# Which point of the prediction is laid on which point of the truth.
ROOTS = ("pelvis", "hips", "hips on pelvis", "mean")
ALIGNMENTS = ("none", "scale", "rigid", "similarity")
SEEN = ("all", "visible", "occluded")
AVERAGES = ("frames", "actions")
FEWEST_TO_ALIGN = 3  # joints: a similarity lays any two on any other two


@dataclass(frozen=True)
class Convention:
    """One way to make a number of predictions and truths.

    Attributes:
        name: of the rows' metric.
        used_by: who reports this number.
        root: one of `ROOTS`. "mean" lays the means of the joints on each other; "hips" is
            the midpoint of the hips. A rotation's alignment always takes the means.
        joints: a key of `JOINT_SETS`.
        alignment: one of `ALIGNMENTS`. "scale" is the factor about the root that minimises
            squares; "rigid" a rotation and a translation; "similarity" both and a scale.
        seen: "all", "visible" or "occluded" joints count.
        fitted: "all" fits the alignment over all joints of the set, "counted" over those
            alone that count.
        average: over "frames", or of the means of "actions".

    Raises:
        ValueError: an unknown word.
    """

    name: str
    used_by: str
    root: str = "pelvis"
    joints: str = "17"
    alignment: str = "none"
    seen: str = "all"
    fitted: str = "all"
    average: str = "frames"

    def __post_init__(self):
        for field, known in {
            "root": ROOTS,
            "joints": tuple(JOINT_SETS),
            "alignment": ALIGNMENTS,
            "seen": SEEN,
            "fitted": ("all", "counted"),
            "average": AVERAGES,
        }.items():
            got = getattr(self, field)
            require(got in known, f"`{field}` must be one of {', '.join(known)}; got {got!r}")


REFERENCE = "MPJPE"
_NOBODY = "no benchmark that we know"
CONVENTIONS = {
    convention.name: convention
    for convention in (
        Convention(REFERENCE, "PoseNet release (mks0601); this repository's tables"),
        Convention(
            "MPJPE, mean of actions",
            "Martinez et al., VideoPose3D, DiffPose, D3DP; so most likely Di2Pose",
            average="actions",
        ),
        Convention("MPJPE, 16 joints", "inpainting in this repository", joints="16"),
        Convention("MPJPE, 14 joints", "3DPW as SPIN and PARE evaluate it", joints="14"),
        Convention("MPJPE, root between the hips", _NOBODY, root="hips"),
        Convention("MPJPE, 14 joints, root between the hips", "HMR", root="hips", joints="14"),
        Convention(
            "MPJPE, 14 joints, hips of the prediction on pelvis of the truth",
            "3DNBF",
            root="hips on pelvis",
            joints="14",
        ),
        Convention("MPJPE, means aligned", f"{_NOBODY}: what PA's translation gives", root="mean"),
        Convention(
            "N-MPJPE",
            "Rhodin et al., protocol 3 of VideoPose3D and others: scale alone",
            alignment="scale",
        ),
        Convention(
            "PA-MPJPE without scale", "PoseNet release (mks0601), as its PA", alignment="rigid"
        ),
        Convention("PA-MPJPE", "this repository's tables", alignment="similarity"),
        Convention(
            "PA-MPJPE, mean of actions",
            "Protocol 2 of Martinez et al., VideoPose3D, DiffPose, D3DP; so most likely Di2Pose",
            alignment="similarity",
            average="actions",
        ),
        Convention(
            "PA-MPJPE, 14 joints",
            "HMR; 3DPW as SPIN and PARE evaluate it",
            joints="14",
            alignment="similarity",
        ),
        Convention("MPJPE, visible joints", "AdvOcc of 3DNBF, with its 14", seen="visible"),
        Convention("MPJPE, occluded joints", "this repository's tables", seen="occluded"),
        Convention(
            "PA-MPJPE, visible joints, aligned over all",
            "this repository's tables",
            alignment="similarity",
            seen="visible",
        ),
        Convention(
            "PA-MPJPE, visible joints, aligned over them alone",
            "AdvOcc of 3DNBF, with its 14",
            alignment="similarity",
            seen="visible",
            fitted="counted",
        ),
        Convention(
            "PA-MPJPE, occluded joints, aligned over all",
            "this repository's tables",
            alignment="similarity",
            seen="occluded",
        ),
        Convention(
            "PA-MPJPE, occluded joints, aligned over them alone",
            _NOBODY,
            alignment="similarity",
            seen="occluded",
            fitted="counted",
        ),
    )
}


def counted_joints(convention, visible):
    """Which joints a convention averages, bool (n, 17), where `visible` (n, 17) are seen."""
    check_tensor("visible", visible, ("n", NUM_JOINTS), "bool")
    counted = _joint_set(convention, visible)
    if convention.seen == "all":
        return counted
    return counted & (visible if convention.seen == "visible" else ~visible)


def _joint_set(convention, like):
    """The joints of the convention's set in every pose, bool as `like` (n, 17)."""
    joints = torch.zeros_like(like)
    joints[:, list(JOINT_SETS[convention.joints])] = True
    return joints


def aligned_pose(pose_pred, pose, convention, visible):
    """The prediction moved onto the truth as a convention wants it, float64 (n, 17, 3), metres.

    Args:
        pose_pred: predicted joints, float (n, 17, 3), metres.
        pose: true joints, float (n, 17, 3), metres.
        convention: a `Convention`.
        visible: which joints are seen, bool (n, 17).

    Raises:
        ValueError: shapes disagree, NaN, or a pose without a joint to align by.
    """
    counted = counted_joints(convention, visible)
    check_pose("pose", pose, (len(counted), NUM_JOINTS, 3))
    check_pose("pose_pred", pose_pred, (len(counted), NUM_JOINTS, 3))
    fitted = counted if convention.fitted == "counted" else _joint_set(convention, visible)
    source, target = pose_pred.double(), pose.double()
    if convention.alignment == "similarity":
        return procrustes(source, target, fitted)
    if convention.alignment == "rigid":
        return _rigid(source, target, fitted)
    source = source - _root(source, convention.root.split(" on ")[0], fitted)
    root = _root(target, convention.root.split(" on ")[-1], fitted)
    if convention.alignment == "scale":
        weight = fitted[..., None]
        dot = (source * (target - root) * weight).sum(dim=(1, 2), keepdim=True)
        square = (source.square() * weight).sum(dim=(1, 2), keepdim=True)
        source = torch.where(square > 1e-12, dot / square.clamp_min(1e-12), 1.0) * source
    return source + root


def _root(pose, root, fitted):
    """The point (n, 1, 3) that a root names."""
    if root == "mean":
        return _mean(pose, fitted)
    if root == "hips":
        return pose[:, list(HIPS)].mean(dim=1, keepdim=True)
    return pose[:, [PELVIS]]


def _mean(pose, mask):
    weight = mask[..., None].double()
    return (pose * weight).sum(dim=1, keepdim=True) / weight.sum(dim=1, keepdim=True)


def _rigid(source, target, fitted):
    """The best rotation and translation: the best similarity's, its scale taken back."""
    similar = procrustes(source, target, fitted)
    source_mean, target_mean = _mean(source, fitted), _mean(target, fitted)
    before, after = (
        ((pose - mean) * fitted[..., None]).norm(dim=(1, 2), keepdim=True)
        for pose, mean in ((source, source_mean), (similar, target_mean))
    )
    # A truth whose joints coincide has shrunk all to a point: no rotation is better than another.
    turned = torch.where(
        after > 1e-9,
        (similar - target_mean) * (before / after.clamp_min(1e-9)),
        source - source_mean,
    )
    return turned + target_mean


def convention_errors_mm(pose_pred, pose, convention, visible):
    """Error of each image in a convention: (float64 (k,) in mm, int64 (k,) the images).

    Left out are images without a joint that counts, and those with fewer than
    `FEWEST_TO_ALIGN` where a rotation is fitted over these alone: it would lay one or two
    joints on the truth whatever was predicted. Arguments as in `aligned_pose`.
    """
    counted = counted_joints(convention, visible)
    turns = convention.alignment in ("rigid", "similarity")
    fewest = FEWEST_TO_ALIGN if turns and convention.fitted == "counted" else 1
    images = (counted.sum(dim=1) >= fewest).nonzero().flatten()
    if len(images) == 0:
        return torch.zeros(0, dtype=torch.float64), images
    counted = counted[images]
    moved = aligned_pose(pose_pred[images], pose[images], convention, visible[images])
    errors = (moved - pose[images].double()).norm(dim=-1) * MM_PER_M
    return (errors * counted).sum(dim=1) / counted.sum(dim=1), images


def convention_rows(prediction, truth):
    """Rows of the same predictions in every convention that averages over frames.

    A mean of actions is made of rows by action.

    Args:
        prediction: a `Prediction` for the images of a `Truth`.
        truth: the `Truth`.

    Raises:
        ValueError: poses of another shape, or NaN.
    """
    truth.check("prediction.pose", prediction.pose)
    names, tables = {"method": prediction.method, "estimator": prediction.estimator}, []
    for convention in CONVENTIONS.values():
        errors, images = convention_errors_mm(
            prediction.pose, truth.pose, convention, truth.visible
        )
        if len(images) > 0 and convention.average == "frames":
            columns = {"joints": convention.seen, "metric": convention.name}
            tables.append(truth.rows(errors, images, **columns, **names))
    return joined(tables)
