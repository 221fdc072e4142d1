"""AdvOcc's grid: the papers' numbers of positions, and pasting against loops."""

import pytest
import torch

from di2pose_lib.evaluation.patch_grid import counted_joints, paste, patch_grid


def test_the_reference_has_391_and_247_positions():
    at_40, at_80 = patch_grid(40, (256, 192)), patch_grid(80, (256, 192))
    assert (at_40.rows, at_40.columns, at_40.num_positions) == (23, 17, 391)
    assert (at_80.rows, at_80.columns, at_80.num_positions) == (19, 13, 247)
    assert (at_40.patch, at_40.stride, at_80.patch, at_80.stride) == (40, 10, 80, 10)
    assert at_40.name == "AdvOcc@40"


def test_3dnbf_s_square_images_have_400_and_256_positions_scaled_from_its_own_reference():
    # of 224 the patches 40 and 80 and the stride 10 are those of 256 times 224 / 256
    grid = patch_grid(40, (224, 224))
    assert (grid.patch, grid.stride) == (35, 9)
    assert grid.rows == 22  # ceil((224 − 35) / 9 + 1)


@pytest.mark.parametrize(
    ("size", "patch", "wanted"),
    [
        ((64, 48), 40, (10, 2, 28, 20)),  # the stride 2.5 is rounded to the even 2
        ((64, 48), 80, (20, 2, 23, 15)),
        ((128, 96), 40, (20, 5, 23, 17)),
        ((512, 384), 80, (160, 20, 19, 13)),
        ((16, 12), 40, (2, 1, 15, 11)),  # a stride is at least 1
    ],
)
def test_smaller_and_larger_images_scale_patch_and_stride(size, patch, wanted):
    grid = patch_grid(patch, size)
    assert (grid.patch, grid.stride, grid.rows, grid.columns) == wanted


@pytest.mark.parametrize("size", [(256, 192), (64, 48), (100, 80), (32, 24)])
@pytest.mark.parametrize("patch", [40, 80])
def test_the_patches_reach_every_pixel_and_none_starts_outside(size, patch):
    grid = patch_grid(patch, size)
    reached = torch.zeros(size, dtype=torch.bool)
    corners = [grid.corner(p) for p in range(grid.num_positions)]
    for top, left in corners:
        assert top < size[0] and left < size[1]
        reached[top : top + grid.patch, left : left + grid.patch] = True
    assert reached.all()
    assert corners[0] == (0, 0) and corners[1] == (0, grid.stride)
    assert corners[grid.columns] == (grid.stride, 0)
    # the last one is the first to reach the border
    assert corners[-1][0] + grid.patch >= size[0] > corners[-1][0] + grid.patch - grid.stride


def test_pasting_is_opaque_and_clipped_at_the_border():
    draw = torch.Generator().manual_seed(0)
    image = torch.randint(256, (3, 9, 7), generator=draw, dtype=torch.uint8)
    corners = [(0, 0), (6, 5), (3, 2), (8, 6)]
    patches = torch.randint(256, (4, 3, 4, 4), generator=draw, dtype=torch.uint8)
    before = image.clone()
    pasted = paste(image, patches, corners)
    assert torch.equal(image, before)
    for n, (top, left) in enumerate(corners):
        for channel in range(3):
            for row in range(9):
                for column in range(7):
                    inside = 0 <= row - top < 4 and 0 <= column - left < 4
                    expected = (
                        patches[n, channel, row - top, column - left]
                        if inside
                        else image[channel, row, column]
                    )
                    assert pasted[n, channel, row, column] == expected


def test_joints_strictly_under_the_patch_or_outside_the_image_do_not_count():
    # a patch of 4 at top 2, left 3 spans x in [2.5, 6.5] and y in [1.5, 5.5]
    joints = torch.tensor(
        [
            [4.0, 3.0],  # under it
            [2.5, 3.0],  # on its left edge
            [6.5, 3.0],  # on its right edge
            [4.0, 1.5],  # on its upper edge
            [4.0, 5.5],  # on its lower edge
            [2.51, 1.51],  # just under it
            [6.49, 5.49],
            [0.0, 0.0],
            [-0.5, -0.5],  # the image's corner
            [-0.6, 3.0],  # outside
            [9.5, 3.0],  # outside: ten columns end at 9.5
            [4.0, 12.0],
        ]
    )
    counted = counted_joints(joints, [(2, 3), (9, 0)], 4, (12, 10))
    assert counted[0].tolist() == [0, 1, 1, 1, 1, 0, 0, 1, 1, 0, 0, 0]
    assert counted[1].tolist() == [1] * 9 + [0, 0, 0]  # the patch is elsewhere


def test_bad_input_is_refused_in_one_sentence():
    with pytest.raises(ValueError, match="must be 1 to 48 pixels in an image of 64 × 48; got 50"):
        patch_grid(200, (64, 48))
    with pytest.raises(ValueError, match="got 0"):
        patch_grid(40, (3, 3))
    grid = patch_grid(40, (64, 48))
    with pytest.raises(ValueError, match=r"`position` must lie in \[0, 559\]; got 560"):
        grid.corner(560)
    with pytest.raises(ValueError, match="`image` must be uint8"):
        paste(torch.zeros(3, 4, 4), torch.zeros(1, 3, 2, 2, dtype=torch.uint8), [(0, 0)])
    with pytest.raises(ValueError, match="`patches` must have shape"):
        image = torch.zeros(3, 4, 4, dtype=torch.uint8)
        paste(image, torch.zeros(1, 3, 2, 2, dtype=torch.uint8), [(0, 0), (1, 1)])
