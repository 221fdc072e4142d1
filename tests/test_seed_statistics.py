"""Intervals over seeds and clusters: hand-made cases, and the coverage that they promise."""

import math
import statistics

import pytest
import torch

from di2pose_lib.evaluation.seed_statistics import SeedErrors, combined_interval
from di2pose_lib.evaluation.statistics import cluster_bootstrap


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def run(means, images=None):
    means = torch.as_tensor(means, dtype=torch.float64)
    images = torch.ones(len(means)) if images is None else torch.as_tensor(images)
    return SeedErrors(means, images.long())


def interval(*runs, shared=False, samples=2000):
    return combined_interval(list(runs), samples, seeded(), shared_clusters=shared)


def test_the_mean_weighs_seeds_equally_and_images_within_a_seed():
    found = interval(run([1.0, 3.0], [3, 1]), run([10.0]))
    assert found.mean == pytest.approx((1.5 + 10) / 2)
    assert found.low <= found.mean <= found.high


def test_without_any_difference_the_interval_is_a_point():
    assert interval(run([5.0, 5.0]), run([5.0, 5.0, 5.0])) == (5.0, 5.0, 5.0)


def test_one_seed_has_the_interval_of_its_clusters():
    found = interval(run([0.0, 1.0]))
    # resamples of two clusters: 0, ½ and 1 with shares ¼, ½, ¼
    assert found == (0.5, 0.0, 1.0)


def test_one_seed_has_what_a_bootstrap_of_its_images_clusters_has():
    means, images = torch.randn(9, generator=seeded(3)).double(), torch.arange(9) % 4 + 1
    clusters = torch.arange(9).repeat_interleave(images)
    wanted = cluster_bootstrap(means[clusters], clusters, 500, seeded())
    for shared in (False, True):
        found = interval(run(means, images), shared=shared, samples=500)
        assert found == pytest.approx(wanted, abs=1e-12)


@pytest.mark.parametrize("shared", [False, True])
def test_without_spread_between_clusters_the_interval_is_students(shared):
    two = interval(run([0.0, 0.0]), run([2.0, 2.0]), shared=shared)
    assert two == pytest.approx((1.0, 1 - 12.706, 1 + 12.706))
    three = interval(run([4.0]), run([5.0]), run([6.0]), shared=shared)
    assert three == pytest.approx((5.0, 5 - 4.303 / 3**0.5, 5 + 4.303 / 3**0.5))


def test_the_larger_part_counts_on_each_side_where_clusters_are_each_seeds_own():
    # Seeds of means 2.5 and 3.5: Student's half-width is 12.706 · ½. Clusters of both reach 2.5
    # down and 7.5 up: both seeds draw their smaller one twice in a sixteenth of all samples.
    found = interval(run([0.0, 10.0], [3, 1]), run([1.0, 11.0], [3, 1]))
    assert found == pytest.approx((3.0, 3 - 12.706 / 2, 3 + 7.5))


def test_both_parts_are_added_in_squares_on_each_side_where_clusters_are_shared():
    found = interval(run([0.0, 10.0], [3, 1]), run([1.0, 11.0], [3, 1]), shared=True)
    half = 12.706 / 2
    assert found == pytest.approx((3.0, 3 - math.hypot(half, 2.5), 3 + math.hypot(half, 7.5)))


def test_seeds_that_agree_by_luck_leave_the_clusters_part():
    found = interval(run([-9.0, 11.0]), run([-10.0, 12.0]))
    assert found == pytest.approx((1.0, 1 - 10.5, 1 + 10.5))


def test_differences_between_seeds_widen_the_interval():
    alike = interval(run([4.0, 6.0]), run([4.0, 6.0]), run([4.0, 6.0]))
    apart = interval(run([1.0, 3.0]), run([4.0, 6.0]), run([7.0, 9.0]))
    assert alike.mean == apart.mean == 5
    assert apart.high - apart.low > 1.5 * (alike.high - alike.low)


def test_shared_clusters_are_drawn_together_and_do_not_average_out():
    runs = [run([0.0, 10.0])] * 8
    together, apart = interval(*runs, shared=True), interval(*runs)
    assert (together.low, together.high) == (0, 10)
    assert apart.high - apart.low < together.high - together.low


def test_a_bootstrap_sample_on_one_side_adds_nothing_on_the_other():
    runs = [run([0.0, 10.0, 50.0, 90.0]), run([1.0, 11.0, 51.0, 91.0])]
    found = interval(*runs, shared=True, samples=1)
    reach = sorted([found.mean - found.low, found.high - found.mean])
    assert reach[0] == pytest.approx(12.706 / 2) and reach[1] > 13


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("seeds_sd", "clusters_sd"), [(1, 0), (1, 1), (1, 3), (0, 1)])
def test_the_interval_covers_the_truth_at_least_as_often_as_it_says(seeds_sd, clusters_sd, shared):
    """Three seeds of 60 clusters; the deviations are what both add to a seed's mean.

    The mean of normal errors is independent of how they lie around it, and so of how far the
    interval reaches: every repetition gives the probability that it covers 0, not yes or no.
    """
    draws, clusters = seeded(5), 60
    sd = math.sqrt((seeds_sd**2 / 3) + clusters_sd**2 / (1 if shared else 3))
    normal, covered = statistics.NormalDist(0, sd), []
    for _ in range(500):
        offsets = seeds_sd * torch.randn(3, 1, generator=draws, dtype=torch.float64)
        shape = (1 if shared else 3, clusters)
        errors = torch.randn(shape, generator=draws, dtype=torch.float64)
        errors = offsets + clusters_sd * clusters**0.5 * errors
        found = interval(*map(run, errors), shared=shared, samples=400)
        reach = found.mean - found.low, found.high - found.mean
        covered.append(normal.cdf(reach[0]) - normal.cdf(-reach[1]))
    assert 0.93 <= statistics.fmean(covered) <= 0.995


@pytest.mark.parametrize(
    ("runs", "options", "message"),
    [
        ([], {}, "`runs` must hold at least one seed"),
        ([run([1.0])] * 12, {}, "`runs` must hold at most 11 seeds; got 12"),
        ([run([1.0, 2.0], [1, 0])], {}, "`images` must be at least 1 in every cluster; got 0"),
        ([run([1.0]), run([1.0, 2.0])], {"shared": True}, r"equally many clusters.*got \[1, 2\]"),
        ([run([1.0])], {"samples": 0}, "`num_samples` must be at least 1; got 0"),
        ([SeedErrors(torch.ones(2), torch.ones(3).long())], {}, "`images` must have shape"),
    ],
)
def test_what_does_not_fit_is_refused(runs, options, message):
    with pytest.raises(ValueError, match=message):
        interval(*runs, **options)
