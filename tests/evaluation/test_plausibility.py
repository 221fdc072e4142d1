"""Bones, symmetry and limits: hand-made bodies, mirrors, and the angles that made a pose."""

import pytest
import torch
from small import make_split, measured, small_config

from di2pose_lib.base.skeleton import BONES, FLIP, JOINT_NAMES
from di2pose_lib.data import bodies
from di2pose_lib.evaluation.models import Prediction
from di2pose_lib.evaluation.pictures import truth_of
from di2pose_lib.evaluation.plausibility import (
    GROUND_TRUTH,
    LEAST_BEND_DEG,
    LIMB_ANGLES,
    MARGIN_DEG,
    asymmetry_mm,
    beyond_limits_deg,
    bone_errors_mm,
    bone_errors_percent,
    limb_angles_deg,
    own_bones,
    plausibility_rows,
)

BODY = bodies.make_subject("S1", seed=0)
J = {name: joint for joint, name in enumerate(JOINT_NAMES)}
BONE = {JOINT_NAMES[child]: place for place, (_, child) in enumerate(BONES)}


def joints_of(joint_deg, root_deg=None):
    """Joints (B, 17, 3) of BODY in these postures."""
    count = len(joint_deg)
    root_deg = torch.zeros(count, 3, dtype=torch.float64) if root_deg is None else root_deg
    root_xy = torch.zeros(count, 2, dtype=torch.float64)
    return bodies.forward_kinematics(BODY.bone_lengths, root_xy, root_deg, joint_deg)


def pose(**angles):
    """BODY upright but for these angles, (1, 17, 3)."""
    joint_deg = torch.zeros(1, bodies.NUM_ANGLES, dtype=torch.float64)
    for name, degrees in angles.items():
        joint_deg[0, bodies.ANGLE_NAMES.index(name)] = degrees
    return joints_of(joint_deg)


def random_postures(count=300, seed=0):
    """(joint_deg, joints) anywhere within the limits, the whole body tilted."""
    generator = torch.Generator().manual_seed(seed)
    low, high, _ = zip(*bodies.JOINT_LIMITS.values(), strict=True)
    low, high = torch.tensor(low).double(), torch.tensor(high).double()
    unit = torch.rand(count, bodies.NUM_ANGLES, generator=generator, dtype=torch.float64)
    root = torch.rand(count, 3, generator=generator, dtype=torch.float64) * 120 - 60
    joint_deg = low + unit * (high - low)
    return joint_deg, joints_of(joint_deg, root)


def turned_to_a_camera(joints):
    """Into a frame with x right, y down, z forward, from one with z up: no reflection."""
    x, y, z = joints.unbind(-1)
    return torch.stack([-y, -z, x], dim=-1)


def mirrored(joints):
    return joints[:, FLIP] * torch.tensor([-1.0, 1.0, 1.0])


def bent(joints, joint, end, axis, degrees):
    """`joints` with the bone to `end` turned about `joint` by degrees, right-handed."""
    turn = torch.deg2rad(torch.tensor(degrees, dtype=torch.float64))
    axis = torch.nn.functional.normalize(torch.tensor(axis, dtype=torch.float64), dim=0)
    bone = joints[0, J[end]] - joints[0, J[joint]]
    bone = (
        bone * turn.cos()
        + torch.linalg.cross(axis, bone) * turn.sin()
        + axis * axis.dot(bone) * (1 - turn.cos())
    )
    joints = joints.clone()
    joints[0, J[end]] = joints[0, J[joint]] + bone
    return joints


# Bones


def test_exact_bones_have_no_error():
    _, joints = random_postures(20)
    own = BODY.bone_lengths.expand(20, -1)
    assert bone_errors_mm(joints, own).max() < 1e-9
    assert bone_errors_mm(1.05 * joints, own).min() > 1


@pytest.mark.parametrize("factor", [1.2, 0.8])
def test_a_stretched_forearm_has_its_stretch_and_no_other_bone_has_one(factor):
    joints = pose(left_elbow_flexion=40.0)
    elbow, wrist = joints[0, J["left elbow"]], joints[0, J["left wrist"]]
    joints[0, J["left wrist"]] = elbow + factor * (wrist - elbow)
    own = BODY.bone_lengths[None]
    errors, percent = bone_errors_mm(joints, own)[0], bone_errors_percent(joints, own)[0]
    place = BONE["left wrist"]
    assert errors[place].item() == pytest.approx(200 * own[0, place].item())
    assert percent[place].item() == pytest.approx(20)
    errors[place] = percent[place] = 0
    assert errors.max() < 1e-9 and percent.max() < 1e-9
    asymmetry = asymmetry_mm(joints)[0]
    sign = 1 if factor > 1 else -1
    assert asymmetry[5].item() == pytest.approx(sign * 200 * own[0, place].item())
    assert asymmetry[:5].abs().max() < 1e-9


def test_asymmetry_is_left_minus_right_of_the_six_pairs_of_bones():
    joints = torch.zeros(1, 17, 3)
    # Each bone of its own length: the joint's number in cm, along x from its parent.
    for parent, child in BONES:
        joints[0, child] = joints[0, parent] + torch.tensor([child / 100, 0, 0])
    pairs = [(4, 1), (5, 2), (6, 3), (11, 14), (12, 15), (13, 16)]
    wanted = [10 * (left - right) for left, right in pairs]
    assert asymmetry_mm(joints)[0].tolist() == pytest.approx(wanted, abs=1e-3)


def test_a_mirrored_pose_has_the_mirrored_asymmetry_and_the_same_bones():
    generator = torch.Generator().manual_seed(0)
    joints = torch.randn(10, 17, 3, generator=generator)
    torch.testing.assert_close(asymmetry_mm(mirrored(joints)), -asymmetry_mm(joints))
    assert asymmetry_mm(joints).abs().min() > 1e-3


def test_own_bones_are_the_medians_of_the_recording(tmp_path):
    poses = pose().float().expand(6, -1, -1).clone()
    poses[3:] *= 1.1  # another body
    poses[1, J["head"], 2] += 0.05  # one frame that is off
    recording = torch.tensor([7, 7, 7, 2, 2, 2], dtype=torch.int32)
    dataset = make_split(tmp_path / "test", 6, pose=poses, recording=recording)
    wanted = BODY.bone_lengths.expand(6, -1) * torch.tensor([1, 1, 1, 1.1, 1.1, 1.1])[:, None]
    torch.testing.assert_close(own_bones(dataset), wanted, atol=1e-6, rtol=0)


# Angles


def test_the_angles_are_those_that_made_the_pose():
    joint_deg, joints = random_postures()
    found = limb_angles_deg(turned_to_a_camera(joints))
    assert tuple(found) == LIMB_ANGLES
    for name, angles in found.items():
        for column, side in enumerate(("left", "right")):
            wanted = joint_deg[:, bodies.ANGLE_NAMES.index(f"{side}_{name}")]
            got = angles[:, column]
            told = ~got.isnan()
            torch.testing.assert_close(got[told], wanted[told], atol=1e-5, rtol=0)
            bend = joint_deg[:, bodies.ANGLE_NAMES.index(f"{side}_knee_flexion")]
            if name == "hip_rotation":
                assert torch.equal(told, bend >= LEAST_BEND_DEG) and 0 < told.sum() < 300
            else:
                assert told.all()


def test_angles_ignore_where_the_body_is_how_large_and_how_turned():
    _, joints = random_postures(50)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=torch.Generator().manual_seed(1)).double()).Q
    turn = turn * torch.linalg.det(turn)
    moved = limb_angles_deg(1.3 * joints @ turn + 2)
    for name, angles in limb_angles_deg(joints).items():
        torch.testing.assert_close(moved[name], angles, equal_nan=True, atol=1e-6, rtol=0)


def test_a_mirrored_pose_has_the_angles_of_the_other_side():
    _, joints = random_postures(50)
    found = limb_angles_deg(mirrored(joints))
    for name, angles in limb_angles_deg(joints).items():
        torch.testing.assert_close(found[name], angles.flip(1), equal_nan=True, atol=1e-6, rtol=0)


# Limits


def test_no_posture_within_the_limits_is_beyond_them():
    _, joints = random_postures(1000, seed=3)
    assert beyond_limits_deg(turned_to_a_camera(joints)).max() == 0


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_knee_bent_forwards_is_a_violation_by_its_bend_and_the_other_way_it_is_none(side):
    column = {"left": 0, "right": 1}[side]
    to_the_left = (0.0, 1.0, 0.0)  # the hinge: about it the shank swings backwards
    for degrees in (30.0, 60.0, 100.0):
        forwards = bent(pose(), f"{side} knee", f"{side} ankle", to_the_left, -degrees)
        flexion = limb_angles_deg(forwards)["knee_flexion"][0, column].item()
        assert flexion == pytest.approx(-degrees)
        beyond = beyond_limits_deg(forwards)[0]
        assert beyond[column].item() == pytest.approx(degrees - MARGIN_DEG)
        assert beyond.gt(0).sum() == 1
        backwards = bent(pose(), f"{side} knee", f"{side} ankle", to_the_left, degrees)
        assert beyond_limits_deg(backwards).max() == 0


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_knee_bent_sideways_is_a_violation_of_the_hips_rotation(side):
    column = {"left": 0, "right": 1}[side]
    for ahead in (1.0, -1.0):
        sideways = bent(pose(), f"{side} knee", f"{side} ankle", (ahead, 0.2, 0.0), 60.0)
        rotation = limb_angles_deg(sideways)["hip_rotation"][0, column].item()
        assert abs(rotation) == pytest.approx(78.69, abs=0.01)  # 90° − atan 0.2
        beyond = beyond_limits_deg(sideways)[0]
        assert beyond[4 + column].item() == pytest.approx(78.69 - 45 - MARGIN_DEG, abs=0.01)
        assert beyond.gt(0).sum() == 1


@pytest.mark.parametrize(
    ("joint", "end", "axis", "place", "limit"),
    [
        ("right knee", "right ankle", (0.0, 1.0, 0.0), 1, 135.0),
        ("left elbow", "left wrist", (0.0, -1.0, 0.0), 6, 150.0),
    ],
)
def test_a_hinge_folded_too_far_is_a_violation(joint, end, axis, place, limit):
    for degrees in (limit + MARGIN_DEG - 1, limit + MARGIN_DEG + 10):
        beyond = beyond_limits_deg(bent(pose(), joint, end, axis, degrees))[0]
        wanted = max(0.0, degrees - limit - MARGIN_DEG)
        assert beyond[place].item() == pytest.approx(wanted, abs=1e-6)
        assert beyond.gt(0).sum() == (wanted > 0)


def test_legs_spread_too_far_are_a_violation():
    joints = pose()
    for joint in ("left knee", "left ankle"):
        joints = bent(joints, "left hip", joint, (1.0, 0.0, 0.0), 70.0)
    angles = limb_angles_deg(joints)["hip_abduction"][0]
    assert angles.tolist() == pytest.approx([70, 0], abs=1e-6)
    assert beyond_limits_deg(joints)[0, 2].item() == pytest.approx(70 - 45 - MARGIN_DEG)


def test_joints_that_coincide_have_no_angle_and_no_violation():
    assert beyond_limits_deg(torch.zeros(1, 17, 3)).max() == 0


def test_noise_of_some_centimetres_makes_bodies_that_cannot_be():
    _, joints = random_postures(500)
    noise = torch.randn(500, 17, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    assert (beyond_limits_deg(joints + 0.06 * noise) > 0).any(dim=1).double().mean() > 0.5


# Rows


@pytest.fixture
def case(tmp_path):
    """(truth, bones) of four images of two recordings, one body; the left wrist is hidden twice."""
    _, joints = random_postures(4)
    visible = torch.ones(4, 17, dtype=torch.bool)
    visible[:2, J["left wrist"]] = False
    poses = turned_to_a_camera(joints).float()
    dataset = make_split(tmp_path / "test", 4, pose=poses, visible=visible)
    return truth_of(dataset, small_config()), own_bones(dataset)


def test_ground_truth_has_its_own_rows_and_no_faults(case):
    rows = plausibility_rows([], *case)
    assert set(rows.method) == {GROUND_TRUTH} and set(rows.estimator) == {""}
    assert set(zip(rows.metric, rows.joints, strict=True)) == {
        *((m, j) for m in ("bone_error_mm", "bone_error_percent") for j in ("all", "visible")),
        *((m, "occluded") for m in ("bone_error_mm", "bone_error_percent")),
        ("asymmetry_mm", "all"),
        ("limit_violations_percent", "all"),
        ("poses_beyond_limits_percent", "all"),
    }
    assert (rows.value < 1e-3).all()


def test_rows_of_a_prediction_by_hand(case):
    truth, bones = case
    wrong = truth.pose.clone()
    elbow, wrist = wrong[0, J["left elbow"]], wrong[0, J["left wrist"]]
    wrong[0, J["left wrist"]] = elbow + 1.5 * (wrist - elbow)
    hip, knee = wrong[3, J["right hip"]], wrong[3, J["right knee"]]
    thigh = (knee - hip) / (knee - hip).norm()
    wrong[3, J["right ankle"]] = knee - thigh * bones[3, BONE["right ankle"]].float()  # folded
    rows = plausibility_rows([Prediction("m", "one sample", wrong)], truth, bones)
    rows = rows[rows.method == "m"]
    assert set(rows.estimator) == {"one sample"}

    def mean(metric, joints="all"):
        return measured(rows, metric=metric, joints=joints)[0]

    forearm = bones[0, BONE["left wrist"]].item() * 1000
    assert mean("bone_error_mm") == pytest.approx(forearm / 2 / 16 / 4, abs=1e-3)
    assert mean("bone_error_percent") == pytest.approx(50 / 16 / 4, abs=1e-3)
    assert mean("bone_error_percent", "visible") == pytest.approx(0, abs=1e-3)
    assert mean("bone_error_percent", "occluded") == pytest.approx(50 / 2, abs=1e-3)
    assert measured(rows, metric="bone_error_percent", joints="occluded")[1] == 2
    assert mean("asymmetry_mm") == pytest.approx(forearm / 2 / 6 / 4, abs=1e-3)
    assert mean("limit_violations_percent") == pytest.approx(100 / 8 / 4)
    assert mean("poses_beyond_limits_percent") == pytest.approx(25)


def test_input_that_does_not_fit_is_refused(case):
    truth, bones = case
    with pytest.raises(ValueError, match="`predictions` must have shape"):
        plausibility_rows([Prediction("m", "e", truth.pose[:2])], truth, bones)
    with pytest.raises(ValueError, match=r"`bones` must have shape \(4, 16\); got \(3, 16\)"):
        plausibility_rows([], truth, bones[:3])
    with pytest.raises(ValueError, match="`bones` must be positive; got 0.0"):
        bone_errors_percent(truth.pose, 0 * bones)
    with pytest.raises(ValueError, match=r"`pose` must have shape \(n, 17, 3\)"):
        limb_angles_deg(truth.pose[:, :16])
    with pytest.raises(ValueError, match="`pose` must be finite"):
        asymmetry_mm(truth.pose * torch.nan)
