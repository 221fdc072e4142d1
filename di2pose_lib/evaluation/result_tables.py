"""Cells of the notebooks' tables, from rows of results."""

from di2pose_lib.base.checks import require
from di2pose_lib.evaluation.measure import find


def cell(rows, method, estimator, occlusion, **wanted):
    """A row of evaluation.json as `shown`; a dash where that method was not asked.

    Args:
        rows: of evaluation.json.
        method, estimator, occlusion: of the row; `wanted` as in `evaluation.find`.
    """
    names = {(row["method"], row["estimator"], row["occlusion"]) for row in rows}
    if (method, estimator, occlusion) not in names:
        return "–"
    return shown(find(rows, method=method, estimator=estimator, occlusion=occlusion, **wanted))


def mean_of(rows, method, estimator, occlusion="clean", **wanted):
    """Mean of a row of evaluation.json, in mm; arguments as in `cell`."""
    return find(rows, method=method, estimator=estimator, occlusion=occlusion, **wanted)["mean"]


def chosen(rows, **wanted):
    """The rows with these fields, of MPJPE over all joints where they say nothing else."""
    wanted = {"joints": "all", "metric": "mpjpe_mm", **wanted}
    return [row for row in rows if all(row[key] == value for key, value in wanted.items())]


def one(rows, **wanted):
    """The only one of `chosen`.

    Raises:
        ValueError: none, or more than one.
    """
    found = chosen(rows, **wanted)
    require(len(found) == 1, f"one row must have {wanted}; got {len(found)}")
    return found[0]


def shown(row, digits=1):
    """A row's mean and interval as text: "101.2 [95.0, 107.9]"."""
    mean, low, high = (f"{row[key]:.{digits}f}" for key in ("mean", "ci95_low", "ci95_high"))
    return f"{mean} [{low}, {high}]"
