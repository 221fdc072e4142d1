"""From the 31 joints of a motion-capture file to the 17 of Human3.6M.

The files are B. Hahne's BVH conversion of the CMU database: one hierarchy, y up, lengths
in 1/0.45 inch. Some bones got lost in it (OFFSET 0): the one from the chest to the neck
and shoulders, and half of each hand. `repair` gives them back, `retarget` picks or
averages the 17 joints, and `to_world` turns the axes.

World from file axes (the file has y up, its T-pose faces +z, left is +x):
(x, y, z) → (x, −z, y), a turn by +90° about x, no reflection. So the world is
right-handed with z up, the T-pose faces −y, and who looks at it along +y has x to the
right. Positions are not moved: the floor stays near z = 0.
"""

from dataclasses import replace
from itertools import pairwise

import torch

from di2pose_lib.base.checks import require
from di2pose_lib.base.skeleton import JOINT_NAMES
from di2pose_lib.data import bvh
from di2pose_lib.data.asf import INCHES_PER_UNIT

METRES_PER_UNIT = 0.0254 * INCHES_PER_UNIT
SHORTEST_BONE, LONGEST_BONE = 0.03, 0.8  # metres; the database's are 0.07 to 0.47
LEAST_STATURE, LARGEST_STATURE = 1.2, 2.3  # m, ankles to head; the database's are 1.4 to 1.6
# A limb's joints, and its length over the stature; the database's are 0.53 to 0.56, 0.34 to 0.4.
LIMBS = {
    "leg": (("hip", "knee", "ankle"), 0.4, 0.65),
    "arm": (("shoulder", "elbow", "wrist"), 0.25, 0.5),
}
UNLIKE = 1.1  # most of a limb's length over the other side's; the database's is 1.05
STRAIGHT = 0.8  # least cosine between an axis and what should lie along it at rest
T_POSE_ANGLE = 30  # degrees; the database's T-poses turn no joint by more than 21

_SIDES = ("left", "right")
# (start, end) of what points along x, y and z at rest.
_REST = (
    [(f"right {joint}", f"left {joint}") for parts, *_ in LIMBS.values() for joint in parts],
    [("pelvis", "thorax"), ("thorax", "head")]
    + [(f"{side} {b}", f"{side} {a}") for side in _SIDES for a, b in pairwise(LIMBS["leg"][0])],
    [(f"{side} ankle", f"{side} toes") for side in _SIDES],
)

# Parent to child in the order of every file: 31 joints, an End Site after each chain.
_CHAINS = (
    "Hips LHipJoint LeftUpLeg LeftLeg LeftFoot LeftToeBase",
    "Hips RHipJoint RightUpLeg RightLeg RightFoot RightToeBase",
    "Hips LowerBack Spine Spine1 Neck Neck1 Head",
    "Spine1 LeftShoulder LeftArm LeftForeArm LeftHand LeftFingerBase LeftHandIndex1",
    "LeftHand LThumb",
    "Spine1 RightShoulder RightArm RightForeArm RightHand RightFingerBase RightHandIndex1",
    "RightHand RThumb",
)
# (joint, its parent), and the joints that carry an End Site.
HIERARCHY = (("Hips", None),) + tuple(
    (child, parent) for chain in _CHAINS for parent, child in pairwise(chain.split())
)
END_SITES = tuple(chain.split()[-1] for chain in _CHAINS)
# The thigh bones of an ASF file and the joints whose OFFSET must equal them.
THIGHS = {"lfemur": "LeftLeg", "rfemur": "RightLeg"}
# A joint's place in the file: its row of the offsets and positions.
INDEX = {name: index for index, (name, _) in enumerate(HIERARCHY)}


def check_hierarchy(path, motion):
    """Refuse a motion of other joints, End Sites or unit than the conversion's."""
    got = [
        (name, None if parent < 0 else motion.names[parent])
        for name, parent in zip(motion.names, motion.parents, strict=True)
    ]
    for (name, parent), (wanted, wanted_parent) in zip(got, HIERARCHY, strict=False):
        require(
            (name, parent) == (wanted, wanted_parent),
            f"{path} must have the CMU hierarchy, with joint {wanted} on {wanted_parent}; "
            f"got {bvh.show(name)} on {parent}",
        )
    require(
        len(got) == len(HIERARCHY),
        f"{path} must have the CMU hierarchy of {len(HIERARCHY)} joints; got {len(got)}",
    )
    ends = tuple(motion.names[parent] for parent in motion.end_parents)
    require(
        ends == END_SITES,
        f"{path} must have End Sites on {', '.join(END_SITES)}; got {', '.join(ends) or 'none'}",
    )
    for joint in THIGHS.values():
        thigh = motion.offsets[INDEX[joint]].norm().item() * METRES_PER_UNIT
        require(
            0.15 <= thigh <= 0.8,
            f"{path} must count in 1/0.45 inch, so that the thigh above {joint} is 0.15 to 0.8 m; "
            f"got {thigh:.3g} m",
        )


def check_same_person(path, motion, asf, bones):
    """Refuse a skeleton whose thighs are not the motion's."""
    for bone, joint in THIGHS.items():
        apart = (bones[bone] - motion.offsets[INDEX[joint]]).norm().item()
        require(
            apart < 1e-3,
            f"`asf` must be the skeleton of {path}; got {asf}, whose {bone} is "
            f"{apart * METRES_PER_UNIT * 1000:.3g} mm off",
        )


def repair(path, motion, thorax=None):
    """The motion with the bones that the conversion dropped.

    OFFSET(Neck) = OFFSET(LeftShoulder) = OFFSET(RightShoulder) := the thorax bone, and
    OFFSET(FingerBase) = OFFSET(Thumb) := half of OFFSET(Hand) on either side. Unrepaired
    the trunk is about 117 mm and the forearm about 95 mm too short.

    Args:
        path: the file, for the message.
        motion: of the CMU hierarchy, those seven offsets zero.
        thorax: float64 (3,), the original bone in file units; None takes OFFSET(Spine1).

    Raises:
        ValueError: one of those offsets is not zero: not this conversion; or what stands in
            for the trunk bone is no bone of a person.
    """
    offsets = motion.offsets.clone()
    trunk = {"an OFFSET of Spine1": offsets[INDEX["Spine1"]]}
    if thorax is not None:
        trunk["a thorax bone in its ASF file"] = thorax
    for name, offset in trunk.items():
        length = offset.norm().item() * METRES_PER_UNIT
        require(
            SHORTEST_BONE <= length <= LONGEST_BONE,
            f"{path} must have {name} of {SHORTEST_BONE} to {LONGEST_BONE} m; got {length:.3g} m",
        )
    lost = {}
    for name in ("Neck", "LeftShoulder", "RightShoulder"):
        lost[name] = offsets[INDEX["Spine1"]] if thorax is None else thorax
    for side in ("Left", "Right"):
        lost[side + "FingerBase"] = lost[side[0] + "Thumb"] = 0.5 * offsets[INDEX[side + "Hand"]]
    for name, offset in lost.items():
        got = offsets[INDEX[name]].tolist()
        require(
            got == [0, 0, 0],
            f"{path} must have a zero OFFSET at {name}, which this conversion lost; got {got}",
        )
        offsets[INDEX[name]] = offset
    return replace(motion, offsets=offsets)


def check_rest_pose(path, motion):
    """Refuse a repaired motion whose skeleton at rest is no person in this file's axes.

    The rest pose is that of the OFFSETs, turned as the T-pose's root is: the subject's left
    on +x, up on +y, toes on +z; of human size, with two legs and arms alike.

    Args:
        path: the file, for the message.
        motion: with the T-pose, if there is one, as frame 0.

    Raises:
        ValueError: it lies, is mirrored, too large, too small, or out of proportion.
    """
    at = _rest_joints(motion)
    for axis, pairs in enumerate(_REST):
        for start, end in pairs:
            step = at[end] - at[start]
            require(
                step[axis] > STRAIGHT * step.norm(),
                f"{path} must rest with the subject's left on +x, up on +y and toes on +z; got "
                f"the {end} at ({', '.join(f'{x:.2f}' for x in step.tolist())}) m from the {start}",
            )
    stature = (at["head"][1] - min(at["left ankle"][1], at["right ankle"][1])).item()
    require(
        LEAST_STATURE <= stature <= LARGEST_STATURE,
        f"{path} must rest with {LEAST_STATURE} to {LARGEST_STATURE} m from ankles to head, "
        f"counted in 1/0.45 inch; got {stature:.3g} m",
    )
    for limb, (parts, least, most) in LIMBS.items():
        left, right = (
            sum((at[f"{side} {b}"] - at[f"{side} {a}"]).norm().item() for a, b in pairwise(parts))
            for side in _SIDES
        )
        alike = max(left, right) <= UNLIKE * min(left, right)
        require(
            alike and least * stature <= left <= most * stature,
            f"{path} must have two {limb}s alike, {least} to {most} of the {stature:.3g} m from "
            f"ankles to head; got {left:.3g} m on the left and {right:.3g} m on the right",
        )


def _rest_joints(motion):
    """{joint, or "left toes": float64 (3,)}, metres, file axes; see `check_rest_pose`."""
    rest = torch.zeros_like(motion.frames[:1])
    if motion.frames[0, 6:].abs().max() <= T_POSE_ANGLE:  # else it is no T-pose
        rest[0, 3:6] = motion.frames[0, 3:6]
    still = bvh.forward_kinematics(replace(motion, frames=rest))
    joints, ends = (points * METRES_PER_UNIT for points in still)
    at = dict(zip(JOINT_NAMES, retarget(joints, ends)[0], strict=True))
    for side in _SIDES:
        at[f"{side} toes"] = ends[0, END_SITES.index(f"{side.title()}ToeBase")]
    return at


def retarget(joints, ends):
    """The Human3.6M 17 joints (F, 17, 3) from joints (F, 31, 3) and End Sites (F, 7, 3).

    Pelvis: midpoint of the hip joints (not Hips, which lies about 100 mm higher); nose:
    midpoint of Neck1 and Head; head: Head's End Site; wrist: FingerBase.
    """

    def at(*names):
        return joints[:, [INDEX[name] for name in names]]

    def limb(side, *parts):
        return at(*(side + part for part in parts))

    hips = at("LeftUpLeg", "RightUpLeg").mean(1, keepdim=True)
    nose = at("Neck1", "Head").mean(1, keepdim=True)
    head = ends[:, [END_SITES.index("Head")]]
    legs = [limb(side, "UpLeg", "Leg", "Foot") for side in ("Right", "Left")]
    arms = [limb(side, "Arm", "ForeArm", "FingerBase") for side in ("Left", "Right")]
    return torch.cat([hips, *legs, at("Spine", "Neck"), nose, head, *arms], dim=1)


def to_world(points):
    """Points (..., 3) of the file's axes, y up, in the world's, z up: (x, −z, y)."""
    x, y, z = points.unbind(-1)
    return torch.stack([x, -z, y], dim=-1)
