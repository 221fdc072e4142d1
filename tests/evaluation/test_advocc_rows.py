"""Rows of AdvOcc: means by hand, and what the coarse search loses."""

import pytest
import torch
from attack_toys import SIZE
from small import make_split, measured, small_config

from di2pose_lib.evaluation.advocc import METRICS
from di2pose_lib.evaluation.advocc_rows import advocc_rows, agreement_rows
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
    rows = advocc_rows(records_by_hand(), dataset, small_config(), GRID, "toy", "point")
    assert set(rows.metric) == set(METRICS) and set(rows.method) == {"toy"}
    clean, patched = rows[rows.occlusion == "clean"], rows[rows.occlusion == "worst patch"]
    assert len(clean) + len(patched) == len(rows)
    assert set(clean.joints) == {"in the image"} and set(clean.level) == {0.0}
    assert set(patched.joints) == {"outside the patch"} and set(patched.level) == {80.0}
    name = {"metric": "pa_mpjpe_mm"}
    assert measured(clean, **name) == (20.0, 3)
    assert measured(patched, **name, setting="place found") == (202.0, 3)
    assert measured(patched, **name, setting="fresh textures") == (200.0, 3)


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
    rows = agreement_rows(records, dataset, small_config(), GRID, "toy", "point")
    numbers = {key: measured(part) for key, part in rows.groupby(["setting", "metric"])}
    assert all(count == 2 for _, count in numbers.values())
    assert numbers["mpjpe_mm", "same_place_percent"][0] == 50
    assert numbers["pa_mpjpe_mm", "same_place_percent"][0] == 100
    assert numbers["mpjpe_mm", "lost_mm"][0] == pytest.approx((0 + 1.0) / 2)
    assert numbers["pa_mpjpe_mm", "lost_mm"][0] == 0
    assert 0 < numbers["", "spared_percent"][0] < 100 and len(numbers) == 5
    assert set(rows.joints) == {"outside the patch"} and set(rows.level) == {80.0}
