"""Random chains, strides and logits against explicit matrices (hypothesis finds the cases)."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from oracle import kl_nats, model_posterior, posterior, product_matrix, reachable_pairs

from di2pose_lib.diffusion.losses import diffusion_loss
from di2pose_lib.diffusion.transitions import (
    OccludeReplaceSchedule,
    cumulative_transition_matrix,
    p_posterior_probs,
    q_posterior_probs,
    q_probs,
)

EXACT = {"atol": 1e-12, "rtol": 1e-12}
FEW = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def chains(draw, most_codes=6, most_steps=8):
    """(C, S, final occlude rate, final replace rate); degenerate rates among them."""
    occlude = draw(st.one_of(st.sampled_from([0.0, 1.0]), st.floats(1e-6, 1 - 1e-6)))
    codes = draw(st.integers(1, most_codes))
    return codes, draw(st.integers(1, most_steps)), occlude, 1.0 - occlude


@st.composite
def cases(draw, **limits):
    """A chain, a stride u < s, a possible pair (k_0, k_s) and a denoiser's f over the codes."""
    chain = draw(chains(**limits))
    step = draw(st.integers(1, chain[1]))
    prev_step = draw(st.integers(0, step - 1))
    k_0, k_s = draw(st.sampled_from(reachable_pairs(chain, step)))
    logits = torch.tensor(
        draw(st.lists(st.floats(-6, 6), min_size=chain[0], max_size=chain[0])), dtype=torch.float64
    )
    return chain, prev_step, step, k_0, k_s, logits


def tokens(value):
    return torch.tensor([[value]])


@FEW
@given(chains())
def test_marginals_are_the_product_of_the_one_step_matrices(chain):
    schedule = OccludeReplaceSchedule(*chain)
    for step in range(1, chain[1] + 1):
        product = product_matrix(chain, 0, step)
        torch.testing.assert_close(cumulative_transition_matrix(schedule, step), product, **EXACT)
        for k_0 in range(chain[0]):
            probs = q_probs(schedule, tokens(k_0), step)[0, 0]
            torch.testing.assert_close(probs, product[:, k_0], **EXACT)


@FEW
@given(cases())
def test_both_posteriors_are_bayes_rule_at_any_stride(case):
    chain, prev_step, step, k_0, k_s, logits = case
    schedule = OccludeReplaceSchedule(*chain)
    got = q_posterior_probs(schedule, tokens(k_0), tokens(k_s), step, prev_step)[0, 0]
    torch.testing.assert_close(got, posterior(chain, k_0, k_s, prev_step, step), **EXACT)
    f = logits.softmax(dim=-1)
    got = p_posterior_probs(schedule, f[None, None], tokens(k_s), step, prev_step)[0, 0]
    torch.testing.assert_close(got, model_posterior(chain, f, k_s, prev_step, step), **EXACT)
    assert (got >= 0).all() and got.sum().item() == pytest.approx(1, abs=1e-12)


@FEW
@given(cases())
def test_the_loss_is_the_kl_divergence_written_out(case):
    chain, _, step, k_0, k_s, logits = case
    schedule = OccludeReplaceSchedule(*chain)
    result = diffusion_loss(schedule, logits[None, None], tokens(k_0), tokens(k_s), step)
    wanted = kl_nats(chain, logits.softmax(dim=-1), k_0, k_s, step)
    torch.testing.assert_close(result.vlb, torch.as_tensor(wanted), atol=1e-11, rtol=1e-9)
    assert result.vlb >= -1e-12


@FEW
@given(cases(), st.floats(0, 1))
def test_the_gradient_of_the_loss_is_that_of_finite_differences(case, aux_weight):
    chain, _, step, k_0, k_s, logits = case
    schedule = OccludeReplaceSchedule(*chain)
    # Finite differences lose their digits where the KL's curvature is huge.
    rates = [rate for rate in chain[2:] if rate > 0]
    assume(min(rates) > 1e-3)

    def loss(values):
        shaped = values[None, None]
        return diffusion_loss(schedule, shaped, tokens(k_0), tokens(k_s), step, aux_weight).loss

    logits.requires_grad_()
    (got,) = torch.autograd.grad(loss(logits), logits)
    with torch.no_grad():
        for code in range(chain[0]):
            nudge = torch.zeros_like(logits)
            nudge[code] = 1e-5
            slope = (loss(logits + nudge) - loss(logits - nudge)) / 2e-5
            torch.testing.assert_close(got[code], slope, atol=2e-9, rtol=1e-6)
