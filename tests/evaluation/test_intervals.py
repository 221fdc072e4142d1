"""Means, differences and intervals: by hand, and the coverage that they promise."""

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
