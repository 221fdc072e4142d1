"""Rows of results over several training seeds, from those of each seed.

A row of one seed (`conditions.result_row`) brings the means of its clusters; the same row of
several seeds becomes one, with an interval over seeds and clusters together.
"""

import torch

from di2pose_lib.base.checks import require
from di2pose_lib.base.seeding import generator_for
from di2pose_lib.evaluation.seed_statistics import SeedErrors, combined_interval

KEY = ("protocol", "level", "method", "estimator", "joints", "metric")
NUM_SAMPLES = 1000  # of the bootstrap


def combined_rows(rows_of_seeds, *, shared_clusters):
    """One row for each that all seeds have, in the first seed's order.

    Args:
        rows_of_seeds: a list for each seed, of rows with "clusters". Those without (a mean of
            actions) are left out.
        shared_clusters: whether a cluster's name means the same people or recording in every
            seed, as on motion capture; then the clusters that all seeds have are taken.

    Raises:
        ValueError: no seeds, or a row twice in one seed.
    """
    require(len(rows_of_seeds) > 0, "`rows_of_seeds` must hold at least one seed; got none")
    found = [_by_key(rows) for rows in rows_of_seeds]
    common = [key for key in found[0] if all(key in other for other in found)]
    return [_combined([rows[key] for rows in found], shared_clusters) for key in common]


def difference_rows(rows_of_seeds, worse, better, *, shared_clusters):
    """Rows of the paired difference of two methods on the same images: worse − better.

    Args:
        rows_of_seeds, shared_clusters: as for `combined_rows`.
        worse, better: (method, estimator) of the two.

    Raises:
        ValueError: as `combined_rows`; or rows of the two with other clusters.
    """
    differences = []
    for rows in rows_of_seeds:
        found = _by_key(rows)
        own = []
        for key, row in found.items():
            other = found.get((*key[:2], *better, *key[4:]))
            if key[2:4] == worse and other is not None:
                own.append(_difference(row, other))
        differences.append(own)
    return combined_rows(differences, shared_clusters=shared_clusters)


def _by_key(rows):
    found = {}
    for row in rows:
        if row["clusters"] is not None:
            key = tuple(row[name] for name in KEY)
            require(key not in found, f"`rows` must hold a row once; got {key} twice")
            found[key] = row
    return found


def _difference(row, other):
    first, second = row["clusters"], other["clusters"]
    same = (first["names"], first["counts"]) == (second["names"], second["counts"])
    require(same, f"rows of a pair must be of the same images; got others in {row['metric']}")
    means = [a - b for a, b in zip(first["means"], second["means"], strict=True)]
    method = f"{row['method']}, {row['estimator']} − {other['method']}, {other['estimator']}"
    return {**row, "method": method, "estimator": "", "clusters": {**first, "means": means}}


def _combined(rows, shared_clusters):
    clusters = [row["clusters"] for row in rows]
    if shared_clusters:
        names = set.intersection(*(set(own["names"]) for own in clusters))
        clusters = [_only(own, names) for own in clusters]
    runs = [
        SeedErrors(torch.tensor(own["means"], dtype=torch.float64), torch.tensor(own["counts"]))
        for own in clusters
    ]
    interval = combined_interval(
        runs, NUM_SAMPLES, generator_for(0, "seeds and clusters"), shared_clusters=shared_clusters
    )
    return {
        **{name: rows[0][name] for name in KEY},
        "mean": interval.mean,
        "ci95_low": interval.low,
        "ci95_high": interval.high,
        "seeds": len(rows),
        "n": sum(_images(row, own) for row, own in zip(rows, clusters, strict=True)),
    }


def _images(row, kept):
    """A row's images that are in the clusters that were kept, where clusters count images."""
    counts_images = sum(row["clusters"]["counts"]) == row["n"]
    return sum(kept["counts"]) if counts_images else row["n"]


def _only(clusters, names):
    kept = [place for place, name in enumerate(clusters["names"]) if name in names]
    return {key: [values[place] for place in kept] for key, values in clusters.items()}
