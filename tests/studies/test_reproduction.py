"""The table at the end of `make repro`: its interval, its words, and what it refuses."""

import dataclasses
import statistics

import pytest
import torch

from di2pose_lib.base.config_file import load_config
from di2pose_lib.base.files import read_json, write_json
from di2pose_lib.base.project import Pipeline, project_root
from studies import reproduction
from studies.reproduction import DIFFERS, REPRODUCED

SEEDS = [{"a": 100.0, "mean pose": 223.0}, {"a": 104.0, "mean pose": 223.0}]
SEEDS.append({"a": 102.0, "mean pose": 223.0})


def test_the_interval_is_that_of_one_more_value():
    values = [100.0, 104.0, 102.0]
    student = 0.95 * (2 / (1 - 0.95**2)) ** 0.5  # two degrees of freedom, in closed form
    half = student * statistics.stdev(values) * (1 + 1 / 3) ** 0.5 + reproduction.ROUNDING_MM
    low, high = reproduction.prediction_interval(values)
    assert (low, high) == (pytest.approx(102 - half), pytest.approx(102 + half))


def test_the_interval_holds_one_more_value_in_95_of_100_cases():
    draws = torch.randn(4000, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    inside = 0
    for *three, one_more in (1000 * draws).tolist():  # so that the allowance for rounding is none
        low, high = reproduction.prediction_interval(three)
        inside += low <= one_more <= high
    assert 0.94 < inside / len(draws) < 0.96


def test_a_number_within_the_seeds_spread_is_reproduced_and_one_beyond_differs():
    (_, committed, here, low, high, word), pose = reproduction.table(
        SEEDS, SEEDS[0], {"a": 110.0, "mean pose": 223.001}
    )
    assert (committed, here, word) == (100.0, 110.0, REPRODUCED)
    assert low < 100 and high > 110
    assert pose[-1] == REPRODUCED, "no seed moves it, another machine's rounding may"
    ((*_, word), (*_, rigid)) = reproduction.table(
        SEEDS, SEEDS[0], {"a": 113.0, "mean pose": 223.2}
    )
    assert (word, rigid) == (DIFFERS, DIFFERS)


def test_other_names_of_errors_are_refused():
    with pytest.raises(ValueError, match="the errors must be a, mean pose; got a"):
        reproduction.table(SEEDS, SEEDS[0], {"a": 110.0})


@pytest.fixture
def lesson(committed):
    """The committed parameters and record; the project is what is committed."""
    config = load_config(committed / reproduction.PARAMS)
    if not reproduction.record_path(config).is_file():
        pytest.skip("no record yet: python -m studies.reproduction --measure")
    return config, read_json(reproduction.record_path(config))


def results(folder, errors, **changes):
    """A folder of results with these errors."""
    here = {"cpu": "Chip 7", "vectors": "AVX2", "threads": 3, **changes}
    write_json(folder / reproduction.SUMMARY, errors)
    write_json(folder / reproduction.ROWS, [here])
    return folder


def test_the_committed_record_is_of_what_is_committed(lesson, committed):
    config, record = lesson
    assert record["parameters"] == reproduction.parameters(config)
    seeds = range(config.seed, config.seed + reproduction.NUM_SEEDS)
    assert [*record["errors"]] == [str(seed) for seed in seeds]
    folder = committed / "results" / config.scale / config.data.source
    assert record["errors"][str(config.seed)] == read_json(folder / reproduction.SUMMARY)
    row = read_json(folder / reproduction.ROWS)[0]
    assert {name: row[name] for name in record["machine"]} == record["machine"]


def test_the_table_names_every_number_and_both_machines(lesson, tmp_path):
    config, record = lesson
    errors = dict(record["errors"][str(config.seed + 1)])
    text = reproduction.show(config, results(tmp_path, errors))
    assert all(name in text for name in errors)
    assert f"Committed on {record['machine']['cpu']}" in text
    assert "here Chip 7 (AVX2), 3 threads." in text
    assert f"{len(errors)} of {len(errors)} reproduced" in text
    name = "clean_soft_decoding_mpjpe_mm"
    errors[name] += 100.0
    text = reproduction.show(config, results(tmp_path, errors))
    assert f"{len(errors) - 1} of {len(errors)} reproduced" in text
    (line,) = (line for line in text.splitlines() if line.startswith(name))
    assert line.endswith(DIFFERS)


def test_other_parameters_are_not_compared(lesson):
    config, _ = lesson
    other = dataclasses.replace(config, seed=config.seed + 1)
    assert "nothing to compare with" in reproduction.show(other, None)


def test_a_source_without_a_record_is_not_compared(committed):
    config = load_config(committed / reproduction.PARAMS)
    other = dataclasses.replace(config, data=dataclasses.replace(config.data, source="mocap"))
    assert "How far seeds differ is not recorded" in reproduction.show(other, None)


def test_what_was_not_run_here_is_refused_in_a_sentence(committed, monkeypatch, capsys):
    monkeypatch.setattr(reproduction.surroundings, "check", lambda root: None)  # a copy's library
    monkeypatch.setenv("DI2POSE_SCRATCH_ONLY", "1")
    assert reproduction.main(["--measure"]) == 1
    assert "run `dvc repro` with params.yaml first" in capsys.readouterr().err


def test_more_seeds_are_trained_on_the_same_images_stage_by_stage(tmp_path, monkeypatch):
    config = load_config(project_root() / reproduction.PARAMS)
    finished = Pipeline(config, tmp_path / "finished")
    images = finished.artifacts / "data_preparation"
    write_json(images / "made_from.json", {"from": {}, "content": "images"})
    done = []

    def stage(name):
        def make(pipeline):
            assert pipeline.stage == name and pipeline.content("data_preparation") == "images"
            done.append((name, pipeline.config.seed))
            write_json(pipeline.results / reproduction.SUMMARY, {"a": pipeline.config.seed})

        return name, make

    monkeypatch.setattr(reproduction, "project_root", lambda: tmp_path)
    monkeypatch.setattr(reproduction, "STEPS", tuple(stage(name) for name, _ in reproduction.STEPS))
    assert reproduction._trained(finished, 7) == {"a": 7}
    stages = ("image_encoder", "pose_tokenizer", "diffusion_training", "evaluation")
    assert done == [(name, 7) for name in stages]
