"""Kinds of failure: known wrongs are named, by hand and under noise; look-alikes by their order."""

import math

import pytest
import torch

from di2pose_lib.base.metrics import mpjpe_mm
from di2pose_lib.evaluation import failures
from di2pose_lib.evaluation.failures import (
    DEPTH,
    HIDDEN,
    KINDS,
    LEAST_SHARE,
    MIRRORED,
    POSTURE,
    SCALED,
    SWAPPED,
    TURNED,
    Failure,
    count_table,
    kinds_of,
    worst_images,
)

# A body that faces the camera, in the order of `skeleton.JOINT_NAMES`: its left is at x > 0.
POSE = torch.tensor(
    [
        (0, 0, 0),
        *[(-0.12, 0, 0), (-0.14, 0.45, -0.1), (-0.16, 0.88, 0.05)],
        *[(0.12, 0, 0), (0.16, 0.4, -0.35), (0.2, 0.8, -0.2)],
        *[(0, -0.25, 0.02), (0, -0.5, 0), (0, -0.6, -0.08), (0, -0.72, 0)],
        *[(0.18, -0.48, 0), (0.42, -0.4, -0.1), (0.5, -0.62, -0.25)],
        *[(-0.18, -0.48, 0), (-0.25, -0.2, 0.1), (-0.3, 0.03, -0.1)],
    ],
    dtype=torch.float64,
)
NOSE = 9
LEGS, ARMS = ((1, 4), (2, 5), (3, 6)), ((11, 14), (12, 15), (13, 16))
SEEN = torch.ones(17, dtype=torch.bool)
EVERY_OTHER = torch.tensor([0.0] + [1.0, -1.0] * 8, dtype=torch.float64)


def one(pose_pred, pose=POSE, visible=SEEN):
    (found,) = kinds_of(pose_pred[None], pose[None], visible[None])
    return found


def turned(pose, degrees):
    """`pose` with its front turned from −z, towards the camera, to +x at 90°."""
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return pose @ torch.tensor([[cos, 0, -sin], [0, 1, 0], [sin, 0, cos]], dtype=pose.dtype).T


def swapped(pose, pairs):
    other = pose.clone()
    for a, b in pairs:
        other[..., a, :], other[..., b, :] = pose[..., b, :], pose[..., a, :]
    return other


def mirrored(pose):
    return pose * torch.tensor([1, 1, -1])


@pytest.mark.parametrize("degrees", [-170, -90, -30, 40, 90, 180])
def test_a_turned_pose_is_told_with_its_angle(degrees):
    found = one(turned(POSE, degrees))
    assert (found.kind, found.angle_deg) == (TURNED, degrees)
    assert found.undone_mm == pytest.approx(0, abs=1e-9) and found.share == pytest.approx(1)
    assert found.note == f"turned by {degrees}°".replace("-", "−")


def test_positive_angles_are_to_the_bodys_own_left():
    to_its_left = turned(POSE, 90)
    assert POSE[NOSE, 2] < 0 < POSE[13, 0]  # it faces the camera, its left hand at x > 0
    assert to_its_left[NOSE, 0] > 0.07
    assert one(to_its_left).angle_deg == 90


@pytest.mark.parametrize(
    ("pairs", "note"),
    [
        (LEGS + ARMS, "left and right swapped"),
        (LEGS, "legs swapped"),
        (ARMS, "arms swapped"),
    ],
)
def test_swapped_sides_are_told_of_the_body_the_legs_and_the_arms(pairs, note):
    found = one(swapped(POSE, pairs))
    assert (found.kind, found.note, found.angle_deg) == (SWAPPED, note, None)
    assert found.undone_mm == 0 and found.share == 1
    assert found.error_mm == pytest.approx(mpjpe_mm(swapped(POSE, pairs)[None], POSE[None]).item())


def test_a_mirrored_depth_is_told():
    found = one(mirrored(POSE))
    assert (found.kind, found.undone_mm, found.share) == (MIRRORED, 0, 1)


@pytest.mark.parametrize(
    ("factor", "note"), [(1.25, "25 % too large"), (1 / 1.2, "17 % too small")]
)
def test_another_size_is_told_with_how_much(factor, note):
    found = one(factor * POSE)
    assert (found.kind, found.note) == (SCALED, note)
    assert found.undone_mm == pytest.approx(0, abs=1e-9)


def with_hidden_errors():
    """Seen joints err by 10 mm, the left leg's and arm's last two by 110 mm, up or down."""
    hidden = [5, 6, 12, 13]
    shift = 0.01 * EVERY_OTHER
    shift[hidden] = 0.11 * EVERY_OTHER[hidden]
    pose_pred = POSE.clone()
    pose_pred[:, 1] += shift
    return pose_pred, torch.tensor([j not in hidden for j in range(17)])


def test_hidden_joints_that_err_more_than_the_seen_are_told_by_hand():
    pose_pred, visible = with_hidden_errors()
    found = one(pose_pred, visible=visible)
    assert (found.kind, found.note) == (HIDDEN, "4 hidden joints")
    assert found.error_mm == pytest.approx((12 * 10 + 4 * 110) / 17)
    assert found.undone_mm == pytest.approx(16 * 10 / 17)
    assert found.share == pytest.approx(1 - 160 / 560)


def test_the_same_errors_have_no_kind_where_nothing_or_the_pelvis_or_too_much_is_hidden():
    pose_pred, visible = with_hidden_errors()
    pelvis_hidden = SEEN.clone()
    pelvis_hidden[0] = False
    half = visible.clone()
    half[[1, 2, 3, 14]] = False  # 8 of 16
    too_many = half.clone()
    too_many[15] = False
    kinds = {
        name: one(pose_pred, visible=mask).kind
        for name, mask in {
            "none": SEEN,
            "pelvis": pelvis_hidden,
            "half": half,
            "too many": too_many,
            "all": ~SEEN,
        }.items()
    }
    others = dict.fromkeys(["none", "pelvis", "too many", "all"], POSTURE)
    assert kinds == {**others, "half": HIDDEN}


def test_hidden_joints_that_err_as_the_seen_are_no_failure_of_hiding():
    _, visible = with_hidden_errors()
    pose_pred = POSE.clone()
    pose_pred[:, 1] += 0.1 * EVERY_OTHER
    assert one(pose_pred, visible=visible).kind == POSTURE


def test_a_wrong_depth_is_told_by_hand():
    pose_pred = POSE.clone()
    pose_pred[:, 2] += 0.1 * EVERY_OTHER
    pose_pred[:, 1] += 0.02 * EVERY_OTHER
    found = one(pose_pred)
    assert found.kind == found.note == DEPTH
    assert found.error_mm == pytest.approx(math.hypot(20, 100) * 16 / 17)
    assert found.undone_mm == pytest.approx(math.sqrt(1.5) * 20 * 16 / 17)


def test_errors_alike_in_every_direction_are_no_failure_of_depth():
    noise = torch.randn(400, 17, 3, generator=torch.Generator().manual_seed(0), dtype=POSE.dtype)
    noise[:, 0] = 0
    found = kinds_of(POSE + 0.05 * noise, POSE.expand(400, -1, -1), SEEN.expand(400, -1))
    assert sum(f.kind == DEPTH for f in found) < 10


def flat_and_alike():
    """A body that is its own mirror image, seen from the front, without depth."""
    pose = POSE * torch.tensor([1, 1, 0])
    for right, left in LEGS + ARMS:
        pose[right] = pose[left] * torch.tensor([-1, 1, 1])
    return pose


def test_of_look_alikes_the_first_kind_wins():
    pose = flat_and_alike()
    half_turn = turned(pose, 180)
    torch.testing.assert_close(half_turn, swapped(pose, LEGS + ARMS))
    assert one(half_turn, pose).kind == SWAPPED
    nearly = half_turn.clone()
    nearly[NOSE] = turned(POSE, 180)[NOSE]  # some depth, less than CLOSE of the error
    pose[NOSE] = POSE[NOSE]
    found = one(nearly, pose)
    assert found.kind == SWAPPED and 1 - failures.CLOSE < found.share < 1


def test_a_later_kind_wins_where_it_removes_more():
    half_turn = turned(POSE, 180)
    before = mpjpe_mm(half_turn[None], POSE[None])
    after_swap = mpjpe_mm(swapped(half_turn, LEGS + ARMS)[None], POSE[None])
    assert 1 - after_swap / before > LEAST_SHARE  # a swap would qualify
    assert one(half_turn).kind == TURNED


def test_what_no_kind_explains_is_another_posture_with_the_best_try():
    pose_pred = turned(POSE, 30)
    pose_pred[:, 1] += 0.3 * EVERY_OTHER
    found = one(pose_pred)
    assert found.kind == POSTURE and 0 < found.share < LEAST_SHARE
    assert found.undone_mm == pytest.approx(found.error_mm * (1 - found.share))
    assert found.angle_deg is None


@pytest.mark.parametrize(
    ("joints", "part"), [([3, 6], "legs"), ([12, 16], "arms"), ([10], "trunk")]
)
def test_another_posture_names_the_part_that_errs_most(joints, part):
    pose_pred = POSE.clone()
    pose_pred[joints, 1] += 0.4
    found = one(pose_pred)
    assert (found.kind, found.note) == (POSTURE, f"another posture, {part} most")


def test_a_pose_without_error_has_share_0():
    assert one(POSE)[:5] == (POSTURE, 0, 0, 0, None)


def test_the_pelves_are_laid_on_each_other():
    moved = one(turned(POSE, 40) + 0.3, POSE - 0.2)
    assert moved[:5] == pytest.approx(one(turned(POSE, 40))[:5])


def test_the_best_angle_is_the_best_of_all_whole_degrees():
    generator = torch.Generator().manual_seed(1)
    pose = torch.randn(6, 17, 3, generator=generator, dtype=torch.float64)
    pose_pred = turned(pose, 72) + 0.2 * torch.randn(pose.shape, generator=generator).double()
    pose, pose_pred = (p - p[:, :1] for p in (pose, pose_pred))
    angles = range(-179, 181)
    errors = torch.stack([mpjpe_mm(turned(pose_pred, -a), pose) for a in angles])
    for i, found in enumerate(kinds_of(pose_pred, pose, SEEN.expand(6, -1))):
        assert found.kind == TURNED
        assert found.undone_mm == pytest.approx(errors[:, i].min().item())
        assert found.angle_deg == angles[int(errors[:, i].argmin())]


@pytest.mark.parametrize(
    ("wrong", "kind"),
    [
        (lambda pose: pose, POSTURE),
        (lambda pose: turned(pose, 60), TURNED),
        (lambda pose: turned(pose, -150), TURNED),
        (lambda pose: swapped(pose, LEGS + ARMS), SWAPPED),
        (mirrored, MIRRORED),
        (lambda pose: 1.3 * pose, SCALED),
    ],
)
def test_known_wrongs_are_named_under_noise(wrong, kind):
    generator = torch.Generator().manual_seed(2)
    noise = 0.03 * torch.randn(50, 17, 3, generator=generator, dtype=POSE.dtype)
    pose = POSE.expand(50, -1, -1)
    found = kinds_of(wrong(pose + noise), pose, SEEN.expand(50, -1))
    assert sum(f.kind == kind for f in found) >= 45


def test_an_image_is_judged_by_itself_and_in_float32_too():
    poses = [turned(POSE, 40), mirrored(POSE), with_hidden_errors()[0]]
    visible = with_hidden_errors()[1].expand(3, -1)
    together = kinds_of(torch.stack(poses), POSE.expand(3, -1, -1), visible)
    assert together == [one(p, visible=v) for p, v in zip(poses, visible, strict=True)]
    single = kinds_of(torch.stack(poses).float(), POSE.expand(3, -1, -1).float(), visible)
    assert [f.kind for f in single] == [f.kind for f in together] == [TURNED, MIRRORED, HIDDEN]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((POSE[None], POSE, SEEN[None]), "`pose` must have shape"),
        ((POSE[None], POSE.expand(2, -1, -1), SEEN[None]), "`pose_pred` must have shape"),
        ((POSE[None], POSE[None], SEEN), "`visible` must have shape"),
        ((POSE[None], POSE[None], SEEN[None].float()), "`visible` must be bool"),
        ((POSE[None] * math.nan, POSE[None], SEEN[None]), "`pose_pred` must be finite"),
    ],
)
def test_other_shapes_and_nan_are_refused(arguments, message):
    with pytest.raises(ValueError, match=message):
        kinds_of(*arguments)


def test_the_worst_images_come_largest_first_and_ties_by_index():
    errors = torch.tensor([3.0, 9.0, 5.0, 9.0, 5.0, 9.0])
    assert worst_images(errors, 4).tolist() == [1, 3, 5, 2]
    assert worst_images(torch.ones(100), 100).tolist() == list(range(100))


@pytest.mark.parametrize("count", [0, 4])
def test_more_images_than_there_are_and_none_are_refused(count):
    with pytest.raises(ValueError, match=rf"`count` must lie in \[1, 3\]; got {count}"):
        worst_images(torch.ones(3), count)
    with pytest.raises(ValueError, match="`errors_mm` must have shape"):
        worst_images(torch.ones(3, 1), 1)


def test_the_table_has_a_row_for_each_kind_by_hand():
    found = [
        Failure(TURNED, 100.0, 20.0, 0.8, 40.0, "turned by 40°"),
        Failure(TURNED, 200.0, 40.0, 0.8, -40.0, "turned by −40°"),
        Failure(POSTURE, 90.0, 80.0, 0.1, None, "another posture, legs most"),
    ]
    rows = count_table(found)
    assert [row[0] for row in rows] == list(KINDS)
    assert {tuple(row) for row in rows if row[1]} == {
        (TURNED, 2, 150.0, 30.0),
        (POSTURE, 1, 90.0, 80.0),
    }
    assert rows[0] == [SWAPPED, 0, "–", "–"]
    assert all(len(row) == len(failures.COUNT_COLUMNS) for row in rows)
    with pytest.raises(ValueError, match="`failures` must hold at least one; got none"):
        count_table([])
