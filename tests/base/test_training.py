"""The training loop: bits that depend on the seed and the step alone, however often killed."""

import math
import threading
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from di2pose_lib.base import training
from di2pose_lib.base.files import load_tensors, locked

ITEMS = torch.randn(50, 6, generator=torch.Generator().manual_seed(1))
TARGETS = ITEMS.cumsum(dim=1)


def settings(**changes):
    values = {
        "epochs": 20.0,  # 125 steps: a report every 3, and one of the last 2
        "batch_size": 8,  # 6 batches an epoch, 2 rows left over
        "learning_rate": 1.0e-2,
        "weight_decay": 0.1,
        "beta2": 0.99,
        "warmup_steps": 5,
        "clip_norm": 1.0,
        "ema_decay": 0.9,
        "checkpoint_every": 7,
    }
    return SimpleNamespace(**{**values, **changes})


def make_model():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(6, 16), nn.GELU(), nn.Dropout(0.0), nn.Linear(16, 6))


def train(folder, config=None, stop_at=None, model=None):
    """(model, history); the loss draws noise, as every loss of the library does."""
    model = model or make_model()

    def loss_function(rows, generator):
        noise = 0.1 * torch.randn(len(rows), 6, generator=generator)
        error = (model(ITEMS[rows] + noise) - TARGETS[rows]).square().mean()
        return error, {"root": error.sqrt()}

    config = config or settings()
    history = training.fit("toy", model, loss_function, 50, config, 3, folder, stop_at=stop_at)
    return model, history


def assert_same_weights(one, other):
    for (name, a), (_, b) in zip(one.state_dict().items(), other.state_dict().items(), strict=True):
        assert torch.equal(a, b), name


@pytest.mark.parametrize("ema_decay", [0.0, 0.9])
@pytest.mark.parametrize("stops", [(1,), (7,), (8, 9, 31), (124,), (125,)])
def test_a_stopped_and_resumed_run_ends_with_the_bits_of_an_uninterrupted_one(
    tmp_path, ema_decay, stops
):
    config = settings(ema_decay=ema_decay)
    whole, whole_history = train(tmp_path / "whole", config)
    for stop in stops:
        train(tmp_path / "pieces", config, stop_at=stop)
    pieces, pieces_history = train(tmp_path / "pieces", config)
    assert_same_weights(pieces, whole)
    assert pieces_history == whole_history
    ends = [load_tensors(tmp_path / name / "checkpoint.pt") for name in ("whole", "pieces")]
    if ema_decay:
        for name, weight in ends[0]["average"].items():
            assert torch.equal(weight, ends[1]["average"][name]), name
    assert ends[0]["step"] == ends[1]["step"] == 125


def test_what_the_loss_function_keeps_is_resumed_too(tmp_path):
    def run(folder, stop_at=None):
        model, kept = make_model(), {"seen": torch.zeros(1, dtype=torch.float64)}

        def loss_function(rows, generator):
            error = (model(ITEMS[rows]) - TARGETS[rows]).square().mean()
            kept["seen"] += error.item()
            return error * (1 + kept["seen"].item()), {}

        arguments = ("toy", model, loss_function, 50, settings(), 3, folder)
        return model, training.fit(*arguments, state=kept, stop_at=stop_at), kept

    whole, history, kept = run(tmp_path / "whole")
    run(tmp_path / "pieces", stop_at=31)
    resumed, same, also = run(tmp_path / "pieces")
    assert_same_weights(resumed, whole)
    assert same == history and torch.equal(also["seen"], kept["seen"]) and kept["seen"] > 0


def test_resuming_does_not_care_where_the_global_generators_stand(tmp_path):
    whole, _ = train(tmp_path / "whole")
    model = make_model()
    train(tmp_path / "pieces", stop_at=20, model=model)
    resumed = make_model()
    torch.manual_seed(12345)
    train(tmp_path / "pieces", model=resumed)
    assert_same_weights(resumed, whole)


def test_a_stage_prints_the_same_whether_it_trained_continued_or_found_all_done(
    tmp_path, monkeypatch, capsys
):
    monkeypatch.setenv("DI2POSE_STAGE", "toy")
    said = []
    for folder, stop_at in [("whole", None), ("pieces", 23), ("pieces", None), ("pieces", None)]:
        train(tmp_path / folder, stop_at=stop_at)
        said.append(capsys.readouterr())
    assert {one.out for one in said} == {""}  # stdout becomes a part of the report
    whole, begun, continued, done = (one.err.splitlines() for one in said)
    assert len(whole) == 42  # a line for each row of the history
    assert continued[0] == "toy: continuing from step 23 of 125"
    assert begun + continued[1:] == whole
    assert done == ["toy: continuing from step 125 of 125"]


def test_a_finished_run_is_not_trained_again(tmp_path):
    done, history = train(tmp_path)

    def never(rows, generator):
        pytest.fail("trained")

    again = make_model()
    assert training.fit("toy", again, never, 50, settings(), 3, tmp_path) == history
    assert_same_weights(again, done)


def test_checkpoints_are_written_at_their_steps_and_at_the_end(tmp_path, monkeypatch):
    steps = []
    monkeypatch.setattr(training, "save_tensors", lambda path, value: steps.append(value["step"]))
    train(tmp_path)
    assert steps == [*range(7, 125, 7), 125]


def test_slow_checkpoints_take_a_twentieth_of_the_time_and_change_no_bit(tmp_path, monkeypatch):
    """By a clock of its own: a step takes 1 s, a checkpoint 10 s."""
    whole, history = train(tmp_path / "whole", settings(epochs=64.0, checkpoint_every=7))
    clock, steps = [0.0], []

    def save(path, value):
        clock[0] += 10.0
        steps.append(value["step"])

    class Ticking(nn.Sequential):
        def forward(self, x):
            clock[0] += 1.0
            return super().forward(x)

    monkeypatch.setattr(training, "save_tensors", save)
    monkeypatch.setattr(training.time, "monotonic", lambda: clock[0])
    config = settings(epochs=64.0, checkpoint_every=7)
    slow, same = train(tmp_path, config, model=Ticking(*make_model()))
    # the first as soon as it is due, then each 200 s; 10 s and a twentieth of the time are free
    assert steps == [7, 196, 385, 400]
    assert clock[0] == 400 + 10 * len(steps)
    assert_same_weights(slow, whole)
    assert same == history


def test_training_lowers_the_loss_and_the_history_ends_at_the_last_step(tmp_path):
    _, history = train(tmp_path, settings(epochs=40.0))
    assert history[-1]["loss"] < 0.5 * history[0]["loss"]
    assert history[-1]["step"] == training.num_training_steps(50, settings(epochs=40.0)) == 250
    assert [row["step"] for row in history] == list(range(6, 250, 6)) + [250]
    assert all(set(row) == {"step", "loss", "root"} for row in history)


def test_the_steps_are_those_of_adamw_written_out(tmp_path):
    """Learning rate, clipping, moments, weight decay, average and means, in float64."""
    config = settings(clip_norm=1.5)

    def loss_function(rows, generator):
        error = (model(ITEMS[rows].double()) - TARGETS[rows].double()).square().mean()
        return error, {"root": error.sqrt()}

    model = make_model().double()
    weights = [p.detach().clone() for p in model.parameters()]
    first, second = ([torch.zeros_like(p) for p in weights] for _ in range(2))
    average = [p.clone() for p in weights]
    losses, clipped, expected = [], [], []
    for step in range(125):
        with torch.no_grad():
            for parameter, weight in zip(model.parameters(), weights, strict=True):
                parameter.copy_(weight)
        loss, _ = loss_function(training.batch_rows(50, 8, step, 3, "toy"), None)
        gradients = torch.autograd.grad(loss, list(model.parameters()))
        norm = math.sqrt(sum(g.square().sum().item() for g in gradients))
        clipped.append(norm > 1.5)
        cosine = (1 + math.cos(math.pi * (step - 5) / 120)) / 2
        rate = 0.01 * ((step + 1) / 5 if step < 5 else cosine)
        keep = min(0.9, (2 + step) / (11 + step))
        for i, gradient in enumerate(gradients):
            gradient = gradient * min(1.0, 1.5 / (norm + 1e-6))
            first[i] = 0.9 * first[i] + 0.1 * gradient
            second[i] = 0.99 * second[i] + 0.01 * gradient.square()
            mean = first[i] / (1 - 0.9 ** (step + 1))
            deviation = (second[i] / (1 - 0.99 ** (step + 1))).sqrt()
            decay = 0.1 if weights[i].ndim == 2 else 0.0
            weights[i] = weights[i] * (1 - rate * decay) - rate * mean / (deviation + 1e-8)
            average[i] = keep * average[i] + (1 - keep) * weights[i]
        losses.append(loss.item())
        if step % 3 == 2 or step == 124:
            since = losses[3 * len(expected) :]
            roots = [math.sqrt(loss) for loss in since]
            row = {"loss": sum(since) / len(since), "root": sum(roots) / len(roots)}
            expected.append({"step": step + 1, **row})
    assert 10 < sum(clipped) < 115, "some steps are clipped and some are not"
    assert len(since) == 2, "the last row holds fewer steps than the others"

    model = make_model().double()
    history = training.fit("toy", model, loss_function, 50, config, 3, tmp_path)
    for parameter, wanted in zip(model.parameters(), average, strict=True):
        torch.testing.assert_close(parameter.detach(), wanted, atol=1e-8, rtol=1e-8)
    assert len(history) == len(expected)
    for row, wanted in zip(history, expected, strict=True):
        assert row == pytest.approx(wanted, rel=1e-8)


def test_a_model_trains_in_training_mode_and_comes_back_in_the_other(tmp_path):
    model = make_model().eval()
    modes = []

    def loss_function(rows, generator):
        modes.extend(module.training for module in model.modules())
        return model(ITEMS[rows]).square().mean(), {}

    training.fit("toy", model, loss_function, 50, settings(), 3, tmp_path)
    assert modes and all(modes)
    assert not any(module.training for module in model.modules())


def test_the_model_returned_is_the_average_of_the_weights(tmp_path):
    model, _ = train(tmp_path)
    state = load_tensors(tmp_path / "checkpoint.pt")
    for name, weight in model.state_dict().items():
        assert torch.equal(weight, state["average"][name])
        assert not torch.equal(weight, state["model"][name])
    assert not model.training


def test_the_average_follows_its_recurrence(tmp_path):
    model = make_model()
    average = training._Average(model, decay=0.5)
    start = model[0].weight.detach().clone()
    with torch.no_grad():
        model[0].weight += 1.0
    average.update(model, step=1)  # decay min(0.5, 2 / 11)
    torch.testing.assert_close(average.weights["0.weight"], start + 9 / 11)
    average.update(model, step=100)  # decay 0.5
    torch.testing.assert_close(average.weights["0.weight"], start + 1 - (2 / 11) * 0.5)


def test_a_second_training_waits_for_the_first_and_continues_from_its_checkpoint(
    tmp_path, monkeypatch
):
    from di2pose_lib.base import files

    whole, _ = train(tmp_path / "whole")
    folder, waits, result = tmp_path / "shared", threading.Event(), []
    monkeypatch.setattr(files, "note", lambda message: waits.set())
    model = make_model()  # outside the thread: it sets the global seed
    second = threading.Thread(target=lambda: result.append(train(folder, model=model)))
    with locked(folder):
        second.start()
        assert waits.wait(timeout=60)
        assert not (folder / "checkpoint.pt").exists()
    second.join(timeout=60)
    assert_same_weights(result[0][0], whole)


@pytest.mark.parametrize("what", ["loss nan", "loss inf", "gradient norm nan"])
def test_what_is_not_finite_stops_the_training_before_the_weights_take_it_in(tmp_path, what):
    model = make_model()
    steps = []

    def loss_function(rows, generator):
        steps.append({name: p.clone() for name, p in model.state_dict().items()})
        error = model(ITEMS[rows]).square().mean()
        if len(steps) < 5:
            return error, {}
        if what == "gradient norm nan":  # of √0 · 0, a loss of 0
            return error * 0 + (0 * model[0].weight.sum()).square().sqrt(), {}
        return error * float(what.split()[1]), {}

    with pytest.raises(ValueError, match=f"toy: .*must stay finite; got .*{what}.* at step 5"):
        training.fit("toy", model, loss_function, 50, settings(), 3, tmp_path)
    assert all(torch.equal(p, steps[-1][name]) for name, p in model.state_dict().items())
    assert not (tmp_path / "checkpoint.pt").exists()


def test_fewer_items_than_a_batch_are_refused(tmp_path):
    with pytest.raises(ValueError, match="`batch_size` must not exceed 50 items; got 51"):
        train(tmp_path, settings(batch_size=51))


@pytest.mark.parametrize(("num_items", "batch_size"), [(12, 4), (13, 4), (5, 5), (7, 1)])
def test_each_epoch_is_a_fresh_permutation(num_items, batch_size):
    per_epoch = num_items // batch_size
    epochs = []
    for epoch in range(3):
        steps = range(epoch * per_epoch, (epoch + 1) * per_epoch)
        rows = [training.batch_rows(num_items, batch_size, step, 0, "x") for step in steps]
        assert all(row.shape == (batch_size,) and row.dtype == torch.int64 for row in rows)
        rows = torch.cat(rows).tolist()
        assert len(set(rows)) == len(rows) == per_epoch * batch_size
        assert set(rows) <= set(range(num_items))
        epochs.append(rows)
    assert epochs[0] != epochs[1] != epochs[2]


def test_an_epoch_is_shuffled_once_whoever_changes_the_rows(monkeypatch):
    epochs, draw = [], training.generator_for
    monkeypatch.setattr(
        training, "generator_for", lambda *keys: epochs.append(keys[-1]) or draw(*keys)
    )
    training._epoch_order.cache_clear()
    rows = [training.batch_rows(12, 4, step, 0, "x") for step in range(9)]
    assert epochs == [0, 1, 2]
    for row in rows:
        row.zero_()
    again = torch.cat([training.batch_rows(12, 4, step, 0, "x") for step in (6, 7, 8)])
    assert sorted(again.tolist()) == list(range(12)) and epochs == [0, 1, 2]


def test_the_rows_depend_on_seed_name_and_step_alone():
    rows = training.batch_rows(100, 10, 5, seed=0, name="x")
    torch.manual_seed(99)
    assert torch.equal(rows, training.batch_rows(100, 10, 5, seed=0, name="x"))
    assert not torch.equal(rows, training.batch_rows(100, 10, 5, seed=1, name="x"))
    assert not torch.equal(rows, training.batch_rows(100, 10, 5, seed=0, name="y"))


def test_the_learning_rate_warms_up_and_falls_to_zero_along_half_a_cosine():
    factors = [training.learning_rate_factor(step, 12, 4) for step in range(12)]
    assert factors[:4] == [0.25, 0.5, 0.75, 1.0]
    assert factors[4] == 1.0
    assert factors[8] == pytest.approx(0.5)
    assert factors[11] == pytest.approx(0.5 * (1 - 0.9238795325112867))  # cos(7π/8)
    assert factors[4:] == sorted(factors[4:], reverse=True)
    assert training.learning_rate_factor(0, 10, 0) == 1.0


@pytest.mark.parametrize(
    ("epochs", "num_items", "batch_size", "steps"),
    [(3.0, 100, 10, 30), (1.0, 105, 10, 10), (0.5, 100, 10, 5), (0.001, 100, 10, 1)],
)
def test_the_number_of_steps_is_at_least_one(epochs, num_items, batch_size, steps):
    config = settings(epochs=epochs, batch_size=batch_size)
    assert training.num_training_steps(num_items, config) == steps


def test_only_matrices_decay_and_frozen_parameters_are_left_out():
    model = nn.Sequential(nn.Linear(3, 2), nn.LayerNorm(2), nn.Linear(2, 2))
    model[2].requires_grad_(False)
    decayed, free = training.make_optimizer(model, settings()).param_groups
    assert [p.shape for p in decayed["params"]] == [(2, 3)]
    assert decayed["weight_decay"] == 0.1
    assert [p.shape for p in free["params"]] == [(2,), (2,), (2,)]
    assert free["weight_decay"] == 0.0


def test_a_checkpoint_that_cannot_be_read_does_not_count_as_none(tmp_path):
    checkpoint = tmp_path / "checkpoint.pt"
    checkpoint.mkdir()
    with pytest.raises(ValueError, match="checkpoint.pt must be a file; got a folder"):
        train(tmp_path)
    checkpoint.rmdir()
    checkpoint.symlink_to(tmp_path / "another disk" / "checkpoint.pt")
    with pytest.raises(ValueError, match="checkpoint.pt must be a file; got a link to nowhere"):
        train(tmp_path)
