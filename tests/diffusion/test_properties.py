"""Random chains, strides and logits against explicit matrices (hypothesis finds the cases)."""

import pytest
import torch
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from di2pose_lib.diffusion import (
    OccludeReplaceSchedule,
    deviations,
    diffusion_loss,
    p_posterior_probs,
    q_posterior_probs,
)
from di2pose_lib.diffusion.reference import kl_nats, model_posteriors, posteriors, reachable_pairs

EXACT = {"atol": 1e-12, "rtol": 1e-12}
FEW = settings(max_examples=60, deadline=None, derandomize=True)


@st.composite
def chains(draw, most_codes=6, most_steps=8):
    """Schedules; degenerate rates among them."""
    occlude = draw(st.one_of(st.sampled_from([0.0, 1.0]), st.floats(1e-6, 1 - 1e-6)))
    codes = draw(st.integers(1, most_codes))
    steps = draw(st.integers(1, most_steps))
    return OccludeReplaceSchedule(codes, steps, occlude, 1.0 - occlude)


@st.composite
def cases(draw, **limits):
    """A schedule, a stride u < s, a possible pair (k_0, k_s) and a denoiser's logits (C,)."""
    schedule = draw(chains(**limits))
    step = draw(st.integers(1, schedule.num_steps))
    prev_step = draw(st.integers(0, step - 1))
    k_s, k_0 = draw(st.sampled_from(torch.stack(reachable_pairs(schedule, step), dim=1).tolist()))
    logits = st.lists(st.floats(-6, 6), min_size=schedule.num_codes, max_size=schedule.num_codes)
    return schedule, prev_step, step, k_0, k_s, torch.tensor(draw(logits), dtype=torch.float64)


def tokens(value):
    return torch.tensor([[value]])


@FEW
@given(chains())
def test_rates_and_matrices_are_those_of_the_steps_written_out(schedule):
    for check in (deviations.rates, deviations.walk, deviations.closed_form, deviations.semigroup):
        assert check(schedule) <= 1e-12, check.__name__


@FEW
@given(cases())
def test_both_posteriors_are_bayes_rule_at_any_stride(case):
    schedule, prev_step, step, k_0, k_s, logits = case
    got = q_posterior_probs(schedule, tokens(k_0), tokens(k_s), step, prev_step)[0, 0]
    wanted = posteriors(schedule, prev_step, step)[k_s, k_0]
    torch.testing.assert_close(got, wanted, **EXACT)
    f = logits.softmax(dim=-1)
    got = p_posterior_probs(schedule, f[None, None], tokens(k_s), step, prev_step)[0, 0]
    wanted = model_posteriors(schedule, f, prev_step, step)[k_s]
    torch.testing.assert_close(got, wanted, **EXACT)
    assert (got >= 0).all() and got.sum().item() == pytest.approx(1, abs=1e-12)


@FEW
@given(cases())
def test_the_loss_is_the_kl_divergence_written_out(case):
    schedule, _, step, k_0, k_s, logits = case
    result = diffusion_loss(schedule, logits[None, None], tokens(k_0), tokens(k_s), step)
    wanted = kl_nats(schedule, logits.softmax(dim=-1), step)[k_s, k_0]
    torch.testing.assert_close(result.vlb, wanted, atol=1e-11, rtol=1e-9)
    assert result.vlb >= -1e-12


@FEW
@given(cases(), st.floats(0, 1))
def test_the_gradient_of_the_loss_is_that_of_finite_differences(case, aux_weight):
    schedule, _, step, k_0, k_s, logits = case
    # Finite differences lose their digits where the KL's curvature is huge.
    rates = schedule.final_occlude_rate, schedule.final_replace_rate
    assume(min(rate for rate in rates if rate > 0) > 1e-3)

    def loss(values):
        shaped = values[None, None]
        return diffusion_loss(schedule, shaped, tokens(k_0), tokens(k_s), step, aux_weight).loss

    logits.requires_grad_()
    (got,) = torch.autograd.grad(loss(logits), logits)
    with torch.no_grad():
        for code in range(schedule.num_codes):
            nudge = torch.zeros_like(logits)
            nudge[code] = 1e-5
            slope = (loss(logits + nudge) - loss(logits - nudge)) / 2e-5
            torch.testing.assert_close(got[code], slope, atol=2e-9, rtol=1e-6)
