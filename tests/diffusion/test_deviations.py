"""Every equation against the chain written out; and a wrong formula is noticed."""

import math

import pytest
import torch
from chains import chains

from di2pose_lib.diffusion import OccludeReplaceSchedule, deviations, reference

EXACT = 1e-12
FOR_ANY_CODES = [deviations.rates, deviations.walk, deviations.last_law, deviations.one_pass]


@chains
@pytest.mark.parametrize("check", [*deviations.EQUATIONS.values(), *FOR_ANY_CODES])
def test_the_library_agrees_with_the_chain_written_out(check, chain):
    assert check(OccludeReplaceSchedule(*chain)) <= EXACT


def test_the_bound_agrees_with_the_sum_over_paths_and_with_the_entropy():
    law = torch.tensor([0.5, 0.3, 0.2], dtype=torch.float64)
    assert deviations.bound(OccludeReplaceSchedule(2, 3)) <= EXACT
    assert deviations.entropy(OccludeReplaceSchedule(3, 6), law) <= EXACT


WRONG = {  # equation: the library's function that it asks, and that function gone wrong
    "one_step": ("transition_matrix", lambda right: lambda chain, s: right(chain, 1)),
    "closed_form": ("q_probs", lambda right: lambda chain, k, s: right(chain, k, 1)),
    "walk": ("q_probs", lambda right: lambda chain, k, s: right(chain, k, 1)),
    "semigroup": ("transition_matrix", lambda right: lambda chain, s, u: right(chain, s)),
    "last_law": ("cumulative_transition_matrix", lambda right: lambda chain, s: right(chain, 2)),
    "posterior": ("q_posterior_probs", lambda right: lambda *given, prev_step: right(*given)),
    "model_posterior": ("p_posterior_probs", lambda right: lambda *given, prev_step: right(*given)),
    "one_pass": ("p_posterior_probs", lambda right: lambda *given, prev_step: right(*given)),
    "loss": ("diffusion_loss", lambda right: lambda *given: right(*given[:4], 2, *given[5:])),
    "bound": ("diffusion_loss", lambda right: lambda *given: right(*given[:4], 2, *given[5:])),
}


@pytest.mark.parametrize("equation", WRONG)
def test_a_formula_gone_wrong_deviates(equation, monkeypatch):
    name, wrong = WRONG[equation]
    monkeypatch.setattr(deviations, name, wrong(getattr(deviations, name)))
    num_steps = 20 if equation == "one_pass" else 3
    assert getattr(deviations, equation)(OccludeReplaceSchedule(2, num_steps)) > 1e-3


def test_rates_that_do_not_multiply_deviate():
    schedule = OccludeReplaceSchedule(2, 3)
    schedule.alpha = schedule.alpha_bar
    assert deviations.rates(schedule) > 1e-3


def test_one_step_its_posterior_and_its_kl_by_hand():
    # S = 2, γ̄ = 0.4, 0.8, C β̄ = 0.1, 0.2: of Occ at step 2 half was Occ at step 1
    schedule = OccludeReplaceSchedule(2, 2, 0.8, 0.2)
    wanted = torch.tensor([[0.55, 0.05, 0], [0.05, 0.55, 0], [0.4, 0.4, 1]], dtype=torch.float64)
    torch.testing.assert_close(reference.one_step_matrix(schedule, 1), wanted)
    wanted = torch.tensor([0.55 / 1.2, 0.05 / 1.2, 0.5], dtype=torch.float64)
    torch.testing.assert_close(reference.posteriors(schedule, 1, 2)[2, 0], wanted)
    even = torch.tensor([0.5, 0.5], dtype=torch.float64)
    kl = reference.kl_nats(schedule, even, 2)[2, 0].item()
    by_hand = sum(q * math.log(q / 0.25) for q in (0.55 / 1.2, 0.05 / 1.2))
    assert kl == pytest.approx(by_hand, abs=1e-14)
