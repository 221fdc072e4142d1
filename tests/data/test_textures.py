"""Textures: the same pixels from a record, DTD's test categories, refusals."""

import json

import pytest
import torch
from PIL import Image

from di2pose_lib.data.textures import (
    DTD_TEST_CATEGORIES,
    FAMILIES,
    PatternTextures,
    PictureTextures,
    open_textures,
)


def generator(seed=0):
    return torch.Generator().manual_seed(seed)


def picture(height, width, seed=0):
    return torch.randint(256, (3, height, width), generator=generator(seed), dtype=torch.uint8)


def put(path, height=40, width=60, seed=0):
    """A PNG of noise at `path`; its pixels."""
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = picture(height, width, seed)
    Image.fromarray(pixels.permute(1, 2, 0).numpy()).save(path, "PNG")
    return pixels


def through_json(record):
    return json.loads(json.dumps(record))


@pytest.fixture
def folder(tmp_path):
    put(tmp_path / "a.png", 40, 60, 1)
    put(tmp_path / "deep" / "er" / "b.PNG", 90, 30, 2)
    (tmp_path / "notes.txt").write_text("no picture")
    return tmp_path


def test_there_are_twenty_test_categories():
    assert len(set(DTD_TEST_CATEGORIES)) == 20
    assert "polka-dotted" in DTD_TEST_CATEGORIES and "zigzagged" not in DTD_TEST_CATEGORIES


def test_a_folder_or_none_decides_the_kind(folder):
    assert isinstance(open_textures(None, 16), PatternTextures)
    assert isinstance(open_textures(folder, 16), PictureTextures)


@pytest.mark.parametrize("kind", ["patterns", "pictures"])
def test_a_record_gives_the_same_pixels_through_json_and_in_a_new_object(kind, folder):
    make = (
        (lambda: open_textures(None, 48))
        if kind == "patterns"
        else lambda: open_textures(folder, 48)
    )
    textures, seen = make(), set()
    for seed in range(60):
        record = textures.draw(20, generator(seed))
        pixels = textures.patch(record)
        assert pixels.shape == (3, 20, 20) and pixels.dtype == torch.uint8
        assert torch.equal(pixels, make().patch(through_json(record)))
        assert record == make().draw(20, generator(seed))
        seen.add(pixels.numpy().tobytes())
    assert len(seen) > 55, "different draws must differ"


def test_a_picture_s_patch_is_a_crop_of_the_picture_resized_to_the_image_s_side(tmp_path):
    put(tmp_path / "a.png", 40, 61)
    textures = PictureTextures(tmp_path, 20)
    with Image.open(tmp_path / "a.png") as opened:
        resized = opened.convert("RGB").resize((30, 20), resample=Image.Resampling.BILINEAR)
    corners = set()
    for seed in range(40):
        record = textures.draw(12, generator(seed))
        corners.add((record["top"], record["left"]))
        assert 0 <= record["top"] <= 8 and 0 <= record["left"] <= 18
        box = (record["left"], record["top"], record["left"] + 12, record["top"] + 12)
        crop = torch.frombuffer(bytearray(resized.crop(box).tobytes()), dtype=torch.uint8)
        assert torch.equal(textures.patch(record), crop.view(12, 12, 3).permute(2, 0, 1))
    assert len(corners) > 20


def test_a_picture_of_the_image_s_side_is_cut_and_not_changed(tmp_path):
    pixels = put(tmp_path / "a.png", 20, 33)
    textures = PictureTextures(tmp_path, 20)
    record = textures.draw(20, generator())
    left = record["left"]
    assert torch.equal(textures.patch(record), pixels[:, :, left : left + 20])


def test_all_pictures_of_a_folder_are_drawn_from_and_nothing_else(folder):
    textures = PictureTextures(folder, 16)
    assert textures.files == ["a.png", "deep/er/b.PNG"]
    drawn = {textures.draw(8, generator(seed))["file"] for seed in range(40)}
    assert drawn == set(textures.files)


@pytest.mark.parametrize("base", ["images", "."])
def test_of_dtd_only_the_test_categories_count(tmp_path, base):
    for number, category in enumerate(("banded", "veined", "zigzagged", "braided")):
        put(tmp_path / base / category / f"{category}_0001.png", seed=number)
    put(tmp_path / base / "cover.png")
    files = PictureTextures(tmp_path, 16).files
    prefix = "images/" if base == "images" else ""
    assert files == [f"{prefix}{name}/{name}_0001.png" for name in ("banded", "veined")]


def test_every_family_is_drawn_and_has_a_pattern_in_it():
    textures, families = PatternTextures(64), {}
    for seed in range(200):
        record = textures.draw(20, generator(seed))
        families.setdefault(record["family"], []).append(textures.patch(record))
    assert set(families) == set(FAMILIES)
    for family, patches in families.items():
        flat = sum(bool((p == p[:, :1, :1]).all()) for p in patches)
        assert flat <= len(patches) // 10, family


def test_stripes_repeat_and_have_two_colours():
    textures = PatternTextures(64)
    for seed in range(100):
        record = textures.draw(40, generator(seed))
        if record["family"] in ("stripes", "checks", "dots"):
            colours = textures.patch(record).flatten(1).unique(dim=1)
            assert colours.shape[1] <= 2


def test_bad_input_is_refused_in_one_sentence(folder, tmp_path):
    with pytest.raises(ValueError, match=r"`size` must lie in \[1, 16\]"):
        PatternTextures(16).draw(17, generator())
    with pytest.raises(ValueError, match=r"`size` must lie in \[1, 16\]"):
        PictureTextures(folder, 16).draw(0, generator())
    with pytest.raises(ValueError, match="does not exist"):
        PictureTextures(tmp_path / "absent", 16)
    empty = tmp_path / "empty"
    empty.mkdir()
    (empty / "notes.txt").write_text("no picture")
    with pytest.raises(ValueError, match=r"must hold pictures \(.jpg .* got none"):
        PictureTextures(empty, 16)
    broken = tmp_path / "broken"
    broken.mkdir()
    put(broken / "a.png", 9, 9)
    for content in (b"no picture", (broken / "a.png").read_bytes()[:60]):
        (broken / "a.png").write_bytes(content)
        with pytest.raises(ValueError, match="a.png must be a picture; got"):
            PictureTextures(broken, 16).draw(8, generator())
    with pytest.raises(ValueError, match="a record's family must be one of"):
        PatternTextures(16).patch({"family": "waves"})
    with pytest.raises(ValueError, match="`record` must name a picture's file"):
        PictureTextures(folder, 16).patch(PatternTextures(16).draw(8, generator()))


def test_a_picture_that_was_changed_since_the_draw_is_refused(tmp_path):
    put(tmp_path / "a.png", seed=1)
    record = PictureTextures(tmp_path, 16).draw(8, generator())
    put(tmp_path / "a.png", seed=2)
    with pytest.raises(ValueError, match="must be the file that was drawn"):
        PictureTextures(tmp_path, 16).patch(record)
