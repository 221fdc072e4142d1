"""Random mask and crop sweeps, after HiPART's Table 1: what is taken from a picture.

The papers name ratios and say no more. Here, with pixels as in `camera` (an image of width w
spans [−0.5, w − 0.5]):

- **mask**, ratio r: the image is a grid of square cells, `CELL_ROWS` of them one above the
  other (32 px at 256 × 192), and exactly round(r · cells) of them, drawn at random for each
  image, are filled with the mean colour.
- **crop**, ratio r: of the height and of the width the outer share r is lost, r / 2 at each
  end, as if the picture had been cropped; it is filled with the mean colour and not enlarged
  again, so that joints and camera stay where they are. Other readings fit Table 1 less: its
  errors hardly move up to 0.2, where this reading takes just the margin of a crop around a
  person (1.25 times its box), a random side would take limbs, and a share r of the *area*
  would still take nothing at 0.3.

Both are nested: what is lost at 0.2 is lost at 0.4 too, for the same seed, so a curve over the
ratios follows one and the same loss as it grows. The mean colour is ImageNet's, 0 for the
encoder. A model that takes 2D joints is not told of the joints hidden there. A mask of 0.8 may
hide all joints of an image: such an image has an error over all joints, and none over visible
ones, which `metrics` refuses.
"""

from typing import NamedTuple

import torch

from di2pose_lib.base.checks import check_tensor, require
from di2pose_lib.base.seeding import generator_for, image_seeds
from di2pose_lib.data.camera import inside_image
from di2pose_lib.data.dataset import IMAGENET_MEAN

CELL_ROWS = 8
MEAN_COLOUR = tuple(round(255 * channel) for channel in IMAGENET_MEAN)

MASK, CROP = "mask", "crop"
RATIOS = {MASK: (0.0, 0.2, 0.4, 0.6, 0.8), CROP: (0.0, 0.1, 0.2, 0.3, 0.4)}  # of Table 1


class Occluded(NamedTuple):
    """Images after a sweep's loss, and what is left of their joints."""

    images: torch.Tensor  # uint8 (B, 3, h, w)
    joints_2d: torch.Tensor  # float (B, J, 2), pixels; hidden joints lie at the image's centre
    hidden: torch.Tensor  # bool (B, J): where a joint lies in what is lost, or outside the image


def occluded(sweep, ratio, images, joints_2d, seeds):
    """Images and 2D joints after one level of a sweep.

    Args:
        sweep: "mask" or "crop".
        ratio: in [0, 1); `RATIOS` holds Table 1's.
        images: uint8 (B, 3, h, w), RGB.
        joints_2d: float (B, J, 2), pixels of the image.
        seeds: a list of B ints, or a torch.Generator that draws them; image i's cells depend
            on its seed alone. A crop draws nothing.

    Returns:
        an `Occluded`.

    Raises:
        ValueError: another sweep, ratio or shape, a size that no square cells fill, or a crop
            that leaves no pixel.
    """
    sizes = check_tensor("images", images, ("B", 3, "h", "w"), "uint8")
    check_tensor("joints_2d", joints_2d, (sizes["B"], "J", 2), "float")
    require(sweep in RATIOS, f"`sweep` must be one of {', '.join(RATIOS)}; got {sweep!r}")
    require(0 <= ratio < 1, f"`ratio` must lie in [0, 1); got {ratio}")
    image_size = (sizes["h"], sizes["w"])
    if sweep == MASK:
        lost = random_masks(image_size, ratio, image_seeds(seeds, sizes["B"]))
    else:
        lost = crop_mask(image_size, ratio).expand(sizes["B"], -1, -1)
    hidden = hidden_joints(joints_2d, lost)
    colour = torch.tensor(MEAN_COLOUR, dtype=torch.uint8)[:, None, None]
    filled = torch.where(lost[:, None], colour, images)
    return Occluded(filled, without_hidden(joints_2d, hidden, image_size), hidden)


def random_masks(image_size, ratio, seeds):
    """What a mask of `ratio` takes from images of a size: bool (B, h, w).

    An image's seed puts its cells in an order, and the first round(ratio · cells) are taken.

    Args:
        image_size: (h, w); h a multiple of `CELL_ROWS`, and w of a cell's side.
        ratio: in [0, 1).
        seeds: a list of B ≥ 1 ints.
    """
    height, width = image_size
    side = height // CELL_ROWS
    require(
        height % CELL_ROWS == 0 and side > 0 and width % side == 0,
        f"images must be a grid of square cells, {CELL_ROWS} rows of them; got {height} × {width}",
    )
    columns = width // side
    cells = CELL_ROWS * columns
    taken = torch.zeros(len(seeds), cells, dtype=torch.bool)
    for row, seed in zip(taken, seeds, strict=True):
        order = torch.randperm(cells, generator=generator_for(seed, "mask"))
        row[order[: round(ratio * cells)]] = True
    grid = taken.view(len(seeds), CELL_ROWS, columns)
    return grid.repeat_interleave(side, dim=1).repeat_interleave(side, dim=2)


def crop_mask(image_size, ratio):
    """What a crop of `ratio` takes from an image of a size: bool (h, w).

    A pixel is kept whose centre lies in the middle share 1 − ratio of both sides.
    """
    kept = []
    for size in image_size:
        from_middle = (torch.arange(size, dtype=torch.float64) - (size - 1) / 2).abs()
        kept.append(from_middle < (1 - ratio) * size / 2)
    kept = kept[0][:, None] & kept[1]
    require(
        bool(kept.any()),
        f"`ratio` must leave a pixel of {image_size[0]} × {image_size[1]}; got {ratio}",
    )
    return ~kept


def hidden_joints(joints_2d, lost):
    """Joints whose pixel is lost or lies outside the image, bool (B, J).

    Args:
        joints_2d: float (B, J, 2), pixels.
        lost: bool (B, h, w).
    """
    batch, height, width = lost.shape
    outside = ~inside_image(joints_2d, (height, width))
    column, row = (joints_2d + 0.5).floor().long().unbind(dim=-1)
    column, row = column.clamp(0, width - 1), row.clamp(0, height - 1)
    return lost[torch.arange(batch)[:, None], row, column] | outside


def without_hidden(joints_2d, hidden, image_size):
    """`joints_2d` with hidden ones at the image's centre, 0 in a lifter's coordinates.

    Args:
        joints_2d: float (B, J, 2), pixels.
        hidden: bool (B, J).
        image_size: (h, w).
    """
    height, width = image_size
    centre = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=joints_2d.dtype)
    return torch.where(hidden[..., None], centre, joints_2d)
