"""The one table: every result is a row, and every column means one thing.

A row is one value of one cluster of test images, a person or a recording, averaged over its
images and over the samples of each. So every mean, difference and interval can be made again from
the rows, by `intervals`. Nothing that others give is stored: no differences, no means of actions.

| column | |
|---|---|
| source, test_set, scale, condition | the data, their split, the sizes, what the denoiser sees |
| method, setting, estimator | who answers, what was changed in it, how one pose is read from it |
| occlusion, level | what hides the body, and how much of it |
| joints, action, metric | what is counted; "all" where nothing is left out |
| seed, cluster | of the training; of the images; empty where a value has no cluster |
| value, n | the mean, and of how many images (of a rank correlation: images of each joint) |

A cluster's name means the same wherever it stands: "recording 7" is one in every seed, "person
3-12" is drawn by seed 3 alone. Studies add `run`, a digest of all parameters behind the row,
`code`, one of the library, `budget`, `cpu` and `threads` (empty in rows that are older than the
columns). `joint`, `nominal` and `steps` stand where a study needs them: one joint of the body,
what a region should hold, reverse steps.
"""

import gzip

import numpy as np
import pandas as pd

from di2pose_lib.base.checks import require
from di2pose_lib.base.files import atomic_file, check_file
from di2pose_lib.base.project import project_root

COLUMNS = (
    *("source", "test_set", "scale", "condition", "method", "setting", "estimator", "occlusion"),
    *("level", "joints", "action", "metric", "seed", "cluster", "value", "n"),
)
OF_STUDIES = ("run", "code", "budget", "cpu", "threads")
OF_SOME_STUDIES = ("joint", "nominal", "steps")
NUMBERS = {"level": float, "seed": int, "value": float, "n": int, "nominal": float, "steps": float}


def cluster_rows(values, clusters, digits=None, **fields):
    """Rows of one value an image, a row for each cluster, in the order of their first images.

    Args:
        values: float (n,).
        clusters: n names, of each image's cluster.
        digits: to which means are rounded, so that files stay small; None keeps all.
        fields: other columns; those that say nothing are of clean test images, all joints and
            actions, nothing changed.

    Raises:
        ValueError: values and clusters of other numbers.
    """
    count = len(values)
    require(len(clusters) == count, f"`clusters` must name {count} images; got {len(clusters)}")
    images = pd.DataFrame({"cluster": clusters, "value": values.double().tolist()})
    means = images.groupby("cluster", sort=False).value.agg(["mean", "size"]).reset_index()
    means.columns = ["cluster", "value", "n"]
    if digits is not None:
        means["value"] = means.value.round(digits)
    usual = {"test_set": "test", "occlusion": "clean", "level": 0.0, "joints": "all"}
    return means.assign(**usual | {"action": "all", "setting": ""} | fields)


def write_table(path, rows):
    """Write rows as CSV, gzipped where the name ends so; the same rows give the same bytes.

    Args:
        path: of the file.
        rows: DataFrame with all of `COLUMNS`.

    Raises:
        ValueError: a column is missing, or a value is not finite.
    """
    lacking = [name for name in COLUMNS if name not in rows]
    require(not lacking, f"`rows` must have the columns {', '.join(COLUMNS)}; got no {lacking}")
    finite = np.isfinite(rows.value.astype(float)).all()
    require(finite, "`rows` must have a value each; got some that are no number")
    data = rows.to_csv(index=False, lineterminator="\n").encode()
    with atomic_file(path) as temporary:
        zipped = str(path).endswith(".gz")
        temporary.write_bytes(gzip.compress(data, mtime=0) if zipped else data)


def read_table(path):
    """The rows that `write_table` wrote.

    Raises:
        ValueError: no such file, one that is no table, or one without some of `COLUMNS`.
    """
    check_file(path)
    try:
        rows = pd.read_csv(path, dtype=str, keep_default_na=False)
        for name in rows.columns.intersection(list(NUMBERS)):
            rows[name] = pd.to_numeric(rows[name].mask(rows[name] == "")).astype(NUMBERS[name])
    except (ValueError, OSError, EOFError) as error:
        raise ValueError(f"{path} must be a table of results; got: {error}") from error
    lacking = [name for name in COLUMNS if name not in rows]
    require(not lacking, f"{path} must have the columns {', '.join(COLUMNS)}; got no {lacking}")
    return rows


def block_path(study, source, seed, root=None):
    """Where a study's rows of one source and seed lie: one block, made on one machine."""
    folder = (root or project_root()) / "results" / "studies" / study
    return folder / f"{source}-{seed}.csv.gz"


def study_rows(study="*", source="*", root=None):
    """All rows of a study and source, with the study's name in `study`; "*" is every one.

    What has not been run has no rows; without any the table is empty.
    """
    place = block_path(study, source, "*", root)
    paths = sorted(place.parents[1].glob(f"{study}/{place.name}"))
    tables = [read_table(path).assign(study=path.parent.name) for path in paths]
    rows = pd.concat(tables or [pd.DataFrame()], ignore_index=True)
    rows = rows.reindex(columns=[*COLUMNS, *OF_STUDIES, *OF_SOME_STUDIES, "study"])
    texts = rows.columns.difference(list(NUMBERS))
    rows[texts] = rows[texts].astype(object).fillna("").astype("category")  # fast to compare
    return rows
