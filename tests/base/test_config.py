"""params.yaml is the one source: what it may say, and one sentence for what it may not."""

import copy
import re
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from di2pose_lib.base import config_file
from di2pose_lib.base.files import fingerprint

ROOT = Path(__file__).resolve().parents[2]
PARAMS = ROOT / "params.yaml"
PIPELINES = [f"pipelines/{name}.yaml" for name in ("mocap", "paper", "smoke")]
VALUES = YAML(typ="safe", pure=True).load(PARAMS.read_text(encoding="utf-8"))
IMAGES = VALUES["data"]["train_sequences"] * VALUES["data"]["frames_per_sequence"]


def changed(path, value):
    """The parameters with one dotted key set to `value`, or removed if it is ..."""
    values = copy.deepcopy(VALUES)
    *sections, key = path.split(".")
    section = values
    for name in sections:
        section = section[name]
    if value is ...:
        del section[key]
    else:
        section[key] = value
    return values


def test_a_config_is_what_the_file_says():
    loaded = config_file.load_config(PARAMS)
    assert loaded.scale == "lesson"
    assert loaded.data.image_size == (VALUES["data"]["image_height"], VALUES["data"]["image_width"])
    assert loaded.tokenizer.sizes.levels == tuple(VALUES["tokenizer"]["sizes"]["levels"])
    assert loaded.diffusion.aux_weight == VALUES["diffusion"]["aux_weight"]
    assert loaded.data.test_cameras.azimuths_deg == (20.0, 110.0, 200.0, 290.0)


def test_a_config_and_its_dict_are_the_same_thing():
    loaded = config_file.config_from_dict(VALUES)
    assert config_file.config_from_dict(config_file.to_dict(loaded)) == loaded
    assert fingerprint(config_file.to_dict(loaded))  # plain enough for JSON


def test_whole_numbers_serve_as_floats_and_small_floats_need_no_point(tmp_path):
    text, count = re.subn("aux_weight: .*", "aux_weight: 5e-4", PARAMS.read_text(encoding="utf-8"))
    assert count == 1
    (tmp_path / "params.yaml").write_text(text)
    assert config_file.load_config(tmp_path / "params.yaml").diffusion.aux_weight == 5e-4
    loaded = config_file.config_from_dict(changed("data.frames_per_second", 2))
    assert type(loaded.data.frames_per_second) is float


REFUSED = [  # what the sentence says of `path`
    ("colour", "red", "is not a known key"),
    ("data.frame_rate", 2.0, "is not a known key"),
    ("tokenizer.sizes.depth", 4, "is not a known key"),
    ("evaluation", ..., "is missing"),
    ("diffusion.optimizer.beta2", ..., "is missing"),
    ("data", None, "must be a section; got None"),
    ("encoder", [1], "must be a section; got [1]"),
    ("data.train_cameras", 4, "must be a section; got 4"),
    ("seed", True, "must be a valid integer; got True"),
    ("seed", 0.0, "must be a valid integer; got 0.0"),
    ("data.image_height", "64", "must be a valid integer; got '64'"),
    ("encoder.cache_features", 1, "must be a valid boolean; got 1"),
    ("encoder.checkpoint", None, "must be a valid string; got None"),
    ("diffusion.aux_weight", "1e-4", "must be a valid number; got '1e-4': YAML 1.1 "),
    ("diffusion.aux_weight", False, "must be a valid number; got False"),
    ("diffusion.aux_weight", float("nan"), "must be a finite number; got nan"),
    ("tokenizer.optimizer.learning_rate", float("-inf"), "must be a finite number; got -inf"),
    ("diffusion.aux_weight", 10**309, "must be a finite number; got 1000"),
    ("tokenizer.sizes.levels", 125, "must be a list; got 125"),
    ("tokenizer.sizes.levels", [5, "5"], "must be a valid integer; got '5'"),
    ("scale", "huge", "must be 'smoke', 'lesson' or 'paper'; got 'huge'"),
    ("seed", -1, "must be greater than or equal to 0; got -1"),
    ("data.source", "web", "must be 'synthetic' or 'mocap'; got 'web'"),
    ("data.train_sequences", 0, "must be greater than 0; got 0"),
    ("data.image_width", -48, "must be greater than 0; got -48"),
    ("data.train_occluder_share", 1.5, "must be less than or equal to 1; got 1.5"),
    ("data.train_cameras.azimuths_deg", [], "must name at least one camera; got []"),
    ("data.test_cameras.radius", 0.0, "must be greater than 0; got 0.0"),
    ("encoder.backbone", "resnet", "must be 'small' or 'vitpose'"),
    ("encoder.layers", 0, "must be greater than 0; got 0"),
    ("encoder.patch_size", 4, "must be at least 5; got 4"),
    ("encoder.optimizer.batch_size", 0, "must be greater than 0; got 0"),
    ("tokenizer.optimizer.epochs", 0.0, "must be greater than 0; got 0.0"),
    ("diffusion.optimizer.warmup_steps", -1, "must be greater than or equal to 0; got -1"),
    ("encoder.optimizer.weight_decay", -0.1, "must be greater than or equal to 0; got -0.1"),
    ("encoder.optimizer.ema_decay", 1.0, "must be less than 1; got 1.0"),
    ("encoder.optimizer.beta2", 1.0, "must be less than 1; got 1.0"),
    ("tokenizer.sizes.num_tokens", 0, "must be greater than 0; got 0"),
    ("tokenizer.sizes.levels", [], "must be one or more integers in"),
    ("tokenizer.sizes.levels", [5, 1], "must be one or more integers in"),
    (
        "tokenizer.sizes.levels",
        [2] * 20 + [3],
        "must multiply to at most 1048576 codes; got [2, 2,",
    ),
    ("tokenizer.sizes.neighbours", None, "must be 'index' or 'tree'; got None"),
    ("tokenizer.sizes.neighbours", "star", "must be 'index' or 'tree'; got 'star'"),
    ("tokenizer.sizes.local_joints", 2, "must be odd; got 2"),
    ("tokenizer.sizes.local_joints", 19, "must not exceed num_joints = 17; got 19"),
    ("tokenizer.sizes.mlp_ratio", 0.001, "must leave at least 1 of 64 channels; got 0.001"),
    ("tokenizer.sizes.num_joints", 18, "must be 17 as in the data"),
    ("tokenizer.scale_range", -0.1, "must be greater than or equal to 0; got -0.1"),
    ("tokenizer.scale_range", 1.0, "must be less than 1; got 1.0"),
    ("diffusion.precision", "half", "must be 'float32' or 'bfloat16'"),
    ("diffusion.num_steps", 0, "must be greater than or equal to 4; got 0"),
    ("diffusion.final_occlude_rate", 1.2, "must be less than or equal to 1"),
    ("diffusion.aux_weight", -1.0, "must be greater than or equal to 0; got -1.0"),
    ("evaluation.num_hypotheses", 0, "must be greater than 0; got 0"),
    ("diffusion.aux_by_step", "rising", "must be 'constant' or 'falling'; got 'rising'"),
    ("diffusion.step_draws", "often", "must be 'uniform' or 'importance'; got 'often'"),
    ("evaluation.step_spacing", "log", "must be 'uniform' or 'cosine'; got 'log'"),
    ("evaluation.step_order", "left", "must be 'random' or 'confidence'; got 'left'"),
    ("encoder.checkpoint", "x", "must be given for backbone vitpose and empty"),
]
CONTRADICTIONS = [
    ("diffusion.final_occlude_rate", 0.5, "`diffusion.final_replace_rate` must be 1; got 0.6"),
    ("diffusion.heads", 7, "`diffusion.width` must be a multiple of heads = 7; got 128"),
    ("encoder.heads", 7, "`encoder.width` must be a multiple of heads = 7; got 128"),
    ("encoder.backbone", "vitpose", "`encoder.checkpoint` must be given for backbone vitpose"),
    ("encoder.patch_size", 10, "must be multiples of encoder.patch_size = 10; got (64, 48)"),
    ("evaluation.num_inference_steps", 101, "must not exceed diffusion.num_steps = 100; got 101"),
    *[
        (
            f"{section}.optimizer.batch_size",
            IMAGES + 1,
            f"`{section}.optimizer.batch_size` must not exceed the {IMAGES} training images "
            f"(data.train_sequences times data.frames_per_sequence); got {IMAGES + 1}",
        )
        for section in ("encoder", "tokenizer", "diffusion")
    ],
]
EVERY = [(path, value, f"`{path}` {rest}") for path, value, rest in REFUSED] + CONTRADICTIONS


@pytest.mark.parametrize(("path", "value", "sentence"), EVERY)
def test_what_cannot_be_meant_is_refused_in_one_sentence(path, value, sentence):
    with pytest.raises(ValueError) as refusal:
        config_file.config_from_dict(changed(path, value), source="here.yaml")
    text = str(refusal.value)
    assert sentence in text
    assert text.startswith("here.yaml: ")
    assert "\n" not in text


@pytest.mark.parametrize(
    ("content", "sentence"),
    [
        ("", "`parameters` must be a section; got None"),
        ("- 1\n", "`parameters` must be a section; got [1]"),
        ("scale: [", "not valid YAML: expected the node content, but found '<stream end>' in line"),
        ("a: 1\nscale: x\nscale: y\n", 'not valid YAML: found duplicate key "scale" in line 3'),
        ("day: 2020-01-99\n", "not valid YAML: day "),
        ("a: " + "[" * 3000, "not valid YAML: "),
        (b"\xff\xfe\xff", "not valid YAML: "),
        ("? [a, b]\n: 1\n", "parameters must be plain values; got keys must be "),
        ("a: &b [*b]\n", "parameters must be plain values; got Circular reference"),
        ("a: !!python/object/apply:os.getcwd []\n", "not valid YAML: "),
    ],
)
def test_a_file_that_holds_no_parameters_is_refused_by_name(tmp_path, content, sentence):
    path = tmp_path / "bad.yaml"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(ValueError) as refusal:
        config_file.load_config(path)
    assert str(refusal.value).startswith(f"{path}: ")
    assert sentence in str(refusal.value)
    assert "\n" not in str(refusal.value)


def test_a_missing_file_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="none.yaml: the parameters file does not exist"):
        config_file.load_config(tmp_path / "none.yaml")


def test_a_folder_is_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match=f"^{tmp_path}: the parameters file must be a file; got a"):
        config_file.load_config(tmp_path)


def test_a_misspelled_key_is_told_and_not_that_its_name_is_missing():
    values = changed("data.frames_per_second", ...)
    values["data"]["frame_per_second"] = 2.0
    with pytest.raises(ValueError, match="`data.frame_per_second` is not a known key"):
        config_file.config_from_dict(values)


def rings(azimuths_deg, radius, height):
    """The parameters with other test cameras; a train camera is at (45, 4.5, 1.5)."""
    ring = {"azimuths_deg": azimuths_deg, "radius": radius, "height": height}
    return changed("data.test_cameras", ring)


def test_test_cameras_stand_where_no_train_camera_stands():
    for azimuth in (45.0, 405.0, -315.0):
        sentence = (
            r"^p: `data.test_cameras` must stand where .*; got .* \(45.0, 4.5, 1.5\) in both$"
        )
        with pytest.raises(ValueError, match=sentence):
            config_file.config_from_dict(rings([50.0, azimuth], 4.5, 1.5), "p")
    for radius, height in ((4.6, 1.5), (4.5, 1.4)):  # nearer or higher is another camera
        config_file.config_from_dict(rings([45.0], radius, height))


def test_the_order_of_confidence_needs_a_chain_that_occludes():
    values = changed("evaluation.step_order", "confidence")
    config_file.config_from_dict(values)
    values["diffusion"].update(final_occlude_rate=0.0, final_replace_rate=1.0)
    with pytest.raises(ValueError, match="`evaluation.step_order` must be random where .* is 0"):
        config_file.config_from_dict(values)


def test_what_stands_at_the_edge_of_the_allowed_is_taken():
    for path, value in (
        ("tokenizer.sizes.levels", [2] * 20),
        ("tokenizer.sizes.local_joints", 17),
        ("tokenizer.sizes.num_joints", 17),
        ("tokenizer.scale_range", 0.0),
        ("diffusion.optimizer.batch_size", IMAGES),
    ):
        config_file.config_from_dict(changed(path, value))


def test_a_file_may_say_in_what_it_differs_from_another(tmp_path):
    (tmp_path / "deep").mkdir()
    file = tmp_path / "deep" / "other.yaml"
    (tmp_path / "params.yaml").write_text(PARAMS.read_text(encoding="utf-8"))
    file.write_text("base: ../params.yaml\nseed: 7\ndiffusion: {optimizer: {epochs: 2}}\n")
    wanted = changed("seed", 7)
    wanted["diffusion"]["optimizer"]["epochs"] = 2.0
    assert config_file.load_config(file) == config_file.config_from_dict(wanted)
    for base, sentence in (("7", "`base` must name a file; got 7"), ("no.yaml", "not exist")):
        file.write_text(f"base: {base}\n")
        with pytest.raises(ValueError, match=sentence):
            config_file.load_config(file)


@pytest.mark.parametrize("path", ["params.yaml", "studies/ablations.yaml", *PIPELINES])
def test_the_parameters_of_every_pipeline_are_taken(path):
    data = config_file.load_config(ROOT / path).data
    assert data.num_train_images == data.train_sequences * data.frames_per_sequence
