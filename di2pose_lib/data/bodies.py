"""Procedural bodies: subjects, bone lengths, joint limits, forward kinematics.

A subject is sixteen bone lengths and a girth, drawn from its name and a seed. A
pose is a set of anatomical angles in degrees; `forward_kinematics` turns it into
the 17 Human3.6M joints, standing on the floor z = 0.

Body frame: x forward, y to the body's left, z up, right-handed. At heading 0 it
is the world frame. All angles 0 is upright with hanging arms. Flexion moves a
limb forward (the knee's: the shank backward), abduction away from the midline,
rotation is positive outwards; trunk and neck bend and turn positive to the left.

Ranges, in `JOINT_LIMITS`: the values of the American Academy of Orthopaedic
Surgeons (AAOS) as Norkin & White, Measurement of Joint Motion, tabulate them;
the shoulder's adduction is horizontal adduction beyond straight ahead (135 − 90);
the clavicle after Neumann, Kinesiology of the Musculoskeletal System, with the
retraction at the low end of its 15 to 30.
"""

import hashlib
from dataclasses import dataclass

import torch

from di2pose_lib.base.skeleton import BONES, JOINT_NAMES, NUM_JOINTS

TRAIN_SUBJECTS = ("S1", "S5", "S6", "S7")
VALIDATION_SUBJECTS = ("S8",)
TEST_SUBJECTS = ("S9", "S11")
EXTRA_TEST_SUBJECTS = tuple(f"T{number:02d}" for number in range(1, 21))

# Degrees (low, high) and where the range comes from. The pelvis itself is free.
_TRUNK_LIMITS = {
    "trunk_flexion": (-25.0, 80.0, "AAOS"),
    "trunk_lateral": (-35.0, 35.0, "AAOS"),
    "trunk_rotation": (-45.0, 45.0, "AAOS"),
    "neck_flexion": (-45.0, 45.0, "AAOS"),
    "neck_lateral": (-45.0, 45.0, "AAOS"),
    "neck_rotation": (-60.0, 60.0, "AAOS"),
}
_SIDE_LIMITS = {
    "clavicle_elevation": (-10.0, 45.0, "Neumann"),
    "clavicle_protraction": (-15.0, 30.0, "Neumann"),
    "shoulder_flexion": (-60.0, 180.0, "AAOS"),
    "shoulder_abduction": (-45.0, 180.0, "AAOS"),
    "shoulder_rotation": (-70.0, 90.0, "AAOS"),
    "elbow_flexion": (0.0, 150.0, "AAOS"),
    "hip_flexion": (-30.0, 120.0, "AAOS"),
    "hip_abduction": (-30.0, 45.0, "AAOS"),
    "hip_rotation": (-45.0, 45.0, "AAOS"),
    "knee_flexion": (0.0, 135.0, "AAOS"),
}
JOINT_LIMITS = _TRUNK_LIMITS | {
    f"{side}_{name}": limit for side in ("left", "right") for name, limit in _SIDE_LIMITS.items()
}
ANGLE_NAMES = tuple(JOINT_LIMITS)
NUM_ANGLES = len(ANGLE_NAMES)
# The root: heading (to the left), forward tilt, roll (to the left) of the pelvis.
ROOT_ANGLE_NAMES = ("heading", "tilt", "roll")

# Average adult in metres, near Human3.6M's S1; sides share a length.
_AVERAGE_LENGTHS = {
    "hip": 0.133,
    "knee": 0.443,
    "ankle": 0.454,
    "spine": 0.233,
    "thorax": 0.257,
    "nose": 0.121,
    "head": 0.115,
    "shoulder": 0.151,
    "elbow": 0.279,
    "wrist": 0.252,
}
_HEIGHT_SPREAD, _PROPORTION_SPREAD, _GIRTH_SPREAD = 0.06, 0.03, 0.15

# How far above the floor a joint's centre comes to rest, metres.
_CLEARANCES = {"hip": 0.09, "pelvis": 0.09, "ankle": 0.08, "knee": 0.06, "shoulder": 0.07}
_CLEARANCES |= {"spine": 0.1, "thorax": 0.1, "nose": 0.1, "head": 0.04, "elbow": 0.04}
_CLEARANCES |= {"wrist": 0.03}

# Resting directions in the frame that carries the bone; the nose lies ahead of the
# thorax-head line, so that joints alone tell where the head faces.
_NOSE_DIRECTION = (0.5, 0.0, 0.866)
_HEAD_DIRECTION = (-0.2, 0.0, 0.98)
_SPINE_DIRECTION = (-0.12, 0.0, 0.993)
_THORAX_DIRECTION = (0.05, 0.0, 0.999)
_CLAVICLE_DROOP = 10.0

_TRUNK_ORDER = ("rotation", "flexion", "lateral")
_LIMB_ORDER = ("flexion", "abduction", "rotation")
# Side, sign of y, joints of the leg, joints of the arm.
_LIMBS = (("left", 1, (4, 5, 6), (11, 12, 13)), ("right", -1, (1, 2, 3), (14, 15, 16)))


@dataclass(frozen=True)
class Subject:
    """A body.

    Attributes:
        name: of the subject.
        bone_lengths: float64 (16,), metres, in the order of `skeleton.BONES`.
        girth: thickness of the flesh relative to the average body, about 1.
    """

    name: str
    bone_lengths: torch.Tensor
    girth: float


def make_subject(name, seed):
    """The body that belongs to a name and a seed, whatever was drawn before.

    Height varies by ±6 %, each proportion by ±3 %, girth by ±15 %, all uniform.

    Args:
        name: str.
        seed: int; another seed gives the same names other bodies.

    Returns:
        Subject, symmetric left and right.
    """
    digest = hashlib.sha256(f"{name}/{seed}".encode()).digest()
    generator = torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))
    draws = torch.rand(len(_AVERAGE_LENGTHS) + 2, generator=generator, dtype=torch.float64) * 2 - 1
    height, girth = 1 + _HEIGHT_SPREAD * draws[0], 1 + _GIRTH_SPREAD * draws[1]
    proportions = 1 + _PROPORTION_SPREAD * draws[2:]
    lengths = {
        part: average * height * proportion
        for (part, average), proportion in zip(_AVERAGE_LENGTHS.items(), proportions, strict=True)
    }
    bones = [lengths[_part(child)] for _, child in BONES]
    return Subject(name, torch.stack(bones), girth.item())


def mirror_angles(root_deg, joint_deg):
    """The angles of the mirror image: left and right swapped, sideways signs turned.

    Args:
        root_deg: float (..., 3), degrees, in the order of `ROOT_ANGLE_NAMES`.
        joint_deg: float (..., 26), degrees, in the order of `ANGLE_NAMES`.

    Returns:
        (root_deg, joint_deg) of the body mirrored in its world's xz plane.
    """
    half = len(_SIDE_LIMITS)
    sideways = ("trunk_lateral", "trunk_rotation", "neck_lateral", "neck_rotation")
    signs = [-1.0 if name in sideways else 1.0 for name in _TRUNK_LIMITS]
    trunk, left, right = joint_deg.split([len(_TRUNK_LIMITS), half, half], dim=-1)
    trunk = trunk * joint_deg.new_tensor(signs)
    return root_deg * root_deg.new_tensor([-1, 1, -1]), torch.cat([trunk, right, left], dim=-1)


def forward_kinematics(bone_lengths, root_xy, root_deg, joint_deg):
    """Joints of poses given by angles, each pose set down on the floor z = 0.

    The trunk's angles are shared equally by the bones pelvis-spine and
    spine-thorax; the neck's carry nose and head together. Frames rotate as
    R_child = R_parent · R_z(rotation) R_y(flexion) R_x(lateral) for the trunk and
    R_parent · R_y(flexion) R_x(abduction) R_z(rotation) for a limb.

    Args:
        bone_lengths: float (16,), metres, in the order of `skeleton.BONES`.
        root_xy: float (B, 2), metres: where the pelvis is over the floor.
        root_deg: float (B, 3), degrees: heading, forward tilt and roll of the pelvis.
        joint_deg: float (B, 26), degrees, in the order of `ANGLE_NAMES`.

    Returns:
        float (B, 17, 3), metres, world frame; every joint is above the floor by
        its own flesh, at least one touches.
    """
    angles = dict(zip(ANGLE_NAMES, joint_deg.unbind(-1), strict=True))
    length = {child: bone_lengths[index] for index, (_, child) in enumerate(BONES)}
    joints = [torch.zeros_like(root_deg)] * NUM_JOINTS
    heading, tilt, roll = root_deg.unbind(-1)
    pelvis = _trunk_frame(heading, tilt, roll)  # (B, 3, 3)
    bend = _trunk_frame(*(angles[f"trunk_{way}"] / 2 for way in _TRUNK_ORDER))
    lumbar = pelvis @ bend
    thorax = lumbar @ bend
    head = thorax @ _trunk_frame(*(angles[f"neck_{way}"] for way in _TRUNK_ORDER))
    joints[7] = length[7] * _along(lumbar, _SPINE_DIRECTION)
    joints[8] = joints[7] + length[8] * _along(thorax, _THORAX_DIRECTION)
    joints[9] = joints[8] + length[9] * _along(head, _NOSE_DIRECTION)
    joints[10] = joints[9] + length[10] * _along(head, _HEAD_DIRECTION)

    for side, sign, leg, arm in _LIMBS:
        angle = {name: angles[f"{side}_{name}"] for name in _SIDE_LIMITS}
        hip, knee, ankle = leg
        joints[hip] = sign * length[hip] * pelvis[..., 1]
        thigh = pelvis @ _limb_frame(sign, *(angle[f"hip_{way}"] for way in _LIMB_ORDER))
        shank = thigh @ _rotation("y", angle["knee_flexion"])
        joints[knee] = joints[hip] - length[knee] * thigh[..., 2]
        joints[ankle] = joints[knee] - length[ankle] * shank[..., 2]
        shoulder, elbow, wrist = arm
        clavicle = thorax @ (
            _rotation("z", -sign * angle["clavicle_protraction"])
            @ _rotation("x", sign * (angle["clavicle_elevation"] - _CLAVICLE_DROOP))
        )
        joints[shoulder] = joints[8] + sign * length[shoulder] * clavicle[..., 1]
        upper = thorax @ _limb_frame(sign, *(angle[f"shoulder_{way}"] for way in _LIMB_ORDER))
        fore = upper @ _rotation("y", -angle["elbow_flexion"])
        joints[elbow] = joints[shoulder] - length[elbow] * upper[..., 2]
        joints[wrist] = joints[elbow] - length[wrist] * fore[..., 2]

    joints = torch.stack(joints, dim=-2)  # (B, 17, 3)
    clearance = joints.new_tensor([_CLEARANCES[_part(joint)] for joint in range(NUM_JOINTS)])
    height = (clearance - joints[..., 2]).amax(dim=-1, keepdim=True)  # (B, 1)
    return joints + torch.cat([root_xy, height], dim=-1)[:, None]


def _part(joint):
    """A joint's name without its side."""
    return JOINT_NAMES[joint].split()[-1]


def _along(frame, direction):
    unit = torch.nn.functional.normalize(frame.new_tensor(direction), dim=0)
    return frame @ unit


def _trunk_frame(rotation, flexion, lateral):
    turn = _rotation("z", rotation) @ _rotation("y", flexion)
    return turn @ _rotation("x", -lateral)


def _limb_frame(sign, flexion, abduction, rotation):
    swing = _rotation("y", -flexion) @ _rotation("x", sign * abduction)
    return swing @ _rotation("z", sign * rotation)


def _rotation(axis, degrees):
    """Right-handed rotation matrices (..., 3, 3) about a coordinate axis."""
    cos, sin = torch.cos(torch.deg2rad(degrees)), torch.sin(torch.deg2rad(degrees))
    zero, one = torch.zeros_like(cos), torch.ones_like(cos)
    rows = {
        "x": (one, zero, zero, zero, cos, -sin, zero, sin, cos),
        "y": (cos, zero, sin, zero, one, zero, -sin, zero, cos),
        "z": (cos, -sin, zero, sin, cos, zero, zero, zero, one),
    }[axis]
    return torch.stack(rows, dim=-1).unflatten(-1, (3, 3))
