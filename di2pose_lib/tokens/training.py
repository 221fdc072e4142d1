"""Stage 03: train the pose tokenizer with L1 on coordinates, and report on it."""

import torch

from di2pose_lib.base.metrics import MM_PER_M, mpjpe_mm, pa_mpjpe_mm
from di2pose_lib.base.skeleton import FLIP
from di2pose_lib.base.training import fit
from di2pose_lib.tokens.tokenizer import POSE_UNIT


def augment_poses(pose, camera_rotation, settings, generator):
    """Training poses turned about the world's vertical, mirrored and scaled at random.

    The paper is silent on augmentation; each kind is a parameter.

    Args:
        pose: float (B, J, 3), camera frame, root-relative, metres.
        camera_rotation: world to camera, float (B, 3, 3).
        settings: a `TokenizerStageConfig`.
        generator: torch.Generator.
    """
    batch = len(pose)
    if settings.rotate:
        angle = 2 * torch.pi * torch.rand(batch, generator=generator)
        turn = torch.zeros(batch, 3, 3)
        turn[:, 0, 0] = turn[:, 1, 1] = angle.cos()
        turn[:, 1, 0], turn[:, 0, 1] = angle.sin(), -angle.sin()
        turn[:, 2, 2] = 1.0
        # From the camera to the world, about its z, and back: x_new = (R T Rᵀ) x.
        pose = pose @ (camera_rotation @ turn @ camera_rotation.transpose(1, 2)).transpose(1, 2)
    if settings.flip:
        mirror = (torch.rand(batch, generator=generator) < 0.5)[:, None, None]
        pose = torch.where(mirror, pose[:, FLIP] * torch.tensor([-1.0, 1.0, 1.0]), pose)
    scale = 1 + settings.scale_range * (2 * torch.rand(batch, generator=generator) - 1)
    return pose * scale[:, None, None]


def train_tokenizer(tokenizer, train, validation, settings, seed, checkpoint_folder):
    """Train a `PoseTokenizer` in place on the poses of `train`.

    Args:
        tokenizer: on the device to train on.
        train, validation: `PoseDataset`s of different subjects.
        settings: a `TokenizerStageConfig`.
        seed, checkpoint_folder: as in `training.fit`.

    Returns:
        (history, report), the report by `reconstruction_report` on validation.
    """
    where = next(tokenizer.parameters()).device

    def loss_function(rows, generator):
        pose, rotation = train.take("pose", rows), train.take("camera_rotation", rows)
        pose = augment_poses(pose, rotation, settings, generator).to(where)
        l1 = (tokenizer(pose) - pose).abs().mean()
        return l1 / POSE_UNIT, {"l1_mm": l1 * MM_PER_M}

    history = fit(
        "pose tokenizer",
        tokenizer,
        loss_function,
        len(train),
        settings.optimizer,
        seed,
        checkpoint_folder,
    )
    return history, reconstruction_report(tokenizer, validation.take("pose").to(where))


@torch.no_grad()
def reconstruction_report(tokenizer, pose):
    """Reconstruction errors (mm) and code use of a tokenizer on poses (n, J, 3).

    `code_perplexity` is the exponential of the entropy of the codes over all tokens;
    `codes_used_share` of the C codes occur; `levels_used_share` is the mean over
    channels of the share of its levels that occur; `level_entropy_share` is the entropy of
    a channel's levels over log L, of the channel where it is lowest.
    """
    tokens = tokenizer.encode(pose)
    channels = tokenizer.quantizer.indices_to_codes(tokens).flatten(0, 1).T  # (d, n N)
    levels = torch.tensor(tokenizer.quantizer.levels)
    counts = [channel.unique(return_counts=True)[1].double() for channel in channels]
    used = torch.tensor([len(count) for count in counts]).double() / levels
    entropy = torch.stack([torch.special.entr(count / count.sum()).sum() for count in counts])
    return {
        **errors_and_code_use(tokenizer, pose, tokens),
        "levels_used_share": used.mean().item(),
        "level_entropy_share": (entropy.cpu() / levels.log()).min().item(),
    }


def errors_and_code_use(tokenizer, pose, tokens):
    """The part of `reconstruction_report` that any tokenizer has; `tokens` are those of `pose`."""
    rebuilt = tokenizer.decode(tokens)
    shares = torch.bincount(tokens.flatten(), minlength=tokenizer.num_codes).double()
    shares = shares / shares.sum()
    return {
        "validation_mpjpe_mm": mpjpe_mm(rebuilt, pose).mean().item(),
        "validation_pa_mpjpe_mm": pa_mpjpe_mm(rebuilt, pose).mean().item(),
        "code_perplexity": torch.special.entr(shares).sum().exp().item(),
        "codes_used_share": (shares > 0).double().mean().item(),
    }
