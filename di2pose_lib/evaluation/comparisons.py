"""Is one setting better than another? Differences within a seed, and their interval over seeds."""

import math
import statistics
from typing import NamedTuple

from di2pose_lib.base.checks import require

HOLDS, FAILS, UNDECIDED = "holds here", "does not hold here", "undecided"

# 0.975 quantiles of Student's t for 1, 2, … degrees of freedom.
T_QUANTILES = (12.706, 4.303, 3.182, 2.776, 2.571, 2.447, 2.365, 2.306, 2.262, 2.228)
FEWEST_SEEDS = 3  # under a verdict


class SeedInterval(NamedTuple):
    """A mean over training seeds and its 95 % interval."""

    mean: float
    low: float
    high: float
    seeds: int


def seed_interval(values):
    """Mean of one value a seed with Student's 95 % interval; infinite for a single seed.

    Each seed draws its own bodies, pictures, first weights and batches, so what differs
    between seeds is all that is uncertain, but for the subjects of a fixed data set.

    Raises:
        ValueError: no values, or more than 11.
    """
    count = len(values)
    most = len(T_QUANTILES) + 1
    require(1 <= count <= most, f"`values` must be 1 to {most} seeds; got {count}")
    mean = statistics.fmean(values)
    if count == 1:
        return SeedInterval(mean, float("-inf"), float("inf"), 1)
    half = T_QUANTILES[count - 2] * statistics.stdev(values) / count**0.5
    return SeedInterval(mean, mean - half, mean + half, count)


def corrected(interval, comparisons):
    """A `SeedInterval` widened so that all of several together hold 95 times in 100 (Bonferroni).

    One of many comparisons goes wrong more often than one alone: the largest of several
    differences is no single difference.

    Raises:
        ValueError: fewer than one comparison.
    """
    require(comparisons >= 1, f"`comparisons` must be at least 1; got {comparisons}")
    if interval.seeds == 1:
        return interval
    freedom = interval.seeds - 1
    wider = student_quantile(1 - 0.025 / comparisons, freedom) / student_quantile(0.975, freedom)
    low, high = (interval.mean + wider * (end - interval.mean) for end in interval[1:3])
    return SeedInterval(interval.mean, low, high, interval.seeds)


def student_quantile(probability, freedom):
    """Quantile of Student's t with so many degrees of freedom, an int ≥ 1, above its median.

    With t = √n tan θ the distribution is 1/2 + c · ∫ cosⁿ⁻¹ θ; bisection to nine digits.
    """
    require(0.5 < probability < 1, f"`probability` must lie in (0.5, 1); got {probability}")
    scale = math.gamma((freedom + 1) / 2) / (math.sqrt(math.pi) * math.gamma(freedom / 2))

    def share(angle, parts=200):  # Simpson's rule
        step = angle / parts
        weights = (1, *(4, 2) * (parts // 2 - 1), 4, 1)
        return (
            sum(w * math.cos(i * step) ** (freedom - 1) for i, w in enumerate(weights)) * step / 3
        )

    low, high = 0.0, math.pi / 2
    for _ in range(60):
        middle = (low + high) / 2
        below = 0.5 + scale * share(middle) < probability
        low, high = (middle, high) if below else (low, middle)
    return math.sqrt(freedom) * math.tan(low)


def verdict(difference):
    """Of a claim that the `SeedInterval` of a difference is above 0: three words.

    Undecided too with fewer than `FEWEST_SEEDS` seeds.
    """
    if difference.seeds < FEWEST_SEEDS or difference.low <= 0 <= difference.high:
        return UNDECIDED
    return HOLDS if difference.low > 0 else FAILS
