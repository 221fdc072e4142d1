"""The ablations' settings: the paper's rows are found, and equal runs are one run."""

import json

import pandas as pd
import pytest

from di2pose_lib.base.config_file import load_config, to_dict
from di2pose_lib.base.project import project_root
from di2pose_lib.base.training import num_training_steps
from di2pose_lib.tokens.designs import design_size
from di2pose_lib.tokens.tokenizer import PoseTokenizer
from studies import ablations
from studies.ablation_runs import PARAMS, SEEDS, Run, planned
from studies.paper_numbers import ablation_settings, numbers

BASE = load_config(project_root() / PARAMS)


def key(config, kind, design=None):
    return json.dumps(ablations.run_values(config, kind, design), sort_keys=True)


every_table = pytest.mark.parametrize("table", ablations.TABLES, ids=lambda table: table.name)


def setting(table, name):
    return next(s for s in ablations.table_of(table).settings if s.name == name)


@every_table
def test_settings_have_names_of_their_own_and_the_favourite_is_one(table):
    names = [s.name for s in table.settings]
    assert len(set(names)) == len(names)
    assert table.favourite in names if table.favourite else table.contrasts
    for contrast in table.contrasts:
        assert set(contrast.weights) <= set(names) and sum(contrast.weights.values()) == 0


@every_table
def test_every_setting_builds_and_no_two_of_a_table_are_the_same_run(table):
    configs = [ablations.config_of(BASE, s, "mocap", 9) for s in table.settings]
    assert all(c.data.source == "mocap" and c.seed == 9 for c in configs)
    runs = zip(configs, table.settings, strict=True)
    keys = {key(c, table.kind, s.design and ablations.sized(s.design)) for c, s in runs}
    assert len(keys) == len(configs)


@every_table
def test_settings_of_a_table_train_for_as_many_steps(table):
    longer = {"three times the training"}  # but where that is the question
    lengths = {
        tuple(steps(stage, c) for stage in trained_in(table, c))
        for c in (
            ablations.config_of(BASE, s, "synthetic", 0)
            for s in table.settings
            if s.name not in longer
        )
    }
    assert len(lengths) == 1


def trained_in(table, config):
    """The stages whose training counts for a table."""
    if table.kind == ablations.TOKENIZER:
        return [config.tokenizer]
    return [config.encoder, config.tokenizer, config.diffusion]


def steps(stage, config):
    items = config.data.train_sequences * config.data.frames_per_sequence
    return num_training_steps(items, stage.optimizer)


def test_the_papers_number_of_each_of_its_settings_is_found_and_none_is_left_over():
    rows = numbers().query("ablation != '' and column == 'mpjpe'")
    printed = rows.set_index(["ablation", "setting"]).paper_value.astype(float)
    assert set(ablation_settings()) == set(printed.index)
    assert printed[setting("3c", "γ̄ = 0.9").paper] == 49.2
    assert printed[setting("3d", "S = 100, run in 25").paper] == 50.3
    assert printed[setting("3a", "X = 5").paper] == 14.1


def test_designs_have_about_equal_parameters_and_but_for_pcts_codebook_equal_bits():
    designs = {s.name: ablations.sized(s.design) for s in ablations.table_of("4").settings}
    sizes = {name: design_size(design) for name, design in designs.items()}
    parameters = [size.parameters for size in sizes.values()]
    assert max(parameters) < 1.1 * min(parameters)
    few = ("PCT's: mixer, 34 tokens, 2048 learned codes", "mixer, 34 tokens, FSQ of 2048 codes")
    bits = {name: size.bits_per_pose for name, size in sizes.items()}
    assert [bits.pop(name) for name in few] == [374, 374]
    assert max(bits.values()) < 1.01 * min(bits.values())


def test_our_design_in_table_4_is_the_tokenizer_of_the_parameters():
    ours = setting("4", ablations.table_of("4").favourite).design
    sizes, design = BASE.tokenizer.sizes, ablations.sized(ours)
    for name in ("num_tokens", "levels", "width", "encoder_blocks", "decoder_width"):
        assert getattr(sizes, name) == getattr(design, name)
    assert (sizes.decoder_blocks, sizes.local_joints) == (
        design.decoder_blocks,
        design.local_joints,
    )
    tokenizer = PoseTokenizer(sizes)
    assert design_size(design).parameters == sum(p.numel() for p in tokenizer.parameters())


def test_a_setting_that_two_tables_share_is_one_run():
    kind = ablations.DENOISER
    same = [("3c", "γ̄ = 0.9"), ("5", "both"), ("choices", "as it is")]
    same.append(("occlusion", "occlude and replace, plain pictures"))
    configs = [ablations.config_of(BASE, setting(*one), "synthetic", 3) for one in same]
    assert len({key(c, kind) for c in configs}) == 1
    plan = planned(BASE, ablations.TABLES, ["synthetic"], [3])
    assert len({run.key for run in plan}) < len(plan)


def test_a_tokenizers_row_does_not_depend_on_the_chain_and_a_denoisers_does():
    other = ablations.changed(BASE, {"diffusion.num_steps": 50})
    keys = {kind: key(BASE, kind) for kind in ("tokenizer", "denoiser")}
    assert key(other, "tokenizer") == keys["tokenizer"]
    assert key(other, "denoiser") != keys["denoiser"]


def test_what_changes_no_error_changes_no_row():
    other = ablations.changed(BASE, {"diffusion.optimizer.checkpoint_every": 7})
    assert key(other, "denoiser") == key(BASE, "denoiser")
    fewer = ablations.changed(BASE, {"evaluation.num_inference_steps": 5})
    assert key(fewer, "denoiser") != key(BASE, "denoiser")
    assert key(fewer, ablations.STEPS) == key(BASE, ablations.STEPS)  # which has its own


def test_source_and_seed_make_other_rows():
    table = ablations.table_of("3a")
    paths = {
        Run(BASE, table, table.settings[0], source, seed).path
        for source in ("synthetic", "mocap")
        for seed in SEEDS
    }
    assert len(paths) == 2 * len(SEEDS)


def test_a_change_reaches_the_parameter_and_nothing_else():
    values = to_dict(ablations.changed(BASE, {"tokenizer.sizes.local_joints": 5}))
    assert values["tokenizer"]["sizes"].pop("local_joints") == 5
    before = to_dict(BASE)
    before["tokenizer"]["sizes"].pop("local_joints")
    assert values == before


@pytest.mark.parametrize(
    ("changes", "sentence"),
    [
        ({"tokenizer.sizes.joints": 5}, "`tokenizer.sizes.joints` is not a known key"),
        ({"tokenizers.width": 5}, "`tokenizers.width` is not a known key"),
        ({"seed.width": 5}, "`seed.width` is not a known key"),
        ({"tokenizer.sizes.local_joints": 2}, "`tokenizer.sizes.local_joints` must be odd; got 2"),
        ({"diffusion.final_occlude_rate": 0.5}, "must be 1; got 0.6"),
    ],
)
def test_a_senseless_change_is_refused(changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        ablations.changed(BASE, changes)


@pytest.mark.parametrize(
    ("right", "wrong", "place"),
    [
        ("favourite: both", "favorite: both", "favorite"),
        ("kind: denoiser", "kind: chain", "kind"),
        ("width: 64", "breadth: 64", "breadth"),
    ],
)
def test_a_misspelt_table_is_refused_by_its_place(tmp_path, right, wrong, place):
    text = ablations.TABLES_FILE.read_text(encoding="utf-8")
    path = tmp_path / "tables.yaml"
    path.write_text(text.replace(right, wrong, 1), encoding="utf-8")
    with pytest.raises(ValueError, match=rf"\d\.(settings\.\d\.design\.)?{place}\n"):
        ablations.read_tables(path)


def test_another_table_is_refused():
    with pytest.raises(ValueError, match="`table` must be one of 3a, .*; got '9z'"):
        ablations.table_of("9z")


def made_up(errors, **columns):
    """Rows of table 5: {setting: error of each seed}, two people of 1 and 3 images each."""
    lines = [
        {"setting": name, "seed": seed, "cluster": f"{seed}-{k}", "value": error + add, "n": n}
        for name, each in errors.items()
        for seed, error in enumerate(each)
        for k, (add, n) in enumerate(((3.0, 1), (-1.0, 3)))
    ]
    place = {"study": "ablation_5", "source": "synthetic", "joints": "all"}
    return pd.DataFrame(lines).assign(**place | ablations.table_of("5").primary | columns)


def test_a_table_compares_each_setting_with_its_favourite():
    table = ablations.table_of("5")
    errors = {"occlude": [12.0, 12.1, 12.2], "replace": [9.0, 12.0, 10.0], "both": [10.0] * 3}
    rows = made_up(errors)
    lines = ablations.errors(rows, table)
    assert lines.setting.tolist() == ["occlude", "replace", "both"]  # as in the table
    assert lines["mean"].tolist() == pytest.approx([12.1, 31 / 3, 10.0])
    claims = ablations.claims_of(rows, table)
    assert claims.claim.tolist() == ["occlude is worse than both", "replace is worse than both"]
    assert claims["mean"].tolist() == pytest.approx([2.1, 1 / 3])
    assert claims.verdict.tolist() == ["holds here", "undecided"]
    fewer = ablations.claims_of(rows[rows.setting != "occlude"], table)
    assert len(fewer) == 1 and ablations.claims_of(rows[:0], table).empty


def test_a_contrast_weighs_settings_and_measures_in_each_cluster():
    table = ablations.table_of("5")
    clean = made_up({"both": [10.0, 11.0], "replace": [10.0, 12.0]})
    hidden = made_up({"both": [15.0, 17.0], "replace": [20.0, 24.0]}, occlusion="occluders")
    rise = ablations.table_of("occlusion").contrasts[0].measures
    weights, rows = {"replace": 1, "both": -1}, pd.concat([clean, hidden])
    assert ablations.weighted(rows, table, weights).mean == pytest.approx(0.5)
    rises = ablations.weighted(rows, table, weights, rise)
    assert rises.mean == pytest.approx(((20 - 10) - (15 - 10) + (24 - 12) - (17 - 11)) / 2)
