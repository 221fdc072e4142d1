"""The prepared data set: one format for every source, memory-mapped, never whole in memory.

A split is a folder of .npy arrays, one row an image, and `meta.json` with the format's
version, the names behind the subject and action numbers, and where the poses come from.
"""

from pathlib import Path

import numpy as np
import torch

from di2pose_lib.base.checks import check_pose, check_range, check_tensor, require
from di2pose_lib.base.files import read_json, write_json
from di2pose_lib.base.skeleton import NUM_JOINTS

FORMAT_VERSION = 2

# Of the colours that every image encoder here expects, red, green, blue, in [0, 1].
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)

META_KEYS = ("num_images", "image_size", "subjects", "actions")

# name of the prepared split -> (split of the source, share of images with an occluder)
SPLITS = {
    "train": ("train", None),  # None: data.train_occluder_share
    "validation": ("validation", None),
    "test": ("test", 0.0),
    "test_occluded": ("test", 1.0),  # the same images as `test`, with occluders
}

# name -> (dtype, shape of a row); "H" and "W" are the image's height and width.
FIELDS = {
    "image": ("uint8", (3, "H", "W")),  # RGB
    "pose": ("float32", (NUM_JOINTS, 3)),  # root-relative, camera frame, metres
    "root": ("float32", (3,)),  # pelvis in the camera frame, metres
    "joints_2d": ("float32", (NUM_JOINTS, 2)),  # pixels of the crop
    "visible": ("bool", (NUM_JOINTS,)),  # seen: in the image, behind nothing
    "covered": ("bool", (NUM_JOINTS,)),  # behind an occluder, or outside the image
    "intrinsics": ("float32", (4,)),  # fx, fy, cx, cy in pixels of the crop
    "camera_rotation": ("float32", (3, 3)),  # world to camera
    "camera_position": ("float32", (3,)),  # in the world, metres
    "camera": ("int16", ()),  # number of the camera in its ring
    "subject": ("int16", ()),  # index into meta's subjects
    "action": ("int16", ()),  # index into meta's actions
    "sequence": ("int32", ()),  # number of the clip
    "recording": ("int32", ()),  # what clips are cut from: those of one are not independent
    "frame": ("int32", ()),  # of the recording
}


def _row_shape(name, image_size):
    sizes = dict(zip("HW", image_size, strict=True))
    return tuple(sizes.get(size, size) for size in FIELDS[name][1])


class SplitWriter:
    """Fills a split's arrays from front to back; `close` checks that none is missing.

    Args:
        folder: does not exist yet.
        num_images: rows of the split.
        image_size: (H, W) in pixels.
        meta: a dict with the lists `subjects` and `actions`, and what else to note down.
    """

    def __init__(self, folder, num_images, image_size, meta):
        self.folder = Path(folder)
        self.size = num_images
        self.written = 0
        self.meta = {
            **meta,
            "format_version": FORMAT_VERSION,
            "num_images": num_images,
            "image_size": list(image_size),
        }
        self.folder.mkdir(parents=True)
        self.arrays = {
            name: np.lib.format.open_memmap(
                self.folder / f"{name}.npy",
                mode="w+",
                dtype=dtype,
                shape=(num_images, *_row_shape(name, image_size)),
            )
            for name, (dtype, _) in FIELDS.items()
        }

    def write(self, **rows):
        """Append rows: a tensor for each of `FIELDS`, same length.

        Raises:
            ValueError: other fields, more rows than there are images, another shape.
            TypeError: another kind of numbers, which the field could not hold as they are.
        """
        require(set(rows) == set(FIELDS), f"rows must name {sorted(FIELDS)}; got {sorted(rows)}")
        count = len(rows["image"])
        end = self.written + count
        require(end <= self.size, f"the split holds {self.size} images; got {end}")
        for name, tensor in rows.items():
            check_tensor(name, tensor, (count, *_row_shape(name, self.meta["image_size"])))
            np.copyto(self.arrays[name][self.written : end], tensor.numpy(), casting="safe")
        self.written = end

    def close(self):
        """Flush, and write `meta.json` last: a split without it is not a split."""
        require(self.written == self.size, f"wanted {self.size} images; got {self.written}")
        for array in self.arrays.values():
            array.flush()
        self.arrays.clear()
        write_json(self.folder / "meta.json", self.meta)


class PoseDataset:
    """A prepared split, opened for reading.

    Args:
        folder: where `SplitWriter` wrote it.

    Raises:
        ValueError: a missing or damaged file; one sentence with file, wanted, got.
    """

    def __init__(self, folder):
        self.folder = Path(folder)
        where = self.folder / "meta.json"
        meta = read_json(where)
        version = meta.get("format_version") if isinstance(meta, dict) else None
        require(
            version == FORMAT_VERSION,
            f"{where}: format_version must be {FORMAT_VERSION}; got {version}",
        )
        missing = [key for key in META_KEYS if key not in meta]
        require(not missing, f"{where} must hold {', '.join(META_KEYS)}; {missing} is missing")
        self.meta = meta
        self.subjects, self.actions = meta["subjects"], meta["actions"]
        self.image_size = tuple(meta["image_size"])
        self.arrays = {name: self._open(name) for name in FIELDS}

    def _open(self, name):
        path = self.folder / f"{name}.npy"
        try:
            array = np.lib.format.open_memmap(path, mode="r")  # never unpickles
        except Exception as error:  # numpy's reader of headers raises many kinds
            reason = str(error).splitlines()[0] if str(error) else type(error).__name__
            raise ValueError(f"{path} must be a .npy array; got {reason}") from None
        wanted = (len(self), *_row_shape(name, self.image_size))
        dtype = FIELDS[name][0]
        require(
            array.shape == wanted and array.dtype == dtype,
            f"{path} must hold {dtype} {wanted}; got {array.dtype} {array.shape}",
        )
        if array.dtype.kind == "f":
            require(np.isfinite(array).all(), f"{path} must be finite; got NaN or infinity")
        if name == "pose":
            check_pose(f"{path}", torch.from_numpy(np.array(array)), wanted)
        if name in ("subject", "action"):  # numbers of names
            last = len(self.meta[f"{name}s"]) - 1
            check_range(f"{path}", torch.from_numpy(np.array(array)), 0, last)
        return array

    def __len__(self):
        return self.meta["num_images"]

    def take(self, name, rows=slice(None)):
        """A copy of field `name` at `rows` (slice or int64 tensor), as a tensor."""
        require(name in FIELDS, f"`name` must be one of {sorted(FIELDS)}; got {name!r}")
        require(
            isinstance(rows, (slice, torch.Tensor)),
            f"`rows` must be a slice or an int64 tensor; got {type(rows).__name__}",
        )
        if isinstance(rows, torch.Tensor):
            check_tensor("rows", rows, ("n",), "int64")
            check_range("rows", rows, 0, len(self) - 1)  # numpy would take −1 for the last
            rows = rows.numpy()
        return torch.from_numpy(np.array(self.arrays[name][rows]))

    def subject_names(self):
        """Subject name of each image."""
        return [self.subjects[i] for i in self.arrays["subject"]]

    def action_names(self):
        """Action name of each image."""
        return [self.actions[i] for i in self.arrays["action"]]


def check_disjoint(**splits):
    """Refuse splits (name = subjects) that share a subject."""
    owner = {}
    for split, subjects in splits.items():
        for subject in sorted(set(subjects)):
            other = owner.setdefault(subject, split)
            require(
                other == split,
                f"splits must not share a subject; {subject} is in {other} and in {split}",
            )
