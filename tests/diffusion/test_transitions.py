import itertools
import math

import pytest
import torch
from chains import CHAINS, chains

from di2pose_lib.diffusion import (
    OccludeReplaceSchedule,
    cumulative_transition_matrix,
    p_posterior_probs,
    q_posterior_probs,
    q_posterior_sample,
    q_probs,
    q_sample,
    transition_matrix,
)
from di2pose_lib.diffusion.reference import posteriors, reachable_pairs, strides
from di2pose_lib.diffusion.transitions import posterior_factors, uniform, uniform_codes

EXACT = {"atol": 1e-12, "rtol": 1e-12}


def close(actual, expected, **tolerance):
    torch.testing.assert_close(actual, expected, **(tolerance or EXACT))


def row(*tokens):
    return torch.tensor([tokens])


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_probs(*shape, seed=0, dtype=torch.float64):
    return torch.randn(shape, generator=seeded(seed), dtype=torch.float64).softmax(-1).to(dtype)


# Schedule


def test_two_codes_and_two_steps_by_hand():
    schedule = OccludeReplaceSchedule(2, 2, final_occlude_rate=0.8, final_replace_rate=0.2)
    # cumulative: ᾱ = 1, 1/2, 0; γ̄ = 0, 0.4, 0.8; C β̄ = 0, 0.1, 0.2
    close(schedule.alpha_bar, torch.tensor([1, 0.5, 0], dtype=torch.float64))
    close(schedule.beta_bar, torch.tensor([0, 0.05, 0.1], dtype=torch.float64))
    close(schedule.gamma_bar, torch.tensor([0, 0.4, 0.8], dtype=torch.float64))
    # last step: 1 − γ = 0.2 / 0.6, α = 0, so β = (1/3) / 2
    close(schedule.alpha, torch.tensor([1, 0.5, 0], dtype=torch.float64))
    close(schedule.beta, torch.tensor([0, 0.05, 1 / 6], dtype=torch.float64))
    close(schedule.gamma, torch.tensor([0, 0.4, 2 / 3], dtype=torch.float64))
    last = [[1 / 6, 1 / 6, 0], [1 / 6, 1 / 6, 0], [2 / 3, 2 / 3, 1]]
    close(transition_matrix(schedule, 2), torch.tensor(last, dtype=torch.float64))


def test_default_rates_end_at_nine_tenths_occluded_and_one_tenth_replaced():
    schedule = OccludeReplaceSchedule(4375, 100)
    assert schedule.alpha_bar[0] == 1 and schedule.alpha_bar[100] == 0
    assert schedule.gamma_bar[0] == 0 and schedule.gamma_bar[100] == 0.9
    close(4375 * schedule.beta_bar[100], torch.tensor(0.1, dtype=torch.float64))
    halfway = torch.tensor([0.5, 0.45, 0.05], dtype=torch.float64)
    bars = (schedule.alpha_bar[50], schedule.gamma_bar[50], 4375 * schedule.beta_bar[50])
    close(torch.stack(bars), halfway)


@chains
def test_rates_are_finite_float64_in_the_unit_interval_and_sum_to_one(chain):
    schedule = OccludeReplaceSchedule(*chain)
    for suffix in ("", "_bar"):
        rates = [getattr(schedule, name + suffix) for name in ("alpha", "beta", "gamma")]
        for rate in rates:
            assert rate.dtype == torch.float64 and rate.shape == (chain[1] + 1,)
            assert ((rate >= 0) & (rate <= 1)).all()  # false for NaN
        close(rates[0] + chain[0] * rates[1] + rates[2], torch.ones(chain[1] + 1).double())
        assert (rates[0][0], rates[1][0], rates[2][0]) == (1, 0, 0)


def test_a_rate_of_zero_is_zero_at_every_step_and_stride():
    occlude_only = OccludeReplaceSchedule(7, 30, 1, 0)
    replace_only = OccludeReplaceSchedule(7, 30, 0, 1)
    for u, s in itertools.combinations(range(31), 2):
        at = torch.tensor(u), torch.tensor(s)
        assert occlude_only.stride_rates(*at).beta == 0
        assert replace_only.stride_rates(*at).gamma == 0
    assert occlude_only.stride_rates(torch.tensor(29), torch.tensor(30)).gamma == 1


# Matrices


@chains
def test_columns_sum_to_one_and_occ_absorbs_on_every_stride(chain):
    schedule = OccludeReplaceSchedule(*chain)
    occ = torch.eye(chain[0] + 1, dtype=torch.float64)[-1]
    for u, s in strides(schedule):
        matrix = transition_matrix(schedule, s, prev_step=u)
        close(matrix.sum(0), torch.ones_like(occ))
        assert torch.equal(matrix[:, -1], occ)


def test_a_thousand_steps_still_compose():
    schedule = OccludeReplaceSchedule(3, 1000)
    two = transition_matrix(schedule, 1000, 617) @ transition_matrix(schedule, 617, 1)
    close(two, transition_matrix(schedule, 1000, 1))


# Marginals


def test_q_probs_takes_one_step_per_pose():
    schedule = OccludeReplaceSchedule(3, 5)
    k_start = torch.tensor([[0, 1], [2, 2]])
    both = q_probs(schedule, k_start, torch.tensor([1, 4]))
    close(both[:1], q_probs(schedule, k_start[:1], 1))
    close(both[1:], q_probs(schedule, k_start[1:], 4))


@pytest.mark.parametrize("chain", [(3, 5, 0.9, 0.1), (3, 5, 1.0, 0.0), (3, 5, 0.0, 1.0)], ids=str)
@pytest.mark.parametrize("step", [1, 3, 5])
def test_q_sample_has_the_frequencies_of_q_probs(chain, step):
    schedule = OccludeReplaceSchedule(*chain)
    k_start = torch.full((1, 20_000), 1)
    drawn = q_sample(schedule, k_start, step, seeded())
    counts = torch.bincount(drawn[0], minlength=4).double()
    assert_chi_square(counts, q_probs(schedule, k_start[:, :1], step)[0, 0])


def assert_chi_square(counts, probs):
    """Counts fit the probabilities; values of probability 0 were never drawn."""
    assert (counts[probs == 0] == 0).all()
    possible = probs > 0
    expected = probs[possible] * counts.sum()
    statistic = ((counts[possible] - expected) ** 2 / expected).sum().item()
    freedom = int(possible.sum()) - 1
    # about the 1e-4 quantile (Wilson and Hilferty)
    limit = (
        freedom * (1 - 2 / (9 * freedom) + 3.72 * math.sqrt(2 / (9 * freedom))) ** 3
        if freedom
        else 1e-9
    )
    assert statistic <= limit


def test_q_sample_is_its_generators_alone():
    schedule = OccludeReplaceSchedule(9, 10)
    k_start = torch.randint(9, (4, 30), generator=seeded(1))
    global_state = torch.get_rng_state()
    drawn = [q_sample(schedule, k_start, 5, seeded(seed)) for seed in (3, 3, 4)]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert torch.equal(torch.get_rng_state(), global_state)


# Posteriors


def test_p_posterior_of_a_sure_denoiser_is_the_true_posterior():
    schedule = OccludeReplaceSchedule(5, 7)
    k_start = torch.randint(5, (3, 40), generator=seeded())
    step = torch.tensor([1, 4, 7])
    k_s = q_sample(schedule, k_start, step, seeded(1))
    sure = torch.nn.functional.one_hot(k_start, 5).double()
    prev_step = torch.tensor([0, 1, 6])
    close(
        p_posterior_probs(schedule, sure, k_s, step, prev_step),
        q_posterior_probs(schedule, k_start, k_s, step, prev_step),
    )


def test_the_default_previous_step_is_the_one_before():
    schedule = OccludeReplaceSchedule(5, 7)
    k_start, k_s = row(0, 1, 2), row(5, 1, 4)
    f = random_probs(1, 3, 5)
    close(
        q_posterior_probs(schedule, k_start, k_s, 4),
        q_posterior_probs(schedule, k_start, k_s, 4, 3),
    )
    close(p_posterior_probs(schedule, f, k_s, 4), p_posterior_probs(schedule, f, k_s, 4, 3))
    with pytest.raises(AssertionError):
        close(p_posterior_probs(schedule, f, k_s, 4), p_posterior_probs(schedule, f, k_s, 4, 2))


def test_occlude_only_keeps_a_seen_code_even_where_the_denoiser_rules_it_out():
    schedule = OccludeReplaceSchedule(3, 4, 1, 0)
    f = torch.tensor([[[0.0, 0.25, 0.75], [0.0, 0.25, 0.75]]], requires_grad=True)
    probs = p_posterior_probs(schedule, f, row(0, 3), step=2)
    # Occ at 2 was Occ at 1 with γ̄_1 / γ̄_2 = 1/2, else it is what f says
    expected = [[[1.0, 0, 0, 0], [0, 0.125, 0.375, 0.5]]]
    close(probs, torch.tensor(expected), atol=1e-6, rtol=0)
    probs.square().sum().backward()
    assert f.grad.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.float16])
def test_p_posterior_keeps_its_inputs_dtype_and_sums_to_one(dtype):
    schedule = OccludeReplaceSchedule(40, 100)
    f = random_probs(2, 6, 40, dtype=dtype)
    k_s = torch.randint(41, (2, 6), generator=seeded())
    probs = p_posterior_probs(schedule, f, k_s, torch.tensor([1, 60]))
    assert probs.dtype == dtype
    reference = p_posterior_probs(
        schedule, f.double() / f.double().sum(-1, keepdim=True), k_s, torch.tensor([1, 60])
    )
    assert reference.dtype == torch.float64
    tolerance = {torch.float64: 1e-12, torch.float32: 1e-6}.get(dtype, 5e-3)
    close(probs.double(), reference, atol=tolerance, rtol=tolerance)
    close(reference.sum(-1), torch.ones(2, 6).double())


@pytest.mark.parametrize("chain", [(3, 5, 0.9, 0.1), (3, 5, 1.0, 0.0), (3, 5, 0.0, 1.0)], ids=str)
def test_q_posterior_sample_has_the_frequencies_of_q_posterior_probs(chain):
    schedule = OccludeReplaceSchedule(*chain)
    for u, s in [(0, 1), (0, 4), (2, 3), (1, 5)]:
        for k_s, k_0 in torch.stack(reachable_pairs(schedule, s), dim=1).tolist():
            k_start, noisy = torch.full((1, 3000), k_0), torch.full((1, 3000), k_s)
            drawn = q_posterior_sample(schedule, k_start, noisy, s, seeded(k_0), prev_step=u)
            counts = torch.bincount(drawn[0], minlength=4).double()
            assert_chi_square(counts, posteriors(schedule, u, s)[k_s, k_0])


def test_schedule_rates_move_to_a_device_and_follow_their_inputs():
    schedule = OccludeReplaceSchedule(3, 4)
    moved = schedule.to("meta")
    assert moved.gamma_bar.device.type == "meta" and moved.num_steps == 4
    assert schedule.gamma_bar.device.type == "cpu"
    step = torch.tensor([2], device="meta")
    assert schedule.cumulative_rates(step).alpha.device.type == "meta"


# Refusals


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((0, 5), "`num_codes` must be at least 1; got 0"),
        ((3, 0), "`num_steps` must be at least 1; got 0"),
        ((3.0, 5), "`num_codes` must be an integer; got 3.0"),
        ((3, "5"), "`num_steps` must be an integer; got '5'"),
        ((True, 5), "`num_codes` must be an integer; got True"),
        ((3, 5, 0.9, 0.2), "must sum to 1; got 1.1"),
        ((3, 5, 0.9, 0.0), "must sum to 1; got 0.9"),
        ((3, 5, 1.5, -0.5), r"`final_occlude_rate` must be a number in \[0, 1\]; got 1.5"),
        ((3, 5, 0.9, float("nan")), "`final_replace_rate` must be a number .* got nan"),
        ((3, 5, None, 0.1), "`final_occlude_rate` must be a number .* got None"),
        ((3, 5, "0.9", 0.1), "`final_occlude_rate` must be a number .* got '0.9'"),
    ],
    ids=str,
)
def test_the_schedule_refuses(arguments, message):
    with pytest.raises(ValueError, match=message):
        OccludeReplaceSchedule(*arguments)


def test_matrices_refuse_steps_out_of_range():
    schedule = OccludeReplaceSchedule(3, 4)
    for step in (0, 5, -1):
        with pytest.raises(ValueError, match=rf"`step` must lie in \[1, 4\]; got {step}"):
            transition_matrix(schedule, step)
    for step in (5, -1):
        with pytest.raises(ValueError, match=rf"`step` must lie in \[0, 4\]; got {step}"):
            cumulative_transition_matrix(schedule, step)
    with pytest.raises(ValueError, match=r"`prev_step` must lie in \[0, step\); got 3 at step 3"):
        transition_matrix(schedule, 3, prev_step=3)
    with pytest.raises(ValueError, match="`step` must be an integer; got 1.5"):
        transition_matrix(schedule, 1.5)


CALLS = {
    "q_probs": lambda schedule, k_start, k_s, step: q_probs(schedule, k_start, step),
    "q_sample": lambda schedule, k_start, k_s, step: q_sample(schedule, k_start, step, seeded()),
    "q_posterior_probs": q_posterior_probs,
    "q_posterior_sample": lambda *a: q_posterior_sample(*a, seeded()),
    "p_posterior_probs": lambda schedule, k_start, k_s, step: p_posterior_probs(
        schedule, random_probs(1, 2, 3), k_s, step
    ),
}
calls = pytest.mark.parametrize("call", CALLS.values(), ids=CALLS)


@calls
def test_token_functions_refuse_bad_steps(call):
    schedule = OccludeReplaceSchedule(3, 4)
    tokens = row(0, 1)
    for step in (0, 5, -1, torch.tensor([0]), torch.tensor([5])):
        with pytest.raises(ValueError, match=r"`step` must lie in \[1, 4\]; got"):
            call(schedule, tokens, tokens, step)
    with pytest.raises(ValueError, match=r"`step` must have shape \(1,?\); got \(2,\)"):
        call(schedule, tokens, tokens, torch.tensor([1, 2]))
    with pytest.raises(ValueError, match="`step` must be int64; got torch.float32"):
        call(schedule, tokens, tokens, torch.tensor([1.0]))
    with pytest.raises(ValueError, match="`step` must be an integer; got nan"):
        call(schedule, tokens, tokens, float("nan"))


@calls
def test_token_functions_refuse_bad_tokens(call):
    schedule = OccludeReplaceSchedule(3, 4)
    good = row(0, 1)
    for bad in (row(-1, 0), row(0, 4)):
        with pytest.raises(ValueError, match=r"`k_s(tart)?` must lie in \[0, [23]\]; got -?\d"):
            call(schedule, bad, bad, 2)
    with pytest.raises(ValueError, match="must be int64; got torch.int32"):
        call(schedule, good.int(), good.int(), 2)
    with pytest.raises(ValueError, match=r"must have shape \(B, N\); got \(2,\)"):
        call(schedule, good[0], good[0], 2)


def test_occ_is_no_clean_token():
    schedule = OccludeReplaceSchedule(3, 4)
    for call in (CALLS["q_probs"], CALLS["q_sample"], q_posterior_probs):
        with pytest.raises(ValueError, match=r"`k_start` must lie in \[0, 2\]; got 3"):
            call(schedule, row(3, 0), row(3, 0), 2)


def test_posteriors_refuse_a_previous_step_that_is_not_earlier():
    schedule = OccludeReplaceSchedule(3, 4)
    tokens, f = row(0, 1), random_probs(1, 2, 3)
    for prev_step in (2, 3, torch.tensor([2])):
        with pytest.raises(ValueError, match=r"`prev_step` must lie in \[0, step\); got [23]"):
            q_posterior_probs(schedule, tokens, tokens, 2, prev_step)
        with pytest.raises(ValueError, match=r"`prev_step` must lie in \[0, step\); got [23]"):
            p_posterior_probs(schedule, f, tokens, 2, prev_step)
    with pytest.raises(ValueError, match=r"`prev_step` must lie in \[0, 4\]; got -1"):
        q_posterior_probs(schedule, tokens, tokens, 2, -1)


def test_posteriors_refuse_what_the_chain_cannot_produce():
    occlude_only = OccludeReplaceSchedule(3, 4, 1, 0)
    replace_only = OccludeReplaceSchedule(3, 4, 0, 1)
    f = random_probs(1, 2, 3)
    with pytest.raises(ValueError, match="`k_s` must be reachable from `k_start` = 2 at step 2"):
        q_posterior_probs(occlude_only, row(0, 2), row(0, 1), 2)
    with pytest.raises(ValueError, match="`k_s` must be reachable from `k_start` = 1 .* got 3"):
        q_posterior_probs(replace_only, row(0, 1), row(0, 3), 2)
    # at step S of an occlude-only chain nothing is seen
    with pytest.raises(ValueError, match="`k_s` must be reachable at step 4 .* got 1"):
        p_posterior_probs(occlude_only, f, row(3, 1), 4)
    with pytest.raises(ValueError, match="`k_s` must be reachable at step 1 .* got 3"):
        p_posterior_probs(replace_only, f, row(0, 3), 1)


@pytest.mark.parametrize("chain", [c for c in CHAINS if c[0] > 1], ids=str)
def test_exactly_the_pairs_of_probability_zero_are_refused(chain):
    schedule = OccludeReplaceSchedule(*chain)
    for s in range(1, chain[1] + 1):
        allowed = set()
        for k_0, k_s in itertools.product(range(chain[0]), range(chain[0] + 1)):
            try:
                posterior_factors(schedule, row(k_s), s, k_start=row(k_0))
            except ValueError:
                continue
            allowed.add((k_s, k_0))
        assert allowed == set(map(tuple, torch.stack(reachable_pairs(schedule, s), dim=1).tolist()))


def test_p_posterior_refuses_what_is_no_distribution():
    schedule = OccludeReplaceSchedule(3, 4)
    k_s, f = row(0, 3), random_probs(1, 2, 3)
    with pytest.raises(ValueError, match="`k_start_probs` must sum to 1; got sums off by 1"):
        p_posterior_probs(schedule, 2 * f, k_s, 2)
    with pytest.raises(ValueError, match="`k_start_probs` must be ≥ 0"):
        p_posterior_probs(schedule, torch.tensor([[[-0.5, 1, 0.5], [0, 0, 1]]]), k_s, 2)
    with pytest.raises(ValueError, match="`k_start_probs` must be finite"):
        p_posterior_probs(schedule, f * float("nan"), k_s, 2)
    with pytest.raises(ValueError, match=r"`k_start_probs` must have shape \(1, 2, 3\)"):
        p_posterior_probs(schedule, random_probs(1, 2, 4), k_s, 2)
    with pytest.raises(TypeError, match="`k_start_probs` must be a torch.Tensor; got list"):
        p_posterior_probs(schedule, f.tolist(), k_s, 2)


def test_mismatched_token_shapes_and_generators_are_refused():
    schedule = OccludeReplaceSchedule(3, 4)
    with pytest.raises(ValueError, match=r"`k_start` must have the shape of `k_s`, \(1, 2\)"):
        q_posterior_probs(schedule, row(0, 1, 2), row(0, 1), 2)
    with pytest.raises(ValueError, match="`generator` must be a torch.Generator, .*; got int"):
        q_sample(schedule, row(0, 1), 2, 7)
    with pytest.raises(ValueError, match="`generator` must be a torch.Generator, .*; got NoneType"):
        q_posterior_sample(schedule, row(0, 1), row(0, 1), 2, None)


# Draws from one generator, and from one for each row


def generators(*seeds):
    return [seeded(seed) for seed in seeds]


def test_rows_draw_from_their_own_generators_in_whatever_company():
    whole = uniform((3, 4), generators(5, 6, 7), torch.float64, "cpu")
    alone = uniform((1, 4), generators(6), torch.float64, "cpu")
    assert torch.equal(whole[1:2], alone)
    assert torch.equal(alone[0], torch.rand(4, dtype=torch.float64, generator=generators(6)[0]))
    whole = uniform_codes(9, (3, 4), generators(5, 6, 7), "cpu")
    assert torch.equal(whole[2], torch.randint(9, (4,), generator=generators(7)[0]))


def test_one_generator_draws_for_all():
    (one,) = generators(5)
    expected = torch.rand((3, 4), generator=generators(5)[0])
    assert torch.equal(uniform((3, 4), one, torch.float32, "cpu"), expected)
    assert uniform_codes(9, (3, 4), one, "cpu").max() < 9


def test_what_is_no_generator_or_not_one_for_each_row_is_refused():
    schedule, k_start = OccludeReplaceSchedule(7, 12), torch.zeros(3, 4, dtype=torch.int64)
    sentence = "`generator` must be a torch.Generator, or a list of one for each row; got "
    with pytest.raises(ValueError, match=sentence + "int"):
        q_sample(schedule, k_start, 3, 7)
    with pytest.raises(ValueError, match=sentence + "list"):
        q_sample(schedule, k_start, 3, [7, 8, 9])
    sentence = "`generator` must hold one generator for each of 3 rows; got 2"
    with pytest.raises(ValueError, match=sentence):
        q_sample(schedule, k_start, 3, generators(1, 2))
