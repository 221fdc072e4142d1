"""The prepared data set's format: what is written comes back, what is damaged is refused."""

import json

import numpy as np
import pytest
import torch

from di2pose_lib.data import dataset
from di2pose_lib.data.dataset import FIELDS, PoseDataset, SplitWriter, check_disjoint

SIZE = (8, 6)
META = {"source": "synthetic", "split": "train", "subjects": ["S1", "S5"], "actions": ["Eating"]}


def rows(count, seed=0):
    """Random rows of every field."""
    generator = torch.Generator().manual_seed(seed)
    made = {}
    for name, (dtype, _) in FIELDS.items():
        shape = (count, *dataset._row_shape(name, SIZE))
        values = torch.randint(0, 2, shape, generator=generator)
        made[name] = values.to(getattr(torch, dtype))
    made["subject"] = torch.randint(0, 2, (count,), generator=generator).short()
    made["pose"] = torch.randn(count, 17, 3, generator=generator)
    made["action"] = torch.zeros(count, dtype=torch.int16)
    return made


@pytest.fixture
def split(tmp_path):
    """(folder, rows) of a split of 5 images, written in two parts."""
    writer = SplitWriter(tmp_path / "train", 5, SIZE, META)
    parts = [rows(3, seed=1), rows(2, seed=2)]
    for part in parts:
        writer.write(**part)
    writer.close()
    return tmp_path / "train", {k: torch.cat([part[k] for part in parts]) for k in FIELDS}


def test_what_is_written_comes_back_whole_and_by_rows(split):
    folder, written = split
    data = PoseDataset(folder)
    assert len(data) == 5
    assert data.image_size == SIZE
    for name in FIELDS:
        assert torch.equal(data.take(name), written[name]), name
        assert torch.equal(data.take(name, slice(1, 3)), written[name][1:3]), name
        picked = torch.tensor([4, 0, 4])
        assert torch.equal(data.take(name, picked), written[name][picked]), name
    assert data.subject_names() == [META["subjects"][i] for i in written["subject"].tolist()]
    assert data.action_names() == ["Eating"] * 5


def test_rows_are_copies_and_the_files_stay_on_disk(split):
    data = PoseDataset(split[0])
    data.take("pose")[:] = 0  # would fail, or write to the file, if it were no copy
    assert torch.equal(data.take("pose"), split[1]["pose"])
    assert all(isinstance(array, np.memmap) for array in data.arrays.values())


def test_equal_rows_make_equal_files(split, tmp_path):
    writer = SplitWriter(tmp_path / "again", 5, SIZE, META)
    writer.write(**split[1])
    writer.close()
    for path in split[0].iterdir():
        assert (tmp_path / "again" / path.name).read_bytes() == path.read_bytes(), path.name


def test_a_split_that_was_not_closed_is_no_split(tmp_path):
    writer = SplitWriter(tmp_path / "train", 5, SIZE, META)
    writer.write(**rows(3))
    with pytest.raises(ValueError, match="wanted 5 images; got 3"):
        writer.close()
    with pytest.raises(ValueError, match="meta.json does not exist"):
        PoseDataset(tmp_path / "train")


def test_the_writer_refuses_too_many_rows_and_other_fields(tmp_path):
    writer = SplitWriter(tmp_path / "train", 5, SIZE, META)
    writer.write(**rows(3))
    with pytest.raises(ValueError, match="the split holds 5 images; got 6"):
        writer.write(**rows(3))
    with pytest.raises(ValueError, match="rows must name"):
        writer.write(**{k: v for k, v in rows(1).items() if k != "pose"})
    with pytest.raises(ValueError, match="rows must name"):
        writer.write(**rows(1), extra=torch.zeros(1))


@pytest.mark.parametrize(
    ("name", "wrong", "sentence"),
    [
        ("image", torch.zeros(3, 3, *SIZE), "from .*float32.* to .*uint8.* according to .*'safe'"),
        ("camera", torch.zeros(3).long(), "from .*int64.* to .*int16.* according to .*'safe'"),
        ("root", torch.zeros(3, 3).double(), "from .*float64.* to .*float32.* according to"),
        ("pose", torch.zeros(1, 17, 3), r"`pose` must have shape \(3, 17, 3\); got \(1"),
        ("frame", torch.zeros(3, 1).int(), r"`frame` must have shape \(3,\); got \(3, 1"),
    ],
)
def test_rows_that_a_file_cannot_hold_as_they_are_are_refused(tmp_path, name, wrong, sentence):
    writer = SplitWriter(tmp_path / "train", 3, SIZE, META)
    with pytest.raises((TypeError, ValueError), match=sentence):
        writer.write(**{**rows(3), name: wrong})
    assert writer.written == 0


def test_a_truncated_array_is_refused_by_name(split):
    path = split[0] / "image.npy"
    whole = path.read_bytes()
    for kept in (0, 5, 100, len(whole) - 1):
        path.write_bytes(whole[:kept])
        with pytest.raises(ValueError, match="image.npy must be a .npy array; got"):
            PoseDataset(split[0])


def test_a_missing_array_is_refused_by_name(split):
    (split[0] / "visible.npy").unlink()
    with pytest.raises(ValueError, match="visible.npy must be a .npy array; got"):
        PoseDataset(split[0])


def test_an_array_of_objects_is_refused_without_unpickling(split):
    np.save(split[0] / "frame.npy", np.array([{}] * 5, dtype=object), allow_pickle=True)
    with pytest.raises(ValueError, match="frame.npy must be a .npy array; got"):
        PoseDataset(split[0])


def test_an_archive_under_the_name_of_an_array_is_refused(split):
    with open(split[0] / "pose.npy", "wb") as handle:
        np.savez(handle, pose=np.zeros((5, 17, 3), np.float32))
    with pytest.raises(ValueError, match="pose.npy must be a .npy array; got"):
        PoseDataset(split[0])


def test_a_damaged_header_is_refused_whatever_numpy_raises_of_it(split):
    path = split[0] / "pose.npy"
    whole = path.read_bytes()
    end = whole.index(b"\n")
    for header in (b"{", b"{[]: 1}", b"{'descr': '<f4', 'fortran_order': False, 'shape': (-5,)}"):
        path.write_bytes(whole[:10] + header.ljust(end - 10) + whole[end:])
        with pytest.raises(ValueError, match="pose.npy must be a .npy array; got") as refusal:
            PoseDataset(split[0])
        assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("value", [np.nan, np.inf])
@pytest.mark.parametrize("name", ["pose", "intrinsics"])
def test_numbers_that_are_not_finite_are_refused_by_file(split, name, value):
    array = np.load(split[0] / f"{name}.npy")
    array[4, ..., 2] = value
    np.save(split[0] / f"{name}.npy", array)
    with pytest.raises(ValueError, match=f"{name}.npy must be finite; got NaN or infinity"):
        PoseDataset(split[0])


@pytest.mark.parametrize(("name", "wrong", "last"), [("subject", 2, 1), ("action", -1, 0)])
def test_numbers_of_no_name_are_refused_by_file(split, name, wrong, last):
    array = np.load(split[0] / f"{name}.npy")
    array[3] = wrong
    np.save(split[0] / f"{name}.npy", array)
    with pytest.raises(ValueError, match=rf"{name}.npy` must lie in \[0, {last}\]; got {wrong}"):
        PoseDataset(split[0])


@pytest.mark.parametrize(
    "array",
    [np.zeros((4, 17, 3), np.float32), np.zeros((5, 16, 3), np.float32), np.zeros((5, 17, 3))],
)
def test_an_array_of_another_shape_or_kind_is_refused(split, array):
    np.save(split[0] / "pose.npy", array)
    with pytest.raises(ValueError, match=r"pose.npy must hold float32 \(5, 17, 3\); got"):
        PoseDataset(split[0])


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"format_version": 1}, "meta.json: format_version must be 2; got 1"),
        ({"format_version": None}, "meta.json: format_version must be 2; got None"),
        ({"subjects": ...}, r"meta.json must hold .*; \['subjects'\] is missing"),
        ({"num_images": ...}, r"meta.json must hold .*; \['num_images'\] is missing"),
        ({"num_images": 6}, r"image.npy must hold uint8 \(6, 3, 8, 6\); got uint8 \(5, 3, 8, 6\)"),
        ({"image_size": [6, 8]}, r"image.npy must hold uint8 \(5, 3, 6, 8\); got"),
    ],
)
def test_meta_data_that_does_not_fit_is_refused(split, change, sentence):
    path = split[0] / "meta.json"
    meta = json.loads(path.read_text())
    for key, value in change.items():
        if value is ...:
            del meta[key]
        else:
            meta[key] = value
    path.write_text(json.dumps(meta))
    with pytest.raises(ValueError, match=sentence):
        PoseDataset(split[0])


@pytest.mark.parametrize("text", ["", "[]", "{"])
def test_meta_data_of_another_kind_is_refused(split, text):
    (split[0] / "meta.json").write_text(text)
    with pytest.raises(ValueError, match="meta.json"):
        PoseDataset(split[0])


def test_unknown_fields_and_rows_outside_the_split_are_refused(split):
    data = PoseDataset(split[0])
    with pytest.raises(ValueError, match="`name` must be one of .* got 'depth'"):
        data.take("depth")
    for wrong in (-1, 5):
        with pytest.raises(ValueError, match=rf"`rows` must lie in \[0, 4\]; got {wrong}"):
            data.take("pose", torch.tensor([0, wrong]))
    for wrong in ([0, 1], 0, np.array([0]), None, ...):
        got = type(wrong).__name__
        with pytest.raises(
            ValueError, match=f"`rows` must be a slice or an int64 tensor; got {got}"
        ):
            data.take("pose", wrong)
    with pytest.raises(ValueError, match="`rows` must be int64"):
        data.take("pose", torch.tensor([0.0]))
    with pytest.raises(ValueError, match="`rows` must not be empty"):
        data.take("pose", torch.zeros(0, dtype=torch.int64))


def test_splits_that_share_a_subject_are_refused():
    check_disjoint(train=["S1", "S1", "S5"], validation=["S8"], test=["S9"])
    with pytest.raises(
        ValueError, match="splits must not share a subject; S5 is in train and in test"
    ):
        check_disjoint(train=["S1", "S5"], validation=["S8"], test=["S5"])


def test_every_split_of_the_data_set_comes_from_one_of_the_source():
    assert {of_source for of_source, _ in dataset.SPLITS.values()} == {
        "train",
        "validation",
        "test",
    }


def test_poses_in_millimetres_are_not_read(split):
    folder, written = split
    np.save(folder / "pose.npy", 1000 * written["pose"].numpy())
    with pytest.raises(ValueError, match="pose.npy` must be in metres"):
        PoseDataset(folder)
