"""Does a pose look like a body? Bones, symmetry and joint limits, beside ground truth's own.

**Bones** against those of the body in the picture: the median over the true poses of its
recording (a subject of motion capture may have a skeleton in each recording).

**Limits.** Without a template the 17 joints tell four angles of each side, and these exactly
as `bodies.forward_kinematics` makes them, whatever the pelvis's tilt:

- knee and elbow flexion: between the two bones, 0 is straight;
- hip abduction: how far the thigh leans outwards along the line of the hips;
- hip rotation: how far the knee's hinge, the normal of thigh and shank, is turned about the
  thigh from where the line of the hips has it. Told where the knee bends by `LEAST_BEND_DEG`
  or more.

A hinge turned beyond 90° is a knee bent forwards: its flexion is counted as negative, its
rotation as that of the turned hinge. Elbows have no such sign: the shoulder turns the upper
arm through 160°, so an elbow bent backwards is another posture of the shoulder. Hip flexion
and the trunk's angles are not told apart by joints alone.

The ranges are those of `bodies.JOINT_LIMITS` (AAOS), each widened by `MARGIN_DEG` on both
sides for what differs between people and skeletons. The synthetic bodies keep them by
construction; how often real ones leave them, ground truth's own rows say.
"""

import torch

from di2pose_lib.base.checks import check_pose, check_tensor, require
from di2pose_lib.base.metrics import MM_PER_M
from di2pose_lib.base.skeleton import BONES, JOINT_NAMES, NUM_JOINTS, bone_lengths
from di2pose_lib.data.bodies import JOINT_LIMITS
from di2pose_lib.evaluation.pictures import joined

GROUND_TRUTH = "ground truth"
MARGIN_DEG = 5.0
LEAST_BEND_DEG = 20.0
LIMB_ANGLES = ("knee_flexion", "hip_abduction", "hip_rotation", "elbow_flexion")

_JOINT = {name: joint for joint, name in enumerate(JOINT_NAMES)}
_PAIRS = ("hip", "knee", "ankle", "shoulder", "elbow", "wrist")  # a bone's name: where it ends


def own_bones(dataset):
    """Bone lengths of the body in each image of a split, float64 (n, 16), metres.

    In the order of `skeleton.BONES`; medians over the true poses of the image's recording.
    """
    lengths = bone_lengths(dataset.take("pose")).double()
    recording = dataset.take("recording")
    medians = torch.empty_like(lengths)
    for number in recording.unique():
        medians[recording == number] = lengths[recording == number].median(dim=0).values
    return medians


def bone_errors_mm(pose, bones):
    """How far each bone is from its own length, float64 (n, 16), mm, never negative.

    Args:
        pose: joints, float (n, 17, 3), metres.
        bones: the body's lengths, float (n, 16), metres, in the order of `skeleton.BONES`.

    Raises:
        ValueError: other shapes, NaN.
    """
    check_tensor("bones", bones, (len(pose), len(BONES)), "float")
    return (bone_lengths(pose).double() - bones.double()).abs() * MM_PER_M


def bone_errors_percent(pose, bones):
    """The same in per cent of the bone's own length; a bone without length is refused."""
    errors = bone_errors_mm(pose, bones)
    shortest = bones.min().item()
    require(shortest > 0, f"`bones` must be positive; got {shortest}")
    return 100 * errors / (bones.double() * MM_PER_M)


def asymmetry_mm(pose):
    """Left bone minus right bone, float64 (n, 6), mm: hip, knee, ankle, shoulder, elbow, wrist.

    Each bone is named by the joint that it ends in. A mirrored pose has the negative.
    Argument as in `limb_angles_deg`.
    """
    check_pose("pose", pose, ("n", NUM_JOINTS, 3))
    lengths = bone_lengths(pose).double() * MM_PER_M
    left, right = ([_JOINT[f"{side} {end}"] - 1 for end in _PAIRS] for side in ("left", "right"))
    return lengths[:, left] - lengths[:, right]  # bone n ends in joint n + 1


def limb_angles_deg(pose):
    """{name of `LIMB_ANGLES`: float64 (n, 2), degrees, left and right}.

    The hip's rotation is NaN where the knee bends by less than `LEAST_BEND_DEG`.

    Args:
        pose: joints, float (n, 17, 3), metres, in any right-handed frame (the camera's is).

    Raises:
        ValueError: another shape, NaN.
    """
    check_pose("pose", pose, ("n", NUM_JOINTS, 3))
    pose = pose.double()
    across = _unit(pose[:, _JOINT["left hip"]] - pose[:, _JOINT["right hip"]])
    sides = [_side_angles(pose, across, side) for side in ("left", "right")]
    return {name: torch.stack([s[name] for s in sides], dim=1) for name in LIMB_ANGLES}


def _side_angles(pose, across, side):
    def bone(parent, child):
        return _unit(pose[:, _JOINT[f"{side} {child}"]] - pose[:, _JOINT[f"{side} {parent}"]])

    outward = 1 if side == "left" else -1
    thigh, shank = bone("hip", "knee"), bone("knee", "ankle")
    flexion = _angle(thigh, shank)
    leaning = _dot(thigh, across)
    hinge = torch.linalg.cross(thigh, shank)  # to the body's left, for a knee bent backwards
    straight = across - leaning[:, None] * thigh  # where it points without rotation
    rotation = torch.rad2deg(
        torch.atan2(-_dot(torch.linalg.cross(straight, hinge), thigh), _dot(straight, hinge))
    )
    forwards = rotation.abs() > 90
    turned = torch.where(forwards, rotation - 180 * rotation.sign(), rotation)
    return {
        "knee_flexion": torch.where(forwards, -flexion, flexion),
        "hip_abduction": torch.rad2deg(torch.asin((outward * leaning).clamp(-1, 1))),
        "hip_rotation": torch.where(flexion < LEAST_BEND_DEG, torch.nan, outward * turned),
        "elbow_flexion": _angle(bone("shoulder", "elbow"), bone("elbow", "wrist")),
    }


def _dot(a, b):
    return (a * b).sum(dim=-1)


def _unit(vector):
    """A direction; of a bone without length 0, which has every angle 0."""
    return torch.nn.functional.normalize(vector, dim=-1)


def _angle(a, b):
    return torch.rad2deg(torch.atan2(torch.linalg.cross(a, b).norm(dim=-1), _dot(a, b)))


def beyond_limits_deg(pose):
    """How far each angle leaves its widened range, float64 (n, 8), degrees; 0 is within.

    In the order of `LIMB_ANGLES`, left and right of each. A rotation that is not told is
    within. Argument as in `limb_angles_deg`.
    """
    beyond = []
    for name, angles in limb_angles_deg(pose).items():
        low, high, _ = JOINT_LIMITS[f"left_{name}"]
        too_low, too_high = low - MARGIN_DEG - angles, angles - high - MARGIN_DEG
        beyond.append(torch.maximum(too_low, too_high).nan_to_num(0.0).clamp_min(0))
    return torch.cat(beyond, dim=1)


def plausibility_rows(predictions, truth, bones):
    """Rows of every prediction, then those of ground truth.

    Metrics: bone_error_mm and bone_error_percent (a bone is visible where both of its ends
    are), asymmetry_mm (its size), limit_violations_percent (of the eight angles) and
    poses_beyond_limits_percent (with at least one). The rows of ground truth have the
    method `GROUND_TRUTH` and an empty estimator.

    Args:
        predictions: `Prediction`s for the images of a `Truth`.
        truth: the `Truth`.
        bones: `own_bones` of its images, float (n, 16), metres.

    Raises:
        ValueError: poses or bones of another shape, NaN, or a bone without length.
    """
    parents, children = (list(ends) for ends in zip(*BONES, strict=True))
    seen = truth.visible[:, parents] & truth.visible[:, children]
    bone_masks = {"all": torch.ones_like(seen), "visible": seen, "occluded": ~seen}
    tables = []
    for method, estimator, pose in (*predictions, (GROUND_TRUTH, "", truth.pose)):
        truth.check("predictions", pose)
        names = {"method": method, "estimator": estimator}
        for metric, errors in {
            "bone_error_mm": bone_errors_mm(pose, bones),
            "bone_error_percent": bone_errors_percent(pose, bones),
        }.items():
            tables.append(truth.joint_rows(errors, bone_masks, metric=metric, **names))
        violated = (beyond_limits_deg(pose) > 0).double()
        for metric, values in {
            "asymmetry_mm": asymmetry_mm(pose).abs().mean(dim=1),
            "limit_violations_percent": 100 * violated.mean(dim=1),
            "poses_beyond_limits_percent": 100 * violated.amax(dim=1),
        }.items():
            tables.append(truth.rows(values, metric=metric, **names))
    return joined(tables)
