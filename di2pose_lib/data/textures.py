"""Textures of the patches that hide: pictures of a folder, or patterns made here.

Both kinds draw a *record*, a small dict for JSON, and rebuild from it the same pixels to the
bit. The patterns are made of integers alone, the same on every machine; those of pictures also
depend on the version of pillow.
"""

import functools
import os
from pathlib import Path

import torch

from di2pose_lib.base.checks import require
from di2pose_lib.base.files import file_digest, fingerprint, is_there

# The categories that 3DNBF keeps for testing; with the other 27 it trains.
# fmt: off
DTD_TEST_CATEGORIES = (
    "banded", "bubbly", "bumpy", "crosshatched", "frilly",
    "gauzy", "marbled", "matted", "paisley", "perforated",
    "pitted", "polka-dotted", "smeared", "spiralled", "sprinkled",
    "stained", "stratified", "striped", "swirly", "veined",
)
# fmt: on
SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp")
MOST_BYTES = 2**28  # of resized pictures kept in memory

FAMILIES = ("stripes", "checks", "dots", "noise", "woven")
DIRECTIONS = ((1, 0), (0, 1), (1, 1), (1, -1), (2, 1), (1, 2), (2, -1), (1, -2))


def open_textures(folder, image_side):
    """`PictureTextures` of a folder, or `PatternTextures` where `folder` is None."""
    return PatternTextures(image_side) if folder is None else PictureTextures(folder, image_side)


def _below(high, generator):
    return torch.randint(high, (), generator=generator).item()


def _check_size(size, image_side):
    require(
        1 <= size <= image_side,
        f"`size` must lie in [1, {image_side}], the image's side; got {size}",
    )


def _refuse_folder(error):
    raise ValueError(
        f"texture folder {error.filename} must be readable; got {error.strerror}"
    ) from None


class PictureTextures:
    """Patches from the pictures of a folder (DTD: the test categories alone).

    A picture is resized so that its shorter side equals the image's, and a patch is a random
    crop of it. A folder with `<category>/` of `DTD_TEST_CATEGORIES`, or with `images/` that
    holds them, counts as DTD; of any other all pictures are taken, subfolders too.

    Args:
        folder: of pictures.
        image_side: side of the images in pixels; for oblong ones their height.

    Raises:
        ValueError: no such folder, no picture in it, or one that cannot be read.
    """

    def __init__(self, folder, image_side):
        self.folder, self.image_side = Path(folder), image_side
        require(is_there(self.folder, folder=True), f"texture folder {folder} does not exist")
        self.files = self._list()
        require(
            len(self.files) > 0,
            f"texture folder {folder} must hold pictures ({' '.join(SUFFIXES)}); got none",
        )
        kept = max(1, MOST_BYTES // (6 * image_side**2))
        self._picture = functools.lru_cache(maxsize=kept)(self._read)

    def _list(self):
        categories = [
            base / category
            for base in (self.folder / "images", self.folder)
            for category in DTD_TEST_CATEGORIES
            if is_there(base / category, folder=True)
        ]
        return sorted(
            (Path(where) / name).relative_to(self.folder).as_posix()
            for root in categories or [self.folder]
            for where, _, names in os.walk(root, onerror=_refuse_folder)
            for name in names
            if Path(name).suffix.lower() in SUFFIXES
        )

    @property
    def identity(self):
        """What the draws depend on besides a generator, for JSON."""
        return {"pictures": len(self.files), "names": fingerprint(self.files)}

    def _read(self, name):
        """(uint8 (3, h, w) with the shorter side resized, SHA-256 of the file)."""
        from PIL import Image  # the core imports without pillow

        path = self.folder / name
        try:
            with Image.open(path) as opened:
                picture = opened.convert("RGB")
        except (OSError, SyntaxError, ValueError) as error:  # pillow raises each of them
            raise ValueError(f"texture {path} must be a picture; got {error}") from None
        scale = self.image_side / min(picture.size)
        size = [max(self.image_side, round(side * scale)) for side in picture.size]
        resized = picture.resize(size, resample=Image.Resampling.BILINEAR)
        pixels = torch.frombuffer(bytearray(resized.tobytes()), dtype=torch.uint8)
        pixels = pixels.view(size[1], size[0], 3).permute(2, 0, 1).contiguous()
        return pixels, file_digest(path)

    def draw(self, size, generator):
        """The record of a random patch of `size` pixels a side."""
        _check_size(size, self.image_side)
        name = self.files[_below(len(self.files), generator)]
        pixels, digest = self._picture(name)
        top, left = (_below(side - size + 1, generator) for side in pixels.shape[1:])
        return {"file": name, "sha256": digest, "top": top, "left": left, "size": size}

    def patch(self, record):
        """The pixels of a record, uint8 (3, size, size).

        Raises:
            ValueError: the file is missing, no picture, or not the one the record was drawn from.
        """
        require("file" in record, f"`record` must name a picture's file; got {sorted(record)}")
        pixels, digest = self._picture(record["file"])
        require(
            digest == record["sha256"],
            f"texture {record['file']} must be the file that was drawn; got another content",
        )
        top, left, size = (record[key] for key in ("top", "left", "size"))
        return pixels[:, top : top + size, left : left + size]


class PatternTextures:
    """Patches with patterns of `FAMILIES`, in two random colours (noise: any colours).

    Periods lie between 1/32 and 1/8 of the image's side, so patterns scale with the image.

    Args:
        image_side: side of the images in pixels; for oblong ones their height.
    """

    def __init__(self, image_side):
        require(image_side >= 1, f"`image_side` must be at least 1; got {image_side}")
        self.image_side = image_side

    @property
    def identity(self):
        """What the draws depend on besides a generator, for JSON."""
        return {"patterns": list(FAMILIES), "image_side": self.image_side}

    def draw(self, size, generator):
        """The record of a random patch of `size` pixels a side."""
        _check_size(size, self.image_side)
        family = FAMILIES[_below(len(FAMILIES), generator)]
        seed = _below(2**62, generator)
        return {"family": family, "seed": seed, "image_side": self.image_side, "size": size}

    def patch(self, record):
        """The pixels of a record, uint8 (3, size, size)."""
        family = record.get("family")
        require(family in FAMILIES, f"a record's family must be one of {FAMILIES}; got {family!r}")
        generator = torch.Generator().manual_seed(record["seed"])
        side, size = record["image_side"], record["size"]
        period = max(2, side // 32) + _below(max(1, side // 8 - side // 32 + 1), generator)
        colours = torch.randint(256, (2, 3), generator=generator)
        corner = torch.randint(side, (2,), generator=generator).tolist()
        along, across = DIRECTIONS[_below(len(DIRECTIONS), generator)]
        y = torch.arange(corner[0], corner[0] + size)[:, None]
        x = torch.arange(corner[1], corner[1] + size)[None]
        if family == "noise":
            grain = max(1, period // 2)
            cells = -(-size // grain)
            noise = torch.randint(256, (3, cells, cells), generator=generator)
            pixels = noise.repeat_interleave(grain, 1).repeat_interleave(grain, 2)
            return pixels[:, :size, :size].to(torch.uint8)
        share = _PATTERNS[family](x, y, period, along, across).expand(size, size)  # 0 … 255
        first, second = colours[:, :, None, None]
        return ((first * (255 - share) + second * share) // 255).to(torch.uint8)


# A pattern is the second colour's share in 255ths, of integer coordinates x (1, n), y (n, 1).


def _stripes(x, y, period, along, across):
    return 255 * ((along * x + across * y) // period % 2)


def _checks(x, y, period, along, across):
    u, v = along * x + across * y, along * y - across * x
    return 255 * ((u // period + v // period) % 2)


def _dots(x, y, period, along, across):
    # Twice the distance from the middle of a cell of 2 · period; every second row is shifted.
    row = y // (2 * period)
    u = 2 * ((x + period * (row % 2)) % (2 * period)) - 2 * period + 1
    v = 2 * (y % (2 * period)) - 2 * period + 1
    return 255 * (u * u + v * v < 2 * period**2)


def _woven(x, y, period, along, across):
    over = (x // period + y // period) % 2
    thread = 2 * torch.where(over.bool(), x % period, y % period) - period + 1  # from its middle
    shade = 255 - 160 * thread.abs() // period  # threads darken to their edges
    return torch.where(over.bool(), shade, 255 - shade)


_PATTERNS = {"stripes": _stripes, "checks": _checks, "dots": _dots, "woven": _woven}
