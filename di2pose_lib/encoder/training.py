"""Stage 02: train the small encoder on 2D-joint heatmaps; compute frozen features."""

import numpy as np
import torch
from torch import nn

from di2pose_lib.base.progress import Progress
from di2pose_lib.base.seeding import seed_for
from di2pose_lib.base.training import fit
from di2pose_lib.encoder.image_encoder import HeatmapHead, heatmap_joints, heatmap_loss

IMAGES_AT_ONCE = 256


def train_encoder(encoder, train, validation, settings, seed, checkpoint_folder):
    """Train an `ImageEncoder` in place on heatmaps of the 2D joints.

    Args:
        encoder: on the device to train on.
        train, validation: `PoseDataset`s of different subjects.
        settings: an `EncoderConfig`.
        seed, checkpoint_folder: as in `training.fit`.

    Returns:
        (history, report): the report holds the mean distance in pixels between the
        heatmaps' expectation and the true joint on validation images, over all and
        over visible joints.
    """
    where = next(encoder.parameters()).device
    torch.manual_seed(seed_for(seed, "heatmap head"))
    head = HeatmapHead(encoder.width, encoder.grid).to(where)

    def loss_function(rows, generator):
        logits = head(encoder(train.take("image", rows).to(where)))
        joints = train.take("joints_2d", rows).to(where)
        return heatmap_loss(logits, joints, encoder.image_size, settings.heatmap_sigma), {}

    both = nn.ModuleDict({"encoder": encoder, "head": head})
    history = fit(
        "image encoder",
        both,
        loss_function,
        len(train),
        settings.optimizer,
        seed,
        checkpoint_folder,
    )
    errors = joint_errors_px(encoder, head, validation)
    visible = validation.take("visible")
    report = {
        "validation_joint_error_px": errors.mean().item(),
        "validation_visible_joint_error_px": errors[visible].mean().item(),
    }
    return history, report


@torch.no_grad()
def joint_errors_px(encoder, head, dataset):
    """Distance (n, J) in pixels between heatmap expectation and true joint."""
    where, errors = next(encoder.parameters()).device, []
    for first in range(0, len(dataset), IMAGES_AT_ONCE):
        rows = slice(first, first + IMAGES_AT_ONCE)
        logits = head(encoder(dataset.take("image", rows).to(where)))
        joints = heatmap_joints(logits, encoder.image_size).cpu()
        errors.append((joints - dataset.take("joints_2d", rows)).norm(dim=-1))
    return torch.cat(errors)


@torch.no_grad()
def encode_images(encoder, dataset, rows):
    """Features (B, tokens, width) of images `rows` of a dataset, on the encoder's device."""
    return encoder(dataset.take("image", rows).to(next(encoder.parameters()).device))


def write_features(encoder, dataset, path):
    """Features of all images of a split as a .npy in float16 (half the disk; rounding moves
    them by 1 in 2000), never whole in memory.
    """
    shape = (len(dataset), *encoder.feature_shape)
    array = np.lib.format.open_memmap(path, mode="w+", dtype=np.float16, shape=shape)
    progress = Progress("features of the training images", len(dataset))
    for first in range(0, len(dataset), IMAGES_AT_ONCE):
        rows = slice(first, first + IMAGES_AT_ONCE)
        array[rows] = encode_images(encoder, dataset, rows).half().cpu().numpy()
        progress.tick(min(first + IMAGES_AT_ONCE, len(dataset)))
    progress.report(len(dataset), {})
    array.flush()
