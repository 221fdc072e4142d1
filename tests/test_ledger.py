"""The ledger: a row for every number and claim, ours in the right cells, the same bytes twice."""

import csv
import re

import pytest
from small_results import SOURCES, clean, empty_root, put_json, put_rows, put_run, row

from di2pose_lib.base.project import project_root
from di2pose_lib.evaluation.advocc_rows import FRESH
from di2pose_lib.evaluation.comparisons import FAILS, HOLDS, UNDECIDED
from di2pose_lib.evaluation.estimators import SOFT
from di2pose_lib.figures.training import markdown_table
from studies import ablations, ledger, ledger_analogues, ledger_tables
from studies.ledger_analogues import STATUSES

ROOT = project_root()

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


@pytest.fixture
def root(tmp_path):
    return empty_root(tmp_path)


def find(rows, table, name, column, source="Di2Pose"):
    wanted = (source, table, name, column)
    found = [r for r in rows if (r["source"], r["table"], r["row"], r["column"]) == wanted]
    assert len(found) == 1
    return found[0]


def claim(rows, name):
    found = [r for r in rows if r["column"] == "claim" and r["row"] == name]
    assert len(found) == 1
    return found[0]


def is_number(row):
    return row["column"] != "claim"


def test_every_number_of_every_file_has_exactly_one_row(rows):
    printed = []
    for name, keys in KEYS.items():
        paper = "Di2Pose" if name.startswith("di2pose") else "HiPART"
        with open(ROOT / "paper" / name, encoding="utf-8") as handle:
            lines = [line.rstrip("\n").split(",") for line in handle]
        head, *body = lines
        for line in body:
            printed += [
                (paper, column, value, line[:keys])
                for column, value in zip(head[keys:], line[keys:], strict=True)
                if value
            ]
    assert len(printed) == 417
    left = [r for r in rows if is_number(r)]
    for paper, column, value, keys in printed:
        its = [
            r
            for r in left
            if (r["source"], r["column"], r["paper_value"]) == (paper, column, value)
            and all(key in f"{r['table']} {r['row']}" for key in keys)
        ]
        assert its, (paper, column, value, keys)
        left.remove(its[0])
    assert left == []


def test_every_claim_has_exactly_one_row_and_there_are_enough(rows):
    with open(ROOT / "paper" / "claims.csv", encoding="utf-8", newline="") as handle:
        written = [(line["source"], line["id"]) for line in csv.DictReader(handle)]
    got = [(r["source"], r["row"]) for r in rows if not is_number(r)]
    assert got == written
    for paper in ("Di2Pose", "HiPART"):
        assert sum(source == paper for source, _ in got) >= 12


def test_no_row_stands_twice(rows):
    places = [(r["source"], r["table"], r["row"], r["column"]) for r in rows]
    assert len(set(places)) == len(places)


def test_every_row_has_a_known_status_and_no_other_words(rows):
    for each in rows:
        assert tuple(each) == ledger.COLUMNS and all(isinstance(v, str) for v in each.values())
        assert each["status"] in STATUSES
        assert each["mocap_status"] in (*STATUSES, "")
        assert "not attempted" not in " ".join(each.values())
        assert each["data"] in ("", "synthetic", *ledger.WITHOUT_DATA.values())


def test_every_claim_has_a_verdict_of_three_words_and_no_number_has_one(rows):
    for each in rows:
        words = {each["verdict"], each["mocap_verdict"]}
        if is_number(each):
            assert words == {""}
        else:
            assert each["verdict"] in (HOLDS, FAILS, UNDECIDED)
            assert words <= {HOLDS, FAILS, UNDECIDED, ""}


def test_claims_say_what_they_claim_where_and_how_it_is_checked():
    for each in ledger.read_claims(ROOT):
        assert each["source"] in ("Di2Pose", "HiPART")
        assert each["section"] and each["claim"] and each["check"] and each["decided_by"]
        assert each["readme"] in ("", "yes")
        assert len(each["quotation"].split()) <= 12


def test_slips_are_where_the_paper_contradicts_itself(rows):
    slips = [r for r in rows if r["status"] == "slip"]
    numbers = {(r["table"], r["row"], r["column"], r["paper_value"]) for r in slips if is_number(r)}
    assert numbers == SLIPS
    assert {r["row"] for r in slips if not is_number(r)} == SLIPPED_CLAIMS
    assert all("slip: " in r["note"] for r in slips)


def test_sequence_models_are_out_of_scope_and_nothing_else_is(rows):
    outside = {(r["table"], r["row"]) for r in rows if r["status"] == "out of scope"}
    assert outside == {
        ("Table 2", "MixSTE f=81 + HiPART"),
        ("Table 4", "MixSTE, frames=1"),
        ("Table 4", "MixSTE, frames=243"),
        ("Table 4", "DiffPose, frames=243"),
        ("Table 4", "HiPART + MixSTE, frames=243"),
        ("E, Table 4", "hipart-sequence"),
        ("E, Table 2", "hipart-temporal"),
    }


def test_only_di2pose_and_hipart_need_licensed_data(rows):
    for each in rows:
        if "needs licensed data" in (each["status"], each["mocap_status"]):
            own = each["row"] == "Di2Pose" or each["source"] == "HiPART"
            assert own
            assert each["paper_value"] or not is_number(each)


def test_other_methods_are_quoted_and_carry_nothing_of_ours(rows):
    others = [r for r in rows if r["table"] == "Table 1" and r["row"] == "Gong 2023 (DiffPose)"]
    assert len(others) == 16
    for each in others:
        assert (each["status"], each["mocap_status"]) == ("quoted", "quoted")
        assert each["our_value"] == each["mocap_value"] == each["command"] == each["data"] == ""


def test_without_results_nothing_of_ours_is_said(root):
    for each in ledger.build(root):
        if each["data"] != "the paper's own numbers":
            assert each["our_value"] == each["our_ci95"] == each["mocap_value"] == ""
            assert "measured here" not in (each["status"], each["mocap_status"])


def fill(root):
    """A repository with made-up results."""
    evaluated = [
        clean(100.004, 90.0, 110.0, action="mean of actions", seeds=1),
        clean(101.0, 91.0, 111.0),
        clean(70.0, 60.0, 80.0, action="mean of actions", metric="pa_mpjpe_mm"),
        clean(71.0, 61.0, 81.0, metric="pa_mpjpe_mm"),
        clean(150.0, 140.0, 160.0, protocol="occluders", level=1.0),
        clean(80.0, 70.0, 90.0, protocol="occluders", level=1.0, metric="pa_mpjpe_mm"),
    ]
    evaluated += [{**each, "estimator": SOFT, "mean": each["mean"] - 5} for each in evaluated]
    sitting = clean(120.0, 110.0, 130.0, action="Sitting")
    walking = clean(90.0, 80.0, 95.0, action="walk")
    longer = [{**each, "mean": each["mean"] + 50} for each in evaluated]
    put_rows(root, "mocap", "sweeps", [*longer, walking])
    patches = [
        row(mean, mean - 5, mean + 5, protocol="advocc", level=level, metric=metric, estimator=SOFT)
        for name, add in (("mpjpe_mm", 0), ("pa_mpjpe_mm", 7))
        for level, mean in ((0, 100 + add), (40, 200 + add), (80, 300 + add))
        for metric in ([name, f"{name}, {FRESH}"] if level else [name])
    ]
    put_rows(root, "mocap", "advocc", patches)
    masks = [
        row(10.0 * place, 9.0 * place, 11.0 * place, protocol=protocol, level=level)
        for protocol, step in (("mask", 0.2), ("crop", 0.1))
        for place, level in enumerate([step * k for k in range(5)], start=1)
    ]
    put_rows(root, "synthetic", "sweeps", [*evaluated, sitting, *masks])
    table = ablations.table_of("3b")
    for place, error in ((0, 12.0), (1, 10.0), (2, 9.0)):
        for seed in (3, 4, 5):
            own = error + 0.1 * seed
            errors = {"reconstruction, mpjpe_mm": own, "reconstruction, pa_mpjpe_mm": own - 2}
            put_run(root, "synthetic", table, table.settings[place], seed, errors)
    cases = {"lesson": {"1": {"ms_per_pose_by_steps": {"1": 10.0, "100": 109.0}}}}
    timed = {"device": "cpu", "threads": 2, "cases": cases}
    put_json(root, "benchmarks/results/inference_cpu.json", timed)
    return root


@pytest.fixture
def filled(root):
    """A repository with made-up results, to be changed."""
    return fill(root)


@pytest.fixture(scope="module")
def made_up(tmp_path_factory):
    """The ledger of a repository with made-up results."""
    return ledger.build(fill(empty_root(tmp_path_factory.mktemp("filled"))))


def test_made_up_results_stand_in_the_right_cells(made_up):

    def ours(*place, prefix="our_", **source):
        row = find(made_up, *place, **source)
        return row[f"{prefix}value"], row[f"{prefix}ci95"]

    def theirs(*place, **source):
        return ours(*place, prefix="mocap_", **source)

    assert ours("Table 1", "Di2Pose", "Avg") == ("100.00", "[90.00, 110.00]")
    assert theirs("Table 1", "Di2Pose", "Avg")[0] == "150.00"
    assert ours("Table 1", "Di2Pose", "Sit") == ("120.00", "[110.00, 130.00]")
    assert theirs("Table 1", "Di2Pose", "Walk") == ("90.00", "[80.00, 95.00]")
    assert ours("Table 6", "Di2Pose", "Avg") == ("70.00", "[60.00, 80.00]")
    assert ours("Table 2", "Di2Pose", "3dpw_mpjpe")[0] == "96.00"
    assert ours("Table 2", "Di2Pose", "3dpw_pa")[0] == "66.00"
    assert ours("Table 2", "Di2Pose", "occ_mpjpe")[0] == "145.00"
    assert ours("Table 2", "Di2Pose", "occ_pa")[0] == "75.00"
    assert theirs("Table 2", "Di2Pose", "adv40_mpjpe")[0] == "200.00"
    assert theirs("Table 2", "Di2Pose", "adv80_pa") == ("307.00", "[302.00, 312.00]")
    mask = ours("Table 1", "mask, ratio=0.6", "HiPART", source="HiPART")
    assert mask == ("40.00", "[36.00, 44.00]")
    assert ours("Table 1", "crop, ratio=0.4", "HiPART", source="HiPART")[0] == "50.00"
    vanilla = ("Table 2", "vanilla spatial transformer + HiPART")
    assert ours(*vanilla, "mpjpe_mm", source="HiPART")[0] == "100.00"
    assert ours(*vanilla, "fps_v100", source="HiPART") == ("29.41", "")  # 25 steps: 34 ms
    levels = "fsq_levels (reconstruction), 7 5 5 5 5"
    half = 4.303 * 0.1 / 3**0.5  # of the seeds; the people's part is wider
    value, interval = ours("Table 3b", levels, "mpjpe")
    low, high = (float(end) for end in interval.strip("[]").split(", "))
    assert value == "10.40" and low < 10.4 - half < 10.4 + half < high
    assert ours("Table 3b", levels, "pa_mpjpe")[0] == "8.40"


def test_statuses_seeds_and_commands_follow_the_results(made_up):
    rows = made_up
    average = find(rows, "Table 1", "Di2Pose", "Avg")
    assert (average["status"], average["mocap_status"]) == ("measured here", "measured here")
    assert (average["seeds"], average["ci95_over"], average["data"]) == ("1", "images", "synthetic")
    assert (
        average["command"]
        == average["mocap_command"]
        == "make occlusion MOCAP_ROOT=<folder of BVH files>"
    )
    assert average["measure"].startswith("Di2Pose, one sample, clean: mean of actions")
    sit = find(rows, "Table 1", "Di2Pose", "Sit")
    assert (sit["status"], sit["mocap_status"]) == ("measured here", "needs licensed data")
    eat = find(rows, "Table 1", "Di2Pose", "Eat")
    assert (eat["status"], eat["our_value"]) == ("not run yet", "")
    patch = find(rows, "Table 2", "Di2Pose", "adv40_mpjpe")
    assert (patch["status"], patch["mocap_status"]) == ("not run yet", "measured here")
    levels = find(rows, "Table 3b", "fsq_levels (reconstruction), 8 5 5 5", "mpjpe")
    assert (levels["status"], levels["our_value"], levels["seeds"]) == ("slip", "12.40", "3")
    assert (levels["mocap_status"], levels["ci95_over"]) == ("not run yet", "seeds and images")
    speed = find(rows, "Table 4", "HiPART, frames=1", "fps_v100", "HiPART")
    assert (speed["data"], speed["seeds"], speed["mocap_status"]) == ("untrained networks", "", "")
    size = find(
        rows,
        "Table 3",
        "L1_encoder_blocks=2, L2_gcsab_blocks=6, D1=128, D2=128",
        "params_M",
        "HiPART",
    )
    assert size["status"] == "quoted" and size["unit"] == "million parameters"


def test_verdicts_follow_the_results(made_up):
    rows = made_up
    levels = claim(rows, "levels")
    assert (levels["verdict"], levels["our_value"], levels["unit"]) == (FAILS, "-1.00", "mm")
    assert levels["our_ci95"] == "[-1.00, -1.00]" and levels["seeds"] == "3"
    assert (levels["mocap_verdict"], levels["mocap_status"]) == (UNDECIDED, "not run yet")
    assert (levels["table"], levels["paper_value"]) == ("4.4, Table 3b", "0.2")
    masked = claim(rows, "hipart-failures-occluded")
    assert (masked["verdict"], masked["our_value"]) == (HOLDS, "40.00")
    assert masked["our_ci95"] == f"[{40 - 26**0.5:.2f}, {40 + 26**0.5:.2f}]"
    hard = claim(rows, "hard-actions")  # one of its rows has a single seed
    assert (hard["verdict"], hard["our_value"]) == (UNDECIDED, "20.00")
    assert hard["mocap_status"] == "needs licensed data"
    slow = claim(rows, "di2pose-slow")
    assert (slow["verdict"], slow["our_value"], slow["mocap_verdict"]) == (HOLDS, "40.83", "")


def test_a_rival_that_is_implemented_fills_its_rows(filled, monkeypatch):
    own = clean(95.0, 85.0, 105.0, action="mean of actions", method="continuous diffusion")
    put_rows(filled, "synthetic", "sweeps", [own])
    monkeypatch.setitem(ledger_analogues.RIVALS, "DiffPose", "continuous diffusion")
    rows = ledger.build(filled)
    quoted = find(rows, "Table 1", "Gong 2023 (DiffPose)", "Avg")
    assert (quoted["status"], quoted["our_value"]) == ("measured here", "95.00")
    assert quoted["mocap_status"] == "not run yet"
    assert find(rows, "Table 1", "Geng 2023 (PCT)", "Avg")["status"] == "quoted"
    assert find(rows, "Table 2", "DiffPose", "mpjpe_mm", "HiPART")["our_value"] == "95.00"
    assert find(rows, "Table 2", "DiffPose", "fps_v100", "HiPART")["status"] == "quoted"


def test_hipart_takes_its_own_place_once_it_is_implemented(filled, monkeypatch):
    sweeps = [row(33.0, 32.0, 34.0, protocol="mask", level=0.2, method="HiPART")]
    put_rows(filled, "synthetic", "sweeps", sweeps)
    monkeypatch.setitem(ledger_analogues.RIVALS, "HiPART", "HiPART")
    found = find(ledger.build(filled), "Table 1", "mask, ratio=0.2", "HiPART", "HiPART")
    assert found["our_value"] == "33.00" and found["measure"].startswith("HiPART, one sample")


def test_building_twice_gives_the_same_bytes_and_one_reads_what_was_built(filled):
    rows = ledger.write(filled)
    first = (filled / "results/ledger.csv").read_bytes()
    ledger.write(filled)
    assert (filled / "results/ledger.csv").read_bytes() == first
    assert b"\r" not in first and first.endswith(b"\n")
    with open(filled / "results/ledger.csv", encoding="utf-8", newline="") as handle:
        assert list(csv.DictReader(handle)) == rows


def test_no_rounded_zero_has_a_sign(filled):
    put_rows(filled, "synthetic", "sweeps", [clean(-0.001, -0.004, 0.004, action="Sitting")])
    sit = find(ledger.build(filled), "Table 1", "Di2Pose", "Sit")
    assert (sit["our_value"], sit["our_ci95"]) == ("0.00", "[0.00, 0.00]")


def test_what_waits_for_an_experiment_is_counted(made_up):
    rows = made_up
    waiting = {(r["table"], r["row"], r["column"]) for r in ledger_tables.incomplete(rows)}
    assert ("Table 3b", "fsq_levels (reconstruction), 8 5 5 5", "mpjpe") in waiting  # on mocap
    assert ("Table 1", "Di2Pose", "Eat") in waiting
    assert ("Table 1", "Di2Pose", "Avg") not in waiting
    assert ("Table 1", "Gong 2023 (DiffPose)", "Avg") not in waiting
    whole = dict.fromkeys(ledger.COLUMNS, "") | {"status": "measured here", "our_value": "1.00"}
    few = whole | {"measure": "ablation 3a: X = 3", "seeds": "2"}
    lacking = whole | {"status": "slip", "our_value": ""}
    assert ledger_tables.incomplete([whole, few, lacking]) == [few, lacking]
    assert ledger_tables.incomplete([few | {"seeds": "3"}, lacking | {"our_value": "2.00"}]) == []


def test_a_reader_sees_every_claim_with_effects_and_verdicts(made_up):
    columns, table = ledger_tables.markdown_verdicts(made_up)
    assert len(table) == len(ledger.read_claims(ROOT))
    levels = next(cells for cells in table if cells[0].startswith("Levels [7, 5, 5, 5, 5]"))
    effect = "-1.00 mm [-1.00, -1.00], 3 seeds"
    assert levels[1:] == [
        "Di2Pose",
        "4.4, Table 3b",
        "0.2 mm",
        effect,
        FAILS,
        "not run yet",
        UNDECIDED,
    ]
    assert markdown_table(columns, table).count("\n") >= len(table)


def test_the_readme_gets_at_most_fifteen_lines(made_up):
    rows, claims = made_up, ledger.read_claims(ROOT)
    columns, lines = ledger_tables.readme_verdicts(rows, claims)
    assert columns == ["claim", "synthetic", "motion capture"]
    assert 12 <= len(lines) <= 15 and len(lines) == sum(c["readme"] == "yes" for c in claims)
    assert [
        "Levels [7, 5, 5, 5, 5] reconstruct best",
        "**does not hold here**: -1.00 mm [-1.00, -1.00], 3 seeds",
        "**undecided**: not run yet",
    ] in lines
    with pytest.raises(ValueError, match="must mark 1 to 15 claims for the README; got 0"):
        ledger_tables.readme_verdicts(rows, [{**c, "readme": ""} for c in claims])
    with pytest.raises(ValueError, match=f"1 to 15 claims for the README; got {len(claims)}"):
        ledger_tables.readme_verdicts(rows, [{**c, "readme": "yes"} for c in claims])


def test_two_claims_of_one_name_and_a_missing_column_are_refused(root):
    path = root / "paper" / "claims.csv"
    text = path.read_text(encoding="utf-8")
    head, first, *_ = text.splitlines(keepends=True)
    path.write_text(head + first + first, encoding="utf-8")
    with pytest.raises(ValueError, match=r"an id of its own; got .*'accuracy'.* twice"):
        ledger.read_claims(root)
    path.write_text("id,source\na,b\n", encoding="utf-8")
    with pytest.raises(ValueError, match="must have the columns check, claim, decided_by"):
        ledger.read_claims(root)


def test_the_command_writes_the_ledger_and_counts(filled, monkeypatch, capsys):
    monkeypatch.setattr(ledger, "project_root", lambda: filled)
    assert ledger.main() == 0
    out = capsys.readouterr().out
    assert out.startswith("results/ledger.csv: 417 numbers, 56 claims\n")
    assert re.search(
        r"holds here: \d+ on synthetic data or by arithmetic, \d+ on motion capture", out
    )
    put_rows(filled, "mocap", "sweeps", {})
    assert ledger.main() == 1
    assert capsys.readouterr().err.endswith("must hold a list; got dict\n")


def test_the_commands_of_what_was_measured_exist(rows):
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    for each in rows:
        for prefix in ("", "mocap_"):
            value = each["mocap_value" if prefix else "our_value"]
            words = each[f"{prefix}command"].split()
            if words[:1] == ["make"]:
                assert words[1] in targets
            elif words:
                assert words[0] == "python"
                script = f"{words[2].replace('.', '/')}.py" if words[1] == "-m" else words[1]
                assert (ROOT / script).is_file()
            else:
                assert not value


def test_the_committed_ledger_is_up_to_date(rows, committed):
    with open(committed / ledger.LEDGER, encoding="utf-8", newline="") as handle:
        told = "`make ledger` writes it anew, and what is staged with `git add` counts here"
        assert list(csv.DictReader(handle)) == rows, told


def test_no_row_of_the_ledger_waits_for_an_experiment(rows):
    waiting = ledger_tables.incomplete(rows)
    assert not waiting, f"{len(waiting)} rows wait, the first: {waiting[0]}"


def test_what_the_readme_says_of_claims_rests_on_three_seeds(rows):
    _, lines = ledger_tables.readme_verdicts(rows, ledger.read_claims(ROOT))
    seeds = [re.search(r", (\d+) seeds?$", cell) for line in lines for cell in line[1:]]
    counted = [int(found[1]) for found in seeds if found]
    assert len(counted) >= 20 and min(counted) >= 3


def test_both_data_sources_are_those_of_the_pipelines():
    assert SOURCES == ledger.SOURCES == tuple(ledger_tables.TITLES)
