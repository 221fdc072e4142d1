"""Stage 01 on a tiny data set: what its fields promise each other."""

import dataclasses
import hashlib
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from other_machine import OTHER_MACHINE

from di2pose_lib.base.config_file import load_config
from di2pose_lib.base.skeleton import bone_lengths
from di2pose_lib.data import preparation
from di2pose_lib.data.camera import project
from di2pose_lib.data.dataset import FIELDS, SPLITS, PoseDataset
from di2pose_lib.data.preparation import prepare_dataset, prepare_split
from di2pose_lib.data.sources import Clip, SyntheticSource

ROOT = Path(__file__).resolve().parents[2]
SMOKE = load_config(ROOT / "pipelines" / "smoke.yaml").data
TINY = dataclasses.replace(
    SMOKE,
    train_sequences=10,
    validation_sequences=3,
    test_sequences=23,
    frames_per_sequence=3,
    test_frames_per_sequence=2,
    train_occluder_share=0.5,
)


def prepare(folder, config=TINY, seed=0):
    prepare_dataset(folder, SyntheticSource(seed), config, seed)
    return {split: PoseDataset(folder / split) for split in SPLITS}


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    return prepare(tmp_path_factory.mktemp("data") / "tiny")


def test_every_split_has_its_size_its_subjects_and_its_actions(data):
    assert {name: len(split) for name, split in data.items()} == {
        "train": 30,
        "validation": 9,
        "test": 46,
        "test_occluded": 46,
    }
    for name, split in data.items():
        source_split = SPLITS[name][0]
        assert tuple(split.subjects) == SyntheticSource(0).subjects(source_split)
        assert split.meta["split"] == name and split.meta["source"] == "synthetic"
    assert set(data["test"].subject_names()) == set(data["test"].subjects)
    per_subject = data["train"].take("subject").bincount(minlength=4).tolist()
    assert sorted(per_subject) == [6, 6, 9, 9]  # 10 clips of 3 frames over 4 people


def test_sequences_and_frames_count_up(data):
    train = data["train"]
    assert train.take("sequence").tolist() == [n for n in range(10) for _ in range(3)]
    assert train.take("frame").tolist() == list(range(3)) * 10
    for name in ("subject", "action", "camera"):  # one of each for a whole sequence
        assert (train.take(name).view(10, 3) == train.take(name).view(10, 3)[:, :1]).all(), name


def test_projecting_the_stored_pose_gives_the_stored_joints_of_the_image(data):
    for name, split in data.items():
        joints = split.take("pose") + split.take("root")[:, None]
        pixels = project(joints, split.take("intrinsics"))
        torch.testing.assert_close(pixels, split.take("joints_2d"), atol=1e-3, rtol=0, msg=name)
        height, width = split.image_size
        assert (pixels > -0.5).all()  # the crop holds the person
        assert (pixels < torch.tensor([width - 0.5, height - 0.5])).all()


def test_the_stored_camera_gives_back_joints_in_the_world(data):
    train = data["train"]
    rotation, position = train.take("camera_rotation"), train.take("camera_position")
    eye = torch.eye(3).expand(len(train), 3, 3)
    torch.testing.assert_close(rotation @ rotation.transpose(1, 2), eye, atol=1e-5, rtol=0)
    joints = train.take("pose") + train.take("root")[:, None]
    world = joints @ rotation + position[:, None]  # x_world = Rᵀ x_camera + position
    source = list(SyntheticSource(0).clips("train", 10, 3, TINY.frames_per_second, 0))
    drawn = torch.cat([clip.joints for clip in source]).float()
    torch.testing.assert_close(world, drawn, atol=1e-4, rtol=0)


def test_the_pelvis_is_the_origin_and_lies_on_the_optical_axis(data):
    for split in data.values():
        assert not split.take("pose")[:, 0].any()
        root = split.take("root")
        assert root[:, :2].abs().max() < 1e-5
        assert (root[:, 2] > 3).all()  # in front of the camera, which stands metres away


def test_each_camera_stands_on_the_ring_of_its_split(data):
    for name, ring in (("train", TINY.train_cameras), ("test", TINY.test_cameras)):
        position, camera = data[name].take("camera_position"), data[name].take("camera")
        azimuth = torch.rad2deg(torch.atan2(position[:, 1], position[:, 0])) % 360
        wanted = torch.tensor(ring.azimuths_deg)[camera.long()]
        torch.testing.assert_close(azimuth, wanted, atol=1e-3, rtol=0)
        assert (position[:, 2] - ring.height).abs().max() < 1e-5
        assert len(camera.unique()) > 1, "one camera sees everything"


def test_test_and_test_occluded_differ_in_the_picture_and_its_visibility_alone(data):
    clean, hidden = data["test"], data["test_occluded"]
    for name in FIELDS:
        same = torch.equal(clean.take(name), hidden.take(name))
        assert same == (name not in ("image", "visible", "covered")), name
    changed = (clean.take("image") != hidden.take("image")).flatten(1).any(dim=1)
    assert changed.float().mean() > 0.95  # an occluder may lie where it hides nothing


def test_an_occluder_only_hides(data):
    clean, hidden = data["test"], data["test_occluded"]
    assert not clean.take("covered").any()
    covered = hidden.take("covered")
    assert torch.equal(hidden.take("visible"), clean.take("visible") & ~covered)
    assert not (covered & hidden.take("visible")).any()
    assert 0.05 < covered.float().mean() < 0.8


def test_as_many_training_images_have_an_occluder_as_the_parameters_say(tmp_path):
    config = dataclasses.replace(TINY, train_sequences=200, frames_per_sequence=1)
    covered = {}
    for share in (0.0, 0.5, 1.0):
        folder = tmp_path / str(share)
        settings = dataclasses.replace(config, train_occluder_share=share)
        prepare_split(folder, "train", SyntheticSource(0), settings, 0)
        covered[share] = PoseDataset(folder).take("covered").any(dim=1).float().mean().item()
    assert covered[0.0] == 0
    assert 0.6 * covered[1.0] > covered[0.5] > 0.4 * covered[1.0]
    assert covered[1.0] > 0.7


def test_bones_keep_their_length_within_a_subject(data):
    length, owner = bone_lengths(data["test"].take("pose")), data["test"].take("subject")
    for subject in owner.unique():
        lengths = length[owner == subject]
        assert (lengths.amax(dim=0) - lengths.amin(dim=0)).max() < 1e-5


def digests(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


ELSEWHERE = """
import sys
from pathlib import Path

from test_preparation import prepare

prepare(Path(sys.argv[1]))
"""


def test_another_machine_gives_the_same_poses_and_images_but_for_a_rare_last_digit(data, tmp_path):
    """Where its networks are others: of some 400,000 numbers of images one was off by 1."""
    path = os.pathsep.join(map(str, (ROOT, ROOT / "tests", ROOT / "tests" / "data")))
    subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(tmp_path / "again")],
        env={**os.environ, **OTHER_MACHINE, "MKL_CBWR": "COMPATIBLE", "PYTHONPATH": path},
        check=True,
    )
    ours, theirs = digests(data["train"].folder.parent), digests(tmp_path / "again")
    assert set(ours) == set(theirs)
    other = {name for name in ours if ours[name] != theirs[name]}
    assert other <= {f"{split}/image.npy" for split in SPLITS}
    for split, here in data.items():
        again = PoseDataset(tmp_path / "again" / split)
        apart = (here.take("image").int() - again.take("image").int()).abs()
        assert apart.max() <= 1 and apart.float().mean() < 1e-4


def test_the_same_seed_gives_the_same_bytes_and_another_one_other_pictures(data, tmp_path):
    torch.manual_seed(123)  # of no consequence
    prepare(tmp_path / "again")
    first = digests(data["train"].folder.parent)
    assert digests(tmp_path / "again") == first
    prepare(tmp_path / "other", seed=1)
    other = digests(tmp_path / "other")
    assert set(other) == set(first)
    assert other["train/image.npy"] != first["train/image.npy"]
    assert other["test/pose.npy"] != first["test/pose.npy"]


def test_images_rendered_in_several_batches_are_as_many_and_as_repeatable(tmp_path, monkeypatch):
    monkeypatch.setattr(preparation, "FRAMES_AT_ONCE", 7)
    made = [tmp_path / "one", tmp_path / "two"]
    for folder in made:
        prepare_split(folder, "train", SyntheticSource(0), TINY, 0)
    assert digests(made[0]) == digests(made[1])
    train = PoseDataset(made[0])
    assert train.take("sequence").tolist() == [n for n in range(10) for _ in range(3)]
    joints = train.take("pose") + train.take("root")[:, None]
    pixels = project(joints, train.take("intrinsics"))
    torch.testing.assert_close(pixels, train.take("joints_2d"), atol=1e-3, rtol=0)


# --- refusals


class Scripted:
    """A source with given subjects; hands out its clips as they are."""

    actions = ("Walking",)

    def __init__(self, subjects, clips=()):
        self.of_split, self.given = subjects, clips

    def subjects(self, split):
        return self.of_split[split]

    def clips(self, *arguments):
        yield from self.given


def test_splits_that_share_a_subject_are_refused_before_anything_is_written(tmp_path):
    shared = Scripted({"train": ("S1", "S5"), "validation": ("S8",), "test": ("S9", "S5")})
    with pytest.raises(ValueError, match="must not share a subject; S5 is in train and in test"):
        prepare_dataset(tmp_path / "data", shared, TINY, 0)
    assert not (tmp_path / "data").exists()


def source_of(num_clips):
    """One training subject, and as many clips of three frames, whatever is asked for."""
    clip = next(SyntheticSource(0).clips("train", 1, 3, 2.0, 0))
    clip = Clip("S1", "Walking", clip.joints, clip.frames, 0)
    return Scripted({"train": ("S1",)}, [clip] * num_clips)


def test_a_source_that_ends_too_early_leaves_no_split(tmp_path):
    source = source_of(4)
    with pytest.raises(ValueError, match="wanted 30 images; got 12"):
        prepare_split(tmp_path / "train", "train", source, TINY, 0)
    with pytest.raises(ValueError, match="meta.json does not exist"):
        PoseDataset(tmp_path / "train")


def test_a_source_that_gives_too_much_is_refused(tmp_path):
    source = source_of(11)
    with pytest.raises(ValueError, match="the split holds 30 images; got 33"):
        prepare_split(tmp_path / "train", "train", source, TINY, 0)


def test_a_person_straight_below_a_camera_is_refused():
    ring = SimpleNamespace(azimuths_deg=(0.0,), radius=2.0, height=3.0)
    clip = next(SyntheticSource(0).clips("train", 1, 3, 2.0, 0))
    under = clip.joints - clip.joints[:, :1] + torch.tensor([2.0, 0.0, 1.0])
    under = clip._replace(joints=under.to(clip.joints))
    with pytest.raises(ValueError, match="must not lie straight above or below"):
        preparation.film_clips([under], 0, ring, (64, 48), 0.0, 0, "train")
