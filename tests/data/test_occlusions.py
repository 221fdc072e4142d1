"""Mask and crop sweeps against explicit loops over cells and pixels."""

import pytest
import torch

from di2pose_lib.base.metrics import mpjpe_mm
from di2pose_lib.data.occlusions import (
    CELL_ROWS,
    CROP,
    MASK,
    MEAN_COLOUR,
    RATIOS,
    crop_mask,
    hidden_joints,
    inside_image,
    occluded,
    random_masks,
)

SIZE = (64, 48)  # cells of 8 pixels, 8 × 6


def some(count=5, size=SIZE, seed=0):
    """Random images, and joints of which some lie outside."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.randint(256, (count, 3, *size), generator=generator, dtype=torch.uint8)
    extent = torch.tensor([size[1], size[0]])
    joints = torch.rand(count, 17, 2, generator=generator) * (extent + 20) - 10
    return images, joints


def test_table_1_has_these_levels():
    assert RATIOS == {MASK: (0.0, 0.2, 0.4, 0.6, 0.8), CROP: (0.0, 0.1, 0.2, 0.3, 0.4)}


@pytest.mark.parametrize("size", [(64, 48), (256, 192), (32, 32)])
@pytest.mark.parametrize("ratio", [0.0, 0.2, 0.4, 0.6, 0.8, 0.999])
def test_a_mask_is_of_whole_cells_and_exactly_as_many_as_it_says(size, ratio):
    lost = random_masks(size, ratio, [1, 2, 3])
    side = size[0] // CELL_ROWS
    columns = size[1] // side
    for one in lost:
        taken = 0
        for row in range(CELL_ROWS):
            for column in range(columns):
                cell = one[row * side : (row + 1) * side, column * side : (column + 1) * side]
                assert cell.all() or not cell.any()
                taken += int(cell.all())
        assert taken == round(ratio * CELL_ROWS * columns)


@pytest.mark.parametrize("sweep", [MASK, CROP])
def test_what_is_lost_at_a_lower_ratio_is_lost_at_a_higher_one(sweep):
    ratios = [r / 20 for r in range(18)]
    masks = [
        random_masks(SIZE, r, [4, 5]) if sweep == MASK else crop_mask(SIZE, r)[None] for r in ratios
    ]
    for low, high in zip(masks, masks[1:], strict=False):
        assert not (low & ~high).any()
    assert not masks[0].any() and masks[0].sum() < masks[-1].sum()


def test_a_crop_keeps_the_middle_of_both_sides_as_a_loop_says():
    for size in [(10, 8), (64, 48), (7, 5)]:
        for ratio in (0.0, 0.1, 0.2, 0.3, 0.4, 0.5):
            lost = crop_mask(size, ratio)
            for row in range(size[0]):
                for column in range(size[1]):
                    kept = all(
                        ratio / 2 * s < place + 0.5 < s - ratio / 2 * s
                        for place, s in ((row, size[0]), (column, size[1]))
                    )
                    on_edge = any(
                        abs(ratio / 2 * s - place - 0.5) < 1e-9
                        or abs(s - ratio / 2 * s - place - 0.5) < 1e-9
                        for place, s in ((row, size[0]), (column, size[1]))
                    )
                    assert on_edge or bool(lost[row, column]) != kept
    kept = ~crop_mask((10, 8), 0.4)  # 6 of 10 rows; of 8 columns 4.8: the middle 4
    assert kept.sum().item() == 6 * 4 and kept[2:8, 2:6].all()
    assert torch.equal(kept, kept.flip(0)) and torch.equal(kept, kept.flip(1))


@pytest.mark.parametrize("sweep", [MASK, CROP])
def test_lost_pixels_have_the_mean_colour_and_the_others_are_untouched(sweep):
    images, joints = some()
    seeds = [3, 1, 4, 1, 5]
    result = occluded(sweep, 0.4, images, joints, seeds)
    for i, seed in enumerate(seeds):
        lost = random_masks(SIZE, 0.4, [seed])[0] if sweep == MASK else crop_mask(SIZE, 0.4)
        assert (result.images[i].permute(1, 2, 0)[lost] == torch.tensor(MEAN_COLOUR)).all()
        assert torch.equal(result.images[i][:, ~lost], images[i][:, ~lost])
    assert torch.equal(result.images[1], occluded(sweep, 0.4, *some(), seeds).images[1])


def test_an_image_s_mask_depends_on_its_own_seed_alone():
    masks = random_masks(SIZE, 0.4, [7, 8, 7])
    assert torch.equal(masks[0], masks[2]) and not torch.equal(masks[0], masks[1])
    assert torch.equal(masks[1], random_masks(SIZE, 0.4, [8])[0])
    images, joints = some(3)
    by_generator = [
        occluded(MASK, 0.4, images, joints, torch.Generator().manual_seed(s)).images
        for s in (1, 1, 2)
    ]
    assert torch.equal(by_generator[0], by_generator[1])
    assert not torch.equal(by_generator[0], by_generator[2])


def test_every_cell_is_masked_about_equally_often():
    share = random_masks(SIZE, 0.4, list(range(2000))).float().mean(dim=0)
    assert share.min() > 0.33 and share.max() < 0.47  # 19 of 48 cells; σ = 0.011


def test_hidden_joints_are_those_whose_pixel_is_lost_or_that_lie_outside():
    images, joints = some(seed=3)
    joints[0, :4] = torch.tensor([[-0.5, -0.5], [-0.51, 3.0], [47.49, 63.49], [47.5, 3.0]])
    lost = random_masks(SIZE, 0.4, [1, 2, 3, 4, 5])
    lost[0, 0, 0] = lost[0, 63, 47] = False
    hidden = hidden_joints(joints, lost)
    assert hidden[0, :4].tolist() == [False, True, False, True]
    for i in range(5):
        for j in range(17):
            x, y = joints[i, j].tolist()
            expected = True
            for row in range(SIZE[0]):
                for column in range(SIZE[1]):
                    here = row - 0.5 <= y < row + 0.5 and column - 0.5 <= x < column + 0.5
                    if here:
                        expected = bool(lost[i, row, column])
            assert bool(hidden[i, j]) == expected, (x, y)


def test_a_model_of_2d_joints_sees_the_visible_ones_and_the_centre_for_the_others():
    images, joints = some()
    result = occluded(MASK, 0.6, images, joints, [1, 2, 3, 4, 5])
    assert result.hidden.any() and not result.hidden.all()
    assert torch.equal(result.joints_2d[~result.hidden], joints[~result.hidden])
    assert (result.joints_2d[result.hidden] == torch.tensor([23.5, 31.5])).all()


@pytest.mark.parametrize("sweep", [MASK, CROP])
def test_ratio_0_changes_no_pixel_and_hides_only_joints_outside(sweep):
    images, joints = some()
    result = occluded(sweep, 0.0, images, joints, [1, 2, 3, 4, 5])
    assert torch.equal(result.images, images)
    assert torch.equal(result.hidden, ~inside_image(joints, SIZE)) and result.hidden.any()


def test_a_mask_that_leaves_no_joint_has_no_error_over_visible_joints():
    images, _ = some(2)
    joints = torch.full((2, 17, 2), 20.0)
    joints[0] = torch.tensor([3.0, 3.0])
    lost = torch.zeros(2, *SIZE, dtype=torch.bool)
    lost[0, :8, :8] = True
    visible, pose = ~hidden_joints(joints, lost), torch.zeros(2, 17, 3)
    with pytest.raises(ValueError, match=r"must keep a joint in every pose; poses \[0\] have none"):
        mpjpe_mm(pose, pose, visible)


def test_bad_input_is_refused_in_one_sentence():
    images, joints = some(2)
    for sweep in (MASK, CROP):
        for ratio in (-0.1, 1.0, float("nan")):
            with pytest.raises(ValueError, match=r"`ratio` must lie in \[0, 1\); got"):
                occluded(sweep, ratio, images, joints, [1, 2])
    with pytest.raises(ValueError, match="`sweep` must be one of mask, crop; got 'blur'"):
        occluded("blur", 0.2, images, joints, [1, 2])
    with pytest.raises(ValueError, match="8 rows of them; got 60 × 48"):
        occluded(MASK, 0.2, images[:, :, :60], joints, [1, 2])
    with pytest.raises(ValueError, match="8 rows of them; got 64 × 47"):
        occluded(MASK, 0.2, images[..., :47], joints, [1, 2])
    with pytest.raises(ValueError, match="`seeds` must hold 2 seeds; got 1"):
        occluded(MASK, 0.2, images, joints, [1])
    with pytest.raises(ValueError, match="`ratio` must leave a pixel of 64 × 48; got 0.99"):
        occluded(CROP, 0.99, images, joints, [1, 2])
    with pytest.raises(ValueError, match="`joints_2d` must have shape"):
        occluded(CROP, 0.2, images, joints[:1], [1, 2])
