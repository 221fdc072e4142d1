"""What inpainting is worth: errors of known and unknown joints, against hand-made cases."""

import pytest
import torch
from small import encoder_config, make_split, measured, small_config, tokenizer_sizes

from di2pose_lib.base.skeleton import JOINT_NAMES
from di2pose_lib.diffusion import OccludeReplaceSchedule
from di2pose_lib.diffusion.denoiser import Denoiser, DenoiserConfig
from di2pose_lib.encoder.image_encoder import ImageEncoder
from di2pose_lib.evaluation import inpainting
from di2pose_lib.evaluation.estimators import PoseModel
from di2pose_lib.evaluation.inpainting import (
    CASES,
    INPAINTED,
    SAMPLE,
    Inpainted,
    image_errors,
    inpainted,
    inpainting_rows,
)
from di2pose_lib.evaluation.intervals import difference, interval
from di2pose_lib.evaluation.models import DI2POSE, RECONSTRUCTION, TOKENIZER
from di2pose_lib.evaluation.pictures import SPLITS
from di2pose_lib.tokens.tokenizer import PoseTokenizer

SIZE = (16, 16)  # of the images: 4 patches


def off(pose, millimetres):
    """`pose` (n, J, 3) with joints off by `millimetres` (n, J) along y; the pelvis stays."""
    moved = pose.clone()
    moved[..., 1] += torch.as_tensor(millimetres) / 1000
    return moved


@pytest.fixture
def by_hand(tmp_path):
    """Two images of three; joints 1 and 2 are known in the first, 1 to 15 in the second."""
    dataset = make_split(tmp_path / "test", 3)
    rows = torch.tensor([0, 2])
    truth = dataset.take("pose", rows)
    known = torch.zeros(2, 17, dtype=torch.bool)
    known[0, :3] = known[1, 1:16] = True  # the pelvis may be among them: it does not count
    sample, given, rebuilt = torch.zeros(3, 2, 17)
    sample[0, 1:], sample[1, 1:] = 100.0, 80.0
    given[0, 1], given[0, 2], given[0, 3:] = 10.0, 20.0, 60.0
    given[1, 1:16], given[1, 16] = 30.0, 90.0
    rebuilt[:, 1:] = 5.0
    named = {SAMPLE: sample, INPAINTED: given, RECONSTRUCTION: rebuilt}
    poses = {name: off(truth, millimetres) for name, millimetres in named.items()}
    return dataset, Inpainted(truth, known, poses, rows)


def test_errors_of_an_image_are_means_over_its_known_or_unknown_joints(by_hand):
    _, found = by_hand
    known, unknown = image_errors(found, "known"), image_errors(found, "unknown")
    assert known[INPAINTED].tolist() == pytest.approx([15, 30], abs=1e-3)
    assert unknown[INPAINTED].tolist() == pytest.approx([60, 90], abs=1e-3)
    assert known[SAMPLE].tolist() == pytest.approx([100, 80], abs=1e-3)
    assert unknown[RECONSTRUCTION].tolist() == pytest.approx([5, 5], abs=1e-3)


def test_rows_hold_the_means_of_known_and_unknown_joints(by_hand):
    dataset, given = by_hand
    rows = inpainting_rows("both legs", given, {"test": dataset}, small_config())
    assert measured(rows, joints="known", estimator=INPAINTED) == (near(22.5), 2)
    assert measured(rows, joints="unknown", estimator=SAMPLE) == (near(90), 2)
    assert measured(rows, joints="known", method=TOKENIZER) == (near(5), 2)
    assert set(rows.setting) == {"both legs known"} and set(rows.method) == {DI2POSE, TOKENIZER}
    assert rows.cluster.nunique() == 2  # recordings
    sample, inpainted = (rows[rows.estimator == name] for name in (SAMPLE, INPAINTED))
    change = interval(difference(inpainted, sample, on=["joints"]).query("joints == 'unknown'"))
    assert change[:3] == pytest.approx(((-40 + 10) / 2, -40, 10), abs=1e-3)


def near(value):
    """Of poses in float32."""
    return pytest.approx(value, abs=1e-3)


@pytest.fixture
def networks(tmp_path):
    """A small `PoseModel`, its encoder and two splits."""
    sizes = tokenizer_sizes(num_tokens=4, levels=(3, 3), width=8, decoder_width=8)
    visible = torch.ones(5, 17, dtype=torch.bool)
    visible[1, 4] = visible[2, 5:9] = visible[4, 1:] = False  # of image 4 the pelvis alone
    splits = {
        "test": make_split(tmp_path / "test", 3, size=SIZE),
        "test_occluded": make_split(tmp_path / "test_occluded", 5, size=SIZE, visible=visible),
    }
    with torch.random.fork_rng():
        torch.manual_seed(1)
        encoder = ImageEncoder(
            encoder_config(heads=1, heatmap_sigma=0.5),
            SIZE,
        ).eval()  # fmt: skip
        denoiser = Denoiser(
            DenoiserConfig(
                num_codes=9, num_tokens=4, num_steps=6, condition_tokens=4, condition_width=8,
                width=8, layers=1, heads=1,
            )
        ).eval()  # fmt: skip
        tokenizer = PoseTokenizer(sizes).eval()
    return PoseModel(denoiser, OccludeReplaceSchedule(9, 6), tokenizer, 3), encoder, splits


def test_legs_or_what_an_image_shows_are_known(networks):
    found = inpainted(*networks, "both legs", seed=0)
    assert found.rows.tolist() == [0, 1, 2]
    names = {name for name, known in zip(JOINT_NAMES, found.known[0], strict=True) if known}
    parts = ("hip", "knee", "ankle")
    assert names == {f"{side} {part}" for side in ("left", "right") for part in parts}
    found = inpainted(*networks, "visible joints", seed=0)
    assert found.rows.tolist() == [1, 2], "some joint known, some joint not"
    assert torch.equal(found.known, networks[2]["test_occluded"].take("visible", found.rows))
    assert torch.equal(found.truth, networks[2]["test_occluded"].take("pose", found.rows))
    assert set(found.poses) == {SAMPLE, INPAINTED, RECONSTRUCTION}
    for pose in found.poses.values():
        assert pose.shape == (2, 17, 3)


def test_an_image_has_the_same_draws_whatever_other_images_there_are(networks, monkeypatch):
    model, encoder, splits = networks
    everything = inpainted(model, encoder, splits, "both legs", seed=3)
    monkeypatch.setattr(inpainting, "IMAGES", 2)
    fewer = inpainted(model, encoder, splits, "both legs", seed=3)
    assert fewer.rows.tolist() == [0, 2]
    for name, pose in fewer.poses.items():
        torch.testing.assert_close(pose, everything.poses[name][[0, 2]])
    other = inpainted(model, encoder, splits, "both legs", seed=4)
    assert not torch.equal(other.poses[SAMPLE], fewer.poses[SAMPLE])


def test_the_cases_are_of_the_splits_that_are_evaluated():
    assert set(CASES.values()) == set(SPLITS)
