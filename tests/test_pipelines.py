"""The DVC files: the same stages in every pipeline, dependencies that are true, parameters that
build."""

import json
import re
import subprocess

import pytest
import torch
from notebook_code import imports, notebook_source
from ruamel.yaml import YAML
from working_tree import ROOT, is_clone

from di2pose_lib import figures
from di2pose_lib.base.config import SOURCES
from di2pose_lib.base.config_file import load_config, to_dict
from di2pose_lib.base.project import SOURCE_PARAMS, results_folder
from di2pose_lib.diffusion.training import make_denoiser, make_schedule
from di2pose_lib.encoder.image_encoder import ImageEncoder
from di2pose_lib.tokens.tokenizer import PoseTokenizer
from studies.ledger import LEDGER

PARAMS = {name: ROOT / "pipelines" / f"{name}.yaml" for name in ("smoke", "mocap", "paper")}
PARAMS["main job"] = ROOT / "params.yaml"
STAGES = {
    "data_preparation": "01_data_preparation",
    "image_encoder": "02_image_encoder",
    "pose_tokenizer": "03_pose_tokenizer",
    "the_chain": "04a_the_chain",
    "loss_and_bound": "04b_loss_and_bound",
    "the_traps": "04c_the_traps",
    "diffusion_training": "05_diffusion_training",
    "evaluation": "06_evaluation",
    "measures": "08_measures",
    "inpainting": "09_inpainting",
    "start_here": "00_start_here",
}
AT = "${scale}/${data.source}"  # where everything that a pipeline makes lies


def read_yaml(path):
    return YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))


DVC = read_yaml(ROOT / "dvc.yaml")["stages"]
OTHERS = read_yaml(ROOT / "pipelines" / "dvc.yaml")["stages"]
all_stages = pytest.mark.parametrize("stage", STAGES)
all_pipelines = pytest.mark.parametrize("params", PARAMS.values(), ids=PARAMS)


def paths(entries):
    """Path of each output, which may carry settings."""
    return [next(iter(entry)) if isinstance(entry, dict) else entry for entry in entries]


def outputs(stage):
    return [
        path for kind in ("outs", "metrics", "plots") for path in paths(DVC[stage].get(kind, []))
    ]


def source_of(stage):
    return notebook_source(ROOT / "notebooks" / f"{STAGES[stage]}.ipynb")


def covered(stage, file):
    """Whether a stage depends on a file of the library, or on a folder that it lies in."""
    whole = f"di2pose_lib/{file}"
    return any(whole == path or whole.startswith(f"{path}/") for path in DVC[stage]["deps"])


def test_the_stages_are_the_notebooks():
    assert list(DVC) == list(OTHERS) == list(STAGES)
    assert {path.stem for path in (ROOT / "notebooks").glob("*.ipynb")} >= {*STAGES.values()}


@all_stages
def test_the_other_pipelines_have_the_main_jobs_stages(stage):
    """But for their parameters and places; and metrics are plain outputs."""
    section = OTHERS[stage]
    assert section["foreach"] == {
        name: {"at": f"{c.scale}/{c.data.source}", "source": c.data.source}
        for name, c in ((n, load_config(path)) for n, path in PARAMS.items() if n != "main job")
    }
    there, here = dict(section["do"]), dict(DVC[stage])
    assert there.pop("wdir") == ".."
    keys = here.pop("params")
    assert there.pop("params") == [{"params.yaml": keys}, {"pipelines/${key}.yaml": keys}]
    outs = outputs(stage)
    assert paths(there["outs"]) == [path.replace(AT, "${item.at}") for path in outs]
    for out in there.pop("outs"):  # small results are committed, or shown by git
        assert isinstance(out, dict) == paths([out])[0].startswith("results/")
        assert not isinstance(out, dict) or [*out.values()] == [{"cache": False}]
    here = {key: here[key] for key in ("cmd", "deps")}
    here["cmd"] = here["cmd"].replace(" params.yaml", " pipelines/${key}.yaml")
    here["deps"] = [
        path.replace(AT, "${item.at}").replace("${data.source}", "${item.source}")
        for path in here["deps"]
    ]
    assert there == here


@all_stages
def test_a_stage_depends_on_its_notebook_and_on_the_rooms_that_it_uses(stage):
    """By what its notebook imports; of the figures a training depends on single files."""
    assert f"notebooks/{STAGES[stage]}.ipynb" in DVC[stage]["deps"]
    assert covered(stage, "base")
    source = source_of(stage)
    for module, name in imports(source):
        parts = module.split(".")
        if parts[0] == "studies":
            assert "studies" in DVC[stage]["deps"]
        elif parts[0] == "di2pose_lib":
            room = [*parts, name][1]
            listed = [path for path in DVC[stage]["deps"] if path.startswith(f"di2pose_lib/{room}")]
            assert listed or "di2pose_lib" in DVC[stage]["deps"], f"{module} is not depended on"
    for name in set(re.findall(r"\bfigures\.(\w+)\(", source)):
        module = getattr(figures, name).__module__.split(".")[-1]
        assert covered(stage, f"figures/{module}.py"), f"figures.{name} is not depended on"
    for path in DVC[stage]["deps"]:
        assert "$" in path or (ROOT / path).exists(), path


def test_an_edit_that_no_network_sees_trains_no_network_again():
    for file in (
        "evaluation/measure.py",
        "data/bvh.py",
        "figures/errors.py",
        "run_notebook.py",
    ):
        assert (ROOT / "di2pose_lib" / file).is_file()
        for stage in ("image_encoder", "pose_tokenizer", "diffusion_training"):
            assert not covered(stage, file)


@all_stages
def test_a_stage_depends_on_every_earlier_artefact_that_its_notebook_loads(stage):
    needs = {
        "prepared_data": {"data_preparation"},
        "trained_encoder": {"data_preparation", "image_encoder"},
        "trained_tokenizer": {"data_preparation", "pose_tokenizer"},
    }
    needs["trained_denoiser"] = {"diffusion_training"}.union(*needs.values())
    needs["pose_model"] = needs["trained_denoiser"]
    needs["evaluated"] = {"data_preparation", "evaluation"}
    loaded = {name for name in needs if re.search(rf"\b{name}\(", source_of(stage))}
    needed = set().union(*(needs[name] for name in loaded)) - {stage}
    listed = {path.split("/")[-1] for path in DVC[stage]["deps"] if path.startswith("artifacts/")}
    assert needed <= listed


@all_stages
def test_a_stages_parameters_are_in_every_file_and_name_its_own_section(stage):
    listed = DVC[stage]["params"]
    assert {"scale", "seed"} <= set(listed)
    for path in PARAMS.values():  # DVC refuses a stage whose parameter a file lacks
        for key in listed:
            value = read_yaml(path)
            for part in key.split("."):
                value = value[part]
    own = {"data_preparation": "data", "image_encoder": "encoder", "pose_tokenizer": "tokenizer"}
    own |= {"diffusion_training": "diffusion", "evaluation": "evaluation"}
    assert own.get(stage, "seed") in listed


@all_stages
def test_a_stage_lists_every_parameter_that_its_notebook_reads(stage):
    sections = "data|encoder|tokenizer|diffusion|evaluation"
    read = set(re.findall(rf"\bconfig\.((?:{sections})\b(?:\.[a-z]\w*)*)", source_of(stage)))
    artifacts = [path.split("/")[-1] for path in DVC[stage]["deps"] if "artifacts/" in path]
    listed = [key for name in (stage, *artifacts) for key in DVC[name]["params"]]
    listed += ["data.source"]  # in the path of every output
    for key in read:
        assert any(f"{key}.".startswith(f"{known}.") for known in listed), key


@all_stages
def test_every_output_is_keyed_by_scale_and_source_and_small_results_stay_out_of_the_cache(stage):
    for path in outputs(stage):
        assert path.startswith(
            tuple(f"{kind}/{AT}/" for kind in ("artifacts", "reports", "results"))
        )
    assert f"reports/{AT}/{STAGES[stage]}.ipynb" in outputs(stage)
    for kind in ("metrics", "plots"):
        for entry in DVC[stage].get(kind, []):
            (path, settings), *_ = entry.items()
            assert path.startswith("results/")
            assert settings["cache"] is False


def test_experiments_show_few_metrics(committed):
    """`dvc exp show` has a column for each number of each metric."""
    numbers = 0
    for stage in STAGES:
        for path in paths(DVC[stage].get("metrics", [])):
            text = (committed / path.replace(AT, "lesson/synthetic")).read_text("utf-8")
            numbers += len(re.findall(r": -?\d", text))
    assert 20 <= numbers <= 40


@pytest.mark.skipif(not is_clone(), reason="no clone: git ignores nothing")
@pytest.mark.parametrize("at", ["smoke/synthetic", "lesson/synthetic", "paper/synthetic"])
def test_experiments_can_keep_their_results_for_git_does_not_ignore_them(at):
    """`dvc exp run` loses what git ignores."""
    kept = [path for stage in STAGES for path in outputs(stage) if path.startswith("results/")]
    assert len(kept) > 8
    for path in kept:
        where = path.replace(AT, at)
        ignored = subprocess.run(["git", "check-ignore", "--quiet", where], cwd=ROOT)
        assert ignored.returncode == 1, where


@pytest.mark.skipif(not is_clone(), reason="no clone: nothing is committed")
def test_what_a_stage_takes_from_results_is_committed():
    tracked = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True)
    files = set(tracked.stdout.splitlines())
    for stage in STAGES:
        for path in DVC[stage]["deps"]:
            if path.startswith("results/") and "$" not in path:
                assert path in files or any(name.startswith(f"{path}/") for name in files)


def test_the_results_of_a_source_are_read_where_its_own_pipeline_writes_them():
    assert {*SOURCE_PARAMS} == {*SOURCES}
    for source, params in SOURCE_PARAMS.items():
        config = load_config(ROOT / params)
        written = outputs("evaluation")[-1].replace(AT, f"{config.scale}/{config.data.source}")
        assert (ROOT / written).parent == results_folder(source, ROOT)
    with pytest.raises(ValueError, match="`source` must be one of synthetic, mocap; got 'h36m'"):
        results_folder("h36m", ROOT)


def test_the_evaluation_depends_on_the_studies_and_on_nothing_made_of_them():
    assert "results/studies" in DVC["evaluation"]["deps"]
    assert LEDGER not in DVC["evaluation"]["deps"] and "studies" not in DVC["evaluation"]["deps"]


def studies():
    """{(stage, source or ""): (deps, outs)} of what is run on demand."""
    stages = {}
    for stage, section in read_yaml(ROOT / "studies" / "dvc.yaml")["stages"].items():
        for source in section.get("foreach", [""]):
            here = section.get("do", section)
            assert here["wdir"] == ".."
            deps, outs = (
                [path.replace("${key}", source) for path in paths(here[kind])]
                for kind in ("deps", "outs")
            )
            assert not [path for path in deps + outs if "$" in path]
            made = [path for path in deps if path.startswith("artifacts/")]  # another stage's
            assert not [path for path in deps if not (ROOT / path).exists() and path not in made]
            for out in here["outs"]:
                if isinstance(out, dict):  # results: committed, never removed by DVC
                    assert next(iter(out.values())) == {"cache": False, "persist": True}
            stages[stage, source] = deps, outs
    return stages


def test_what_is_run_on_demand_makes_nothing_that_another_stage_makes():
    owners = [
        (path.replace(AT, f"lesson/{s}"), stage)
        for s in SOURCES
        for stage in STAGES
        for path in outputs(stage)
    ]
    owners += [(path, stage) for stage, (_, outs) in studies().items() for path in outs]
    assert len(dict(owners)) == len(owners)


def test_the_ledger_depends_on_all_results():
    deps, outs = studies()["ledger", ""]
    assert outs == [LEDGER]
    assert {"di2pose_lib", "studies", "paper", "params.yaml", "results/studies"} < set(deps)
    assert LEDGER in studies()["claims", ""][0]


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
    config = load_config(PARAMS["paper"])
    with torch.device("meta"):
        denoiser = make_denoiser(config, condition_shape=(192, 768))
    millions = sum(p.numel() for p in denoiser.parameters()) / 1e6
    assert millions == pytest.approx(443, abs=1)


def test_the_paper_scale_says_what_the_paper_says():
    config = to_dict(load_config(PARAMS["paper"]))
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
    lesson, mocap = (to_dict(load_config(PARAMS[name])) for name in ("main job", "mocap"))
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
    assert "".join(tagged[0]["source"]).startswith('params_file = "pipelines/smoke.yaml"')
    assert content["cells"][0]["cell_type"] == "markdown"
    assert notebook.stat().st_size < 100_000


def test_no_lock_file_names_a_folder_of_a_machine():
    locks = [ROOT / "dvc.lock", *ROOT.glob("*/dvc.lock")]
    assert locks[0].is_file()
    for lock in locks:
        absolute = re.findall(r"(?:path: |\s)(/\S+|[A-Z]:\\\S+)", lock.read_text(encoding="utf-8"))
        assert not absolute, lock
