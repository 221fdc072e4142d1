import math

import pytest
import torch

from di2pose_lib.base.skeleton import BONES, FLIP, JOINT_NAMES, NUM_JOINTS, bone_lengths
from di2pose_lib.data import bodies

BODY = bodies.make_subject("S1", seed=0)
J = {name: index for index, name in enumerate(JOINT_NAMES)}
BONE = {JOINT_NAMES[child]: BODY.bone_lengths[i].item() for i, (_, child) in enumerate(BONES)}


def pose(root=(0.0, 0.0, 0.0), **angles):
    """The joints (17, 3) of one pose of BODY; angles not named are 0."""
    joint_deg = torch.zeros(1, bodies.NUM_ANGLES, dtype=torch.float64)
    for name, degrees in angles.items():
        joint_deg[0, bodies.ANGLE_NAMES.index(name)] = degrees
    root_deg = torch.tensor([root], dtype=torch.float64)
    root_xy = torch.zeros(1, 2, dtype=torch.float64)
    return bodies.forward_kinematics(BODY.bone_lengths, root_xy, root_deg, joint_deg)[0]


def random_angles(count, seed):
    generator = torch.Generator().manual_seed(seed)
    low, high, _ = zip(*bodies.JOINT_LIMITS.values(), strict=True)
    low, high = torch.tensor(low).double(), torch.tensor(high).double()
    unit = torch.rand(count, bodies.NUM_ANGLES, generator=generator, dtype=torch.float64)
    root = torch.rand(count, 3, generator=generator, dtype=torch.float64) * 120 - 60
    return root, low + unit * (high - low)


def close(got, wanted, atol=1e-9):
    torch.testing.assert_close(got, torch.tensor(wanted, dtype=torch.float64), atol=atol, rtol=0)


def test_every_subject_has_one_split_and_no_split_shares_a_subject():
    splits = {
        "train": bodies.TRAIN_SUBJECTS,
        "validation": bodies.VALIDATION_SUBJECTS,
        "test": bodies.TEST_SUBJECTS + bodies.EXTRA_TEST_SUBJECTS,
    }
    names = [name for group in splits.values() for name in group]
    assert len(names) == len(set(names)) == 27
    assert splits["train"] == ("S1", "S5", "S6", "S7") and splits["validation"] == ("S8",)
    assert bodies.TEST_SUBJECTS == ("S9", "S11")
    assert bodies.EXTRA_TEST_SUBJECTS[0] == "T01" and bodies.EXTRA_TEST_SUBJECTS[-1] == "T20"


def test_a_subject_depends_on_its_name_and_seed_alone():
    torch.manual_seed(5)
    again = bodies.make_subject("S1", seed=0)
    assert torch.equal(again.bone_lengths, BODY.bone_lengths) and again.girth == BODY.girth
    others = [bodies.make_subject("S1", seed=1), bodies.make_subject("S5", seed=0)]
    for other in others:
        assert not torch.allclose(other.bone_lengths, BODY.bone_lengths, atol=1e-4)
        assert other.girth != BODY.girth


def test_bodies_are_symmetric_and_within_their_spread():
    average = dict(zip(JOINT_NAMES, [None] * NUM_JOINTS, strict=True))
    average |= {"right knee": 0.443, "left ankle": 0.454, "spine": 0.233, "right wrist": 0.252}
    names = bodies.TRAIN_SUBJECTS + bodies.EXTRA_TEST_SUBJECTS
    for name in names:
        body = bodies.make_subject(name, seed=3)
        assert body.name == name and body.bone_lengths.dtype == torch.float64
        assert body.bone_lengths.shape == (16,) and 0.85 <= body.girth <= 1.15
        lengths = {child: body.bone_lengths[i].item() for i, (_, child) in enumerate(BONES)}
        for child, length in lengths.items():
            assert length == lengths[FLIP[child]]
            if average[JOINT_NAMES[child]]:
                ratio = length / average[JOINT_NAMES[child]]
                assert 0.94 * 0.97 <= ratio <= 1.06 * 1.03
    heights = torch.stack([bodies.make_subject(n, 3).bone_lengths.sum() for n in names])
    assert heights.std() / heights.mean() > 0.015


def test_the_upright_body_is_where_hand_calculation_puts_it():
    joints = pose()
    floor_to_hip = 0.08 + BONE["left ankle"] + BONE["left knee"]
    close(joints[J["pelvis"]], [0.0, 0.0, floor_to_hip])
    close(joints[J["left hip"]], [0.0, BONE["left hip"], floor_to_hip])
    close(joints[J["right ankle"]], [0.0, -BONE["right hip"], 0.08])
    droop = math.radians(10)
    reach = BONE["left shoulder"] * math.cos(droop)
    fall = BONE["left shoulder"] * math.sin(droop)
    shoulder = joints[J["thorax"]] + torch.tensor([0.0, reach, -fall], dtype=torch.float64)
    torch.testing.assert_close(joints[J["left shoulder"]], shoulder)
    arm = joints[J["left wrist"]] - joints[J["left shoulder"]]
    close(arm, [0.0, 0.0, -BONE["left elbow"] - BONE["left wrist"]])


@pytest.mark.parametrize("side, left", [("left", 1), ("right", -1)])
def test_single_angles_move_limbs_the_way_anatomy_names_them(side, left):
    def forearm(**angles):
        joints = pose(**{f"{side}_{name}": degrees for name, degrees in angles.items()})
        return (joints[J[f"{side} wrist"]] - joints[J[f"{side} elbow"]]) / BONE[f"{side} wrist"]

    def thigh(**angles):
        joints = pose(**{f"{side}_{name}": degrees for name, degrees in angles.items()})
        return (joints[J[f"{side} knee"]] - joints[J[f"{side} hip"]]) / BONE[f"{side} knee"]

    close(forearm(elbow_flexion=90), [1.0, 0.0, 0.0])
    close(forearm(shoulder_flexion=90), [1.0, 0.0, 0.0])
    close(forearm(shoulder_abduction=90), [0.0, left, 0.0])
    close(forearm(elbow_flexion=90, shoulder_rotation=90), [0.0, left, 0.0])
    close(forearm(shoulder_flexion=180), [0.0, 0.0, 1.0])
    close(thigh(hip_flexion=90), [1.0, 0.0, 0.0])
    half = math.sqrt(0.5)
    close(thigh(hip_abduction=45), [0.0, left * half, -half])
    joints = pose(**{f"{side}_knee_flexion": 90})
    shank = joints[J[f"{side} ankle"]] - joints[J[f"{side} knee"]]
    close(shank, [-BONE["left ankle"], 0.0, 0.0])
    joints = pose(
        **{f"{side}_hip_flexion": 90, f"{side}_knee_flexion": 90, f"{side}_hip_rotation": 45}
    )
    shank = joints[J[f"{side} ankle"]] - joints[J[f"{side} knee"]]
    assert left * shank[1] < -0.3  # rotated outwards, the foot comes to the midline
    joints = pose(**{f"{side}_clavicle_protraction": 30})
    assert joints[J[f"{side} shoulder"], 0] > joints[J["thorax"], 0] + 0.05
    joints = pose(**{f"{side}_clavicle_elevation": 40})
    assert joints[J[f"{side} shoulder"], 2] > joints[J["thorax"], 2] + 0.05


def test_the_trunk_bends_forward_to_the_left_and_turns_left():
    upright = pose()[J["thorax"]] - pose()[J["pelvis"]]
    forward = pose(trunk_flexion=60)
    assert (forward[J["thorax"]] - forward[J["pelvis"]])[0] > upright[0] + 0.2
    sideways = pose(trunk_lateral=30)
    assert (sideways[J["thorax"]] - sideways[J["pelvis"]])[1] > 0.1
    turned = pose(trunk_rotation=40)
    line = turned[J["left shoulder"]] - turned[J["right shoulder"]]
    angle = math.degrees(math.atan2(-line[0], line[1]))
    assert angle == pytest.approx(40, abs=1e-6)  # both halves together are the whole angle


def test_the_nose_lies_ahead_of_the_thorax_head_line_wherever_the_head_turns():
    for degrees in (-60.0, 0.0, 60.0):
        joints = pose(neck_rotation=degrees, neck_flexion=20.0)
        thorax, nose, head = (joints[J[name]] for name in ("thorax", "nose", "head"))
        line = torch.nn.functional.normalize(head - thorax, dim=0)
        ahead = (nose - thorax) - (nose - thorax).dot(line) * line
        assert 0.02 < ahead.norm() < 0.1
        turn = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
        facing = torch.stack([turn.cos(), turn.sin(), torch.zeros_like(turn)])
        assert ahead.dot(facing) > 0.8 * ahead.norm()


def test_heading_turns_the_whole_body_about_the_vertical_through_the_pelvis():
    angles = {"left_hip_flexion": 40.0, "trunk_lateral": 20.0, "right_elbow_flexion": 70.0}
    plain, turned = pose(**angles), pose(root=(90.0, 0.0, 0.0), **angles)
    expected = torch.stack([-plain[:, 1], plain[:, 0], plain[:, 2]], dim=-1)
    torch.testing.assert_close(turned, expected)


def test_forward_kinematics_keeps_bones_and_sets_every_pose_on_the_floor():
    root_deg, joint_deg = random_angles(500, seed=1)
    root_xy = torch.linspace(-0.5, 0.5, 1000, dtype=torch.float64).reshape(500, 2)
    joints = bodies.forward_kinematics(BODY.bone_lengths, root_xy, root_deg, joint_deg)
    wanted = BODY.bone_lengths.expand(500, -1)
    torch.testing.assert_close(bone_lengths(joints), wanted)
    torch.testing.assert_close(joints[:, 0, :2], root_xy)
    lowest = joints[..., 2].amin(dim=1)
    assert lowest.min() >= 0.03 - 1e-9 and lowest.max() <= 0.1 + 1e-9


def test_mirrored_angles_give_the_mirrored_body():
    root_deg, joint_deg = random_angles(200, seed=2)
    at = torch.zeros(200, 2, dtype=torch.float64)
    joints = bodies.forward_kinematics(BODY.bone_lengths, at, root_deg, joint_deg)
    mirrored = bodies.forward_kinematics(
        BODY.bone_lengths, at, *bodies.mirror_angles(root_deg, joint_deg)
    )
    expected = joints[:, FLIP] * torch.tensor([1.0, -1.0, 1.0], dtype=torch.float64)
    torch.testing.assert_close(mirrored, expected)


def test_every_limit_is_a_range_around_the_upright_pose_with_a_source():
    assert len(bodies.ANGLE_NAMES) == bodies.NUM_ANGLES == 26
    for low, high, source in bodies.JOINT_LIMITS.values():
        assert low <= 0 <= high and low < high and source in ("AAOS", "Neumann")
    assert bodies.JOINT_LIMITS["left_knee_flexion"][:2] == (0.0, 135.0)
    assert bodies.JOINT_LIMITS["right_hip_flexion"][:2] == (-30.0, 120.0)
