"""The skeleton: one tree, mirrored by its own joint names."""

import pytest
import torch

from di2pose_lib.base.skeleton import (
    ACTIONS,
    BONES,
    FLIP,
    FLIP_PAIRS,
    JOINT_NAMES,
    NUM_JOINTS,
    PARENTS,
    bone_lengths,
)


def mirrored_name(name):
    if name.startswith("left "):
        return name.replace("left ", "right ")
    return name.replace("right ", "left ")


def test_there_are_17_joints_of_different_names():
    assert NUM_JOINTS == len(JOINT_NAMES) == len(set(JOINT_NAMES)) == len(PARENTS) == 17


def test_limbs_hang_together_as_in_human36m():
    chains = [(0, 1, 2, 3), (0, 4, 5, 6), (0, 7, 8, 9, 10), (8, 11, 12, 13), (8, 14, 15, 16)]
    bones = {pair for chain in chains for pair in zip(chain[:-1], chain[1:], strict=True)}
    assert set(BONES) == bones
    assert len(BONES) == 16


def test_every_joint_leads_to_the_pelvis_through_joints_of_smaller_number():
    assert PARENTS[0] == -1
    for joint in range(1, NUM_JOINTS):
        assert 0 <= PARENTS[joint] < joint


def test_bones_stand_in_the_order_of_their_child():
    assert [child for _, child in BONES] == list(range(1, NUM_JOINTS))
    assert [parent for parent, _ in BONES] == list(PARENTS[1:])


def test_a_mirror_swaps_left_and_right_names_and_keeps_the_middle():
    for joint, name in enumerate(JOINT_NAMES):
        assert JOINT_NAMES[FLIP[joint]] == mirrored_name(name)


def test_a_mirror_undoes_itself_and_keeps_the_tree():
    assert [FLIP[FLIP[j]] for j in range(NUM_JOINTS)] == list(range(NUM_JOINTS))
    assert {(FLIP[a], FLIP[b]) for a, b in BONES} == set(BONES)
    assert {frozenset((j, FLIP[j])) for j in range(NUM_JOINTS) if FLIP[j] != j} == {
        frozenset(pair) for pair in FLIP_PAIRS
    }


def test_the_15_actions_are_those_of_human36m():
    assert len(ACTIONS) == len(set(ACTIONS)) == 15
    assert {"Directions", "SittingDown", "WalkDog", "WalkTogether"} <= set(ACTIONS)
    assert list(ACTIONS) == sorted(ACTIONS, key=str.lower)[:13] + ["Walking", "WalkTogether"]


def test_bone_lengths_of_joints_on_a_line_by_hand():
    # Joint j stands at x = j², so the bone (p, c) is c² − p² long.
    joints = torch.zeros(1, 17, 3)
    joints[0, :, 0] = torch.arange(17) ** 2
    expected = [1, 3, 5, 16, 9, 11, 49, 15, 17, 19, 57, 23, 25, 132, 29, 31]
    assert bone_lengths(joints)[0].tolist() == pytest.approx(expected)


def test_bone_lengths_ignore_place_and_turn_and_follow_scale():
    joints = torch.randn(3, 17, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)).double())
    moved = 2.5 * joints @ turn.Q.T + torch.tensor([1.0, -2.0, 3.0], dtype=torch.float64)
    assert bone_lengths(joints).shape == (3, 16)
    torch.testing.assert_close(bone_lengths(moved), 2.5 * bone_lengths(joints))


@pytest.mark.parametrize("leading", [(), (2,), (2, 5)])
def test_joints_have_any_leading_axes(leading):
    assert bone_lengths(torch.zeros(*leading, 17, 3)).shape == (*leading, 16)


def test_joints_of_another_shape_or_kind_are_refused():
    with pytest.raises(
        ValueError, match=r"`joints` must have shape \(…, 17, 3\); got \(2, 18, 3\)"
    ):
        bone_lengths(torch.zeros(2, 18, 3))
    with pytest.raises(ValueError, match=r"`joints` must have shape \(…, 17, 3\); got \(17,\)"):
        bone_lengths(torch.zeros(17))
    with pytest.raises(ValueError, match=r"`joints` must not be empty; got shape \(0, 17, 3\)"):
        bone_lengths(torch.zeros(0, 17, 3))
    with pytest.raises(ValueError, match="`joints` must be finite; got NaN or infinity"):
        bone_lengths(torch.full((1, 17, 3), float("nan")))
    with pytest.raises(TypeError, match="`joints` must be a torch.Tensor; got list"):
        bone_lengths([[0.0, 0.0, 0.0]] * 17)
