"""Cluster bootstrap: against all resamples written out, and what it must not depend on."""

import itertools
import math

import pytest
import torch

from di2pose_lib.evaluation.statistics import Interval, cluster_bootstrap


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def bootstrap(values, clusters, num_samples=2000, groups=None, seed=0):
    return cluster_bootstrap(
        torch.as_tensor(values, dtype=torch.float64),
        torch.as_tensor(clusters),
        num_samples,
        seeded(seed),
        None if groups is None else torch.as_tensor(groups),
    )


def statistic_by_hand(values, groups):
    """Mean of the means of the groups that occur; one group: the plain mean."""
    means = []
    for name in sorted(set(groups)):
        members = [v for v, g in zip(values, groups, strict=True) if g == name]
        means.append(sum(members) / len(members))
    return sum(means) / len(means)


def every_resample(values, clusters, groups):
    """Statistics of all n^n ordered draws of n clusters, sorted."""
    names = sorted(set(clusters))
    statistics = []
    for drawn in itertools.product(names, repeat=len(names)):
        rows = [i for name in drawn for i, c in enumerate(clusters) if c == name]
        statistics.append(statistic_by_hand([values[i] for i in rows], [groups[i] for i in rows]))
    return sorted(statistics)


def percentile_of(statistics, share):
    """The value at `share` of the exact distribution, and the shares over which it reaches."""
    value = statistics[int(share * len(statistics))]
    below = sum(s < value - 1e-12 for s in statistics) / len(statistics)
    up_to = sum(s <= value + 1e-12 for s in statistics) / len(statistics)
    return value, below, up_to


CASES = {
    "two clusters": ([1, 2, 3, 10], [0, 0, 0, 1], [0] * 4),
    "three clusters": ([1, 2, 6, 9, 9, 3], [0, 0, 1, 2, 2, 2], [0] * 6),
    "four clusters": ([0, 1, 3, 10], [0, 1, 2, 3], [0] * 4),
    "two clusters, two groups": ([1, 2, 3, 10, 20], [0, 0, 1, 1, 1], [0, 1, 0, 1, 1]),
    "three clusters, groups that a resample may lack": (
        [1, 2, 5, 9, 4, 30],
        [4, 4, 7, 7, 9, 9],
        [0, 0, 0, 5, 5, 8],
    ),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_the_interval_is_that_of_all_resamples(case):
    values, clusters, groups = case
    statistics = every_resample(values, clusters, groups)
    low, below, up_to = percentile_of(statistics, 0.025)
    assert below + 0.004 < 0.025 < up_to - 0.004, "2.5 % must lie well inside one step"
    high, below, up_to = percentile_of(statistics, 0.975)
    assert below + 0.004 < 0.975 < up_to - 0.004, "97.5 % must lie well inside one step"
    interval = bootstrap(values, clusters, 40000, groups)
    assert interval.low == pytest.approx(low)
    assert interval.high == pytest.approx(high)
    assert interval.mean == pytest.approx(statistic_by_hand(values, groups))


def binomial_at_most(count, trials, chance):
    return sum(
        math.comb(trials, k) * chance**k * (1 - chance) ** (trials - k) for k in range(count + 1)
    )


@pytest.mark.parametrize(
    ("ones", "of", "low", "beyond"),
    [
        (9, 27, 4, 0.03),  # four ones or fewer: 2.75 %, so that 3 % would be at five
        (5, 18, 2, 0.02),  # one or none: 2.26 %, so that 2 % would be at one
    ],
)
def test_the_interval_ends_at_two_and_a_half_percent_on_either_side(ones, of, low, beyond):
    """Of zeros and ones, one a cluster, a resample's ones are binomial."""
    below, up_to = (binomial_at_most(k, of, ones / of) for k in (low - 1, low))
    assert below + 0.002 < 0.025 < up_to - 0.002
    assert not below < beyond < up_to, "a neighbouring share would give the same end"
    clusters = list(range(of))
    few = bootstrap([1] * ones + [0] * (of - ones), clusters, 100_000)
    assert few.low == pytest.approx(low / of)
    many = bootstrap([0] * ones + [1] * (of - ones), clusters, 100_000)
    assert many.high == pytest.approx(1 - low / of)


def test_the_interval_of_two_clusters_by_hand():
    # Half of the resamples hold both clusters, a quarter each only one of them.
    interval = bootstrap([1, 1, 7], [0, 0, 1])
    assert interval == pytest.approx(Interval(mean=3.0, low=1.0, high=7.0))


def test_the_mean_is_the_plain_mean_whatever_the_clusters():
    values = torch.randn(100, generator=seeded(1), dtype=torch.float64)
    clusters = torch.randint(7, (100,), generator=seeded(2))
    mean = cluster_bootstrap(values, clusters, 50, seeded()).mean
    assert mean == pytest.approx(values.mean().item(), rel=1e-12)
    assert cluster_bootstrap(values.float(), clusters, 50, seeded()).mean == pytest.approx(
        mean, abs=1e-7
    )


def test_with_groups_the_mean_is_the_mean_of_their_means():
    values, groups = [0, 0, 0, 0, 10, 40, 20], [3, 3, 3, 3, 5, 5, 9]
    interval = bootstrap(values, [0, 0, 1, 1, 0, 1, 1], groups=groups)
    assert interval.mean == pytest.approx((0 + 25 + 20) / 3)
    assert interval.mean != pytest.approx(sum(values) / 7)


def test_one_group_is_no_groups():
    values, clusters = torch.randn(30, generator=seeded(1)).tolist(), [i // 5 for i in range(30)]
    assert bootstrap(values, clusters, groups=[4] * 30) == bootstrap(values, clusters)


def test_one_cluster_alone_has_no_width():
    interval = bootstrap([1.0, 2.0, 6.0], [5, 5, 5])
    assert interval == pytest.approx(Interval(3.0, 3.0, 3.0))


def test_equal_values_have_no_width():
    assert bootstrap([2.5] * 8, [0, 1, 1, 2, 2, 2, 3, 3]) == pytest.approx(Interval(2.5, 2.5, 2.5))


def test_clusters_that_hold_alike_values_widen_the_interval():
    effect = torch.randn(20, generator=seeded(1), dtype=torch.float64).repeat_interleave(10)
    values = effect + 0.1 * torch.randn(200, generator=seeded(2), dtype=torch.float64)
    clusters = torch.arange(20).repeat_interleave(10)
    by_cluster = cluster_bootstrap(values, clusters, 2000, seeded())
    by_frame = cluster_bootstrap(values, torch.arange(200), 2000, seeded())
    ratio = (by_cluster.high - by_cluster.low) / (by_frame.high - by_frame.low)
    assert ratio == pytest.approx(10**0.5, rel=0.15)  # 20 independent values and not 200
    assert by_cluster.mean == pytest.approx(by_frame.mean)


def test_unrelated_clusters_do_not_widen_the_interval():
    values = torch.randn(600, generator=seeded(1), dtype=torch.float64)
    by_cluster = cluster_bootstrap(values, torch.arange(600) // 5, 2000, seeded())
    by_frame = cluster_bootstrap(values, torch.arange(600), 2000, seeded())
    ratio = (by_cluster.high - by_cluster.low) / (by_frame.high - by_frame.low)
    assert ratio == pytest.approx(1, rel=0.2)


def test_the_interval_covers_the_truth_about_95_times_in_100():
    covered = 0
    for trial in range(300):
        effect = torch.randn(40, generator=seeded(trial), dtype=torch.float64)
        interval = cluster_bootstrap(
            effect.repeat_interleave(3), torch.arange(40).repeat_interleave(3), 300, seeded(trial)
        )
        covered += interval.low <= 0 <= interval.high
    assert 0.90 <= covered / 300 <= 0.98


def test_the_interval_follows_shift_and_scale_of_the_values():
    values = torch.randn(60, generator=seeded(1), dtype=torch.float64)
    clusters = torch.arange(60) // 6
    plain = cluster_bootstrap(values, clusters, 500, seeded())
    moved = cluster_bootstrap(3 * values + 100, clusters, 500, seeded())
    assert moved == pytest.approx([3 * number + 100 for number in plain])
    assert plain.low < plain.mean < plain.high


def test_neither_names_of_clusters_nor_the_order_of_images_matter():
    values = torch.randn(60, generator=seeded(1), dtype=torch.float64)
    clusters = torch.randint(8, (60,), generator=seeded(2))
    groups = torch.randint(3, (60,), generator=seeded(3))
    plain = cluster_bootstrap(values, clusters, 200, seeded(), groups)
    order = torch.randperm(60, generator=seeded(4))
    renamed = cluster_bootstrap(
        values[order], 1000 * clusters[order] - 500, 200, seeded(), 7 * groups[order] + 2
    )
    assert renamed == pytest.approx(plain)


def test_draws_come_from_the_generator_alone():
    values = torch.randn(60, generator=seeded(1), dtype=torch.float64)
    first, again, other = (
        cluster_bootstrap(values, torch.arange(60), 100, seeded(seed)) for seed in (0, 0, 1)
    )
    assert first == again
    assert (first.low, first.high) != (other.low, other.high)
    assert first.mean == other.mean


# Refusals


def test_fewer_than_one_sample_is_refused():
    with pytest.raises(ValueError, match="`num_samples` must be at least 1; got 0"):
        bootstrap([1.0, 2.0], [0, 1], num_samples=0)


@pytest.mark.parametrize(
    ("values", "clusters", "groups", "sentence"),
    [
        (torch.zeros(0), torch.zeros(0).long(), None, r"`values` must not be empty"),
        (
            torch.zeros(2, 2),
            torch.zeros(2).long(),
            None,
            r"`values` must have shape \(n,?\); got \(2, 2\)",
        ),
        (torch.zeros(2).long(), torch.zeros(2).long(), None, "`values` must be floating point"),
        (torch.tensor([1.0, float("nan")]), torch.zeros(2).long(), None, "`values` must be finite"),
        (
            torch.zeros(3),
            torch.zeros(2).long(),
            None,
            r"`clusters` must have shape \(3,?\); got \(2,\)",
        ),
        (torch.zeros(3), torch.zeros(3), None, "`clusters` must be int64; got torch.float32"),
        (torch.zeros(3), torch.zeros(3).long(), torch.zeros(2).long(), "`groups` must have shape"),
        (torch.zeros(3), torch.zeros(3).long(), torch.zeros(3), "`groups` must be int64; got"),
    ],
)
def test_values_clusters_and_groups_that_do_not_fit_are_refused(values, clusters, groups, sentence):
    with pytest.raises(ValueError, match=sentence):
        cluster_bootstrap(values, clusters, 10, seeded(), groups)
