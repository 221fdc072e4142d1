"""Discrete diffusion over pose tokens (notebooks 04, 05 and 09): the paper's second stage.

The occlude-and-replace chain and its posterior, the loss, the sampler, the denoiser that sees the
picture, and their training. The chain knows no network and the denoiser no schedule: the sampler
takes any callable that gives logits.
"""

from di2pose_lib.diffusion.losses import diffusion_loss, elbo
from di2pose_lib.diffusion.sampler import inference_steps, sample, sample_with_probs
from di2pose_lib.diffusion.schedule import (
    OccludeReplaceSchedule,
    cumulative_transition_matrix,
    transition_matrix,
)
from di2pose_lib.diffusion.stage import trained_denoiser
from di2pose_lib.diffusion.training import make_denoiser, make_schedule
from di2pose_lib.diffusion.transitions import (
    p_posterior_probs,
    q_posterior_probs,
    q_posterior_sample,
    q_probs,
    q_sample,
)

__all__ = [
    "OccludeReplaceSchedule",
    "cumulative_transition_matrix",
    "diffusion_loss",
    "elbo",
    "inference_steps",
    "make_denoiser",
    "make_schedule",
    "p_posterior_probs",
    "q_posterior_probs",
    "q_posterior_sample",
    "q_probs",
    "q_sample",
    "sample",
    "sample_with_probs",
    "trained_denoiser",
    "transition_matrix",
]
