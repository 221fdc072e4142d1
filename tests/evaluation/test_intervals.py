"""Means, differences and intervals: by hand, and the coverage that they promise."""

import itertools
import math
import statistics

import pandas as pd
import pytest
import torch

from di2pose_lib.evaluation.intervals import (
    corrected,
    difference,
    interval,
    intervals,
    shown,
    student,
    verdict,
    weighted_sum,
)


def two_degrees(share):
    """Student's two-sided quantile with two degrees of freedom, in closed form."""
    return share * (2 / (1 - share**2)) ** 0.5


# seeds: Student's 95 % quantile; with one degree of freedom it is Cauchy's
HALF = {2: math.tan(math.pi * 0.95 / 2), 3: two_degrees(0.95)}


def rows(*seeds, shared=False, images=None, **columns):
    """Rows of seeds' clusters: means in lists; clusters of 1 image where none are said."""
    lines = [
        {"seed": seed, "cluster": str(k) if shared else f"{seed}-{k}", "value": value, "n": n}
        for seed, means in enumerate(seeds)
        for k, (value, n) in enumerate(zip(means, images or [1] * len(means), strict=True))
    ]
    return pd.DataFrame(lines).assign(**columns)


def test_the_mean_weighs_seeds_equally_and_images_within_a_seed():
    both = pd.concat([rows([1.0, 3.0], images=[3, 1]), rows([10.0]).assign(seed=1, cluster="x")])
    found = interval(both)
    assert found.mean == pytest.approx((1.5 + 10) / 2) and found.seeds == 2


def test_one_seed_has_the_interval_of_its_clusters():
    assert interval(rows([0.0, 1.0])) == (0.5, 0.0, 1.0, 1)  # resamples: 0, ½ and 1
    assert interval(rows([5.0, 5.0], [5.0, 5.0])) == (5.0, 5.0, 5.0, 2)


def bootstrap(values, clusters, num_samples, groups=None):
    """`Interval` of one value an image, of a single seed."""
    images = pd.DataFrame({"value": values, "cluster": clusters, "action": groups or 0})
    parts = images.groupby(["cluster", "action"]).value.agg(["mean", "size"]).reset_index()
    rows = parts.rename(columns={"mean": "value", "size": "n"}).assign(seed=0)
    return interval(rows, "action", draws=(num_samples, "a test"))


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
    each = []
    for drawn in itertools.product(names, repeat=len(names)):
        rows = [i for name in drawn for i, c in enumerate(clusters) if c == name]
        each.append(statistic_by_hand([values[i] for i in rows], [groups[i] for i in rows]))
    return sorted(each)


def percentile_of(ordered, share):
    """The value at `share` of the exact distribution, and the shares over which it reaches."""
    value = ordered[int(share * len(ordered))]
    below = sum(s < value - 1e-12 for s in ordered) / len(ordered)
    up_to = sum(s <= value + 1e-12 for s in ordered) / len(ordered)
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
    every = every_resample(values, clusters, groups)
    low, below, up_to = percentile_of(every, 0.025)
    assert below + 0.004 < 0.025 < up_to - 0.004, "2.5 % must lie well inside one step"
    high, below, up_to = percentile_of(every, 0.975)
    assert below + 0.004 < 0.975 < up_to - 0.004, "97.5 % must lie well inside one step"
    one = bootstrap(values, clusters, 40000, groups)
    assert one.low == pytest.approx(low)
    assert one.high == pytest.approx(high)
    assert one.mean == pytest.approx(statistic_by_hand(values, groups))


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


@pytest.mark.parametrize("shared", [False, True])
def test_without_spread_between_clusters_the_interval_is_students(shared):
    two = interval(rows([0.0, 0.0], [2.0, 2.0], shared=shared))
    assert two == pytest.approx((1.0, 1 - HALF[2], 1 + HALF[2], 2))
    three = interval(rows([4.0], [5.0], [6.0], shared=shared))
    half = HALF[3] / 3**0.5
    assert three == pytest.approx((5.0, 5 - half, 5 + half, 3))


def test_the_larger_part_counts_where_clusters_are_each_seeds_own_else_both_in_squares():
    # Seeds of means 2.5 and 3.5: Student's half-width is 12.706 · ½. Clusters of both reach 2.5
    # down and 7.5 up: both seeds draw their smaller one twice in a sixteenth of all samples.
    seeds, half = ([0.0, 10.0], [1.0, 11.0]), HALF[2] / 2
    own = interval(rows(*seeds, images=[3, 1]))
    assert own == pytest.approx((3.0, 3 - half, 3 + 7.5, 2))
    shared = interval(rows(*seeds, images=[3, 1], shared=True))
    below, above = math.hypot(half, 2.5), math.hypot(half, 7.5)
    assert shared == pytest.approx((3.0, 3 - below, 3 + above, 2))


def test_shared_clusters_are_those_that_all_seeds_have():
    both = rows([0.0, 2.0, 50.0], [4.0, 6.0, 70.0], shared=True)
    lacking = both[~((both.seed == 1) & (both.cluster == "2"))]
    assert interval(lacking).mean == 3.0
    (line,) = intervals(lacking.assign(who="a"), ["who"]).to_dict("records")
    assert (line["who"], line["mean"], line["n"]) == ("a", 3.0, 4)
    apart = rows([0.0], [1.0], [1.0], shared=True).assign(cluster=["a", "a", "b"])
    assert interval(apart) is None and intervals(apart, ["seed"]).n.tolist() == [1, 1, 1]


def test_values_without_clusters_have_students_interval():
    one = pd.DataFrame({"seed": [1, 2, 3], "cluster": "", "value": [10.0, 12.0, 14.0], "n": 80})
    assert interval(one) == student([10.0, 12.0, 14.0])
    half = HALF[3] * 2 / 3**0.5
    assert student([10.0, 12.0, 14.0]) == pytest.approx((12, 12 - half, 12 + half, 3))
    assert interval(one[:1]) == (10.0, -math.inf, math.inf, 1)
    with pytest.raises(ValueError, match="`values` must hold at least one seed; got none"):
        student([])


def test_actions_may_count_the_same_however_many_images_they_have():
    walk, sit = rows([1.0, 3.0], images=[9, 9]), rows([10.0, 20.0], images=[1, 1])
    both = pd.concat([walk.assign(action="walk"), sit.assign(action="sit")])
    assert interval(both).mean == pytest.approx((18 * 2 + 2 * 15) / 20)
    assert interval(both, "action").mean == pytest.approx((2 + 15) / 2)
    lacking = both[(both.action == "walk") | (both.cluster == "0-0")]  # whom sit lacks is left out
    assert interval(lacking, "action").low == pytest.approx(3.0)


@pytest.mark.parametrize("shared", [False, True])
@pytest.mark.parametrize(("seeds_sd", "clusters_sd"), [(1, 0), (1, 1), (1, 3), (0, 1)])
def test_the_interval_covers_the_truth_at_least_as_often_as_it_says(seeds_sd, clusters_sd, shared):
    """Three seeds of 60 clusters; the deviations are what both add to a seed's mean.

    The mean of normal errors is independent of how they lie around it, and so of how far the
    interval reaches: every repetition gives the probability that it covers 0, not yes or no.
    """
    draws, clusters = torch.Generator().manual_seed(5), 60
    sd = math.sqrt((seeds_sd**2 / 3) + clusters_sd**2 / (1 if shared else 3))
    normal, covered = statistics.NormalDist(0, sd), []
    for _ in range(250):
        offsets = seeds_sd * torch.randn(3, 1, generator=draws, dtype=torch.float64)
        shape = (1 if shared else 3, clusters)
        errors = torch.randn(shape, generator=draws, dtype=torch.float64)
        errors = offsets + clusters_sd * clusters**0.5 * errors
        found = interval(rows(*errors.tolist(), shared=shared), draws=(400, "a test"))
        reach = found.mean - found.low, found.high - found.mean
        covered.append(normal.cdf(reach[0]) - normal.cdf(-reach[1]))
    assert 0.93 <= statistics.fmean(covered) <= 0.995


def test_a_sum_is_taken_cluster_by_cluster_of_the_seeds_that_all_parts_have():
    a, b = rows([1.0, 2.0], [5.0, 7.0]), rows([10.0, 30.0], [0.0, 0.0], [9.0, 9.0])
    found = weighted_sum((1, a), (-2, b))
    assert found.value.tolist() == [-19.0, -58.0, 5.0, 7.0] and found.seed.tolist() == [0, 0, 1, 1]
    assert difference(b, a).value.tolist() == [9.0, 28.0, -5.0, -7.0]
    two = [part.assign(joints=j) for j in ("all", "seen") for part in (a,)]
    assert len(difference(pd.concat(two), pd.concat(two), on=["joints"])) == 8


@pytest.mark.parametrize(
    ("other", "message"),
    [
        (rows([1.0, 2.0], images=[1, 2]), "parts must be of the same images"),
        (rows([1.0]), "parts must be of the same images"),
        (rows([1.0, 2.0]).assign(cluster="0-0"), "a cluster must have one row in a part"),
    ],
)
def test_parts_of_other_images_are_refused(other, message):
    with pytest.raises(ValueError, match=message):
        difference(rows([1.0, 2.0]), other)


@pytest.mark.parametrize(
    ("differences", "words"),
    [
        ([1.0, 1.1, 0.9], "holds here"),
        ([-1.0, -1.1, -0.9], "does not hold here"),
        ([1.0, 2.0, -1.0], "undecided"),
        ([1.0, 1.1], "undecided"),  # two seeds are too few, whatever they say
        ([1.0], "undecided"),
    ],
)
def test_verdicts(differences, words):
    assert verdict(student(differences)) == words


def test_an_interval_of_several_comparisons_is_wider_about_the_same_mean():
    one = student([1.0, 2.0, 3.0])
    assert corrected(one, 1) == pytest.approx(one)
    four = corrected(one, 4)
    assert four.mean == 2 and four.high - 2 == pytest.approx(two_degrees(1 - 0.05 / 4) / 3**0.5)
    assert corrected(student([1.0]), 4).seeds == 1
    with pytest.raises(ValueError, match="`comparisons` must be at least 1; got 0"):
        corrected(one, 0)


def test_a_reader_sees_means_with_their_ends():
    lines = intervals(rows([0.0, 1.0], who="a"), ["who"])
    assert shown(lines, 2, "+").tolist() == ["+0.50 [+0.00, +1.00]"]
