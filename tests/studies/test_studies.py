"""Studies' blocks: what is committed is whole, what is missing is found, and runs are added."""

from collections import Counter

import pandas as pd
import pytest

from di2pose_lib.base.config_file import load_config
from di2pose_lib.base.project import SOURCE_PARAMS, project_root
from di2pose_lib.evaluation.table import COLUMNS, OF_STUDIES, block_path, read_table, study_rows
from studies import ablation_runs, ablations, blocks, protocol_runs

ROOT = project_root()
SOURCES = ("synthetic", "mocap")


def every_run(root=None):
    """The runs of all studies, as their programs plan them."""
    base = load_config(ROOT / ablation_runs.PARAMS)
    plan = ablation_runs.planned(base, ablations.EVERY_TABLE, SOURCES, ablation_runs.SEEDS, root)
    base, seeds = load_config(ROOT / SOURCE_PARAMS["synthetic"]), protocol_runs.SEEDS
    return plan + protocol_runs.planned(base, protocol_runs.NAMES, SOURCES, seeds, root)


@pytest.fixture(scope="module")
def root(committed_files):
    return committed_files or ROOT


def test_no_finished_run_counts_as_missing(root):
    plan = every_run(root)
    assert Counter(isinstance(run, ablation_runs.Run) for run in plan) == {True: 276, False: 42}
    assert len({run.key for run in plan}) == 216 + 42  # runs that tables share are one
    assert blocks.missing(plan) == []


def test_every_block_is_a_table_of_one_source_and_seed_below_a_megabyte(root):
    paths = sorted((root / "results" / "studies").glob("*/*.csv.gz"))
    assert set(paths) == {run.path for run in every_run(root)}
    for path in paths:
        rows = read_table(path)
        source, seed = path.name.removesuffix(".csv.gz").rsplit("-", 1)
        assert path.stat().st_size < 1_000_000
        assert {*COLUMNS, *OF_STUDIES} <= set(rows)
        assert set(rows.source) == {source} and set(rows.seed) == {int(seed)}
        place = rows.columns.difference(["value", "n", "run", "code"]).tolist()
        assert not rows.duplicated(place).any(), path


def test_every_setting_of_a_table_has_its_rows(root):
    for table in ablations.TABLES:
        rows = study_rows(table.study, root=root)
        of_settings = rows.groupby("setting").seed.nunique().to_dict()
        assert of_settings == {setting.name: 3 for setting in table.settings}
        assert len(ablations.errors(rows, table)) == 2 * len(table.settings)


class Made(blocks.Run):
    """A run that measures nothing."""

    def measured(self):
        usual = dict.fromkeys(COLUMNS, "") | {"level": 0.0, "value": 1.5, "n": 2}
        return pd.DataFrame([usual | {"setting": self.name, "cluster": "a"}])


@pytest.fixture
def base():
    return load_config(ROOT / SOURCE_PARAMS["synthetic"])


def test_runs_are_added_to_their_block_and_not_made_again(base, tmp_path):
    first, second = (Made("a study", name, base, {"name": name}, tmp_path) for name in "ab")
    assert blocks.missing([first, second]) == [first, second]
    first.go()
    assert blocks.missing([first, second]) == [second]
    second.go()
    rows = read_table(block_path("a study", "synthetic", base.seed, tmp_path))
    assert rows.setting.tolist() == ["a", "b"] and rows.run.tolist() == [first.key, second.key]
    assert rows.cpu.ne("").all() and rows.scale.eq("lesson").all()


def test_a_run_that_two_studies_share_is_made_once(base, tmp_path, monkeypatch):
    Made("a study", "as it is", base, {"same": 1}, tmp_path).go()
    monkeypatch.setattr(Made, "measured", lambda self: pytest.fail("it was made before"))
    other = Made("another", "plain", base, {"same": 1}, tmp_path)
    other.go()
    assert read_table(other.path).setting.tolist() == ["plain"]


def test_a_block_of_other_parameters_is_refused_by_its_name(base, tmp_path):
    Made("a study", "a", base, {"width": 1}, tmp_path).go()
    other = Made("a study", "a", base, {"width": 2}, tmp_path)
    with pytest.raises(ValueError, match="a study/synthetic-2.csv.gz was made with other param"):
        blocks.missing([other])
