"""Where adversarial occlusion puts its patch: a grid of positions over an image.

At the reference size 256 × 192 the patch has 40 or 80 pixels a side and the grid a stride of
10: AdvOcc@40 and AdvOcc@80, 23 × 17 = 391 and 19 × 13 = 247 positions. For other images patch
and stride are scaled by height / 256 and rounded as Python rounds (halves to even), as 3DNBF
does for its 224: at 64 × 48, patch 10 or 20 and stride 2, 28 × 20 = 560 and 23 × 15 = 345
positions, a little denser than the reference, for 2.5 is no stride. Corners start at 0; the
last patch of an axis is clipped at the border.
"""

from typing import NamedTuple

import torch

from di2pose_lib.base.checks import check_tensor, require
from di2pose_lib.data.occlusions import inside_image

REFERENCE_HEIGHT = 256
REFERENCE_STRIDE = 10


class PatchGrid(NamedTuple):
    """Positions of a square patch over images of one size; position p is row-major."""

    reference_patch: int
    """40 or 80 for AdvOcc@40 and @80: pixels a side at the reference size."""
    image_size: tuple
    """(h, w) in pixels."""
    patch: int
    """Pixels a side in images of this size."""
    stride: int
    rows: int
    columns: int

    @property
    def name(self):
        """AdvOcc@40 or its like."""
        return f"AdvOcc@{self.reference_patch}"

    @property
    def num_positions(self):
        """rows · columns."""
        return self.rows * self.columns

    def corner(self, position):
        """(top, left) pixel of the patch at `position` in [0, rows · columns)."""
        require(
            0 <= position < self.num_positions,
            f"`position` must lie in [0, {self.num_positions - 1}]; got {position}",
        )
        row, column = divmod(position, self.columns)
        return row * self.stride, column * self.stride


def patch_grid(reference_patch, image_size):
    """The `PatchGrid` of AdvOcc@`reference_patch` for images of (h, w).

    Raises:
        ValueError: a patch that is less than a pixel or larger than the image.
    """
    height, width = image_size
    scale = height / REFERENCE_HEIGHT
    patch, stride = round(reference_patch * scale), max(1, round(REFERENCE_STRIDE * scale))
    require(
        1 <= patch <= min(height, width),
        f"a patch of {reference_patch} at height {REFERENCE_HEIGHT} must be 1 to "
        f"{min(height, width)} pixels in an image of {height} × {width}; got {patch}",
    )
    rows, columns = (-(-(size - patch) // stride) + 1 for size in image_size)  # ceil
    return PatchGrid(reference_patch, (height, width), patch, stride, rows, columns)


def paste(image, patches, corners):
    """Copies of an image, each with an opaque patch, clipped at the border.

    Args:
        image: uint8 (3, h, w).
        patches: uint8 (n, 3, p, p).
        corners: n pairs (top, left), pixels ≥ 0.

    Returns:
        uint8 (n, 3, h, w).
    """
    sizes = check_tensor("image", image, (3, "h", "w"), "uint8")
    check_tensor("patches", patches, (len(corners), 3, "p", "p"), "uint8")
    pictures = image.repeat(len(corners), 1, 1, 1)
    for picture, patch, (top, left) in zip(pictures, patches, corners, strict=True):
        height, width = sizes["h"] - top, sizes["w"] - left
        window = picture[:, top : top + patch.shape[1], left : left + patch.shape[2]]
        window.copy_(patch[:, :height, :width])
    return pictures


def counted_joints(joints_2d, corners, patch, image_size):
    """Joints that count under a patch: in the image and not strictly inside the patch.

    A patch whose top left pixel is (top, left) spans [left − 0.5, left + patch − 0.5] × [top −
    0.5, top + patch − 0.5]; a joint on its edge counts. That a joint is hidden by the body or
    by things in the scene does not matter here.

    Args:
        joints_2d: float (J, 2), pixels.
        corners: n pairs (top, left).
        patch: pixels a side.
        image_size: (h, w).

    Returns:
        bool (n, J).
    """
    check_tensor("joints_2d", joints_2d, ("J", 2), "float")
    x, y = joints_2d.unbind(dim=-1)
    top, left = torch.tensor(corners).view(-1, 2, 1).unbind(dim=1)  # each (n, 1)
    under = (x > left - 0.5) & (x < left + patch - 0.5)
    under = under & (y > top - 0.5) & (y < top + patch - 0.5)
    return inside_image(joints_2d, image_size) & ~under
