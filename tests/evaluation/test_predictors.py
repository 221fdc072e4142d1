"""The interface of the protocols: shapes, seeds, estimators, refusals."""

from types import SimpleNamespace

import pytest
import torch
from small import tokenizer_sizes
from torch import nn

from di2pose_lib.base.config import EncoderConfig
from di2pose_lib.base.seeding import generator_for
from di2pose_lib.diffusion import OccludeReplaceSchedule
from di2pose_lib.diffusion.denoiser import Denoiser, DenoiserConfig
from di2pose_lib.encoder.image_encoder import ImageEncoder
from di2pose_lib.evaluation import predictors
from di2pose_lib.evaluation.estimators import ARGMAX, BEST, MEAN, ONE_SAMPLE, SOFT, PoseModel
from di2pose_lib.evaluation.predictors import ESTIMATORS, JOINTS_2D, FeaturePredictor, predicted
from di2pose_lib.tokens.tokenizer import PoseTokenizer

SIZE = (8, 6)


class ToyEncoder(nn.Module):
    """An image's first red value is its feature; notes how many images come at once."""

    image_size = SIZE

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(()))
        self.batches = []

    def forward(self, images):
        self.batches.append(len(images))
        return images[:, 0, 0, :1, None].float()


class ToyModel:
    """Hypothesis h of an image: the feature in x, a draw of its seed and h in y; tokens in z."""

    schedule = SimpleNamespace(final_occlude_rate=0.9)

    def hypotheses(self, features, num_hypotheses, seeds):
        poses = torch.zeros(len(features), num_hypotheses, 17, 3)
        poses[..., 0] = features[:, :, 0, None]
        for row, seed in zip(poses, seeds, strict=True):
            for h in range(num_hypotheses):
                row[h, :, 1] = torch.rand((), generator=generator_for(seed, h))
        return poses, poses[:, 0] + torch.tensor([0.0, 0.0, 5.0])

    def soft_decode(self, features):
        return features.expand(-1, 17, 3).clone() + 7


def images(count, first=0):
    pictures = torch.zeros(count, 3, *SIZE, dtype=torch.uint8)
    pictures[:, 0] += torch.arange(first, first + count, dtype=torch.uint8)[:, None, None]
    return pictures


def toy(estimator, samples=3):
    return FeaturePredictor(ToyEncoder(), ToyModel(), estimator, samples)


def test_one_sample_gives_the_hypotheses_and_the_others_equal_poses():
    seeds = [5, 6]
    poses, argmax = ToyModel().hypotheses(torch.tensor([[[0.0]], [[1.0]]]), 4, seeds)
    assert torch.equal(predicted(toy(ONE_SAMPLE), images(2), seeds, 4), poses)
    soft = torch.tensor([7.0, 8.0])[:, None, None].expand(-1, 17, 3)
    for estimator, pose in [
        (ARGMAX, argmax),
        (MEAN, poses[:, :3].mean(dim=1)),  # of three samples, whatever H is
        (SOFT, soft),
    ]:
        found = predicted(toy(estimator), images(2), seeds, 2)
        assert found.shape == (2, 2, 17, 3) and found.dtype == torch.float32
        for h in range(2):
            assert torch.equal(found[:, h], pose), estimator


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_what_an_image_draws_depends_on_its_seed_alone(estimator):
    together = toy(estimator).predict(images(5), [11, 12, 13, 14, 15], 2)
    alone = toy(estimator).predict(images(1, first=3), [14], 2)
    assert torch.equal(together[3:4], alone)
    if estimator in (ONE_SAMPLE, MEAN):
        assert not torch.equal(alone, toy(estimator).predict(images(1, first=3), [15], 2))


def test_a_generator_serves_as_well_as_a_list_of_seeds():
    first, again, other = (
        toy(ONE_SAMPLE).predict(images(3), torch.Generator().manual_seed(seed), 2)
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_encoder_sees_a_bounded_number_of_images_at_once(monkeypatch):
    monkeypatch.setattr(predictors, "IMAGES_AT_ONCE", 4)
    predictor = toy(ONE_SAMPLE)
    poses = predictor.predict(images(10), list(range(10)), 2)
    assert predictor.encoder.batches == [4, 4, 2]
    assert torch.equal(poses, toy(ONE_SAMPLE).predict(images(10), list(range(10)), 2))


def test_features_computed_before_give_the_same_poses():
    predictor, seeds = toy(MEAN), [1, 2, 3]
    features = predictor.encoder(images(3))
    cached = predictor.from_features(features, seeds, 2)
    assert torch.equal(cached, predictor.predict(images(3), seeds, 2))


def test_the_library_s_own_networks_predict_by_every_estimator():
    size = (16, 16)
    config = EncoderConfig(
        backbone="small",
        checkpoint="",
        patch_size=8,
        width=8,
        layers=1,
        heads=2,
        heatmap_sigma=1.0,
        cache_features=False,
        optimizer=None,
    )
    encoder = ImageEncoder(config, size).requires_grad_(False).eval()
    tokenizer = PoseTokenizer(
        tokenizer_sizes(
            num_tokens=4, levels=(3, 3), width=8, decoder_width=8, start_at_joints=False
        )
    ).requires_grad_(False)
    denoiser = Denoiser(
        DenoiserConfig(
            num_codes=9,
            num_tokens=4,
            num_steps=4,
            condition_width=8,
            condition_tokens=4,
            width=8,
            layers=1,
            heads=2,
        )
    ).requires_grad_(False)
    model = PoseModel(denoiser, OccludeReplaceSchedule(9, 4), tokenizer, 2)
    pictures = torch.randint(
        256, (3, 3, *size), generator=torch.Generator().manual_seed(0), dtype=torch.uint8
    )
    for estimator in ESTIMATORS:
        predictor = FeaturePredictor(encoder, model, estimator, samples=2)
        poses = predicted(predictor, pictures, [1, 2, 3], 2)
        assert torch.equal(poses, predicted(predictor, pictures, [1, 2, 3], 2)), estimator


def test_bad_questions_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match="`num_hypotheses` must be at least 1; got 0"):
        predicted(toy(ONE_SAMPLE), images(2), [1, 2], 0)
    with pytest.raises(ValueError, match="`num_hypotheses` must be at least 1; got 0"):
        toy(SOFT).predict(images(2), [1, 2], 0)
    other = torch.zeros(2, 3, 9, 6, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"`images` must have shape \(B, 3, 8, 6\); got"):
        predicted(toy(SOFT), other, [1, 2], 1)
    with pytest.raises(ValueError, match="`seeds` must hold 2 seeds; got 1"):
        predicted(toy(SOFT), images(2), [1], 1)
    with pytest.raises(ValueError, match="`images` must be uint8"):
        predicted(toy(SOFT), images(2).float(), [1, 2], 1)
    with pytest.raises(ValueError, match=r"`joints_2d` must have shape \(B, J, 2\)"):
        predicted(toy(SOFT), torch.zeros(2, 17, 3), [1, 2], 1, JOINTS_2D)
    with pytest.raises(ValueError, match="`takes` must be one of images, joints_2d; got 'words'"):
        predicted(toy(SOFT), images(2), [1, 2], 1, "words")
    with pytest.raises(ValueError, match="`estimator` must be one of one sample"):
        toy(BEST)
    with pytest.raises(ValueError, match="`samples` must be at least 1; got 0"):
        toy(MEAN, samples=0)
    never = ToyModel()
    never.schedule = SimpleNamespace(final_occlude_rate=0.0)
    with pytest.raises(ValueError, match="soft decoding needs `final_occlude_rate` > 0"):
        FeaturePredictor(ToyEncoder(), never, SOFT)
    assert FeaturePredictor(ToyEncoder(), never, ONE_SAMPLE).estimator == ONE_SAMPLE


def test_a_predictor_s_answer_of_another_shape_is_refused():
    wrong = SimpleNamespace(predict=lambda images, generator, h: torch.zeros(len(images), 17, 3))
    with pytest.raises(ValueError, match=r"`predicted poses` must have shape \(2, 3, J, 3\)"):
        predicted(wrong, images(2), [1, 2], 3)
