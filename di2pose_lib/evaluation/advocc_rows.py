"""Rows of AdvOcc: errors at the worst places, and how a coarse search does beside the full grid.

A run's records (`studies.advocc_runs.run`) hold the error of every position that was looked at.
"""

import torch

from di2pose_lib.evaluation.advocc import METRICS
from di2pose_lib.evaluation.advocc_search import agreement
from di2pose_lib.evaluation.conditions import condition_of, result_row

CLEAN, WORST, FRESH, BIAS = "clean", "worst", "worst position, fresh draws", "bias of the maximum"

ADVOCC, SAMPLER = "advocc", "advocc of a sampler"  # protocols: of all images, of few

# In the rows of an agreement: its protocol, and what stands behind a metric's name.
SEARCH = "advocc search"
SAME, LOST, SPARED = "same position, %", "lost, mm", "positions spared, %"


def error_table(record):
    """`errors_mm` of a record as float64 (positions, M), mm, −∞ where there is no error."""
    columns = [
        [-torch.inf if error is None else error for error in record["errors_mm"][metric]]
        for metric in METRICS
    ]
    return torch.tensor(columns, dtype=torch.float64).T


def search_agreement(records, grid):
    """{metric: `advocc_search.Agreement`} of the coarse search with a run of the full grid.

    Costs no prediction: what the coarse search asks for is among what the full grid knows.
    """
    tables = torch.stack([error_table(record) for record in records])
    return dict(zip(METRICS, agreement(tables, grid), strict=True))


def advocc_values(records, metric):
    """{level: float64 (n,), mm} of a run: clean, worst, fresh draws, bias of the maximum.

    "clean" counts the joints in the image, the others those outside the patch alone.
    """
    worst = torch.tensor([r["worst"][metric]["error_mm"] for r in records], dtype=torch.float64)
    fresh = torch.tensor([r["worst"][metric]["fresh_mm"] for r in records], dtype=torch.float64)
    clean = torch.tensor([r["clean_mm"][metric] for r in records], dtype=torch.float64)
    return {CLEAN: clean, WORST: worst, FRESH: fresh, BIAS: worst - fresh}


def advocc_rows(records, dataset, grid, protocol, method, estimator, num_samples, seed):
    """Rows of results: level 0 (clean) and the patch's size, each metric.

    At the patch's size the metric itself is the error at the worst position; with `FRESH` and
    `BIAS` behind its name it is that of fresh draws there, and the excess over them.

    Args:
        records: of one run.
        dataset: the split that was attacked.
        grid: the run's `PatchGrid`.
        protocol, method, estimator: names, for the rows.
        num_samples, seed: of the intervals.
    """
    images = torch.tensor([record["image"] for record in records])
    rows = []
    for metric in METRICS:
        for level, values in advocc_values(records, metric).items():
            size = 0 if level == CLEAN else grid.reference_patch
            joints = "in the image" if level == CLEAN else "outside the patch"
            name = f"{metric}, {level}" if level in (FRESH, BIAS) else metric
            condition = condition_of(dataset, protocol, size, num_samples, seed, images)
            every = torch.arange(len(values))
            rows.append(result_row(condition, method, estimator, joints, name, values, every))
    return rows


def agreement_rows(records, dataset, grid, method, estimator, num_samples, seed):
    """Rows of how the coarse search does on images whose full grid is known, with intervals.

    Protocol `SEARCH` at the patch's size. Behind a metric's name stand `SAME`, the images with
    the same worst position, and `LOST`, the worst error of the full grid above the one found;
    the metric `SPARED` alone is the share of positions that the coarse search leaves out, and so
    of the predictions that the search costs.

    Args:
        records: of one run with the full grid.
        dataset: the split that was attacked.
        grid: the run's `PatchGrid`.
        method, estimator: names, for the rows.
        num_samples, seed: of the intervals.
    """
    images = torch.tensor([record["image"] for record in records])
    condition = condition_of(dataset, SEARCH, grid.reference_patch, num_samples, seed, images)
    each = [search_agreement([record], grid) for record in records]
    values = {}
    for metric in METRICS:
        found = [agreement[metric] for agreement in each]
        values[f"{metric}, {SAME}"] = [100 * one.same_position for one in found]
        values[f"{metric}, {LOST}"] = [one.lost_mm for one in found]
        values[SPARED] = [100 * (1 - one.looked_at) for one in found]  # of all metrics together
    every = torch.arange(len(records))
    names = (method, estimator, "outside the patch")
    return [
        result_row(condition, *names, name, torch.tensor(own, dtype=torch.float64), every)
        for name, own in values.items()
    ]
