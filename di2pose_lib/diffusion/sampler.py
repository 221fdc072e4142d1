"""Reverse diffusion (Alg. 2): from the stationary law to clean tokens, in any number of steps.

A reverse step from s to u draws k̂_0 from the denoiser's f(k̂_0 | k_s, y), then k_u from
q(k_u | k_s, k̂_0): together a draw from Eq. 9 for the stride from u to s, exactly, that
needs no probabilities over the C + 1 values of k_u. Tokens are drawn independently given
k_s, so with several tokens the law of the result still depends on the number of steps.

The chain's tokens stay on the CPU, where they are drawn, and are copied to the denoiser: of a
GPU each step asks two things, whether its logits are numbers and which codes were drawn.
"""

import math
from typing import NamedTuple

import numpy as np
import torch

from di2pose_lib.base.checks import as_integer, check_number, check_range, check_tensor, require
from di2pose_lib.base.devices import moved
from di2pose_lib.diffusion.transitions import q_posterior_sample, q_sample, uniform, uniform_codes


class Sampled(NamedTuple):
    """What the reverse chain ends with."""

    tokens: torch.Tensor  # clean, int64 (B, N), in [0, C)
    k_start_probs: torch.Tensor  # the last step's distribution of them, float (B, N, C)


def inference_steps(num_steps, num_inference_steps, spacing="uniform"):
    """The noisy steps at which the denoiser is called, from S down.

    Args:
        num_steps: S ≥ 1.
        num_inference_steps: how many of them, in [1, S]; or the steps themselves, a list of
            strictly decreasing ints from S to no less than 1, without a `spacing`.
        spacing: "uniform": evenly spaced. "cosine": S · cos(π/2 · i / count), as MaskGIT
            spaces its masks: fine early, near S, where each new token tells most about the
            others, and coarse late, near 0, where the tokens seen leave little open.

    Returns:
        list of different ints, the first S, the last ≥ 1; from the last the chain goes to
        step 0. With S = 100 and 5: 100, 80, 60, 40, 20; "cosine" 100, 96, 81, 59, 31.

    Raises:
        ValueError: not an integer in [1, S], not such a list, another `spacing`, or a list
            together with "cosine".
    """
    require(
        spacing in ("uniform", "cosine"),
        f'`spacing` must be "uniform" or "cosine"; got {spacing!r}',
    )
    if isinstance(num_inference_steps, (list, tuple, range)):
        require(
            spacing == "uniform",
            f'`spacing` must be "uniform" where the steps are listed; got {spacing!r}',
        )
        return _listed_steps(num_steps, num_inference_steps)
    count = as_integer("num_inference_steps", num_inference_steps)
    require(
        1 <= count <= num_steps, f"`num_inference_steps` must lie in [1, {num_steps}]; got {count}"
    )
    if spacing == "uniform":
        return [num_steps * left // count for left in range(count, 0, -1)]
    steps = [num_steps]
    for i in range(1, count):
        # 1e-9: a whole number stays one. The arc lies above its chord, so going down by at
        # least 1 does not run out of steps.
        on_arc = math.ceil(num_steps * math.cos(math.pi / 2 * i / count) - 1e-9)
        steps.append(min(on_arc, steps[-1] - 1))
    return steps


def _listed_steps(num_steps, listed):
    """The steps that were listed, as ints."""
    steps = [as_integer(f"num_inference_steps[{i}]", step) for i, step in enumerate(listed)]
    falls = all(s > u for s, u in zip(steps, [*steps[1:], 0], strict=False))
    require(
        steps[:1] == [num_steps] and falls,
        f"`num_inference_steps` must fall strictly from S = {num_steps} to no less than 1; "
        f"got {steps}",
    )
    return steps


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
    spacing="uniform",
    known=None,
    temperature=1.0,
    truncation=1.0,
    order="random",
    final="sample",
    batch_size=None,
    device=None,
    on_step=None,
):
    """Draw poses' tokens by reverse diffusion (Alg. 2).

    The largest tensors are a few of the logits' size (B, N, C); the caller splits what is
    too large a batch for that. (`Denoiser.condition_memory` serves H rows without a copy.)

    Args:
        denoiser: callable (k_s, step, condition) -> logits float (B, N, C); k_s int64
            (B, N) in [0, C], step int64 (B,) in [1, S]. A logit may be −inf.
        schedule: OccludeReplaceSchedule.
        condition: passed on to the denoiser; a tensor (B, ...), or anything else together
            with `batch_size`.
        num_tokens: N.
        num_inference_steps: in [1, S], or a list; the steps are those of `inference_steps`.
        generator: torch.Generator, the only source of randomness, or a list of one for
            each of the B rows, so that a row's tokens do not depend on the batch it is in
            (but for ties in floating point). Draws are made on its device, so a CPU
            generator gives the same draws whatever `device` is.
        spacing: as for `inference_steps`.
        known: None, or tokens known to be right, int64 (B, N), in [0, C), −1 where unknown.
            The denoiser sees them as given at every step, and they come out as given. As in a
            chain whose known tokens were never noisy; the paper has no such thing, and a
            denoiser trained on other chains is only near to what the others then follow.
        temperature: in [1e-30, 1e30]; the logits are divided by it. Below 1 likely codes
            become likelier, with 1 the chain is exact.
        truncation: r in (0, 1]; of each token only the most probable codes are kept, as many
            as it takes (at least one) for their probabilities at this temperature to reach
            r; of equally probable ones the lower. With 1 all are kept, and the chain is exact.
        order: which tokens leave Occ at a step. "random": those of the exact chain.
            "confidence", not exact: of each row as many as in the exact chain, but those
            whose drawn k̂_0 has the largest probability before temperature and truncation (as
            in MaskGIT), of equals the first. Seen tokens are replaced
            as in the chain. Needs a chain that occludes.
        final: "sample" draws the clean tokens at the last step, "argmax" takes the most
            probable code of each token there; the steps before draw in both cases.
        batch_size: B; None takes it from a tensor condition.
        device: of the tokens; None takes it from a tensor condition, else "cpu".
        on_step: None or callable (step, k_s, k_start_probs), called at each step s before
            its draw, for what shows or records the chain: int, int64 (B, N), float (B, N, C).
            The probabilities are those that k̂_0 is drawn from.

    Returns:
        Sampled. Its tokens and probabilities obey Eq. 9: a code that is seen in an
        occlude-only chain stays, whatever the denoiser says of it.

    Raises:
        TypeError: `known` is not a tensor.
        ValueError: an argument out of range, no batch size or two different ones,
            `generator` neither a torch.Generator nor a list of one for each row,
            "confidence" for a chain that never occludes, or logits of another shape or with NaN.
    """
    steps = inference_steps(schedule.num_steps, num_inference_steps, spacing)
    _check_options(schedule, temperature, truncation, order, final)
    num_tokens = as_integer("num_tokens", num_tokens, least=1)
    batch_size, device = _batch(condition, batch_size, device)
    if known is not None:
        check_tensor("known", known, (batch_size, num_tokens), "int64")
        check_range("known", known, -1, schedule.num_codes - 1)
        known = known.cpu()

    schedule = schedule.to("cpu")
    # ᾱ_S = 0: at step S nothing is left of k_0, so any k_0 gives the stationary law
    k_s = torch.zeros(batch_size, num_tokens, dtype=torch.int64)
    k_s = q_sample(schedule, k_s, schedule.num_steps, generator)
    for s, u in zip(steps, steps[1:] + [0], strict=True):
        step = torch.full((batch_size,), s, device=device)
        shown = k_s if known is None else torch.where(known >= 0, known, k_s)
        shown = moved(shown, device)
        logits = denoiser(shown, step, condition)
        probs = _k_start_probs(schedule, logits, k_s, temperature, truncation)
        _put_certain_codes(probs, schedule, k_s, known)
        if on_step is not None:
            on_step(s, shown, probs)
        if u == 0 and final == "argmax":
            return Sampled(probs.argmax(dim=-1), probs)
        if order == "random":
            logits = None  # not needed any more: their memory may go
        drawn = _draw_codes(probs, generator)
        k_start = drawn.cpu()
        k_u = q_posterior_sample(schedule, k_start, k_s, s, generator, prev_step=u)
        if order == "confidence":
            confidence = _confidence(logits, drawn, known)
            k_u = _most_confident_leave(schedule, confidence, k_start, k_s, k_u, u, generator)
        k_s = k_u
    return Sampled(moved(k_s, device), probs)


def _check_options(schedule, temperature, truncation, order, final):
    """Refuse what is none of the values that `sample_with_probs` names."""
    check_number("temperature", temperature, "in [1e-30, 1e30]", lambda x: 1e-30 <= x <= 1e30)
    check_number("truncation", truncation, "in (0, 1]", lambda x: 0 < x <= 1)
    require(
        order in ("random", "confidence"),
        f'`order` must be "random" or "confidence"; got {order!r}',
    )
    occludes = schedule.final_occlude_rate > 0
    require(
        occludes or order == "random",
        f'`order` must be "random" where `final_occlude_rate` is 0; got {order!r}',
    )
    require(final in ("sample", "argmax"), f'`final` must be "sample" or "argmax"; got {final!r}')


def _batch(condition, batch_size, device):
    """(B, device) of the tokens."""
    is_tensor = isinstance(condition, torch.Tensor)
    if is_tensor:
        require(condition.dim() >= 1, "`condition` must have a batch axis; got a 0-d tensor")
        got = tuple(condition.shape)
        require(condition.numel() > 0, f"`condition` must not be empty; got shape {got}")
        device = condition.device if device is None else device
    if batch_size is None:
        require(
            is_tensor,
            "`batch_size` must be given unless `condition` is a tensor (B, ...); "
            f"got a condition of type {type(condition).__name__}",
        )
        batch_size = condition.shape[0]
    batch_size = as_integer("batch_size", batch_size, least=1)
    require(
        not is_tensor or condition.shape[0] == batch_size,
        f"`batch_size` must be that of `condition`, {condition.shape[0] if is_tensor else 0}; "
        f"got {batch_size}",
    )
    return batch_size, "cpu" if device is None else device


def _k_start_probs(schedule, logits, k_s, temperature, truncation):
    """f(k̂_0 | k_s, y) at this temperature, truncated; float32 or better."""
    wanted = (*k_s.shape, schedule.num_codes)
    got = tuple(logits.shape) if isinstance(logits, torch.Tensor) else type(logits).__name__
    require(got == wanted, f"`denoiser` must return logits of shape {wanted}; got {got}")
    require(
        logits.is_floating_point(),
        f"`denoiser` must return floating-point logits; got {logits.dtype}",
    )
    dtype = torch.promote_types(logits.dtype, torch.float32)
    if temperature != 1:  # the largest becomes 0: nothing overflows
        logits = (logits.to(dtype) - logits.amax(dim=-1, keepdim=True)).div_(temperature)
    probs = torch.softmax(logits, dim=-1, dtype=dtype)
    require(
        bool(probs.sum(dim=-1).isfinite().all()),
        "`denoiser` must return logits without NaN or +inf, and a finite one for each token; "
        "got one that is not",
    )
    return probs if truncation == 1 else _truncate(probs, truncation)


def _truncate(probs, share):
    """`probs` (..., C), in place, over the most probable codes that together reach `share`."""
    ranked, num_codes = _ascending(probs), probs.shape[-1]
    below = ranked[..., -64:].flip(-1).cumsum(dim=-1) < share  # most often so many reach it
    kept = 1 + below.sum(dim=-1, keepdim=True)
    if bool(below[..., -1].any()):
        every = ranked[below[..., -1]].flip(-1).cumsum(dim=-1)
        kept[below[..., -1]] = 1 + (every[..., :-1] < share).sum(dim=-1, keepdim=True)
    least = ranked.gather(-1, num_codes - kept)
    after = ranked.gather(-1, (num_codes - kept - 1).clamp_min(0))
    split = ((after == least) & (kept < num_codes))[..., 0]  # equals on both sides
    probs.mul_(probs >= least)
    if bool(split.any()):  # of equals the lower stay
        room = kept[split] - (ranked[split] > least[split]).sum(dim=-1, keepdim=True)
        tied = probs[split] == least[split]
        beyond = tied & (tied.cumsum(dim=-1, dtype=torch.int32) > room)
        probs[split] = probs[split].masked_fill(beyond, 0)
    return probs.div_(probs.sum(dim=-1, keepdim=True))


def _ascending(probs):
    """`probs` (..., C) sorted, the most probable last."""
    if probs.device.type == "cpu":  # where numpy sorts several times faster than torch
        return torch.from_numpy(np.sort(probs.numpy(), axis=-1))
    return probs.sort(dim=-1).values


def _put_certain_codes(probs, schedule, k_s, known):
    """Give probability 1 to what is known, and to a seen code that cannot be a replaced one."""
    if known is None and schedule.final_replace_rate > 0:
        return
    certain = torch.full_like(k_s, -1) if known is None else known
    if schedule.final_replace_rate == 0:
        certain = torch.where(k_s < schedule.num_codes, k_s, certain)
    certain = moved(certain, probs.device)[..., None]
    is_certain = certain >= 0
    probs.masked_fill_(is_certain, 0)
    probs.scatter_add_(-1, certain.clamp_min(0), is_certain.to(probs.dtype))


def _draw_codes(probs, generator):
    """One code per token, int64 (B, N), by inverse CDF of probs (B, N, C)."""
    cumulative = probs.cumsum(dim=-1)
    draw = uniform((*probs.shape[:-1], 1), generator, probs.dtype, probs.device)
    # draw < 1 times the total is below the total in floating point too, and `right` steps over
    # codes of probability 0, so neither end needs a clamp
    draw = draw * cumulative[..., -1:]
    return torch.searchsorted(cumulative, draw, right=True)[..., 0]


def _confidence(logits, k_start, known):
    """log f of the drawn codes, float (B, N), on the CPU, as the denoiser has it; known: +inf."""
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    drawn = (logits.gather(-1, k_start[..., None])[..., 0] - logits.logsumexp(dim=-1)).cpu()
    return drawn if known is None else drawn.masked_fill(known >= 0, math.inf)


def _most_confident_leave(schedule, confidence, k_start, k_s, k_u, u, generator):
    """`k_u` where, of each row's Occ, not the drawn ones leave but as many confident ones."""
    occ = schedule.num_codes
    hidden = k_s == occ
    count = (hidden & (k_u != occ)).sum(dim=-1, keepdim=True)
    confidence = confidence.masked_fill(~hidden, -math.inf)
    ranked = confidence.argsort(dim=-1, descending=True, stable=True)
    first = torch.arange(k_s.shape[1], device=k_s.device) < count  # in the ranks' order
    leaves = hidden & torch.zeros_like(hidden).scatter_(-1, ranked, first)
    # what has left by step u shows q(k_u | k̂_0, k_u ≠ Occ)
    beta, gamma = schedule.beta_bar[u].item(), schedule.gamma_bar[u].item()
    draw = uniform(k_s.shape, generator, torch.float64, k_s.device)
    other = uniform_codes(schedule.num_codes, k_s.shape, generator, k_s.device)
    shown = torch.where(draw * (1 - gamma) < schedule.num_codes * beta, other, k_start)
    return torch.where(hidden, torch.where(leaves, shown, occ), k_u)
