"""The numbers of the papers' tables, one by one, from the CSV files in paper/."""

import csv
from typing import NamedTuple

from di2pose_lib.base.checks import require
from di2pose_lib.base.files import check_file
from studies import ablations

DI2POSE, HIPART = "Di2Pose", "HiPART"  # the two papers
HUMAN36M = "Human3.6M"


class PaperTable(NamedTuple):
    """A CSV file: which columns name a row; the others hold numbers."""

    file: str
    source: str
    name: str
    keys: tuple


class Number(NamedTuple):
    """One number of a table."""

    source: str
    """The paper."""
    table: str
    """As the paper calls it: "Table 3a"."""
    keys: dict
    """{column: value} that name its row."""
    column: str
    value: str
    """As printed."""
    unit: str
    data: str
    """What the paper measured it on."""

    @property
    def row(self):
        """Its row in words: the values of the keys, with a name where they are numbers alone."""
        named = [f"{k}={v}" if k in _NAMED else v for k, v in self.keys.items() if v]
        return ", ".join(named)


_NAMED = (
    "ratio",
    "frames",
    "L1_encoder_blocks",
    "L2_gcsab_blocks",
    "D1",
    "D2",
)
TABLES = (
    PaperTable("di2pose_table1_h36m_mpjpe_mm.csv", DI2POSE, "Table 1", ("method",)),
    PaperTable("di2pose_table2_3dpw_mm.csv", DI2POSE, "Table 2", ("method",)),
    PaperTable("di2pose_table3_ablations_h36m_mm.csv", DI2POSE, "", ("ablation", "setting")),
    PaperTable("di2pose_table6_h36m_pa_mpjpe_mm.csv", DI2POSE, "Table 6", ("method",)),
    PaperTable(
        "hipart_table1_h36m_occlusion_mpjpe_mm.csv", HIPART, "Table 1", ("occlusion", "ratio")
    ),
    PaperTable("hipart_table2_speed.csv", HIPART, "Table 2", ("method",)),
    PaperTable(
        "hipart_table3_size_ablation.csv",
        HIPART,
        "Table 3",
        ("L1_encoder_blocks", "L2_gcsab_blocks", "D1", "D2"),
    ),
    PaperTable("hipart_table4_sequence.csv", HIPART, "Table 4", ("method", "frames")),
)
UNITS = {"fps_v100": "frames/s", "params_M": "million parameters", "flops_G": "GFLOPs"}
BENCHMARKS = {  # of Table 2's columns
    "3dpw": "3DPW",
    "occ": "3DPW-Occ",
    "adv40": "3DPW-AdvOcc@40",
    "adv80": "3DPW-AdvOcc@80",
}


def ablation_settings():
    """{(ablation, setting) in the paper's table 3: (`Table`, `Setting`) of ours}."""
    return {
        setting.paper: (table, setting)
        for table in ablations.TABLES
        for setting in table.settings
        if setting.paper
    }


def read_csv(path):
    """Rows of a CSV file as dicts.

    Raises:
        ValueError: no such file, or a row that is longer or shorter than the first line.
    """
    check_file(path)
    with open(path, encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    for row in rows:
        whole = None not in row and None not in row.values()
        require(whole, f"{path}: every row must have as many fields as the first line; got {row}")
    return rows


def numbers(folder):
    """Every `Number` of the tables in a folder, table by table, row by row.

    Raises:
        ValueError: a file is missing, or a field that should be a number is not.
    """
    ours, found = ablation_settings(), []
    for table in TABLES:
        path = folder / table.file
        for row in read_csv(path):
            keys = {key: row.pop(key) for key in table.keys}
            name = table.name or _ablation_table(path, keys, ours)
            for column, value in row.items():
                if not value:
                    continue
                _check_number(path, value)
                data = BENCHMARKS.get(column.split("_")[0], HUMAN36M)
                unit = UNITS.get(column, "mm")
                found.append(Number(table.source, name, keys, column, value, unit, data))
    return found


def _ablation_table(path, keys, ours):
    key = tuple(keys.values())
    require(key in ours, f"{path}: a row must be a setting of `ablations`; got {key}")
    return f"Table {ours[key][0].name}"


def _check_number(path, value):
    try:
        float(value)
    except ValueError:
        raise ValueError(f"{path}: a field must be a number or empty; got {value!r}") from None
