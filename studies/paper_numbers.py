"""The numbers of the papers' tables, from the CSV files in paper/: one row of a table each."""

import csv

import pandas as pd

from di2pose_lib.base.checks import require
from di2pose_lib.base.files import check_file
from di2pose_lib.base.project import project_root
from studies import ablations

DI2POSE, HIPART = "Di2Pose", "HiPART"  # the two papers

# (file, paper, the paper's name of the table, the columns that name a row); others hold numbers.
TABLES = (
    ("di2pose_table1_h36m_mpjpe_mm.csv", DI2POSE, "Table 1", ["method"]),
    ("di2pose_table2_3dpw_mm.csv", DI2POSE, "Table 2", ["method"]),
    ("di2pose_table3_ablations_h36m_mm.csv", DI2POSE, "", ["ablation", "setting"]),
    ("di2pose_table6_h36m_pa_mpjpe_mm.csv", DI2POSE, "Table 6", ["method"]),
    ("hipart_table1_h36m_occlusion_mpjpe_mm.csv", HIPART, "Table 1", ["occlusion", "ratio"]),
    ("hipart_table2_speed.csv", HIPART, "Table 2", ["method"]),
    (
        *("hipart_table3_size_ablation.csv", HIPART, "Table 3"),
        ["L1_encoder_blocks", "L2_gcsab_blocks", "D1", "D2"],
    ),
    ("hipart_table4_sequence.csv", HIPART, "Table 4", ["method", "frames"]),
)
_NAMED = ("ratio", "frames", "L1_encoder_blocks", "L2_gcsab_blocks", "D1", "D2")
UNITS = {"fps_v100": "frames/s", "params_M": "million parameters", "flops_G": "GFLOPs"}
BENCHMARKS = {  # of Table 2's columns: what the paper measured it on; Human3.6M all else
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
    """A CSV file as it is printed: every field a string.

    Raises:
        ValueError: no such file, or a row that is longer or shorter than the first line.
    """
    check_file(path)
    with open(path, encoding="utf-8", newline="") as handle:
        head, *rows = csv.reader(handle)
    for row in rows:
        whole = len(row) == len(head)
        require(whole, f"{path}: every row must have as many fields as the first line; got {row}")
    return pd.DataFrame(rows, columns=head)


def numbers(folder=None):
    """Every number of the papers' tables: a DataFrame, table by table, row by row.

    Columns: paper, table, row (in words), column, paper_value (as printed), unit, paper_data,
    and those that name a row in its file.

    Raises:
        ValueError: a file is missing, or a field that should be a number is not.
    """
    folder, ours, parts = folder or project_root() / "paper", ablation_settings(), []
    for file, paper, name, keys in TABLES:
        rows = read_csv(folder / file)
        # `melt` goes column by column, the papers row by row
        long = rows.reset_index().melt(["index", *keys], None, "column", "paper_value")
        long = long.sort_values("index", kind="stable").drop(columns="index")
        long = long[long.paper_value != ""]
        wrong = long[pd.to_numeric(long.paper_value, errors="coerce").isna()]
        require(
            wrong.empty,
            f"{folder / file}: a field must be a number or empty; got "
            f"{next(iter(wrong.paper_value), None)!r}",
        )
        if not name:
            pairs = list(zip(long.ablation, long.setting, strict=True))
            other = [pair for pair in pairs if pair not in ours]
            require(not other, f"{file}: a row must be a setting of `ablations`; got {other[:1]}")
        named = [long[key].where(long[key] == "", _words(key) + long[key]) for key in keys]
        parts.append(
            long.assign(
                paper=paper,
                table=name or [f"Table {ours[pair][0].name}" for pair in pairs],
                row=[", ".join(filter(None, each)) for each in zip(*named, strict=True)],
                unit=long.column.map(UNITS).fillna("mm"),
                paper_data=long.column.str.split("_").str[0].map(BENCHMARKS).fillna("Human3.6M"),
            )
        )
    return pd.concat(parts, ignore_index=True).fillna("")


def _words(key):
    return f"{key}=" if key in _NAMED else ""
