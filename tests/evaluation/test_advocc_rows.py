"""Rows of AdvOcc: means by hand, and what the coarse search loses."""

import json

import pytest
import torch
from attack_toys import SIZE
from small import make_split

from di2pose_lib.evaluation.advocc import METRICS
from di2pose_lib.evaluation.advocc_rows import (
    ADVOCC,
    BIAS,
    FRESH,
    LOST,
    SAME,
    SPARED,
    advocc_rows,
    advocc_values,
    agreement_rows,
)
from di2pose_lib.evaluation.patch_grid import patch_grid

GRID = patch_grid(80, SIZE)


@pytest.fixture
def dataset(tmp_path):
    return make_split(tmp_path / "split", 4, size=SIZE)


def records_by_hand():
    """Three images; the worst error of each exceeds the fresh one by 1, 2 and 3 mm."""
    return [
        {
            "image": n,
            "clean_mm": dict.fromkeys(METRICS, 10.0 * n),
            "worst": {
                metric: {"error_mm": 100.0 * n + n, "fresh_mm": 100.0 * n} for metric in METRICS
            },
        }
        for n in (1, 2, 3)
    ]


def test_rows_are_means_and_name_the_joints_that_count(dataset):
    values = advocc_values(records_by_hand(), "mpjpe_mm")
    assert values[BIAS].tolist() == [1.0, 2.0, 3.0]
    rows = advocc_rows(records_by_hand(), dataset, GRID, ADVOCC, "toy", "point", 200, 0)
    assert json.loads(json.dumps(rows)) == rows
    assert len(rows) == 2 * 4
    found = {(row["level"], row["metric"]): row for row in rows}
    name = "pa_mpjpe_mm"
    wanted = {
        (0, name): 20.0,
        (80, name): 202.0,
        (80, f"{name}, {FRESH}"): 200.0,
        (80, f"{name}, {BIAS}"): 2.0,
    }
    assert {key: found[key]["mean"] for key in wanted} == wanted
    for row in rows:
        assert row["protocol"] == "advocc" and row["n"] == 3 and row["method"] == "toy"
        assert row["joints"] == ("in the image" if row["level"] == 0 else "outside the patch")
        assert row["ci95_low"] <= row["mean"] <= row["ci95_high"]


def test_what_the_coarse_search_loses_is_a_row_for_each_metric(dataset):
    """One image whose worst position the coarse search finds, one whose it cannot see."""
    assert (GRID.rows, GRID.columns) == (23, 15)
    near = torch.arange(GRID.num_positions, dtype=torch.float64) / 100  # worst: the last, 3.44
    far = near.clone()
    far[1 * 15 + 1] = 4.44  # nobody looks around row 1, column 1
    tables = [near.tolist(), far.tolist()]
    records = [
        {"image": image, "errors_mm": {"mpjpe_mm": table, "pa_mpjpe_mm": tables[0]}}
        for image, table in zip((0, 3), tables, strict=True)
    ]
    rows = agreement_rows(records, dataset, GRID, "toy", "point", 50, 1)
    found = {row["metric"]: row["mean"] for row in rows}
    assert found.keys() == {
        *(f"{metric}, {name}" for metric in METRICS for name in (SAME, LOST)), SPARED
    }  # fmt: skip
    assert found[f"mpjpe_mm, {SAME}"] == 50 and found[f"pa_mpjpe_mm, {SAME}"] == 100
    assert found[f"mpjpe_mm, {LOST}"] == pytest.approx((0 + 1.0) / 2)
    assert found[f"pa_mpjpe_mm, {LOST}"] == 0
    assert 0 < found[SPARED] < 100
    assert all(row["ci95_low"] <= row["mean"] <= row["ci95_high"] for row in rows)
    assert all(row["clusters"]["counts"] for row in rows)
