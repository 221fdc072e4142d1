"""Every pipeline: the same dvc.yaml, dependencies that are true, parameters that build."""

import ast
import json
import re
import subprocess

import pytest
import torch
from ruamel.yaml import YAML
from stage_modules import (
    PACKAGE,
    PIPELINES,
    ROOT,
    Source,
    modules_used,
    notebook_source,
    program_modules,
    stage_notebooks,
)
from working_tree import is_clone

from di2pose_lib.base.config import SOURCES
from di2pose_lib.base.config_file import load_config, to_dict
from di2pose_lib.base.project import SOURCE_PARAMS, results_folder
from di2pose_lib.diffusion.training import make_denoiser, make_schedule
from di2pose_lib.encoder.image_encoder import ImageEncoder
from di2pose_lib.tokens.tokenizer import PoseTokenizer
from studies.ledger import COMMANDS, LEDGER
from studies.protocol_results import FILES, GALLERY

PARAMS = [folder / "params.yaml" for folder in PIPELINES]
ON_DEMAND = ("ablations", "protocols", "ledger")  # with stages of their own
STAGES = {
    "data_preparation": "01_data_preparation",
    "image_encoder": "02_image_encoder",
    "pose_tokenizer": "03_pose_tokenizer",
    "transition_matrices": "04_transition_matrices",
    "diffusion_training": "05_diffusion_training",
    "evaluation": "06_evaluation",
    "measures": "08_measures",
    "inpainting": "09_inpainting",
    "start_here": "00_start_here",
}


def dvc_file(folder):
    return YAML(typ="safe", pure=True).load((folder / "dvc.yaml").read_text(encoding="utf-8"))


DVC = dvc_file(ROOT)
all_stages = pytest.mark.parametrize("stage", STAGES)
all_pipelines = pytest.mark.parametrize("params", PARAMS, ids=lambda path: path.parent.name)


def paths(entries):
    """Path of each output, which may carry settings."""
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


def outputs(stage):
    section = DVC["stages"][stage]
    kinds = [section.get(kind, []) for kind in ("outs", "metrics", "plots")]
    return [path for kind in kinds for path in paths(kind)]


def rendered(template, params):
    """A path of dvc.yaml as one pipeline sees it."""
    values = YAML(typ="safe", pure=True).load(params.read_text(encoding="utf-8"))

    def value(match):
        found = values
        for key in match[1].split("."):
            found = found[key]
        return str(found)

    return re.sub(r"\$\{([\w.]+)\}", value, template)


def test_every_pipeline_has_the_same_dvc_file_byte_for_byte():
    wanted = (ROOT / "dvc.yaml").read_bytes()
    for folder in PIPELINES:
        assert (folder / "dvc.yaml").read_bytes() == wanted, folder.name


def test_every_folder_of_a_pipeline_is_known():
    found = {path.parent for path in (ROOT / "pipelines").glob("*/params.yaml")}
    assert found == {*PIPELINES[1:], ROOT / "pipelines" / "ablations"}  # which has other stages


@all_pipelines
def test_the_root_that_dvc_uses_is_the_repository(params):
    assert (params.parent / rendered("${root}", params)).resolve() == ROOT


def test_the_stages_are_the_notebooks():
    assert {stage: path.stem for stage, path in stage_notebooks().items()} == STAGES
    assert {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} >= {*STAGES.values()}


@all_stages
def test_a_stage_depends_on_its_notebook_and_on_exactly_the_modules_that_it_uses(stage):
    notebook = stage_notebooks()[stage]
    dependencies = DVC["stages"][stage]["deps"]
    assert f"${{root}}/notebooks/{notebook.name}" in dependencies
    prefix = f"${{root}}/{PACKAGE}/"
    listed = [d.removeprefix(prefix).removesuffix(".py") for d in dependencies if prefix in d]
    used = modules_used(Source(notebook_source(notebook)), stage)
    assert listed == used, "`python tests/stage_modules.py` writes the lists anew"


@all_stages
def test_a_stage_depends_on_every_earlier_artefact_that_its_notebook_loads(stage):
    makers = {"prepared_data": "data_preparation", "denoiser": "diffusion_training"}
    makers |= {name: name for name in ("image_encoder", "pose_tokenizer", "evaluation")}
    uses = {
        "prepared_data": {"data_preparation"},
        "image_encoder": {"data_preparation"},
        "pose_tokenizer": {"data_preparation"},
        "denoiser": {"data_preparation", "image_encoder", "pose_tokenizer"},
    }
    uses["pose_model"] = uses["denoiser"] | {"diffusion_training"}
    uses["evaluation"] = uses["pose_model"]
    source = notebook_source(stage_notebooks()[stage])
    needed = set()
    for name in set(re.findall(r"stages\.(\w+)\(", source)):
        needed |= uses.get(name, set()) | ({makers[name]} if name in makers else set())
    listed = {
        path.removeprefix("artifacts/${scale}/${data.source}/")
        for path in DVC["stages"][stage]["deps"]
        if path.startswith("artifacts/")
    }
    assert needed - {stage} <= listed


@all_stages
def test_a_stages_parameters_are_keys_of_the_file_and_name_its_own_section(stage):
    listed = DVC["stages"][stage]["params"]
    assert {"scale", "seed"} <= set(listed)
    for params in PARAMS:
        for key in listed:
            rendered(f"${{{key}}}", params)
    own = {"data_preparation": "data", "image_encoder": "encoder", "pose_tokenizer": "tokenizer"}
    own |= {"diffusion_training": "diffusion", "evaluation": "evaluation"}
    assert own.get(stage, "seed") in listed


@all_stages
def test_a_stage_lists_every_parameter_that_its_notebook_reads(stage):
    source = notebook_source(stage_notebooks()[stage])
    sections = "data|encoder|tokenizer|diffusion|evaluation"
    read = set(re.findall(rf"\bconfig\.((?:{sections})\b(?:\.[a-z]\w*)*)", source))
    artifacts = [
        path.split("/")[-1] for path in DVC["stages"][stage]["deps"] if "artifacts/" in path
    ]
    listed = [key for name in (stage, *artifacts) for key in DVC["stages"][name]["params"]]
    listed += ["data.source"]  # in the path of every output
    for key in read:
        assert any(f"{key}.".startswith(f"{known}.") for known in listed), key


@all_stages
def test_every_output_is_keyed_by_scale_and_source_and_small_results_stay_out_of_the_cache(stage):
    for path in outputs(stage):
        assert path.split("/")[1:3] == ["${scale}", "${data.source}"], path
        assert path.split("/")[0] in ("artifacts", "reports", "results")
    assert f"reports/${{scale}}/${{data.source}}/{STAGES[stage]}.ipynb" in outputs(stage)
    for kind in ("metrics", "plots"):
        for entry in DVC["stages"][stage].get(kind, []):
            (path, settings), *_ = entry.items()
            assert path.startswith("results/")
            assert settings["cache"] is False


def test_experiments_show_few_metrics(committed):
    """`dvc exp show` has a column for each number of each metric."""
    numbers = 0
    for stage in STAGES:
        for path in paths(DVC["stages"][stage].get("metrics", [])):
            text = (committed / rendered(path, committed / "params.yaml")).read_text("utf-8")
            numbers += len(re.findall(r": -?\d", text))
    assert 20 <= numbers <= 40


@pytest.mark.skipif(not is_clone(), reason="no clone: git ignores nothing")
@all_pipelines
def test_experiments_can_keep_their_metrics_for_git_does_not_ignore_them(params):
    for stage in STAGES:
        for path in paths(DVC["stages"][stage].get("metrics", [])):
            where = params.parent / rendered(path, params)
            ignored = subprocess.run(["git", "check-ignore", "--quiet", where], cwd=ROOT)
            assert ignored.returncode == 1, where


@pytest.mark.skipif(not is_clone(), reason="no clone: nothing is committed")
def test_what_a_stage_takes_from_results_is_committed():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    files = set(tracked.stdout.splitlines())
    for params in PARAMS:
        for stage in STAGES:
            for path in DVC["stages"][stage]["deps"]:
                if "/results/" in path and path.startswith("${root}/"):
                    found = (params.parent / rendered(path, params)).resolve()
                    assert found.relative_to(ROOT).as_posix() in files, path


def test_no_output_of_a_pipeline_is_an_output_of_another_one():
    owner = {}
    for params in PARAMS:
        for stage in STAGES:
            for path in outputs(stage):
                whole = params.parent / rendered(path, params)
                assert owner.setdefault(whole, (params, stage)) == (params, stage), whole


def test_the_results_of_a_source_are_read_where_its_own_pipeline_writes_them():
    assert {*SOURCE_PARAMS} == {*SOURCES}
    for source, params in SOURCE_PARAMS.items():
        written = [rendered(path, ROOT / params) for path in outputs("evaluation")]
        (path,) = [path for path in written if path.endswith("/evaluation.json")]
        assert (ROOT / params).parent / path == results_folder(source, ROOT) / "evaluation.json"
    with pytest.raises(ValueError, match="`source` must be one of synthetic, mocap; got 'h36m'"):
        results_folder("h36m", ROOT)


def test_the_evaluation_depends_on_what_every_source_has_been_measured():
    source = notebook_source(stage_notebooks()["evaluation"])
    names = ast.literal_eval(re.search(r"^FILES = (\(.*?\))$", source, flags=re.MULTILINE)[1])
    for params in PARAMS:
        deps = [rendered(path, params) for path in DVC["stages"]["evaluation"]["deps"]]
        found = {(params.parent / path).resolve() for path in deps}
        for folder in (results_folder(source, ROOT) for source in SOURCES):
            assert {folder / f"{name}.json" for name in (*names, GALLERY)} <= found


def expanded(name):
    """{(stage, source or ""): [deps, outs]}, absolute paths, of a pipeline run on demand."""
    folder, stages = ROOT / "pipelines" / name, {}
    for stage, section in dvc_file(folder)["stages"].items():
        values = [{}]
        if "matrix" in section:
            values = [{"item.source": source} for source in section["matrix"]["source"]]
        if "foreach" in section:
            values = [{"key": key, "item": item} for key, item in section["foreach"].items()]
            section = section["do"]
        for each in values:

            def path(text, each=each):
                for key, value in each.items():
                    text = text.replace(f"${{{key}}}", value)
                assert "$" not in text, text
                return (folder / text).resolve()

            source = each.get("item.source", each.get("key", ""))
            stages[stage, source] = [
                list(map(path, paths(section.get(kind, [])))) for kind in ("deps", "outs")
            ]
            for out in section["outs"]:
                if isinstance(out, dict):  # results: committed, never removed by DVC
                    assert next(iter(out.values())) == {"cache": False, "persist": True}
    return stages


def test_what_is_run_on_demand_makes_nothing_that_another_stage_makes():
    owner = {
        (params.parent / rendered(path, params)).resolve(): stage
        for params in PARAMS
        for stage in STAGES
        for path in outputs(stage)
    }
    for name in ON_DEMAND:
        for stage, (_, outs) in expanded(name).items():
            for path in outs:
                assert owner.setdefault(path, (name, *stage)) == (name, *stage), path


def test_joined_results_are_declared_where_they_are_written():
    stages = expanded("protocols")
    assert {source for stage, source in stages if stage == "joined"} == {"synthetic", "mocap"}
    for source in ("synthetic", "mocap"):
        (runs,) = stages["runs", source][1]
        deps, outs = stages["joined", source]
        assert runs == ROOT / "pipelines" / "protocols" / "results" / source and runs in deps
        wanted = {results_folder(source, ROOT) / f"{file}.json" for file in (*FILES, GALLERY)}
        assert len(outs) == len(wanted) and set(outs) == wanted
        modules = [path.stem for path in deps if path.parent == ROOT / PACKAGE]
        assert modules == program_modules("protocol_results"), "`python tests/stage_modules.py`"


def test_the_ledger_depends_on_all_results_and_on_exactly_the_modules_that_it_uses():
    ((deps, outs),) = expanded("ledger").values()
    assert outs == [ROOT / LEDGER]
    modules = [path.stem for path in deps if path.parent == ROOT / PACKAGE]
    assert modules == program_modules("ledger"), (
        "`python tests/stage_modules.py` writes the list anew"
    )
    assert {ROOT / "paper", ROOT / "params.yaml"} < set(deps)
    for source in ("synthetic", "mocap"):
        assert results_folder(source, ROOT) in deps
        assert ROOT / "pipelines" / "ablations" / "results" / source in deps
    # DVC refuses what does not exist: results that have not been made yet are within folders.
    assert not [path for path in deps if not path.exists()]


def test_the_ledgers_commands_are_targets_of_the_makefile():
    targets = re.findall(r"^(\w[\w-]*):", (ROOT / "Makefile").read_text(), flags=re.MULTILINE)
    made = {command.split()[1] for command in COMMANDS.values() if command.startswith("make ")}
    assert made == {"repro", "ablations", "occlusion"} and made < set(targets)


@all_pipelines
def test_every_pipeline_builds_from_its_parameters(params):
    config = load_config(params)
    schedule = make_schedule(config)
    assert schedule.num_codes == config.tokenizer.sizes.num_codes
    with torch.device("meta"):  # the paper's sizes too: shapes without memory
        tokenizer = PoseTokenizer(config.tokenizer.sizes)
        encoder = ImageEncoder(config.encoder, config.data.image_size)
        denoiser = make_denoiser(config, encoder.feature_shape)
    trained = [config.tokenizer, config.diffusion]
    assert all(part.optimizer.warmup_steps > 0 for part in trained)
    assert sum(p.numel() for p in tokenizer.parameters()) > 0
    head = [p for p in denoiser.parameters() if p.shape[:1] == (schedule.num_codes,)]
    assert head, "the denoiser must end in one logit for each code"


def test_the_papers_denoiser_has_the_papers_size():
    config = load_config(ROOT / "pipelines" / "paper" / "params.yaml")
    with torch.device("meta"):
        denoiser = make_denoiser(config, condition_shape=(192, 768))
    millions = sum(p.numel() for p in denoiser.parameters()) / 1e6
    assert millions == pytest.approx(443, abs=1)


def test_the_paper_scale_says_what_the_paper_says():
    config = to_dict(load_config(ROOT / "pipelines" / "paper" / "params.yaml"))
    sizes, diffusion = config["tokenizer"]["sizes"], config["diffusion"]
    assert (sizes["num_tokens"], sizes["levels"]) == (100, [7, 5, 5, 5, 5])
    assert (sizes["width"], sizes["decoder_width"], sizes["local_joints"]) == (2048, 512, 3)
    assert (sizes["encoder_blocks"], sizes["decoder_blocks"]) == (4, 1)
    assert (diffusion["width"], diffusion["layers"], diffusion["heads"]) == (1024, 21, 16)
    assert (diffusion["num_steps"], diffusion["aux_weight"]) == (100, 5e-4)
    assert (diffusion["final_occlude_rate"], diffusion["final_replace_rate"]) == (0.9, 0.1)
    for part, wanted in (
        (config["tokenizer"]["optimizer"], (20.0, 256, 1e-3, 0.15, 0.999)),
        (diffusion["optimizer"], (50.0, 64, 5.5e-4, 4.5e-2, 0.96)),
    ):
        names = ("epochs", "batch_size", "learning_rate", "weight_decay", "beta2")
        assert tuple(part[name] for name in names) == wanted
    assert (config["data"]["image_height"], config["data"]["image_width"]) == (256, 192)


def test_motion_capture_is_trained_at_the_same_scale_but_for_its_source():
    lesson, mocap = (
        to_dict(load_config(folder / "params.yaml"))
        for folder in (ROOT, ROOT / "pipelines" / "mocap")
    )
    assert (lesson["scale"], lesson["data"]["source"]) == ("lesson", "synthetic")
    assert (mocap["scale"], mocap["data"]["source"]) == ("lesson", "mocap")


@pytest.mark.parametrize(
    "notebook", sorted((ROOT / "notebooks").glob("*.ipynb")), ids=lambda p: p.stem
)
def test_a_committed_notebook_is_stripped_small_and_starts_at_smoke_scale(notebook):
    content = json.loads(notebook.read_text(encoding="utf-8"))
    code = [cell for cell in content["cells"] if cell["cell_type"] == "code"]
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in code)
    assert content["metadata"].get("kernelspec", {}).get("name", "python3") == "python3"
    assert "papermill" not in content["metadata"]
    tagged = [c for c in code if "parameters" in c["metadata"].get("tags", [])]
    assert len(tagged) == 1
    assert "".join(tagged[0]["source"]).startswith('params_file = "pipelines/smoke/params.yaml"')
    assert content["cells"][0]["cell_type"] == "markdown"
    assert notebook.stat().st_size < 100_000


def test_no_lock_file_names_a_folder_of_a_machine():
    locks = [folder / "dvc.lock" for folder in PIPELINES if (folder / "dvc.lock").is_file()]
    assert {ROOT / "dvc.lock", ROOT / "pipelines/mocap/dvc.lock"} <= set(locks)  # committed
    for lock in locks:
        absolute = re.findall(r"(?:path: |\s)(/\S+|[A-Z]:\\\S+)", lock.read_text(encoding="utf-8"))
        assert not absolute, lock
