"""Training the encoder on heatmaps, its errors in pixels, and its features on disk."""

import numpy as np
import pytest
import torch
from small import SIZE, encoder_config, make_split, optimizer
from torch import nn

from di2pose_lib.encoder import training as encoder_training
from di2pose_lib.encoder.image_encoder import ImageEncoder, heatmap_loss
from di2pose_lib.encoder.training import (
    encode_images,
    joint_errors_px,
    train_encoder,
    write_features,
)

IMAGE = (16, 16)


def settings(heatmap_sigma=1.0, **changes):
    return encoder_config(width=16, heatmap_sigma=heatmap_sigma, optimizer=optimizer(**changes))


def spots(folder, count):
    """Images with a bright spot of 4 x 4 pixels; all joints stand in its middle."""
    generator = torch.Generator().manual_seed(count)
    corner = torch.randint(0, 13, (count, 2), generator=generator)  # x, y
    image = torch.randint(0, 40, (count, 3, *IMAGE), generator=generator, dtype=torch.uint8)
    for one, (x, y) in zip(image, corner.tolist(), strict=True):
        one[:, y : y + 4, x : x + 4] = 250
    joints = (corner + 1.5)[:, None].expand(count, 17, 2).clone()
    return make_split(folder, count, size=IMAGE, image=image, joints_2d=joints)


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    folder = tmp_path_factory.mktemp("spots")
    return spots(folder / "train", 64), spots(folder / "validation", 16)


def trained(splits, folder, config, seed=0, elsewhere=2):
    torch.manual_seed(1)
    encoder = ImageEncoder(config, IMAGE)
    torch.manual_seed(elsewhere)
    return encoder, *train_encoder(encoder, *splits, config, seed, folder)


# --- training


def test_training_lowers_the_loss_and_finds_the_joints_of_other_images(splits, tmp_path):
    config = settings(epochs=30.0, batch_size=16, learning_rate=5e-3)
    encoder, history, report = trained(splits, tmp_path, config)
    assert history[-1]["step"] == 120
    assert history[-1]["loss"] < history[0]["loss"] - 1.0
    joints = splits[1].take("joints_2d")
    middle = (joints - 7.5).norm(dim=-1).mean().item()  # whoever always says the middle
    assert report["validation_joint_error_px"] < 0.5 * middle
    assert report["validation_visible_joint_error_px"] == report["validation_joint_error_px"]
    assert not encoder.training


def test_encoder_and_head_both_learn(splits, tmp_path, monkeypatch):
    heads = []

    class Noted(encoder_training.HeatmapHead):
        def __init__(self, *arguments):
            super().__init__(*arguments)
            heads.append((self, self.head.weight.detach().clone()))

    monkeypatch.setattr(encoder_training, "HeatmapHead", Noted)
    config = settings(epochs=1.0)
    torch.manual_seed(1)
    start = ImageEncoder(config, IMAGE).state_dict()
    encoder, _, _ = trained(splits, tmp_path, config)
    name = "backbone.embeddings.patch_embeddings.projection.weight"
    assert not torch.equal(start[name], encoder.state_dict()[name])
    ((head, first),) = heads
    assert not torch.equal(first, head.head.weight)


@pytest.mark.parametrize("sigma", [0.5, 2.0])
def test_the_first_loss_is_the_heatmap_loss_of_the_images_and_their_own_joints(
    splits, tmp_path, monkeypatch, sigma
):
    """One step of all images, its logits noted down, and the loss once more from outside."""
    seen = []

    class Noted(encoder_training.HeatmapHead):
        def forward(self, features):
            logits = super().forward(features)
            seen.append((features.detach(), logits.detach()))
            return logits

    monkeypatch.setattr(encoder_training, "HeatmapHead", Noted)
    config = settings(heatmap_sigma=sigma, epochs=1.0, batch_size=64)
    torch.manual_seed(1)
    start = ImageEncoder(config, IMAGE)
    with torch.no_grad():
        features = encode_images(start, splits[0], slice(None)).flatten(1)
    _, history, _ = trained(splits, tmp_path, config)
    given, logits = seen[0]  # in the training's own order of the rows
    row = torch.cdist(given.flatten(1), features).argmin(dim=1)
    assert sorted(row.tolist()) == list(range(64))
    wanted = heatmap_loss(logits, splits[0].take("joints_2d", row), IMAGE, sigma)
    assert [entry["step"] for entry in history] == [1]
    assert history[0]["loss"] == pytest.approx(wanted.item(), rel=1e-4)


def test_a_training_repeats_whatever_the_global_generator_and_follows_its_seed(splits, tmp_path):
    config = settings(epochs=1.0)
    one, *results = trained(splits, tmp_path / "one", config)
    again, *same = trained(splits, tmp_path / "again", config, elsewhere=3)
    other, _, _ = trained(splits, tmp_path / "other", config, seed=1)
    weights = [encoder.state_dict() for encoder in (one, again, other)]
    assert results == same
    assert all(torch.equal(weight, weights[1][name]) for name, weight in weights[0].items())
    assert any(not torch.equal(weight, weights[2][name]) for name, weight in weights[0].items())


def test_the_report_is_the_mean_over_all_and_over_visible_joints(splits, tmp_path, monkeypatch):
    asked = []
    errors = torch.rand(16, 17, generator=torch.Generator().manual_seed(0))

    def known(encoder, head, dataset):
        asked.append(dataset)
        return errors

    monkeypatch.setattr(encoder_training, "joint_errors_px", known)
    visible = torch.rand(16, 17, generator=torch.Generator().manual_seed(1)) < 0.6
    joints = splits[1].take("joints_2d")
    images = splits[1].take("image")
    hidden = make_split(
        tmp_path / "hidden", 16, size=IMAGE, image=images, joints_2d=joints, visible=visible
    )
    _, _, report = trained((splits[0], hidden), tmp_path / "run", settings(epochs=0.01))
    assert asked == [hidden]
    seen = [errors[n, j].item() for n in range(16) for j in range(17) if visible[n, j]]
    assert report == pytest.approx(
        {
            "validation_joint_error_px": errors.mean().item(),
            "validation_visible_joint_error_px": sum(seen) / len(seen),
        },
        rel=1e-5,
    )


# --- errors and features of images that say what they are


class Plain(nn.Module):
    """Features (B, 2, 3) that are the image's first pixel, and half of it."""

    image_size, feature_shape = SIZE, (2, 3)

    def __init__(self):
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(()))
        self.batches = []

    def forward(self, images):
        self.batches.append(len(images))
        pixel = images[:, :, 0, 0].float()
        return torch.stack([pixel, pixel / 2], dim=1)


class OneWarmCell(nn.Module):
    """Heatmaps (B, 17, 4, 3): joint j is in the cell that the first pixel numbers, plus j."""

    def forward(self, features):
        cell = (features[:, 0, :1].long() + torch.arange(17)) % 12  # (B, 17)
        return (1e4 * nn.functional.one_hot(cell, 12).float()).unflatten(2, (4, 3))


@pytest.fixture
def ten(tmp_path, monkeypatch):
    """Ten images, n all over the nth, that are looked at four at once."""
    monkeypatch.setattr(encoder_training, "IMAGES_AT_ONCE", 4)
    cell = (torch.arange(10)[:, None] + torch.arange(17)) % 12
    # Cells of 2 x 2 pixels, three in a row: centres at 0.5, 2.5 and 4.5 along x.
    centre = torch.stack([2 * (cell % 3) + 0.5, 2 * (cell // 3) + 0.5], dim=-1)
    off = torch.zeros(10, 17, 2)
    off[2] = torch.tensor([3.0, -4.0])
    off[9, 5] = torch.tensor([0.0, 1.5])
    image = torch.arange(10, dtype=torch.uint8)[:, None, None, None].expand(10, 3, *SIZE).clone()
    image[:, 1:] += 100
    return make_split(tmp_path / "ten", 10, image=image, joints_2d=centre + off)


def test_joint_errors_of_known_heatmaps_are_the_distances_in_pixels(ten):
    encoder = Plain()
    errors = joint_errors_px(encoder, OneWarmCell(), ten)
    wanted = torch.zeros(10, 17)
    wanted[2] = 5.0
    wanted[9, 5] = 1.5
    torch.testing.assert_close(errors, wanted, atol=1e-4, rtol=0)
    assert encoder.batches == [4, 4, 2]
    assert not errors.requires_grad


def test_written_features_are_those_of_the_images_in_float16(ten, tmp_path):
    encoder = Plain()
    write_features(encoder, ten, tmp_path / "features.npy")
    assert encoder.batches == [4, 4, 2]
    written = np.load(tmp_path / "features.npy", allow_pickle=False)
    assert written.dtype == np.float16 and written.shape == (10, 2, 3)
    features = encode_images(encoder, ten, slice(None))
    assert not features.requires_grad
    assert torch.equal(torch.from_numpy(written), features.half())
    assert written[3].tolist() == [[3.0, 103.0, 103.0], [1.5, 51.5, 51.5]]


def test_features_are_of_the_rows_asked_for_in_their_order(ten):
    features = encode_images(Plain(), ten, torch.tensor([7, 2, 7]))
    assert features[:, 0, 0].tolist() == [7.0, 2.0, 7.0]


def test_written_features_of_a_real_encoder_come_close_to_its_own(splits, tmp_path, monkeypatch):
    monkeypatch.setattr(encoder_training, "IMAGES_AT_ONCE", 5)
    torch.manual_seed(0)
    encoder = ImageEncoder(settings(), IMAGE).eval()
    write_features(encoder, splits[1], tmp_path / "features.npy")
    written = torch.from_numpy(np.load(tmp_path / "features.npy")).float()
    features = encode_images(encoder, splits[1], slice(None))
    assert written.shape == (16, *encoder.feature_shape)
    torch.testing.assert_close(written, features, atol=1e-5, rtol=1 / 1024)
    assert not torch.equal(written, features)
