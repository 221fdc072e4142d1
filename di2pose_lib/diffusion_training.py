"""Stage 05: train the denoiser on tokens and frozen image features (Alg. 1)."""

import torch

from di2pose_lib.denoiser import Denoiser, DenoiserConfig
from di2pose_lib.losses import diffusion_loss
from di2pose_lib.training import fit
from di2pose_lib.transitions import OccludeReplaceSchedule, q_sample


def make_schedule(config):
    """The occlude-and-replace chain of a `Config`."""
    settings = config.diffusion
    return OccludeReplaceSchedule(
        config.tokenizer.sizes.num_codes,
        settings.num_steps,
        settings.final_occlude_rate,
        settings.final_replace_rate,
    )


def make_denoiser(config, condition_shape, code_table=None):
    """An untrained `Denoiser` of a `Config`'s sizes.

    Args:
        config: a `Config`.
        condition_shape: (tokens, width) of the image features.
        code_table: as for `Denoiser`.
    """
    condition_tokens, condition_width = condition_shape
    settings, sizes = config.diffusion, config.tokenizer.sizes
    return Denoiser(
        DenoiserConfig(
            num_codes=sizes.num_codes,
            num_tokens=sizes.num_tokens,
            num_steps=settings.num_steps,
            condition_tokens=condition_tokens,
            condition_width=condition_width,
            width=settings.width,
            layers=settings.layers,
            heads=settings.heads,
        ),
        code_table,
    )


def train_denoiser(
    denoiser, schedule, tokens, features, validation, settings, seed, checkpoint_folder
):
    """Train a `Denoiser` in place.

    Args:
        denoiser: on the device to train on.
        schedule: its chain.
        tokens: clean tokens of the training poses, int64 (n, N).
        features: `rows -> features` of the training images.
        validation: (tokens (m, N), features (m, tokens, width)) of other subjects.
        settings: a `DiffusionConfig`.
        seed, checkpoint_folder: as in `training.fit`.

    Returns:
        (history, report): losses on training batches; on validation, nats per token.
    """
    where = next(denoiser.parameters()).device

    def losses(k_start, condition, generator):
        step = torch.randint(1, schedule.num_steps + 1, (len(k_start),), generator=generator)
        k_s = q_sample(schedule, k_start, step, generator).to(where)
        k_start, step = k_start.to(where), step.to(where)
        with torch.autocast(where.type, torch.bfloat16, enabled=settings.precision == "bfloat16"):
            logits = denoiser(k_s, step, condition.to(where))
        return diffusion_loss(schedule, logits, k_start, k_s, step, settings.aux_weight)

    def loss_function(rows, generator):
        result = losses(tokens[rows], features(rows), generator)
        return result.loss, {"vlb": result.vlb, "aux": result.aux}

    history = fit(
        "denoiser",
        denoiser,
        loss_function,
        len(tokens),
        settings.optimizer,
        seed,
        checkpoint_folder,
    )
    with torch.no_grad():
        generator = torch.Generator().manual_seed(seed)
        result = losses(*validation, generator)
    report = {
        "validation_vlb_nats": result.vlb.item(),
        "validation_aux_nats": result.aux.item(),
    }
    return history, report
