"""The papers' numbers: all of them, as printed, each once."""

import pytest

from di2pose_lib.base.project import project_root
from studies import paper_numbers
from studies.paper_numbers import TABLES, numbers

PAPER = project_root() / "paper"
COUNTED = {  # by hand, from the papers' pages
    ("Di2Pose", "Table 1"): 10 * 16 + 2,
    ("Di2Pose", "Table 2"): 8 * 8 - 2,
    ("Di2Pose", "Table 3a"): 3 * 2,
    ("Di2Pose", "Table 3b"): 3 * 2,
    ("Di2Pose", "Table 3c"): 5 * 2,
    ("Di2Pose", "Table 3d"): 6,
    ("Di2Pose", "Table 4"): 2 * 2,
    ("Di2Pose", "Table 5"): 3 * 2,
    ("Di2Pose", "Table 6"): 6 * 16 + 1,
    ("HiPART", "Table 1"): 2 * 2 * 5,
    ("HiPART", "Table 2"): 4 * 2,
    ("HiPART", "Table 3"): 6 * 3,
    ("HiPART", "Table 4"): 6 * 2,
}


def find(source, table, row, column):
    rows = numbers(PAPER)
    rows = rows[(rows.paper == source) & (rows.table == table)]
    (one,) = rows[(rows.row == row) & (rows.column == column)].to_dict("records")
    return one["paper_value"], one["unit"], one["paper_data"]


def test_there_are_as_many_numbers_as_on_the_papers_pages():
    assert numbers(PAPER).groupby(["paper", "table"]).size().to_dict() == COUNTED


def test_every_file_beside_the_claims_is_a_table():
    files = {path.name for path in PAPER.glob("*.csv")}
    assert files == {file for file, *_ in TABLES} | {"claims.csv"}


def test_numbers_stand_as_printed_with_their_unit_and_data():
    assert find("Di2Pose", "Table 1", "Di2Pose", "Avg") == ("49.2", "mm", "Human3.6M")
    patch = find("Di2Pose", "Table 2", "Gong 2023 (DiffPose)*", "adv80_pa")
    assert patch == ("92.4", "mm", "3DPW-AdvOcc@80")
    assert find("Di2Pose", "Table 2", "Di2Pose", "3dpw_pa")[2] == "3DPW"
    assert find("Di2Pose", "Table 3c", "final_occlude_rate, 1.0", "pa_mpjpe")[0] == "39.5"
    assert find("Di2Pose", "Table 3d", "steps train=100 infer=50", "mpjpe")[0] == "49.9"
    assert find("HiPART", "Table 1", "crop, ratio=0.4", "HiPART")[0] == "61.5"
    speed = find("HiPART", "Table 4", "MixSTE, frames=243", "fps_v100")
    assert speed == ("1055", "frames/s", "Human3.6M")


def test_no_two_numbers_have_one_place():
    assert not numbers(PAPER).duplicated(["paper", "table", "row", "column"]).any()


@pytest.fixture
def one_table(monkeypatch, tmp_path):
    """Only the table of Table 6, in a folder of its own: a function that writes it."""
    monkeypatch.setattr(paper_numbers, "TABLES", TABLES[3:4])
    return lambda text: (tmp_path / TABLES[3][0]).write_text(text)


def test_an_empty_field_is_no_number(one_table, tmp_path):
    one_table("method,Dir,Avg\nA,,2.0\n")
    assert numbers(tmp_path).column.tolist() == ["Avg"]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("method,Dir\nA,four\n", "a field must be a number or empty; got 'four'"),
        ("method,Dir\nA,1,2\n", "as many fields as the first line"),
        ("method,Dir\nA\n", "as many fields as the first line"),
    ],
)
def test_a_damaged_table_is_refused(one_table, tmp_path, text, message):
    one_table(text)
    with pytest.raises(ValueError, match=message):
        numbers(tmp_path)


def test_a_missing_table_is_refused(one_table, tmp_path):
    with pytest.raises(ValueError, match="does not exist"):
        numbers(tmp_path)


def test_an_ablation_that_ours_lack_is_refused(monkeypatch, tmp_path):
    monkeypatch.setattr(paper_numbers, "TABLES", TABLES[2:3])
    (tmp_path / TABLES[2][0]).write_text("ablation,setting,mpjpe,pa_mpjpe\nnew,1,2.0,1.0\n")
    with pytest.raises(ValueError, match="must be a setting of `ablations`"):
        numbers(tmp_path)
