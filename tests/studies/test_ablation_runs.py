"""Ablation runs, tiny: rows by cluster, what runs share, and skipping."""

import pytest
from test_ablations import BASE

from di2pose_lib.evaluation.step_curve import WAYS
from di2pose_lib.evaluation.table import study_rows
from studies import ablation_runs, ablation_times, ablations, blocks
from studies.ablation_runs import Run, main, planned

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
    ablations.table_of("5").primary,
    "both",
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
    ablations.table_of("3a").primary,
    "X = 3",
)


TINY_BASE = ablations.changed(BASE, TINY)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root with the blocks of both toy tables, one seed."""
    root = tmp_path_factory.mktemp("ablations")
    for run in planned(TINY_BASE, (TABLE, TOKENS), ["synthetic"], [7], root):
        run.go()
    return root


def test_a_block_holds_every_setting_by_cluster_and_nothing_is_left_in_scratch(root):
    rows = study_rows(TABLE.study, root=root)
    assert set(rows.setting) == {one.name for one in TABLE.settings}
    assert set(rows.seed) == {7} and rows.cluster.str.startswith("person 7-").all()
    assert list((root / "scratch" / "ablations" / "synthetic-7" / "runs").iterdir()) == []
    clean = rows.query("estimator == 'one sample' and metric == 'mpjpe_mm' and joints == 'all'")
    images = clean.groupby(["setting", "occlusion"]).n.sum()
    assert len(images) == 6 and set(images) == {44}  # 22 sequences of 2 frames
    assert set(rows[rows.joints == "occluded"].occlusion) == {"clean", "occluders"}
    soft = rows[rows.estimator == "soft decoding"]
    assert set(soft.setting) == {"both", "both, three steps"}  # needs a chain that occludes


def test_a_tokenizers_rows_tell_its_codes_too(root):
    rows = study_rows(TOKENS.study, root=root).query("setting == 'X = 3'")
    assert set(rows[rows.cluster != ""].metric) == {"mpjpe_mm", "pa_mpjpe_mm", "bone_error_mm"}
    alone = rows[rows.cluster == ""].set_index("metric").value
    assert 0 < alone["levels_used_share"] <= 1 and alone["parameters"] > 0


def test_runs_share_what_does_not_depend_on_their_setting(root):
    store = root / "scratch" / "ablations" / "synthetic-7"
    made = {stage: len(list((store / stage).iterdir())) for stage in ablation_runs.NEEDS}
    assert made == {
        "data_preparation": 1,
        "image_encoder": 1,
        "pose_tokenizer": 2,
        "diffusion_training": 2,  # both, and replace; other steps of inference train nothing
    }


def test_nothing_is_missing_once_it_has_run(root):
    plan = planned(TINY_BASE, (TABLE, TOKENS), ["synthetic"], [7], root)
    assert blocks.missing(plan) == []
    assert ablation_times.predicted_seconds(plan) > 0


def test_the_curve_holds_every_way_and_number_of_steps_on_both_splits(root):
    run = Run(TINY_BASE, ablations.CURVE, ablations.CURVE.settings[0], "synthetic", 7, root)
    run.go()
    store = root / "scratch" / "ablations" / "synthetic-7"
    assert len(list((store / "diffusion_training").iterdir())) == 2  # nothing trained for it
    rows = study_rows(ablations.CURVE.study, root=root)
    places = ["test_set", "setting", "steps"]
    errors = rows.pivot_table("value", places, ["estimator", "metric"], observed=True)
    assert len(errors) == 2 * len(WAYS) * 8 and errors.notna().all().all()
    assert set(rows.setting) == set(WAYS) and set(rows.test_set) == {"validation", "test"}
    assert (errors["mean of samples", "mpjpe_mm"] <= errors["one sample", "mpjpe_mm"]).all()
    assert (errors["one sample", "pa_mpjpe_mm"] < errors["one sample", "mpjpe_mm"]).all()
    once = errors.xs(("test", 1.0), level=("test_set", "steps"))
    assert once["one sample", "mpjpe_mm"].nunique() == 1  # one step is one step


def test_a_run_that_was_killed_finds_no_stale_links_in_its_way(tmp_path):
    run = Run(TINY_BASE, TOKENS, TOKENS.settings[0], "synthetic", 7, tmp_path)
    links = run.store / "runs" / run.key / "artifacts" / "lesson" / "synthetic"
    links.mkdir(parents=True)
    (links / "data_preparation").symlink_to(tmp_path / "gone")
    (tmp_path / "other").mkdir()
    (links / "pose_tokenizer").symlink_to(tmp_path / "other")
    run.go()
    assert run.path.is_file() and list((tmp_path / "other").iterdir()) == []
    assert run.stored("pose_tokenizer").is_dir()


def test_a_run_that_fails_is_named_and_the_others_go_on(capsys, monkeypatch):
    gone = []

    def go(run):
        gone.append(run)
        if len(gone) == 1:
            raise ValueError("the loss must stay finite")

    monkeypatch.setattr(Run, "go", go)
    monkeypatch.setattr(ablation_runs, "predicted_seconds", lambda runs: 3600.0)
    assert main(["--study", "3a", "--source", "synthetic", "--seed", "99"]) == 1
    assert len(gone) == 3
    printed = capsys.readouterr()
    wanted = "error: ablation_3a, X = 1, synthetic, seed 99: the loss must stay finite\n"
    assert printed.err == wanted and "predicted on this machine: 1.0 hours" in printed.out


def test_a_run_repeats_to_the_same_rows(root, tmp_path):
    run = Run(TINY_BASE, TOKENS, TOKENS.settings[1], "synthetic", 7, tmp_path)
    run.go()
    again = study_rows(TOKENS.study, root=tmp_path)
    before = study_rows(TOKENS.study, root=root).query("setting == 'X = 1'")
    assert again.astype(str).to_csv(index=False) == before.astype(str).to_csv(index=False)
