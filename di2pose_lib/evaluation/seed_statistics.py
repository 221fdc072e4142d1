"""Intervals of means over several training seeds, each with its own clusters of test images.

Two things make such a mean uncertain: how training happened to go, and which people or recordings
were tested. Three seeds are too few to resample: a percentile interval of their means cannot reach
beyond the outermost, however few they are. So the seeds' part is Student's interval of their means,
and the clusters' part a bootstrap of clusters alone. How both are joined depends on what the seeds
share.
"""

import math
from typing import NamedTuple

import torch

from di2pose_lib.base.checks import check_tensor, require
from di2pose_lib.evaluation.comparisons import T_QUANTILES, seed_interval
from di2pose_lib.evaluation.statistics import Interval

MOST_SEEDS = len(T_QUANTILES) + 1


class SeedErrors(NamedTuple):
    """What one training seed's model did on a test set."""

    means: torch.Tensor
    """Mean of each cluster's images, float (K,)."""
    images: torch.Tensor
    """How many images each cluster has, int64 (K,)."""


def combined_interval(runs, num_samples, generator, *, shared_clusters):
    """Mean over seeds and images, with a 95 % interval over seeds and clusters.

    Each seed counts the same; within a seed an image does. A paired comparison of two methods
    on the same images takes the differences of their means.

    The interval has two parts on each side of the mean. The seeds' part is half the width of
    Student's interval of their means. The clusters' part is how far the percentile interval reaches
    where clusters alone are resampled, within each seed.

    Where every seed has clusters of its own, what these do to a mean is in the spread of the
    seeds' means already, and Student's interval suffices. But three means may agree by luck: the
    larger part counts. Shared clusters move all seeds alike, which their spread cannot show: the
    root of the sum of both parts' squares counts. Where seeds hardly differ, this is a percentile
    interval: of 20 clusters it holds the truth about 93 times in 100.

    Args:
        runs: list of `SeedErrors`, one a seed, at most `MOST_SEEDS`.
        num_samples: bootstrap samples, ≥ 1.
        generator: torch.Generator.
        shared_clusters: whether cluster k is the same people or recording in every seed; then
            a resample holds the same clusters for all seeds.

    Returns:
        `statistics.Interval`; with one seed the percentile interval of its clusters alone.

    Raises:
        ValueError: no seeds or too many, shapes that do not fit, clusters without images, or
            other numbers of clusters where they are shared.
    """
    _check(runs, num_samples, shared_clusters)
    own = [_weighted(run.means.double(), run.images).item() for run in runs]
    low, high = _cluster_interval(runs, num_samples, generator, shared_clusters)
    if len(runs) == 1:
        return Interval(own[0], low, high)
    seeds = seed_interval(own)
    join = math.hypot if shared_clusters else max
    # A handful of bootstrap samples may all lie on one side of the mean.
    below, above = max(seeds.mean - low, 0.0), max(high - seeds.mean, 0.0)
    return Interval(
        seeds.mean,
        seeds.mean - join(seeds.mean - seeds.low, below),
        seeds.mean + join(seeds.high - seeds.mean, above),
    )


def _check(runs, num_samples, shared_clusters):
    require(len(runs) > 0, "`runs` must hold at least one seed; got none")
    require(
        len(runs) <= MOST_SEEDS, f"`runs` must hold at most {MOST_SEEDS} seeds; got {len(runs)}"
    )
    require(num_samples >= 1, f"`num_samples` must be at least 1; got {num_samples}")
    for run in runs:
        sizes = check_tensor("means", run.means, ("K",), "float")
        check_tensor("images", run.images, (sizes["K"],), "int64")
        fewest = run.images.min().item()
        require(fewest >= 1, f"`images` must be at least 1 in every cluster; got {fewest}")
    counts = {len(run.means) for run in runs}
    require(
        len(counts) == 1 or not shared_clusters,
        f"`runs` must have equally many clusters where they are shared; got {sorted(counts)}",
    )


def _cluster_interval(runs, num_samples, generator, shared_clusters):
    """Ends of the percentile interval of the seeds' mean, where only clusters are resampled."""
    total, places = torch.zeros(num_samples, dtype=torch.float64), None
    for run in runs:
        if places is None or not shared_clusters:
            shape = (num_samples, len(run.means))
            places = torch.randint(shape[1], shape, generator=generator)
        total += _weighted(run.means.double()[places], run.images[places])
    quantiles = torch.tensor([0.025, 0.975], dtype=torch.float64)
    return torch.quantile(total / len(runs), quantiles).tolist()


def _weighted(means, images):
    """Mean over the last axis, each cluster by its images."""
    return (means * images).sum(dim=-1) / images.sum(dim=-1)
