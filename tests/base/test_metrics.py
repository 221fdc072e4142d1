"""MPJPE and PA-MPJPE: poses by hand, a second Procrustes, and what each must not see."""

import math

import numpy as np
import pytest
import torch

from di2pose_lib.base.metrics import (
    joint_errors_mm,
    mean_pairwise_pa_mpjpe_mm,
    mpjpe_mm,
    pa_mpjpe_mm,
    procrustes,
)

# Found by a search, then kept. Procrustes spreads the one wrong joint over all four.
TRUTH = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 0.4, -0.5], [0.7, 0.9, -0.3], [0.5, 0.6, 0.0]]])
WRONG = torch.tensor([[[0.0, 0.0, 0.0], [0.0, 0.4, -0.5], [0.7, 0.9, -0.3], [0.3, 0.4, -0.2]]])


def random_pairs(batch=20, joints=17, seed=0, error=0.2):
    """(pose_pred, pose) float64 (batch, joints, 3), metres, pelvis anywhere."""
    generator = torch.Generator().manual_seed(seed)
    pose = 0.4 * torch.randn(batch, joints, 3, generator=generator, dtype=torch.float64)
    noise = error * torch.randn(batch, joints, 3, generator=generator, dtype=torch.float64)
    return pose + noise, pose


def random_rotations(batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(batch, 3, 3, generator=generator, dtype=torch.float64)).Q
    return q * torch.linalg.det(q)[:, None, None]


def random_mask(batch=20, joints=17, seed=0):
    mask = torch.rand(batch, joints, generator=torch.Generator().manual_seed(seed)) < 0.6
    mask[:, 3:7] = True
    return mask


def sum_of_squares(a, b):
    return (a - b).square().sum(dim=(1, 2))


def horn(source, target):
    """The best similarity by Horn's quaternions, (J, 3) numpy arrays: shares no step with SVD."""
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    a, b = source - source_mean, target - target_mean
    s = a.T @ b
    n = np.empty((4, 4))
    n[0, 0] = np.trace(s)
    n[0, 1:] = n[1:, 0] = [s[1, 2] - s[2, 1], s[2, 0] - s[0, 2], s[0, 1] - s[1, 0]]
    n[1:, 1:] = s + s.T - np.trace(s) * np.eye(3)
    w, x, y, z = np.linalg.eigh(n)[1][:, -1]  # unit quaternion of the largest eigenvalue
    rotation = np.array(
        [
            [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
            [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
            [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
        ]
    )
    turned = a @ rotation.T
    scale = (turned * b).sum() / (a * a).sum()
    return scale * turned + target_mean


# MPJPE


def test_mpjpe_of_a_three_joint_pose_by_hand():
    pose = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [1.0, 1.0, 0.0]]])
    pose_pred = torch.tensor([[[0.0, 0.0, 0.0], [1.03, 0.04, 0.0], [1.0, 1.0, 0.012]]])
    assert joint_errors_mm(pose_pred, pose)[0].tolist() == pytest.approx([0, 50, 12], abs=1e-3)
    assert mpjpe_mm(pose_pred, pose).tolist() == pytest.approx([62 / 3], abs=1e-3)


def test_mpjpe_aligns_the_pelvis_and_not_the_mean():
    # Only the pelvis is wrong, by 30 mm: after aligning it every other joint is.
    pose = torch.tensor([[[0.0, 0.0, 0.0], [1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]])
    pose_pred = pose.clone()
    pose_pred[0, 0, 2] = 0.03
    assert joint_errors_mm(pose_pred, pose)[0].tolist() == pytest.approx([0, 30, 30], abs=1e-3)
    assert mpjpe_mm(pose_pred, pose).item() == pytest.approx(20, abs=1e-3)


def test_mpjpe_ignores_translation_and_nothing_else():
    pose_pred, pose = random_pairs()
    before = mpjpe_mm(pose_pred, pose)
    there, here = torch.randn(2, 20, 1, 3, generator=torch.Generator().manual_seed(5)).double()
    torch.testing.assert_close(mpjpe_mm(pose_pred + there, pose + here), before)
    turned = pose_pred @ random_rotations(20).mT
    assert (mpjpe_mm(turned, pose) - before).abs().min() > 1
    assert (mpjpe_mm(1.2 * pose_pred, pose) - before).abs().min() > 0.1


def test_errors_are_one_a_pose_in_float64_millimetres():
    pose_pred, pose = random_pairs(batch=3)
    for metric in (mpjpe_mm, pa_mpjpe_mm):
        value = metric(pose_pred.float(), pose.float())
        assert value.shape == (3,)
        assert value.dtype == torch.float64
        torch.testing.assert_close(value, metric(pose_pred, pose), atol=1e-3, rtol=0)
        torch.testing.assert_close(metric(4 * pose_pred, 4 * pose), 4 * value, rtol=1e-5, atol=1e-3)
    assert joint_errors_mm(pose_pred, pose).shape == (3, 17)


def test_a_pose_is_no_distance_from_itself():
    _, pose = random_pairs()
    assert mpjpe_mm(pose, pose).max() < 1e-9
    assert pa_mpjpe_mm(pose, pose).max() < 1e-9


# Procrustes


@pytest.mark.parametrize("joints", [3, 4, 17])
@pytest.mark.parametrize("error", [0.05, 0.4, 3.0])
def test_procrustes_is_horns_quaternion_method(joints, error):
    pose_pred, pose = random_pairs(joints=joints, error=error)
    expected = [horn(a.numpy(), b.numpy()) for a, b in zip(pose_pred, pose, strict=True)]
    torch.testing.assert_close(
        procrustes(pose_pred, pose), torch.from_numpy(np.stack(expected)), atol=1e-9, rtol=0
    )


def test_procrustes_of_a_mirror_image_is_horns_too():
    _, pose = random_pairs()
    mirrored = pose * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    expected = [horn(a.numpy(), b.numpy()) for a, b in zip(mirrored, pose, strict=True)]
    torch.testing.assert_close(
        procrustes(mirrored, pose), torch.from_numpy(np.stack(expected)), atol=1e-9, rtol=0
    )


def test_no_similarity_nearby_fits_better():
    pose_pred, pose = random_pairs()
    aligned = procrustes(pose_pred, pose)
    best = sum_of_squares(aligned, pose)
    middle = aligned.mean(dim=1, keepdim=True)
    for axis in range(3):
        turn = torch.zeros(3, 3, dtype=torch.float64)
        turn[(axis + 1) % 3, (axis + 2) % 3], turn[(axis + 2) % 3, (axis + 1) % 3] = -1.0, 1.0
        shift = torch.eye(3, dtype=torch.float64)[axis]
        for size in (-1e-2, 1e-2):
            turned = (aligned - middle) @ torch.matrix_exp(size * turn).T + middle
            assert (sum_of_squares(turned, pose) > best).all()
            assert (sum_of_squares(aligned + size * shift, pose) > best).all()
            scaled = (1 + size) * (aligned - middle) + middle
            assert (sum_of_squares(scaled, pose) > best).all()


def test_the_result_of_procrustes_is_the_prediction_up_to_similarity():
    pose_pred, pose = random_pairs()
    before, after = pose_pred, procrustes(pose_pred, pose)
    ratio = torch.cdist(after, after) / torch.cdist(before, before).clamp_min(1e-9)
    off_diagonal = ~torch.eye(17, dtype=torch.bool)
    ratio = ratio[:, off_diagonal]  # one scale for all distances of a pose
    torch.testing.assert_close(ratio, ratio.mean(dim=1, keepdim=True).expand_as(ratio))
    signed = [torch.linalg.det(p[:, 1:4] - p[:, :1]) for p in (before, after)]
    assert (signed[0] * signed[1] > 0).all(), "a reflection turns the volume's sign"


def test_a_known_similarity_is_undone():
    _, pose = random_pairs()
    turn, place = random_rotations(20), torch.full((3,), 2.0, dtype=torch.float64)
    moved = 0.7 * pose @ turn.mT + place
    torch.testing.assert_close(procrustes(moved, pose), pose, atol=1e-9, rtol=0)
    assert pa_mpjpe_mm(moved, pose).max() < 1e-6
    assert mpjpe_mm(moved, pose).min() > 10


def test_pa_mpjpe_ignores_a_similarity_of_the_prediction():
    pose_pred, pose = random_pairs()
    moved = 1.7 * pose_pred @ random_rotations(20, seed=3).mT - 4.0
    torch.testing.assert_close(pa_mpjpe_mm(moved, pose), pa_mpjpe_mm(pose_pred, pose))


def test_pa_mpjpe_follows_the_scale_of_the_truth():
    pose_pred, pose = random_pairs()
    turn = random_rotations(20, seed=4).mT
    moved = 2.0 * pose @ turn + 1.0
    torch.testing.assert_close(pa_mpjpe_mm(pose_pred, moved), 2 * pa_mpjpe_mm(pose_pred, pose))


def test_a_mirror_image_is_not_the_same_pose():
    _, pose = random_pairs()
    mirrored = pose * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    assert pa_mpjpe_mm(mirrored, pose).min() > 50


@pytest.mark.parametrize("error", [0.02, 0.2, 2.0])
def test_the_rms_error_after_alignment_never_exceeds_that_before(error):
    pose_pred, pose = random_pairs(batch=200, error=error)
    after = sum_of_squares(procrustes(pose_pred, pose), pose)
    rooted = pose_pred - pose_pred[:, :1] + pose[:, :1]
    assert (after <= sum_of_squares(rooted, pose)).all()
    assert (after <= sum_of_squares(pose_pred, pose)).all()


def test_pa_mpjpe_of_one_pose_can_exceed_its_mpjpe():
    assert mpjpe_mm(WRONG, TRUTH).item() == pytest.approx(1000 * math.sqrt(0.12) / 4, abs=1e-3)
    assert mpjpe_mm(WRONG, TRUTH).item() == pytest.approx(86.603, abs=1e-2)
    assert pa_mpjpe_mm(WRONG, TRUTH).item() == pytest.approx(129.427, abs=1e-2)
    before = sum_of_squares(WRONG.double(), TRUTH.double())
    assert sum_of_squares(procrustes(WRONG, TRUTH), TRUTH.double()) < before


def test_the_root_is_not_aligned_again_after_procrustes():
    aligned = procrustes(WRONG, TRUTH)
    expected = (aligned - TRUTH.double()).norm(dim=-1).mean() * 1000
    torch.testing.assert_close(pa_mpjpe_mm(WRONG, TRUTH)[0], expected)
    assert aligned[0, 0].norm() > 0.01


# Masks


def test_a_mask_of_all_joints_is_no_mask():
    pose_pred, pose = random_pairs()
    every = torch.ones(20, 17, dtype=torch.bool)
    for metric in (mpjpe_mm, pa_mpjpe_mm, procrustes):
        torch.testing.assert_close(metric(pose_pred, pose, every), metric(pose_pred, pose))


def test_masked_mpjpe_is_the_mean_over_the_joints_that_count():
    pose_pred, pose = random_pairs()
    mask = random_mask()
    errors = joint_errors_mm(pose_pred, pose)
    expected = torch.stack([errors[b][mask[b]].mean() for b in range(20)])
    torch.testing.assert_close(mpjpe_mm(pose_pred, pose, mask), expected)
    assert not mask[:, 0].all(), "the pelvis is aligned also where it does not count"


def test_masked_pa_mpjpe_is_that_of_the_pose_without_the_other_joints():
    pose_pred, pose = random_pairs()
    mask = random_mask()
    expected = torch.cat(
        [pa_mpjpe_mm(pose_pred[[b]][:, mask[b]], pose[[b]][:, mask[b]]) for b in range(20)]
    )
    torch.testing.assert_close(pa_mpjpe_mm(pose_pred, pose, mask), expected)


def test_joints_that_do_not_count_move_along_and_change_nothing():
    pose_pred, pose = random_pairs()
    mask = random_mask()
    elsewhere = torch.where(mask[..., None], pose_pred, pose_pred + 5.0)
    torch.testing.assert_close(
        pa_mpjpe_mm(elsewhere, pose, mask), pa_mpjpe_mm(pose_pred, pose, mask)
    )
    # A similarity of the joints that count takes the others to their places.
    moved = 0.5 * pose @ random_rotations(20).mT + 3.0
    torch.testing.assert_close(procrustes(moved, pose, mask), pose, atol=1e-9, rtol=0)


@pytest.mark.parametrize("metric", [mpjpe_mm, pa_mpjpe_mm, procrustes])
def test_a_pose_without_a_joint_that_counts_is_refused(metric):
    pose_pred, pose = random_pairs(batch=4)
    mask = torch.ones(4, 17, dtype=torch.bool)
    mask[[1, 3]] = False
    sentence = r"`joint_mask` must keep a joint in every pose; poses \[1, 3\] have none"
    with pytest.raises(ValueError, match=sentence):
        metric(pose_pred, pose, mask)


# Degenerate poses


def test_a_prediction_whose_joints_coincide_is_only_translated():
    _, pose = random_pairs(batch=4)
    point = torch.tensor([0.1, -0.7, 3.3], dtype=torch.float64).expand(4, 17, 3)
    middle = pose.mean(dim=1, keepdim=True).expand_as(pose)
    torch.testing.assert_close(procrustes(point, pose), middle, atol=1e-9, rtol=0)
    expected = (pose - middle).norm(dim=-1).mean(dim=1) * 1000
    torch.testing.assert_close(pa_mpjpe_mm(point, pose), expected)


@pytest.mark.parametrize("size", [1e-2, 1e-3, 1e-4])
def test_a_prediction_as_small_as_a_tenth_of_a_millimetre_is_still_scaled(size):
    pose_pred, pose = random_pairs(batch=4)
    shrunk = size * pose_pred
    torch.testing.assert_close(procrustes(shrunk, pose), procrustes(pose_pred, pose))
    torch.testing.assert_close(pa_mpjpe_mm(shrunk, pose), pa_mpjpe_mm(pose_pred, pose))


def test_with_one_joint_that_counts_procrustes_only_translates():
    pose_pred, pose = random_pairs(batch=4)
    mask = torch.zeros(4, 17, dtype=torch.bool)
    mask[:, 6] = True
    expected = pose_pred + (pose - pose_pred)[:, 6:7]
    torch.testing.assert_close(procrustes(pose_pred, pose, mask), expected, atol=1e-9, rtol=0)
    assert pa_mpjpe_mm(pose_pred, pose, mask).max() < 1e-9


@pytest.mark.parametrize("flat", [1, 2])
def test_flat_and_straight_poses_are_aligned_without_reflection_in_depth(flat):
    _, pose = random_pairs(batch=10)
    pose[..., 3 - flat :] = 0.0  # in a plane, on a line
    moved = 1.3 * pose @ random_rotations(10).mT + 1.0
    aligned = procrustes(moved, pose)
    torch.testing.assert_close(aligned, pose, atol=1e-6, rtol=0)


def test_a_flat_poses_twin_in_the_mirror_is_reached_by_turning_it_over():
    _, pose = random_pairs(batch=10)
    pose[..., 2] = 0.0
    mirrored = pose * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64)
    assert pa_mpjpe_mm(mirrored, pose).max() < 1e-5


# Refusals


@pytest.mark.parametrize("metric", [mpjpe_mm, pa_mpjpe_mm, procrustes, joint_errors_mm])
def test_poses_that_do_not_fit_are_refused(metric):
    pose_pred, pose = random_pairs(batch=2)
    with pytest.raises(ValueError, match=r"`pose_pred` must have shape \(2, 17, 3\); got \(2, 16,"):
        metric(pose_pred[:, :16], pose)
    with pytest.raises(ValueError, match=r"`pose_pred` must have shape \(2, 17, 3\); got \(1, 17,"):
        metric(pose_pred[:1], pose)
    with pytest.raises(ValueError, match=r"`pose` must have shape \(B, J, 3\); got \(17, 3\)"):
        metric(pose_pred[0], pose[0])
    with pytest.raises(ValueError, match="`pose_pred` must be finite; got NaN or infinity"):
        metric(pose_pred * float("nan"), pose)
    with pytest.raises(ValueError, match="`pose` must be finite; got NaN or infinity"):
        metric(pose_pred, pose / 0)


@pytest.mark.parametrize("metric", [mpjpe_mm, pa_mpjpe_mm, procrustes])
def test_masks_that_do_not_fit_are_refused(metric):
    pose_pred, pose = random_pairs(batch=2)
    with pytest.raises(ValueError, match=r"`joint_mask` must have shape \(2, 17\); got \(17,\)"):
        metric(pose_pred, pose, torch.ones(17, dtype=torch.bool))
    with pytest.raises(ValueError, match="`joint_mask` must be bool; got torch.float32"):
        metric(pose_pred, pose, torch.ones(2, 17))


# Variety


def test_variety_is_the_mean_over_pairs_of_two_different_poses():
    poses = random_pairs(batch=4)[1]
    between = [
        pa_mpjpe_mm(poses[[i]], poses[[j]]).item() for i in range(4) for j in range(4) if i != j
    ]
    generator = torch.Generator().manual_seed(0)
    variety = mean_pairwise_pa_mpjpe_mm(poses, 4000, generator)
    error = np.std(between) / math.sqrt(4000)
    assert variety == pytest.approx(np.mean(between), abs=5 * error)
    # Had a quarter of the pairs been a pose with itself, the mean would be far lower.
    assert 0.25 * np.mean(between) > 20 * error


def test_copies_of_one_pose_have_no_variety():
    pose = random_pairs(batch=1)[1]
    poses = 0.8 * pose @ random_rotations(6).mT + 1.0
    assert mean_pairwise_pa_mpjpe_mm(poses, 50, torch.Generator().manual_seed(0)) < 1e-6


def test_variety_draws_from_its_generator_alone():
    poses = random_pairs(batch=9)[1]
    values = [
        mean_pairwise_pa_mpjpe_mm(poses, 5, torch.Generator().manual_seed(s)) for s in (0, 0, 1)
    ]
    assert values[0] == values[1] != values[2]


def test_one_pose_alone_has_no_pairs():
    with pytest.raises(ValueError, match="`poses` must hold at least two poses; got 1"):
        mean_pairwise_pa_mpjpe_mm(torch.zeros(1, 17, 3), 5, torch.Generator())
