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
    found = [
        n
        for n in numbers(PAPER)
        if (n.source, n.table, n.row, n.column) == (source, table, row, column)
    ]
    assert len(found) == 1
    return found[0]


def test_there_are_as_many_numbers_as_on_the_papers_pages():
    found = {}
    for number in numbers(PAPER):
        key = (number.source, number.table)
        found[key] = found.get(key, 0) + 1
    assert found == COUNTED


def test_every_file_beside_the_claims_is_a_table():
    files = {path.name for path in PAPER.glob("*.csv")}
    assert files == {table.file for table in TABLES} | {"claims.csv"}


def test_numbers_stand_as_printed_with_their_unit_and_data():
    ours = find("Di2Pose", "Table 1", "Di2Pose", "Avg")
    assert (ours.value, ours.unit, ours.data) == ("49.2", "mm", "Human3.6M")
    patch = find("Di2Pose", "Table 2", "Gong 2023 (DiffPose)*", "adv80_pa")
    assert (patch.value, patch.data) == ("92.4", "3DPW-AdvOcc@80")
    assert find("Di2Pose", "Table 2", "Di2Pose", "3dpw_pa").data == "3DPW"
    assert find("Di2Pose", "Table 3c", "final_occlude_rate, 1.0", "pa_mpjpe").value == "39.5"
    assert find("Di2Pose", "Table 3d", "steps train=100 infer=50", "mpjpe").value == "49.9"
    assert find("HiPART", "Table 1", "crop, ratio=0.4", "HiPART").value == "61.5"
    speed = find("HiPART", "Table 4", "MixSTE, frames=243", "fps_v100")
    assert (speed.value, speed.unit) == ("1055", "frames/s")


def test_no_two_numbers_have_one_place():
    places = [(n.source, n.table, n.row, n.column) for n in numbers(PAPER)]
    assert len(set(places)) == len(places)


@pytest.fixture
def one_table(monkeypatch, tmp_path):
    """Only the table of Table 6, in a folder of its own: a function that writes it."""
    monkeypatch.setattr(paper_numbers, "TABLES", TABLES[3:4])
    return lambda text: (tmp_path / TABLES[3].file).write_text(text)


def test_an_empty_field_is_no_number(one_table, tmp_path):
    one_table("method,Dir,Avg\nA,,2.0\n")
    assert [n.column for n in numbers(tmp_path)] == ["Avg"]


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
    (tmp_path / TABLES[2].file).write_text("ablation,setting,mpjpe,pa_mpjpe\nnew,1,2.0,1.0\n")
    with pytest.raises(ValueError, match="must be a setting of `ablations`"):
        numbers(tmp_path)
