"""Reverse diffusion (Alg. 2): from the stationary law to clean tokens, in any number of steps.

A reverse step from s to u draws k̂_0 from the denoiser's f(k̂_0 | k_s, y), then k_u from
q(k_u | k_s, k̂_0): together a draw from Eq. 9 for the stride from u to s, exactly, that
needs no probabilities over the C + 1 values of k_u.
"""

from typing import NamedTuple

import torch

from di2pose_lib import draws
from di2pose_lib.checks import require
from di2pose_lib.schedule import as_integer
from di2pose_lib.transitions import q_posterior_sample, q_sample


class Sampled(NamedTuple):
    """What the reverse chain ends with."""

    tokens: torch.Tensor
    """Clean tokens, int64 (B, N), in [0, C)."""
    k_start_probs: torch.Tensor
    """The last step's distribution of them, float (B, N, C)."""


def inference_steps(num_steps, num_inference_steps):
    """The noisy steps at which the denoiser is called, evenly spaced, from S down.

    Args:
        num_steps: S ≥ 1.
        num_inference_steps: how many of them, in [1, S].

    Returns:
        list of `num_inference_steps` different ints, the first S, the last ≥ 1; from the
        last the chain goes to step 0. With S = 100 and 25: 100, 96 … 4.

    Raises:
        ValueError: `num_inference_steps` is not an integer in [1, S].
    """
    count = as_integer("num_inference_steps", num_inference_steps)
    require(
        1 <= count <= num_steps, f"`num_inference_steps` must lie in [1, {num_steps}]; got {count}"
    )
    return [num_steps * left // count for left in range(count, 0, -1)]


def sample(denoiser, schedule, condition, num_tokens, num_inference_steps, generator, **options):
    """Clean tokens of `sample_with_probs`, int64 (B, N); the same arguments."""
    return sample_with_probs(
        denoiser, schedule, condition, num_tokens, num_inference_steps, generator, **options
    ).tokens


@torch.no_grad()
def sample_with_probs(
    denoiser,
    schedule,
    condition,
    num_tokens,
    num_inference_steps,
    generator,
    *,
    final="sample",
    batch_size=None,
    device=None,
    on_step=None,
):
    """Draw poses' tokens by reverse diffusion (Alg. 2).

    The largest tensors are a few of the logits' size (B, N, C); the caller splits what is
    too large a batch for that, and repeats the condition H times for H samples.

    Args:
        denoiser: callable (k_s, step, condition) -> logits float (B, N, C); k_s int64
            (B, N) in [0, C], step int64 (B,) in [1, S]. A logit may be −inf.
        schedule: OccludeReplaceSchedule.
        condition: passed on to the denoiser; a tensor (B, ...), or anything else together
            with `batch_size`.
        num_tokens: N.
        num_inference_steps: in [1, S]; the steps are those of `inference_steps`.
        generator: torch.Generator, the only source of randomness, or a list of one for
            each of the B rows, so that a row's tokens do not depend on the batch it is in
            (but for ties in floating point). Draws are made on its device, so a CPU
            generator gives the same draws whatever `device` is.
        final: "sample" draws the clean tokens at the last step, "argmax" takes the most
            probable code of each token there; the steps before draw in both cases.
        batch_size: B; None takes it from a tensor condition.
        device: of the tokens; None takes it from a tensor condition, else "cpu".
        on_step: None or callable (step, k_s, k_start_probs), called at each step s before
            its draw, for what shows or records the chain: int, int64 (B, N), float (B, N, C).

    Returns:
        Sampled. Its tokens and probabilities obey Eq. 9: a code that is seen in an
        occlude-only chain stays, whatever the denoiser says of it.

    Raises:
        ValueError: an argument out of range, no batch size or two different ones,
            `generator` not a torch.Generator, or logits of another shape or with NaN.
    """
    steps = inference_steps(schedule.num_steps, num_inference_steps)
    require(final in ("sample", "argmax"), f'`final` must be "sample" or "argmax"; got {final!r}')
    num_tokens = as_integer("num_tokens", num_tokens)
    require(num_tokens >= 1, f"`num_tokens` must be at least 1; got {num_tokens}")
    batch_size, device = _batch(condition, batch_size, device)

    # ᾱ_S = 0: at step S nothing is left of k_0, so any k_0 gives the stationary law
    k_s = torch.zeros(batch_size, num_tokens, dtype=torch.int64, device=device)
    k_s = q_sample(schedule, k_s, schedule.num_steps, generator)
    for s, u in zip(steps, steps[1:] + [0], strict=True):
        step = torch.full((batch_size,), s, device=device)
        probs = _k_start_probs(schedule, denoiser(k_s, step, condition), k_s)
        if on_step is not None:
            on_step(s, k_s, probs)
        if u == 0 and final == "argmax":
            return Sampled(probs.argmax(dim=-1), probs)
        k_start = _draw_codes(probs, generator)
        k_s = q_posterior_sample(schedule, k_start, k_s, s, generator, prev_step=u)
    return Sampled(k_s, probs)


def _batch(condition, batch_size, device):
    """(B, device) of the tokens."""
    is_tensor = isinstance(condition, torch.Tensor)
    if is_tensor:
        require(condition.dim() >= 1, "`condition` must have a batch axis; got a 0-d tensor")
        device = condition.device if device is None else device
    if batch_size is None:
        require(
            is_tensor,
            "`batch_size` must be given unless `condition` is a tensor (B, ...); "
            f"got a condition of type {type(condition).__name__}",
        )
        batch_size = condition.shape[0]
    batch_size = as_integer("batch_size", batch_size)
    require(batch_size >= 1, f"`batch_size` must be at least 1; got {batch_size}")
    require(
        not is_tensor or condition.shape[0] == batch_size,
        f"`batch_size` must be that of `condition`, {condition.shape[0] if is_tensor else 0}; "
        f"got {batch_size}",
    )
    return batch_size, "cpu" if device is None else device


def _k_start_probs(schedule, logits, k_s):
    """f(k̂_0 | k_s, y) over the codes from which `k_s` can be reached, float32 or better."""
    wanted = (*k_s.shape, schedule.num_codes)
    got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    require(got == wanted, f"`denoiser` must return logits of shape {wanted}; got {got}")
    require(
        logits.is_floating_point(),
        f"`denoiser` must return floating-point logits; got {logits.dtype}",
    )
    dtype = torch.promote_types(logits.dtype, torch.float32)
    probs = torch.softmax(logits, dim=-1, dtype=dtype)
    require(
        bool(probs.sum(dim=-1).isfinite().all()),
        "`denoiser` must return logits without NaN or +inf, and a finite one for each token; "
        "got one that is not",
    )
    if schedule.final_replace_rate == 0:  # a code that is seen was never replaced
        seen = k_s < schedule.num_codes
        probs[seen] = 0
        probs[seen, k_s[seen]] = 1
    return probs


def _draw_codes(probs, generator):
    """One code per token, int64 (B, N), by inverse CDF of probs (B, N, C)."""
    cumulative = probs.cumsum(dim=-1)
    draw = draws.uniform((*probs.shape[:-1], 1), generator, probs.dtype, probs.device)
    # draw < 1 times the total is below the total in floating point too, and `right` steps over
    # codes of probability 0, so neither end needs a clamp
    draw = draw * cumulative[..., -1:]
    return torch.searchsorted(cumulative, draw, right=True)[..., 0]
