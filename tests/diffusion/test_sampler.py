import math

import pytest
import torch

from di2pose_lib.diffusion import (
    OccludeReplaceSchedule,
    inference_steps,
    sample,
    sample_with_probs,
)
from di2pose_lib.diffusion.reference import matrix_of_steps, model_posteriors, perfect_denoiser

RATES = {"default": (0.9, 0.1), "occlude only": (1.0, 0.0), "replace only": (0.0, 1.0)}
rates = pytest.mark.parametrize("final_rates", RATES.values(), ids=RATES)
LAW = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def sure_denoiser(tokens, num_codes):
    """Knows the clean tokens (B, N) and says so."""
    logits = 100.0 * torch.nn.functional.one_hot(tokens, num_codes).float()
    return lambda k_s, step, condition: logits


def fixed_denoiser(logits):
    """The same logits (C,) for every token, whatever it sees."""
    return lambda k_s, step, condition: logits.expand(*k_s.shape, len(logits))


def exact_denoiser(schedule, law=LAW):
    """Logits of q(k_0 | k_s) for single tokens whose clean code follows `law`."""

    def denoiser(k_s, step, condition):
        return perfect_denoiser(schedule, law, int(step[0]))[k_s].log()  # −inf where impossible

    return denoiser


def chi_square_limit(freedom):
    """About the 1e-4 quantile (Wilson and Hilferty)."""
    return freedom * (1 - 2 / (9 * freedom) + 3.72 * math.sqrt(2 / (9 * freedom))) ** 3


def chi_square(counts, probs):
    expected = probs * counts.sum()
    return ((counts - expected) ** 2 / expected).sum().item()


# Steps


def test_inference_steps_by_hand():
    assert inference_steps(100, 25) == list(range(100, 0, -4))
    assert inference_steps(5, 5) == [5, 4, 3, 2, 1]
    assert inference_steps(10, 3) == [10, 6, 3]
    assert inference_steps(7, 1) == [7]


def test_inference_steps_start_at_s_and_stay_distinct_and_even_for_every_count():
    for num_steps in (1, 2, 7, 30, 100):
        for count in range(1, num_steps + 1):
            steps = inference_steps(num_steps, count)
            assert len(steps) == count and steps[0] == num_steps
            gaps = [s - u for s, u in zip(steps, steps[1:] + [0], strict=True)]
            assert min(gaps) >= 1 and max(gaps) - min(gaps) <= 1


def test_cosine_steps_by_hand():
    assert inference_steps(100, 5, "cosine") == [100, 96, 81, 59, 31]
    assert inference_steps(6, 3, "cosine") == [6, 5, 3]  # cos 30° · 6 is 5.2, cos 60° · 6 is 3
    assert inference_steps(5, 5, "cosine") == [5, 4, 3, 2, 1]
    assert inference_steps(100, 1, "cosine") == [100]


def test_cosine_steps_start_at_s_and_stay_distinct_for_every_count():
    for num_steps in (1, 2, 7, 30, 100, 101):
        for count in range(1, num_steps + 1):
            steps = inference_steps(num_steps, count, "cosine")
            assert len(steps) == count and steps[0] == num_steps and steps[-1] >= 1
            assert all(s > u for s, u in zip(steps, steps[1:], strict=False))


def test_cosine_steps_are_fine_near_s_and_coarse_near_0():
    steps = [*inference_steps(1000, 20, "cosine"), 0]
    strides = [s - u for s, u in zip(steps, steps[1:], strict=False)]
    assert all(u >= s - 1 for s, u in zip(strides, strides[1:], strict=False))  # 1: rounding
    assert strides[0] < 10 and strides[-1] > 70


def test_listed_steps_are_taken_as_they_are():
    assert inference_steps(10, [10, 7, 6, 1]) == [10, 7, 6, 1]
    assert inference_steps(10, (10,)) == [10]
    assert inference_steps(10, range(10, 0, -3)) == [10, 7, 4, 1]
    called = []

    def denoiser(k_s, step, condition):
        called.append(int(step[0]))
        return torch.zeros(*k_s.shape, 4)

    sample(denoiser, OccludeReplaceSchedule(4, 10), None, 3, [10, 9, 2], seeded(), batch_size=1)
    assert called == [10, 9, 2]


# The chain


@rates
def test_a_denoiser_that_knows_the_truth_gets_it_back_in_any_number_of_steps(final_rates):
    schedule = OccludeReplaceSchedule(11, 6, *final_rates)
    truth = torch.randint(11, (3, 20), generator=seeded(5))
    for count in range(1, 7):
        for final in ("sample", "argmax"):
            tokens = sample(
                sure_denoiser(truth, 11),
                schedule,
                None,
                20,
                count,
                seeded(count),
                final=final,
                batch_size=3,
            )
            assert tokens.dtype == torch.int64 and torch.equal(tokens, truth)


@rates
@pytest.mark.parametrize("count", [1, 2, 3, 6])
def test_the_exact_denoiser_of_a_one_token_law_reproduces_it_in_any_number_of_steps(
    final_rates, count
):
    schedule = OccludeReplaceSchedule(4, 6, *final_rates)
    tokens = sample(
        exact_denoiser(schedule), schedule, None, 1, count, seeded(count), batch_size=8000
    )
    counts = torch.bincount(tokens[:, 0], minlength=4).double()
    assert chi_square(counts, LAW) < chi_square_limit(3)


@rates
def test_each_reverse_step_follows_equation_9(final_rates):
    schedule = OccludeReplaceSchedule(4, 6, *final_rates)
    film = []
    sample(
        fixed_denoiser(LAW.log()),
        schedule,
        None,
        1,
        3,
        seeded(),
        batch_size=20_000,
        on_step=lambda step, k_s, probs: film.append((step, k_s)),
    )
    for (s, k_s), (u, k_u) in zip(film, film[1:], strict=False):
        for value in k_s.unique().tolist():
            counts = torch.bincount(k_u[k_s == value], minlength=5).double()
            expected = model_posteriors(schedule, LAW, u, s)[value]
            possible = expected > 0
            assert (counts[~possible] == 0).all()
            freedom = int(possible.sum()) - 1
            if freedom:
                statistic = chi_square(counts[possible], expected[possible])
                assert statistic < chi_square_limit(freedom)


@rates
def test_the_chain_starts_from_the_stationary_law(final_rates):
    schedule = OccludeReplaceSchedule(4, 6, *final_rates)
    first = []
    sample(
        fixed_denoiser(LAW.log()),
        schedule,
        None,
        1,
        1,
        seeded(),
        batch_size=20_000,
        on_step=lambda step, k_s, probs: first.append((step, k_s)),
    )
    ((step, k_s),) = first
    counts = torch.bincount(k_s[:, 0], minlength=5).double()
    occlude, replace = final_rates
    law = torch.tensor([replace / 4] * 4 + [occlude]).double()
    possible = law > 0
    assert step == 6 and (counts[~possible] == 0).all()
    if possible.sum() > 1:
        statistic = chi_square(counts[possible], law[possible])
        assert statistic < chi_square_limit(int(possible.sum()) - 1)


def test_a_seen_code_of_an_occlude_only_chain_stays_whatever_the_denoiser_says():
    schedule = OccludeReplaceSchedule(4, 8, *RATES["occlude only"])
    film = []

    def fickle(k_s, step, condition):
        return torch.randn(*k_s.shape, 4, generator=seeded(int(step[0])))

    result = sample_with_probs(
        fickle,
        schedule,
        None,
        50,
        8,
        seeded(),
        batch_size=2,
        final="argmax",
        on_step=lambda step, k_s, probs: film.append(k_s),
    )
    film.append(result.tokens)
    assert (film[0] == 4).all() and (film[-1] < 4).all()
    for before, after in zip(film, film[1:], strict=False):
        seen = before < 4
        assert torch.equal(after[seen], before[seen])


def test_argmax_takes_the_most_probable_code_of_the_last_step():
    schedule = OccludeReplaceSchedule(4, 5)
    result = sample_with_probs(
        exact_denoiser(schedule), schedule, None, 30, 5, seeded(), batch_size=2, final="argmax"
    )
    assert torch.equal(result.tokens, result.k_start_probs.argmax(-1))
    hidden = sample(fixed_denoiser(LAW.log()), schedule, None, 9, 1, seeded(), batch_size=1)
    likely = sample(
        fixed_denoiser(LAW.log()), schedule, None, 9, 1, seeded(), batch_size=1, final="argmax"
    )
    assert (likely == 0).all() and (hidden != 0).any()


def test_the_last_steps_probabilities_come_with_the_tokens():
    schedule = OccludeReplaceSchedule(4, 5)
    logits = torch.tensor([0.3, -1.0, 2.0, 0.0])
    result = sample_with_probs(fixed_denoiser(logits), schedule, None, 3, 2, seeded(), batch_size=2)
    assert result.k_start_probs.shape == (2, 3, 4)
    torch.testing.assert_close(result.k_start_probs, logits.softmax(-1).expand(2, 3, 4))


def test_a_code_of_probability_zero_is_never_drawn():
    schedule = OccludeReplaceSchedule(4, 5)
    logits = torch.tensor([-math.inf, 0.0, -math.inf, 0.0])
    tokens = sample(fixed_denoiser(logits), schedule, None, 5000, 1, seeded(), batch_size=1)
    assert tokens.unique().tolist() == [1, 3]


@pytest.mark.parametrize(("draw", "code"), [(0.0, 1), (1 - 2**-24, 2)])
def test_the_extreme_draws_step_over_codes_of_probability_zero(monkeypatch, draw, code):
    schedule = OccludeReplaceSchedule(4, 5)
    logits = torch.tensor([-math.inf, 0.7, 0.1, -math.inf])
    monkeypatch.setattr(
        torch, "rand", lambda size, dtype=None, **_: torch.full(size, draw, dtype=dtype)
    )
    tokens = sample(fixed_denoiser(logits), schedule, None, 3, 1, seeded(), batch_size=1)
    assert (tokens == code).all()


# Known tokens


@rates
@pytest.mark.parametrize("final", ["sample", "argmax"])
def test_known_tokens_come_out_as_given_whatever_the_denoiser_says(final_rates, final):
    schedule = OccludeReplaceSchedule(4, 8, *final_rates)
    known = torch.randint(-1, 4, (3, 50), generator=seeded(7))
    given = known >= 0

    def wrong(k_s, step, condition):  # rules the known codes out
        logits = torch.randn(3, 50, 4, generator=seeded(int(step[0])))
        return logits.masked_fill(torch.nn.functional.one_hot(known.clamp_min(0), 4) > 0, -math.inf)

    for order in ("random", "confidence") if final_rates[0] else ("random",):
        result = sample_with_probs(
            wrong,
            schedule,
            None,
            50,
            4,
            seeded(),
            batch_size=3,
            known=known,
            final=final,
            order=order,
        )
        assert torch.equal(result.tokens[given], known[given])
        assert (result.tokens >= 0).all() and (result.tokens < 4).all()
        certain = torch.nn.functional.one_hot(known[given], 4).float()
        assert torch.equal(result.k_start_probs[given], certain)


def test_tokens_of_which_none_is_known_are_drawn_as_without_the_option():
    schedule = OccludeReplaceSchedule(4, 8)
    denoiser = fixed_denoiser(LAW.log())
    known = torch.full((2, 50), -1)
    drawn = [
        sample(denoiser, schedule, None, 50, 4, seeded(), batch_size=2, known=value)
        for value in (None, known)
    ]
    assert torch.equal(*drawn)


# Temperature and truncation


def last_probs(logits, **options):
    """The probabilities (C,) that the only step of one token draws from."""
    schedule = OccludeReplaceSchedule(len(logits), 3)
    result = sample_with_probs(
        fixed_denoiser(logits), schedule, None, 1, 1, seeded(), batch_size=1, **options
    )
    return result.k_start_probs[0, 0]


def test_temperature_divides_the_logits():
    logits = torch.tensor([0.3, -1.0, 2.0, -math.inf])
    for temperature in (0.5, 2, 1.7):
        probs = last_probs(logits, temperature=temperature)
        torch.testing.assert_close(probs, (logits / temperature).softmax(-1))
    coldest = last_probs(torch.tensor([80.0, -80.0, 80.0, -math.inf]), temperature=1e-30)
    assert coldest.tolist() == [0.5, 0, 0.5, 0]
    hottest = last_probs(torch.tensor([80.0, -80.0, 0.0, -math.inf]), temperature=1e30)
    torch.testing.assert_close(hottest, torch.tensor([1, 1, 1, 0]) / 3)


@pytest.mark.parametrize(
    ("share", "kept"),
    [(1e-9, 1), (0.49, 1), (0.51, 2), (0.79, 2), (0.9, 3), (0.96, 4), (1, 4)],
)
def test_truncation_keeps_the_fewest_codes_that_reach_its_share(share, kept):
    mixed = torch.tensor([2, 0, 3, 1])  # code 1 is the most probable
    expected = LAW.masked_fill(torch.arange(4) >= kept, 0)
    expected = (expected / expected.sum())[mixed]
    torch.testing.assert_close(last_probs(LAW.log()[mixed], truncation=share), expected)


def test_of_equally_probable_codes_truncation_keeps_the_lower():
    assert last_probs(torch.zeros(4), truncation=0.5).tolist() == [0.5, 0.5, 0, 0]
    assert last_probs(torch.zeros(4), truncation=0.1).tolist() == [1, 0, 0, 0]
    probs = last_probs(torch.tensor([0.0, 5.0, 0.0, 5.0, 5.0]), truncation=0.5)
    assert probs.tolist() == [0, 0.5, 0, 0.5, 0]


def test_each_token_is_truncated_by_itself():
    laws = torch.tensor([[0.25, 0.25, 0.25, 0.25], [0.1, 0.6, 0.1, 0.2], [0.3, 0.3, 0.4, 0.0]])
    wanted = torch.tensor([[1, 1, 0, 0], [0, 1, 0, 0], [1, 0, 1, 0]]) * laws
    result = sample_with_probs(
        lambda k_s, step, condition: laws.log()[None],
        OccludeReplaceSchedule(4, 3),
        None,
        3,
        1,
        seeded(),
        batch_size=1,
        truncation=0.5,
    )
    torch.testing.assert_close(
        result.k_start_probs[0], wanted / wanted.sum(dim=-1, keepdim=True), rtol=1e-6, atol=0
    )


@pytest.mark.parametrize("spread", [0.0, 0.1, 1.0, 5.0])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.86, 0.999])
def test_truncation_of_many_codes_is_that_of_sorting_them(spread, share):
    logits = (spread * torch.randn(1000, generator=seeded(8), dtype=torch.float64)).round(
        decimals=1
    )
    full = logits.softmax(-1)
    ranked, code = full.sort(descending=True, stable=True)
    before = torch.cat([torch.zeros(1), ranked.cumsum(0)[:-1]])
    ranked[before >= share] = 0
    expected = torch.zeros_like(full).scatter(0, code, ranked)
    torch.testing.assert_close(
        last_probs(logits, truncation=share), expected / expected.sum(), rtol=1e-9, atol=0
    )


def test_temperature_comes_before_truncation():
    # at temperature 1/2 the law's squares, of which the first alone has a share of 0.68
    probs = last_probs(LAW.log(), temperature=0.5, truncation=0.6)
    assert probs.tolist() == [1, 0, 0, 0]
    assert (last_probs(LAW.log(), truncation=0.6) > 0).tolist() == [True, True, False, False]


@rates
def test_tokens_follow_the_tempered_and_truncated_law(final_rates):
    schedule = OccludeReplaceSchedule(4, 6, *final_rates)
    tokens = sample(
        fixed_denoiser(LAW.log()),
        schedule,
        None,
        1,
        [6, 1] if final_rates[1] else [6],
        seeded(),
        batch_size=8000,
        temperature=0.5,
        truncation=0.9,
    )
    law = LAW[:2] ** 2 / (LAW[:2] ** 2).sum()  # 0.685 and 0.247 of the squares reach 0.9
    counts = torch.bincount(tokens[:, 0], minlength=4).double()
    assert (counts[2:] == 0).all()
    assert chi_square(counts[:2], law) < chi_square_limit(1)


# Order


def ordered_denoiser(strength):
    """Holds code n mod 4 of token n the most probable, the more so the larger strength[n]."""
    favourite = torch.nn.functional.one_hot(torch.arange(len(strength)) % 4, 4)
    return lambda k_s, step, condition: (favourite * strength[:, None]).expand(*k_s.shape, 4)


def test_with_confidence_the_most_probable_tokens_leave_occ_first():
    strength = torch.tensor([0.5, 3.0, 1.0, 7.0, 2.0, 0.1])
    ranked = strength.argsort(descending=True)
    schedule = OccludeReplaceSchedule(4, 8, *RATES["occlude only"])
    film = []
    tokens = sample(
        ordered_denoiser(strength),
        schedule,
        None,
        6,
        8,
        seeded(),
        batch_size=300,
        order="confidence",
        truncation=1e-9,  # the favourite is always drawn; confidence is the probability before
        on_step=lambda step, k_s, probs: film.append(k_s),
    )
    assert (tokens == torch.arange(6) % 4).all()
    for k_s in film:
        seen = k_s[:, ranked] < 4  # the most confident first
        assert torch.equal(seen, seen.sort(dim=-1, descending=True, stable=True).values)
    assert len({tuple(row) for row in (film[4] < 4).tolist()}) > 3  # how many is drawn


@pytest.mark.parametrize("final_rates", [RATES["default"], RATES["occlude only"]], ids=str)
def test_with_confidence_as_many_tokens_are_occluded_as_in_the_chain(final_rates):
    schedule = OccludeReplaceSchedule(4, 8, *final_rates)
    film = []
    sample(
        fixed_denoiser(LAW.log()),
        schedule,
        None,
        5,
        4,
        seeded(),
        batch_size=4000,
        order="confidence",
        on_step=lambda step, k_s, probs: film.append((step, k_s)),
    )
    for step, k_s in film:
        occ = schedule.gamma_bar[step]
        law = torch.stack([math.comb(5, k) * occ**k * (1 - occ) ** (5 - k) for k in range(6)])
        counts = torch.bincount((k_s == 4).sum(dim=-1), minlength=6).double()
        possible = law > 0
        assert (counts[~possible] == 0).all()
        statistic = chi_square(counts[possible], law[possible])
        assert statistic < chi_square_limit(max(1, int(possible.sum()) - 1))


@pytest.mark.parametrize("final_rates", [RATES["default"], RATES["occlude only"]], ids=str)
def test_a_token_alone_follows_the_chain_with_confidence_too(final_rates):
    schedule = OccludeReplaceSchedule(4, 6, *final_rates)
    film = []
    tokens = sample(
        exact_denoiser(schedule),
        schedule,
        None,
        1,
        [6, 4, 1],
        seeded(),
        batch_size=10_000,
        order="confidence",
        on_step=lambda step, k_s, probs: film.append((step, k_s)),
    )
    for step, k_s in [*film, (0, tokens)]:
        law = matrix_of_steps(schedule, 0, step)[:, :4] @ LAW
        counts = torch.bincount(k_s[:, 0], minlength=5).double()
        possible = law > 0
        assert (counts[~possible] == 0).all()
        freedom = int(possible.sum()) - 1
        assert freedom == 0 or chi_square(counts[possible], law[possible]) < chi_square_limit(
            freedom
        )


def test_with_confidence_what_is_seen_is_replaced_as_often_as_in_the_chain():
    schedule = OccludeReplaceSchedule(4, 8, 0.5, 0.5)
    film = []
    sample(
        sure_denoiser(torch.zeros(2000, 6, dtype=torch.int64), 4),
        schedule,
        None,
        6,
        4,
        seeded(),
        batch_size=2000,
        order="confidence",
        on_step=lambda step, k_s, probs: film.append((step, k_s)),
    )
    for step, k_s in film:
        law = matrix_of_steps(schedule, 0, step)[:4, 0]
        counts = torch.bincount(k_s[k_s < 4], minlength=4).double()
        assert chi_square(counts, law / law.sum()) < chi_square_limit(3)


def test_confidence_is_that_of_the_drawn_code():
    film = []
    sample(
        fixed_denoiser(LAW.log()),
        OccludeReplaceSchedule(4, 2, *RATES["occlude only"]),
        None,
        200,
        2,
        seeded(),
        batch_size=1,
        order="confidence",
        on_step=lambda step, k_s, probs: film.append(k_s),
    )
    # every token has the same law: those that drew code 0, half of them, leave first
    seen = film[1][film[1] < 4]
    assert 70 < len(seen) < 130
    assert (seen == 0).sum() > 0.75 * len(seen)


# What the denoiser and the caller see


def test_the_denoiser_is_called_once_a_step_with_the_condition_and_steps_of_the_batch():
    schedule = OccludeReplaceSchedule(4, 10)
    condition = torch.randn(3, 7, generator=seeded())
    calls, film = [], []

    def denoiser(k_s, step, given):
        calls.append((k_s, step, given))
        return torch.zeros(*k_s.shape, 4, dtype=torch.bfloat16)

    tokens = sample(
        denoiser,
        schedule,
        condition,
        6,
        4,
        seeded(),
        on_step=lambda step, k_s, probs: film.append((step, k_s, probs)),
    )
    assert tokens.shape == (3, 6) and tokens.min() >= 0 and tokens.max() <= 3
    assert [step.tolist() for _, step, _ in calls] == [[s] * 3 for s in (10, 7, 5, 2)]
    for (k_s, step, given), (shown_step, shown, probs) in zip(calls, film, strict=True):
        assert given is condition and step.dtype == torch.int64
        assert shown_step == int(step[0]) and torch.equal(shown, k_s)
        assert probs.dtype == torch.float32 and probs.shape == (3, 6, 4)
        assert k_s.min() >= 0 and k_s.max() <= 4


def test_the_condition_may_be_anything_with_a_batch_size():
    schedule = OccludeReplaceSchedule(4, 3)
    tree = {"features": [torch.zeros(2, 1)], "name": "crop"}
    seen = []

    def denoiser(k_s, step, condition):
        seen.append(condition)
        return torch.zeros(*k_s.shape, 4)

    assert sample(denoiser, schedule, tree, 5, 3, seeded(), batch_size=2).shape == (2, 5)
    assert all(condition is tree for condition in seen)


def test_samples_do_not_depend_on_how_rows_are_split():
    schedule = OccludeReplaceSchedule(7, 12)
    table = torch.randn(8, 7, generator=seeded())

    def denoiser(k_s, step, condition):
        return table[k_s] + condition[:, None]

    condition = torch.randn(6, 7, generator=seeded(1))
    whole = sample(denoiser, schedule, condition, 5, 6, [seeded(row) for row in range(6)])
    parts = [
        sample(denoiser, schedule, condition[rows], 5, 6, [seeded(row) for row in rows])
        for rows in ([0, 1], [2, 3, 4], [5])
    ]
    assert torch.equal(whole, torch.cat(parts))
    assert len(set(map(tuple, whole.tolist()))) > 1


def test_draws_are_the_generators_alone():
    schedule = OccludeReplaceSchedule(20, 10)
    denoiser = fixed_denoiser(torch.zeros(20))
    global_state = torch.get_rng_state()
    drawn = [
        sample(denoiser, schedule, None, 40, 5, seeded(seed), batch_size=2) for seed in (3, 3, 4)
    ]
    assert torch.equal(drawn[0], drawn[1]) and not torch.equal(drawn[0], drawn[2])
    assert not torch.equal(drawn[0][0], drawn[0][1])
    assert torch.equal(torch.get_rng_state(), global_state)


def test_sampling_records_no_gradient():
    schedule = OccludeReplaceSchedule(4, 3)
    logits = torch.zeros(4, requires_grad=True)
    result = sample_with_probs(fixed_denoiser(logits), schedule, None, 2, 3, seeded(), batch_size=1)
    assert not result.k_start_probs.requires_grad


# Refusals


def refused(
    message, denoiser=None, condition=None, num_tokens=2, count=2, generator=None, **options
):
    schedule = OccludeReplaceSchedule(4, 5)
    denoiser = denoiser or fixed_denoiser(torch.zeros(4))
    generator = seeded() if generator is None else generator
    if condition is None:
        options.setdefault("batch_size", 1)
    with pytest.raises(ValueError, match=message):
        sample(denoiser, schedule, condition, num_tokens, count, generator, **options)


def test_numbers_of_steps_and_tokens_out_of_range_are_refused():
    for count in (0, 6, -1):
        refused(rf"`num_inference_steps` must lie in \[1, 5\]; got {count}", count=count)
    refused("`num_inference_steps` must be an integer; got 2.5", count=2.5)
    refused("`num_tokens` must be at least 1; got 0", num_tokens=0)
    refused("`num_tokens` must be an integer; got 'x'", num_tokens="x")


def test_bad_lists_of_steps_are_refused():
    sentence = r"`num_inference_steps` must fall strictly from S = 5 to no less than 1; got "
    for steps in ([], [4, 2], [5, 5, 1], [5, 2, 3], [5, 0], [5, -1], [6, 5]):
        refused(sentence + rf"\[{', '.join(map(str, steps))}\]", count=steps)
    refused(r"`num_inference_steps\[1\]` must be an integer; got 2.0", count=[5, 2.0])
    refused(
        "`spacing` must be \"uniform\" where the steps are listed; got 'cosine'",
        count=[5, 1],
        spacing="cosine",
    )
    refused('`spacing` must be "uniform" or "cosine"; got \'linear\'', spacing="linear")


def test_bad_known_tokens_are_refused():
    refused(r"`known` must lie in \[-1, 3\]; got 4", known=torch.tensor([[0, 4]]))
    refused(r"`known` must lie in \[-1, 3\]; got -2", known=torch.tensor([[0, -2]]))
    refused(r"`known` must have shape \(1, 2\); got \(2,\)", known=torch.tensor([0, 1]))
    refused("`known` must be int64; got torch.float32", known=torch.zeros(1, 2))
    with pytest.raises(TypeError, match="`known` must be a torch.Tensor; got list"):
        refused("no ValueError", known=[[0, 1]])


def test_bad_temperatures_and_truncations_are_refused():
    for bad in (0, -1.0, math.nan, math.inf, 1e-31, True, "1"):
        refused(rf"`temperature` must be a number in \[1e-30, 1e30\]; got {bad!r}", temperature=bad)
    for bad in (0, -0.5, 1.001, math.nan, True, None):
        refused(rf"`truncation` must be a number in \(0, 1\]; got {bad!r}", truncation=bad)


def test_bad_orders_are_refused():
    refused('`order` must be "random" or "confidence"; got \'last\'', order="last")
    schedule = OccludeReplaceSchedule(4, 5, *RATES["replace only"])
    with pytest.raises(ValueError, match='`order` must be "random" where `final_occlude_rate` is'):
        sample(
            fixed_denoiser(torch.zeros(4)),
            schedule,
            None,
            2,
            2,
            seeded(),
            batch_size=1,
            order="confidence",
        )


def test_bad_options_are_refused():
    refused('`final` must be "sample" or "argmax"; got \'mode\'', final="mode")
    refused("`generator` must be a torch.Generator, .*; got int", generator=3)


def test_a_missing_wrong_or_contradicted_batch_size_is_refused():
    refused("`batch_size` must be given unless `condition` is a tensor", batch_size=None)
    refused("`batch_size` must be at least 1; got 0", batch_size=0)
    refused(
        "`batch_size` must be that of `condition`, 3; got 2",
        condition=torch.zeros(3, 1),
        batch_size=2,
    )
    refused("`condition` must have a batch axis; got a 0-d tensor", condition=torch.tensor(1.0))


def test_bad_logits_are_refused():
    def returning(value):
        return lambda k_s, step, condition: value

    shape = r"`denoiser` must return logits of shape \(1, 2, 4\); got "
    refused(shape + r"\(1, 2, 5\)", denoiser=returning(torch.zeros(1, 2, 5)))
    refused(shape + r"\(2, 4\)", denoiser=returning(torch.zeros(2, 4)))
    refused(shape + "list", denoiser=returning([0.0]))
    refused(
        "floating-point logits; got torch.int64", denoiser=returning(torch.zeros(1, 2, 4).long())
    )
    for bad in (math.nan, math.inf):
        spoiled = torch.zeros(1, 2, 4)
        spoiled[0, 1, 3] = bad
        refused("logits without NaN or", denoiser=returning(spoiled))
    refused("logits without NaN or", denoiser=returning(torch.full((1, 2, 4), -math.inf)))
    for temperature in (0.5, 2.0):
        for bad in (spoiled, torch.full((1, 2, 4), -math.inf)):
            refused("logits without NaN or", denoiser=returning(bad), temperature=temperature)
