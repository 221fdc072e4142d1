"""Where things lie, and when an artefact is made again."""

import shutil
import threading
from pathlib import Path

import pytest

from di2pose_lib.base import files, project
from di2pose_lib.base.config_file import load_config, to_dict

ROOT = Path(__file__).resolve().parents[2]
SMOKE = "pipelines/smoke.yaml"


@pytest.fixture
def repository(tmp_path, monkeypatch):
    """A repository without notebooks in it; the working folder is its top."""
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    (tmp_path / "pipelines").mkdir()
    (tmp_path / "notebooks").mkdir()
    for name in ("params.yaml", SMOKE):
        shutil.copy(ROOT / name, tmp_path / name)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("DI2POSE_STAGE", raising=False)
    return tmp_path


def pipeline_at(folder, stage=None):
    return project.Pipeline(load_config(ROOT / SMOKE), folder, stage)


class Maker:
    """Counts how often an artefact is made from `inputs`."""

    def __init__(self, inputs=1, content="x"):
        self.inputs, self.content, self.times = inputs, content, 0

    def made_from(self):
        return {"inputs": self.inputs}

    def build(self, new, inputs):
        assert inputs == {"inputs": self.inputs}
        self.times += 1
        (new / "value").write_text(self.content)


def test_the_root_is_found_from_any_folder_in_it(repository):
    deep = repository / "notebooks" / "deep"
    deep.mkdir()
    assert project.project_root(deep) == repository
    assert project.project_root() == repository
    with pytest.raises(ValueError, match="no pyproject.toml with a notebooks/ folder beside it"):
        project.project_root(repository.parent)


def test_a_readers_notebook_works_in_scratch_and_a_stage_in_the_repository(repository, monkeypatch):
    reader = project.open_pipeline(SMOKE)
    assert reader.stage is None
    assert reader.artifacts == repository / "scratch/artifacts/smoke/synthetic"
    monkeypatch.chdir(repository / "notebooks")  # where JupyterLab and nbval are
    assert project.open_pipeline(SMOKE) == reader
    monkeypatch.setenv("DI2POSE_STAGE", "pose_tokenizer")
    stage = project.open_pipeline(SMOKE)
    assert stage.stage == "pose_tokenizer"
    assert stage.artifacts == repository / "artifacts/smoke/synthetic"
    assert stage.results == repository / "results/smoke/synthetic"
    assert stage.reports == repository / "reports/smoke/synthetic"
    assert stage.checkpoints == repository / "checkpoints/smoke/synthetic"


def test_a_stage_opens_the_parameters_that_it_was_started_with_and_no_others(
    repository, monkeypatch
):
    monkeypatch.setenv("DI2POSE_STAGE", "pose_tokenizer")
    monkeypatch.setenv("DI2POSE_PARAMS_FILE", "params.yaml")
    with pytest.raises(ValueError, match="`params_file` must be params.yaml, .* got pipelines/smo"):
        project.open_pipeline(SMOKE)
    monkeypatch.setenv("DI2POSE_PARAMS_FILE", SMOKE)
    assert project.open_pipeline(SMOKE).folder == repository


def test_a_notebook_of_another_checkout_than_the_librarys_is_refused(repository):
    (repository / "di2pose_lib").mkdir()
    with pytest.raises(ValueError, match="must be run with its own library"):
        project.open_pipeline(SMOKE)


@pytest.fixture
def records(repository, monkeypatch):
    """Records of the four artefacts of one run; `records(stage, **changes)` rewrites one."""
    monkeypatch.delenv("DI2POSE_SCRATCH_ONLY", raising=False)
    parameters = to_dict(load_config(repository / SMOKE))
    artifacts = repository / "artifacts/smoke/synthetic"

    def write(stage, content=None, **changes):
        section, parts = project.TRAINED_FROM[stage]
        made_from = {section: parameters[section], "seed": parameters["seed"]}
        made_from.update({key: f"bits of {part}" for key, part in parts.items()})
        record = {"from": {**made_from, **changes}, "content": content or f"bits of {stage}"}
        files.write_json(artifacts / stage / "made_from.json", record)

    for stage in project.TRAINED_FROM:
        assert project.finished_pipeline(SMOKE) is None
        write(stage)
    return write


def test_a_pipeline_is_read_from_only_if_it_was_run_with_its_parameters(records, repository):
    assert project.finished_pipeline(SMOKE).folder == repository
    records("diffusion_training", diffusion={"layers": 7})
    assert project.finished_pipeline(SMOKE) is None
    records("diffusion_training", seed=5)
    assert project.finished_pipeline(SMOKE) is None


def test_a_pipeline_of_artefacts_that_are_not_of_one_run_is_not_read_from(records):
    records("image_encoder", content="trained anew")
    assert project.finished_pipeline(SMOKE) is None


def test_finished_pipelines_can_be_hidden(records, monkeypatch):
    monkeypatch.setenv("DI2POSE_SCRATCH_ONLY", "1")
    assert project.finished_pipeline(SMOKE) is None


def put_unreadable(what, folder):
    """Put it where the record of the artefact `folder` is looked for."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    if what == "a file for the artefact":
        folder.touch()
    elif what == "an artefact on a disk that is away":
        folder.symlink_to("away")
    else:
        folder.mkdir()
        record = folder / "made_from.json"
        if what == "a folder":
            record.mkdir()
        elif what == "a link that leads nowhere":
            record.symlink_to("nowhere")
        else:
            record.write_text({"half a record": '{"from": {', "another file": "[]"}[what])


unreadable = pytest.mark.parametrize(
    "what",
    [
        "a file for the artefact",
        "an artefact on a disk that is away",
        "a folder",
        "a link that leads nowhere",
        "half a record",
        "another file",
    ],
)


@unreadable
def test_a_record_that_cannot_be_read_is_no_pipeline_that_was_not_run(records, repository, what):
    folder = repository / "artifacts/smoke/synthetic/image_encoder"
    shutil.rmtree(folder)
    put_unreadable(what, folder)
    with pytest.raises(ValueError, match="image_encoder.* must "):
        project.finished_pipeline(SMOKE)


@unreadable
@pytest.mark.parametrize("stage", [None, "toy", "later"])
def test_a_record_that_cannot_be_read_is_no_artefact_to_be_made(tmp_path, stage, what):
    pipeline, maker = pipeline_at(tmp_path, stage), Maker()
    put_unreadable(what, pipeline.artifacts / "toy")
    with pytest.raises(ValueError, match="toy.* must "):
        pipeline.artifact("toy", maker.made_from, maker.build)
    with pytest.raises(ValueError, match="toy.* must "):
        pipeline.content("toy")
    assert maker.times == 0


def test_an_artefact_is_removed_whatever_it_is_and_what_a_link_leads_to_stays(tmp_path):
    pipeline, target = pipeline_at(tmp_path), tmp_path / "target"
    target.mkdir()
    folder = pipeline.artifacts / "toy"
    folder.parent.mkdir(parents=True)
    for make in (lambda: folder.symlink_to(target), folder.mkdir, folder.touch):
        make()
        pipeline.remove_artifact("toy")
        assert not folder.is_symlink()
        assert not folder.exists()
    pipeline.remove_artifact("toy")  # nothing to do
    assert target.is_dir()


def test_an_artefact_that_cannot_be_removed_is_not_taken_for_the_stages_own(tmp_path, monkeypatch):
    pipeline = pipeline_at(tmp_path, "toy")
    (pipeline.artifacts / "toy").mkdir(parents=True)

    def refuse(folder, ignore_errors=False):
        if not ignore_errors:
            raise PermissionError(13, "Permission denied", str(folder))

    monkeypatch.setattr(project.shutil, "rmtree", refuse)
    with pytest.raises(ValueError, match="toy could not be removed; got Permission denied"):
        pipeline.remove_artifact("toy")


def test_missing_parameters_are_refused_by_name(repository):
    with pytest.raises(ValueError, match="none.yaml: the parameters file does not exist"):
        project.open_pipeline("none.yaml")


def test_an_artefact_is_made_once_and_again_when_its_inputs_change(tmp_path):
    pipeline, maker = pipeline_at(tmp_path), Maker()
    for _ in range(2):
        folder = pipeline.artifact("toy", maker.made_from, maker.build)
    assert maker.times == 1
    assert (folder / "value").read_text() == "x"
    maker.inputs = 2
    pipeline.artifact("toy", maker.made_from, maker.build)
    assert maker.times == 2


def test_an_artefact_that_failed_halfway_leaves_nothing_and_keeps_the_old_one(tmp_path):
    pipeline, maker = pipeline_at(tmp_path), Maker()
    folder = pipeline.artifact("toy", maker.made_from, maker.build)

    def fail(new, inputs):
        (new / "value").write_text("half")
        raise RuntimeError("killed")

    with pytest.raises(RuntimeError, match="killed"):
        pipeline.artifact("toy", lambda: {"inputs": 2}, fail)
    assert (folder / "value").read_text() == "x"
    assert [path.name for path in pipeline.artifacts.iterdir()] == ["toy"]


def test_the_content_follows_the_files_and_not_what_they_were_made_from(tmp_path):
    pipeline = pipeline_at(tmp_path)
    contents = []
    for inputs, text in ((1, "x"), (2, "x"), (3, "y")):
        maker = Maker(inputs, text)
        pipeline.artifact("toy", maker.made_from, maker.build)
        contents.append(pipeline.content("toy"))
    assert contents[0] == contents[1] != contents[2]


def test_under_dvc_earlier_artefacts_are_only_read(tmp_path):
    maker = Maker()
    other = pipeline_at(tmp_path, stage="later")
    with pytest.raises(ValueError, match="toy is missing; run `dvc repro` to make it"):
        other.artifact("toy", maker.made_from, maker.build)
    folder = pipeline_at(tmp_path, "toy").artifact("toy", maker.made_from, maker.build)
    changed = Maker(inputs=2)
    assert other.artifact("toy", changed.made_from, changed.build) == folder
    assert (maker.times, changed.times) == (1, 0)


def test_a_checkpoint_belongs_to_its_inputs_and_to_the_code(tmp_path, monkeypatch):
    pipeline = pipeline_at(tmp_path)
    first = pipeline.checkpoint_folder("toy", {"seed": 0})
    assert first == pipeline.checkpoint_folder("toy", {"seed": 0})
    assert first != pipeline.checkpoint_folder("toy", {"seed": 1})
    monkeypatch.setattr(project, "LIBRARY_DIGEST", "other code")
    assert first != pipeline.checkpoint_folder("toy", {"seed": 0})


def test_a_readers_checkpoints_go_once_the_artefact_is_safe_and_a_stages_stay(tmp_path):
    for stage, stays in ((None, False), ("toy", True)):
        pipeline, maker = pipeline_at(tmp_path / str(stage), stage), Maker()
        current = pipeline.checkpoint_folder("toy", maker.made_from())
        other = pipeline.checkpoint_folder("other", {})
        current.mkdir(parents=True)
        other.mkdir(parents=True)
        pipeline.artifact("toy", maker.made_from, maker.build)
        assert current.exists() == stays  # run_notebook removes them, after the report
        assert other.exists()


def test_two_processes_that_want_the_same_artefact_make_it_once(tmp_path, monkeypatch):
    waits = threading.Event()
    monkeypatch.setattr(files, "note", lambda message: waits.set())
    pipeline, maker, folders = pipeline_at(tmp_path), Maker(), []

    def second():
        folders.append(pipeline.artifact("toy", maker.made_from, maker.build))

    thread = threading.Thread(target=second)

    def slow_build(new, inputs):
        thread.start()
        assert waits.wait(timeout=60)
        maker.build(new, inputs)

    folder = pipeline.artifact("toy", maker.made_from, slow_build)
    thread.join(timeout=60)
    assert folders == [folder]
    assert maker.times == 1
