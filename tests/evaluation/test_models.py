"""Models: shapes, seeds, estimators, what hypotheses stand for, refusals."""

from types import SimpleNamespace

import pytest
import torch
from small import SIZE, PixelEncoder, encoder_config, make_split, tokenizer_sizes
from torch import nn

from di2pose_lib.base.seeding import generator_for
from di2pose_lib.diffusion import OccludeReplaceSchedule
from di2pose_lib.diffusion.denoiser import Denoiser, DenoiserConfig
from di2pose_lib.encoder.image_encoder import ImageEncoder
from di2pose_lib.evaluation import models
from di2pose_lib.evaluation.estimators import (
    ARGMAX,
    BEST,
    CHAIN,
    MEAN,
    ONE_SAMPLE,
    SOFT,
    PoseModel,
)
from di2pose_lib.evaluation.models import (
    ESTIMATORS,
    JOINTS_2D,
    ImageModel,
    Model,
    answers,
    di2pose_models,
    predicted,
    reference_models,
)
from di2pose_lib.tokens.tokenizer import PoseTokenizer


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
    return ImageModel(PixelEncoder(), ToyModel(), estimator, samples)


def test_one_sample_gives_the_hypotheses_and_the_others_equal_poses():
    seeds = [5, 6]
    poses, argmax = ToyModel().hypotheses(torch.tensor([[[0.0]], [[1.0]]]), 4, seeds)
    assert torch.equal(predicted(toy(ONE_SAMPLE).predict, images(2), seeds, 4), poses)
    soft = torch.tensor([7.0, 8.0])[:, None, None].expand(-1, 17, 3)
    for estimator, pose in [
        (ARGMAX, argmax),
        (MEAN, poses[:, :3].mean(dim=1)),  # of three samples, whatever H is
        (SOFT, soft),
    ]:
        poses = predicted(toy(estimator).predict, images(2), seeds, 2)
        assert poses.shape == (2, 2, 17, 3) and poses.dtype == torch.float32
        for h in range(2):
            assert torch.equal(poses[:, h], pose), estimator


@pytest.mark.parametrize("estimator", ESTIMATORS)
def test_what_an_image_draws_depends_on_its_seed_alone(estimator):
    together = toy(estimator).predict(images(5), [11, 12, 13, 14, 15], 2)
    alone = toy(estimator).predict(images(1, first=3), [14], 2)
    assert torch.equal(together[3:4], alone)
    if estimator in (ONE_SAMPLE, MEAN):
        assert not torch.equal(alone, toy(estimator).predict(images(1, first=3), [15], 2))


def test_the_arg_max_is_of_the_draw_that_one_sample_is_of():
    sample, argmax = (
        toy(name).predict(images(3), [1, 2, 3], 1)[:, 0] for name in (ONE_SAMPLE, ARGMAX)
    )
    torch.testing.assert_close(argmax - sample, torch.tensor([0.0, 0.0, 5.0]).expand(3, 17, 3))


def test_a_generator_serves_as_well_as_a_list_of_seeds():
    first, again, other = (
        toy(ONE_SAMPLE).predict(images(3), torch.Generator().manual_seed(seed), 2)
        for seed in (1, 1, 2)
    )
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_the_encoder_sees_a_bounded_number_of_images_at_once(monkeypatch):
    monkeypatch.setattr(models, "IMAGES_AT_ONCE", 4)
    model = toy(ONE_SAMPLE)
    poses = model.predict(images(10), list(range(10)), 2)
    assert model.encoder.batches == [4, 4, 2]
    assert torch.equal(poses, toy(ONE_SAMPLE).predict(images(10), list(range(10)), 2))


def test_features_computed_before_give_the_same_poses():
    model, seeds = toy(MEAN), [1, 2, 3]
    cached = model.of_features(model.encoder(images(3)), seeds, 2)
    assert torch.equal(cached, model.predict(images(3), seeds, 2))


def test_the_library_s_own_networks_predict_by_every_estimator():
    size = (16, 16)
    encoder = ImageEncoder(encoder_config(), size).requires_grad_(False).eval()
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
        predict = ImageModel(encoder, model, estimator, samples=2).predict
        poses = predicted(predict, pictures, [1, 2, 3], 2)
        assert torch.equal(poses, predicted(predict, pictures, [1, 2, 3], 2)), estimator


def test_bad_questions_are_refused_in_one_sentence():
    with pytest.raises(ValueError, match="`num_hypotheses` must be at least 1; got 0"):
        predicted(toy(ONE_SAMPLE).predict, images(2), [1, 2], 0)
    with pytest.raises(ValueError, match="`num_hypotheses` must be at least 1; got 0"):
        toy(SOFT).predict(images(2), [1, 2], 0)
    other = torch.zeros(2, 3, 9, 6, dtype=torch.uint8)
    with pytest.raises(ValueError, match=r"`images` must have shape \(n, 3, 8, 6\); got"):
        predicted(toy(SOFT).predict, other, [1, 2], 1)
    with pytest.raises(ValueError, match="`seeds` must hold 2 seeds; got 1"):
        predicted(toy(SOFT).predict, images(2), [1], 1)
    with pytest.raises(ValueError, match="`images` must be uint8"):
        predicted(toy(SOFT).predict, images(2).float(), [1, 2], 1)
    with pytest.raises(ValueError, match=r"`joints_2d` must have shape \(n, J, 2\)"):
        predicted(toy(SOFT).predict, torch.zeros(2, 17, 3), [1, 2], 1, JOINTS_2D)
    with pytest.raises(ValueError, match="`takes` must be one of images, features, .*'words'"):
        predicted(toy(SOFT).predict, images(2), [1, 2], 1, "words")
    with pytest.raises(ValueError, match="`estimator` must be one of one sample"):
        toy(BEST)
    with pytest.raises(ValueError, match="`samples` must be at least 1; got 0"):
        toy(MEAN, samples=0)
    never = ToyModel()
    never.schedule = SimpleNamespace(final_occlude_rate=0.0)
    with pytest.raises(ValueError, match="soft decoding needs `final_occlude_rate` > 0"):
        ImageModel(PixelEncoder(), never, SOFT)
    assert ImageModel(PixelEncoder(), never, ONE_SAMPLE).estimator == ONE_SAMPLE


def test_an_answer_of_another_shape_is_refused():
    def wrong(images, seeds, num_hypotheses):
        return torch.zeros(len(images), 17, 3)

    with pytest.raises(ValueError, match=r"`predicted poses` must have shape \(2, 3, J, 3\)"):
        predicted(wrong, images(2), [1, 2], 3)


# -- what hypotheses stand for, and who is measured


def test_a_point_estimator_stands_for_one_pose():
    poses = torch.randn(3, 1, 17, 3)
    (one,) = answers(Model("m", "pose", None), poses, poses[:, 0])
    assert (one.method, one.estimator) == ("m", "pose")
    assert torch.equal(one.pose, poses[:, 0])


def test_samples_stand_for_the_first_their_mean_and_the_best_of_the_first_few():
    truth = torch.randn(3, 17, 3)
    poses = truth[:, None] + torch.tensor([0.3, 0.1, -0.2, 0.4, 0.0]).view(1, -1, 1, 1)
    poses[:, :, 0] = truth[:, None, 0]  # the pelvis
    first, mean, best = answers(Model("m", ONE_SAMPLE, None), poses, truth, few=4)
    assert [p.estimator for p in (first, mean, best)] == [ONE_SAMPLE, MEAN, BEST]
    assert torch.equal(first.pose, poses[:, 0])
    torch.testing.assert_close(mean.pose, poses[:, :4].mean(dim=1))
    assert torch.equal(best.pose, poses[:, 1]), "the fifth is not one of the few"
    _, mean, best = answers(Model("m", ONE_SAMPLE, None), poses, truth)
    torch.testing.assert_close(mean.pose, poses.mean(dim=1))
    assert torch.equal(best.pose, poses[:, 4])


def test_along_the_chain_names_say_so_and_the_best_is_named_once():
    model, poses = Model("m", CHAIN, None), torch.randn(3, 8, 17, 3)
    assert model.sampler == ", Algorithm 2, 25 steps"
    assert model.set_of(8) == "8 samples, Algorithm 2, 25 steps"
    names = [p.estimator for p in answers(model, poses, poses[:, 0])]
    assert names == [CHAIN, f"{MEAN}, Algorithm 2, 25 steps"]
    assert [p.estimator for p in answers(model, poses[:, :1], poses[:, 0])] == [CHAIN]


@pytest.mark.parametrize("follows", [True, False])
def test_algorithm_2_takes_part_where_the_sampler_leaves_the_chain(follows):
    schedule = SimpleNamespace(final_occlude_rate=0.9)
    chain = SimpleNamespace(schedule=schedule)
    model = SimpleNamespace(schedule=schedule, follows_chain=follows, along_chain=lambda: chain)
    each = {one.estimator: one for one in di2pose_models(PixelEncoder(), model, 4, 8)}
    assert (CHAIN in each) is not follows
    assert {one.method for one in each.values()} == {models.DI2POSE}
    assert {e for e, one in each.items() if one.in_detail} == {
        SOFT,
        ONE_SAMPLE if follows else CHAIN,
    }
    one_sample = each[ONE_SAMPLE]
    assert one_sample.predict.__self__.model is model
    assert (one_sample.samples, one_sample.hypotheses) == (4, 8)
    if not follows:
        assert each[CHAIN].predict.__self__.model is chain and each[CHAIN].samples == 1
    model.schedule = SimpleNamespace(final_occlude_rate=0.0)
    assert SOFT not in {one.estimator for one in di2pose_models(PixelEncoder(), model, 4)}


class Rebuilder(nn.Module):
    """A tokenizer that moves every joint by a metre."""

    def __init__(self):
        super().__init__()
        self.metre = nn.Parameter(torch.ones(()), requires_grad=False)

    def forward(self, pose):
        return pose + self.metre


def test_references_are_the_mean_pose_the_nearest_neighbour_and_the_tokenizer(tmp_path):
    train = make_split(tmp_path / "train", 3)
    stored = torch.tensor([2.2, 50.0, 6.9]).view(-1, 1, 1)
    mean, nearest, rebuilt = reference_models(Rebuilder(), train, lambda rows: stored[rows])
    methods = [models.MEAN_POSE, models.NEIGHBOUR, models.TOKENIZER]
    assert [one.method for one in (mean, nearest, rebuilt)] == methods
    assert [one.sees_pictures for one in (mean, nearest, rebuilt)] == [True, True, False]
    pose, seeds = train.take("pose"), list(range(10))

    def of(model, given, seeds=seeds):
        return predicted(model.predict, given, seeds, 2, model.takes)[:, 1]

    features = torch.arange(10.0).view(-1, 1, 1)
    assert torch.equal(of(nearest, features), pose[[0, 0, 0, 0, 0, 2, 2, 2, 2, 2]])
    position = train.take("camera_position")[:1].expand(10, -1)
    torch.testing.assert_close(of(mean, position), pose.mean(dim=0).expand(10, -1, -1))
    assert torch.equal(of(rebuilt, pose, [0, 1, 2]), pose + 1)


def test_the_mean_pose_is_that_of_the_training_camera_on_the_same_side(tmp_path):
    """Four training cameras in a ring, test cameras between them; nobody stands where another."""

    def ring(degrees, radius):
        turn = torch.deg2rad(torch.tensor(degrees))
        return torch.stack([radius * turn.cos(), radius * turn.sin(), 1 + 0 * turn], dim=1)

    cameras = ring([0.0, 90.0, 180.0, 270.0, 90.0, 270.0], 5.0)
    train = make_split(tmp_path / "train", 6, camera_position=cameras)
    mean = reference_models(Rebuilder(), train, None)[0]
    position = ring([30.0, -30.0, 100.0, 200.0, 250.0, 310.0], 4.0)
    poses = predicted(mean.predict, position, list(range(6)), 1, mean.takes)[:, 0]
    pose = train.take("pose")
    of_camera = {0: pose[0], 90: (pose[1] + pose[4]) / 2}
    of_camera |= {180: pose[2], 270: (pose[3] + pose[5]) / 2}
    wanted = torch.stack([of_camera[degrees] for degrees in (0, 0, 90, 180, 270, 270)])
    torch.testing.assert_close(poses, wanted)
