"""kill -9 in the middle of training: what continues ends with the bits of what was left alone.

Here a process kills itself at chosen points of `training.fit`, so that each is reached for
certain. tests/test_kill_pipeline.py kills the real pipeline from outside.
"""

import multiprocessing
import os
import signal
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from di2pose_lib.base import training
from di2pose_lib.base.files import load_tensors

ITEMS = torch.randn(48, 6, generator=torch.Generator().manual_seed(1))
TOTAL = 60  # steps
EVERY = 10  # steps from save to save
CONFIG = SimpleNamespace(
    epochs=10.0,
    batch_size=8,
    learning_rate=1e-2,
    weight_decay=0.1,
    beta2=0.99,
    warmup_steps=5,
    clip_norm=1.0,
    ema_decay=0.9,
    checkpoint_every=EVERY,
)


def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)


def at_call(number, function, instead):
    """`function`, but `instead` at its call of this number, counted from 1."""
    calls = 0

    def counted(*arguments, **named):
        nonlocal calls
        calls += 1
        return (instead if calls == number else function)(*arguments, **named)

    return counted


def write_half_and_die(value, handle):
    """As `torch.save`, to the middle of the file."""
    start = handle.tell()
    SAVE(value, handle)
    handle.flush()
    handle.truncate(start + (handle.tell() - start) // 2)
    die()


def rename_and_die(source, target):
    RENAME(source, target)
    die()


SAVE, RENAME = torch.save, os.replace


def train(folder, weights, point=None, call=1):
    """Train a toy; die at the given call of a point, counted from this process's start."""
    step = (lambda error: error) if point != "step" else at_call(call, lambda error: error, die)
    if point == "half a file":
        torch.save = at_call(call, SAVE, write_half_and_die)
    elif point == "before the rename":
        os.replace = at_call(call, RENAME, die)
    elif point == "after the rename":
        os.replace = at_call(call, RENAME, rename_and_die)
    elif point == "reading":
        training.load_tensors = die
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Linear(16, 6))

    def loss_function(rows, generator):
        noise = 0.1 * torch.randn(len(rows), 6, generator=generator)
        return step((model(ITEMS[rows] + noise) - ITEMS[rows].cumsum(dim=1)).square().mean()), {}

    history = training.fit("toy", model, loss_function, len(ITEMS), CONFIG, 3, folder)
    SAVE({"model": model.state_dict(), "history": history}, weights)


@pytest.fixture(scope="module")
def process():
    """Runs `train` in a new process; its exit code. The processes share what is imported."""
    context = multiprocessing.get_context("forkserver")
    # torch's optimizers import torch._dynamo, which takes longer than the whole training.
    context.set_forkserver_preload(["pytest", "torch._dynamo", "di2pose_lib.base.training"])

    def run(*arguments):
        child = context.Process(target=train, args=arguments)
        child.start()
        child.join(timeout=120)
        assert child.exitcode is not None, "it hangs"
        return child.exitcode

    return run


@pytest.fixture(scope="module")
def whole(process, tmp_path_factory):
    """(model, history) of a run that nobody interrupts."""
    folder = tmp_path_factory.mktemp("whole")
    assert process(folder / "checkpoints", folder / "weights.pt") == 0
    return load_tensors(folder / "weights.pt")


def assert_same(result, whole):
    assert result["history"] == whole["history"]
    assert result["history"][-1]["step"] == TOTAL
    for name, weight in whole["model"].items():
        assert torch.equal(result["model"][name], weight), name


POINTS = ("step", "half a file", "before the rename", "after the rename")


@pytest.mark.parametrize("point", POINTS)
@pytest.mark.parametrize("call", [1, 3])
def test_one_kill_at_any_point_changes_nothing(process, whole, tmp_path, point, call):
    given = (tmp_path / "checkpoints", tmp_path / "weights.pt")
    assert process(*given, point, call) == -signal.SIGKILL
    assert not (tmp_path / "weights.pt").exists()
    checkpoint = tmp_path / "checkpoints" / "checkpoint.pt"
    saved = {"step": (call - 1) // EVERY, "after the rename": call}.get(point, call - 1)
    assert checkpoint.exists() == (saved > 0)
    if saved:  # whole, and of the last save that came to its end
        assert load_tensors(checkpoint)["step"] == saved * EVERY
    assert process(*given) == 0
    assert_same(load_tensors(tmp_path / "weights.pt"), whole)


def test_six_kills_one_after_another_change_nothing(process, whole, tmp_path):
    given = (tmp_path / "checkpoints", tmp_path / "weights.pt")
    kills = [("step", 17), ("half a file", 2), ("reading", 1), ("before the rename", 1)]
    kills += [("after the rename", 2), ("step", 9)]
    reached = []
    for point, call in kills:
        assert process(*given, point, call) == -signal.SIGKILL, point
        reached.append(load_tensors(tmp_path / "checkpoints" / "checkpoint.pt")["step"])
    assert reached == [10, 20, 20, 20, 40, 40]
    assert process(*given) == 0
    assert_same(load_tensors(tmp_path / "weights.pt"), whole)


def test_a_kill_after_the_last_save_trains_no_further(process, whole, tmp_path):
    given = (tmp_path / "checkpoints", tmp_path / "weights.pt")
    assert process(*given, "after the rename", TOTAL // EVERY) == -signal.SIGKILL
    assert process(*given, "step", 1) == 0  # which would kill it at the first step
    assert_same(load_tensors(tmp_path / "weights.pt"), whole)
