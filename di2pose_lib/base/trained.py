"""Trained networks on disk: made from a seed, saved beside their history, loaded frozen."""

from typing import NamedTuple

import torch
from torch import nn

from di2pose_lib.base.devices import default_device
from di2pose_lib.base.files import read_json, write_json, write_text
from di2pose_lib.base.seeding import seed_for

WEIGHTS = "weights.safetensors"


class Trained(NamedTuple):
    """A trained, frozen network, its training history and its report."""

    model: nn.Module
    history: list
    report: dict


def seeded(config, name, make, *arguments):
    """A network whose first weights depend on the seed and its name alone."""
    torch.manual_seed(seed_for(config.seed, name))
    return make(*arguments).to(default_device())


def save(folder, model, history, report):
    """Write weights, history and report of a training into a folder."""
    from safetensors.torch import save_file

    weights = {name: tensor.contiguous().cpu() for name, tensor in model.state_dict().items()}
    save_file(weights, folder / WEIGHTS)
    write_json(folder / "history.json", history)
    write_json(folder / "report.json", report)


def load(pipeline, folder, model):
    """A `Trained` from an artefact; its report and history also become results."""
    from safetensors.torch import load_file

    model.load_state_dict(load_file(folder / WEIGHTS))
    history, report = read_json(folder / "history.json"), read_json(folder / "report.json")
    if pipeline.stage in (None, folder.name):
        write_json(pipeline.results / f"{folder.name}.json", report)
        columns = list(history[0]) if history else ["step", "loss"]
        lines = [",".join(f"{row[column]}" for column in columns) for row in history]
        write_text(
            pipeline.results / f"{folder.name}_history.csv",
            "\n".join([",".join(columns), *lines]) + "\n",
        )
    model.requires_grad_(False)
    return Trained(model.eval().to(default_device()), history, report)
