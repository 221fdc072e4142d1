"""Poses out of distributions over tokens: toy networks whose answer is known."""

from types import SimpleNamespace

import pytest
import torch
from small import tokenizer_sizes

from di2pose_lib.base.metrics import mpjpe_mm
from di2pose_lib.diffusion import OccludeReplaceSchedule
from di2pose_lib.diffusion.denoiser import Denoiser, DenoiserConfig
from di2pose_lib.evaluation import estimators
from di2pose_lib.evaluation.estimators import ARGMAX, BEST, MEAN, ONE_SAMPLE, SOFT, PoseModel
from di2pose_lib.evaluation.models import Model, answers
from di2pose_lib.tokens.tokenizer import PoseTokenizer

CODES, TOKENS, STEPS = 5, 2, 10
SCHEDULE = OccludeReplaceSchedule(CODES, STEPS)


class ToyTokenizer:
    """Token n with code k puts joint n + 1 at x = k / 10 metres; joint 0 is the pelvis."""

    config = SimpleNamespace(num_tokens=TOKENS)

    def _pose(self, place):
        pose = torch.zeros(len(place), TOKENS + 1, 3)
        pose[:, 1:, 0] = place / 10
        return pose

    def decode(self, indices):
        return self._pose(indices.float())

    def soft_decode(self, probs):
        return self._pose(probs.float() @ torch.arange(float(CODES)))


class ToyDenoiser:
    """The features (B, N, C) are the clean codes' probabilities, whatever the noise."""

    def __init__(self):
        self.calls = []

    def condition_memory(self, features):
        return [(features, features)]

    def __call__(self, k_s, step, condition):
        self.calls.append((k_s.clone(), step.clone()))
        probs = condition if isinstance(condition, torch.Tensor) else condition[0][0]
        return probs.repeat_interleave(len(k_s) // len(probs), dim=0).log()


def toy_model(num_inference_steps=4):
    return PoseModel(ToyDenoiser(), SCHEDULE, ToyTokenizer(), num_inference_steps)


def sure_of(codes):
    """Features of images whose tokens are certain: int64 (B, N) to float (B, N, C)."""
    return torch.nn.functional.one_hot(codes, CODES).float()


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def estimates(model, features, truth, count, seeds):
    """{estimator: pose} of all that one draw of hypotheses stands for, and soft decoding."""
    poses, argmax = model.hypotheses(features, count, seeds)
    predictions = answers(Model("m", ONE_SAMPLE, None), poses, truth)
    named = {prediction.estimator: prediction.pose for prediction in predictions}
    return named | {ARGMAX: argmax, SOFT: model.soft_decode(features)}


ANSWERS = torch.tensor([[0, 4], [3, 1], [2, 2]])
TORN = torch.tensor([0.5, 0.0, 0.0, 0.0, 0.5]).expand(3, TOKENS, CODES)  # 0 m or 0.4 m


def test_a_denoiser_that_knows_the_answer_gives_it_by_every_estimator():
    truth = ToyTokenizer().decode(ANSWERS)
    found = estimates(toy_model(), sure_of(ANSWERS), truth, 3, generator())
    assert set(found) == {ONE_SAMPLE, ARGMAX, MEAN, SOFT, BEST}
    for name, pose in found.items():
        torch.testing.assert_close(pose, truth, msg=name)


def test_hypotheses_have_the_shape_of_images_by_samples_and_keep_the_images_apart():
    poses, argmax = toy_model().hypotheses(sure_of(ANSWERS), 4, generator())
    assert poses.shape == (3, 4, TOKENS + 1, 3) and poses.dtype == torch.float32
    assert argmax.shape == (3, TOKENS + 1, 3)
    for image in range(3):
        expected = ToyTokenizer().decode(ANSWERS[image : image + 1])
        assert torch.equal(poses[image], expected.expand(4, -1, -1)), image


def test_soft_decoding_is_the_expectation_and_needs_no_draw():
    model = toy_model()
    global_state = torch.random.get_rng_state()
    soft = model.soft_decode(TORN)
    assert torch.equal(soft, model.soft_decode(TORN))
    assert torch.equal(torch.random.get_rng_state(), global_state)
    torch.testing.assert_close(soft[:, 1:, 0], torch.full((3, TOKENS), 0.2))  # between the two
    for k_s, step in model.denoiser.calls:  # once a call, everything occluded
        assert torch.equal(k_s, torch.full((3, TOKENS), CODES))
        assert step.tolist() == [STEPS] * 3
    assert len(model.denoiser.calls) == 2


def test_soft_decoding_is_the_same_whatever_the_generator_and_the_samples_are_not():
    truth = ToyTokenizer().decode(ANSWERS)
    one, same, other = (estimates(toy_model(), TORN, truth, 6, generator(s)) for s in (1, 1, 2))
    for name in one:
        assert torch.equal(one[name], same[name]), name
    assert torch.equal(one[SOFT], other[SOFT])
    assert not torch.equal(one[MEAN], other[MEAN])


def test_the_estimators_are_the_first_the_mean_and_the_minimum_over_the_hypotheses():
    truth = ToyTokenizer().decode(ANSWERS)
    found = estimates(toy_model(), TORN, truth, 6, generator(3))
    poses, _ = toy_model().hypotheses(TORN, 6, generator(3))
    assert torch.equal(found[ONE_SAMPLE], poses[:, 0])
    torch.testing.assert_close(found[MEAN], poses.sum(dim=1) / 6)
    errors = torch.stack([mpjpe_mm(poses[:, h], truth) for h in range(6)], dim=1)  # (B, H)
    assert torch.equal(mpjpe_mm(found[BEST], truth), errors.min(dim=1).values)
    assert (errors.min(dim=1).values < errors.max(dim=1).values).any(), "the draws all agree"
    for image in range(3):  # and it is one of them, of the same image
        assert any(torch.equal(found[BEST][image], pose) for pose in poses[image])


def test_the_answer_changes_the_best_of_samples_and_nothing_else():
    one = estimates(toy_model(), TORN, ToyTokenizer().decode(ANSWERS), 6, generator(3))
    other = estimates(toy_model(), TORN, ToyTokenizer().decode(4 - ANSWERS), 6, generator(3))
    same = [name for name in one if torch.equal(one[name], other[name])]
    assert set(same) == {ONE_SAMPLE, ARGMAX, MEAN, SOFT}


def test_arg_max_takes_the_likeliest_code_where_a_sample_would_not():
    likely = torch.tensor([0.4, 0.3, 0.3, 0.0, 0.0]).expand(64, TOKENS, CODES)
    poses, argmax = toy_model().hypotheses(likely, 1, generator())
    assert torch.equal(argmax, torch.zeros_like(argmax))  # code 0: 0 m
    shares = [(poses[:, 0, 1:, 0] * 10).round().eq(k).float().mean().item() for k in range(3)]
    assert shares == pytest.approx([0.4, 0.3, 0.3], abs=0.15)


def test_arg_max_belongs_to_the_first_hypothesis_of_each_image():
    class Follows(ToyDenoiser):
        """Sure of the code before the one that it sees; of code 2 where it sees Occ."""

        def __call__(self, k_s, step, condition):
            self.calls.append(k_s.clone())
            before = torch.where(k_s == CODES, 2, (k_s - 1) % CODES)
            return torch.nn.functional.one_hot(before, CODES).double().log()

    model = PoseModel(Follows(), SCHEDULE, ToyTokenizer(), STEPS)
    _, argmax = model.hypotheses(sure_of(ANSWERS), 3, generator(5))
    last = model.denoiser.calls[-1].unflatten(0, (3, 3))[:, 0]  # what hypothesis 0 saw at last
    expected = torch.where(last == CODES, 2, (last - 1) % CODES)
    assert torch.equal(argmax, ToyTokenizer().decode(expected))
    assert len(set(map(tuple, last.tolist()))) > 1, "the images all end alike"


@pytest.mark.parametrize("num_inference_steps", [1, 3, STEPS])
def test_the_denoiser_is_called_once_a_step_for_all_samples_at_once(num_inference_steps):
    model = toy_model(num_inference_steps)
    model.hypotheses(TORN, 4, generator())
    assert [len(k_s) for k_s, _ in model.denoiser.calls] == [12] * num_inference_steps
    assert model.denoiser.calls[0][1].tolist() == [STEPS] * 12


@pytest.fixture(scope="module")
def real_model():
    """The library's own networks, untrained, tiny."""
    torch.manual_seed(0)
    sizes = tokenizer_sizes(num_tokens=6)
    denoiser = Denoiser(
        DenoiserConfig(
            num_codes=12,
            num_tokens=6,
            num_steps=STEPS,
            condition_tokens=4,
            condition_width=8,
            width=16,
            layers=2,
            heads=2,
        )
    )
    schedule = OccludeReplaceSchedule(12, STEPS)
    return PoseModel(denoiser.eval(), schedule, PoseTokenizer(sizes).eval(), 5)


def test_the_library_s_networks_give_finite_poses_of_the_right_shape(real_model):
    features = torch.randn(5, 4, 8, generator=generator(1))
    truth = torch.zeros(5, 17, 3)
    found = estimates(real_model, features, truth, 3, generator())
    for name, pose in found.items():
        assert pose.shape == (5, 17, 3) and pose.dtype == torch.float32, name
        assert pose.isfinite().all() and not pose.requires_grad, name


def test_an_image_is_decoded_alike_alone_and_in_a_batch(real_model):
    features = torch.randn(5, 4, 8, generator=generator(1))
    whole = real_model.soft_decode(features)
    for image in range(5):
        alone = real_model.soft_decode(features[image : image + 1])
        torch.testing.assert_close(alone, whole[image : image + 1], atol=1e-6, rtol=1e-5)
    assert (whole[0] - whole[1]).abs().max() > 1e-5, "the features are not looked at"


def test_a_hypothesis_is_its_image_s_own_whatever_stands_beside_it(real_model):
    features = torch.randn(5, 4, 8, generator=generator(1))
    seeds = [11, 12, 13, 14, 15]
    whole, argmax = real_model.hypotheses(features, 4, seeds)
    torch.testing.assert_close(real_model.hypotheses(features, 4, seeds)[0], whole)
    fewer, _ = real_model.hypotheses(features, 2, seeds)  # not on their number
    torch.testing.assert_close(fewer, whole[:, :2], atol=1e-6, rtol=1e-5)
    for image in range(5):  # not on the batch
        own = slice(image, image + 1)
        alone, first = real_model.hypotheses(features[own], 4, seeds[own])
        torch.testing.assert_close(alone, whole[own], atol=1e-6, rtol=1e-5)
        torch.testing.assert_close(first, argmax[own], atol=1e-6, rtol=1e-5)
    other, _ = real_model.hypotheses(features, 4, [1, 12, 13, 14, 15])
    assert not torch.equal(other[0], whole[0]) and torch.equal(other[1:], whole[1:])


@pytest.mark.parametrize(
    ("rows_at_once", "most_images", "calls"),
    [
        (8, 16, [8, 8, 4]),  # two images of four hypotheses
        (100, 2, [8, 8, 4]),
        (3, 16, [3, 1] * 5),  # hypotheses of one image in two blocks
    ],
)
def test_memory_is_bounded_and_blocks_change_no_pose(
    real_model, monkeypatch, rows_at_once, most_images, calls
):
    features = torch.randn(5, 4, 8, generator=generator(1))
    seeds = [11, 12, 13, 14, 15]
    whole, argmax = real_model.hypotheses(features, 4, seeds)
    soft = real_model.soft_decode(features)
    monkeypatch.setattr(estimators, "MOST_LOGITS", rows_at_once * 6 * 12)
    monkeypatch.setattr(estimators, "MOST_IMAGES", most_images)
    sizes, forward = [], real_model.denoiser.forward
    monkeypatch.setattr(
        real_model.denoiser,
        "forward",
        lambda *given: (sizes.append(len(given[0])), forward(*given))[1],
    )
    poses, first = real_model.hypotheses(features, 4, seeds)
    steps = real_model.num_inference_steps
    assert sizes == [size for size in calls for _ in range(steps)]
    torch.testing.assert_close(poses, whole, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(first, argmax, atol=1e-6, rtol=1e-5)
    sizes.clear()
    torch.testing.assert_close(real_model.soft_decode(features), soft, atol=1e-6, rtol=1e-5)
    assert max(sizes) == min(rows_at_once, most_images, 5) and sum(sizes) == 5


def test_the_options_of_sampling_reach_the_sampler(real_model):
    features = torch.randn(2, 4, 8, generator=generator(1))
    parts = (real_model.denoiser, real_model.schedule, real_model.tokenizer, 5)
    plain, _ = real_model.hypotheses(features, 2, [1, 2])
    for option in ({"spacing": "cosine"}, {"order": "confidence"}, {"temperature": 0.1}):
        assert not torch.equal(
            PoseModel(*parts, **option).hypotheses(features, 2, [1, 2])[0], plain
        )
    with pytest.raises(ValueError, match="`order` must be"):
        PoseModel(*parts, order="left").hypotheses(features, 2, [1, 2])


def test_seeds_come_from_a_generator_too(real_model):
    features = torch.randn(3, 4, 8, generator=generator(1))
    seeds = torch.randint(2**62, (3,), generator=generator(4)).tolist()
    drawn, _ = real_model.hypotheses(features, 2, generator(4))
    assert torch.equal(drawn, real_model.hypotheses(features, 2, seeds)[0])


@pytest.mark.parametrize(
    ("seeds", "sentence"),
    [
        ([1, 2, 3], "`seeds` must hold 5 seeds; got 3"),
        (7, "`seeds` must be a list of ints, or a torch.Generator; got int"),
        ([1.0] * 5, "`seeds` must be a list of ints, or a torch.Generator; got list"),
    ],
)
def test_seeds_that_do_not_fit_the_images_are_refused(real_model, seeds, sentence):
    features = torch.randn(5, 4, 8, generator=generator(1))
    with pytest.raises(ValueError, match=sentence):
        real_model.hypotheses(features, 2, seeds)


def test_no_hypothesis_at_all_is_refused():
    with pytest.raises(ValueError, match="`num_hypotheses` must be at least 1; got 0"):
        toy_model().hypotheses(TORN, 0, generator())


def test_every_estimator_has_a_name_of_its_own():
    names = [estimators.ONE_SAMPLE, ARGMAX, MEAN, SOFT, BEST]
    assert len(set(names)) == 5 and "uses the answer" in BEST


def test_the_chain_is_left_by_confidence_or_temperature_and_followed_by_either_spacing():
    parts = (ToyDenoiser(), SCHEDULE, ToyTokenizer(), 4)
    for options in ({}, {"spacing": "cosine"}, {"order": "random"}, {"spacing": "uniform"}):
        assert PoseModel(*parts, **options).follows_chain
    for options in ({"order": "confidence"}, {"temperature": 0.5}, {"final": "argmax"}):
        assert not PoseModel(*parts, **options).follows_chain


def test_along_the_chain_the_steps_are_uniform_and_exact_whatever_the_sampler_is(monkeypatch):
    options = {"order": "confidence", "spacing": "cosine", "temperature": 0.5}
    model = PoseModel(ToyDenoiser(), SCHEDULE, ToyTokenizer(), 2, **options)
    exact = PoseModel(ToyDenoiser(), SCHEDULE, ToyTokenizer(), STEPS)
    for features in (sure_of(ANSWERS), TORN):
        drawn, _ = model.along_chain().hypotheses(features, 4, [1, 2, 3])
        assert torch.equal(drawn, exact.hypotheses(features, 4, [1, 2, 3])[0])
    monkeypatch.setattr(estimators, "CHAIN_STEPS", 5)
    assert model.along_chain().num_inference_steps == 5
    assert model.along_chain().follows_chain and not model.follows_chain
