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
from di2pose_lib.evaluation import measure, models, protocols, visibility
from di2pose_lib.evaluation.advocc_rows import error_table
from di2pose_lib.evaluation.estimators import ALGORITHM_2, BEST, CHAIN, MEAN, ONE_SAMPLE, SOFT
from di2pose_lib.evaluation.intervals import intervals
from di2pose_lib.evaluation.stage import pose_model
from di2pose_lib.evaluation.table import study_rows
from di2pose_lib.evaluation.visibility import COVERED, SHARE
from studies import ablations, advocc_runs, protocol_runs
from studies.protocol_runs import AGREEMENTS, GALLERY, NAMES, ONE_SEED, Run, main, planned

CHAIN_MEAN = f"{MEAN}, {ALGORITHM_2}"
BASE = load_config(project_root() / "params.yaml")


def tiny():
    return ablations.changed(BASE, TINY)


@pytest.fixture(scope="module")
def root(tmp_path_factory):
    """A root with the rows of one seed: all conditions, and two attacked images."""
    root = tmp_path_factory.mktemp("protocols")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(protocol_runs, "SEEDS", (7, 8, 9))
        patch.setattr(protocols, "IMAGES", 12)
        patch.setattr(protocols, "HYPOTHESES", 4)
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


def rows_of(study, root, **wanted):
    """Rows of a study's block with these values."""
    rows = study_rows(study, root=root)
    for name, value in wanted.items():
        rows = rows[rows[name] == value]
    return rows


def test_every_condition_has_errors_of_every_method_and_kind_of_joints(root):
    rows = rows_of("occlusion", root, metric="pa_mpjpe_mm")
    sweeps = {(sweep, ratio) for sweep, ratios in RATIOS.items() for ratio in ratios if ratio}
    places = set(zip(rows.occlusion, rows.level, strict=True))
    assert places == sweeps | {("clean", 0.0), ("occluders", 1.0)}
    named = set(zip(rows.method, rows.estimator, strict=True))
    assert {(models.DI2POSE, e) for e in (ONE_SAMPLE, CHAIN, MEAN, SOFT, BEST)} < named
    assert (models.NEIGHBOUR, "copy") in named and (models.MEAN_POSE, "mean") in named
    for sweep in (MASK, CROP):
        assert set(rows[rows.occlusion == sweep].joints) == {"all", "visible", "occluded"}
    whole = rows_of("occlusion", root)
    assert set(whole.scale) == {"lesson"} and set(whole.seed) == {7} and whole.run.nunique() == 1


def test_covered_joints_have_rows_with_the_occluder_and_without_and_shares_have_theirs(root):
    kind = {"joints": COVERED, "joint": "", "metric": "mpjpe_mm", "estimator": CHAIN}
    images = rows_of("occlusion", root, **kind).groupby("occlusion").n.sum()
    assert set(images.index) == {"clean", "occluders"} and images.nunique() == 1
    wrist = rows_of("occlusion", root, joint="left wrist")
    assert set(wrist.joints) <= {"seen", COVERED, "behind the own body"} and len(wrist)
    shares = rows_of("occlusion", root, occlusion=SHARE, estimator=SOFT)
    assert shares.n.sum() == 12, "every image has one"


def test_uncertainty_is_of_either_sampler_and_bodies_are_of_those_that_could_be(root):
    spread = rows_of("occlusion", root, metric="spread_mm")
    assert set(spread.estimator) == {"4 samples", f"4 samples, {ALGORITHM_2}"}
    looked = set(zip(spread.occlusion, spread.level, strict=True))
    assert looked == set(protocols.CLOSELY)
    regions = rows_of("occlusion", root, metric="coverage")
    assert set(regions.nominal) == {0.2, 0.4, 0.5, 0.6, 0.8}
    bodies = rows_of("occlusion", root, metric="bone_error_mm")
    assert CHAIN_MEAN in set(bodies.estimator) and BEST not in set(bodies.estimator)
    assert "ground truth" in set(bodies.method)
    conventions = rows_of("occlusion", root, metric="N-MPJPE")
    assert set(conventions.estimator) == {CHAIN, SOFT} and set(conventions.occlusion) == {"clean"}


def test_more_of_the_image_hidden_changes_what_sees_the_image_alone(root):
    wanted = {"occlusion": MASK, "metric": "mpjpe_mm", "joints": "all"}
    lines = intervals(rows_of("occlusion", root, **wanted), ["method", "level"])
    counts = lines.groupby("method", observed=True)["mean"].nunique()
    assert counts[models.MEAN_POSE] == 1 and counts[models.NEIGHBOUR] > 1


def test_uncertainty_grows_under_the_masks_that_the_conditions_leave_out(root):
    rows = rows_of("growth", root)
    masks = set(zip(rows.occlusion, rows.level, strict=True))
    assert masks | {(MASK, 0.4)} == {(MASK, ratio) for ratio in RATIOS[MASK] if ratio}
    assert set(rows.estimator) == {f"4 samples, {ALGORITHM_2}"}
    at_04 = rows_of("occlusion", root, occlusion=MASK, level=0.4, estimator=rows.estimator.iloc[0])
    assert set(rows.metric) <= set(at_04.metric) and "spread_mm" in set(rows.metric)


def test_actions_are_parts_of_the_clean_images_and_other_images_are_worse_or_better(root):
    place = {"metric": "mpjpe_mm", "joints": "all", "occlusion": "clean"}
    actions = rows_of("actions", root, **place)
    shuffled = actions[actions.method == measure.SHUFFLED]
    assert set(shuffled.action) == {"all"} and set(shuffled.estimator) == {CHAIN, SOFT}
    names = ["method", "estimator"]
    whole = intervals(rows_of("occlusion", root, joint="", **place), names).set_index(names)
    parts = intervals(actions[actions.action != "all"], names).set_index(names)
    assert set(parts.index) == set(whole.index) - {(models.DI2POSE, CHAIN_MEAN)}
    assert set(parts.n) == {12}
    for name, line in parts.iterrows():
        assert line["mean"] == pytest.approx(whole.loc[name, "mean"], abs=1e-3)


def test_inpainting_has_rows_of_both_cases(root):
    rows = rows_of("inpainting", root)
    assert set(rows.setting) == {"both legs known", "visible joints known"}
    places = rows.drop_duplicates(["setting", "joints", "method", "estimator"])
    assert len(places) == 2 * 2 * 3 and set(rows.method) == {models.DI2POSE, models.TOKENIZER}


def test_an_attack_leaves_errors_and_the_patches_of_its_worst_cases(root):
    rows = rows_of("advocc", root, metric="mpjpe_mm")
    assert rows.groupby(["level", "setting"]).n.sum().to_dict() == {
        (80.0, "place found"): 2,
        (80.0, "fresh textures"): 2,
    }
    worst = [record["worst"]["mpjpe_mm"] for record in gallery_of(root)]
    assert len(worst) == min(2, GALLERY) and all(record["draws"] for record in worst)
    errors = [record["error_mm"] for record in worst]
    assert errors == sorted(errors, reverse=True)


def test_the_sampler_itself_is_attacked_on_few_images(root):
    rows = rows_of("advocc_sampler", root)
    assert set(rows.estimator) == {CHAIN} and set(rows.level) == {0, 80} and set(rows.n) == {1}


def gallery_of(root):
    (path,) = (root / "results" / "studies" / "advocc").glob("*-gallery.json")
    return json.loads(path.read_text())["advocc 80"]


NOTEBOOK = project_root() / "notebooks" / "06_evaluation.ipynb"
ANEW = "The stored worst patches are not known to be of these networks: attacked anew."


@pytest.fixture
def trained(root):
    """The pipeline behind the rows, to load from."""
    pipeline = Run(tiny(), "advocc 80", "synthetic", 7, root).pipeline()
    return dataclasses.replace(pipeline, stage="evaluation")


def show_worst(pipeline, gallery, folder):
    """What notebook 06's cell on the worst picture knows in the end, given a stored gallery."""
    path = folder / "results/studies/advocc/synthetic-gallery.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"advocc 80": gallery}))
    cells = json.loads(NOTEBOOK.read_text(encoding="utf-8"))["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    found = [place for place, text in enumerate(code) if "-gallery.json" in text]
    cell = "\n".join(code[found[0] : found[0] + 2])  # it is found, and painted again
    nodes = [node for text in code for node in ast.parse(text).body]
    imports = [node for node in nodes if isinstance(node, ast.Import | ast.ImportFrom)]
    known = {
        "pipeline": pipeline,
        "config": pipeline.config,
        "test": prepared_data(pipeline)["test"],
        "model": pose_model(pipeline),
        "eye": trained_encoder(pipeline).model,
    }
    exec(compile(ast.Module(imports, []), NOTEBOOK.name, "exec"), known)
    known["project"] = SimpleNamespace(project_root=lambda: folder)
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
    gallery = gallery_of(root)
    assert all(record["made_by"] == trained.contents() for record in gallery)
    shown = show_worst(trained, gallery, tmp_path)
    assert shown["record"] == gallery[0] and ANEW not in capsys.readouterr().out
    gallery[0]["worst"]["mpjpe_mm"]["draws_mm"][0] += 2
    with pytest.raises(AssertionError):
        show_worst(trained, gallery, tmp_path)


@pytest.mark.parametrize("says", ["whose it is", "nothing"])
def test_other_networks_than_a_gallery_s_are_attacked_anew(root, trained, tmp_path, capsys, says):
    """As on another machine: the committed pictures, and weights that were trained otherwise."""
    gallery = gallery_of(root)
    if says == "nothing":
        for record in gallery:
            del record["made_by"]
    other = perturbed(trained, tmp_path / "other")
    shown = show_worst(other, gallery, tmp_path)
    assert capsys.readouterr().out.splitlines()[0] == ANEW
    assert len(shown["records"]) == 4 and shown["record"] in shown["records"]
    # With the networks of the gallery gone, it can't be replayed: the picture is the same.
    target = shown["advocc"].target(shown["test"], gallery[0]["image"])
    given = shown["attacked_model"], shown["images"], target, gallery[0], "mpjpe_mm"
    errors = shown["advocc"].replay(*given)[1]
    stored = gallery[0]["worst"]["mpjpe_mm"]["draws_mm"]
    assert max(abs(a - b) for a, b in zip(errors, stored, strict=True)) > 0.01


def test_rows_say_which_machine_made_them(root):
    rows = study_rows(root=root)
    assert set(rows.cpu) == {machine()["cpu"]} and set(rows.threads) == {str(machine()["threads"])}


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
    rows = rows_of("advocc_search", root)
    assert set(rows.level) == {80} and set(rows.n) == {1}
    (spared,) = rows[rows.metric == "spared_percent"].value
    assert spared == pytest.approx(100 * (~looked).all(dim=1).double().mean().item())


def test_agreements_are_of_one_seed_and_change_no_other_runs_key(monkeypatch):
    runs = planned(tiny(), NAMES, ["synthetic"], [2, 3])
    own = [(run.protocol, run.config.seed) for run in runs if run.protocol in ONE_SEED]
    assert own == [(name, 2) for name in ONE_SEED]
    assert len(runs) == len(NAMES) + len(NAMES) - len(ONE_SEED)
    before = {run.protocol: run.key for run in runs if run.config.seed == 2}
    monkeypatch.setattr(protocol_runs, "AGREED", 7)
    after = {run.protocol: run.key for run in planned(tiny(), NAMES, ["synthetic"], [2])}
    assert {name for name in NAMES if before[name] != after[name]} == {*AGREEMENTS}


def test_a_second_seed_or_other_settings_are_other_rows(monkeypatch):
    runs = planned(tiny(), ["occlusion", "advocc 40"], ["synthetic", "mocap"], [2, 3])
    assert len({run.key for run in runs}) == 8
    before = Run(tiny(), "advocc 40", "synthetic", 2).key
    monkeypatch.setattr(protocol_runs, "DRAWS", 5)
    assert Run(tiny(), "advocc 40", "synthetic", 2).key != before


def test_a_run_that_fails_stops_no_other(monkeypatch, capsys):
    def failing(self):
        raise ValueError(f"{self.protocol} diverged")

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
