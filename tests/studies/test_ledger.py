"""The ledger: a line for every number and claim, ours in the right cells, the same bytes twice."""

import csv
import re

import pandas as pd
import pytest
from test_claims import rows as rows_of

from di2pose_lib.base.config import SOURCES
from di2pose_lib.base.project import project_root
from di2pose_lib.evaluation.intervals import FAILS, HOLDS, UNDECIDED
from di2pose_lib.evaluation.table import COLUMNS, block_path, write_table
from studies import effects, ledger
from studies.ledger import CLAIM
from studies.paper_numbers import read_csv

ROOT = project_root()
STATUSES = {
    *(effects.MEASURED, effects.LICENSED, effects.QUOTED),
    *(effects.OUT_OF_SCOPE, effects.NOT_RUN, effects.SLIP),
}
PLACE = ["paper", "table", "row", "column"]

KEYS = {  # how many columns of a paper's table name its rows: counted by hand
    "di2pose_table1_h36m_mpjpe_mm.csv": 1,
    "di2pose_table2_3dpw_mm.csv": 1,
    "di2pose_table3_ablations_h36m_mm.csv": 2,
    "di2pose_table6_h36m_pa_mpjpe_mm.csv": 1,
    "hipart_table1_h36m_occlusion_mpjpe_mm.csv": 2,
    "hipart_table2_speed.csv": 1,
    "hipart_table3_size_ablation.csv": 4,
    "hipart_table4_sequence.csv": 2,
}
SLIPS = {  # (table, row, column, the paper's value)
    ("Table 3b", "fsq_levels (reconstruction), 8 5 5 5", "mpjpe", "15.2"),
    ("Table 3b", "fsq_levels (reconstruction), 8 5 5 5", "pa_mpjpe", "15.9"),
    ("Table 4", "representation (reconstruction), PCT", "mpjpe", "15.2"),
    ("Table 4", "representation (reconstruction), PCT", "pa_mpjpe", "15.9"),
    ("Table 6", "Di2Pose", "Avg", "39.0"),
}
SLIPPED_CLAIMS = {
    "accuracy-aligned",
    "occlusion-drop",
    "occlusion-drop-aligned",
    "tokenizer",
    "values",
    "schedule",
    "bound",
}


@pytest.fixture(scope="module")
def rows(committed_files):
    """The ledger of this repository, from its committed results where git knows which."""
    root = committed_files or ROOT
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        return ledger.build(root)


def find(rows, *place, source="synthetic"):
    """The one line of a paper's table, row and column, on a source."""
    lines = rows[(rows[PLACE] == list(place)).all(axis=1) & (rows.source == source)]
    (one,) = lines.itertuples()
    return one


def test_what_is_committed_is_what_is_built(rows):
    pd.testing.assert_frame_equal(read_csv(ROOT / ledger.LEDGER), rows, check_dtype=False)


def test_every_number_of_every_file_has_its_lines(rows):
    places = rows[rows.column != CLAIM].drop_duplicates(PLACE)
    left = list(zip(*(places[name] for name in ("paper", "column", "paper_value")), strict=True))
    for name, keys in KEYS.items():
        paper = "Di2Pose" if name.startswith("di2pose") else "HiPART"
        with open(ROOT / "paper" / name, encoding="utf-8", newline="") as handle:
            head, *body = csv.reader(handle)
        for line in body:
            for column, value in zip(head[keys:], line[keys:], strict=True):
                if value:
                    left.remove((paper, column, value))
    assert len(places) == 417 and left == []


def test_every_claim_is_there_in_the_order_of_its_file(rows):
    written = read_csv(ROOT / ledger.CLAIMS_FILE)
    got = rows[rows.column == CLAIM].drop_duplicates(PLACE)
    assert got.row.tolist() == written.id.tolist() and got.paper.tolist() == written.source.tolist()
    assert got.groupby("paper").size().min() >= 12


def test_no_line_stands_twice_and_all_words_are_known(rows):
    assert tuple(rows.columns) == ledger.COLUMNS and not rows.duplicated([*PLACE, "source"]).any()
    assert set(rows.status) <= STATUSES and not (rows == "nan").any().any()
    assert set(rows.source) == {*SOURCES, "", *ledger.WITHOUT_DATA.values()}
    is_claim = rows.column == CLAIM
    assert set(rows[is_claim].verdict) == {HOLDS, FAILS, UNDECIDED}
    assert set(rows[~is_claim].verdict) == {""}


def test_claims_say_where_and_how_they_are_checked():
    written = read_csv(ROOT / ledger.CLAIMS_FILE)
    assert not {"claim", "decided_by"} & set(written)
    assert (written[["section", "check"]] != "").all().all()
    assert set(written.readme) == {"", "yes"} and 12 <= (written.readme == "yes").sum() <= 15
    assert written.quotation.str.split().str.len().max() <= 12


def test_slips_are_where_the_paper_contradicts_itself(rows):
    slips = rows[rows.status == effects.SLIP]
    of_numbers = slips[slips.column != CLAIM]
    assert set(of_numbers[["table", "row", "column", "paper_value"]].apply(tuple, axis=1)) == SLIPS
    assert set(slips[slips.column == CLAIM].row) == SLIPPED_CLAIMS
    assert slips.note.str.contains("slip: ").all()


def test_sequence_models_are_out_of_scope_and_nothing_else_is(rows):
    outside = rows[rows.status == effects.OUT_OF_SCOPE]
    assert set(outside.table) == {"Table 2", "Table 4", "E, Table 4", "E, Table 2"}
    named = outside.row.str.contains("MixSTE|frames=243|hipart-sequence|hipart-temporal")
    assert named.all() and (outside.source == "").all() and (outside.value == "").all()


def test_other_methods_are_quoted_once_and_carry_nothing_of_ours(rows):
    others = rows[(rows.table == "Table 1") & (rows.row == "Gong 2023 (DiffPose)")]
    assert len(others) == 16 and set(others.status) == {effects.QUOTED}
    assert not others[["source", "value", "command", "measure"]].any().any()
    licensed = rows[rows.status == effects.LICENSED]
    assert ((licensed.row == "Di2Pose") | (licensed.paper == "HiPART")).all()


def test_nothing_committed_waits_for_a_study(rows):
    assert not (rows.status == effects.NOT_RUN).any()
    measured = rows[rows.status == effects.MEASURED]
    assert set(measured[measured.source.isin(SOURCES)].seeds) == {"3"}


def test_the_commands_are_targets_of_the_makefile(rows):
    targets = re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    made = {command.split()[1] for command in set(rows.command) if command.startswith("make ")}
    assert made == {"repro", "ablations", "occlusion"} and made < set(targets)


# -- made-up results -------------------------------------------------------------------------------


def number(**fields):
    """A number of a paper's table, as `paper_numbers.numbers` gives it."""
    names = ("ablation", "setting", "frames", "occlusion", "ratio", "method", "table", "column")
    names += ("L1_encoder_blocks", "L2_gcsab_blocks", "D1", "D2")
    return dict.fromkeys(names, "") | {"unit": "mm", "paper": "Di2Pose"} | fields


def beside(df, **fields):
    return ledger.beside(number(**fields), df)


@pytest.fixture
def made_up():
    """Rows of one source, in which every place has a value of its own."""
    soft = {"estimator": effects.FRESH["estimator"]}
    return pd.concat(
        [
            rows_of(10.0, spread=0.0),
            rows_of(20.0, spread=0.0, **soft),
            rows_of(30.0, spread=0.0, **soft, occlusion="occluders"),
            rows_of(40.0, spread=0.0, **effects.FRESH_40, study="advocc"),
            rows_of(50.0, spread=0.0, occlusion="mask", level=0.6),
            rows_of(60.0, spread=0.0, study="actions", action="Sitting"),
            rows_of(70.0, spread=0.0, study="actions", action="Walking"),
        ]
    )


@pytest.mark.parametrize(
    ("place", "value"),
    [
        ({"table": "Table 1", "method": "Di2Pose", "column": "Avg"}, 65),
        ({"table": "Table 1", "method": "Di2Pose", "column": "Sit"}, 60),
        ({"table": "Table 2", "method": "Di2Pose", "column": "3dpw_mpjpe"}, 20),
        ({"table": "Table 2", "method": "Di2Pose", "column": "occ_mpjpe"}, 30),
        ({"table": "Table 2", "method": "Di2Pose", "column": "adv40_mpjpe"}, 40),
        ({"paper": "HiPART", "occlusion": "mask", "ratio": "0.6", "column": "HiPART"}, 50),
        ({"paper": "HiPART", "occlusion": "mask", "ratio": "0.0", "column": "HiPART"}, 10),
        ({"paper": "HiPART", "table": "Table 2", "method": "HiPART", "column": "mpjpe_mm"}, None),
    ],
)
def test_an_analogue_is_the_row_of_ours_that_is_like_the_number(made_up, place, value):
    if value is None:
        value, place = 65, place | {"method": "vanilla spatial transformer + HiPART"}
    assert beside(made_up, **place).value.mean == pytest.approx(value + 0.5)


@pytest.mark.parametrize(
    ("place", "status"),
    [
        ({"table": "Table 1", "method": "Gong 2023 (DiffPose)", "column": "Avg"}, effects.QUOTED),
        ({"table": "Table 1", "method": "Di2Pose", "column": "Phone"}, effects.LICENSED),
        ({"table": "Table 2", "method": "Di2Pose", "column": "adv80_pa"}, effects.NOT_RUN),
        ({"paper": "HiPART", "table": "Table 4", "frames": "243"}, effects.OUT_OF_SCOPE),
    ],
)
def test_where_nothing_is_like_it_the_status_says_why(made_up, place, status):
    with pytest.raises(effects.Undecidable) as reason:
        beside(made_up, **place)
    assert reason.value.status == status


def test_a_rival_that_has_rows_fills_its_numbers(made_up):
    df = pd.concat([made_up, rows_of(80.0, method="HiPART", occlusion="mask", level=0.6)])
    effect = beside(df, paper="HiPART", occlusion="mask", ratio="0.6", column="HiPART")
    assert effect.measure.startswith("HiPART, ") and effect.value.mean > 80


def test_without_studies_nothing_of_ours_is_said(tmp_path, monkeypatch):
    (tmp_path / "paper").symlink_to(ROOT / "paper")
    rows = ledger.build(tmp_path)
    without = rows[~rows.source.isin(ledger.WITHOUT_DATA.values())]
    assert not without.value.any() and effects.MEASURED not in set(without.status)


def test_a_study_of_one_root_is_read_there_and_no_rounded_zero_has_a_sign(tmp_path):
    (tmp_path / "paper").symlink_to(ROOT / "paper")
    blank = dict.fromkeys(COLUMNS, "") | {"test_set": "test"}
    for seed, rows in rows_of(-0.504, spread=0.0).groupby("seed"):
        whole = pd.DataFrame([blank | row for row in rows.to_dict("records")]).assign(
            occlusion="mask", level=0.6
        )
        write_table(block_path("occlusion", "synthetic", seed, tmp_path), whole)
    one = find(ledger.build(tmp_path), "HiPART", "Table 1", "mask, ratio=0.6", "HiPART")
    assert (one.value, one.seeds, one.over) == ("0.00", "3", "images")


def test_a_claim_without_a_function_and_one_that_stands_twice_are_refused(tmp_path):
    (tmp_path / "paper").mkdir()
    for path in (ROOT / "paper").glob("*.csv"):
        (tmp_path / "paper" / path.name).write_bytes(path.read_bytes())
    path = tmp_path / ledger.CLAIMS_FILE
    text = path.read_text(encoding="utf-8")
    path.write_text(text.replace("\nbound,", "\nbinding,"), encoding="utf-8")
    with pytest.raises(ValueError, match="the same ids, once; they differ in .*binding"):
        ledger.build(tmp_path)
    path.write_text(text + text.splitlines()[1] + "\n", encoding="utf-8")
    with pytest.raises(ValueError, match="the same ids, once"):
        ledger.build(tmp_path)
