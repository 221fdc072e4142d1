"""Spread, coverage and sharpness: by hand, by loops, and exact on a known Gaussian."""

import math
import statistics

import pytest
import torch

from di2pose_lib.evaluation.calibration import (
    FEWEST_TO_RANK,
    calibrated_error,
    coverage,
    joint_table,
    rank_correlation,
    rank_products,
    region_radius_mm,
    spread_and_error_mm,
)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def with_pelvis(points_mm):
    """Joints (..., J, 3) in mm behind a pelvis at 0, in metres."""
    return torch.cat([torch.zeros_like(points_mm[..., :1, :]), points_mm], dim=-2) / 1000


def on_a_line(*places_mm):
    """(1, H, 2, 3): one image, the second joint at these places along x, in metres."""
    points = torch.zeros(1, len(places_mm), 1, 3, dtype=torch.float64)
    points[0, :, 0, 0] = torch.tensor(places_mm)
    return with_pelvis(points)


def drawn(n, count, seed=0, samples=1.0):
    """n images with a law each, skewed and stretched; truth and samples are its draws.

    The samples' deviations from the law's mean are multiplied by `samples`.
    """
    generator = seeded(seed)
    points = torch.randn(n, count + 1, 2, 3, generator=generator, dtype=torch.float64)
    points = points.exp() - math.exp(0.5)  # lognormal: far from symmetric
    points = points * torch.tensor([5.0, 20.0, 80.0])
    points = points * (0.2 + torch.rand(n, 1, 2, 1, generator=generator, dtype=torch.float64))
    centre = 300 * torch.randn(n, 1, 2, 3, generator=generator, dtype=torch.float64)
    points[:, 1:] *= samples
    points = with_pelvis(points + centre)
    return points[:, 1:], points[:, 0]


# Spread and error


def test_spread_and_error_by_hand():
    found = spread_and_error_mm(on_a_line(-3.0, 1.0, 5.0), on_a_line(8.0)[:, 0])
    assert found.spread[0].tolist() == pytest.approx([0, 4])  # √((16 + 0 + 16) / 2)
    assert found.error[0].tolist() == pytest.approx([0, 7])


def test_a_calibrated_model_errs_by_its_spread_and_a_little_more():
    points = 100 * torch.rand(8000, 5, 2, 3, generator=seeded(), dtype=torch.float64)
    points = with_pelvis(points * torch.tensor([1.0, 0.2, 3.0]))
    found = spread_and_error_mm(points[:, 1:], points[:, 0])
    wanted = calibrated_error(found.spread.square().mean(dim=0).sqrt(), 4)
    torch.testing.assert_close(found.error.square().mean(dim=0).sqrt(), wanted, rtol=0.03, atol=0)
    assert calibrated_error(100.0, 4) == pytest.approx(100 * math.sqrt(1.25))


# Coverage


@pytest.mark.parametrize("count", [2, 8])
def test_coverage_of_a_calibrated_model_is_nominal_whatever_the_law(count):
    n = 6000
    samples, truth = drawn(n, count)
    levels = [k / (count + 1) for k in range(1, count + 1)] + [0.5, 0.9]
    inside = coverage(samples, truth, levels)
    assert inside.shape == (n, 3, len(levels))
    for joint in (1, 2):
        for place, level in enumerate(levels):
            off = inside[:, joint, place].mean().item() - level
            assert abs(off) < 4 * math.sqrt(level * (1 - level) / n)


@pytest.mark.parametrize(("samples", "sign"), [(0.5, -1), (2.0, 1)])
def test_too_narrow_a_law_covers_too_little_and_too_wide_a_law_too_much(samples, sign):
    levels = [k / 9 for k in range(1, 9)]
    inside = coverage(*drawn(2000, 8, samples=samples), levels).mean(dim=0)[1:]
    assert (sign * (inside - torch.tensor(levels)) > 0.03).all()


def test_a_shifted_law_covers_too_little():
    samples, truth = drawn(2000, 8)
    truth[:, 1:, 0] += 0.2
    assert coverage(samples, truth, [0.5]).mean(dim=0)[1:].max() < 0.35


def test_coverage_by_hand():
    samples, levels = on_a_line(-10.0, -4.0, 4.0), [0.25, 0.5, 0.75, 0.1, 0.6, 0.9]
    # Nearest of the four points to their mean of −3.25: the truth.
    assert coverage(samples, on_a_line(-3.0)[:, 0], levels)[0, 1].tolist() == pytest.approx(
        [1, 1, 1, 0.4, 1, 1]
    )
    # With a truth of 30 the mean is 5: farthest, inside only beyond 3/4.
    assert coverage(samples, on_a_line(30.0)[:, 0], levels)[0, 1].tolist() == pytest.approx(
        [0, 0, 0, 0, 0, 0.6]
    )


def test_coverage_agrees_with_ranks_found_by_loops():
    samples, truth = drawn(40, 5)
    levels = [k / 6 for k in range(1, 6)]
    inside = coverage(samples, truth, levels)
    for n in range(40):
        for joint in (1, 2):
            points = [truth[n, joint], *samples[n, :, joint]]
            apart = []
            for i, point in enumerate(points):
                others = [p for j, p in enumerate(points) if j != i]
                apart.append((point - sum(others) / len(others)).norm().item())
            rank = 1 + sum(distance < apart[0] for distance in apart[1:])
            wanted = [float(rank <= k) for k in range(1, 6)]
            assert inside[n, joint].tolist() == pytest.approx(wanted, abs=1e-9)


def test_ties_are_broken_at_random_in_expectation():
    # Truth and one sample are equal, the nearest two of three; the pelvis ties with all.
    inside = coverage(on_a_line(0.0, 9.0), on_a_line(0.0)[:, 0], [1 / 3, 1 / 2, 2 / 3])
    assert inside[0, 1].tolist() == pytest.approx([1 / 2, 3 / 4, 1])
    assert inside[0, 0].tolist() == pytest.approx([1 / 3, 1 / 2, 2 / 3])


def test_equal_hypotheses_cover_no_truth_but_themselves():
    samples = on_a_line(3.0, 3.0, 3.0)
    assert coverage(samples, on_a_line(3.5)[:, 0], [0.25, 0.5, 0.75])[0, 1].tolist() == [0, 0, 0]


def test_coverage_does_not_see_place_size_or_turn_of_the_scene():
    samples, truth = drawn(50, 5)
    turn = torch.linalg.qr(torch.randn(3, 3, generator=seeded(1), dtype=torch.float64)).Q
    moved = coverage(3 * samples @ turn + 1, 3 * truth @ turn - 2, [0.3, 0.5])
    torch.testing.assert_close(moved[:, 1:], coverage(samples, truth, [0.3, 0.5])[:, 1:])


# Sharpness


def test_radii_by_hand():
    # Distances to the mean of the others: 0, 10, 20 → (−15: 22.5, 0: 0, 15: 22.5).
    radius = region_radius_mm(on_a_line(-15.0, 0.0, 15.0), [0.25, 0.5, 0.75, 0.9, 0.3])
    assert radius[0, 1].tolist() == pytest.approx([0, 22.5, 22.5, 22.5, 22.5 * 0.2])
    assert radius[0, 0].abs().max() == 0


def test_radii_of_many_samples_are_those_of_the_gaussian():
    points = 40.0 * torch.randn(20, 4000, 1, 3, generator=seeded(), dtype=torch.float64)
    radius = region_radius_mm(with_pelvis(points), [0.5, 0.9]).mean(dim=0)[1]
    # Quantiles of χ with 3 degrees of freedom.
    assert radius.tolist() == pytest.approx([40 * 1.5382, 40 * 2.5003], rel=0.01)


def test_radii_grow_with_the_samples_and_with_the_level():
    samples, _ = drawn(100, 8)
    levels = [0.1, 0.3, 0.5, 0.7, 0.85]
    radius = region_radius_mm(samples, levels)[:, 1:]
    assert (radius.diff(dim=-1) > 0).all()
    torch.testing.assert_close(region_radius_mm(2 * samples, levels)[:, 1:], 2 * radius)


# Rank correlation


def test_rank_correlation_by_hand_with_ties():
    x = torch.tensor([10.0, 20.0, 20.0, 90.0])  # ranks 1, 2.5, 2.5, 4
    y = torch.tensor([5.0, -1.0, 6.0, 7.0])  # ranks 2, 1, 3, 4
    ranks = ([1, 2.5, 2.5, 4], [2, 1, 3, 4])
    assert rank_correlation(x, y) == pytest.approx(statistics.correlation(*ranks))


def test_rank_correlation_sees_order_alone():
    x = torch.randn(200, generator=seeded(1), dtype=torch.float64)
    y = x + torch.randn(200, generator=seeded(2), dtype=torch.float64)
    plain = rank_correlation(x, y)
    assert 0.5 < plain < 0.9
    assert rank_correlation(x.exp(), 3 * y - 1) == pytest.approx(plain)
    assert rank_correlation(x, -y) == pytest.approx(-plain)
    assert rank_correlation(x, x.exp()) == pytest.approx(1)


def test_products_of_ranks_average_to_the_correlation_of_each_joint():
    x, y = torch.rand(2, 30, 3, generator=seeded())
    mask = torch.rand(30, 3, generator=seeded(1)) < 0.7
    mask[:, 2] = False
    mask[: FEWEST_TO_RANK - 1, 2] = True  # one image too few
    products, images = rank_products(x, y, mask)
    counts = mask.sum(dim=0).tolist()
    assert len(products) == counts[0] + counts[1]
    first = rank_correlation(x[mask[:, 0], 0], y[mask[:, 0], 0])
    assert products[: counts[0]].mean().item() == pytest.approx(first, abs=1e-6)
    assert images[: counts[0]].tolist() == mask[:, 0].nonzero().flatten().tolist()


# Tables


def test_the_table_of_joints_names_all_but_the_pelvis():
    generator = seeded()
    points = 30 * torch.randn(40, 9, 17, 3, generator=generator, dtype=torch.float64) / 1000
    points[:, :, 0] = 0
    points[:, :, 13] *= torch.linspace(0.1, 5, 40)[:, None, None]
    mask = torch.ones(40, 17, dtype=torch.bool)
    mask[:, 5] = False
    mask[4:, 6] = False
    table = {row["joint"]: row for row in joint_table(points[:, 1:], points[:, 0], mask)}
    assert len(table) == 15 and "pelvis" not in table and "left knee" not in table
    assert table["left ankle"]["n"] == 4 and table["left ankle"]["rank_correlation"] is None
    assert table["left wrist"]["rank_correlation"] > 0.6
    assert abs(table["spine"]["rank_correlation"]) < 0.5
    found = spread_and_error_mm(points[:, 1:], points[:, 0])
    wanted = found.spread[:, 13].square().mean().sqrt().item()
    assert table["left wrist"]["rms_spread_mm"] == pytest.approx(wanted)
    wanted = found.error[:, 13].square().mean().sqrt().item()
    assert table["left wrist"]["rms_error_mm"] == pytest.approx(wanted)


# Refusals


def test_input_that_does_not_fit_is_refused():
    samples, truth = drawn(4, 3)
    mask = torch.ones(4, 3, dtype=torch.bool)
    with pytest.raises(ValueError, match="`hypotheses` must hold at least 2 an image; got 1"):
        coverage(samples[:, :1], truth, [0.5])
    with pytest.raises(ValueError, match=r"`levels` must lie in \(0, 1\); got \[1.0\]"):
        coverage(samples, truth, [0.5, 1.0])
    with pytest.raises(ValueError, match="`levels` must hold at least one level; got none"):
        region_radius_mm(samples, [])
    with pytest.raises(ValueError, match=r"`pose` must have shape \(4, 3, 3\)"):
        spread_and_error_mm(samples, truth[:3])
    with pytest.raises(ValueError, match=r"`joint_mask` must have shape \(4, 17\)"):
        joint_table(samples, truth, mask)
    with pytest.raises(ValueError, match="`y` must hold two different values"):
        rank_correlation(torch.arange(3.0), torch.ones(3))
    with pytest.raises(ValueError, match=r"`y` must have shape \(3,\)"):
        rank_correlation(torch.arange(3.0), torch.ones(2))
