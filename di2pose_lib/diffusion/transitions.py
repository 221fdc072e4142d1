"""The occlude-and-replace chain on tokens: marginals and posteriors (Eqs. 5 to 9).

Codes are 0 … C − 1 and Occ is C. Step 0 is clean, steps 1 … S are noisy. The matrix
between any two steps is a multiple of the identity plus a constant plus an absorbing row,
so all of this is elementwise in the codes and nothing is of size C × C.

Wherever `step` is an int64 (B,) tensor, a Python int stands for the same step in the
whole batch; `prev_step` likewise.
"""

from functools import partial
from typing import NamedTuple

import torch

from di2pose_lib.base.checks import check_range, check_tensor, require
from di2pose_lib.base.devices import moved
from di2pose_lib.diffusion.schedule import Rates, rates_between


def q_probs(schedule, k_start, step):
    """Probabilities q(k_s | k_0) of the tokens at a noisy step (Eq. 7).

    Args:
        schedule: OccludeReplaceSchedule.
        k_start: clean tokens, int64 (B, N), in [0, C).
        step: int64 (B,), in [1, S], or an int.

    Returns:
        float64 (B, N, C + 1), summing to 1 over the last axis.

    Raises:
        ValueError: shapes disagree, or a token or a step is out of range.
    """
    batch, num_tokens = _check_tokens("k_start", k_start, schedule.num_codes - 1)
    step = schedule.check_steps(step, batch, k_start.device)
    alpha, beta, gamma = _cumulative(schedule, step)  # (B, 1)
    probs = beta[..., None].repeat(1, num_tokens, schedule.num_codes + 1)
    probs[..., -1] = gamma
    return probs.scatter_add_(-1, k_start[..., None], alpha.expand_as(k_start)[..., None])


def q_sample(schedule, k_start, step, generator):
    """Draw k_s from q(k_s | k_0) (Eq. 7) without its probabilities over the C + 1 values.

    Args:
        schedule, k_start, step: as for `q_probs`.
        generator: torch.Generator, or a list of one for each row (`uniform`);
            draws are made on its device.

    Returns:
        int64 (B, N), in [0, C], on the device of `k_start`.

    Raises:
        ValueError: shapes disagree, a token or a step is out of range, or `generator` is
            neither a torch.Generator nor a list of one for each row.
    """
    batch, _ = _check_tokens("k_start", k_start, schedule.num_codes - 1)
    step = schedule.check_steps(step, batch, k_start.device)
    _, beta, gamma = _cumulative(schedule, step)  # (B, 1)
    draw, other = _draws(k_start, schedule.num_codes, generator)
    # a rate of exactly 0 is never drawn: draw < 0 and draw >= 1 do not happen
    replaced = draw >= 1 - schedule.num_codes * beta
    k_s = torch.where(replaced, other, k_start)
    return torch.where(draw < gamma, schedule.num_codes, k_s)


class PosteriorFactors(NamedTuple):
    """The numbers of Bayes' rule for q(k_u | k_s, k_0); each float64 (B, N) but `same`.

    For a code j at step u and a clean code i,
    `q(j | k_s, i) = onward(j) · (spread + keep·[i = j]) / likelihood(i)`,
    where `onward` and `likelihood` take their `_same` value at code `same` and their
    `_other` value elsewhere; `q(Occ | k_s, i) = occ` whatever i.
    Where `k_s` is Occ the two values agree, and `same` is any code.
    """

    same: torch.Tensor  # int64: `k_s` where it is a code
    likelihood_same: torch.Tensor  # q(k_s | k_0 = same)
    likelihood_other: torch.Tensor  # q(k_s | any other k_0); 0 where no code is replaced
    onward_same: torch.Tensor  # q(k_s | k_u = same)
    onward_other: torch.Tensor  # q(k_s | k_u = any other code)
    keep: torch.Tensor  # ᾱ_u
    spread: torch.Tensor  # β̄_u
    occ: torch.Tensor  # q(k_u = Occ | k_s)


def posterior_factors(schedule, k_s, step, prev_step=None, k_start=None):
    """The elementwise factors that every posterior, draw and loss below is made of.

    Args:
        schedule, k_s, step, prev_step: as for `q_posterior_probs`.
        k_start: clean tokens, int64 (B, N), in [0, C), whose pairing with `k_s` is to be
            checked; None checks that some clean code leads to `k_s`.

    Returns:
        PosteriorFactors.

    Raises:
        ValueError: shapes disagree, a token or a step is out of range, or the chain
            cannot produce `k_s` (from `k_start`).
    """
    num_codes = schedule.num_codes
    batch, num_tokens = _check_tokens("k_s", k_s, num_codes)
    prev_step, step = schedule.check_strides(step, prev_step, batch, k_s.device)
    earlier, later = _cumulative(schedule, prev_step), _cumulative(schedule, step)
    alpha, beta, gamma = rates_between(earlier, later)
    is_occ = k_s == num_codes
    factors = PosteriorFactors(
        same=k_s.clamp_max(num_codes - 1),
        likelihood_same=torch.where(is_occ, later.gamma, later.alpha + later.beta),
        likelihood_other=torch.where(is_occ, later.gamma, later.beta),
        onward_same=torch.where(is_occ, gamma, alpha + beta),
        onward_other=torch.where(is_occ, gamma, beta),
        keep=earlier.alpha.expand_as(k_s),
        spread=earlier.beta.expand_as(k_s),
        # γ̄_s = 0 with Occ is refused below; the clamp keeps the other branch finite
        occ=torch.where(is_occ, earlier.gamma / later.gamma.clamp_min(1e-300), 0.0),
    )
    if k_start is None:
        likelihood = factors.likelihood_same  # never below likelihood_other
    else:
        _check_tokens("k_start", k_start, num_codes - 1)
        require(
            k_start.shape == k_s.shape,
            f"`k_start` must have the shape of `k_s`, {tuple(k_s.shape)}; "
            f"got {tuple(k_start.shape)}",
        )
        likelihood = _at_same(factors, k_start, "likelihood")
    unreachable = likelihood <= 0
    if bool(unreachable.any()):
        b, n = unreachable.nonzero()[0].tolist()
        source = "" if k_start is None else f" from `k_start` = {k_start[b, n].item()}"
        raise ValueError(
            f"`k_s` must be reachable{source} at step {step[b].item()} under {schedule}; "
            f"got {k_s[b, n].item()}"
        )
    return factors


def q_posterior_probs(schedule, k_start, k_s, step, prev_step=None):
    """Probabilities q(k_u | k_s, k_0) of the tokens at an earlier step u (Eq. 5).

    Args:
        schedule: OccludeReplaceSchedule.
        k_start: clean tokens, int64 (B, N), in [0, C).
        k_s: tokens at `step`, int64 (B, N), in [0, C]; C is Occ.
        step: int64 (B,), in [1, S], or an int.
        prev_step: int64 (B,) or int, u in [0, step); None means step − 1.

    Returns:
        float64 (B, N, C + 1), summing to 1 over the last axis; at u = 0, one-hot at k_start.

    Raises:
        ValueError: shapes disagree, a token or a step is out of range, or `k_s` cannot be
            reached from `k_start`.
    """
    factors = posterior_factors(schedule, k_s, step, prev_step, k_start)
    elsewhere, at_same, at_start = q_posterior_values(factors, k_start)
    probs = elsewhere[..., None].repeat(1, 1, schedule.num_codes + 1)
    probs.scatter_(-1, factors.same[..., None], at_same[..., None])
    probs.scatter_(-1, k_start[..., None], at_start[..., None])
    probs[..., -1] = factors.occ
    return probs


def q_posterior_values(factors, k_start):
    """The three values that q(k_u | k_s, k_0) takes over the C codes.

    Args:
        factors: PosteriorFactors of (k_s, step, prev_step).
        k_start: clean tokens, int64 (B, N), from which `k_s` can be reached.

    Returns:
        float64 (B, N) each: at a code that is neither `factors.same` nor `k_start`, at
        `factors.same`, at `k_start`; the last two agree where those codes do.
    """
    likelihood = _at_same(factors, k_start, "likelihood")
    moved = factors.spread / likelihood
    stayed = (factors.spread + factors.keep) / likelihood
    at_start = _at_same(factors, k_start, "onward") * stayed
    at_same = torch.where(k_start == factors.same, at_start, factors.onward_same * moved)
    return factors.onward_other * moved, at_same, at_start


def q_posterior_sample(schedule, k_start, k_s, step, generator, prev_step=None):
    """Draw k_u from q(k_u | k_s, k_0) (Eq. 5) without its probabilities over the C + 1 values.

    With `k_start` drawn from f(k̂_0 | k_s, y) the result is a draw from Eq. 9, which is how
    the sampler takes a reverse step.

    Args:
        schedule, k_start, k_s, step, prev_step: as for `q_posterior_probs`.
        generator: torch.Generator, or a list of one for each row (`uniform`);
            draws are made on its device.

    Returns:
        int64 (B, N), in [0, C], on the device of `k_s`.

    Raises:
        ValueError: as `q_posterior_probs`, or a `generator` that is neither a
            torch.Generator nor a list of one for each row.
    """
    num_codes = schedule.num_codes
    factors = posterior_factors(schedule, k_s, step, prev_step, k_start)
    elsewhere, at_same, _ = q_posterior_values(factors, k_start)
    draw, other = _draws(k_s, num_codes, generator)
    # Occ, then `elsewhere` on every code alike, then what is left over on `same`, then on k_start
    to_other = factors.occ + num_codes * elsewhere
    to_same = to_other + torch.where(k_start == factors.same, 0.0, at_same - elsewhere)
    k_u = torch.where(draw < to_same, factors.same, k_start)
    k_u = torch.where(draw < to_other, other, k_u)
    return torch.where(draw < factors.occ, num_codes, k_u)


def p_posterior_probs(schedule, k_start_probs, k_s, step, prev_step=None):
    """Probabilities p(k_u | k_s) = Σ q(k_u | k_s, k̂_0) f(k̂_0 | k_s, y) (Eq. 9; its H is C).

    Only the k̂_0 from which `k_s` can be reached enter, f renormalised over them. They are
    all C codes, except for a code that is seen in an occlude-only chain: there `k_s` itself
    is the only one and stays with probability 1, whatever (even zero) mass f puts on it.

    Args:
        k_start_probs: f, float (B, N, C), ≥ 0, summing to 1 over the last axis.
        schedule, k_s, step, prev_step: as for `q_posterior_probs`.

    Returns:
        (B, N, C + 1) of the dtype of `k_start_probs`, summing to 1 over the last axis;
        differentiable in `k_start_probs`.

    Raises:
        ValueError: shapes disagree, a token or a step is out of range, the chain cannot
            produce `k_s`, or `k_start_probs` is not a distribution.
    """
    factors = posterior_factors(schedule, k_s, step, prev_step)
    dtype = k_start_probs.dtype if isinstance(k_start_probs, torch.Tensor) else None
    check_tensor("k_start_probs", k_start_probs, (*k_s.shape, schedule.num_codes), "float")
    require(bool((k_start_probs >= 0).all()), "`k_start_probs` must be ≥ 0; got a negative value")
    probs = k_start_probs.to(torch.promote_types(dtype, torch.float32))
    total = probs.sum(-1, keepdim=True)
    tolerance = {torch.float64: 1e-6, torch.float32: 1e-3}.get(dtype, 5e-2)
    worst = (total - 1).abs().max().item()
    require(worst <= tolerance, f"`k_start_probs` must sum to 1; got sums off by {worst:.3g}")
    probs = probs / total

    same = factors.same[..., None]
    alone = factors.likelihood_other == 0  # no other k̂_0 leads here
    f_same = torch.where(alone, 1.0, probs.gather(-1, same)[..., 0].double())
    likelihood_other = torch.where(alone, 1.0, factors.likelihood_other)
    # Σ f(k̂_0) / q(k_s | k̂_0)
    ratio = (1 - f_same) / likelihood_other + f_same / factors.likelihood_same
    base = factors.onward_other * factors.spread * ratio
    slope = factors.onward_other * factors.keep / likelihood_other
    at_same = factors.onward_same * (
        factors.spread * ratio + factors.keep * f_same / factors.likelihood_same
    )
    codes = base.to(probs.dtype)[..., None] + slope.to(probs.dtype)[..., None] * probs
    codes = codes.scatter(-1, same, at_same.to(probs.dtype)[..., None])
    return torch.cat([codes, factors.occ.to(probs.dtype)[..., None]], dim=-1).to(dtype)


def _at_same(factors, codes, name):
    """`onward` or `likelihood` at the given codes (B, N)."""
    values = (getattr(factors, f"{name}_{where}") for where in ("same", "other"))
    return torch.where(codes == factors.same, *values)


def _cumulative(schedule, step):
    """(ᾱ, β̄, γ̄) at int64 steps (B,), each (B, 1)."""
    return Rates(*(rate[:, None] for rate in schedule.cumulative_rates(step)))


def uniform(shape, generator, dtype, device):
    """Draws in [0, 1) of `shape`, rows first, from one generator or from one for each row.

    With one for each row, what a row draws depends on its own generator alone: not on the other
    rows, nor on how rows are split into batches. Draws are made where the generators are.
    """
    return _drawn(torch.rand, shape, generator, device, dtype=dtype)


def uniform_codes(num_codes, shape, generator, device):
    """Draws int64 in [0, num_codes) of `shape`, as `uniform`."""
    return _drawn(partial(torch.randint, num_codes), shape, generator, device)


def _drawn(draw, shape, generator, device, **options):
    if isinstance(generator, torch.Generator):
        at = {"generator": generator, "device": generator.device}
        return moved(draw(shape, **at, **options), device)
    is_list = isinstance(generator, (list, tuple)) and all(
        isinstance(one, torch.Generator) for one in generator
    )
    wanted, got = "a torch.Generator, or a list of one for each row", type(generator).__name__
    require(is_list, f"`generator` must be {wanted}; got {got}")
    require(
        len(generator) == shape[0],
        f"`generator` must hold one generator for each of {shape[0]} rows; got {len(generator)}",
    )
    rows = [draw(shape[1:], generator=one, device=one.device, **options) for one in generator]
    return moved(torch.stack(rows), device)


def _draws(tokens, num_codes, generator):
    """Uniform float64 draws in [0, 1) and uniform codes, each shaped and placed as `tokens`."""
    draw = uniform(tokens.shape, generator, torch.float64, tokens.device)
    return draw, uniform_codes(num_codes, tokens.shape, generator, tokens.device)


def _check_tokens(name, tokens, largest):
    """Refuse all but int64 (B, N) in [0, largest]; (B, N)."""
    check_tensor(name, tokens, ("B", "N"), "int64")
    check_range(name, tokens, 0, largest)
    return tuple(tokens.shape)
