"""Protocols: any model takes part in every occlusion; what is told of whom; resuming."""

import pytest
import torch
from small import make_split, measured
from torch import nn

from di2pose_lib.base.config_file import load_config
from di2pose_lib.base.project import project_root
from di2pose_lib.evaluation import protocols
from di2pose_lib.evaluation.estimators import BEST, MEAN, ONE_SAMPLE
from di2pose_lib.evaluation.measure import EXCHANGED
from di2pose_lib.evaluation.models import IMAGES, Model
from di2pose_lib.evaluation.protocols import CLOSELY, GROWTH, OCCLUSIONS
from di2pose_lib.evaluation.visibility import COVERED

COUNT = 12


class Rival:
    """Predicts one pose, the h-th hypothesis h centimetres beside; notes what it is asked."""

    def __init__(self, pose):
        self.pose, self.asked = pose, []

    def __call__(self, images, seeds, num_hypotheses):
        self.asked.append((len(images), num_hypotheses))
        poses = self.pose.repeat(len(images), num_hypotheses, 1, 1)
        return poses + torch.arange(num_hypotheses).view(1, -1, 1, 1) / 100 * (
            torch.arange(17).view(1, 1, -1, 1) > 0
        )


class NoEncoder(nn.Module):
    """Nobody asks for features."""


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
    models = (
        Model("regression", "pose", Rival(pose), IMAGES, in_detail=True),
        Model("sampler", ONE_SAMPLE, Rival(pose), IMAGES, samples=4, hypotheses=6),
    )
    data = {"test": plain, "test_occluded": hidden}
    return protocols.Tested(config, data, NoEncoder(), models)


@pytest.mark.parametrize(("occlusion", "level"), OCCLUSIONS)
def test_a_rival_that_predicts_takes_part_under_every_occlusion(rivals, occlusion, level):
    rows = protocols.occlusion_rows(rivals, occlusion, level)
    errors = rows[rows.metric == "pa_mpjpe_mm"]
    assert set(zip(errors.method, errors.estimator, strict=True)) == {("regression", "pose")} | {
        ("sampler", name) for name in (ONE_SAMPLE, MEAN, BEST)
    }
    assert set(zip(errors.occlusion, errors.level, strict=True)) == {(occlusion, level)}
    closely = (occlusion, level) in CLOSELY
    spread = rows[rows.metric == "spread_mm"]
    assert set(spread.method) == ({"sampler"} if closely else set())
    regression, sampler = (model.predict.asked for model in rivals.models)
    assert regression == [(COUNT, 1)] and sampler == [(COUNT, 6 if closely else 4)]


def test_uncertainty_names_the_samples_and_the_joints_that_an_occluder_covers(rivals):
    rows = protocols.occlusion_rows(rivals, "occluders", 1.0)
    spread = rows[rows.metric == "spread_mm"]
    assert set(spread.estimator) == {"6 samples"} and COVERED in set(spread.joints)
    bodies = rows[rows.metric == "bone_error_mm"]
    assert {"regression", "sampler"} < set(bodies.method), "every model's are looked at"
    assert BEST not in set(bodies.estimator)


def test_joints_and_conventions_are_told_of_whom_that_is_asked(rivals):
    rows = protocols.occlusion_rows(rivals, "clean", 0.0)
    assert set(rows[rows.metric == "N-MPJPE"].method) == {"regression"}
    told = rows[(rows.joints == COVERED) & rows.joint.isna() & (rows.metric == "mpjpe_mm")]
    assert set(told.method) == {"regression"} and measured(told)[1] == COUNT


def test_uncertainty_grows_under_the_other_masks_for_samplers_that_are_told_in_detail(rivals):
    sampler = rivals.models[1]._replace(in_detail=True)
    rows = protocols.growth_rows(rivals._replace(models=(rivals.models[0], sampler)), *GROWTH[0])
    assert set(rows.method) == {"sampler"} and set(rows.estimator) == {"6 samples"}
    with pytest.raises(ValueError, match="`tested` must hold a sampler that is reported in detail"):
        protocols.growth_rows(rivals, *GROWTH[0])
    masks = {level for name, level in OCCLUSIONS if name == "mask"}
    assert {level for _, level in GROWTH} | {0.4} == masks


def test_a_reader_errs_by_the_pose_of_the_image_half_a_split_away(rivals, tmp_path):
    """It knows every truth by the number in an image's first pixel."""
    action = torch.arange(6) % 2
    names = {"actions": ("walk", "sit"), "action": action.short()}
    split = make_split(tmp_path / "read", 6, size=(64, 48), **names)
    truth = split.take("pose")

    def read(images, seeds, num_hypotheses):
        return truth[images[:, 0, 0, 0].long()][:, None].repeat(1, num_hypotheses, 1, 1)

    reader = Model("reader", "pose", read, IMAGES, in_detail=True)
    tested = protocols.Tested(rivals.config, {"test": split}, NoEncoder(), (reader,))
    rows = protocols.clean_action_rows(tested)
    assert set(rows[rows.method == "reader"].action) == {"walk", "sit"}
    assert measured(rows, method="reader", metric="mpjpe_mm", action="sit") == (
        pytest.approx(0, abs=1e-3),
        3,
    )
    wanted = (truth.roll(3, dims=0) - truth).norm(dim=-1).mean().item() * 1000
    exchanged = {"method": f"reader, {EXCHANGED}", "metric": "mpjpe_mm", "joints": "all"}
    assert measured(rows, **exchanged) == (pytest.approx(wanted, rel=1e-5), 6)


def test_splits_of_other_frames_are_refused(rivals, tmp_path):
    other = make_split(tmp_path / "other", COUNT + 1, size=(64, 48))
    data = {"test": rivals.data["test"], "test_occluded": other}
    with pytest.raises(ValueError, match="must hold the same frames"):
        protocols.occlusion_rows(rivals._replace(data=data), "clean", 0.0)


def test_occlusions_that_a_killed_run_finished_are_not_measured_again(rivals, tmp_path):
    asked = []

    def rows_of(tested, occlusion, level):
        asked.append((occlusion, level))
        if len(asked) == 4:
            raise KeyboardInterrupt
        return tested.pictures(occlusion, level).truth.rows(
            torch.zeros(COUNT), method="m", estimator="e", metric="x_mm"
        )

    with pytest.raises(KeyboardInterrupt):
        protocols.kept(rows_of, rivals, OCCLUSIONS, tmp_path / "kept")
    rows = protocols.kept(rows_of, rivals, OCCLUSIONS, tmp_path / "kept")
    assert asked == [*OCCLUSIONS[:4], *OCCLUSIONS[3:]]
    places = rows.drop_duplicates(["occlusion", "level"])
    assert list(zip(places.occlusion, places.level, strict=True)) == list(OCCLUSIONS)
