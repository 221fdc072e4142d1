"""Intervals of means over several training seeds, each with its own clusters of test images.

Two things make such a mean uncertain: which people or recordings were tested, and how training
happened to go. Both are resampled: first the seeds, then within each the clusters. With three
seeds the first is rough: resampling n of something gives (n − 1) / n of its variance, which is
made up for by widening the seeds' part.
"""

from typing import NamedTuple

import torch

from di2pose_lib.checks import check_tensor, require
from di2pose_lib.statistics import Interval


class SeedErrors(NamedTuple):
    """What one training seed's model did on a test set."""

    means: torch.Tensor
    """Mean of each cluster's images, float (K,)."""
    images: torch.Tensor
    """How many images each cluster has, int64 (K,)."""


def combined_interval(runs, num_samples, generator, *, shared_clusters):
    """Mean over seeds and images, with a 95 % percentile interval over seeds and clusters.

    Each seed counts the same; within a seed an image does. A paired comparison of two methods
    on the same images takes the differences of their means.

    Args:
        runs: list of `SeedErrors`, one a seed.
        num_samples: bootstrap samples, ≥ 1.
        generator: torch.Generator.
        shared_clusters: whether cluster k is the same people or recording in every seed; then
            a resample holds the same clusters for all seeds.

    Returns:
        `statistics.Interval`; with one seed that of its clusters alone.

    Raises:
        ValueError: no seeds, shapes that do not fit, clusters without images, or other numbers
            of clusters where they are shared.
    """
    require(len(runs) > 0, "`runs` must hold at least one seed; got none")
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
    resampled, places = [], None
    for run in runs:
        if places is None or not shared_clusters:
            shape = (num_samples, len(run.means))
            places = torch.randint(shape[1], shape, generator=generator)
        resampled.append(_weighted(run.means.double()[places], run.images[places]))
    resampled = torch.stack(resampled, dim=1)  # (samples, seeds)
    own = torch.stack([_weighted(run.means.double(), run.images) for run in runs])
    mean = own.mean()

    # A resample of seeds moves the mean by their deviations, widened by √(n / (n − 1)).
    seeds = len(runs)
    drawn = torch.randint(seeds, (num_samples, seeds), generator=generator)
    widening = (seeds / (seeds - 1)) ** 0.5 if seeds > 1 else 0.0
    between = widening * (own[drawn].mean(dim=1) - mean)
    within = (resampled - own).gather(1, drawn).mean(dim=1)
    quantiles = torch.tensor([0.025, 0.975], dtype=torch.float64)
    low, high = torch.quantile(mean + between + within, quantiles).tolist()
    return Interval(mean.item(), low, high)


def _weighted(means, images):
    """Mean over the last axis, each cluster by its images."""
    return (means * images).sum(dim=-1) / images.sum(dim=-1)
