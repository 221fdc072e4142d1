"""Means with 95 % intervals for values that come in clusters."""

from typing import NamedTuple

import torch

from di2pose_lib.base.checks import check_tensor, require


class Interval(NamedTuple):
    """A mean and its 95 % bootstrap interval."""

    mean: float
    low: float
    high: float


def cluster_bootstrap(values, clusters, num_samples, generator, groups=None):
    """Mean of `values` with a 95 % percentile interval, resampling whole clusters.

    Frames of a sequence, or of a person, resemble each other: resampling frames would
    promise too much, so clusters are drawn with replacement.

    Args:
        values: float (n,), one an image.
        clusters: int64 (n,), number of the cluster of each image.
        num_samples: bootstrap samples.
        generator: torch.Generator.
        groups: int64 (n,) or None; where given, the statistic is the mean of the
            groups' means (the mean of action means) instead of the mean of all.

    Returns:
        `Interval`; with one cluster alone, low = high = mean.

    Raises:
        ValueError: empty or mismatched input, NaN, fewer than one sample.
    """
    check_tensor("values", values, ("n",), "float")
    check_tensor("clusters", clusters, (len(values),), "int64")
    require(num_samples >= 1, f"`num_samples` must be at least 1; got {num_samples}")
    if groups is None:
        groups = torch.zeros(len(values), dtype=torch.int64)
    check_tensor("groups", groups, (len(values),), "int64")
    cluster_names, member = clusters.unique(return_inverse=True)
    group_names, group = groups.unique(return_inverse=True)
    shape = (len(cluster_names), len(group_names))
    cell = member * shape[1] + group
    sums = torch.zeros(shape, dtype=torch.float64)
    sums.view(-1).index_add_(0, cell, values.double())
    sizes = torch.bincount(cell, minlength=sums.numel()).view(shape).double()

    def statistic(rows):
        # 0 / 0, a group that the resample lacks, is left out of the mean of groups.
        return (sums[rows].sum(dim=-2) / sizes[rows].sum(dim=-2)).nanmean(dim=-1)

    draws = torch.randint(shape[0], (num_samples, shape[0]), generator=generator)
    quantiles = torch.tensor([0.025, 0.975], dtype=torch.float64)
    low, high = torch.quantile(statistic(draws), quantiles).tolist()
    return Interval(statistic(torch.arange(shape[0])).item(), low, high)
