"""kill -9 of a run of AdvOcc from outside: what continues ends with the bytes of a whole run.

The process that is killed can never end by itself: at a chosen point it waits for good, with two
images finished. So each point is reached for certain, on a machine of any speed.
"""

import multiprocessing
import os
import signal
import threading
import time

import pytest
import torch
from attack_toys import SIZE, ToyModel, toy_joints, toy_pose
from small import make_split

from di2pose_lib.data.dataset import PoseDataset
from di2pose_lib.data.textures import open_textures
from di2pose_lib.evaluation.advocc import Attack
from di2pose_lib.evaluation.advocc_search import COARSE_TO_FINE
from di2pose_lib.evaluation.patch_grid import patch_grid
from studies.advocc_runs import run

POSE = toy_pose()
ROWS = [0, 2, 3, 4]
FINISHED = {"settings.json", "000000.json", "000002.json"}  # when it is killed
PATIENCE = 60  # seconds
PREDICTING, WRITING = "in the midst of an image", "with half a file written"


class Stopping(ToyModel):
    """Calls `stop` at the second batch of pictures after `armed` was set."""

    armed, batches, stop = False, 0, None

    def predict(self, images, generator, num_hypotheses):
        self.batches += self.armed
        if self.batches == 2:
            self.stop()
        return super().predict(images, generator, num_hypotheses)


def attacked(model, split, folder):
    grid = patch_grid(80, SIZE)
    attack = Attack(model, open_textures(None, SIZE[0]), grid, 5, draws=2, fresh_draws=1)
    return run(attack, PoseDataset(split), ROWS, COARSE_TO_FINE, folder, {"model": "toy"})


def attack_until_killed(split, folder, point, reached):
    """Attack the images; at the point make the file `reached`, and wait for good."""
    torch.set_num_threads(1)
    model, rename = Stopping(POSE, (20, 30), noise=20.0), os.replace

    def stop():
        reached.touch()
        threading.Event().wait()

    def watched(source, target, **options):
        if point == WRITING and target.name not in FINISHED:
            os.truncate(source, os.path.getsize(source) // 2)
            stop()
        rename(source, target, **options)
        model.armed = point == PREDICTING and {p.name for p in folder.iterdir()} >= FINISHED

    os.replace, model.stop = watched, stop
    attacked(model, split, folder)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def until(happened, child):
    """Look again and again, until `happened()`; the child must not end before."""
    give_up = time.monotonic() + PATIENCE
    while not happened():
        assert child.exitcode is None, f"it ended by itself, with {child.exitcode}"
        assert time.monotonic() < give_up, "it hangs"
        time.sleep(0.01)


@pytest.fixture(scope="module")
def process():
    """The class of processes that share what is imported."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["pytest", "studies.advocc_runs"])
    return context.Process


@pytest.mark.parametrize("point", [PREDICTING, WRITING])
def test_a_run_that_was_killed_goes_on_to_the_same_bytes(process, tmp_path, point):
    split, folder, reached = (tmp_path / name for name in ("split", "killed", "reached"))
    count = max(ROWS) + 1
    joints = torch.stack([toy_joints(seed) for seed in range(count)])
    make_split(split, count, size=SIZE, pose=POSE.repeat(count, 1, 1), joints_2d=joints)
    model = ToyModel(POSE, (20, 30), noise=20.0)
    whole = attacked(model, split, tmp_path / "whole")
    num_whole = model.num_predicted

    child = process(target=attack_until_killed, args=(split, folder, point, reached))
    child.start()
    try:
        until(reached.exists, child)
    finally:
        child.kill()
        child.join(timeout=PATIENCE)
    assert child.exitcode == -signal.SIGKILL
    left = files(folder)
    unfinished = [name for name in left if name.startswith(".")]
    assert set(left) - set(unfinished) == FINISHED | {"lock"}
    assert len(unfinished) == (point == WRITING)

    model.num_predicted = 0
    assert attacked(model, split, folder) == whole
    assert 0 < model.num_predicted < num_whole, "finished images must not be attacked again"
    assert files(folder) == files(tmp_path / "whole")
