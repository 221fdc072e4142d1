"""Rows by action, and of exchanged images: a predictor that reads its answer off the picture."""

import pytest
import torch
from small import make_split

from di2pose_lib.base.config_file import load_config
from di2pose_lib.base.project import project_root
from di2pose_lib.evaluation import protocols
from di2pose_lib.evaluation.contenders import Contender
from di2pose_lib.evaluation.measure import EXCHANGED
from studies.action_rows import MEAN_OF_ACTIONS, action_rows, of_action

COUNT = 6


class Reader:
    """Knows every truth by the number in an image's first pixel."""

    def __init__(self, truth):
        self.truth = truth

    def predict(self, images, generator, num_hypotheses):
        return self.truth[images[:, 0, 0, 0].long()][:, None].repeat(1, num_hypotheses, 1, 1)


class NoBaselines:
    def of_images(self, images, camera_position):
        return []

    def of_truth(self, truth):
        return []


@pytest.fixture
def found(tmp_path):
    """A `Tested` of a reader on six images, the action of each by turns walk and sit."""
    action = torch.arange(COUNT) % 2
    split = make_split(
        tmp_path / "test", COUNT, size=(64, 48), actions=("walk", "sit"), action=action.short()
    )
    reader = Contender("reader", "pose", Reader(split.take("pose")), in_detail=True)
    config = load_config(project_root() / "params.yaml")
    data = {"test": split, "test_occluded": split}
    return protocols.Tested(config, data, (reader,), NoBaselines())


def test_a_reader_errs_by_the_pose_of_the_image_half_a_split_away(found):
    rows = [r for r in action_rows(found) if r["metric"] == "mpjpe_mm"]
    own = {r["protocol"]: r["mean"] for r in rows if r["method"] == "reader"}
    assert own.keys() == {of_action("clean", action) for action in ("walk", "sit", MEAN_OF_ACTIONS)}
    assert max(own.values()) < 1e-3
    (exchanged,) = [
        r for r in rows if r["method"] == f"reader, {EXCHANGED}" and r["joints"] == "all"
    ]
    pose = found.data["test"].take("pose")
    wanted = (pose.roll(COUNT // 2, dims=0) - pose).norm(dim=-1).mean() * 1000
    assert exchanged["protocol"] == "clean"
    assert exchanged["mean"] == pytest.approx(wanted.item(), rel=1e-5)
