"""The loss's arithmetic in one pass over the logits, for every code that training uses.

It gives what `reference.equation_loss` gives, without a tensor beside the logits and their
gradient that is as large as they are.
"""

import torch

from di2pose_lib.base.checks import check_tensor, require
from di2pose_lib.base.devices import moved
from di2pose_lib.diffusion.transitions import posterior_factors, q_posterior_values

CPU_BLOCK, GPU_BLOCK = 2**20, 2**26  # numbers of the logits that the loss takes at once


def token_terms(schedule, k_start_logits, k_start, k_s, step, name="k_start_logits"):
    """Per token (B, N), float64: the KL of Eq. 11 (s = 1: −log p(k_0 | k_1)) and −log f(k_0).

    With i = `k_start` and v = `same`, the model's posterior is p_j = slope · (f_j + a) at every
    code but v, and the true one is a constant at every code but i and v, 0 log 0 being 0. So
    the KL is that constant's part over all C codes, corrected at two of them; Occ has the same
    probability in both and adds nothing. At s = 1 the constant is 0, the true posterior
    one-hot and the KL is −log p(k_0 | k_1) by itself. Only the sum over codes is as large
    as the logits, and in their precision; the rest is (B, N) in float64. What f does not change
    is worked out where the tokens are. `name` is that of the logits in refusals.
    """
    factors = posterior_factors(schedule, k_s, step, k_start=k_start)
    num_codes = schedule.num_codes
    check_tensor(name, k_start_logits, (*k_s.shape, num_codes))
    require(
        k_start_logits.is_floating_point(),
        f"`{name}` must be floating point; got {k_start_logits.dtype}",
    )
    # A code seen in an occlude-only chain stays in both posteriors: its KL is 0. The ones keep
    # its unused numbers, and so their gradients, finite.
    alone = factors.likelihood_other == 0
    factors = factors._replace(
        likelihood_other=factors.likelihood_other.masked_fill(alone, 1.0),
        onward_other=factors.onward_other.masked_fill(alone, 1.0),
    )
    elsewhere, at_same, at_start = q_posterior_values(factors, k_start)

    # a = spread · likelihood_other / keep · Σ f(k̂_0) / q(k_s | k̂_0), linear in f_v
    per_other = factors.spread / factors.keep
    per_same = per_other * factors.likelihood_other / factors.likelihood_same
    log_slope = (factors.onward_other * factors.keep / factors.likelihood_other).log()
    constant = elsewhere > 0

    # Σ q log q and log slope, as if all codes were `elsewhere`, then corrected at v and i
    is_same = k_start == factors.same
    at_start = at_start.masked_fill(is_same, 0.0)  # where i is v, `at_same` has it
    elsewhere_at_start = elsewhere.masked_fill(is_same, 0.0)
    log_ratio = elsewhere.where(constant, 1.0).log() - log_slope
    log_slope_same = (factors.onward_same * factors.keep / factors.likelihood_same).log()
    kl = num_codes * elsewhere * log_ratio
    kl = kl + torch.xlogy(at_same, at_same) - at_same * log_slope_same - elsewhere * log_ratio
    kl = kl + torch.xlogy(at_start, at_start) - at_start * log_slope
    kl = kl - elsewhere_at_start * log_ratio

    where, same = k_start_logits.device, factors.same
    row_offset = [per_other.where(constant, 1.0), per_same.where(constant, 1.0)]
    likelihoods = [factors.likelihood_same, factors.likelihood_other]
    parts = [kl, elsewhere, at_same, at_start, elsewhere_at_start, per_other, per_same]
    if k_s.device != where:  # all of them in two copies
        k_start, same, k_s = moved(torch.stack([k_start, same, k_s]), where)
        numbers = torch.stack([*row_offset, *likelihoods, *parts, alone.double()])
        *numbers, alone = moved(numbers, where)
        row_offset, likelihoods, parts, alone = numbers[:2], numbers[2:4], numbers[4:], alone > 0
    kl, elsewhere, at_same, at_start, elsewhere_at_start, per_other, per_same = parts

    # Where k_s is Occ no code is seen: v is any whose logarithm can be taken.
    at_same_logit = k_start_logits.detach().gather(-1, same[..., None])[..., 0]
    none = (k_s == num_codes) & at_same_logit.isneginf()
    same = torch.where(none, k_start, same)
    log_f_start, log_f_same, sum_log = _row_terms(k_start_logits, k_start, same, *row_offset, name)
    offset = -per_other * torch.expm1(log_f_same) + per_same * log_f_same.exp()
    # log p = log slope + log(f + a). Here is the second term, in the order of the first.
    log_start = _log_add(log_f_start, offset)
    log_same_as_other = _log_add(log_f_same, offset)
    log_same = _log_add(log_f_same, offset * likelihoods[0] / likelihoods[1])
    kl = kl - elsewhere * sum_log
    kl = kl - at_same * log_same + elsewhere * log_same_as_other
    kl = kl - at_start * log_start + elsewhere_at_start * log_start
    return kl.masked_fill(alone, 0.0), -log_f_start


def _log_add(log_f, offset):
    """log(f + offset), offset ≥ 0, that stays finite and exact where f underflows."""
    positive = offset > 0
    total = torch.logaddexp(log_f, offset.where(positive, 1.0).log())
    return total.where(positive, log_f)


def _row_terms(logits, start, same, per_other, per_same, name):
    """`_RowTerms`, in float64 for the rows of which a smaller type would lose the doubt.

    Where f is all but sure of a wrong code that is seen, the loss lives on 1 − f, which float32
    cannot hold. Such rows are rare. Of a GPU this is the only look at the values.
    """
    terms = _RowTerms.apply(logits, start, same, per_other, per_same)
    log_f_start, log_f_same, _ = terms
    sure = (log_f_same.detach() > -1e-4) & (start != same)
    finite = (log_f_start.detach() + log_f_same.detach()).isfinite().all()
    is_finite, any_sure = torch.stack([finite, sure.any()]).tolist()
    require(is_finite, f"`{name}` must be finite; got NaN or infinity")
    if logits.dtype == torch.float64 or not any_sure:
        return terms
    rows = [part[sure][None] for part in (logits, start, same, per_other, per_same)]  # (1, n, …)
    exact = _RowTerms.apply(rows[0].double(), *rows[1:])
    return [term.index_put((sure,), precise[0]) for term, precise in zip(terms, exact, strict=True)]


class _RowTerms(torch.autograd.Function):
    """What the loss needs of each row of logits (B, N, C), in one pass over them.

    With f = softmax(logits): log f at `start` and at `same`, and Σ_j log(f_j + a), where
    a = per_other · (1 − f_same) + per_same · f_same; three float64 (B, N). Rows go through
    in blocks, so that f is all of the logits' size that is kept; the backward pass turns it
    into the gradient.
    """

    @staticmethod
    def forward(ctx, logits, start, same, per_other, per_same):
        rows = logits.flatten(0, 1)
        start, same, per_other, per_same = (
            part.flatten() for part in (start, same, per_other, per_same)
        )
        f = torch.empty_like(rows, dtype=torch.promote_types(logits.dtype, torch.float32))
        largest, total = f.new_empty(2, len(rows), 1)
        for block in _blocks(rows):
            part = rows[block].to(f.dtype)
            torch.amax(part, dim=-1, keepdim=True, out=largest[block])
            powers = torch.sub(part, largest[block], out=f[block]).exp_()
            torch.sum(powers, dim=-1, keepdim=True, out=total[block])
            powers.mul_(total[block].reciprocal())
        log_total = (largest.double() + total.double().log())[:, 0]
        at_start, at_same = (
            rows.gather(-1, code[:, None])[:, 0].double() - log_total for code in (start, same)
        )
        offset = _offset(at_same, per_other, per_same)
        slope = (per_same - per_other) * at_same.exp()  # of the offset in log f_same
        ctx.save_for_backward(f, start, same, offset, slope)
        ctx.logits_type, shape = logits.dtype, logits.shape[:-1]
        sum_log = _sum_of_logs(f, offset)
        return at_start.view(shape), at_same.view(shape), sum_log.view(shape)

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx, grad_start, grad_same, grad_sum):
        f, start, same, offset, slope = ctx.saved_tensors
        shape = (*grad_start.shape, f.shape[1])
        grad_start, grad_same, grad_sum = (
            part.flatten() for part in (grad_start, grad_same, grad_sum)
        )
        a, grad_each_log = (part[:, None].to(f.dtype) for part in (offset, grad_sum))
        grad = torch.empty_like(f)
        inverse_sum = torch.empty_like(offset)
        for block in _blocks(f):
            inverse = torch.add(f[block], a[block], out=grad[block]).reciprocal_()
            inverse_sum[block] = inverse.sum(dim=-1).double()
            # The gradient in log f sums to `total` over the row; softmax takes it off again.
            inside = f.shape[1] - offset[block] * inverse_sum[block]  # Σ f / (f + a)
            through_offset = slope[block] * inverse_sum[block]
            total = grad_sum[block] * (inside + through_offset)
            total = total + grad_start[block] + grad_same[block]
            inverse.mul_(grad_each_log[block])
            inverse.sub_(total[:, None].to(f.dtype)).mul_(f[block])
        grad_same = grad_same + grad_sum * slope * inverse_sum
        for place, value in ((start, grad_start), (same, grad_same)):
            grad.scatter_add_(-1, place[:, None], value[:, None].to(grad.dtype))
        return grad.view(shape).to(ctx.logits_type), None, None, None, None


def _sum_of_logs(f, offset):
    """Σ_j log(f_j + a) over each row of f (rows, C), a = `offset` > 0; float64 (rows,).

    Logarithms take most of the time, so there is one for the product of four codes, not one for
    each. Products of two are divided by a first: those of four then stay between a² and about
    a⁻² (or 1), which the type can hold if a is no smaller than the root of its smallest number.
    A smaller a is raised to it: the true posterior then puts so little on each of these codes
    that the loss does not change in float32.
    """
    num_codes, width = f.shape[1], -(-f.shape[1] // 4)
    offset = offset.clamp_min(torch.finfo(f.dtype).tiny ** 0.5)
    a = offset[:, None].to(f.dtype)
    inverse_a = a.reciprocal()
    sums = torch.empty_like(offset)
    ones_room, fours_room = (f.new_empty(_height(f), count * width) for count in (4, 1))
    for block in reversed(_blocks(f)):  # what was written last is still in the cache
        part = f[block]
        ones, fours = ones_room[: len(part)], fours_room[: len(part)]
        torch.add(part, a[block], out=ones[:, :num_codes])
        ones[:, num_codes:] = 1
        twos = ones[:, : 2 * width].mul_(ones[:, 2 * width :]).mul_(inverse_a[block])
        torch.mul(twos[:, :width], twos[:, width:], out=fours)
        sums[block] = fours.log_().sum(dim=-1).double()
    return sums + 2 * width * offset.log()


def _offset(log_f_same, per_other, per_same):
    """a, no smaller than what keeps 1 / (f + a) finite in float32."""
    return (-per_other * torch.expm1(log_f_same) + per_same * log_f_same.exp()).clamp_min(1e-30)


def _height(rows):
    """How many rows go through at once, which bounds what is made anew.

    On a CPU a million numbers, which its cache holds; elsewhere each block costs the start of
    its kernels, and one holds the paper's batch (64 · 100 · 4375) twice.
    """
    numbers = CPU_BLOCK if rows.device.type == "cpu" else GPU_BLOCK
    return max(1, min(len(rows), numbers // rows.shape[1]))


def _blocks(rows):
    """Slices of `_height(rows)` rows that cover all."""
    height = _height(rows)
    return [slice(first, first + height) for first in range(0, len(rows), height)]
