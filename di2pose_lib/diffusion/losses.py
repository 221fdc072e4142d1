"""What the denoiser is trained on: the variational bound and the auxiliary term (Eqs. 8 to 11)."""

import math
from typing import NamedTuple

import torch

from di2pose_lib.base.checks import check_number, check_tensor, require
from di2pose_lib.base.devices import moved
from di2pose_lib.diffusion.loss_kernel import token_terms
from di2pose_lib.diffusion.transitions import q_sample


class DiffusionLoss(NamedTuple):
    """Terms of Eq. 11 in nats per token, of the dtype they were computed in."""

    loss: torch.Tensor  # mean over the batch of weight · (vlb + aux_weight · aux), scalar
    # mean of KL(q(k_{s−1} | k_s, k_0) ‖ p(k_{s−1} | k_s)), at s = 1 −log p(k_0 | k_1); scalar
    vlb: torch.Tensor
    aux: torch.Tensor  # mean of −log f(k_0 | k_s), scalar
    vlb_per_sample: torch.Tensor  # `vlb` before its mean over the batch, (B,), without gradient


def diffusion_loss(schedule, k_start_logits, k_start, k_s, step, aux_weight=5e-4, weight=None):
    """The training loss at one sampled step per pose (Eq. 11), without a factor S.

    The paper's Eq. 8 stops at S − 1; as in its Eq. 17, step S belongs to the sum. The
    bound's own sum over all steps, in nats and bits, is `elbo`.

    Args:
        schedule: OccludeReplaceSchedule.
        k_start_logits: logits of f(k̂_0 | k_s, y), float (B, N, C); half types are taken
            to float32, float64 stays.
        k_start: clean tokens, int64 (B, N), in [0, C).
        k_s: tokens at `step`, int64 (B, N), in [0, C]; C is Occ. On the CPU, while the logits
            are on a GPU, tokens and steps are looked at without waiting for it.
        step: int64 (B,), in [1, S], or an int.
        aux_weight: λ ≥ 0, the weight of the auxiliary term, or one for each pose, float (B,).
        weight: of each pose in `loss`, float (B,); None: 1.

    Returns:
        DiffusionLoss.

    Raises:
        ValueError: shapes disagree, a token or a step is out of range, `k_s` cannot be
            reached from `k_start`, NaN or infinity reach f at `k_start` or at the token seen,
            or a weight is negative.
    """
    kl, cross_entropy = token_terms(schedule, k_start_logits, k_start, k_s, step)
    aux_weight = _weights("aux_weight", aux_weight, len(kl))
    weight = None if weight is None else _weights("weight", weight, len(kl))
    vlb, aux = kl.mean(), cross_entropy.mean()
    if weight is None and aux_weight.ndim == 0:
        loss = vlb + aux_weight * aux
    else:
        each = kl.mean(dim=1) + moved(aux_weight, kl.device) * cross_entropy.mean(dim=1)  # (B,)
        loss = (each if weight is None else each * moved(weight, kl.device)).mean()
    dtype = torch.promote_types(k_start_logits.dtype, torch.float32)
    return DiffusionLoss(
        loss=loss.to(dtype),
        vlb=vlb.to(dtype),
        aux=aux.to(dtype),
        vlb_per_sample=kl.detach().mean(dim=1).to(dtype),
    )


def _weights(name, value, batch):
    """A number ≥ 0, or one for each pose, as float64."""
    if isinstance(value, torch.Tensor):
        check_tensor(name, value, (batch,), "float")
        require(bool((value >= 0).all()), f"`{name}` must be ≥ 0; got {value.min().item()}")
        return value.double()
    check_number(name, value, "≥ 0", lambda x: 0 <= x < math.inf)
    return torch.tensor(value, dtype=torch.float64)  # 0-d: goes with tensors of any device


class Elbo(NamedTuple):
    """The bound −log p(k_0 | y) ≤ `nats`, per pose: the sum over its N tokens. float64."""

    nats: torch.Tensor  # (B,): the prior term and all S terms
    bits: torch.Tensor  # (B,): the same in bits
    terms: torch.Tensor  # (B, S) nats: column s − 1 is the term of step s
    prior: torch.Tensor  # (B,) nats: KL(q(k_S | k_0) ‖ p(k_S)), 0 for this chain


@torch.no_grad()
def elbo(denoiser, schedule, condition, k_start, generator):
    """The full bound of Eq. 17 on −log p(k_0 | y), one draw of k_s at each of the S steps.

    The S denoiser calls make it an evaluation, not a training loss. Its mean over draws
    is the exact bound.

    Args:
        denoiser: callable (k_s, step, condition) -> logits float (B, N, C); k_s int64
            (B, N), step int64 (B,).
        schedule: OccludeReplaceSchedule.
        condition: whatever the denoiser takes for these B poses.
        k_start: clean tokens, int64 (B, N), in [0, C).
        generator: torch.Generator.

    Returns:
        Elbo.

    Raises:
        ValueError: `k_start` or the denoiser's logits have another shape or range, or
            `generator` is not a torch.Generator.
    """
    terms = []
    for s in range(1, schedule.num_steps + 1):
        k_s = q_sample(schedule, k_start, s, generator)
        step = torch.full((k_start.shape[0],), s, device=k_start.device)
        logits = denoiser(k_s, step, condition)
        name = "denoiser(k_s, step, condition)"
        terms.append(token_terms(schedule, logits, k_start, k_s, step, name)[0].sum(dim=1))
    terms = torch.stack(terms, dim=1)  # (B, S)
    prior = torch.full_like(terms[:, 0], k_start.shape[1] * _prior_nats(schedule))
    nats = prior + terms.sum(dim=1)
    return Elbo(nats=nats, bits=nats / math.log(2), terms=terms, prior=prior)


def _prior_nats(schedule):
    """KL(q(k_S | k_0) ‖ p(k_S)) of one token; p(k_S) is the chain's stationary law."""
    num_codes = schedule.num_codes
    alpha, beta, gamma = (
        rate[-1].item() for rate in (schedule.alpha_bar, schedule.beta_bar, schedule.gamma_bar)
    )
    code, occ = schedule.final_replace_rate / num_codes, schedule.final_occlude_rate
    pairs = [(alpha + beta, code, 1), (beta, code, num_codes - 1), (gamma, occ, 1)]
    return sum(count * q * math.log(q / p) for q, p, count in pairs if q > 0)
