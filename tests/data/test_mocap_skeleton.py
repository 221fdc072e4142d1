import dataclasses

import pytest
import torch
from cmu_files import T_POSE, cmu_text

from di2pose_lib.data import bvh, mocap_skeleton


def test_the_hierarchy_has_31_joints_7_ends_and_96_channels(write):
    motion = bvh.read_bvh(write(cmu_text([T_POSE])))
    assert len(mocap_skeleton.HIERARCHY) == 31
    assert len(mocap_skeleton.END_SITES) == 7
    assert motion.frames.shape == (1, 96)
    mocap_skeleton.check_hierarchy("x", motion)


def test_the_world_is_the_file_turned_and_not_mirrored():
    axes = torch.eye(3, dtype=torch.float64)
    turned = mocap_skeleton.to_world(axes)
    assert torch.linalg.det(turned).item() == 1
    assert turned[1].tolist() == [0, 0, 1]  # up
    assert turned[2].tolist() == [0, -1, 0]  # the T-pose's front
    assert turned[0].tolist() == [1, 0, 0]  # its left


def test_joints_in_another_number_or_place_are_refused(write):
    motion = bvh.read_bvh(write(cmu_text([T_POSE])))

    def check(names, parents):
        mocap_skeleton.check_hierarchy(
            "x.bvh", dataclasses.replace(motion, names=names, parents=parents)
        )

    check(motion.names, motion.parents)
    with pytest.raises(ValueError, match="x.bvh must have .* hierarchy of 31 joints; got 32"):
        check((*motion.names, "Tail"), (*motion.parents, 0))
    with pytest.raises(ValueError, match="x.bvh must have .* hierarchy of 31 joints; got 30"):
        check(motion.names[:-1], motion.parents[:-1])
    with pytest.raises(ValueError, match="joint RThumb on RightHand; got 'RThumb' on Hips"):
        check(motion.names, (*motion.parents[:-1], 0))


def test_repair_leaves_the_motion_it_was_given_alone(write):
    motion = bvh.read_bvh(write(cmu_text([T_POSE])))
    before = motion.offsets.clone()
    repaired = mocap_skeleton.repair("x", motion)
    assert torch.equal(motion.offsets, before)
    changed = (repaired.offsets != before).any(dim=1).nonzero()[:, 0].tolist()
    assert {motion.names[index] for index in changed} == {
        *("Neck", "LeftShoulder", "RightShoulder"),
        *("LeftFingerBase", "RightFingerBase", "LThumb", "RThumb"),
    }
