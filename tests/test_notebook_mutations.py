"""Notebooks assert what they show: with one function of the library broken, each turns red.

Runs after the notebooks themselves, whose artefacts in scratch/ it copies. A function is
broken while the kernel imports its module; the sources stay as they are, for artefacts
are keyed by them, and nothing is trained again.
"""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

pytestmark = pytest.mark.slow

ROOT = Path(__file__).resolve().parents[1]


class Mutation(NamedTuple):
    """What is broken, and the notebook's line that must notice."""

    module: str
    function: str
    broken: str  # an expression; `right` is the function as it is
    notices: str


MUTATIONS = {
    # the reverse chain starts with hardly any noise
    "00_start_here": Mutation(
        "diffusion.sampler",
        "q_sample",
        "lambda schedule, k_start, step, generator: right(schedule, k_start, 1, generator)",
        "assert abs(occluded_share - rate) <= 5 * (rate * (1 - rate) / num_tokens) ** 0.5",
    ),
    # an image's centre is half a pixel off
    "01_data_preparation": Mutation(
        "data.camera",
        "project",
        "lambda joints, intrinsics: right(joints, intrinsics) + 0.5",
        "assert error < 0.01",
    ),
    # the nearest neighbour is the farthest
    "02_image_encoder": Mutation(
        "evaluation.baselines",
        "nearest_neighbour",
        "lambda train, count, features: right(lambda rows: -train(rows), count, features)",
        "assert near_mm < random_mm",
    ),
    # joints shift the other way
    "03_pose_tokenizer": Mutation(
        "tokens.tokenizer",
        "joint_shift",
        "lambda features, local_joints: right(features.flip(1), local_joints).flip(1)",
        "assert torch.equal(joint_shift(features, local_joints=3), shifted)",
    ),
    # a stride is one step, however long it is
    "04a_the_chain": Mutation(
        "diffusion.schedule",
        "transition_matrix",
        "lambda schedule, step, prev_step=None: right(schedule, step)",
        "torch.testing.assert_close(stride, reference.matrix_of_steps(toy, 2, 5), **near)",
    ),
    # the posterior of one step, whatever the stride
    "04b_loss_and_bound": Mutation(
        "diffusion.transitions",
        "q_posterior_probs",
        "lambda schedule, k_start, k_s, step, prev_step=None: right(schedule, k_start, k_s, step)",
        "assert max(map(deviations.posterior, toys)) <= EXACT",
    ),
    # the same in the sampler's draw: VQ-Diffusion's trap
    "04c_the_traps": Mutation(
        "diffusion.transitions",
        "q_posterior_sample",
        "lambda schedule, k_start, k_s, step, generator, prev_step=None: "
        "right(schedule, k_start, k_s, step, generator)",
        "assert ((torch.tensor(drawn) - share).abs() < 5 * error).all()",
    ),
    # λ is 1, whatever was asked for
    "05_diffusion_training": Mutation(
        "diffusion.losses",
        "diffusion_loss",
        "lambda schedule, *given: right(schedule, *given[:4], 1.0)",
        "torch.testing.assert_close(fast.loss.double(), loss, rtol=1e-4, atol=1e-6)",
    ),
    # the worst images are the best
    "06_evaluation": Mutation(
        "evaluation.failures",
        "worst_images",
        "lambda errors, count: right(-errors, count)",
        "assert errors[worst].min() >= errors.median()",
    ),
    # differences between settings are twice as large
    "07_ablations": Mutation(
        "evaluation.intervals",
        "student",
        "lambda values: right([2 * value for value in values])",
        "assert abs(by_hand.mean - 3) < 1e-9",
    ),
    # errors of joints are of coordinates
    "08_measures": Mutation(
        "base.metrics",
        "joint_errors_mm",
        "lambda pose_pred, pose: right(pose_pred, pose) / 3**0.5",
        'assert abs(by_hand.mean().item() - row["mean"]) < 1e-4',
    ),
    # what is known is not told to the sampler
    "09_inpainting": Mutation(
        "diffusion.inpainting",
        "inpaint",
        "lambda *given: right(*given, strength=0.0, rounds=0)",
        "assert given < 0.7 * drawn",
    ),
    # two seeds will do
    "99_claims": Mutation(
        "evaluation.intervals",
        "verdict",
        "lambda one: right(one._replace(seeds=max(one.seeds, 3)))",
        'assert verdict(1.0, 1.1) == verdict(1.0, 2.0, -1.0) == "undecided"',
    ),
}

# Python runs it at its start, where it lies on PYTHONPATH: also in a notebook's kernel.
SITECUSTOMIZE = """
import importlib.abc
import importlib.util
import sys


class Breaker(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path, target=None):
        if name != "di2pose_lib.{module}":
            return None
        sys.meta_path.remove(self)
        spec = importlib.util.find_spec(name)
        execute = spec.loader.exec_module

        def execute_and_break(module):
            execute(module)
            right = module.{function}
            module.{function} = {broken}

        spec.loader.exec_module = execute_and_break
        return spec


sys.meta_path.insert(0, Breaker())
"""


def run_nbval(copy, notebook, hooks=None):
    """(exit code, output) of nbval over one notebook of the copy."""
    path = [str(folder) for folder in (hooks, copy) if folder]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path)}
    environment.pop("DI2POSE_STAGE", None)
    options = ["--nbval-lax", "--nbval-current-env", "--nbval-cell-timeout=900"]
    quiet = ["-p", "no:python", "-p", "no:cacheprovider", "-x", "-q"]
    result = subprocess.run(
        [sys.executable, "-m", "pytest", *options, *quiet, f"notebooks/{notebook}.ipynb"],
        cwd=copy,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1500,
    )
    return result.returncode, result.stdout


def records(copy):
    """What every artefact of the copy was made from, and when."""
    paths = sorted((copy / "scratch" / "artifacts").rglob("made_from.json"))
    return {path: (path.read_bytes(), path.stat().st_mtime_ns) for path in paths}


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """The notebooks, the library and scratch/'s artefacts, away from a reader's."""
    folder = tmp_path_factory.mktemp("mutations") / "copy"
    passing_over = shutil.ignore_patterns("__pycache__", ".ipynb_checkpoints")
    sources = ("notebooks", "di2pose_lib", "studies", "paper", "results")
    for name in (*sources, "scratch/artifacts/smoke"):
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, ignore=passing_over)
    params = [path.relative_to(ROOT) for path in ROOT.glob("pipelines/*.yaml")]
    for name in ("pyproject.toml", "params.yaml", *params):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    # This notebook makes what is missing or of another library.
    code, output = run_nbval(folder, "06_evaluation")
    assert code == 0, f"06_evaluation fails as it is:\n{output[-6000:]}"
    assert len(records(folder)) == 5
    return folder


def test_every_notebook_has_a_mutation():
    assert sorted(MUTATIONS) == sorted(path.stem for path in ROOT.glob("notebooks/*.ipynb"))


def test_the_notebook_that_turns_red_is_green_without_a_mutation(copy, tmp_path):
    (tmp_path / "sitecustomize.py").write_text("")  # the hook that breaks nothing
    code, output = run_nbval(copy, "04c_the_traps", tmp_path)
    assert code == 0, output[-6000:]
    assert " passed" in output and "failed" not in output


@pytest.mark.parametrize("notebook", MUTATIONS)
def test_a_broken_function_turns_the_notebook_that_shows_it_red(copy, tmp_path, notebook):
    mutation = MUTATIONS[notebook]
    hook = SITECUSTOMIZE.format(**mutation._asdict())
    (tmp_path / "sitecustomize.py").write_text(hook)
    before = records(copy)
    code, output = run_nbval(copy, notebook, tmp_path)
    assert code == 1, f"{mutation.function} may break unnoticed:\n{output[-6000:]}"
    assert "1 failed" in output
    assert mutation.notices in output, f"another cell fails:\n{output[-6000:]}"
    assert "AssertionError" in output, f"it fails otherwise than by an assert:\n{output[-6000:]}"
    assert records(copy) == before, "an artefact was made with the broken function"
