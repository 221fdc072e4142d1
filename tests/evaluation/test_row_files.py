"""Files of rows: a row on each line, the same values back."""

import json

import pytest

from di2pose_lib.base.files import read_json
from di2pose_lib.evaluation.row_files import write_rows

ROWS = [{"metric": "mpjpe_mm", "mean": 0.1 + 0.2, "clusters": {"names": [1, 2]}}, {"metric": "π"}]


@pytest.mark.parametrize("value", [ROWS, [], {"from": {"seed": 2}, "errors": ROWS, "none": []}, {}])
def test_what_is_written_is_read(tmp_path, value):
    write_rows(tmp_path / "rows.json", value)
    assert read_json(tmp_path / "rows.json") == value


def test_every_row_has_a_line_of_its_own(tmp_path):
    write_rows(tmp_path / "rows.json", {"from": {"seed": 2}, "errors": ROWS})
    lines = (tmp_path / "rows.json").read_text().splitlines()
    assert [json.loads(line.removesuffix(",")) for line in lines[3:5]] == ROWS
    assert len(lines) == 7


def test_what_is_no_rows_or_no_number_is_refused_and_the_old_file_stays(tmp_path):
    path = tmp_path / "rows.json"
    write_rows(path, ROWS)
    with pytest.raises(ValueError, match="`value` must be a list or a dict; got <class 'str'>"):
        write_rows(path, "rows")
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_rows(path, [{"mean": float("nan")}])
    assert read_json(path) == ROWS
