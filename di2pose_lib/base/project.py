"""Where things lie: the project, a pipeline's parameters, artefacts, results, checkpoints.

A pipeline is a file of parameters: params.yaml (scale `lesson`, synthetic data) and those under
pipelines/. Its artefacts are keyed by scale and data source. A notebook that a reader or nbval
runs never touches a pipeline's outputs: it works in scratch/, which git ignores.
"""

import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from di2pose_lib.base import surroundings
from di2pose_lib.base.checks import require
from di2pose_lib.base.config import Config
from di2pose_lib.base.config_file import load_config, to_dict
from di2pose_lib.base.files import (
    atomic_folder,
    file_digest,
    fingerprint,
    is_there,
    locked,
    read_json,
    write_json,
)

STAGE_VARIABLE = "DI2POSE_STAGE"  # set by run_notebook: the stage that is running
PARAMS_VARIABLE = "DI2POSE_PARAMS_FILE"  # set with it: the parameters that it runs with
SCRATCH_VARIABLE = "DI2POSE_SCRATCH_ONLY"  # "1": notebooks look at no finished pipeline

RECORD = "made_from.json"  # in every artefact, written last

# The artefacts that a model needs: the section of the parameters that each depends on, and
# the artefacts it is built from, under the names in its record.
TRAINED_FROM = {
    "data_preparation": ("data", {}),
    "image_encoder": ("encoder", {"data": "data_preparation"}),
    "pose_tokenizer": ("tokenizer", {"data": "data_preparation"}),
    "diffusion_training": (
        "diffusion",
        {"data": "data_preparation", "encoder": "image_encoder", "tokenizer": "pose_tokenizer"},
    ),
}


def project_root(start=None):
    """The repository's top folder, found upwards from `start` (the working folder)."""
    start = Path(start or Path.cwd()).resolve()
    for folder in (start, *start.parents):
        if (folder / "pyproject.toml").is_file() and (folder / "notebooks").is_dir():
            return folder
    raise ValueError(
        f"no pyproject.toml with a notebooks/ folder beside it, from {start} upwards: work in a "
        "checkout of the repository, the installed library alone is not enough"
    )


def _library_digest():
    digest = hashlib.sha256()
    library = surroundings.LIBRARY
    for path in sorted(library.rglob("*.py")):
        digest.update(path.relative_to(library).as_posix().encode() + path.read_bytes())
    return digest.hexdigest()


# SHA-256 over the library's sources, as they were when this process imported them: a
# checkpoint, or a reader's artefact, of other code is not continued.
LIBRARY_DIGEST = _library_digest()


# Each data source's own pipeline at scale lesson: its parameters, from the top folder.
SOURCE_PARAMS = {"synthetic": "params.yaml", "mocap": "pipelines/mocap.yaml"}


def results_folder(source, root=None):
    """Where the results of a data source at scale lesson lie, those that are committed."""
    names = ", ".join(SOURCE_PARAMS)
    require(source in SOURCE_PARAMS, f"`source` must be one of {names}; got {source!r}")
    return (root or project_root()) / "results" / "lesson" / source


@dataclass(frozen=True)
class Pipeline:
    """A configuration and the folder that its outputs go to."""

    config: Config
    folder: Path
    stage: str | None = None  # None: a reader's notebook, free to build what is missing

    def _keyed(self, kind):
        return self.folder / kind / self.config.scale / self.config.data.source

    @property
    def artifacts(self):
        return self._keyed("artifacts")

    @property
    def results(self):
        return self._keyed("results")

    @property
    def reports(self):
        """Executed notebooks."""
        return self._keyed("reports")

    @property
    def checkpoints(self):
        """What an interrupted stage continues from; no pipeline's output."""
        return self._keyed("checkpoints")

    def checkpoint_folder(self, stage, made_from):
        """For a training with these inputs by this code, and no other."""
        key = fingerprint({"made_from": made_from, "library": LIBRARY_DIGEST})
        return self.checkpoints / f"{stage}-{key}"

    def remove_checkpoints(self, stage):
        """Once a stage's outputs are safe."""
        for folder in self.checkpoints.glob(f"{stage}-*"):
            shutil.rmtree(folder)

    def remove_artifact(self, stage):
        """Before a stage runs, as DVC does: it makes its artefact anew, whatever stands there.

        Raises:
            ValueError: it cannot be removed; the stage would take it for its own.
        """
        folder = self.artifacts / stage
        try:
            if folder.is_symlink() or folder.is_file():
                folder.unlink()
            else:
                shutil.rmtree(folder)
        except FileNotFoundError:
            pass
        except OSError as error:
            raise ValueError(f"{folder} could not be removed; got {error.strerror}") from error

    def record(self, stage):
        """What a stage's artefact was made from, and its digest; None without an artefact.

        Raises:
            ValueError: there is a record that cannot be read.
        """
        path = self.artifacts / stage / RECORD
        if not is_there(path):
            return None
        record = read_json(path)
        keys = {"from", "content"}
        require(
            isinstance(record, dict) and keys <= record.keys(),
            f"{path} must hold {sorted(keys)}: remove {path.parent} to make it anew",
        )
        return record

    def artifact(self, stage, made_from, build):
        """The folder of a stage's artefact, built unless it stands there already.

        Args:
            stage: its name, and the folder's.
            made_from: called without arguments; JSON-like, all that the artefact depends
                on, with the contents (`content`) of the artefacts it is built from.
            build: called with a temporary folder to fill, which then takes its place,
                and with what `made_from` returned.

        Raises:
            ValueError: a pipeline stage needs an artefact that an earlier one must make.
        """
        folder = self.artifacts / stage
        if self.stage not in (None, stage):  # DVC sees to it that it is up to date
            require(self.record(stage), f"{folder} is missing; run `dvc repro` to make it")
            return folder
        inputs = made_from()
        # DVC knows the code that a pipeline ran; a reader's artefact must know it itself.
        code = {} if self.stage else {"library": LIBRARY_DIGEST}
        wanted = fingerprint({**inputs, **code})
        # Another kernel may be building it: an orphan of a killed run, or a second notebook.
        with locked(self.checkpoints / stage):
            if (self.record(stage) or {}).get("fingerprint") == wanted:
                return folder
            with atomic_folder(folder) as temporary:
                build(temporary, inputs)
                files = sorted(path for path in temporary.rglob("*") if path.is_file())
                content = {str(path.relative_to(temporary)): file_digest(path) for path in files}
                made = {"fingerprint": wanted, "content": fingerprint(content), "from": inputs}
                write_json(temporary / RECORD, made)
            if self.stage is None:
                self.remove_checkpoints(stage)
        return folder

    def content(self, stage):
        """Digest of a stage's artefact, for the `made_from` of the next."""
        record = self.record(stage)
        require(record, f"{self.artifacts / stage} is missing: an earlier stage makes it")
        return record["content"]

    def contents(self):
        """{stage: digest} of the data and networks that a model is: what made its numbers.

        The same seed on another machine gives other bits, and so other digests.
        """
        return {stage: self.content(stage) for stage in TRAINED_FROM}


def open_pipeline(params_file):
    """The pipeline of a parameters file, named from the repository's top folder.

    Under a DVC stage its outputs lie in the repository; elsewhere under scratch/. Notebooks
    begin with it, so it also looks at what is around them.

    Raises:
        ValueError: other parameters than the stage was started with, another checkout's
            library, or a Python that passes over assertions.
    """
    root = project_root()
    surroundings.check(root)
    path = root / params_file
    stage = os.environ.get(STAGE_VARIABLE)
    running = os.environ.get(PARAMS_VARIABLE, params_file)
    require(
        stage is None or params_file == running,
        f"`params_file` must be {running}, which the stage runs with; got {params_file}",
    )
    return Pipeline(load_config(path), root if stage else root / "scratch", stage)


def finished_pipeline(params_file):
    """The pipeline of `params_file` that was run in this repository, to read from.

    None if it was not run, or with other parameters than the file holds now, or if its
    artefacts are not of one run. The environment variable DI2POSE_SCRATCH_ONLY=1, which
    `make test` sets, hides it.
    """
    if os.environ.get(SCRATCH_VARIABLE) == "1":
        return None
    root = project_root()
    pipeline = Pipeline(load_config(root / params_file), root, stage="start_here")
    wanted, contents = to_dict(pipeline.config), {}
    for stage, (section, parts) in TRAINED_FROM.items():
        made = pipeline.record(stage) or {}
        contents[stage] = made.get("content")
        made_from = made.get("from", {})
        expected = {section: wanted[section], "seed": wanted["seed"]}
        expected.update({key: contents[part] for key, part in parts.items()})
        if any(made_from.get(key) != value for key, value in expected.items()):
            return None
    return pipeline
