"""The sampler's law: exact for one token; for two, the one that enumeration gives.

The toy denoisers know the exact posterior marginals, by Bayes' rule from a known law of the
clean tokens and the explicit matrices of `reference`. So only the sampler can be wrong.
"""

import pytest
import torch

from di2pose_lib.diffusion import OccludeReplaceSchedule, inference_steps, sample
from di2pose_lib.diffusion.reference import (
    law_of_pairs,
    matrix_of_steps,
    perfect_denoiser,
    perfect_denoiser_of_pairs,
)

RATES = {"default": (0.9, 0.1), "occlude only": (1.0, 0.0), "replace only": (0.0, 1.0)}
rates = pytest.mark.parametrize("final_rates", RATES.values(), ids=RATES)
P_LIMIT = 1e-4  # seeds are fixed, so a test that passes keeps passing

LAW = torch.tensor([0.5, 0.3, 0.15, 0.05], dtype=torch.float64)  # of one token
ONE_STEPS = 12
WAYS = {  # to go from step 12 to 0
    "1": (1, "uniform"),
    "2": (2, "uniform"),
    "5": (5, "uniform"),
    "12": (12, "uniform"),
    "2 cosine": (2, "cosine"),
    "5 cosine": (5, "cosine"),
    "late start": ([12, 3, 2, 1], "uniform"),
    "late end": ([12, 11, 10], "uniform"),
    "uneven": ((12, 11, 6, 5, 1), "uniform"),
}
ways = pytest.mark.parametrize("way", WAYS.values(), ids=WAYS)

JOINT = torch.tensor(  # of two tokens, each with three codes
    [[0.30, 0.03, 0.02], [0.02, 0.25, 0.05], [0.03, 0.02, 0.28]], dtype=torch.float64
)
TWO_STEPS = 32


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def p_value(counts, probs):
    """Pearson's chi-square test of counts against a law, both of one axis."""
    possible = probs > 1e-14
    assert (counts[~possible] == 0).all()
    expected = probs[possible] / probs.sum() * counts.sum()
    statistic = ((counts[possible] - expected) ** 2 / expected).sum()
    freedom = torch.tensor(int(possible.sum()) - 1, dtype=torch.float64)
    return torch.special.gammaincc(freedom / 2, statistic / 2).item() if freedom else 1.0


def test_the_p_value_by_hand():
    counts = torch.tensor([60.0, 40.0], dtype=torch.float64)
    half = torch.tensor([0.5, 0.5], dtype=torch.float64)
    assert p_value(counts, half) == pytest.approx(0.0455, abs=1e-4)  # two standard deviations
    assert p_value(torch.tensor([7.0, 0.0]).double(), torch.tensor([1.0, 0.0]).double()) == 1


# One token


def one_token_chain(final_rates):
    return OccludeReplaceSchedule(len(LAW), ONE_STEPS, *final_rates)


def one_token_denoiser(chain):
    """Logits of q(k_0 | k_s) for a token whose clean code follows LAW."""

    def denoiser(k_s, step, condition):
        return perfect_denoiser(chain, LAW, int(step[0]))[k_s].log()  # −inf where impossible

    return denoiser


@rates
@ways
def test_one_token_follows_its_law_whatever_the_steps(final_rates, way):
    chain = one_token_chain(final_rates)
    steps, spacing = way
    tokens = sample(
        one_token_denoiser(chain),
        chain,
        None,
        1,
        steps,
        seeded(1),
        batch_size=10_000,
        spacing=spacing,
    )
    counts = torch.bincount(tokens[:, 0], minlength=len(LAW)).double()
    assert p_value(counts, LAW) > P_LIMIT


@rates
@ways
def test_one_token_is_at_every_step_as_noisy_as_the_chain_makes_it(final_rates, way):
    chain = one_token_chain(final_rates)
    steps, spacing = way
    film = []
    sample(
        one_token_denoiser(chain),
        chain,
        None,
        1,
        steps,
        seeded(2),
        batch_size=10_000,
        spacing=spacing,
        on_step=lambda step, k_s, probs: film.append((step, k_s)),
    )
    assert [step for step, _ in film] == inference_steps(ONE_STEPS, steps, spacing)
    for step, k_s in film:
        counts = torch.bincount(k_s[:, 0], minlength=len(LAW) + 1).double()
        assert p_value(counts, matrix_of_steps(chain, 0, step)[:, : len(LAW)] @ LAW) > P_LIMIT


@rates
def test_a_known_token_is_shown_at_every_step_and_comes_out(final_rates):
    chain = one_token_chain(final_rates)
    film = []
    tokens = sample(
        lambda k_s, step, condition: torch.zeros(*k_s.shape, len(LAW)),
        chain,
        None,
        1,
        5,
        seeded(3),
        batch_size=100,
        known=torch.full((100, 1), 3),  # the least probable code
        on_step=lambda step, k_s, probs: film.append(k_s),
    )
    assert all((k_s == 3).all() for k_s in [*film, tokens])


# Two correlated tokens


def two_token_chain(final_rates):
    return OccludeReplaceSchedule(len(JOINT), TWO_STEPS, *final_rates)


def two_token_denoiser(schedule):
    def denoiser(k_s, step, condition):
        table = perfect_denoiser_of_pairs(schedule, JOINT, int(step[0]))
        return table[k_s[:, 0], k_s[:, 1]].log()

    return denoiser


def total_variation(law, other):
    return (law - other).abs().sum().item() / 2


def total_variations(final_rates, counts=(1, 2, 4, 8, 16, 32)):
    chain = two_token_chain(final_rates)
    return [
        total_variation(law_of_pairs(chain, JOINT, inference_steps(TWO_STEPS, count)), JOINT)
        for count in counts
    ]


def counts_of_pairs(tokens, codes):
    return torch.bincount(tokens[:, 0] * codes + tokens[:, 1], minlength=codes**2).double()


@rates
def test_one_step_draws_two_tokens_as_if_they_were_independent(final_rates):
    independent = torch.outer(JOINT.sum(dim=1), JOINT.sum(dim=0))
    chain = two_token_chain(final_rates)
    torch.testing.assert_close(law_of_pairs(chain, JOINT, [TWO_STEPS]), independent)
    assert total_variation(independent, JOINT) > 0.4


@rates
def test_the_error_of_two_tokens_falls_about_as_the_number_of_steps_rises(final_rates):
    errors = total_variations(final_rates)
    for more, fewer in zip(errors, errors[1:], strict=False):
        assert fewer < more
    for more, fewer in zip(errors[1:], errors[2:], strict=False):
        assert 1.5 < more / fewer < 2.7


def test_two_occluded_tokens_err_as_often_as_one_step_uncovers_both():
    errors = total_variations(RATES["occlude only"])
    by_hand = [errors[0] / count for count in (1, 2, 4, 8, 16, 32)]
    assert errors == pytest.approx(by_hand, rel=1e-9)


@rates
@pytest.mark.parametrize(
    ("steps", "spacing"),
    [
        *((count, "uniform") for count in (1, 2, 4, 8, 16, 32)),
        *((count, "cosine") for count in (2, 5, 16)),
        ([32, 31, 3], "uniform"),
        ([32, 20, 19, 7, 1], "uniform"),
    ],
    ids=str,
)
def test_two_tokens_follow_the_enumerated_law(final_rates, steps, spacing):
    chain = two_token_chain(final_rates)
    tokens = sample(
        two_token_denoiser(chain),
        chain,
        None,
        2,
        steps,
        seeded(4),
        batch_size=20_000,
        spacing=spacing,
    )
    law = law_of_pairs(chain, JOINT, inference_steps(TWO_STEPS, steps, spacing))
    assert p_value(counts_of_pairs(tokens, len(JOINT)), law.flatten()) > P_LIMIT


@rates
@pytest.mark.parametrize("count", [1, 4, 32])
def test_beside_a_known_token_the_other_follows_the_enumerated_law(final_rates, count):
    chain = two_token_chain(final_rates)
    known = torch.tensor([[1, -1]]).repeat(20_000, 1)
    tokens = sample(
        two_token_denoiser(chain),
        chain,
        None,
        2,
        count,
        seeded(5),
        batch_size=20_000,
        known=known,
    )
    assert (tokens[:, 0] == 1).all()
    law = law_of_pairs(chain, JOINT, inference_steps(TWO_STEPS, count), known=1)
    assert p_value(counts_of_pairs(tokens, len(JOINT)), law.flatten()) > P_LIMIT


@pytest.mark.parametrize(
    ("final_rates", "most"), [(RATES["occlude only"], 0.02), (RATES["default"], 0.1)]
)
def test_the_other_token_comes_near_its_law_beside_a_known_one(final_rates, most):
    # not to it: the chain that the marginals are of shows a known token only by and by
    given = JOINT[1] / JOINT[1].sum()
    errors = []
    for count in (1, 4, 32):
        steps = inference_steps(TWO_STEPS, count)
        law = law_of_pairs(two_token_chain(final_rates), JOINT, steps, known=1)[1]
        errors.append(total_variation(law, given))
    without = total_variation(JOINT.sum(dim=0), given)
    assert errors[-1] < most < without / 3, (errors, without)


# Rows and batches

OPTIONS = {
    "cosine spacing": {"spacing": "cosine"},
    "known tokens": {"known": torch.randint(-1, 7, (6, 5), generator=seeded(6))},
    "temperature": {"temperature": 0.7},
    "truncation": {"truncation": 0.8},
    "confidence": {"order": "confidence"},
    "arg-max at the end": {"final": "argmax", "order": "confidence", "temperature": 1.3},
}
OPTIONS["all"] = {name: value for given in OPTIONS.values() for name, value in given.items()}


@pytest.mark.parametrize("options", [{"steps": [12, 9, 8, 2]}, *OPTIONS.values()], ids=str)
def test_a_rows_tokens_do_not_depend_on_the_split_into_batches(options):
    options = dict(options)
    steps = options.pop("steps", 6)
    schedule = OccludeReplaceSchedule(7, 12)
    table = torch.randn(8, 7, generator=seeded(0))
    condition = torch.randn(6, 7, generator=seeded(1))

    def drawn(rows):
        given = dict(options)
        if "known" in given:
            given["known"] = given["known"][rows]
        return sample(
            lambda k_s, step, condition: table[k_s] + condition[:, None],
            schedule,
            condition[rows],
            5,
            steps,
            [seeded(10 + row) for row in rows],
            **given,
        )

    whole = drawn([0, 1, 2, 3, 4, 5])
    assert torch.equal(whole, torch.cat([drawn([0, 1]), drawn([2, 3, 4]), drawn([5])]))
    assert torch.equal(whole.flip(0), drawn([5, 4, 3, 2, 1, 0]))
    assert len(set(map(tuple, whole.tolist()))) > 1
