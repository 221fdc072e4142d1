"""The chain and its loss written out from their definitions: slow, obvious, for small C.

Tests and notebooks 04a to 05 hold the library against this module, and nothing else uses it. Of
the library it takes a schedule's rates of one step; from there on all is sums over the values
that a token may have. `equation_loss` is Eq. 11 for any C, of the library's own Eqs. 5 and 9,
which the matrices check.

Tables are float64 and indexed by tokens: `[k_s, k_0]` is (C + 1, C), Occ is the last k_s.
"""

import functools
import itertools
import math
from typing import NamedTuple

import torch

from di2pose_lib.diffusion.losses import DiffusionLoss
from di2pose_lib.diffusion.transitions import p_posterior_probs, q_posterior_probs


def occlude_replace_rows(alpha, beta, gamma, num_codes):
    """The matrix of Eq. 6, entry by entry, as a list of C + 1 rows; of numbers or of symbols."""
    rows = [
        [alpha + beta if i == j else beta for j in range(num_codes)] + [0] for i in range(num_codes)
    ]
    return [*rows, [gamma] * num_codes + [1]]


def one_step_matrix(schedule, step):
    """M_s of Eq. 6, (C + 1, C + 1): entry [i, j] is q(k_s = i | k_{s−1} = j)."""
    rates = (rate[step].item() for rate in (schedule.alpha, schedule.beta, schedule.gamma))
    rows = occlude_replace_rows(*rates, schedule.num_codes)
    return torch.tensor(rows, dtype=torch.float64)


@functools.lru_cache(maxsize=4096)
def matrix_of_steps(schedule, prev_step, step):
    """M_s ⋯ M_{u+1}, (C + 1, C + 1): from step u = `prev_step` to step s, one after another."""
    product = torch.eye(schedule.num_codes + 1, dtype=torch.float64)
    for later in range(prev_step + 1, step + 1):
        product = one_step_matrix(schedule, later) @ product
    return product


def strides(schedule):
    """All (u, s) with 0 ≤ u < s ≤ S."""
    return [(u, s) for s in range(1, schedule.num_steps + 1) for u in range(s)]


def reachable_pairs(schedule, step):
    """All (k_s, k_0) that the chain produces: two int64 (n,) tensors, such as index a table."""
    return (matrix_of_steps(schedule, 0, step)[:, :-1] > 0).nonzero(as_tuple=True)


def posteriors(schedule, prev_step, step):
    """q(k_u | k_s, k_0) by Bayes' rule over every value of k_u (Eq. 5).

    Returns:
        Table [k_s, k_0, k_u], (C + 1, C, C + 1); 0 where k_0 does not lead to k_s.
    """
    onward = matrix_of_steps(schedule, prev_step, step)  # [k_s, k_u]
    before = matrix_of_steps(schedule, 0, prev_step)[:, :-1]  # [k_u, k_0]
    joint = onward[:, None, :] * before.T[None, :, :]
    return joint / joint.sum(dim=-1, keepdim=True).clamp_min(1e-300)


def model_posteriors(schedule, f, prev_step, step):
    """p(k_u | k_s), the sum of Eq. 9 over the k̂_0 from which k_s can be reached.

    Args:
        f: what a denoiser says of a clean token, float64 (C,), or a table [k_s, k̂_0].

    Returns:
        Table [k_s, k_u], (C + 1, C + 1).
    """
    posterior = posteriors(schedule, prev_step, step)
    weights = f * (posterior.sum(dim=-1) > 0)
    weights = weights / weights.sum(dim=1, keepdim=True).clamp_min(1e-300)
    probs = torch.zeros(len(posterior), len(posterior), dtype=torch.float64)
    for k_start in range(schedule.num_codes):
        probs += weights[:, k_start, None] * posterior[:, k_start]
    return probs


def kl_nats(schedule, f, step):
    """KL(q(k_{s−1} | k_s, k_0) ‖ p(k_{s−1} | k_s)) of Eq. 11 as a table [k_s, k_0], `f` as above.

    At s = 1 that is −log p(k_0 | k_1). It is 0 where k_0 does not lead to k_s.
    """
    q = posteriors(schedule, step - 1, step)
    p = model_posteriors(schedule, f, step - 1, step)[:, None]
    return (torch.xlogy(q, q) - torch.xlogy(q, p)).sum(dim=-1)  # 0 log 0 is 0


def perfect_denoiser(schedule, law, step):
    """q(k_0 | k_s) as a table [k_s, k_0], of single tokens whose clean codes follow `law` (C,)."""
    joint = matrix_of_steps(schedule, 0, step)[:, :-1] * law
    return joint / joint.sum(dim=1, keepdim=True).clamp_min(1e-300)


class Paths(NamedTuple):
    """What comes of a clean token along all paths k_1 … k_S."""

    bound: float  # of Eq. 8 on `nats`
    nats: float  # −log p(k_0)
    last_law: torch.Tensor  # q(k_S | k_0), float64 (C + 1,)


def sum_over_paths(schedule, f, k_start):
    """`Paths` of a pose of one token k_0 = `k_start`, an int; there are (C + 1)^S of them.

    Args:
        f: list of what a denoiser says at steps 1 … S, each as for `model_posteriors`.
    """
    steps = range(1, schedule.num_steps + 1)
    forward = [one_step_matrix(schedule, s) for s in steps]  # [k_s, k_{s−1}]
    reverse = [model_posteriors(schedule, f[s - 1], s - 1, s) for s in steps]  # the same order
    start = matrix_of_steps(schedule, 0, schedule.num_steps)[:, 0]  # p(k_S)
    bound = likelihood = 0.0
    last_law = torch.zeros_like(start)
    for path in itertools.product(range(schedule.num_codes + 1), repeat=len(steps)):
        moves = list(zip(path, (k_start, *path[:-1]), strict=True))
        q = math.prod(matrix[move].item() for matrix, move in zip(forward, moves, strict=True))
        p = math.prod(matrix[move].item() for matrix, move in zip(reverse, moves, strict=True))
        p = start[path[-1]].item() * p
        likelihood += p
        last_law[path[-1]] += q
        if q > 0:
            bound += q * math.log(q / p)
    return Paths(bound, -math.log(likelihood), last_law)


def perfect_denoiser_of_pairs(schedule, law, step):
    """q(k_0^n | k_s^1, k_s^2) of two tokens whose clean codes follow `law` (C, C) together.

    Returns:
        Table [k_s^1, k_s^2, n, k̂_0], (C + 1, C + 1, 2, C); even where the chain shows no such pair.
    """
    likelihood = matrix_of_steps(schedule, 0, step)[:, :-1]  # [k_s, k_0]
    joint = torch.einsum("ai,bj,ij->abij", likelihood, likelihood, law)
    each = torch.stack([joint.sum(dim=3), joint.sum(dim=2)], dim=2)
    return torch.nan_to_num(each / each.sum(dim=-1, keepdim=True), nan=1 / schedule.num_codes)


def law_of_pairs(schedule, law, steps, known=None):
    """Law [k_0^1, k_0^2], (C, C), with which reverse steps of the perfect denoiser end.

    A reverse step draws its two tokens apart, each by Eq. 9; all pairs that it may meet are summed.

    Args:
        law: of the clean tokens, float64 (C, C).
        steps: the noisy steps at which the denoiser is called, S first.
        known: the first token's clean code where the denoiser is told it, or None.
    """
    last = matrix_of_steps(schedule, 0, schedule.num_steps)[:, 0]
    pairs = torch.outer(last, last)
    for s, u in zip(steps, [*steps[1:], 0], strict=True):
        k_s = pairs.nonzero()  # (n, 2)
        one, other = k_s.unbind(dim=1)
        table = perfect_denoiser_of_pairs(schedule, law, s)
        f = table[one if known is None else torch.full_like(one, known), other]  # (n, 2, C)
        if known is not None:
            f[:, 0] = torch.eye(schedule.num_codes, dtype=f.dtype)[known]
        onward = p_posterior_probs(schedule, f, k_s, s, prev_step=u)
        pairs = torch.einsum("p,pi,pj->ij", pairs[one, other], *onward.unbind(dim=1))
    return pairs[:-1, :-1]


def equation_loss(schedule, k_start_logits, k_start, k_s, step, aux_weight=5e-4):
    """Eq. 11 term by term, with both posteriors in full; arguments and result as `diffusion_loss`.

    For any C, but with several tensors of the logits' size. Its gradient exists where every code
    has a positive probability in both posteriors, as in a chain that occludes and replaces.
    """
    log_f = k_start_logits.log_softmax(dim=-1)  # (B, N, C)
    q = q_posterior_probs(schedule, k_start, k_s, step)  # Eq. 5: (B, N, C + 1)
    p = p_posterior_probs(schedule, log_f.exp(), k_s, step)  # Eq. 9: (B, N, C + 1)
    kl = (torch.xlogy(q, q) - torch.xlogy(q, p)).sum(dim=-1)  # (B, N); 0 log 0 is 0
    aux = -log_f.gather(-1, k_start[..., None])  # Eq. 10
    loss = kl.mean() + aux_weight * aux.mean()
    return DiffusionLoss(loss, kl.mean(), aux.mean(), kl.mean(dim=1))
