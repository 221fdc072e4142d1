"""Differences over seeds: Student's interval by hand, and verdicts."""

import math

import pytest
import torch

from di2pose_lib.evaluation.comparisons import (
    T_QUANTILES,
    SeedInterval,
    corrected,
    seed_interval,
    student_quantile,
    verdict,
)


def test_the_interval_of_three_seeds_by_hand():
    found = seed_interval([10.0, 12.0, 14.0])
    half = 4.303 * 2.0 / math.sqrt(3)
    assert found == SeedInterval(12.0, pytest.approx(12 - half), pytest.approx(12 + half), 3)


def test_one_seed_has_no_interval_to_speak_of():
    assert seed_interval([5.0]) == (5.0, float("-inf"), float("inf"), 1)


def test_the_quantiles_are_those_of_students_law():
    for freedom, quantile in enumerate(T_QUANTILES, 1):
        x = torch.linspace(-quantile, quantile, 200001, dtype=torch.float64)
        density = (1 + x**2 / freedom) ** (-(freedom + 1) / 2)
        constant = math.exp(math.lgamma((freedom + 1) / 2) - math.lgamma(freedom / 2))
        inside = torch.trapezoid(density, x).item() * constant / math.sqrt(freedom * math.pi)
        assert abs(inside - 0.95) < 1e-4


def test_the_interval_holds_the_true_mean_in_95_of_100_draws():
    generator = torch.Generator().manual_seed(0)
    draws = torch.randn(4000, 3, generator=generator, dtype=torch.float64) + 7
    held = [low <= 7 <= high for _, low, high, _ in map(seed_interval, draws.tolist())]
    assert abs(sum(held) / len(held) - 0.95) < 0.015


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
    assert verdict(seed_interval(differences)) == words


@pytest.mark.parametrize("values", [[], [0.0] * 12])
def test_no_seeds_and_too_many_are_refused(values):
    with pytest.raises(ValueError, match=f"`values` must be 1 to 11 seeds; got {len(values)}"):
        seed_interval(values)


def test_student_quantiles_are_those_of_the_tables():
    for freedom, tabled in enumerate(T_QUANTILES, start=1):
        assert student_quantile(0.975, freedom) == pytest.approx(tabled, abs=6e-4)
    assert student_quantile(0.995, 2) == pytest.approx(9.925, abs=1e-3)
    assert student_quantile(0.95, 30) == pytest.approx(1.697, abs=1e-3)
    with pytest.raises(ValueError, match=r"`probability` must lie in \(0.5, 1\); got 0.5"):
        student_quantile(0.5, 2)


def test_an_interval_of_several_comparisons_is_wider_about_the_same_mean():
    one = seed_interval([1.0, 2.0, 3.0])
    assert corrected(one, 1) == pytest.approx(one, abs=2e-3)
    four = corrected(one, 4)
    assert four.mean == 2 and four.high - 2 == 2 - four.low
    assert four.high - 2 == pytest.approx(8.860 / 3**0.5, abs=2e-3)
    assert corrected(seed_interval([1.0]), 4).seeds == 1
    with pytest.raises(ValueError, match="`comparisons` must be at least 1; got 0"):
        corrected(one, 0)
