"""Six times kill -9 while `dvc repro` runs, then the bits of a run that was left alone.

Twice the kernel, once of these while a checkpoint is half written; twice papermill, which
is the process of `di2pose_lib.run_notebook`; twice DVC. `make kill-test` runs this alone;
KILL_SEED=<int> in the environment draws other moments.
"""

import contextlib
import hashlib
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import pytest
from working_tree import copy_to

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc"),
]

SMOKE = "pipelines"
LAST = "diffusion_training"  # the last stage that is run
PATIENCE = 600  # seconds for any one wait

# Who goes on when it is killed. Left alone, an orphan might train to the end of its stage
# while the next run still starts, and nothing would be left to kill.
LEFT_BY = {"dvc": ("papermill", "kernel"), "papermill": ("kernel",), "kernel": ()}

# The label of a training in the log, and its stage.
TRAININGS = {
    "image encoder": "image_encoder",
    "pose tokenizer": "pose_tokenizer",
    "denoiser": "diffusion_training",
}

# Every Python of the run executes it at its start. Where the file `armed` stands, the next
# save of a checkpoint stops for good with half of the file written, before the rename.
SITECUSTOMIZE = """
import os
import time

replace = os.replace


def half_written(source, target, **options):
    if os.path.basename(target) == "checkpoint.pt" and os.path.exists({armed!r}):
        os.rename({armed!r}, {half!r})
        os.truncate(source, os.path.getsize(source) // 2)
        open({ready!r}, "w").close()
        time.sleep(3600)
    return replace(source, target, **options)


os.replace = half_written
"""


class Kill(NamedTuple):
    """A process to end, once the log of a training has come to this share of its steps."""

    label: str
    share: float
    who: str  # "kernel", "papermill", "dvc"
    in_save: bool = False


def draw_kills(seed):
    """Six kills in the order of the pipeline: two in each training, of every kind two."""
    draw = random.Random(seed)
    kinds = [("kernel", True), ("kernel", False), *[("papermill", False), ("dvc", False)] * 2]
    draw.shuffle(kinds)
    places = [
        (label, share)
        for label in TRAININGS
        for share in sorted((draw.uniform(0.05, 0.45), draw.uniform(0.5, 0.8)))
    ]
    return [Kill(*place, *kind) for place, kind in zip(places, kinds, strict=True)]


def clone(folder):
    """A new git repository with the files of this working tree; many checkpoints, fewer stages.

    The later stages and all other pipelines are cut off rather than some named to `dvc repro`: of
    a small part of all stages DVC runs those that need not wait for each other in the order of a
    set, another one each time.
    """
    copy_to(folder)
    for other in ("dvc.yaml", "dvc.lock", "studies/dvc.yaml"):
        (folder / other).unlink()
    params = folder / SMOKE / "smoke.yaml"
    text, count = re.subn(r"checkpoint_every: \d+", "checkpoint_every: 15", params.read_text())
    assert count == 3
    params.write_text(text)
    stages = folder / SMOKE / "dvc.yaml"
    text, count = re.subn(
        rf"(?s)(\n  {LAST}:\n(?:    [^\n]*\n)+).*", r"\1", stages.read_text(encoding="utf-8")
    )
    assert count == 1
    text, count = re.subn(r"\n      (mocap|paper): \{.*\}", "", text)
    assert count == 2
    stages.write_text(text, encoding="utf-8")
    return folder


def live_processes():
    """(process id, parent's, arguments) of all that are no zombies, in order of their start."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            state, parent, *rest = (folder / "stat").read_text().rsplit(")", 1)[1].split()
            arguments = (folder / "cmdline").read_text(errors="replace").split("\0")
        except (FileNotFoundError, ProcessLookupError):  # it has just ended
            continue
        if state != "Z":
            found.append((int(rest[17]), int(folder.name), int(parent), arguments))
    return [process for _, *process in sorted(found)]


def send(what, processes):
    """A signal to those that still live."""
    for process in processes:
        with contextlib.suppress(ProcessLookupError):
            os.kill(process, what)


class Run:
    """`dvc repro` in a clone, and the processes under it."""

    def __init__(self, folder, log, hooks):
        self.log = log
        self.left = []  # process ids of what goes on, stopped, after a kill
        programs = str(Path(sys.executable).parent)
        environment = {
            **os.environ,
            "PATH": os.pathsep.join([programs, os.environ["PATH"]]),
            "PYTHONPATH": os.pathsep.join([str(hooks), str(folder)]),
            "DVC_NO_ANALYTICS": "1",
            "SHELL": "/bin/sh",  # which may stay between DVC and its command, where bash goes
        }
        environment.pop("DI2POSE_STAGE", None)
        with open(log, "w") as handle:
            self.dvc = subprocess.Popen(
                ["dvc", "repro", "--glob", "pipelines/dvc.yaml:*@smoke"],
                cwd=folder,
                env=environment,
                stdout=handle,
                stderr=subprocess.STDOUT,
            )

    def text(self):
        return self.log.read_text(errors="replace")

    def processes(self):
        """{who: process id} of those that live."""
        found, family = {"dvc": self.dvc.pid}, {self.dvc.pid}
        for process, parent, arguments in live_processes():  # a parent before its children
            if parent not in family:
                continue
            family.add(process)
            if "di2pose_lib.run_notebook" in arguments:  # not the shell's one long argument
                found["papermill"] = process
            elif "di2pose_lib.kernel" in arguments:
                found["kernel"] = process
        return found

    def kill(self, who):
        """kill -9; whether it was there to be killed."""
        try:
            os.kill(self.processes()[who], signal.SIGKILL)
        except (KeyError, ProcessLookupError):  # between two stages
            return False
        return True

    def wait_for(self, happened):
        """Until `happened()` is true; DVC must not end before."""
        give_up = time.monotonic() + PATIENCE
        while not (result := happened()):
            assert self.dvc.poll() is None, f"DVC ended by itself:\n{self.text()[-4000:]}"
            assert time.monotonic() < give_up, f"it hangs:\n{self.text()[-4000:]}"
            time.sleep(0.01)
        return result

    def steps(self, label):
        """(step, of how many) of a training, as the log tells them."""
        told = rf"^{label}: (?:continuing from )?step (\d+)(?:/| of )(\d+)"
        return [(int(step), int(total)) for step, total in re.findall(told, self.text(), re.M)]

    def reached(self, label, share):
        return any(step >= share * total for step, total in self.steps(label))

    def end(self):
        """Kill what is still there; for a test that failed."""
        if self.dvc.poll() is None:
            for who in ("kernel", "papermill", "dvc"):
                self.kill(who)
        send(signal.SIGKILL, self.left)
        self.dvc.wait(timeout=60)


def digests(folder):
    """{path: SHA-256} of everything below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture
def start(tmp_path):
    """`start(folder)` runs DVC there; (armed, ready) are the files of the half-written save."""
    armed, half, ready = (tmp_path / name for name in ("armed", "half", "ready"))
    hooks = tmp_path / "hooks"
    hooks.mkdir()
    names = {"armed": str(armed), "half": str(half), "ready": str(ready)}
    (hooks / "sitecustomize.py").write_text(SITECUSTOMIZE.format(**names))
    runs = []

    def begin(folder):
        runs.append(Run(folder, tmp_path / f"log-{len(runs)}.txt", hooks))
        return runs[-1]

    yield begin, armed, ready
    for run in runs:
        run.end()


def end_with(run, kill, armed, ready):
    """Wait for the moment of a kill, and kill; the step that the log had reached."""
    run.wait_for(lambda: run.reached(kill.label, kill.share))
    if kill.in_save:
        armed.touch()
        run.wait_for(ready.exists)
    family = run.processes()
    run.left = [family[who] for who in LEFT_BY[kill.who] if who in family]
    send(signal.SIGSTOP, run.left)  # holding their lock, so the next run cannot come too late
    run.wait_for(lambda: run.kill(kill.who))
    code = run.dvc.wait(timeout=PATIENCE)
    assert code == (-signal.SIGKILL if kill.who == "dvc" else 255), run.text()[-4000:]
    return " of ".join(map(str, run.steps(kill.label)[-1]))


def meet(run, left):
    """A run finds the orphans of the one before at work, and waits; they end by themselves.

    (It finds them done where they were stopped just after their training's end.)
    """
    if left:
        signs = r"another process is at work|: (?:continuing from )?step \d"
        run.wait_for(lambda: re.search(signs, run.text()))
        send(signal.SIGCONT, left)  # some steps more, and perhaps a save
        give_up = time.monotonic() + PATIENCE / 10
        while alive := {process for process, *_ in live_processes()} & set(left):
            assert time.monotonic() < give_up, f"orphans live on: {alive}"
            time.sleep(0.1)


def test_six_kills_of_kernel_papermill_and_dvc_change_no_bit(start, tmp_path):
    begin, armed, ready = start
    seed = int(os.environ.get("KILL_SEED", "0"))
    started = time.monotonic()
    whole = clone(tmp_path / "whole")
    run = begin(whole)
    assert run.dvc.wait(timeout=3 * PATIENCE) == 0, run.text()[-4000:]
    assert "continuing from step" not in run.text()
    print(f"\nuninterrupted: {time.monotonic() - started:.0f} s; kills of seed {seed}:")

    started = time.monotonic()
    killed = clone(tmp_path / "killed")
    left = []
    for kill in draw_kills(seed):
        run = begin(killed)
        meet(run, left)
        step = end_with(run, kill, armed, ready)
        left = run.left
        where = "during a save after" if kill.in_save else "after"
        print(f"  {kill.who} {where} step {step} of the {kill.label}")
        if kill.in_save:
            kept = killed / "checkpoints"
            assert list(kept.rglob(".checkpoint.pt.*")), "no save was under way"
    run = begin(killed)
    meet(run, left)
    assert run.dvc.wait(timeout=3 * PATIENCE) == 0, run.text()[-4000:]
    print(f"with six kills: {time.monotonic() - started:.0f} s")

    logs = [path.read_text(errors="replace") for path in sorted(tmp_path.glob("log-*.txt"))]
    continued = [int(n) for log in logs for n in re.findall(r"continuing from step (\d+) of", log)]
    print(f"continued from steps {continued}")
    assert len(continued) >= 4 and min(continued) > 0

    one, other = (folder / "artifacts/smoke/synthetic" for folder in (whole, killed))
    for stage in TRAININGS.values():
        name = f"{stage}/weights.safetensors"
        assert (one / name).read_bytes() == (other / name).read_bytes(), name
    assert digests(one) == digests(other)
    # with the digests of every artefact, executed notebook, metric and curve
    locks = [(folder / SMOKE / "dvc.lock").read_bytes() for folder in (whole, killed)]
    assert locks[0] == locks[1]
    assert not list((killed / "checkpoints").rglob("*checkpoint.pt*"))
