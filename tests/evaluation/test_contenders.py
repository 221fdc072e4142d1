"""Who takes part in the protocols: names of what hypotheses stand for; a rival plugs in."""

from types import SimpleNamespace

import pytest
import torch
from small import make_split
from torch import nn

from di2pose_lib.base.config_file import load_config
from di2pose_lib.base.project import project_root
from di2pose_lib.base.seeding import seed_for
from di2pose_lib.data import occlusions
from di2pose_lib.evaluation import contenders, measure, protocols
from di2pose_lib.evaluation.contenders import Contender, References, answers, di2pose_contenders
from di2pose_lib.evaluation.estimators import BEST, CHAIN, MEAN, ONE_SAMPLE, SOFT
from di2pose_lib.evaluation.predictors import JOINTS_2D
from di2pose_lib.evaluation.visibility import COVERED

COUNT = 12


class Rival:
    """Predicts its own pose, the h-th hypothesis h centimetres beside; notes what it is asked."""

    def __init__(self, pose):
        self.pose, self.asked = pose, []

    def predict(self, images, generator, num_hypotheses):
        self.asked.append((len(images), num_hypotheses))
        poses = self.pose.repeat(len(images), num_hypotheses, 1, 1)
        return poses + torch.arange(num_hypotheses).view(1, -1, 1, 1) / 100 * (
            torch.arange(17).view(1, 1, -1, 1) > 0
        )


class NoBaselines:
    def of_images(self, images, camera_position):
        return []

    def of_truth(self, truth):
        return []


class ToyEncoder(nn.Module):
    """An image's feature is its first pixel."""

    def __init__(self):
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(()))

    def forward(self, images):
        return images[:, :1, 0, :1].float()


def test_a_point_estimator_stands_for_one_pose():
    poses = torch.randn(3, 1, 17, 3)
    (found,) = answers(Contender("m", "pose", None), poses, poses[:, 0])
    assert (found.method, found.estimator) == ("m", "pose")
    assert torch.equal(found.pose, poses[:, 0])


def test_samples_stand_for_the_first_their_mean_and_the_best_of_the_first_few():
    truth = torch.randn(3, 17, 3)
    poses = truth[:, None] + torch.tensor([0.3, 0.1, -0.2, 0.4, 0.0]).view(1, -1, 1, 1)
    poses[:, :, 0] = truth[:, None, 0]  # the pelvis
    found = answers(Contender("m", ONE_SAMPLE, None, 4, 8), poses, truth)
    assert [(p.method, p.estimator) for p in found] == [
        ("m", ONE_SAMPLE),
        ("m", MEAN),
        ("m", BEST),
    ]
    assert torch.equal(found[0].pose, poses[:, 0])
    torch.testing.assert_close(found[1].pose, poses[:, :4].mean(dim=1))
    assert torch.equal(found[2].pose, poses[:, 1]), "the fifth is not one of the few"


def test_along_the_chain_names_say_so_and_the_best_is_named_once():
    contender = Contender("m", CHAIN, None, 1, 8)
    poses = torch.randn(3, 8, 17, 3)
    assert contender.manner == ", Algorithm 2, 25 steps"
    names = [p.estimator for p in answers(contender, poses, poses[:, 0])]
    assert names == [CHAIN, protocols.CHAIN_MEAN]
    assert [p.estimator for p in answers(contender, poses[:, :1], poses[:, 0])] == [CHAIN]


@pytest.mark.parametrize("follows", [True, False])
def test_algorithm_2_takes_part_where_the_sampler_leaves_the_chain(follows):
    schedule = SimpleNamespace(final_occlude_rate=0.9)
    chain = SimpleNamespace(schedule=schedule)
    model = SimpleNamespace(schedule=schedule, follows_chain=follows, along_chain=lambda: chain)
    found = {c.estimator: c for c in di2pose_contenders(ToyEncoder(), model)}
    assert (CHAIN in found) is not follows
    assert {c.method for c in found.values()} == {measure.DI2POSE}
    assert {e for e, c in found.items() if c.in_detail} == {SOFT, ONE_SAMPLE if follows else CHAIN}
    own = found[ONE_SAMPLE]
    assert own.predictor.model is model
    assert (own.samples, own.looked_into) == (contenders.SAMPLES, contenders.HYPOTHESES)
    if not follows:
        assert found[CHAIN].predictor.model is chain and found[CHAIN].samples == 1


def test_references_are_the_nearest_neighbour_the_mean_pose_and_the_tokenizer(tmp_path):
    train = make_split(tmp_path / "train", 5)
    images = torch.stack([torch.full((3, 4, 4), v, dtype=torch.uint8) for v in (3, 0)])
    features = torch.arange(5.0).view(-1, 1, 1)
    found = References(train, lambda rows: features[rows], ToyEncoder(), lambda pose: pose + 1)
    mean, nearest = found.of_images(images, train.take("camera_position")[:2])
    assert (mean.method, nearest.method) == (measure.MEAN_POSE, measure.NEIGHBOUR)
    pose = train.take("pose")
    assert torch.equal(nearest.pose, pose[[3, 0]])
    torch.testing.assert_close(mean.pose, pose.mean(dim=0).expand(2, -1, -1))
    (rebuilt,) = found.of_truth(pose)
    assert rebuilt.method == measure.TOKENIZER and torch.equal(rebuilt.pose, pose + 1)


@pytest.fixture
def rivals(tmp_path):
    """A `Tested` of two rivals on images that an occluder covers in part."""
    covered = torch.zeros(COUNT, 17, dtype=torch.bool)
    covered[:, 5:7] = True
    size = {"size": (64, 48), "actions": ("walk",)}
    plain = make_split(tmp_path / "plain", COUNT, **size)
    hidden = make_split(tmp_path / "hidden", COUNT, covered=covered, visible=~covered, **size)
    config = load_config(project_root() / "params.yaml")
    pose = plain.take("pose")[0]
    found = (
        Contender("regression", "pose", Rival(pose), in_detail=True),
        Contender("sampler", ONE_SAMPLE, Rival(pose), 4, 6),
    )
    data = {"test": plain, "test_occluded": hidden}
    return protocols.Tested(config, data, found, NoBaselines())


def test_a_rival_that_predicts_takes_part_in_every_condition(rivals):
    for protocol, level in protocols.CONDITIONS:
        for contender in rivals.contenders:
            contender.predictor.asked.clear()
        rows = protocols.condition_rows(rivals, protocol, level)
        named = {(row["method"], row["estimator"]) for row in rows["errors"]}
        assert named == {("regression", "pose")} | {
            ("sampler", name) for name in (ONE_SAMPLE, MEAN, BEST)
        }
        looked_into = (protocol, level) in protocols.LOOKED_INTO
        assert {row["method"] for row in rows["uncertainty"]} == (
            {"sampler"} if looked_into else set()
        )
        regression, sampler = (c.predictor.asked for c in rivals.contenders)
        assert regression == [(COUNT, 1)]
        assert sampler == [(COUNT, 6 if looked_into else 4)]


class Lifter(Rival):
    """Notes the joints that it is given."""

    def predict(self, joints_2d, generator, num_hypotheses):
        self.given = joints_2d
        return super().predict(joints_2d, generator, num_hypotheses)


@pytest.mark.parametrize(("protocol", "level"), protocols.CONDITIONS)
def test_a_lifter_is_given_the_joints_but_for_those_that_are_hidden(rivals, protocol, level):
    pose = rivals.data["test"].take("pose")[0]
    lifter = Contender("lifter", "pose", Lifter(pose), takes=JOINTS_2D)
    found = rivals._replace(contenders=(lifter,))
    pictures = protocols.pictures_of(found, protocol, level)
    assert {
        row["method"] for row in protocols.condition_rows(found, protocol, level)["errors"]
    } == {"lifter"}
    split = rivals.data["test_occluded" if protocol == "occluders" else "test"]
    every = split.take("joints_2d", pictures.rows)
    if protocol == "clean":
        hidden = torch.zeros(every.shape[:2], dtype=torch.bool)
    elif protocol == "occluders":
        hidden = split.take("covered", pictures.rows)
    else:
        seeds = [seed_for(rivals.config.seed, "occlusion", row) for row in pictures.rows.tolist()]
        images = split.take("image", pictures.rows)
        hidden = occlusions.occluded(protocol, level, images, every, seeds).hidden
    centre = torch.tensor([47 / 2, 63 / 2])  # of 64 × 48 pixels
    wanted = torch.where(hidden[..., None], centre, every)
    torch.testing.assert_close(lifter.predictor.given, wanted)
    assert bool(hidden.any()) or protocol in ("clean", "crop")


def test_uncertainty_names_the_samples_and_the_joints_that_an_occluder_covers(rivals):
    rows = protocols.condition_rows(rivals, "occluders", 1.0)
    assert {row["estimator"] for row in rows["uncertainty"]} == {"6 samples"}
    assert COVERED in {row["joints"] for row in rows["uncertainty"]}
    bodies = {row["method"] for row in rows["plausibility"]}
    assert {"regression", "sampler"} < bodies, "every contender's are looked at"


def test_joints_and_conventions_are_told_of_whom_that_is_asked(rivals):
    rows = protocols.condition_rows(rivals, "clean", 0.0)
    assert {row["method"] for row in rows["conventions"]} == {"regression"}
    told = [row for row in rows["errors"] if row["joints"] == COVERED]
    assert [(row["method"], row["n"]) for row in told] == [("regression", COUNT)]


def test_splits_of_other_frames_are_refused(rivals, tmp_path):
    other = make_split(tmp_path / "other", COUNT + 1, size=(64, 48))
    data = {"test": rivals.data["test"], "test_occluded": other}
    with pytest.raises(ValueError, match="must hold the same frames"):
        protocols.condition_rows(rivals._replace(data=data), "clean", 0.0)
