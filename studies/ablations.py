"""The ablations: which settings each table compares, and what the rows say of them.

The tables are data, in ablation_tables.yaml. Each is a study, `Table.study`, whose rows `errors`,
`weighted` and `claims_of` compare.
"""

import dataclasses
from functools import cache
from pathlib import Path
from typing import Any, Literal, NamedTuple

import pandas as pd
from pydantic import ConfigDict, TypeAdapter
from ruamel.yaml import YAML

from di2pose_lib.base.checks import require
from di2pose_lib.base.config_file import config_from_dict, to_dict
from di2pose_lib.evaluation import step_curve
from di2pose_lib.evaluation.intervals import interval, intervals, verdict, weighted_sum
from di2pose_lib.tokens.designs import TokenizerDesign, design_size, match_parameters

# What a table trains, and what it measures.
TOKENIZER, DENOISER, STEPS = "tokenizer", "denoiser", "steps of inference"


class Setting(NamedTuple):
    """A row of a table."""

    name: str
    changes: dict[str, Any] = {}
    """{dotted parameter: value}."""
    paper: tuple[str, str] | None = None
    """(ablation, setting) in the paper's table 3, or None where it has no such row."""
    design: TokenizerDesign | None = None
    """A tokenizer of another design, with as many parameters as the configured one."""


class Contrast(NamedTuple):
    """A claim about several settings: that a weighted sum of their errors is above 0."""

    claim: str
    weights: dict[str, float]
    """{setting: weight}."""
    measures: tuple[tuple[float, dict[str, str]], ...] = ()
    """(weight, measure) of the error, as `Table.primary`; none: that one."""


class Table(NamedTuple):
    """Settings that are compared."""

    name: str
    question: str
    kind: Literal[TOKENIZER, DENOISER, STEPS]
    settings: tuple[Setting, ...]
    primary: dict[str, str]
    """Which of its rows decide: {column: value}."""
    favourite: str | None = None
    """The setting that the paper found, or we took, for the best; each other one is claimed to
    be worse. None where `contrasts` say what is claimed."""
    contrasts: tuple[Contrast, ...] = ()

    @property
    def study(self):
        """The study that holds its rows."""
        return f"ablation_{self.name}"


TABLES_FILE = Path(__file__).with_name("ablation_tables.yaml")


def read_tables(path):
    """The `Table`s of a file, a tuple; an unknown key or a wrong type is a ValueError."""
    values = YAML(typ="safe", pure=True).load(path.read_text(encoding="utf-8"))
    strict = ConfigDict(extra="forbid")
    return TypeAdapter(tuple[Table, ...], config=strict).validate_python(values["tables"])


EVERY_TABLE = read_tables(TABLES_FILE)
TABLES = tuple(table for table in EVERY_TABLE if len(table.settings) > 1)  # those that compare


def table_of(name):
    """The `Table` of this name; another name is a ValueError."""
    tables = {table.name: table for table in EVERY_TABLE}
    require(name in tables, f"`table` must be one of {', '.join(tables)}; got {name!r}")
    return tables[name]


BEST, CURVE = table_of("best"), table_of("curve")


def changed(config, changes):
    """A `Config` with {dotted parameter: value} in place of its own.

    Raises:
        ValueError: an unknown parameter, a wrong type, or a contradiction.
    """
    values = to_dict(config)
    for path, value in changes.items():
        *sections, name = path.split(".")
        section = values
        for key in sections:
            require(isinstance(section.get(key), dict), f"`{path}` is not a known key")
            section = section[key]
        require(name in section, f"`{path}` is not a known key")
        section[name] = value
    return config_from_dict(values)


def config_of(base, setting, source, seed):
    """The whole `Config` of one run: a setting on one data source with one seed."""
    return changed(base, {"data.source": source, "seed": seed, **setting.changes})


@cache
def sized(design):
    """The design at the width that gives it as many parameters as the favourite of table 4 has."""
    table = table_of("4")
    (ours,) = (setting.design for setting in table.settings if setting.name == table.favourite)
    return match_parameters(design, design_size(ours).parameters)


def run_values(config, kind, design=None):
    """All that a run's row depends on, but for the code and the source's files, for JSON.

    A tokenizer does not depend on encoder, chain and evaluation; when a training writes to disk
    changes no error.
    """
    values = to_dict(config)
    for section in ("encoder", "tokenizer", "diffusion"):
        del values[section]["optimizer"]["checkpoint_every"]
    if kind == TOKENIZER:
        values = {name: values[name] for name in ("scale", "seed", "data", "tokenizer")}
    if kind == STEPS:
        values["evaluation"] = step_curve.settings()
    if design is not None:
        del values["tokenizer"]["sizes"]
        hides_joints = {"masked_share": 0.0}  # no design does, and the digests of runs say so
        values["design"] = dataclasses.asdict(design) | hides_joints
    return {"kind": kind, **values}


DRAWS = (2000, "ablations", "bootstrap")  # of the intervals


def rows_of(df, table, **wanted):
    """The rows of a table's measure, or of another: {column: value}; all joints."""
    rows = df[(df.study == table.study) & (df.joints == "all")]
    for name, value in wanted.items():
        rows = rows[rows[name] == value]
    return rows


def errors(df, table):
    """The measure of each setting: mean, low, high, seeds; a DataFrame in the table's order."""
    lines = intervals(rows_of(df, table, **table.primary), ["source", "setting"], draws=DRAWS)
    order = {setting.name: place for place, setting in enumerate(table.settings)}
    return lines.sort_values("setting", key=lambda names: names.map(order), kind="stable")


def weighted(df, table, weights, measures=()):
    """`Interval` of a weighted sum of settings, {name: weight}; None where one was not run.

    The errors of a seed's settings are of the same images, so the sum is taken in each cluster
    of them before these are resampled.
    """
    parts = [
        (weight * times, rows_of(df, table, setting=name, **measure))
        for name, weight in weights.items()
        for times, measure in measures or ((1, table.primary),)
    ]
    if any(rows.empty for _, rows in parts):
        return None
    return interval(weighted_sum(*parts), draws=DRAWS)


def claims_of(df, table):
    """What a table claims: (claim, weights, measures) of its contrasts, or against its favourite;
    a DataFrame of claim, mean, low, high, seeds, verdict, above 0 where it holds."""
    lines = []
    for claim, weights, measures in table.contrasts or [
        Contrast(f"{one.name} is worse than {table.favourite}", {one.name: 1, table.favourite: -1})
        for one in table.settings
        if one.name != table.favourite
    ]:
        value = weighted(df, table, weights, measures)
        if value is not None:
            lines.append({"claim": claim, **value._asdict(), "verdict": verdict(value)})
    return pd.DataFrame(lines)
