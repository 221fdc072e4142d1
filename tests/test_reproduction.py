"""The table at the end of `make repro`: its interval, its words, and what it refuses."""

import statistics

import pytest
import torch

from di2pose_lib import reproduction
from di2pose_lib.config_file import load_config
from di2pose_lib.files import read_json
from di2pose_lib.project import project_root
from di2pose_lib.reproduction import DIFFERS, REPRODUCED

SEEDS = [{"a": 100.0, "mean pose": 223.0}, {"a": 104.0, "mean pose": 223.0}]
SEEDS.append({"a": 102.0, "mean pose": 223.0})


def test_the_interval_is_that_of_one_more_value():
    values = [100.0, 104.0, 102.0]
    half = 4.303 * statistics.stdev(values) * (1 + 1 / 3) ** 0.5 + reproduction.ROUNDING_MM
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


@pytest.fixture(scope="module")
def lesson():
    config = load_config(project_root() / reproduction.PARAMS)
    return config, read_json(reproduction.record_path(config))


def test_the_committed_record_is_of_the_committed_parameters_and_of_three_seeds(lesson):
    config, record = lesson
    assert record["parameters"] == reproduction.parameters(config)
    seeds = range(config.seed, config.seed + reproduction.NUM_SEEDS)
    assert [*record["errors"]] == [str(seed) for seed in seeds]
    assert {"cpu", "vectors", "threads"} <= {*record["machine"]}


def test_the_table_names_every_number_and_both_machines(lesson):
    config, record = lesson
    errors = record["errors"][str(config.seed + 1)]
    text = reproduction.show(config, errors)
    assert all(name in text for name in errors)
    assert text.count(f"  {REPRODUCED}\n") == len(errors), "one of the three seeds is no outlier"
    assert f"Committed on {record['machine']['cpu']}" in text
    assert f"{len(errors)} of {len(errors)} reproduced" in text


def test_other_parameters_are_not_compared(lesson):
    config, record = lesson
    other = type(config)(**{**vars(config), "seed": config.seed + 1})
    assert "nothing to compare with" in reproduction.show(other, record["errors"]["2"])
