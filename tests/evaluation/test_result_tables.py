"""Cells of tables: the row that is meant, a dash for what was not asked, a refusal."""

import pytest

from di2pose_lib.evaluation.result_tables import cell, chosen, mean_of, one, shown


def row(mean, **fields):
    usual = {"method": "m", "estimator": "e", "occlusion": "clean", "joints": "all"}
    usual |= {"action": "all", "metric": "mpjpe_mm"}
    return {**usual, "mean": mean, "ci95_low": mean - 1, "ci95_high": mean + 2, **fields}


ROWS = [row(10.0), row(20.0, occlusion="occluders"), row(7.0, metric="pa_mpjpe_mm")]


def test_a_cell_shows_the_row_that_is_meant_or_a_dash():
    assert cell(ROWS, "m", "e", "occluders") == "20.0 [19.0, 22.0]"
    assert cell(ROWS, "m", "e", "clean", metric="pa_mpjpe_mm") == "7.0 [6.0, 9.0]"
    assert cell(ROWS, "m", "another", "clean") == "–"
    with pytest.raises(ValueError, match="got 0"):
        cell(ROWS, "m", "e", "clean", joints="visible")


def test_a_mean_is_of_clean_images_unless_told():
    assert mean_of(ROWS, "m", "e") == 10.0 and mean_of(ROWS, "m", "e", "occluders") == 20.0


def test_rows_are_chosen_by_any_field_and_one_is_one():
    assert chosen(ROWS) == ROWS[:2]
    assert one(ROWS, metric="pa_mpjpe_mm") is ROWS[2]
    with pytest.raises(ValueError, match="one row must have .*'method': 'm'.*; got 2"):
        one(ROWS, method="m")
    with pytest.raises(ValueError, match="got 0"):
        one(ROWS, method="n")


def test_digits_are_as_asked():
    assert shown(row(0.5), 2) == "0.50 [-0.50, 2.50]"
