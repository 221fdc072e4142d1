"""The Human3.6M skeleton of 17 joints: names, parents, bones, left and right."""

import torch

from di2pose_lib.base.checks import check_tensor

JOINT_NAMES = (
    *("pelvis", "right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle"),
    *("spine", "thorax", "nose", "head"),
    *("left shoulder", "left elbow", "left wrist", "right shoulder", "right elbow", "right wrist"),
)
NUM_JOINTS = len(JOINT_NAMES)

# The parent of each joint; the pelvis is the root.
PARENTS = (-1, 0, 1, 2, 0, 4, 5, 0, 7, 8, 9, 8, 11, 12, 8, 14, 15)

# Bones as (parent, child), in the order of the child joint.
BONES = tuple((parent, child) for child, parent in enumerate(PARENTS) if parent >= 0)

FLIP_PAIRS = ((1, 4), (2, 5), (3, 6), (11, 14), (12, 15), (13, 16))

# FLIP[j] is the joint that j becomes in a mirror.
FLIP = list(range(NUM_JOINTS))
for _left, _right in FLIP_PAIRS:
    FLIP[_left], FLIP[_right] = _right, _left

ACTIONS = (
    *("Directions", "Discussion", "Eating", "Greeting", "Phoning", "Photo", "Posing", "Purchases"),
    *("Sitting", "SittingDown", "Smoking", "Waiting", "WalkDog", "Walking", "WalkTogether"),
)


def bone_lengths(joints):
    """Lengths (..., 16) in metres of `BONES`, from joints (..., 17, 3) in metres.

    Raises:
        TypeError: not a tensor.
        ValueError: another shape, no floats, NaN or infinity.
    """
    check_tensor("joints", joints, (..., NUM_JOINTS, 3), "float")
    parents, children = (torch.tensor(ends) for ends in zip(*BONES, strict=True))
    return (joints[..., children, :] - joints[..., parents, :]).norm(dim=-1)
