"""How far each formula of the library is from the chain written out in `reference`.

A function for each equation takes a schedule and returns the largest absolute deviation over all
steps, strides and tokens that can occur. `EQUATIONS` holds those that any chain of few codes can
be asked for. Notebooks 04a to 04c show one case of each and ask these for the rest; tests ask
them for more chains.
"""

import torch

from di2pose_lib.base.seeding import generator_for
from di2pose_lib.diffusion import reference
from di2pose_lib.diffusion.losses import diffusion_loss
from di2pose_lib.diffusion.schedule import cumulative_transition_matrix, transition_matrix
from di2pose_lib.diffusion.transitions import p_posterior_probs, q_posterior_probs, q_probs


def any_denoiser(schedule, name="any"):
    """Some f(k̂_0 | k_s), a table [k_s, k̂_0], the same for the same name."""
    generator = generator_for(0, "denoiser", name)
    shape = schedule.num_codes + 1, schedule.num_codes
    return torch.randn(shape, dtype=torch.float64, generator=generator).softmax(dim=-1)


def rates(schedule):
    """Eq. 18, and that a token's three fates sum to 1; for any C."""
    differences = (
        schedule.alpha_bar - schedule.alpha.cumprod(dim=0),
        (1 - schedule.gamma_bar) - (1 - schedule.gamma).cumprod(dim=0),
        1 - schedule.alpha - schedule.gamma - schedule.num_codes * schedule.beta,
    )
    return max(map(_largest, differences))


def one_step(schedule):
    """Eq. 6 entry by entry, and its columns' sums."""
    worst = 0.0
    for s in range(1, schedule.num_steps + 1):
        matrix = transition_matrix(schedule, s)
        differences = matrix - reference.one_step_matrix(schedule, s), matrix.sum(dim=0) - 1
        worst = max(worst, *map(_largest, differences))
    return worst


def closed_form(schedule):
    """Eq. 7 as a matrix, and the probabilities that training draws from."""
    worst = 0.0
    for s in range(1, schedule.num_steps + 1):
        product = reference.matrix_of_steps(schedule, 0, s)
        closed = cumulative_transition_matrix(schedule, s)
        columns = q_probs(schedule, torch.arange(schedule.num_codes)[None], s)[0].T
        worst = max(worst, _largest(closed - product), _largest(columns - product[:, :-1]))
    return worst


def walk(schedule):
    """Eq. 7 against the law of code 0, walked through the steps of Eq. 6; for any C."""
    walked = torch.zeros(schedule.num_codes + 1, dtype=torch.float64)
    walked[0] = 1
    worst = 0.0
    for s in range(1, schedule.num_steps + 1):
        visible = walked[:-1].sum()
        codes = schedule.alpha[s] * walked[:-1] + schedule.beta[s] * visible
        walked = torch.cat([codes, (walked[-1] + schedule.gamma[s] * visible)[None]])
        worst = max(worst, _largest(q_probs(schedule, torch.tensor([[0]]), s)[0, 0] - walked))
    return worst


def semigroup(schedule):
    """The matrix of every stride against the product of its steps."""
    return max(
        _largest(transition_matrix(schedule, s, u) - reference.matrix_of_steps(schedule, u, s))
        for u, s in reference.strides(schedule)
    )


def last_law(schedule):
    """The law at step S from each clean code against p(k_S)."""
    law = torch.cat([schedule.beta_bar[-1:].expand(schedule.num_codes), schedule.gamma_bar[-1:]])
    from_codes = cumulative_transition_matrix(schedule, schedule.num_steps)[:, :-1]
    return _largest(from_codes - law[:, None])


def posterior(schedule):
    """Eq. 5 against Bayes' rule, for every stride and pair of tokens."""
    worst = 0.0
    for u, s in reference.strides(schedule):
        k_s, k_start = reference.reachable_pairs(schedule, s)
        formula = q_posterior_probs(schedule, k_start[None], k_s[None], s, prev_step=u)[0]
        wanted = reference.posteriors(schedule, u, s)[k_s, k_start]
        worst = max(worst, _largest(formula - wanted))
    return worst


def model_posterior(schedule):
    """Eq. 9 against its sum, for every stride and token, with `any_denoiser`."""
    f, worst = any_denoiser(schedule), 0.0
    for u, s in reference.strides(schedule):
        k_s = reference.reachable_pairs(schedule, s)[0].unique()
        formula = p_posterior_probs(schedule, f[k_s][None], k_s[None], s, prev_step=u)[0]
        wanted = reference.model_posteriors(schedule, f, u, s)[k_s]
        worst = max(worst, _largest(formula - wanted))
    return worst


def one_pass(schedule):
    """Eq. 9 for any C, half-way down the chain and over a tenth of it, against its C terms."""
    s = max(1, schedule.num_steps // 2)
    u = s - max(1, schedule.num_steps // 10)
    generator = generator_for(0, "one pass")
    f = torch.randn(schedule.num_codes, dtype=torch.float64, generator=generator).softmax(dim=0)
    worst = 0.0
    for k_s in (0, schedule.num_codes):  # a code, and Occ
        likelihood = q_probs(schedule, torch.arange(schedule.num_codes)[:, None], s)[:, 0, k_s]
        weights = f * (likelihood > 0)
        if not weights.any():  # Occ, in a chain that only replaces
            continue
        weights, seen = weights / weights.sum(), torch.tensor([[k_s]])
        explicit = torch.zeros(schedule.num_codes + 1, dtype=torch.float64)
        for k_start in weights.nonzero():
            term = q_posterior_probs(schedule, k_start[None], seen, s, prev_step=u)
            explicit += weights[k_start] * term[0, 0]
        formula = p_posterior_probs(schedule, f[None, None], seen, s, prev_step=u)[0, 0]
        worst = max(worst, _largest(formula - explicit))
    return worst


def loss(schedule):
    """Eq. 11 at every step and pair of tokens, each of its terms, with `any_denoiser`."""
    f, worst, aux_weight = any_denoiser(schedule), 0.0, 0.1
    for s in range(1, schedule.num_steps + 1):
        k_s, k_start = reference.reachable_pairs(schedule, s)
        kl = reference.kl_nats(schedule, f, s)[k_s, k_start]
        aux = -f[k_s, k_start].log().mean()
        result = one_token_losses(schedule, f, k_start, k_s, s, aux_weight)
        wanted = kl.mean() + aux_weight * aux
        differences = result.vlb_per_sample - kl, result.aux - aux, result.loss - wanted
        worst = max(worst, *map(_largest, differences))
    return worst


def one_token_losses(schedule, f, k_start, k_s, step, aux_weight=5e-4):
    """`diffusion_loss` of poses of one token, k_start and k_s int64 (B,), `f` a table."""
    tokens = k_start[:, None], k_s[:, None]
    return diffusion_loss(schedule, f.log()[k_s][:, None], *tokens, step, aux_weight)


def bound_terms(schedule, f, k_start):
    """The bound's expected terms for a pose of one token k_0: S floats, nats, from step 1 on.

    Of a chain that occludes and replaces, so that every k_s can occur. `f` is a list of what a
    denoiser says at each step, tables [k_s, k̂_0].
    """
    k_s, terms = torch.arange(schedule.num_codes + 1), []
    for s in range(1, schedule.num_steps + 1):
        arrivals = cumulative_transition_matrix(schedule, s)[:, k_start]  # q(k_s | k_0)
        kl = one_token_losses(schedule, f[s - 1], torch.full_like(k_s, k_start), k_s, s)
        terms.append((arrivals @ kl.vlb_per_sample).item())
    return terms


def bound(schedule):
    """Eq. 17 against the sum over all paths, for every clean code, with `any_denoiser`s."""
    f = [any_denoiser(schedule, s) for s in range(1, schedule.num_steps + 1)]
    last = cumulative_transition_matrix(schedule, schedule.num_steps)[:, 0]
    worst = 0.0
    for k_start in range(schedule.num_codes):
        paths = reference.sum_over_paths(schedule, f, k_start)
        prior = torch.xlogy(paths.last_law, paths.last_law / last).sum().item()
        terms = [prior, *reversed(bound_terms(schedule, f, k_start))]
        worst = max(worst, abs(sum(terms) - paths.bound))
    return worst


def entropy(schedule, law):
    """The bound of a perfect denoiser, averaged over a law (C,) of k_0, against its entropy."""
    steps = range(1, schedule.num_steps + 1)
    f = [reference.perfect_denoiser(schedule, law, s) for s in steps]
    terms = [bound_terms(schedule, f, k) for k in range(schedule.num_codes)]
    expected = sum(share * sum(each) for share, each in zip(law.tolist(), terms, strict=True))
    return abs(expected - torch.special.entr(law).sum().item())


EQUATIONS = {
    check.__name__: check
    for check in (one_step, closed_form, semigroup, posterior, model_posterior, loss)
}


def _largest(difference):
    return difference.abs().max().item()
