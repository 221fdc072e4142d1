"""Means, paired differences and their 95 % intervals, from rows of the table.

Two things make a mean uncertain: how training happened to go, and which people or recordings
were tested. Three seeds are too few to resample: a percentile interval of their means cannot
reach beyond the outermost. So the seeds' part is Student's interval of their means, and the
clusters' part a bootstrap of clusters alone. How both are joined depends on what the seeds share:
people that a seed draws for itself are in the spread of the seeds' means already, and the larger
part counts (three means may agree by luck). Recordings that all seeds have move all means alike,
which their spread cannot show: the root of the sum of both squares counts.
"""

import math
from typing import NamedTuple

import numpy as np
import pandas as pd
import torch
from scipy import stats

from di2pose_lib.base.checks import require
from di2pose_lib.base.seeding import generator_for

DRAWS = (1000, "seeds and clusters")  # bootstrap samples, and the name of their generator
HOLDS, FAILS, UNDECIDED = "holds here", "does not hold here", "undecided"
FEWEST_SEEDS = 3  # under a verdict


class Interval(NamedTuple):
    """A mean with its 95 % interval, and over how many training seeds."""

    mean: float
    low: float
    high: float
    seeds: int


def intervals(rows, by, equally=None, draws=DRAWS):
    """Means of rows with their intervals, a line for each combination of some columns.

    Args:
        rows: DataFrame with `seed`, `cluster`, `value` and `n`. Within a seed a value counts by
            its n; each seed counts the same.
        by: names of columns, a list.
        equally: a column whose values count the same, however many images each has ("action":
            the mean of the actions' means); None counts images.
        draws: (bootstrap samples, names of their generator …).

    Returns:
        DataFrame of `by`, mean, low, high, seeds and n (of all seeds), in the rows' order. Where
        clusters are shared those that all seeds have are taken; a line without any is left out.
    """
    lines = []
    for key, group in rows.groupby(list(by), sort=False, dropna=False):
        kept = _kept(group)
        if len(kept):
            values = _interval(kept, equally, draws)._asdict()
            lines.append(dict(zip(by, key, strict=True)) | values | {"n": int(kept.n.sum())})
    return pd.DataFrame(lines, columns=[*by, *Interval._fields, "n"])


def interval(rows, equally=None, draws=DRAWS):
    """`Interval` of all rows together; None without rows. Arguments as in `intervals`."""
    kept = _kept(rows)
    return _interval(kept, equally, draws) if len(kept) else None


def weighted_sum(*parts, on=()):
    """Rows of a weighted sum of values, cluster by cluster: (1, a), (−1, b) is a − b.

    Args:
        parts: (weight, rows) each; in each a cluster of a seed has one row for all of `on`.
        on: columns that tell the rows of a cluster apart, and are kept.

    Returns:
        DataFrame of `on`, seed, cluster, value, n: of the seeds that all parts have.

    Raises:
        ValueError: a cluster twice in a part, or parts of other images.
    """
    keys, total = [*on, "seed", "cluster"], None
    for weight, rows in parts:
        rows = rows[[*keys, "value", "n"]]
        twice = rows.duplicated(keys)
        require(not twice.any(), f"a cluster must have one row in a part; got {rows[twice][:1]}")
        rows = rows.assign(value=weight * rows.value)
        total = rows if total is None else _added(total, rows, keys)
    return total


def difference(first, second, on=()):
    """Rows of first − second, cluster by cluster, of the same images; see `weighted_sum`."""
    return weighted_sum((1, first), (-1, second), on=on)


def _added(first, second, keys):
    both = first.merge(second, "outer", on=keys, suffixes=("", "_other"), indicator="where")
    places = [name for name in keys if name != "cluster"]
    each = both.groupby(places, sort=False, dropna=False)
    both = both[each.value.transform("count").gt(0) & each.value_other.transform("count").gt(0)]
    same = (both["where"] == "both") & (both.n == both.n_other)
    require(same.all(), f"parts must be of the same images; got others in {both[~same][keys][:1]}")
    order = first[keys].merge(both, on=keys)  # an outer merge sorts
    total = order.assign(value=order.value + order.value_other)
    return total[[*keys, "value", "n"]].astype({"n": int})


def student(values):
    """`Interval` of one value a seed, of Student's t; infinite for a single seed.

    Raises:
        ValueError: no values.
    """
    count = len(values)
    require(count >= 1, "`values` must hold at least one seed; got none")
    mean = float(np.mean(values))
    if count == 1:
        return Interval(mean, -math.inf, math.inf, 1)
    half = float(stats.t.ppf(0.975, count - 1) * np.std(values, ddof=1)) / count**0.5
    return Interval(mean, mean - half, mean + half, count)


def corrected(one, comparisons):
    """An `Interval` over seeds, widened so that several together hold 95 times in 100 (Bonferroni).

    Raises:
        ValueError: fewer than one comparison.
    """
    require(comparisons >= 1, f"`comparisons` must be at least 1; got {comparisons}")
    if one.seeds == 1:
        return one
    quantiles = stats.t.ppf([1 - 0.025 / comparisons, 0.975], one.seeds - 1)
    wider = float(quantiles[0] / quantiles[1])
    low, high = (one.mean + wider * (end - one.mean) for end in one[1:3])
    return Interval(one.mean, low, high, one.seeds)


def verdict(one):
    """Of a claim that an `Interval` of trained networks is above 0: three words.

    Undecided too with fewer than `FEWEST_SEEDS` seeds.
    """
    if one.seeds < FEWEST_SEEDS or one.low <= 0 <= one.high:
        return UNDECIDED
    return HOLDS if one.low > 0 else FAILS


def shown(lines, digits=1, sign=""):
    """What lines of `intervals` say, as texts "12.3 [11.0, 13.6]": a Series."""
    form = f"{{:{sign}.{digits}f}} [{{:{sign}.{digits}f}}, {{:{sign}.{digits}f}}]"
    return lines.apply(lambda line: form.format(line["mean"], line.low, line.high), axis=1)


def _kept(rows):
    """The rows of the clusters that all seeds have, where seeds share any; else all rows."""
    names = [set(part.cluster) for _, part in rows.groupby("seed", sort=False)]
    if len(names) < 2 or sum(map(len, names)) == len(set.union(*names)):
        return rows
    return rows[rows.cluster.isin(set.intersection(*names))]


def _interval(rows, equally, draws):
    """`Interval` of the rows that `_kept` keeps."""
    seeds = [_Sums(part, equally) for _, part in rows.groupby("seed", sort=False)]
    means = [float(seed.mean()) for seed in seeds]
    if rows.cluster.eq("").all():  # of values without clusters, seeds alone say how they differ
        return student(means)
    names = [seed.names for seed in seeds]
    shared = len(seeds) > 1 and set(names[0]) == set(names[-1])
    count, *keys = draws
    generator, places, total = generator_for(0, *keys), None, np.zeros(count)
    for seed in seeds:
        if places is None or not shared:
            size = len(seed.names)
            places = torch.randint(size, (count, size), generator=generator).numpy()
        total += seed.mean(places)
    low, high = np.quantile(total / len(seeds), [0.025, 0.975]).tolist()
    if len(seeds) == 1:
        return Interval(means[0], low, high, 1)
    over = student(means)
    join = math.hypot if shared else max
    # A handful of bootstrap samples may all lie on one side of the mean.
    below, above = max(over.mean - low, 0.0), max(high - over.mean, 0.0)
    return Interval(
        over.mean,
        over.mean - join(over.mean - over.low, below),
        over.mean + join(over.high - over.mean, above),
        len(seeds),
    )


class _Sums:
    """Sums of a seed's values and of their n: (clusters, groups that count the same)."""

    def __init__(self, rows, equally):
        member, self.names = pd.factorize(rows.cluster)
        group, groups = pd.factorize(rows[equally]) if equally else (np.zeros_like(member), [""])
        self.sums = np.zeros((len(self.names), len(groups)))
        self.sizes = np.zeros_like(self.sums)
        np.add.at(self.sums, (member, group), rows.value.to_numpy() * rows.n.to_numpy())
        np.add.at(self.sizes, (member, group), rows.n.to_numpy())

    def mean(self, places=slice(None)):
        """Mean of the groups' means over clusters at these places (…, K); a group that no cluster
        has is left out."""
        sums, sizes = self.sums[places].sum(axis=-2), self.sizes[places].sum(axis=-2)
        with np.errstate(invalid="ignore"):  # 0 / 0
            return np.nanmean(sums / sizes, axis=-1)
