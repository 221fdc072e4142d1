"""Stage 02: the image encoder and the features of the training images."""

import numpy as np
import torch

from di2pose_lib.base.config_file import to_dict
from di2pose_lib.base.devices import compute_in
from di2pose_lib.base.files import is_there
from di2pose_lib.base.trained import load, save, seeded
from di2pose_lib.data.stage import prepared_data
from di2pose_lib.encoder.image_encoder import BACKBONES, ImageEncoder, checkpoint_digests
from di2pose_lib.encoder.training import encode_images, train_encoder, write_features


def trained_encoder(pipeline):
    """Stage 02: the `ImageEncoder`; features of the training images where cached."""
    config, data = pipeline.config, prepared_data(pipeline)
    precision = config.diffusion.precision

    def made_from():
        lower = {} if precision == "float32" else {"precision": precision}
        return {
            "encoder": to_dict(config.encoder),
            "checkpoint": checkpoint_digests(config.encoder),
            "seed": config.seed,
            "data": pipeline.content("data_preparation"),
            **lower,
        }

    def build(new, inputs):
        encoder = seeded(
            config, "image encoder", ImageEncoder, config.encoder, data["train"].image_size
        )
        compute_in(precision, encoder, "forward")
        history, report = [], {}
        if BACKBONES[config.encoder.backbone].trained_here:
            checkpoints = pipeline.checkpoint_folder("image_encoder", inputs)
            history, report = train_encoder(
                encoder, data["train"], data["validation"], config.encoder, config.seed, checkpoints
            )
        encoder.eval()
        if config.encoder.cache_features:
            write_features(encoder, data["train"], new / "train_features.npy")
        save(new, encoder, history, report)

    folder = pipeline.artifact("image_encoder", made_from, build)
    trained = load(pipeline, folder, ImageEncoder(config.encoder, data["train"].image_size))
    compute_in(precision, trained.model, "forward")
    return trained


def train_features(pipeline, encoder, train):
    """`rows -> features (B, tokens, width)` of training images: cached, or computed anew."""
    path = pipeline.artifacts / "image_encoder" / "train_features.npy"
    if not is_there(path):
        return lambda rows: encode_images(encoder, train, rows)
    cached = np.load(path, mmap_mode="r", allow_pickle=False)
    return lambda rows: torch.from_numpy(np.array(cached[rows])).float()
