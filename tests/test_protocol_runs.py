"""Protocol runs, tiny: rows of every condition, worst cases, skipping and resuming."""

import ast
import dataclasses
import json
import shutil
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file
from test_ablation_runs import TINY

from di2pose_lib.base.config_file import load_config
from di2pose_lib.base.files import file_digest
from di2pose_lib.base.machine import machine
from di2pose_lib.base.project import project_root
from di2pose_lib.base.trained import WEIGHTS
from di2pose_lib.data.occlusions import CROP, MASK, RATIOS
from di2pose_lib.data.stage import prepared_data
from di2pose_lib.encoder.stage import trained_encoder
from di2pose_lib.evaluation import contenders, measure, protocols, visibility
from di2pose_lib.evaluation.advocc_rows import BIAS, FRESH, SAMPLER, SEARCH, SPARED, error_table
from di2pose_lib.evaluation.estimators import ALGORITHM_2, BEST, CHAIN, MEAN, ONE_SAMPLE, SOFT
from di2pose_lib.evaluation.stage import pose_model
from di2pose_lib.evaluation.visibility import COVERED, SHARE
from studies import ablations, advocc_runs, protocol_runs
from studies.protocol_rows import combined_rows
from studies.protocol_runs import AGREEMENTS, GALLERY, NAMES, ONE_SEED, Run, main, planned

BASE = load_config(project_root() / "params.yaml")


def tiny():
    return ablations.changed(BASE, TINY)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root with the rows of one seed: all conditions, and two attacked images."""
    root = tmp_path_factory.mktemp("protocols")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocols, "IMAGES", 12)
        patch.setattr(contenders, "HYPOTHESES", 4)
        patch.setattr(protocol_runs, "ATTACKED", 2)
        patch.setattr(protocol_runs, "AGREED", 1)
        patch.setattr(protocol_runs, "SAMPLED", 1)
        patch.setattr(visibility, "FEWEST", 1)
        patch.setattr(protocol_runs, "DRAWS", 1)
        patch.setattr(protocol_runs, "FRESH_DRAWS", 1)
        patch.setattr(advocc_runs, "PROBE_SECONDS", 0.0)
        for name in protocol_runs.NAMES:
            if not name.endswith("40"):
                Run(tiny(), name, "synthetic", 7, root).go()
    return root


def measured(root, name):
    folder = root / "pipelines" / "protocols" / "results" / "synthetic"
    (path,) = folder.glob(f"{name}-7-*.json")
    assert path.stat().st_size < 1_000_000
    return json.loads(path.read_text())


def test_every_condition_has_errors_of_every_method_and_kind_of_joints(root):
    rows = measured(root, "occlusion")["errors"]
    conditions = {(row["protocol"], row["level"]) for row in rows if row["protocol"] != SHARE}
    sweeps = {(sweep, ratio) for sweep, ratios in RATIOS.items() for ratio in ratios if ratio}
    assert conditions == sweeps | {("clean", 0.0), ("occluders", 1.0)}
    named = {(row["method"], row["estimator"]) for row in rows}
    assert {(measure.DI2POSE, e) for e in (ONE_SAMPLE, CHAIN, MEAN, SOFT, BEST)} < named
    assert (measure.NEIGHBOUR, "copy") in named and (measure.MEAN_POSE, "mean") in named
    for sweep in (MASK, CROP):
        for joints in ("all", "visible", "occluded"):
            found = [r for r in rows if r["protocol"] == sweep and r["joints"] == joints]
            assert {row["metric"] for row in found} == {"mpjpe_mm", "pa_mpjpe_mm"}
    keys = {tuple(row[key] for key in ("protocol", "level", "method", "estimator", "joints",
                                       "metric")) for row in rows}  # fmt: skip
    assert len(keys) == len(rows)


def test_covered_joints_have_rows_with_the_occluder_and_without_and_shares_have_theirs(root):
    rows = measured(root, "occlusion")["errors"]
    found = [row for row in rows if row["joints"] == COVERED and row["estimator"] == CHAIN]
    assert [row["protocol"] for row in found] == ["clean", "occluders"]
    assert found[0]["n"] == found[1]["n"] > 0
    shares = [row for row in rows if row["protocol"] == SHARE and row["estimator"] == SOFT]
    assert sum(row["n"] for row in shares) == 12, "every image has one"


def test_uncertainty_is_of_either_sampler_and_bodies_are_of_those_that_could_be(root):
    found = measured(root, "occlusion")
    samplers = {row["estimator"] for row in found["uncertainty"]}
    assert samplers == {"4 samples", f"4 samples, {ALGORITHM_2}"}
    assert protocols.CHAIN_MEAN in {row["estimator"] for row in found["plausibility"]}
    assert BEST not in {row["estimator"] for row in found["plausibility"]}
    assert {row["estimator"] for row in found["conventions"]} == {CHAIN, SOFT}


def test_more_of_the_image_hidden_hides_more_joints(root):
    rows = measured(root, "occlusion")["errors"]
    wanted = {"method": measure.MEAN_POSE, "metric": "mpjpe_mm", "joints": "all"}
    chosen = [r for r in rows if r["protocol"] == MASK and wanted.items() <= r.items()]
    assert len({row["mean"] for row in chosen}) == 1, "the mean pose does not see the image"
    neighbour = [
        r["mean"]
        for r in rows
        if r["protocol"] == MASK and {**wanted, "method": measure.NEIGHBOUR}.items() <= r.items()
    ]
    assert len(set(neighbour)) > 1, "the neighbour does"


def test_uncertainty_plausibility_and_conventions_are_looked_into(root):
    found = measured(root, "occlusion")
    for kind in ("uncertainty", "plausibility"):
        conditions = {(row["protocol"], row["level"]) for row in found[kind]}
        assert conditions == {tuple(condition) for condition in protocols.LOOKED_INTO}
    metrics = {row["metric"] for row in found["uncertainty"]}
    assert {"spread_mm", "coverage 50 %", "energy_score_mm"} < metrics
    truth = [r for r in found["plausibility"] if r["method"] == "ground truth"]
    assert {row["metric"] for row in truth} >= {"bone_error_mm", "asymmetry_mm"}
    assert {row["protocol"] for row in found["conventions"]} == {"clean"}


def test_uncertainty_grows_under_the_masks_that_the_conditions_leave_out(root):
    rows = measured(root, "growth")["uncertainty"]
    masks = {(row["protocol"], row["level"]) for row in rows}
    assert masks | {(MASK, 0.4)} == {(MASK, ratio) for ratio in RATIOS[MASK] if ratio}
    assert {row["estimator"] for row in rows} == {f"4 samples, {ALGORITHM_2}"}
    at_04 = [
        row
        for row in measured(root, "occlusion")["uncertainty"]
        if (row["protocol"], row["level"]) == (MASK, 0.4) and row["estimator"].endswith(ALGORITHM_2)
    ]
    assert {r["metric"] for r in at_04} == {r["metric"] for r in rows}


def test_actions_are_parts_of_the_clean_images_and_other_images_are_worse_or_better(root):
    rows = measured(root, "actions")["errors"]
    clean = {
        (r["method"], r["estimator"]): r
        for r in measured(root, "occlusion")["errors"]
        if (r["protocol"], r["joints"], r["metric"]) == ("clean", "all", "mpjpe_mm")
    }
    by_action = {}
    for row in rows:
        if row["protocol"].startswith("clean: ") and row["metric"] == "mpjpe_mm":
            by_action.setdefault((row["method"], row["estimator"]), []).append(row)
    assert by_action.keys() == clean.keys() - {(measure.DI2POSE, protocols.CHAIN_MEAN)}
    for names, own in by_action.items():
        *actions, mean = own
        assert mean["protocol"] == "clean: mean of actions" and mean["clusters"] is None
        assert sum(r["n"] for r in actions) == clean[names]["n"] == 12
        weighted = sum(r["n"] * r["mean"] for r in actions) / 12
        assert weighted == pytest.approx(clean[names]["mean"], abs=1e-3)
        assert mean["mean"] == pytest.approx(sum(r["mean"] for r in actions) / len(actions))
    shuffled = [r for r in rows if r["method"] == measure.SHUFFLED]
    assert {r["protocol"] for r in shuffled} == {"clean"}
    assert {r["estimator"] for r in shuffled} == {CHAIN, SOFT}
    for row in shuffled:
        if (row["joints"], row["metric"]) == ("all", "mpjpe_mm"):
            assert row["mean"] != clean[measure.DI2POSE, row["estimator"]]["mean"]


def test_inpainting_has_rows_of_both_cases(root):
    rows = measured(root, "inpainting")["errors"]
    assert {r["protocol"] for r in rows} == {"both legs known", "visible joints known"}
    assert len({(r["protocol"], r["joints"], r["estimator"]) for r in rows}) == len(rows) == 16


def test_the_sampler_itself_is_attacked_on_few_images(root):
    rows = measured(root, "sampler80")["errors"]
    assert {(r["protocol"], r["estimator"], r["n"]) for r in rows} == {(SAMPLER, CHAIN, 1)}
    assert {r["level"] for r in rows} == {0, 80}
    found = {r["metric"]: r["mean"] for r in rows if r["level"] == 80}
    excess = found["mpjpe_mm"] - found[f"mpjpe_mm, {FRESH}"]
    assert found[f"mpjpe_mm, {BIAS}"] == pytest.approx(excess)


def test_rows_of_seeds_can_be_joined(root):
    rows = measured(root, "occlusion")["errors"]
    joined = combined_rows([rows, rows], shared_clusters=False)
    assert len(joined) == len(rows) and {row["seeds"] for row in joined} == {2}
    for one, both in zip(rows, joined, strict=True):
        assert both["mean"] == pytest.approx(one["mean"], abs=1e-3)


def test_conditions_that_a_killed_run_finished_are_not_measured_again(tmp_path, monkeypatch):
    asked = []

    def condition_rows(found, protocol, level):
        asked.append((protocol, level))
        if len(asked) == 4:
            raise KeyboardInterrupt
        return {"errors": [{"protocol": protocol}], "uncertainty": []}

    monkeypatch.setattr(protocols, "condition_rows", condition_rows)
    with pytest.raises(KeyboardInterrupt):
        protocols.occlusion_rows(None, tmp_path / "kept")
    rows = protocols.occlusion_rows(None, tmp_path / "kept")
    assert asked == [*protocols.CONDITIONS[:4], *protocols.CONDITIONS[3:]]
    assert [r["protocol"] for r in rows["errors"]] == [name for name, _ in protocols.CONDITIONS]


def test_an_attack_leaves_rows_and_the_patches_of_its_worst_cases(root):
    found = measured(root, "advocc80")
    assert {row["level"] for row in found["errors"]} == {0, 80}
    assert {row["n"] for row in found["errors"]} == {2}
    assert len(found["gallery"]) == min(2, GALLERY)
    worst = [record["worst"]["mpjpe_mm"]["error_mm"] for record in found["gallery"]]
    assert worst == sorted(worst, reverse=True)
    assert all(record["worst"]["mpjpe_mm"]["draws"] for record in found["gallery"])


NOTEBOOK = project_root() / "notebooks" / "06_evaluation.ipynb"
ANEW = "The stored worst patches are not known to be of these networks: attacked anew."


@pytest.fixture
def trained(root):
    """The pipeline behind the rows, to load from."""
    pipeline = Run(tiny(), "advocc 80", "synthetic", 7, root).pipeline()
    return dataclasses.replace(pipeline, stage="evaluation")


def show_worst(pipeline, gallery, folder):
    """What notebook 06's cell on the worst picture knows in the end, given a stored gallery."""
    (folder / "advocc_gallery.json").write_text(json.dumps({"advocc 80": gallery}))
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    (cell,) = [text for text in code if "advocc_gallery.json" in text]
    nodes = [node for text in code for node in ast.parse(text).body]
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    known = {
        "pipeline": pipeline,
        "config": pipeline.config,
        "test": prepared_data(pipeline)["test"],
        "model": pose_model(pipeline),
        "encoder": trained_encoder(pipeline).model,
        "folder": folder,
    }
    exec(compile(ast.Module(imports, []), NOTEBOOK.name, "exec"), known)
    exec(compile(cell, NOTEBOOK.name, "exec"), known)
    return known


def perturbed(pipeline, folder):
    """The same data and networks, but for a thousandth of each weight: another machine's."""
    shutil.copytree(pipeline.folder / "artifacts", folder / "artifacts")
    other = dataclasses.replace(pipeline, folder=folder)
    generator = torch.Generator().manual_seed(0)
    for stage in ("image_encoder", "pose_tokenizer", "diffusion_training"):
        path = other.artifacts / stage / WEIGHTS
        weights = load_file(path)
        for weight in weights.values():
            if weight.is_floating_point():
                weight *= 1 + 1e-3 * torch.randn(weight.shape, generator=generator)
        save_file(weights, path)
        record = other.artifacts / stage / "made_from.json"
        made = {**json.loads(record.read_text()), "content": file_digest(path)}
        record.write_text(json.dumps(made))
    return other


def test_a_gallery_says_whose_it_is_and_these_networks_replay_it(root, trained, tmp_path, capsys):
    gallery = measured(root, "advocc80")["gallery"]
    assert all(record["made_by"] == trained.contents() for record in gallery)
    shown = show_worst(trained, gallery, tmp_path)
    assert shown["record"] == gallery[0] and ANEW not in capsys.readouterr().out
    gallery[0]["worst"]["mpjpe_mm"]["draws_mm"][0] += 2
    with pytest.raises(AssertionError):
        show_worst(trained, gallery, tmp_path)


@pytest.mark.parametrize("says", ["whose it is", "nothing"])
def test_other_networks_than_a_gallery_s_are_attacked_anew(root, trained, tmp_path, capsys, says):
    """As on another machine: the committed pictures, and weights that were trained otherwise."""
    gallery = measured(root, "advocc80")["gallery"]
    if says == "nothing":
        for record in gallery:
            del record["made_by"]
    other = perturbed(trained, tmp_path / "other")
    shown = show_worst(other, gallery, tmp_path)
    assert capsys.readouterr().out.splitlines()[0] == ANEW
    assert len(shown["records"]) == 4 and shown["record"] in shown["records"]
    # With the networks of the gallery gone, it can't be replayed: the picture is the same.
    target = shown["advocc"].target(shown["test"], gallery[0]["image"])
    given = shown["predictor"], shown["textures"], target, gallery[0], "mpjpe_mm"
    errors = shown["advocc"].replay(*given)[1]
    stored = gallery[0]["worst"]["mpjpe_mm"]["draws_mm"]
    assert max(abs(a - b) for a, b in zip(errors, stored, strict=True)) > 0.01


def test_a_row_file_says_which_machine_made_it(root):
    assert {measured(root, name)["machine"]["cpu"] for name in ("growth", "advocc80")} == {
        machine()["cpu"]
    }
    assert measured(root, "growth")["machine"]["threads"] >= 1


def test_the_full_grid_attacks_a_part_of_the_same_images_with_the_same_draws(root):
    store = root / "scratch" / "protocols" / "synthetic-7"
    ((coarse, *others), (full,)) = (
        [json.loads(path.read_text()) for path in sorted((store / name).glob("*/0*.json"))]
        for name in ("advocc80", "agreement80")
    )
    assert len(others) == 1 and full["image_sha256"] == coarse["image_sha256"]
    known, looked = error_table(full), error_table(coarse) > -torch.inf
    assert (known > -torch.inf).all() and not looked.all()
    torch.testing.assert_close(known[looked], error_table(coarse)[looked], atol=0.01, rtol=0)
    found = measured(root, "agreement80")["errors"]
    assert {(row["protocol"], row["level"], row["n"]) for row in found} == {(SEARCH, 80, 1)}
    (spared,) = (row["mean"] for row in found if row["metric"] == SPARED)
    assert spared == pytest.approx(100 * (~looked).all(dim=1).double().mean().item())


def test_agreements_are_of_one_seed_and_change_no_other_runs_key(monkeypatch):
    runs = planned(tiny(), NAMES, ["synthetic"], [2, 3])
    own = [(run.name, run.config.seed) for run in runs if run.name in ONE_SEED]
    assert own == [(name, 2) for name in ONE_SEED]
    assert len(runs) == len(NAMES) + len(NAMES) - len(ONE_SEED)
    before = {run.name: run.row_path for run in runs if run.config.seed == 2}
    monkeypatch.setattr(protocol_runs, "AGREED", 7)
    after = {run.name: run.row_path for run in planned(tiny(), NAMES, ["synthetic"], [2])}
    assert {name for name in NAMES if before[name] != after[name]} == {*AGREEMENTS}


def test_a_second_seed_or_other_settings_are_other_rows(monkeypatch):
    runs = planned(tiny(), ["occlusion", "advocc 40"], ["synthetic", "mocap"], [2, 3])
    assert len({run.row_path for run in runs}) == 8
    before = Run(tiny(), "advocc 40", "synthetic", 2).row_path
    monkeypatch.setattr(protocol_runs, "DRAWS", 5)
    assert Run(tiny(), "advocc 40", "synthetic", 2).row_path != before


def test_what_exists_is_skipped_and_a_run_that_fails_stops_no_other(root, monkeypatch, capsys):
    def failing(self):
        raise ValueError(f"{self.name} diverged")

    monkeypatch.setattr(protocol_runs, "load_config", lambda path: tiny())
    monkeypatch.setattr(Run, "go", failing)
    assert main(["--source", "synthetic", "--seed", "7", "--plan"]) == 0
    assert "6 runs, 6 of them missing" in capsys.readouterr().out
    assert main(["--source", "synthetic", "--seed", "7"]) == 1
    told = capsys.readouterr()
    assert "run 6: advocc 80, synthetic, seed 7" in told.out
    assert "error: occlusion, synthetic, seed 7: occlusion diverged" in told.err


def test_another_protocol_is_refused():
    with pytest.raises(ValueError, match="`name` must be one of occlusion, growth, actions"):
        Run(tiny(), "fog", "synthetic", 7)


def test_images_are_spread_over_the_split():
    assert protocols.spread_rows(torch.zeros(9), 3).tolist() == [0, 4, 8]
    assert protocols.spread_rows(torch.zeros(2), 5).tolist() == [0, 1]


def test_a_row_that_is_there_and_cannot_be_read_is_not_run_again(tmp_path, monkeypatch, capsys):
    row = tmp_path / "row.json"
    run = SimpleNamespace(row_path=row)
    monkeypatch.setattr(protocol_runs, "planned", lambda *_: [run])
    assert main(["--plan"]) == 0
    assert "1 of them missing" in capsys.readouterr().out
    row.symlink_to(tmp_path / "none")
    for arguments in (["--plan"], []):
        assert main(arguments) == 1
        assert "row.json must be a file; got a link to nowhere" in capsys.readouterr().err
