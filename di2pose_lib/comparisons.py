"""Is one setting better than another? Differences within a seed, and their interval over seeds."""

import statistics
from typing import NamedTuple

from di2pose_lib.checks import require

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


def verdict(difference):
    """Of a claim that the `SeedInterval` of a difference is above 0: three words.

    Undecided too with fewer than `FEWEST_SEEDS` seeds.
    """
    if difference.seeds < FEWEST_SEEDS or difference.low <= 0 <= difference.high:
        return UNDECIDED
    return HOLDS if difference.low > 0 else FAILS
