"""Ablation runs, tiny: rows, what runs share, skipping, and the tables made of the rows."""

import json

import pytest
from test_ablations import BASE

from di2pose_lib.base.config_file import load_config
from di2pose_lib.base.machine import machine
from di2pose_lib.base.project import project_root
from di2pose_lib.evaluation.step_curve import ERRORS, WAYS, fewest_steps
from studies import ablation_runs, ablation_tables, ablation_times, ablations
from studies.ablation_runs import Run, main, planned
from studies.ablation_tables import compared, finished_rows, mean_curves, row_error

TINY = {
    "data.train_sequences": 8,
    "data.validation_sequences": 2,
    "data.test_sequences": 22,
    "data.frames_per_sequence": 4,
    "encoder.width": 16,
    "encoder.layers": 1,
    "encoder.optimizer.epochs": 2.0,
    "encoder.optimizer.warmup_steps": 1,
    "tokenizer.sizes.num_tokens": 5,
    "tokenizer.sizes.width": 8,
    "tokenizer.sizes.decoder_width": 8,
    "tokenizer.optimizer.epochs": 4.0,
    "tokenizer.optimizer.batch_size": 16,
    "tokenizer.optimizer.warmup_steps": 1,
    "diffusion.width": 16,
    "diffusion.heads": 2,
    "diffusion.layers": 1,
    "diffusion.optimizer.epochs": 2.0,
    "diffusion.optimizer.warmup_steps": 1,
    "evaluation.num_hypotheses": 2,
    "evaluation.num_inference_steps": 2,
    "evaluation.bootstrap_samples": 10,
}
TABLE = ablations.Table(
    "toy",
    "Which?",
    ablations.DENOISER,
    (
        ablations.Setting("both", {}, ("transition_matrix", "both")),
        ablations.Setting(
            "replace",
            {"diffusion.final_occlude_rate": 0.0, "diffusion.final_replace_rate": 1.0},
            ("transition_matrix", "replace"),
        ),
        ablations.Setting("both, three steps", {"evaluation.num_inference_steps": 3}),
    ),
    "both",
    ablations.ONE_SAMPLE,
)
TOKENS = ablations.Table(
    "tokens",
    "Which?",
    ablations.TOKENIZER,
    (
        ablations.Setting("X = 3", {}),
        ablations.Setting("X = 1", {"tokenizer.sizes.local_joints": 1}),
        ablations.Setting("PCT", {}, None, ablations.table_of("4").settings[0].design),
    ),
    "X = 3",
    ablations.RECONSTRUCTION,
)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root with the parameters and the rows of both toy tables, one seed."""
    root = tmp_path_factory.mktemp("ablations")
    tiny = ablations.changed(BASE, TINY)
    for table in (TABLE, TOKENS):
        for setting in table.settings:
            Run(tiny, table, setting, "synthetic", 7, root).go()
    return root


@pytest.fixture(scope="module")
def curve_row(root):
    """The row of the curve over the steps of inference, which reuses the denoiser."""
    tiny = ablations.changed(BASE, TINY)
    run = Run(tiny, ablations.CURVE, ablations.CURVE.settings[0], "synthetic", 7, root)
    run.go()
    return json.loads(run.row_path.read_text())


@pytest.fixture
def at(root, monkeypatch):
    """`compared` and `finished_rows` read the toy parameters."""
    tiny = ablations.changed(BASE, TINY)
    monkeypatch.setattr("studies.ablation_tables.load_config", lambda path: tiny)
    (root / "paper").mkdir(exist_ok=True)
    name = "di2pose_table3_ablations_h36m_mm.csv"
    (root / "paper" / name).write_bytes((project_root() / "paper" / name).read_bytes())
    return root


def test_each_run_leaves_one_small_row_and_nothing_of_its_own_in_scratch(root):
    rows = sorted((root / "pipelines" / "ablations" / "results" / "synthetic").glob("*.json"))
    assert len(rows) == 6
    assert all(path.stat().st_size < 20_000 for path in rows)
    assert list((root / "scratch" / "ablations" / "synthetic-7" / "runs").iterdir()) == []


def test_runs_share_what_does_not_depend_on_their_setting(root):
    store = root / "scratch" / "ablations" / "synthetic-7"
    made = {stage: len(list((store / stage).iterdir())) for stage in ablation_runs.NEEDS}
    assert made == {
        "data_preparation": 1,
        "image_encoder": 1,
        "pose_tokenizer": 2,
        "diffusion_training": 2,  # both, and replace; other steps of inference train nothing
    }


def test_a_row_holds_errors_by_cluster_and_no_time(at):
    row = finished_rows(TABLE, "synthetic", (7,), at)["both"][7]
    assert set(row) == {"library", "machine", "from", "clusters", "images", "errors"}
    assert row["machine"] == machine()
    assert row["from"]["kind"] == "denoiser" and row["from"]["seed"] == 7
    assert row["clusters"] == "subject"
    assert sum(row["images"]) == 44  # 22 sequences of 2 frames
    assert all(len(errors) == len(row["images"]) for errors in row["errors"].values())
    assert "soft decoding, clean, mpjpe_mm" in row["errors"]
    assert "one sample, occluders, occluded joints, mpjpe_mm" in row["errors"]
    tokens = finished_rows(TOKENS, "synthetic", (7,), at)["X = 3"][7]
    assert {"reconstruction, mpjpe_mm", "reconstruction, bone_length_mm"} <= tokens["errors"].keys()
    assert 0 < tokens["code_use"]["levels_used_share"] <= 1
    assert tokens["parameters"] > 0


def test_without_occlusion_there_is_no_soft_decoding(at):
    row = finished_rows(TABLE, "synthetic", (7,), at)["replace"][7]
    assert not [name for name in row["errors"] if name.startswith("soft")]


def test_a_rows_error_weighs_clusters_by_their_images():
    row = {"images": [1, 3], "errors": {"a": [10.0, 20.0]}}
    assert row_error(row, "a") == 17.5
    with pytest.raises(ValueError, match="`metric` must be one of a; got 'b'"):
        row_error(row, "b")


def test_the_table_stands_beside_the_papers_numbers(at):
    both, replace, three = compared(TABLE, "synthetic", seeds=(7,), root=at)
    assert (both.paper_mm, replace.paper_mm, three.paper_mm) == (49.2, 50.4, None)
    assert both.worse_by is None and both.verdict == ""
    assert replace.worse_by.mean == pytest.approx(replace.error.mean - both.error.mean)
    assert replace.verdict == "undecided"  # one seed
    claims = ablation_tables.claims(TABLE, "synthetic", (7,), at)
    assert claims[0] == ("replace is worse than both", replace.worse_by, "undecided")
    assert len(ablation_tables.versions(TABLE, "synthetic", (7,), at)) == 1
    none = compared(TABLE, "synthetic", seeds=(8,), root=at)
    assert [c.error for c in none] == [None] * 3


def test_the_curve_holds_every_way_and_number_of_steps_on_both_splits(at, curve_row):
    store = at / "scratch" / "ablations" / "synthetic-7"
    assert len(list((store / "diffusion_training").iterdir())) == 2  # nothing trained for it
    assert set(curve_row["curve"]) == {"validation", "test"}
    for ways in curve_row["curve"].values():
        assert list(ways) == list(WAYS)
        for curve in ways.values():
            assert curve["steps"] == [1, 2, 4, 8, 16, 25, 50, 100]
            for one, mean in zip(curve["one_sample_mm"], curve["mean_of_samples_mm"], strict=True):
                assert 0 < mean <= one
            for error in ERRORS:
                assert len(curve[error]) == 8 and min(curve[error]) > 0
            for one, aligned in zip(curve[ERRORS[0]], curve["one_sample_pa_mm"], strict=True):
                assert aligned < one
    once = [curve_row["curve"]["test"][way]["one_sample_mm"][0] for way in WAYS]
    assert len(set(once)) == 1  # one step is one step
    means, seeds = mean_curves("synthetic", "test", (7, 8), at)
    assert seeds == 1 and means["cosine"] == curve_row["curve"]["test"]["cosine"]
    assert mean_curves("synthetic", "test", (8,), at) == ({}, 0)


def test_the_fewest_steps_that_keep_the_quality_by_hand():
    bones = "one_sample_bones_mm"
    curves = {
        "a": {"steps": [1, 4, 100], "one_sample_mm": [120.0, 101.5, 100.0], bones: [9.0, 9.0, 9.0]},
        "b": {"steps": [1, 4, 100], "one_sample_mm": [120.0, 100.9, 100.5], bones: [9.0, 9.0, 9.0]},
    }
    assert fewest_steps(curves) == ("b", 4)
    assert fewest_steps(curves, share=0.98) == ("b", 4)  # of two ways the better
    assert fewest_steps(curves, share=0.8) == ("a", 1)
    assert fewest_steps(curves, share=1.0) == ("a", 100)
    with pytest.raises(ValueError, match="`curves` must hold at least one way; got none"):
        fewest_steps({})


def test_a_way_with_less_error_but_no_body_is_not_taken():
    curve = {"steps": [1, 4, 100], "one_sample_mm": [90.0, 95.0, 100.0]}
    curve["one_sample_bones_mm"] = [20.0, 9.05, 9.0]
    assert fewest_steps({"a": curve}) == ("a", 4)
    other = {
        **curve,
        "one_sample_mm": [50.0, 50.0, 50.0],
        "one_sample_bones_mm": [20.0, 20.0, 20.0],
    }
    assert fewest_steps({"b": other, "c": curve}) == ("b", 100), "none keeps both: all steps"


def test_a_contrast_weighs_errors_seed_by_seed(at):
    weights = {"both": 1, "replace": -2, "both, three steps": 1}
    table = TABLE._replace(favourite=None, contrasts=(ablations.Contrast("bent", weights),))
    errors = {one.setting: one.error.mean for one in compared(table, "synthetic", (7,), at)}
    ((claim, difference, word),) = ablation_tables.claims(table, "synthetic", (7,), at)
    expected = sum(weight * errors[name] for name, weight in weights.items())
    assert (claim, word) == ("bent", "undecided") and difference.seeds == 1
    assert difference.mean == pytest.approx(expected)
    assert ablation_tables.claims(table, "synthetic", (8,), at) == [("bent", None, "")]
    columns, rows = ablation_tables.markdown_claims(table, ("synthetic",), at)
    assert len(columns) == len(rows[0]) == 3


def test_a_run_that_was_killed_finds_no_stale_links_in_its_way(tmp_path):
    tiny = ablations.changed(BASE, TINY)
    run = Run(tiny, TOKENS, TOKENS.settings[0], "synthetic", 7, tmp_path)
    links = run.store / "runs" / run.key / "artifacts" / "lesson" / "synthetic"
    links.mkdir(parents=True)
    (links / "data_preparation").symlink_to(tmp_path / "gone")
    (tmp_path / "other").mkdir()
    (links / "pose_tokenizer").symlink_to(tmp_path / "other")
    run.go()
    assert run.row_path.is_file() and list((tmp_path / "other").iterdir()) == []
    assert run.stored("pose_tokenizer").is_dir()


def test_a_run_that_fails_is_named_and_the_others_go_on(capsys, monkeypatch):
    gone = []

    def go(run):
        gone.append(run)
        if len(gone) == 1:
            raise ValueError("the loss must stay finite")

    monkeypatch.setattr(Run, "go", go)
    assert main(["--table", "3a", "--source", "synthetic", "--seed", "99"]) == 1
    assert len(gone) == 3
    wanted = "error: table 3a, X = 1, synthetic, seed 99: the loss must stay finite\n"
    assert capsys.readouterr().err == wanted


def test_a_run_repeats_to_the_same_row(root, tmp_path):
    run = Run(ablations.changed(BASE, TINY), TOKENS, TOKENS.settings[1], "synthetic", 7, tmp_path)
    run.go()
    first = root / run.row_path.relative_to(tmp_path)
    assert first.read_bytes() == run.row_path.read_bytes()


def test_the_plan_holds_each_seed_together_and_only_what_was_chosen(capsys, monkeypatch):
    tables = [ablations.table_of("3a")]
    seeds = [run.config.seed for *_, run in planned(BASE, tables, ["mocap"], [3, 4]).values()]
    assert seeds == [3] * 3 + [4] * 3
    monkeypatch.setattr(Run, "go", lambda run: json.dumps(None))
    assert main(["--table", "3a", "--source", "synthetic", "--seed", "99", "--most", "2"]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "3 runs, 3 of them missing"
    assert lines[1:] == [
        f"run {n}: table 3a, X = {x}, synthetic, seed 99" for n, x in ((1, 1), (2, 3))
    ]


def test_the_predicted_time_counts_what_is_shared_once(root):
    tiny = ablations.changed(BASE, TINY)
    both, _, three = (Run(tiny, TABLE, s, "synthetic", 8, root) for s in TABLE.settings)
    step, calls = 1.0, []

    def seconds(step_function):
        calls.append(step_function)
        return step

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(ablation_times, "_seconds", seconds)
        alone = ablation_times.predicted_seconds([both])
        together = ablation_times.predicted_seconds([both, three])
    images, batch = 8 * 4, both.config.diffusion.optimizer.batch_size
    trainings = 2 * images / 16 + 4 * images / 16 + 2 * images / batch
    poses = 2 * 44 * 2 / batch  # both conditions, images, hypotheses; a step of inference
    bound = 96 * 100 / batch  # of the validation poses, at every step
    assert alone == pytest.approx(trainings + 2 * poses + bound + 2e-3 * images)
    assert together == pytest.approx(alone + 3 * poses)  # trains nothing more


def test_a_bad_parameters_file_gives_one_sentence(capsys, monkeypatch):
    monkeypatch.setattr(ablation_runs, "PARAMS", "pipelines/smoke.yaml")
    assert main(["--plan"]) == 1
    wanted = "error: `scale` must be lesson in pipelines/smoke.yaml; got smoke\n"
    assert capsys.readouterr().err == wanted
    assert load_config(project_root() / "pipelines/smoke.yaml").scale == "smoke"


def test_a_row_that_is_there_and_cannot_be_read_is_not_run_again(tmp_path, monkeypatch, capsys):
    (tmp_path / "row.json").mkdir()
    plan = {tmp_path / "row.json": None}
    monkeypatch.setattr(ablation_runs, "planned", lambda *_: plan)
    for arguments in (["--plan"], []):
        assert main(arguments) == 1
        assert "row.json must be a file; got a folder" in capsys.readouterr().err
