"""The image encoder: shapes, its patches, its heatmap teacher, and weights from outside."""

import dataclasses
import math
import typing

import pytest
import torch
from small import encoder_config, optimizer

from di2pose_lib.base.config import EncoderConfig
from di2pose_lib.encoder import image_encoder as module
from di2pose_lib.encoder.image_encoder import (
    HeatmapHead,
    ImageEncoder,
    checkpoint_digests,
    heatmap_joints,
    heatmap_loss,
)

SIZE, PATCH, WIDTH = (32, 24), 8, 16
GRID = (4, 3)

SMALL = encoder_config(patch_size=PATCH, width=WIDTH, layers=2, optimizer=optimizer())


def images(count=2, size=SIZE, seed=0):
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(0, 256, (count, 3, *size), generator=generator, dtype=torch.uint8)


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return ImageEncoder(SMALL, SIZE).eval()


def test_images_become_a_sequence_of_features(small):
    with torch.no_grad():
        features = small(images(3))
    assert small.grid == GRID
    assert small.feature_shape == (12, WIDTH)
    assert features.shape == (3, 12, WIDTH) and features.dtype == torch.float32
    assert features.isfinite().all()


def test_an_image_has_the_same_features_alone_and_in_a_batch(small):
    batch = images(3)
    with torch.no_grad():
        torch.testing.assert_close(small(batch)[1:2], small(batch[1:2]), atol=1e-5, rtol=1e-5)


def test_pixels_are_scaled_to_one_and_normalised_by_imagenet_s_statistics(small):
    seen = []
    embeddings = small.backbone.embeddings
    handle = embeddings.register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    try:
        with torch.no_grad():
            small(
                torch.tensor([255, 0, 51], dtype=torch.uint8)[None, :, None, None].expand(
                    1, 3, *SIZE
                )
            )
    finally:
        handle.remove()
    expected = [(1 - 0.485) / 0.229, (0 - 0.456) / 0.224, (0.2 - 0.406) / 0.225]
    assert seen[0][0, :, 5, 7].tolist() == pytest.approx(expected, rel=1e-5)


def test_a_patch_reaches_two_pixels_over_its_upper_left_edge_and_stops_two_before_its_end(small):
    embed = small.backbone.embeddings.patch_embeddings
    places = [(y, x) for y in range(SIZE[0]) for x in range(SIZE[1])]
    poked = torch.zeros(len(places), 3, *SIZE)
    for number, (y, x) in enumerate(places):
        poked[number, :, y, x] = 1
    with torch.no_grad():
        changed = (embed(poked) - embed(torch.zeros(1, 3, *SIZE))).abs().sum(dim=-1) > 0
    noticed = {  # pixels (y, x) that change a patch
        patch: {place for place, moved in zip(places, changed[:, patch], strict=True) if moved}
        for patch in range(12)
    }
    for patch, pixels in noticed.items():
        row, column = divmod(patch, GRID[1])  # features run row by row
        wanted = {
            (y, x)
            for y in range(PATCH * row - 2, PATCH * row + PATCH - 2)
            for x in range(PATCH * column - 2, PATCH * column + PATCH - 2)
            if y >= 0 and x >= 0
        }
        assert pixels == wanted, patch


def test_every_patch_starts_at_a_position_of_its_own(small):
    positions = small.backbone.embeddings.position_embeddings[0, 1:]  # [0] is ViT's class token
    apart = torch.cdist(positions, positions) + 10 * torch.eye(12)
    assert apart.min() > 0.1
    assert positions.abs().max() <= 0.5


def test_the_first_weights_depend_on_the_seed_alone():
    made = []
    for seed in (0, 0, 1):
        torch.manual_seed(seed)
        made.append(ImageEncoder(SMALL, SIZE).state_dict())
    assert all(torch.equal(made[0][name], made[1][name]) for name in made[0])
    assert any(not torch.equal(made[0][name], made[2][name]) for name in made[0])


def test_features_start_with_mean_zero_and_variance_one_to_a_part_in_ten_thousand(small):
    # ViT's LayerNorm adds 1e-6 to the variance; 1e-3 would take one part in 300 off.
    with torch.no_grad():
        features = small(images(3)).double()
    assert features.mean(dim=-1).abs().max() < 1e-5
    assert (features.var(dim=-1, correction=0) - 1).abs().max() < 1e-4


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (images(2).float(), r"`images` must be uint8; got torch.float32"),
        (images(2, (24, 32)), r"`images` must have shape \(B, 3, 32, 24\); got \(2, 3, 24, 32\)"),
        (images(2)[0], r"`images` must have shape \(B, 3, 32, 24\); got \(3, 32, 24\)"),
        (images(2)[:0], r"`images` must not be empty"),
    ],
)
def test_other_images_are_refused(small, given, message):
    with pytest.raises(ValueError, match=message):
        small(given)


def test_every_name_that_the_parameters_may_give_is_an_encoder():
    names = typing.get_type_hints(EncoderConfig)["backbone"]
    assert set(typing.get_args(names)) == set(module.BACKBONES)


# --- the heatmaps that it learns from


def test_a_patch_becomes_four_by_four_cells_in_place():
    head = HeatmapHead(WIDTH, GRID)
    with torch.no_grad():
        plain = head(torch.zeros(1, 12, WIDTH))
        assert plain.shape == (1, 17, 16, 12)
        for patch in (0, 4, 11):
            features = torch.zeros(1, 12, WIDTH)
            features[0, patch] = 1.0
            changed = (head(features) - plain).abs().sum(dim=1)[0].nonzero().tolist()
            row, column = divmod(patch, GRID[1])
            square = [
                [y, x]
                for y in range(4 * row, 4 * row + 4)
                for x in range(4 * column, 4 * column + 4)
            ]
            assert changed == square, patch


def test_the_heatmap_loss_of_a_tiny_map_by_hand():
    # Image of 2 × 4 pixels, map of 1 × 2 cells: cell centres at x = 0.5 and 2.5, y = 0.5.
    logits = torch.tensor([[[[math.log(3.0), 0.0]]]])  # probabilities 3/4 and 1/4
    joint = torch.tensor([[[0.5, 0.5]]])
    sigma = 0.5  # of a cell: one pixel along x
    near, far = 1.0, math.exp(-(2.0**2) / 2)  # the Gaussian at both centres
    share = near / (near + far)
    expected = -(share * math.log(0.75) + (1 - share) * math.log(0.25))
    loss = heatmap_loss(logits, joint, (2, 4), sigma)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    mirrored = heatmap_loss(logits.flip(3), torch.tensor([[[2.5, 0.5]]]), (2, 4), sigma)
    assert mirrored.item() == pytest.approx(expected, rel=1e-5)


def target_logits(joints, size, cells, sigma):
    """Logarithm of the Gaussian around joints (B, J, 2), at every cell's centre, by loops."""
    logits = torch.zeros(*joints.shape[:2], *cells)
    for row in range(cells[0]):
        for column in range(cells[1]):
            y = (row + 0.5) * size[0] / cells[0] - 0.5
            x = (column + 0.5) * size[1] / cells[1] - 0.5
            dy = (joints[..., 1] - y) / (sigma * size[0] / cells[0])
            dx = (joints[..., 0] - x) / (sigma * size[1] / cells[1])
            logits[..., row, column] = -(dx**2 + dy**2) / 2
    return logits


def test_the_heatmap_loss_is_least_at_the_gaussian_around_the_joint():
    generator = torch.Generator().manual_seed(1)
    joints = torch.rand(2, 3, 2, generator=generator) * torch.tensor([22.0, 30.0])
    best = target_logits(joints, SIZE, (16, 12), 1.5).requires_grad_()
    loss = heatmap_loss(best, joints, SIZE, 1.5)
    (gradient,) = torch.autograd.grad(loss, best)
    assert gradient.abs().max() < 1e-6  # a stationary point of a convex function
    probs = best.detach().flatten(2).softmax(dim=-1)
    entropy = torch.special.entr(probs).sum(dim=-1).mean()
    torch.testing.assert_close(loss.detach(), entropy)
    for seed in range(5):
        noise = torch.randn(best.shape, generator=generator.manual_seed(seed))
        assert heatmap_loss(best.detach() + 0.3 * noise, joints, SIZE, 1.5) > loss


def test_an_even_heatmap_costs_the_logarithm_of_its_cells():
    joints = torch.full((2, 17, 2), 11.0)
    loss = heatmap_loss(torch.zeros(2, 17, 16, 12), joints, SIZE, 1.0)
    assert loss.item() == pytest.approx(math.log(192), rel=1e-5)


def test_joints_outside_the_image_do_not_count():
    logits = torch.randn(1, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    inside, outside = [5.0, 5.0], [[-0.6, 5.0], [7.6, 5.0]]
    both = torch.tensor([[inside, *outside]])
    alone = heatmap_loss(logits[:, :1], torch.tensor([[inside]]), (8, 8), 1.0)
    torch.testing.assert_close(heatmap_loss(logits, both, (8, 8), 1.0), alone)
    assert heatmap_loss(logits[:, 1:], both[:, 1:], (8, 8), 1.0) == 0


@pytest.mark.parametrize(("row", "column"), [(0, 0), (3, 1), (15, 11)])
def test_the_joint_of_a_heatmap_with_one_warm_cell_is_that_cell_s_centre(row, column):
    logits = torch.full((1, 2, 16, 12), -1e4)
    logits[..., row, column] = 0.0
    joints = heatmap_joints(logits, SIZE)  # cells of 2 × 2 pixels
    assert joints.shape == (1, 2, 2)
    assert joints[0, 0].tolist() == pytest.approx([2 * column + 0.5, 2 * row + 0.5])


def test_the_joint_of_an_even_heatmap_is_the_image_s_middle():
    joints = heatmap_joints(torch.zeros(1, 1, 16, 12), SIZE)
    assert joints[0, 0].tolist() == pytest.approx([(24 - 1) / 2, (32 - 1) / 2])


def test_the_expected_joint_of_the_target_is_the_joint():
    joints = torch.tensor([[[10.2, 14.7], [12.0, 16.5]]])
    expected = heatmap_joints(target_logits(joints, SIZE, (16, 12), 1.0), SIZE)
    torch.testing.assert_close(expected, joints, atol=0.02, rtol=0)


# --- weights from outside


@pytest.fixture(scope="module")
def checkpoint(small, tmp_path_factory):
    """The small backbone in a folder of its own, as transformers writes it."""
    folder = tmp_path_factory.mktemp("vitpose") / "weights"
    small.backbone.save_pretrained(folder)
    assert (folder / "model.safetensors").is_file()
    return folder


def from_outside(folder):
    return dataclasses.replace(SMALL, backbone="vitpose", checkpoint=str(folder))


def test_a_local_checkpoint_gives_the_features_of_the_backbone_it_was_saved_from(small, checkpoint):
    torch.manual_seed(7)
    loaded = ImageEncoder(from_outside(checkpoint), SIZE).eval()
    assert loaded.feature_shape == (12, WIDTH)
    with torch.no_grad():
        assert torch.equal(loaded(images()), small(images()))


def test_the_folder_of_a_checkpoint_may_begin_at_home(checkpoint, monkeypatch):
    monkeypatch.setenv("HOME", str(checkpoint.parent))
    at_home = from_outside(f"~/{checkpoint.name}")
    assert ImageEncoder(at_home, SIZE).feature_shape == (12, WIDTH)
    assert checkpoint_digests(at_home) == checkpoint_digests(from_outside(checkpoint)) != {}


def test_the_sizes_are_the_checkpoint_s_own_not_the_parameters(checkpoint):
    other = dataclasses.replace(from_outside(checkpoint), width=64, layers=1, patch_size=4)
    loaded = ImageEncoder(other, SIZE)
    assert loaded.feature_shape == (12, WIDTH)
    assert loaded.grid == GRID


def test_a_folder_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ValueError) as error:
        ImageEncoder(from_outside(tmp_path / "nowhere"), SIZE)
    assert str(error.value).startswith(
        "`encoder.checkpoint` must be a VitPose checkpoint name or local folder with "
        f"safetensors weights; got {str(tmp_path / 'nowhere')!r}: "
    )
    assert "\n" not in str(error.value)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(ValueError, match="must be a VitPose folder with safetensors weights; got"):
        ImageEncoder(from_outside(tmp_path), SIZE)


def test_another_image_size_than_the_checkpoint_s_is_refused(checkpoint):
    with pytest.raises(ValueError, match=r"`image_size` must be \(32, 24\) for checkpoint"):
        ImageEncoder(from_outside(checkpoint), (64, 48))


def test_a_checkpoint_with_experts_is_refused(small, tmp_path):
    """ViTPose+ answers only when told which data set's expert to ask."""
    from transformers import VitPoseBackbone, VitPoseBackboneConfig

    sizes = {**small.backbone.config.to_dict(), "num_experts": 2, "part_features": 8}
    VitPoseBackbone(VitPoseBackboneConfig(**sizes)).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match="with 2 experts; take a ViTPose without"):
        ImageEncoder(from_outside(tmp_path), SIZE)


def test_pickled_weights_are_refused_and_never_read(small, tmp_path):
    class Bomb:
        def __reduce__(self):
            return (tmp_path.joinpath("exploded").touch, ())

    small.backbone.config.save_pretrained(tmp_path)
    torch.save({**small.backbone.state_dict(), "bomb": Bomb()}, tmp_path / "pytorch_model.bin")
    with pytest.raises(ValueError, match="with safetensors weights"):
        ImageEncoder(from_outside(tmp_path), SIZE)
    assert not (tmp_path / "exploded").exists()


def test_damaged_weights_are_refused(checkpoint, tmp_path):
    for file in checkpoint.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    weights = tmp_path / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:100])
    with pytest.raises(ValueError, match="with safetensors weights; got"):
        ImageEncoder(from_outside(tmp_path), SIZE)


def test_a_checkpoint_with_a_pose_head_gives_its_backbone(small, tmp_path):
    """ViTPose's published weights are whole networks: the backbone's names have a prefix."""
    from transformers import VitPoseConfig, VitPoseForPoseEstimation

    whole = VitPoseForPoseEstimation(VitPoseConfig(backbone_config=small.backbone.config))
    whole.backbone.load_state_dict(small.backbone.state_dict())
    whole.save_pretrained(tmp_path)
    loaded = ImageEncoder(from_outside(tmp_path), SIZE).eval()
    with torch.no_grad():
        assert torch.equal(loaded(images()), small(images()))


def test_a_checkpoint_that_lacks_a_weight_is_refused_not_filled_at_random(checkpoint, tmp_path):
    from safetensors.torch import load_file, save_file

    weights = load_file(checkpoint / "model.safetensors")
    del weights["layernorm.weight"]
    (tmp_path / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="layernorm.weight"):
        ImageEncoder(from_outside(tmp_path), SIZE)


def test_a_checkpoint_with_a_weight_of_another_shape_is_refused(checkpoint, tmp_path):
    from safetensors.torch import load_file, save_file

    weights = load_file(checkpoint / "model.safetensors")
    weights["layernorm.weight"] = torch.ones(WIDTH + 1)
    (tmp_path / "config.json").write_bytes((checkpoint / "config.json").read_bytes())
    save_file(weights, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match="with safetensors weights; got"):
        ImageEncoder(from_outside(tmp_path), SIZE)


def test_the_constants_are_imagenet_s_and_vitpose_s():
    assert module.IMAGENET_MEAN == (0.485, 0.456, 0.406)
    assert module.IMAGENET_STD == (0.229, 0.224, 0.225)
    assert module.CELLS_PER_PATCH == 4
