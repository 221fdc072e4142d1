"""Rows of AdvOcc: errors at the worst places, and how a coarse search does beside the full grid.

A run's records (`studies.advocc_runs.run`) hold the error of every position that was looked at.
"""

import torch

from di2pose_lib.evaluation.advocc import METRICS
from di2pose_lib.evaluation.advocc_search import agreement
from di2pose_lib.evaluation.pictures import CLEAN, joined, truth_of

PATCH = "worst patch"  # the occlusion; its level is the patch's size at the reference height
PLACE_FOUND, FRESH_TEXTURES = "place found", "fresh textures"  # settings


def error_table(record):
    """`errors_mm` of a record as float64 (positions, M), mm, −∞ where there is no error."""
    columns = [
        [-torch.inf if error is None else error for error in record["errors_mm"][metric]]
        for metric in METRICS
    ]
    return torch.tensor(columns, dtype=torch.float64).T


def advocc_rows(records, dataset, config, grid, method, estimator):
    """Rows of results: of the clean images, and under the worst patch.

    Clean images count the joints in the image, the others those outside the patch alone. The
    setting says whether the error is that at the place found, or of fresh textures there.

    Args:
        records: of one run.
        dataset: the split that was attacked.
        config: a `Config`.
        grid: the run's `PatchGrid`.
        method, estimator: names, for the rows.
    """
    truth = _truth(records, dataset, config, grid)
    names, tables = {"method": method, "estimator": estimator}, []
    for metric in METRICS:
        clean = {"occlusion": CLEAN, "level": 0.0, "joints": "in the image"}
        for columns, values in (
            (clean, [record["clean_mm"][metric] for record in records]),
            ({"setting": PLACE_FOUND}, [r["worst"][metric]["error_mm"] for r in records]),
            ({"setting": FRESH_TEXTURES}, [r["worst"][metric]["fresh_mm"] for r in records]),
        ):
            values = torch.tensor(values, dtype=torch.float64)
            columns = {"joints": "outside the patch"} | columns
            tables.append(truth.rows(values, metric=metric, **names | columns))
    return joined(tables)


def agreement_rows(records, dataset, config, grid, method, estimator):
    """Rows of how the coarse search does on images whose full grid is known.

    Costs no prediction: what the coarse search asks for is among what the full grid knows. The
    metrics same_place_percent, the images with the same worst position, and lost_mm, the worst
    error of the full grid above the one found, have the error that was maximised as their setting;
    spared_percent is the share of positions, and so of predictions, that the coarse search leaves
    out. Arguments as in `advocc_rows`, of a run with the full grid.
    """
    truth = _truth(records, dataset, config, grid)
    names = {"method": method, "estimator": estimator, "joints": "outside the patch"}
    each = [agreement(error_table(record)[None], grid) for record in records]
    measures = {("", "spared_percent"): [100 * (1 - one[0].looked_at) for one in each]}
    for place, error in enumerate(METRICS):
        ours = [one[place] for one in each]
        measures[error, "same_place_percent"] = [100 * one.same_position for one in ours]
        measures[error, "lost_mm"] = [one.lost_mm for one in ours]
    return joined(
        [
            truth.rows(
                torch.tensor(values, dtype=torch.float64), setting=setting, metric=metric, **names
            )
            for (setting, metric), values in measures.items()
        ]
    )


def _truth(records, dataset, config, grid):
    images = torch.tensor([record["image"] for record in records])
    return truth_of(dataset, config, PATCH, float(grid.reference_patch), images)
