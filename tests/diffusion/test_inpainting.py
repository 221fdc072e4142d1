"""Known joints against brute force: toy tokenizers whose every pose can be listed."""

import itertools
from types import SimpleNamespace

import pytest
import torch
from small import tokenizer_sizes

from di2pose_lib.diffusion import OccludeReplaceSchedule, q_sample
from di2pose_lib.diffusion.inpainting import TOLERANCE, inpaint, linearise, redraw, tilt_logits
from di2pose_lib.diffusion.reference import matrix_of_steps
from di2pose_lib.evaluation.estimators import PoseModel
from di2pose_lib.tokens.fsq import FSQ
from di2pose_lib.tokens.tokenizer import PoseTokenizer

RATES = {"default": (0.9, 0.1), "occlude only": (1.0, 0.0), "replace only": (0.0, 1.0)}
rates = pytest.mark.parametrize("final_rates", RATES.values(), ids=RATES)


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


class LinearTokenizer:
    """Joints 1 … J − 1 are a linear map of the codes, of some centimetres; joint 0 a constant."""

    def __init__(self, levels, num_tokens, num_joints=4, seed=0, scale=0.02):
        self.quantizer = FSQ(levels)
        self.config = SimpleNamespace(num_tokens=num_tokens)
        shape = (num_joints, 3, num_tokens, len(levels))
        self.map = scale * torch.randn(shape, generator=seeded(seed), dtype=torch.float64)
        self.map[0] = 0

    def decode_codes(self, codes):
        return torch.einsum("jxnd,bnd->bjx", self.map.to(codes.dtype), codes) + 0.3

    def decode(self, tokens):
        return self.decode_codes(self.quantizer.indices_to_codes(tokens))


class Independent:
    """Tokens that follow `law` (N, C) each by itself: f(k̂_0 | k_s), exactly.

    But in an occlude-only chain it does not see that a code that is seen stays, as a network
    need not.
    """

    def __init__(self, schedule, law):
        self.schedule = schedule
        self.law = law

    def condition_memory(self, features):
        return ()  # the law does not depend on the image

    def __call__(self, k_s, step, condition):
        if self.schedule.final_replace_rate == 0:
            return self.law.log().expand(len(k_s), -1, -1)
        likelihood = matrix_of_steps(self.schedule, 0, int(step[0]))[k_s]  # (B, N, C + 1), of k_0
        return (likelihood[..., :-1] * self.law).log()


def toy(final_rates=(0.9, 0.1), levels=(3, 3), num_tokens=2, num_steps=4, count=4):
    tokenizer = LinearTokenizer(levels, num_tokens)
    schedule = OccludeReplaceSchedule(tokenizer.quantizer.num_codes, num_steps, *final_rates)
    law = torch.rand(num_tokens, schedule.num_codes, generator=seeded(3), dtype=torch.float64)
    law = law / law.sum(dim=1, keepdim=True)
    return PoseModel(Independent(schedule, law), schedule, tokenizer, count)


def evidence(tokenizer, joints=(1, 3), num_joints=4):
    """A pose between codes, (1, J, 3), and a mask of its known joints; the others are absurd."""
    num_codes, num_tokens = tokenizer.quantizer.num_codes, tokenizer.config.num_tokens
    tokens = torch.randint(num_codes, (1, num_tokens), generator=seeded(8))
    pose = tokenizer.decode(tokens)
    pose = pose - pose[:, :1] + 0.005
    known = torch.zeros(1, num_joints, dtype=torch.bool)
    known[:, list(joints)] = True
    return torch.where(known[..., None], pose, 77.0), known


def exact_posterior(tokenizer, law, pose_known, known, strength):
    """(all token rows (C^N, N), their probabilities) by listing them."""
    every = itertools.product(range(law.shape[1]), repeat=len(law))
    every = torch.tensor(list(every))
    pose = tokenizer.decode_codes(tokenizer.quantizer.code_table()[every].double())
    pose = pose - pose[:, :1]
    distance = ((pose - pose_known).square().sum(dim=-1) * known).sum(dim=-1)
    prior = law.log().gather(1, every.T).sum(dim=0)
    return every, (prior - strength * distance / (2 * TOLERANCE**2)).softmax(dim=0)


def marginals(every, probs, num_codes):
    laws = torch.zeros(every.shape[1], num_codes, dtype=torch.float64)
    for n in range(every.shape[1]):
        laws[n].index_add_(0, every[:, n], probs)
    return laws


# The decoder's linearisation


def test_the_jacobian_equals_finite_differences_of_the_trained_kind_of_decoder():
    torch.manual_seed(0)
    config = tokenizer_sizes(levels=[5, 3], width=8, decoder_width=8, num_joints=4)
    tokenizer = PoseTokenizer(config).double()
    float64_codes = torch.zeros(15, 2, dtype=torch.float64)
    tokenizer.quantizer.code_table = lambda: float64_codes
    codes = torch.rand(2, 5, 2, generator=seeded(), dtype=torch.float64) - 0.5
    known = torch.tensor([[True, False, True, False], [False, False, True, True]])
    target = torch.rand(2, 4, 3, generator=seeded(1), dtype=torch.float64)
    residual, jacobian = linearise(tokenizer, codes, target, known)
    pose = tokenizer.decode_codes(codes).detach()
    expected = (target - (pose - pose[:, :1])) * known[..., None]
    torch.testing.assert_close(residual, expected.flatten(1))
    small = 1e-5
    for n, channel in itertools.product(range(5), range(2)):
        move = torch.zeros_like(codes)
        move[:, n, channel] = small
        ends = [tokenizer.decode_codes(codes + sign * move).detach() for sign in (1, -1)]
        slope = (ends[0] - ends[0][:, :1] - ends[1] + ends[1][:, :1]) / (2 * small)
        slope = (slope * known[..., None]).flatten(1)
        torch.testing.assert_close(jacobian[..., n, channel], slope, atol=1e-7, rtol=1e-4)
    assert jacobian[1, :3].count_nonzero() == 0 and jacobian[0, 6:9].count_nonzero() > 0


# Tilted logits


@pytest.mark.parametrize("strength", [0.1, 1.0, 5.0])
def test_one_token_gets_exactly_the_posterior_of_bayes(strength):
    tokenizer = LinearTokenizer((5, 3), 1)
    law = torch.rand(1, 15, generator=seeded(2), dtype=torch.float64)
    law[0, 4] = 0.0
    pose_known, known = evidence(tokenizer)
    _, exact = exact_posterior(tokenizer, law, pose_known, known, strength)
    tilted = tilt_logits(tokenizer, law.log()[None], pose_known, known, strength)
    torch.testing.assert_close(tilted.softmax(dim=-1)[0, 0], exact, atol=1e-5, rtol=1e-4)
    assert tilted[0, 0, 4] == -torch.inf


def test_a_token_beside_certain_ones_gets_exactly_its_posterior():
    tokenizer = LinearTokenizer((5, 3), 3)
    law = torch.zeros(3, 15, dtype=torch.float64)
    law[0, 7] = law[2, 1] = 1.0
    law[1] = 1 / 15
    pose_known, known = evidence(tokenizer)
    every, exact = exact_posterior(tokenizer, law, pose_known, known, 1.0)
    tilted = tilt_logits(tokenizer, law.log()[None], pose_known, known, 1.0).softmax(dim=-1)[0]
    torch.testing.assert_close(tilted, marginals(every, exact, 15), atol=1e-5, rtol=1e-4)


def test_tokens_of_nearly_normal_laws_get_their_exact_marginals():
    tokenizer = LinearTokenizer((41,), 3)
    place = tokenizer.quantizer.code_table()[:, 0].double()
    centre = torch.tensor([[0.2], [-0.1], [0.0]], dtype=torch.float64)
    law = (-((place - centre) ** 2) / (2 * 0.2**2)).softmax(dim=-1)
    pose_known, known = evidence(tokenizer)
    pose_known = torch.where(known[..., None], 0.01 * torch.ones(1, 4, 3), 0.0)
    every, exact = exact_posterior(tokenizer, law, pose_known, known, 1.0)
    exact = marginals(every, exact, 41)
    tilted = tilt_logits(tokenizer, law.log()[None], pose_known, known, 1.0).softmax(dim=-1)[0]
    torch.testing.assert_close(tilted, exact, atol=1e-3, rtol=0)
    assert (law - exact).abs().max() > 0.02  # the joints had something to say


def test_at_strength_zero_the_logits_are_the_given_ones_bit_for_bit():
    tokenizer = LinearTokenizer((3, 3), 2)
    logits = torch.randn(1, 2, 9, generator=seeded())
    logits[0, 0, 3] = -torch.inf
    assert torch.equal(tilt_logits(tokenizer, logits, *evidence(tokenizer), 0.0), logits)


# Rounds and the whole


@rates
def test_a_round_leaves_the_exact_posterior_as_it_is_and_brings_another_law_towards_it(final_rates):
    model, rows = toy(final_rates), 20_000
    law = model.denoiser.law
    pose_known, known = evidence(model.tokenizer)
    every, exact = exact_posterior(model.tokenizer, law, pose_known, known, 0.1)
    assert exact.max() < 0.5 and (exact > 0.01).sum() > 10
    given = [pose_known.expand(rows, -1, -1), known.expand(rows, -1), 0.1]

    def after_a_round(tokens, step):
        drawn = redraw(model, None, tokens, *given, seeded(2), step)
        share = torch.bincount(drawn[:, 0] * 9 + drawn[:, 1], minlength=81) / rows
        return (share - exact).abs().sum().item()

    at_target = every[torch.multinomial(exact, rows, replacement=True, generator=seeded(1))]
    # 81 pairs: sampling alone leaves about Σ √(2 p / (π rows)) < 0.05
    assert after_a_round(at_target, 2) < 0.05
    assert after_a_round(at_target, 4) < 0.05
    uniform = torch.randint(9, (rows, 2), generator=seeded(5))
    before = (torch.full((81,), 1 / 81) - exact).abs().sum().item()
    assert after_a_round(uniform, 4) < 0.6 * before


def test_a_round_leaves_the_codes_that_an_occlude_only_chain_still_shows():
    model = toy(RATES["occlude only"], num_tokens=3)
    pose_known, known = (part.expand(200, *part.shape[1:]) for part in evidence(model.tokenizer))
    tokens = torch.randint(9, (200, 3), generator=seeded(1))
    drawn = redraw(model, None, tokens, pose_known, known, 0.1, seeded(2), 2)
    seen = q_sample(model.schedule, tokens, 2, seeded(2)) < 9
    assert torch.equal(drawn[seen], tokens[seen])
    assert (drawn[~seen] != tokens[~seen]).float().mean() > 0.5


@rates
@pytest.mark.parametrize("count", [1, 4])
def test_inpainted_poses_follow_the_exact_posterior(final_rates, count):
    model, draws = toy(final_rates, count=count), 4000
    pose_known, known = evidence(model.tokenizer)
    every, exact = exact_posterior(model.tokenizer, model.denoiser.law, pose_known, known, 0.1)
    listed = model.tokenizer.decode(every).flatten(1)
    poses = inpaint(
        model, torch.zeros(1, 1, 1), pose_known, known, seeded(), num_hypotheses=draws,
        strength=0.1, rounds=6, round_share=1.0,
    )  # fmt: skip
    assert poses.shape == (1, draws, 4, 3) and poses.dtype == torch.float32
    nearest = torch.cdist(poses[0].flatten(1), listed).argmin(dim=1)
    share = torch.bincount(nearest, minlength=81) / draws
    assert (share - exact).abs().sum() < 0.12


def test_at_strength_zero_without_rounds_it_is_plain_sampling_bit_for_bit():
    for final_rates in RATES.values():
        model, features = toy(final_rates, num_tokens=3, count=3), torch.zeros(2, 1, 1)
        pose_known, known = (part.expand(2, *part.shape[1:]) for part in evidence(model.tokenizer))
        options = {"num_hypotheses": 3, "strength": 0.0, "rounds": 0}
        poses = inpaint(model, features, pose_known, known, seeded(4), **options)
        assert torch.equal(poses, model.hypotheses(features, 3, seeded(4))[0])
        assert poses.flatten(0, 1).unique(dim=0).shape[0] > 1


def test_a_hypothesis_depends_on_its_seed_and_number_alone(monkeypatch):
    model, features = toy(), torch.zeros(3, 1, 1)
    first, known = evidence(model.tokenizer)
    pose_known, known = torch.cat([first, first + 0.03, first]), known.expand(3, -1)
    free = {"strength": 0.02}
    whole = inpaint(model, features, pose_known, known, [5, 6, 7], num_hypotheses=4, **free)
    monkeypatch.setattr("di2pose_lib.diffusion.inpainting.MOST_LOGITS", 1)  # one sample at a time
    split = inpaint(model, features, pose_known, known, [5, 6, 7], num_hypotheses=2, **free)
    torch.testing.assert_close(split, whole[:, :2])
    one = (features[1:2], pose_known[1:2], known[1:2], [6])
    alone = inpaint(model, *one, **free)
    torch.testing.assert_close(alone, whole[1:2, :1])
    assert not torch.equal(whole[0], whole[2])  # other seeds, other draws


def test_what_stands_at_unknown_joints_and_where_the_pelvis_is_decoded_make_no_difference():
    model, features = toy(), torch.zeros(1, 1, 1)
    pose_known, known = evidence(model.tokenizer)
    poses = inpaint(model, features, pose_known, known, [1], num_hypotheses=5)
    other = torch.where(known[..., None], pose_known, -3.0)
    assert torch.equal(inpaint(model, features, other, known, [1], num_hypotheses=5), poses)
    decode_codes = model.tokenizer.decode_codes
    model.tokenizer.decode_codes = lambda codes: decode_codes(codes) + 1.0
    moved = inpaint(model, features, pose_known, known, [1], num_hypotheses=5)
    torch.testing.assert_close(moved, poses + 1.0)


# Refusals


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"known": torch.zeros(1, 4, dtype=torch.bool)}, "besides the pelvis"),
        ({"known": torch.tensor([[True, False, False, False]])}, "besides the pelvis"),
        ({"known": torch.ones(1, 3, dtype=torch.bool)}, "`known` must have shape"),
        ({"known": torch.ones(1, 4)}, "`known` must be bool"),
        ({"pose_known": torch.zeros(1, 4, 2)}, "`pose_known` must have shape"),
        ({"pose_known": torch.full((1, 4, 3), torch.nan)}, "`pose_known` must be finite"),
        ({"features": torch.zeros(2, 1, 1)}, "`features` must have shape"),
        ({"strength": -1.0}, "`strength` must be a number ≥ 0; got -1.0"),
        ({"strength": float("nan")}, "`strength` must be a number ≥ 0"),
        ({"num_hypotheses": 0}, "`num_hypotheses` must be at least 1"),
        ({"rounds": -1}, "`rounds` must be at least 0"),
        ({"round_share": 0.0}, r"`round_share` must lie in \(0, 1\]"),
        ({"seeds": [1, 2]}, "`seeds` must hold 1 seeds; got 2"),
    ],
)
def test_what_cannot_be_inpainted_is_refused(changes, message):
    model = toy()
    pose_known, known = evidence(model.tokenizer)
    given = {
        "features": torch.zeros(1, 1, 1), "pose_known": pose_known, "known": known,
        "seeds": [1],
    }  # fmt: skip
    inpaint(model, **given)
    with pytest.raises(ValueError, match=message):
        inpaint(model, **{**given, **changes})
