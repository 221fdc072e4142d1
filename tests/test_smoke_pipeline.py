"""The whole pipeline at scale smoke, twice, in a scratch copy of this working tree.

Both times with another machine's arithmetic (`other_machine`): it makes other networks than this
machine does, from the same poses, and every stage and assertion of a notebook must bear them. With
this machine's own, nbval runs the notebooks, and the kill test the stages that train.
"""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from other_machine import OTHER_MACHINE
from working_tree import copy_to

from di2pose_lib.base.machine import cpu_model
from di2pose_lib.evaluation.table import read_table

SMOKE = ("dvc", "repro", "--glob", "pipelines/dvc.yaml:*@smoke")
pytestmark = pytest.mark.slow


def run(folder, *command, **environment):
    """Output of a command that must succeed."""
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    result = subprocess.run(
        command,
        cwd=folder,
        env={**os.environ, "PATH": path, "DVC_NO_ANALYTICS": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=1500,
    )
    assert result.returncode == 0, f"{command} gave {result.returncode}:\n{result.stdout[-6000:]}"
    return result.stdout


@pytest.fixture(scope="module")
def copy(tmp_path_factory):
    """A new git repository with the files that this one tracks or would track."""
    folder = tmp_path_factory.mktemp("scratch") / "clone"
    copy_to(folder)
    run(folder, "git", "add", ".")
    settings = ("user.name=test", "user.email=test@localhost", "commit.gpgsign=false")
    options = [word for setting in settings for word in ("-c", setting)]
    run(folder, "git", *options, "commit", "--quiet", "--message", "all")
    return folder


def test_the_smoke_pipeline_runs_and_a_forced_second_run_gives_the_same_bytes(copy):
    own = {"PYTHONPATH": str(copy), **OTHER_MACHINE}  # the copy's library, not the installed one
    log = run(copy, *SMOKE, **own)
    assert "denoiser: step " in log
    lock = (copy / "pipelines/dvc.lock").read_bytes()
    assert str(copy).encode() not in lock

    reports = sorted(path.name for path in (copy / "reports/smoke/synthetic").iterdir())
    notebooks = sorted(path.name for path in (copy / "notebooks").glob("*.ipynb"))
    on_demand = ("07_ablations.ipynb", "99_claims.ipynb")  # of studies/dvc.yaml
    assert reports == [name for name in notebooks if name not in on_demand]
    rows = read_table(copy / "results/smoke/synthetic/evaluation.csv.gz")
    assert set(zip(rows.source, rows.scale, strict=True)) == {("synthetic", "smoke")}
    assert set(rows.occlusion) == {"clean", "occluders"}
    assert set(zip(rows.cpu, rows.threads, strict=True)) == {(cpu_model(), "1")}
    kept = [path for path in (copy / "checkpoints").rglob("*.pt")]
    assert kept == [], "a finished stage removes its checkpoints"
    status = run(copy, "git", "status", "--porcelain")
    untracked = "?? pipelines/dvc.lock\n?? results/smoke/\n"
    assert status == untracked, "runs change no committed file"

    assert "up to date" in run(copy, *SMOKE, **own)
    summary = "results/smoke/synthetic/evaluation_summary.json"
    shown = json.loads(run(copy, "dvc", "metrics", "show", "--json", summary, **own))
    assert "clean_soft_decoding_mpjpe_mm" in shown[""]["data"][summary]["data"]

    run(copy, *SMOKE, "--force", **own)
    assert (copy / "pipelines/dvc.lock").read_bytes() == lock
