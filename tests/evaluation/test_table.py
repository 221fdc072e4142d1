"""The one table: what is written is read, to the same bytes; and what may not be written."""

import gzip

import pandas as pd
import pytest

from di2pose_lib.evaluation.table import (
    COLUMNS,
    block_path,
    read_table,
    study_rows,
    write_table,
)


def rows(**fields):
    """Two rows, of two clusters."""
    usual = dict.fromkeys(COLUMNS, "all") | {"level": 0.5, "seed": 3, "n": 4, "setting": "1"}
    clusters = [{"cluster": "recording 0", "value": 1.25}, {"cluster": "", "value": 0.1 + 0.2}]
    return pd.DataFrame([usual | cluster | fields for cluster in clusters])


def test_rows_come_back_as_they_were_with_names_that_look_like_numbers(tmp_path):
    path = tmp_path / "rows.csv.gz"
    write_table(path, rows(nominal=None, joint=""))
    back = read_table(path)
    pd.testing.assert_frame_equal(back, rows(nominal=float("nan"), joint=""), check_dtype=False)
    assert back.setting.tolist() == ["1", "1"] and back.seed.tolist() == [3, 3]


def test_the_same_rows_give_the_same_bytes_whatever_the_clock_says(tmp_path, monkeypatch):
    write_table(tmp_path / "a.csv.gz", rows())
    monkeypatch.setattr("time.time", lambda: 1e9)
    write_table(tmp_path / "b.csv.gz", rows())
    data = (tmp_path / "a.csv.gz").read_bytes()
    assert data == (tmp_path / "b.csv.gz").read_bytes() and data[4:8] == bytes(4)
    write_table(tmp_path / "a.csv", rows())
    assert (tmp_path / "a.csv").read_bytes() == gzip.decompress(data)


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        (rows().drop(columns="cluster"), "must have the columns .*got no .'cluster'"),
        (rows(value=float("nan")), "must have a value each"),
        (rows(value=float("inf")), "must have a value each"),
    ],
)
def test_a_table_that_is_not_whole_is_not_written(tmp_path, wrong, words):
    with pytest.raises(ValueError, match=words):
        write_table(tmp_path / "rows.csv", wrong)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "data", [b"no gzip", gzip.compress(b"a,b\n1,2\n")], ids=["no gzip", "other columns"]
)
def test_a_file_that_is_no_table_is_refused_by_its_name(tmp_path, data):
    path = tmp_path / "rows.csv.gz"
    path.write_bytes(data)
    with pytest.raises(ValueError, match="rows.csv.gz must"):
        read_table(path)


def test_a_study_is_read_from_its_blocks_and_one_that_was_not_run_is_empty(tmp_path):
    for source, seed in (("mocap", 3), ("synthetic", 3), ("synthetic", 4)):
        write_table(block_path("steps", source, seed, tmp_path), rows(source=source, seed=seed))
    write_table(block_path("other", "synthetic", 3, tmp_path), rows())
    assert len(study_rows(root=tmp_path)) == 8
    found = study_rows("steps", "synthetic", tmp_path)
    assert found.seed.tolist() == [3, 3, 4, 4] and set(found.study) == {"steps"}
    assert study_rows("never", root=tmp_path).empty
