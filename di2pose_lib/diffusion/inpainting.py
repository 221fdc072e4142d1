"""Inpainting: poses given an image and some joints, from the trained networks as they are.

Every token depends on every joint, so there are no tokens to clamp. Instead the known joints
x count as measured, each coordinate with normal noise of σ = `TOLERANCE` / √strength metres,
and the tokens are drawn given that measurement, in two ways that share one linearisation
D(c) ≈ D(e) + A (c − e) of the decoder D at codes e:

1. *Tilt.* At each reverse step f(k̂_0 | k_s, y) is a product over tokens of means e_n and
   covariances Σ_n. Token n then sees the measurement through the others' spread, as noise of
   covariance S_n = σ²I + Σ_{m≠n} A_m Σ_m A_mᵀ, and its logits rise by
   −½ ‖x − D(e) − A_n (c − e_n)‖² in the metric S_n⁻¹: Bayes' rule for one token under a linear
   decoder, its Gaussian approximation for more.
2. *Rounds.* Tokens drawn side by side do not make up for each other's misses. So a round
   noises the finished tokens to a step s and draws them anew from f(k̂_0 | k_s, y), one after
   the other, each given the codes of all others (Gibbs): there S_n = σ²I.

Simpler ways were tried and left: one step length along the gradient for all tokens does not
fit any of them, and of a few samples or particles none comes near the known joints.
"""

import math

import torch

from di2pose_lib.base.checks import as_integer, check_number, check_tensor, require
from di2pose_lib.base.seeding import generator_for, image_seeds
from di2pose_lib.diffusion.sampler import sample
from di2pose_lib.diffusion.transitions import q_sample, uniform

TOLERANCE = 0.01  # metres: about what the tokenizer's own rounding moves a joint by
MOST_LOGITS = 2**24  # at once, of all samples: bounds the memory to about a gigabyte


@torch.no_grad()
def inpaint(
    model,
    features,
    pose_known,
    known,
    seeds,
    *,
    num_hypotheses=1,
    strength=1.0,
    rounds=8,
    round_share=0.6,
):
    """Poses float32 (B, H, J, 3), metres, drawn given the image and the known joints.

    The known joints are met up to noise, not copied in: bones stay those of one pose.
    Hypothesis h of an image depends on the image's seed and on h alone, as in
    `PoseModel.hypotheses`, whose draws these are at strength 0 without rounds.

    Args:
        model: PoseModel; any rates of its chain, any number of inference steps.
        features: float (B, tokens, width).
        pose_known: root-relative joints, float (B, J, 3), metres; where a joint is not known
            any finite numbers.
        known: bool (B, J); in each row some joint but the pelvis, which is 0 by definition.
        seeds: a list of B ints, or a torch.Generator that draws them.
        num_hypotheses: H ≥ 1.
        strength: ≥ 0; a known coordinate is met with deviation `TOLERANCE` / √strength.
        rounds: redraws of the finished tokens, ≥ 0.
        round_share: in (0, 1], the step to which a round noises, as a share of S.

    Raises:
        TypeError: not a tensor.
        ValueError: a shape or a range as above is not met, NaN, or no known joint.
    """
    batch = _check_evidence(pose_known, known, strength)
    check_tensor("features", features, (batch, "tokens", "width"), "float")
    num_hypotheses = as_integer("num_hypotheses", num_hypotheses, least=1)
    rounds = as_integer("rounds", rounds, least=0)
    require(0 < round_share <= 1, f"`round_share` must lie in (0, 1]; got {round_share}")
    seeds = image_seeds(seeds, batch)
    step = max(1, round(round_share * model.schedule.num_steps))
    logits_of_one = model.tokenizer.config.num_tokens * model.schedule.num_codes
    at_once = max(1, MOST_LOGITS // logits_of_one)  # samples
    images_at_once = max(1, at_once // num_hypotheses)
    parts = []
    for first in range(0, batch, images_at_once):
        some = slice(first, first + images_at_once)
        given = (features[some], pose_known[some], known[some], strength, seeds[some])
        hypotheses = range(num_hypotheses)
        drawn = [
            _inpaint_together(model, *given, hypotheses[h : h + at_once], rounds, step)
            for h in range(0, num_hypotheses, at_once)
        ]
        parts.append(torch.cat(drawn, dim=1))
    return torch.cat(parts)


def _inpaint_together(model, features, pose_known, known, strength, seeds, numbers, rounds, step):
    """Poses (B, H, J, 3) of the hypotheses with these `numbers`, of all images at once."""
    repeated = (part.repeat_interleave(len(numbers), dim=0) for part in (pose_known, known))
    evidence = [*(part.to(features.device) for part in repeated), strength]
    rows = [generator_for(seed, "hypothesis", h) for seed in seeds for h in numbers]
    memory = model.denoiser.condition_memory(features)

    def denoiser(k_s, at_step, condition):
        logits = _reachable(model.schedule, model.denoiser(k_s, at_step, condition), k_s)
        return tilt_logits(model.tokenizer, logits, *evidence)

    tokens = sample(
        denoiser,
        model.schedule,
        memory,
        model.tokenizer.config.num_tokens,
        model.num_inference_steps,
        rows,
        batch_size=len(rows),
        device=features.device,
        **model.sampling,
    )
    for _ in range(rounds):
        tokens = redraw(model, memory, tokens, *evidence, rows, step)
    return model.tokenizer.decode(tokens).unflatten(0, (-1, len(numbers)))


def tilt_logits(tokenizer, logits, pose_known, known, strength):
    """Logits of each token given the known joints too (point 1 above).

    Exact under a decoder that is linear, for a token beside tokens that are certain; where
    the others are not, their sum counts as normal.

    Args:
        tokenizer: has `quantizer.code_table()` (C, d) and a differentiable `decode_codes`.
        logits: of f(k̂_0 | k_s, y), float (B, N, C); may be −inf.
        pose_known, known, strength: as for `inpaint`.

    Returns:
        float (B, N, C), up to a constant for each token; at strength 0 the given logits.
    """
    table = tokenizer.quantizer.code_table()
    logits = logits.to(torch.promote_types(logits.dtype, torch.float32))
    table = table.to(logits.dtype)
    squares = (table[:, :, None] * table[:, None]).flatten(1)  # (C, d²)

    probs = logits.softmax(dim=-1)
    mean = (probs @ table).double()
    second_moment = (probs @ squares).double().unflatten(-1, (table.shape[1], -1))
    covariance = second_moment - mean[..., None] * mean[..., None, :]
    residual, jacobian = linearise(tokenizer, mean, pose_known, known)
    slope, curvature = _evidence_of_tokens(residual, jacobian, covariance, strength)
    slope = slope + (curvature @ mean[..., None])[..., 0]  # at code 0, not at the mean
    tilt = slope.to(table) @ table.T - 0.5 * curvature.flatten(2).to(table) @ squares.T
    return logits + tilt


def _evidence_of_tokens(residual, jacobian, covariance, strength):
    """Slope A_nᵀ S_n⁻¹ r (B, N, d) and curvature A_nᵀ S_n⁻¹ A_n (B, N, d, d) at the mean.

    With S = σ²I + Σ_m A_m Σ_m A_mᵀ over all tokens, solved once, and P_n = A_nᵀ S⁻¹ A_n,
    Woodbury's identity gives A_nᵀ S_n⁻¹ = (I − P_n Σ_n)⁻¹ A_nᵀ S⁻¹.
    """
    precision = strength / TOLERANCE**2
    flat = jacobian.flatten(2)  # (B, 3J, N d)
    spread = torch.einsum("bknd,bnde->bkne", jacobian, covariance).flatten(2)
    noise = precision * spread @ flat.transpose(1, 2)  # S / σ²
    noise.diagonal(dim1=1, dim2=2).add_(1)
    right = torch.cat([flat, residual[..., None]], dim=-1)
    solved = precision * torch.cholesky_solve(right, torch.linalg.cholesky(noise))
    slope = torch.einsum("bknd,bk->bnd", jacobian, solved[..., -1])
    curvature = solved[..., :-1].unflatten(-1, jacobian.shape[2:])
    curvature = torch.einsum("bknd,bkne->bnde", jacobian, curvature)
    identity = torch.eye(len(covariance[0, 0]), dtype=flat.dtype, device=flat.device)
    without_own = identity - curvature @ covariance
    slope = torch.linalg.solve(without_own, slope[..., None])[..., 0]
    return slope, torch.linalg.solve(without_own, curvature)


def linearise(tokenizer, codes, pose_known, known):
    """How far the known joints are from those of codes (B, N, d), and what moves them.

    Returns:
        residual: known minus decoded root-relative coordinates, float64 (B, 3J), metres.
        jacobian: of the decoded ones in the codes, float64 (B, 3J, N, d), metres.
        Both are 0 where a joint is not known.
    """
    weight = known.repeat_interleave(3, dim=1)  # (B, 3J)
    with torch.enable_grad():
        codes = codes.detach().to(tokenizer.quantizer.code_table().dtype).requires_grad_()
        pose = tokenizer.decode_codes(codes)
        pose = (pose - pose[:, :1]).flatten(1)
        jacobian = codes.new_zeros(*pose.shape, *codes.shape[1:])
        for i in weight.any(dim=0).nonzero().flatten().tolist():  # rows do not mix: sum them
            (jacobian[:, i],) = torch.autograd.grad(pose[:, i].sum(), codes, retain_graph=True)
    residual = (pose_known.flatten(1).double() - pose.detach().double()) * weight
    return residual, jacobian.double() * weight[..., None, None]


def redraw(model, memory, tokens, pose_known, known, strength, generator, step):
    """One round (point 2 above): tokens int64 (B, N), noised to `step` and drawn anew.

    Leaves the law of the tokens given image and known joints as it is, where the decoder
    is linear and f the product of the tokens' laws given k_s. `memory` is `condition_memory`
    of the features; `generator` one torch.Generator or a list of one for each row; the rest as
    for `inpaint`.
    """
    precision = strength / TOLERANCE**2
    k_s = q_sample(model.schedule, tokens, step, generator)
    steps = torch.full((len(k_s),), step, device=k_s.device)
    logits = _reachable(model.schedule, model.denoiser(k_s, steps, memory), k_s)
    draw = uniform(tokens.shape, generator, torch.float64, tokens.device)
    table = model.tokenizer.quantizer.code_table()
    codes = table[tokens]
    residual, jacobian = linearise(model.tokenizer, codes, pose_known, known)
    redrawn = []
    for n in range(tokens.shape[1]):
        moves = (table - codes[:, n, None]).double()  # (B, C, d)
        answer = jacobian[:, :, n]  # (B, 3J, d)
        slope = residual[:, None] @ answer  # (B, 1, d)
        curvature = answer.transpose(1, 2) @ answer
        tilt = precision * (moves * (slope - 0.5 * moves @ curvature)).sum(dim=-1)
        cumulative = (logits[:, n].double() + tilt).softmax(dim=-1).cumsum(dim=-1)
        threshold = draw[:, n, None] * cumulative[:, -1:]
        code = torch.searchsorted(cumulative, threshold, right=True)  # (B, 1)
        moved = moves.gather(1, code[..., None].expand(-1, -1, moves.shape[2]))[:, 0]
        residual = residual - (answer @ moved[..., None])[..., 0]
        redrawn.append(code)
    return torch.cat(redrawn, dim=1)


def _reachable(schedule, logits, k_s):
    """Logits that know: without replacement a code that is seen is the clean one."""
    if schedule.final_replace_rate > 0:
        return logits
    seen = (k_s < schedule.num_codes)[..., None]
    is_seen = k_s[..., None] == torch.arange(schedule.num_codes, device=k_s.device)
    return torch.where(seen, torch.where(is_seen, 0.0, -torch.inf).to(logits), logits)


def _check_evidence(pose_known, known, strength):
    """Refuse what cannot be known joints, or their strength; B."""
    sizes = check_tensor("pose_known", pose_known, ("B", "J", 3), "float")
    check_tensor("known", known, (sizes["B"], sizes["J"]), "bool")
    empty = (~known[:, 1:].any(dim=1)).nonzero().flatten().tolist()
    require(
        not empty,
        f"`known` must hold a joint besides the pelvis in every row; rows {empty[:5]} do not",
    )
    check_number("strength", strength, "≥ 0", lambda x: 0 <= x < math.inf)
    return sizes["B"]
