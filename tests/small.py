"""Small prepared splits and settings of a training, for more than one test file."""

from types import SimpleNamespace

import torch
from torch import nn

from di2pose_lib.base.config import EncoderConfig, OptimizerConfig, TokenizerConfig
from di2pose_lib.data.dataset import FIELDS, PoseDataset, SplitWriter

SIZE = (8, 6)  # height and width in pixels


def make_split(
    folder, count, subjects=("S9", "S11"), actions=("walk", "dance"), size=SIZE, **given
):
    """A `PoseDataset` of random poses; `given` sets whole fields.

    Image n is n everywhere; every joint is visible, every camera stands in one place.
    """
    generator = torch.Generator().manual_seed(count)
    axes = {"H": size[0], "W": size[1]}
    rows = {
        name: torch.zeros(count, *(axes.get(n, n) for n in shape), dtype=getattr(torch, dtype))
        for name, (dtype, shape) in FIELDS.items()
    }
    rows["image"] += torch.arange(count, dtype=torch.uint8)[:, None, None, None]
    rows["pose"] = 0.3 * torch.randn(count, 17, 3, generator=generator)
    rows["pose"][:, 0] = 0
    rows["visible"][:] = True
    rows["sequence"] = torch.arange(count, dtype=torch.int32)
    rows["recording"] = torch.arange(count, dtype=torch.int32) // 2
    rows["subject"] = (torch.arange(count) % len(subjects)).short()
    rows["camera_position"] = torch.tensor([5.0, 0.0, 1.5]).expand(count, 3).clone()
    rows.update(given)
    meta = {"source": "x", "split": "test", "subjects": list(subjects), "actions": list(actions)}
    writer = SplitWriter(folder, count, size, meta)
    writer.write(**rows)
    writer.close()
    return PoseDataset(folder)


def tokenizer_sizes(**changes):
    """A `TokenizerConfig` of one block on either side."""
    values = {
        "num_tokens": 5,
        "levels": (3, 4),
        "width": 16,
        "encoder_blocks": 1,
        "decoder_width": 16,
        "decoder_blocks": 1,
        "local_joints": 3,
        "neighbours": "index",
        "start_at_joints": True,
    }
    return TokenizerConfig(**{**values, **changes})


def encoder_config(**changes):
    """An `EncoderConfig` of one layer on patches of 8 pixels."""
    values = {
        "backbone": "small",
        "checkpoint": "",
        "patch_size": 8,
        "width": 8,
        "layers": 1,
        "heads": 2,
        "heatmap_sigma": 1.0,
        "cache_features": False,
        "optimizer": None,
    }
    return EncoderConfig(**{**values, **changes})


class PixelEncoder(nn.Module):
    """An image's first red value is its feature; notes how many images come at once."""

    image_size = SIZE

    def __init__(self):
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(()))
        self.batches = []

    def forward(self, images):
        self.batches.append(len(images))
        return images[:, :1, 0, :1].float()  # (n, 1, 1)


def optimizer(**changes):
    """An `OptimizerConfig` without warm-up, decay and average."""
    values = {
        "epochs": 10.0,
        "batch_size": 8,
        "learning_rate": 1e-2,
        "weight_decay": 0.0,
        "beta2": 0.99,
        "warmup_steps": 0,
        "clip_norm": 1.0,
        "ema_decay": 0.0,
        "checkpoint_every": 1000,
    }
    return OptimizerConfig(**{**values, **changes})


def small_config(source="synthetic", seed=0, **evaluation):
    """What rows need of a `Config`; `evaluation` sets fields of that section."""
    parts = {"data": SimpleNamespace(source=source), "evaluation": SimpleNamespace(**evaluation)}
    return SimpleNamespace(scale="smoke", seed=seed, **parts)


def measured(rows, **wanted):
    """(mean over images, how many) of the rows of a table that have these values."""
    for name, value in wanted.items():
        rows = rows[rows[name] == value]
    count = int(rows.n.sum())
    return (rows.value * rows.n).sum() / count if count else None, count
