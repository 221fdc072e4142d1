"""Proper scores: closed forms of a Gaussian, loops, no bias in H, and propriety."""

import math

import pytest
import torch

from di2pose_lib.base.metrics import mpjpe_mm
from di2pose_lib.evaluation.proper_scores import (
    crps_mm,
    diversity_mm,
    energy_score_mm,
    pose_energy_score_mm,
    relative_mm,
)

SIGMA = 50.0  # mm


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def with_pelvis(points_mm):
    """Joints (..., J, 3) in mm behind a pelvis at 0, in metres."""
    return torch.cat([torch.zeros_like(points_mm[..., :1, :]), points_mm], dim=-2) / 1000


def gaussian(shape, sigma=SIGMA, shift=0.0, seed=0):
    points = sigma * torch.randn(*shape, 3, generator=seeded(seed), dtype=torch.float64)
    points[..., 0] += shift
    return points


def random_poses(n=5, count=4, joints=6, seed=0):
    points = gaussian((n, count + 1, joints), seed=seed) / 1000
    return points[:, 1:], points[:, 0]


def near(values, wanted):
    """The mean of values is `wanted` to within four standard errors, which are below 3 %."""
    error = values.std() / len(values) ** 0.5
    assert error < 0.03 * abs(wanted)
    assert abs(values.mean() - wanted) < 4 * error


# Closed forms


def energy_of_gaussian(distance):
    """E|X − y| − ½ E|X − X'| of a Gaussian in space, y at `distance` from its mean.

    |X − y| / σ is a noncentral χ with 3 degrees of freedom, |X − X'| a χ times √2 σ.
    """
    r = distance / SIGMA
    if r == 0:
        first = math.sqrt(8 / math.pi)
    else:
        first = math.sqrt(2 / math.pi) * math.exp(-(r**2) / 2)
        first += (r + 1 / r) * math.erf(r / math.sqrt(2))
    return SIGMA * (first - math.sqrt(8 / math.pi) * math.sqrt(2) / 2)


def crps_of_gaussian(distance):
    z = distance / SIGMA
    density = math.exp(-(z**2) / 2) / math.sqrt(2 * math.pi)
    return SIGMA * (z * math.erf(z / math.sqrt(2)) + 2 * density - 1 / math.sqrt(math.pi))


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("distance", [0.0, 20.0, 150.0])
def test_the_energy_score_of_a_gaussian_is_its_closed_form_for_any_number_of_samples(
    count, distance
):
    n = 10000
    samples = with_pelvis(gaussian((n, count, 1)))
    truth = torch.zeros(n, 1, 3, dtype=torch.float64)
    truth[..., 1] = distance
    near(energy_score_mm(samples, with_pelvis(truth))[:, 1], energy_of_gaussian(distance))


@pytest.mark.parametrize("count", [2, 5])
@pytest.mark.parametrize("distance", [0.0, 30.0, 120.0])
def test_the_crps_of_a_gaussian_is_its_closed_form_for_any_number_of_samples(count, distance):
    n = 10000
    samples = with_pelvis(gaussian((n, count, 1)))
    truth = torch.full((n, 1, 3), distance, dtype=torch.float64)
    near(crps_mm(samples, with_pelvis(truth))[:, 1], crps_of_gaussian(distance))


def test_the_closed_forms_are_those_of_numeric_integrals():
    """CRPS is ∫ (F(x) − 1{x ≥ y})² dx; the first mean of the energy score is an integral too."""
    x = torch.linspace(-600, 600, 240001, dtype=torch.float64)
    below = 0.5 * (1 + torch.erf(x / SIGMA / math.sqrt(2)))
    for distance in (0.0, 30.0, 120.0):
        integral = torch.trapezoid((below - (x >= distance).double()).square(), x).item()
        assert crps_of_gaussian(distance) == pytest.approx(integral, rel=1e-4)
    # The mean over a sphere of radius r of |X − y| is r + d² / (3 r), or d + r² / (3 d).
    r = torch.linspace(1e-6, 600, 100001, dtype=torch.float64)
    density = math.sqrt(2 / math.pi) * r**2 / SIGMA**3 * (-(r**2) / SIGMA**2 / 2).exp()
    for distance in (20.0, 150.0):
        far = torch.where(r > distance, r + distance**2 / (3 * r), distance + r**2 / (3 * distance))
        first = torch.trapezoid(density * far, r).item()
        second = 2 * SIGMA / math.sqrt(math.pi)
        assert energy_of_gaussian(distance) == pytest.approx(first - second, rel=1e-5)


# By hand and by loops


def test_scores_of_two_samples_by_hand():
    samples = with_pelvis(torch.tensor([[[[0.0, 0, 0]], [[6.0, 8, 0]]]]))  # 10 mm apart
    truth = with_pelvis(torch.tensor([[[3.0, 4, 12]]]))
    assert energy_score_mm(samples, truth)[0, 1].item() == pytest.approx(13 - 5, abs=1e-4)
    # x: 3 − 6/2, y: 4 − 8/2, z: 12 − 0
    assert crps_mm(samples, truth)[0, 1].item() == pytest.approx(12 / 3, abs=1e-4)
    assert diversity_mm(samples)[0].tolist() == pytest.approx([0, 10], abs=1e-4)


def test_scores_agree_with_loops_over_all_pairs():
    samples, truth = random_poses()
    x = (samples - samples[:, :, :1]) * 1000
    y = (truth - truth[:, :1]) * 1000
    count = samples.shape[1]
    pairs = [(i, j) for i in range(count) for j in range(count) if i != j]
    mask = torch.rand(5, 6, generator=seeded(4)) < 0.7
    mask[:, 2] = True
    energy, whole = energy_score_mm(samples, truth), pose_energy_score_mm(samples, truth, mask)
    crps, apart = crps_mm(samples, truth), diversity_mm(samples)
    for n in range(len(x)):
        keep = mask[n]

        def of_pose(a, b, keep=keep):
            return (a[keep] - b[keep]).square().sum(dim=1).mean().sqrt().item()

        to_truth = sum(of_pose(x[n, h], y[n]) for h in range(count)) / count
        between = sum(of_pose(x[n, i], x[n, j]) for i, j in pairs) / len(pairs)
        assert whole[n].item() == pytest.approx(to_truth - between / 2)
        for j in range(6):
            to_truth = sum((x[n, h, j] - y[n, j]).norm() for h in range(count)) / count
            between = sum((x[n, a, j] - x[n, b, j]).norm() for a, b in pairs) / len(pairs)
            assert energy[n, j].item() == pytest.approx(float(to_truth - between / 2))
            assert apart[n, j].item() == pytest.approx(float(between))
            to_truth = sum((x[n, h, j] - y[n, j]).abs() for h in range(count)) / count
            between = sum((x[n, a, j] - x[n, b, j]).abs() for a, b in pairs) / len(pairs)
            assert crps[n, j].item() == pytest.approx(float((to_truth - between / 2).mean()))


def test_diversity_is_the_mean_pairwise_mpjpe_of_the_hypotheses():
    samples, _ = random_poses()
    pairs = [(i, j) for i in range(4) for j in range(i)]
    wanted = torch.stack([mpjpe_mm(samples[:, i], samples[:, j]) for i, j in pairs]).mean(dim=0)
    torch.testing.assert_close(diversity_mm(samples).mean(dim=1), wanted)


def test_equal_hypotheses_score_their_error():
    samples, truth = random_poses()
    samples = samples[:, :1].expand(-1, 3, -1, -1)
    off = (samples[:, 0] - samples[:, 0, :1] - truth + truth[:, :1]) * 1000
    torch.testing.assert_close(energy_score_mm(samples, truth), off.norm(dim=-1))
    torch.testing.assert_close(crps_mm(samples, truth), off.abs().mean(dim=-1))
    assert diversity_mm(samples).abs().max() < 1e-9


def test_a_pose_of_one_joint_scores_as_that_joint():
    samples, truth = random_poses()
    only = torch.zeros(5, 6, dtype=torch.bool)
    only[:, 4] = True
    found = pose_energy_score_mm(samples, truth, only)
    torch.testing.assert_close(found, energy_score_mm(samples, truth)[:, 4])


def test_scores_do_not_see_where_the_pelvis_is_nor_the_order_of_hypotheses():
    samples, truth = random_poses()
    everything = torch.ones(5, 6, dtype=torch.bool)
    moved = samples[:, [2, 0, 3, 1]] + torch.randn(5, 4, 1, 3, generator=seeded(3)).double()
    for score in (
        energy_score_mm,
        crps_mm,
        lambda x, y: pose_energy_score_mm(x, y, everything),
        lambda x, y: diversity_mm(x),
    ):
        torch.testing.assert_close(score(moved, truth + 1.5), score(samples, truth))


# Propriety


@pytest.mark.parametrize(
    "law", [{"shift": 40.0}, {"sigma": SIGMA / 2}, {"sigma": 2 * SIGMA}, {"sigma": 1e-3}]
)
def test_the_law_of_the_truth_scores_better_than_any_other(law):
    n, count = 5000, 3
    truth = with_pelvis(gaussian((n, 1), seed=1))
    right = with_pelvis(gaussian((n, count, 1), seed=2))
    wrong = with_pelvis(gaussian((n, count, 1), seed=3, **law))
    for score in (energy_score_mm, crps_mm):
        worse = score(wrong, truth)[:, 1] - score(right, truth)[:, 1]
        assert worse.mean() > 4 * worse.std() / n**0.5


def test_the_score_of_the_whole_pose_sees_joints_that_do_not_fit_each_other():
    """Each joint alone has the right law; only together they have not."""
    n, count = 5000, 4
    truth = gaussian((n, 1), seed=1).expand(-1, 2, -1)  # two joints that move as one
    right = gaussian((n, count, 1), seed=2).expand(-1, -1, 2, -1)
    wrong = gaussian((n, count, 2), seed=3)
    both = torch.ones(n, 3, dtype=torch.bool)
    truth, right, wrong = with_pelvis(truth), with_pelvis(right), with_pelvis(wrong)
    worse = pose_energy_score_mm(wrong, truth, both) - pose_energy_score_mm(right, truth, both)
    assert worse.mean() > 4 * worse.std() / n**0.5
    alone = energy_score_mm(wrong, truth)[:, 1] - energy_score_mm(right, truth)[:, 1]
    assert alone.mean().abs() < 4 * alone.std() / n**0.5


# Refusals


def test_input_that_does_not_fit_is_refused():
    samples, truth = random_poses()
    with pytest.raises(ValueError, match="`hypotheses` must hold at least 2 an image; got 1"):
        energy_score_mm(samples[:, :1], truth)
    with pytest.raises(ValueError, match="`hypotheses` must not be empty"):
        crps_mm(samples[:, :0], truth)
    with pytest.raises(ValueError, match=r"`hypotheses` must have shape \(n, H, J, 3\)"):
        diversity_mm(truth)
    with pytest.raises(ValueError, match=r"`pose` must have shape \(5, 6, 3\)"):
        relative_mm(samples, truth[:, :5])
    with pytest.raises(ValueError, match="`hypotheses` must be finite"):
        relative_mm(samples * torch.inf, truth)
    with pytest.raises(ValueError, match=r"`joint_mask` must keep a joint in .*; poses \[0, 1"):
        pose_energy_score_mm(samples, truth, torch.zeros(5, 6, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"`joint_mask` must have shape \(5, 6\)"):
        pose_energy_score_mm(samples, truth, torch.ones(5, 7, dtype=torch.bool))
