"""Clips of motion: balanced, repeatable, and from people whom no two splits share."""

import csv
import math
import os
import re
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from di2pose_lib.base.config_file import load_config
from di2pose_lib.base.skeleton import ACTIONS, bone_lengths
from di2pose_lib.data import mocap, mocap_index, sources
from di2pose_lib.data.dataset import PoseDataset, check_disjoint
from di2pose_lib.data.mocap import Recording
from di2pose_lib.data.mocap_index import Trial
from di2pose_lib.data.preparation import prepare_dataset
from di2pose_lib.data.sources import MocapSource, SyntheticSource

ROOT = Path(__file__).resolve().parents[2]


def same_clips(one, other):
    return all(
        a.subject == b.subject
        and a.action == b.action
        and torch.equal(a.joints, b.joints)
        and torch.equal(a.frames, b.frames)
        and a.recording == b.recording
        for a, b in zip(one, other, strict=True)
    )


# --- procedural


def synthetic(split, num_sequences, seed=0, num_frames=3):
    return list(SyntheticSource(seed).clips(split, num_sequences, num_frames, 2.0, seed))


@pytest.mark.parametrize(("split", "people"), [("train", 4), ("validation", 1), ("test", 22)])
def test_any_number_of_synthetic_clips_is_balanced_over_subjects_and_actions(split, people):
    for num_sequences in (people, 15 * people + 7):
        clips = synthetic(split, num_sequences, num_frames=1)
        assert len(clips) == num_sequences
        subjects = [clip.subject for clip in clips]
        actions = [clip.action for clip in clips]
        assert set(subjects) == set(SyntheticSource(0).subjects(split))
        assert max(map(subjects.count, subjects)) - min(map(subjects.count, subjects)) <= 1
        if num_sequences > people:  # each by each once, then a second round begins
            assert min(map(actions.count, ACTIONS)) >= people
            pairs = list(zip(subjects, actions, strict=True))
            assert len(set(pairs[:-7])) == 15 * people
            assert pairs[-7:] == pairs[:7]


def test_a_synthetic_clip_has_the_bones_of_its_subject_and_the_frames_asked_for():
    clips = synthetic("test", 24)
    for clip in clips:
        assert clip.joints.shape == (3, 17, 3)
        assert torch.equal(clip.frames, torch.arange(3))
        lengths = bone_lengths(clip.joints)
        torch.testing.assert_close(lengths, lengths[:1].expand_as(lengths))
    first, again = clips[0], clips[22]  # S9 in both
    assert first.subject == again.subject and first.action != again.action
    torch.testing.assert_close(bone_lengths(first.joints), bone_lengths(again.joints))
    assert not torch.allclose(bone_lengths(first.joints), bone_lengths(clips[1].joints))


def test_synthetic_clips_repeat_with_the_seed_and_differ_without_it():
    assert same_clips(synthetic("train", 9), synthetic("train", 9))
    one, other = synthetic("train", 9, seed=0), synthetic("train", 9, seed=1)
    assert not any(torch.allclose(a.joints, b.joints) for a, b in zip(one, other, strict=True))


def test_the_same_action_of_the_same_subject_in_another_round_is_another_motion():
    clips = synthetic("validation", 31)
    one, second, third = clips[0], clips[15], clips[30]
    assert one.action == second.action == third.action
    assert not torch.allclose(one.joints, second.joints)
    assert not torch.allclose(second.joints, third.joints)


def test_the_splits_of_the_synthetic_source_share_no_subject():
    source = SyntheticSource(0)
    splits = {split: source.subjects(split) for split in ("train", "validation", "test")}
    check_disjoint(**splits)
    assert splits["train"] == ("S1", "S5", "S6", "S7")
    assert splits["validation"] == ("S8",)
    assert splits["test"][:2] == ("S9", "S11") and len(splits["test"]) == 22


# --- motion capture: what it does with recordings, without files


JUMP = 2500  # where the longest of the recordings below jumps


class FakeMocap(MocapSource):
    """Two people in training, one of them recorded ten times as long, and one for test."""

    def __init__(self):
        self.root = Path("nowhere")
        self.trials = tuple(
            Trial(split, subject, f"{subject}_0{n}", "walk", frames, Path(name), None)
            for split, subject, n, frames, name in (
                ("train", "01", 1, 300, "a"),
                ("train", "02", 1, 3000, "b"),
                ("train", "02", 2, 1000, "c"),
                ("test", "03", 1, 40, "d"),
            )
        )


@pytest.fixture
def fake(monkeypatch):
    """The recordings have known joints: x rises by 1 mm a frame, each person has one height."""
    lengths = {"a": (300, 1.0), "b": (3000, 2.0), "c": (1000, 2.5), "d": (40, 3.0)}

    def read_trial(path, asf, num_frames):
        frames, height = lengths[str(path)]
        assert num_frames == frames
        joints = torch.zeros(frames, 17, 3, dtype=torch.float64)
        joints[..., 0] = 0.001 * torch.arange(frames)[:, None]  # walks along x
        joints[..., 2] = height
        joints[:, 1, 1] = 0.3  # a hip beside the pelvis
        number = torch.arange(frames)
        segment = (number >= JUMP).long()
        return Recording(str(path), joints, number, segment, 120.0, (JUMP - 1,), "asf")

    monkeypatch.setattr(mocap, "read_trial", read_trial)
    return FakeMocap()


def fake_clips(source, split="train", num_sequences=20, num_frames=5, fps=12.0, seed=0):
    return list(source.clips(split, num_sequences, num_frames, fps, seed))


def test_motion_capture_is_balanced_over_subjects_whatever_was_recorded_of_them(fake):
    clips = fake_clips(fake, num_sequences=200)
    assert [clip.subject for clip in clips] == ["01", "02"] * 100
    heights = [clip.joints[0, 0, 2].item() for clip in clips if clip.subject == "02"]
    assert set(heights) == {2.0, 2.5}  # within a subject, the longer trial more often
    assert heights.count(2.0) > 1.5 * heights.count(2.5)
    recordings = {(clip.joints[0, 0, 2].item(), clip.recording) for clip in clips}
    assert recordings == {(1.0, 0), (2.0, 1), (2.5, 2)}
    assert {clip.recording for clip in fake_clips(fake, "test")} == {0}  # counted in each split


def test_windows_have_an_even_stride_and_stay_within_the_recording(fake):
    for clip in fake_clips(fake):
        assert (clip.frames[1:] - clip.frames[:-1]).tolist() == [10] * 4  # 120 Hz to 12
        assert clip.frames[0] >= 0
        assert clip.frames[-1] < (300 if clip.subject == "01" else 3000)
    starts = [clip.frames[0].item() for clip in fake_clips(fake, num_sequences=60)[::2]]
    assert min(starts) < 60 and max(starts) > 200  # 0 … 259 for the 300 frames


def test_no_window_reaches_across_a_jump(fake):
    frames = torch.stack(
        [c.frames for c in fake_clips(fake, num_sequences=60) if "02" in c.subject]
    )
    assert ((frames < JUMP).all(dim=1) | (frames >= JUMP).all(dim=1)).all()
    assert (frames >= JUMP).any()
    wide = fake_clips(fake, num_sequences=60, fps=0.5)  # 960 frames: as many as fit one side
    for clip in (clip for clip in wide if clip.subject == "02"):
        assert (clip.frames < JUMP).all() or (clip.frames >= JUMP).all()


def test_a_trial_too_short_for_the_window_gives_a_shorter_stride(fake):
    for clip in fake_clips(fake, "test", 8):
        assert clip.frames[0] >= 0 and clip.frames[-1] <= 39
        strides = (clip.frames[1:] - clip.frames[:-1]).tolist()
        assert set(strides) <= {9, 10}  # 39 / 4 = 9.75
        assert clip.frames[-1] - clip.frames[0] == 39


def test_one_frame_alone_is_a_window(fake):
    frames = [clip.frames.tolist() for clip in fake_clips(fake, "test", 30, num_frames=1)]
    assert all(len(frame) == 1 and 0 <= frame[0] <= 39 for frame in frames)
    assert len({frame[0] for frame in frames}) > 5


def test_people_walk_on_the_spot_turned_about_the_vertical_alone(fake):
    angles = []
    for clip in fake_clips(fake):
        pelvis = clip.joints[:, 0]
        assert torch.allclose(pelvis, pelvis[:1].expand_as(pelvis))
        assert pelvis[:, :2].abs().max() <= 0.3
        assert pelvis[0, 2] in (1.0, 2.0, 2.5)  # heights stay
        hip = clip.joints[0, 1] - pelvis[0]
        assert hip.norm().item() == pytest.approx(0.3)
        assert hip[2] == 0
        angles.append(math.atan2(hip[1], hip[0]))
    assert max(angles) - min(angles) > math.pi


def test_motion_capture_clips_repeat_with_the_seed_and_differ_without_it(fake):
    assert same_clips(fake_clips(fake), fake_clips(fake))
    assert not same_clips(fake_clips(fake), fake_clips(fake, seed=1))
    longer = fake_clips(fake, num_sequences=30)
    assert same_clips(fake_clips(fake), longer[:20])  # more clips do not change the first


def test_the_subjects_of_a_split_are_those_of_the_index(fake):
    assert fake.subjects("train") == ("01", "02")
    assert fake.subjects("validation") == ()
    assert fake.subjects("test") == ("03",)


def test_every_file_is_read_once_and_before_the_first_clip(fake, monkeypatch):
    read = mocap.read_trial
    seen = []

    def counted(path, *rest):
        seen.append(str(path))
        return read(path, *rest)

    monkeypatch.setattr(mocap, "read_trial", counted)
    next(fake.clips("train", 20, 5, 12.0, 0))
    assert seen == ["a", "b", "c", "d"]
    fake_clips(fake), fake_clips(fake, "test")
    assert len(seen) == 4


def test_a_bad_test_file_is_refused_before_a_training_clip(fake, monkeypatch):
    read = mocap.read_trial

    def picky(path, *rest):
        if str(path) == "d":
            raise ValueError("d must be good; got bad")
        return read(path, *rest)

    monkeypatch.setattr(mocap, "read_trial", picky)
    with pytest.raises(ValueError, match="d must be good; got bad"):
        next(fake.clips("train", 20, 5, 12.0, 0))


# --- which source


def config_for(source):
    return SimpleNamespace(seed=3, data=SimpleNamespace(source=source))


def test_synthetic_needs_no_folder(monkeypatch):
    monkeypatch.setenv("DI2POSE_MOCAP_ROOT", "/nowhere")
    source = sources.open_source(config_for("synthetic"))
    assert isinstance(source, SyntheticSource) and source.seed == 3
    assert source.identity() == "synthetic"


def test_a_missing_motion_capture_folder_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setenv("DI2POSE_MOCAP_ROOT", str(tmp_path / "nowhere"))
    with pytest.raises(ValueError) as error:
        sources.open_source(config_for("mocap"))
    assert str(error.value) == (
        "data.source mocap needs a folder of BVH files in $DI2POSE_MOCAP_ROOT; "
        f"got {str(tmp_path / 'nowhere')!r}"
    )
    monkeypatch.setenv("DI2POSE_MOCAP_ROOT", "x" * 5000)
    with pytest.raises(
        ValueError, match="data.source mocap needs a folder of BVH files .* got '.*/xx"
    ):
        sources.open_source(config_for("mocap"))


def test_without_the_variable_the_folder_beside_the_repository_is_looked_for(monkeypatch, tmp_path):
    monkeypatch.delenv("DI2POSE_MOCAP_ROOT", raising=False)
    monkeypatch.setattr(sources, "project_root", lambda: tmp_path / "checkout")
    with pytest.raises(ValueError, match="shared/data/cmu"):
        sources.open_source(config_for("mocap"))


@pytest.mark.parametrize("given", ["~/motion capture", "home/motion capture", None])
def test_the_folder_may_begin_at_home_or_be_seen_from_the_top(monkeypatch, tmp_path, given):
    folder = tmp_path / "home" / "motion capture"
    folder.mkdir(parents=True)
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    monkeypatch.setattr(sources, "project_root", lambda: tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("DI2POSE_MOCAP_ROOT", given or str(folder))
    assert sources.mocap_root() == folder
    with pytest.raises(ValueError, match=f"{re.escape(str(folder))}/INDEX.csv"):
        sources.open_source(config_for("mocap"))


def test_a_folder_without_an_index_is_refused(monkeypatch, tmp_path):
    monkeypatch.setenv("DI2POSE_MOCAP_ROOT", str(tmp_path))
    with pytest.raises(ValueError, match="INDEX.csv"):
        sources.open_source(config_for("mocap"))


# --- real motion capture, where there is some


@pytest.fixture(scope="module")
def three_trials(tmp_path_factory):
    """A folder with one trial of each split, links to real files."""
    real = sources.mocap_root().resolve()
    if not (real / "INDEX.csv").is_file():
        pytest.skip(
            "no motion capture: DI2POSE_MOCAP_ROOT names no folder with INDEX.csv, and "
            "../shared/data/cmu is not there"
        )
    folder = tmp_path_factory.mktemp("mocap")
    with open(real / "INDEX.csv", newline="") as handle:
        rows = list(csv.DictReader(handle))
    chosen = [
        min(
            (row for row in rows if row["split"] == split),
            key=lambda row: int(row["frames_with_t_pose"]),
        )
        for split in ("train", "validation", "test")
    ]
    with open(folder / "INDEX.csv", "w", newline="") as handle:
        writer = csv.DictWriter(handle, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(chosen)
    for row in chosen:
        names = [row["path"], f"asf/{row['subject']}.asf"]
        for name in names:
            if (real / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                # hard links or copies: the index refuses a path that leads out of its folder
                try:
                    os.link(real / name, folder / name)
                except OSError:
                    (folder / name).write_bytes((real / name).read_bytes())
    return folder, chosen


def test_three_real_trials_go_through_data_preparation(three_trials, monkeypatch, tmp_path):
    folder, chosen = three_trials
    monkeypatch.setenv("DI2POSE_MOCAP_ROOT", str(folder))
    config = load_config(ROOT / "pipelines" / "smoke.yaml")
    settings = {
        **vars(config.data),
        "source": "mocap",
        "train_sequences": 3,
        "validation_sequences": 2,
        "test_sequences": 2,
        "frames_per_sequence": 4,
    }
    data_config = type(config.data)(**settings)
    source = sources.open_source(SimpleNamespace(seed=0, data=data_config))
    assert len(source.trials) == 3
    assert set(source.identity()) >= {"INDEX.csv", *(row["path"] for row in chosen)}
    prepare_dataset(tmp_path / "data", source, data_config, seed=0)
    sizes = {"train": 12, "validation": 8, "test": 4, "test_occluded": 4}
    for split, size in sizes.items():
        data = PoseDataset(tmp_path / "data" / split)
        row = chosen[("train", "validation", "test").index(split.removesuffix("_occluded"))]
        assert len(data) == size
        assert data.subject_names() == [row["subject"]] * size
        assert data.action_names() == [mocap_index.action_of(row["description"])] * size
        assert data.take("frame").max() < int(row["frames_with_t_pose"]) - 1
        assert 0.35 < bone_lengths(data.take("pose"))[:, 1].mean() < 0.5  # a thigh, metres
        assert data.take("visible").any(dim=1).all()
        assert data.take("image").float().std(dim=(1, 2, 3)).min() > 1  # pictures of something
    index = (folder / "INDEX.csv").read_text()
    count = chosen[2]["frames_with_t_pose"]
    (folder / "INDEX.csv").write_text(index.replace(f",{count},", f",{int(count) + 1},"))
    wrong = sources.open_source(SimpleNamespace(seed=0, data=data_config))
    name = Path(chosen[2]["path"]).name
    with pytest.raises(ValueError, match=f"{name} must hold .* {int(count) + 1}; got {count}"):
        prepare_dataset(tmp_path / "wrong", wrong, data_config, seed=0)
    assert not list((tmp_path / "wrong").rglob("meta.json"))  # not even of train
    (folder / chosen[0]["path"]).unlink()
    with pytest.raises(ValueError, match="INDEX.csv, line 2: wanted the path of a file inside"):
        sources.open_source(SimpleNamespace(seed=0, data=data_config))
