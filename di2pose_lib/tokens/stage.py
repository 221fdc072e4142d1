"""Stage 03: the pose tokenizer and the tokens of a split."""

import torch

from di2pose_lib.base.config_file import to_dict
from di2pose_lib.base.trained import load, save, seeded
from di2pose_lib.data.stage import prepared_data
from di2pose_lib.tokens.tokenizer import PoseTokenizer
from di2pose_lib.tokens.training import train_tokenizer

POSES_AT_ONCE = 4096  # that are encoded together


def trained_tokenizer(pipeline):
    """Stage 03: the `PoseTokenizer`."""
    config, data = pipeline.config, prepared_data(pipeline)

    def made_from():
        return {
            "tokenizer": to_dict(config.tokenizer),
            "seed": config.seed,
            "data": pipeline.content("data_preparation"),
        }

    def build(new, inputs):
        tokenizer = seeded(config, "pose tokenizer", PoseTokenizer, config.tokenizer.sizes)
        checkpoints = pipeline.checkpoint_folder("pose_tokenizer", inputs)
        history, report = train_tokenizer(
            tokenizer, data["train"], data["validation"], config.tokenizer, config.seed, checkpoints
        )
        save(new, tokenizer, history, report)

    folder = pipeline.artifact("pose_tokenizer", made_from, build)
    return load(pipeline, folder, PoseTokenizer(config.tokenizer.sizes))


@torch.no_grad()
def tokenize(tokenizer, dataset):
    """Tokens int64 (n, N), on the CPU, of all poses of a split."""
    where = next(tokenizer.parameters()).device
    starts = range(0, len(dataset), POSES_AT_ONCE)
    parts = (dataset.take("pose", slice(s, s + POSES_AT_ONCE)).to(where) for s in starts)
    return torch.cat([tokenizer.encode(part).cpu() for part in parts])
