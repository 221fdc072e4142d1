"""One training loop for every network: deterministic, checkpointed, safe to kill.

The rows of a batch and its random draws depend on the seed and the step number alone,
so a run that was killed and resumed ends with the same bits as one that was not.
"""

import functools
import math
import time
from pathlib import Path

import torch

from di2pose_lib.base.checks import require
from di2pose_lib.base.files import is_there, load_tensors, locked, save_tensors
from di2pose_lib.base.progress import Progress, note
from di2pose_lib.base.seeding import generator_for

NUM_REPORTS = 40  # rows of a training history

# What writing checkpoints may take: so many seconds, and a share of the training's time.
WRITING_SECONDS, WRITING_SHARE = 10.0, 0.05


def num_training_steps(num_items, config):
    """As many steps as batches fit into `config.epochs` · `num_items` rows; at least one."""
    return max(1, round(config.epochs * num_items / config.batch_size))


def batch_rows(num_items, batch_size, step, seed, name):
    """Rows int64 (batch_size,) of step 0, 1, …: a fresh permutation each epoch.

    An epoch drops the rows that do not fill a batch; fewer rows than a batch are a
    ValueError.
    """
    per_epoch = num_items // batch_size
    require(per_epoch > 0, f"`batch_size` must not exceed {num_items} items; got {batch_size}")
    epoch, position = divmod(step, per_epoch)
    order = _epoch_order(num_items, seed, name, epoch)
    return order[position * batch_size : (position + 1) * batch_size].clone()


@functools.lru_cache(maxsize=1)  # all steps of an epoch need the same
def _epoch_order(num_items, seed, name, epoch):
    return torch.randperm(num_items, generator=generator_for(seed, name, "order", epoch))


def learning_rate_factor(step, total, warmup_steps):
    """Linear warm-up, then half a cosine down to zero; `step` counts from 0."""
    if step < warmup_steps:
        return (step + 1) / warmup_steps
    done = (step - warmup_steps) / max(1, total - warmup_steps)
    return 0.5 * (1 + math.cos(math.pi * done))


def make_optimizer(model, config):
    """AdamW; weight decay on matrices and positions, not on biases and norms (vectors)."""
    trained = [p for p in model.parameters() if p.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim >= 2], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim < 2], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(0.9, config.beta2), fused=True)


class _Average:
    """Exponential moving average of a model's parameters."""

    def __init__(self, model, decay):
        self.decay = decay
        self.weights = {k: p.detach().clone() for k, p in model.named_parameters()}

    @torch.no_grad()
    def update(self, model, step):
        decay = min(self.decay, (1 + step) / (10 + step))  # early weights fade quickly
        parameters = dict(model.named_parameters())
        torch._foreach_lerp_(
            list(self.weights.values()), [parameters[k] for k in self.weights], 1 - decay
        )

    @torch.no_grad()
    def copy_to(self, model):
        for name, parameter in model.named_parameters():
            parameter.copy_(self.weights[name])


class _Checkpoint:
    """A training's checkpoint file, and whether there is time to write it."""

    def __init__(self, folder):
        self.path = Path(folder) / "checkpoint.pt"
        self.began, self.last, self.spent = time.monotonic(), 0.0, 0.0

    def has_time(self):
        """Whether one more that takes as long as the last is within what writing may take."""
        allowed = WRITING_SECONDS + WRITING_SHARE * (time.monotonic() - self.began)
        return self.spent + self.last <= allowed

    def save(self, state):
        began = time.monotonic()
        save_tensors(self.path, state)
        self.last = time.monotonic() - began
        self.spent += self.last


def fit(
    name,
    model,
    loss_function,
    num_items,
    config,
    seed,
    checkpoint_folder,
    *,
    state=None,
    stop_at=None,
):
    """Train `model` in place; continues from a checkpoint where there is one.

    A checkpoint is due every `checkpoint_every` steps, and at the end. Large ones are written
    less often: all writing takes `WRITING_SECONDS` and `WRITING_SHARE` of the time at most,
    but for the first and the last. The result is the same whenever they are written.

    Args:
        name: of the training, for its random draws and its progress lines.
        model: a module; all its parameters that require a gradient are trained.
        loss_function: `(rows int64 (B,), generator) -> (loss, {name: scalar})`.
        num_items: rows to draw from.
        config: an `OptimizerConfig`.
        seed: int.
        checkpoint_folder: for this training alone; the caller keys it by everything
            that the result depends on, and removes it when the result is safe.
        state: {name: tensor} that the loss function changes in place, or None; part of the
            checkpoint.
        stop_at: end early after this many steps, with a checkpoint (for tests).

    Returns:
        history, a list of {"step", "loss", …}: means since the row before.

    Raises:
        ValueError: fewer items than a batch, or a loss that is not finite.
    """
    total = num_training_steps(num_items, config)
    require(
        config.warmup_steps < total,
        f"`warmup_steps` must be below the {total} steps of {name}; got {config.warmup_steps}",
    )
    checkpoint = _Checkpoint(checkpoint_folder)
    optimizer = make_optimizer(model, config)
    average = _Average(model, config.ema_decay) if config.ema_decay else None
    done, history, sums, summed = 0, [], {}, 0
    state = state or {}

    def save():
        checkpoint.save(
            {
                "step": done,
                "model": model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "average": average.weights if average else None,
                "history": history,
                "sums": sums,
                "summed": summed,
                "state": state,
            }
        )

    with locked(checkpoint_folder):
        if is_there(checkpoint.path):
            saved = load_tensors(checkpoint.path)
            model.load_state_dict(saved["model"])
            optimizer.load_state_dict(saved["optimizer"])
            if average:
                for key, weight in average.weights.items():
                    weight.copy_(saved["average"][key])
            done, history = saved["step"], saved["history"]
            sums, summed = saved["sums"], saved["summed"]
            for key, value in state.items():
                value.copy_(saved["state"][key])
            note(f"{name}: continuing from step {done} of {total}")
        progress = Progress(name, total, done)
        every = max(1, total // NUM_REPORTS)
        model.train()
        while done < total:
            rows = batch_rows(num_items, config.batch_size, done, seed, name)
            loss, values = loss_function(rows, generator_for(seed, name, "step", done))
            factor = learning_rate_factor(done, total, config.warmup_steps)
            for group in optimizer.param_groups:
                group["lr"] = config.learning_rate * factor
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = torch.nn.utils.clip_grad_norm_(model.parameters(), config.clip_norm)
            values = {"loss": loss, **values}
            seen = [norm, *(value.detach() for value in values.values())]
            seen = torch.stack([value.to(norm.device, torch.float64) for value in seen])
            norm, *numbers = seen.tolist()  # together: a GPU is waited for once
            require(  # before the weights, and a checkpoint, take it in
                math.isfinite(norm) and math.isfinite(numbers[0]),
                f"{name}: the loss and its gradient must stay finite; got loss {numbers[0]}, "
                f"gradient norm {norm} at step {done + 1}",
            )
            optimizer.step()
            done += 1
            if average:
                average.update(model, done)
            for key, number in zip(values, numbers, strict=True):
                sums[key] = sums.get(key, 0.0) + number
            summed += 1
            progress.tick(done)
            if done % every == 0 or done == total:
                means = {key: value / summed for key, value in sums.items()}
                history.append({"step": done, **means})
                progress.report(done, means)
                sums, summed = {}, 0
            due = done % config.checkpoint_every == 0 and checkpoint.has_time()
            if due or done in (total, stop_at):
                save()
            if done == stop_at:
                return history
        if average:
            average.copy_to(model)
        model.eval()
    return history
