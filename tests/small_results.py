"""A repository's results, made up: for tests of the ledger."""

import json
import shutil

from di2pose_lib.base.config_file import load_config
from di2pose_lib.base.project import project_root, results_folder
from di2pose_lib.evaluation.conditions import of_action
from studies.ablation_runs import PARAMS, Run

SOURCES = ("synthetic", "mocap")


def empty_root(folder):
    """A folder with the papers' files and the parameters, without results; its path."""
    root = project_root()
    shutil.copytree(root / "paper", folder / "paper")
    for name in ("params.yaml", PARAMS):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(root / name, folder / name)
    return folder


def row(mean, low, high, **fields):
    """A row of results of Di2Pose, one sample, all joints, MPJPE, three seeds."""
    usual = {
        "method": "Di2Pose",
        "estimator": "one sample",
        "joints": "all",
        "metric": "mpjpe_mm",
        "seeds": 3,
        "n": 10,
    }
    return {**usual, "mean": mean, "ci95_low": low, "ci95_high": high, **fields}


def clean(mean, low, high, **fields):
    """A row of sweeps.json: clean images; of an action, where one is named."""
    fields = {"protocol": "clean", "level": 0.0, **fields}
    action = fields.pop("action", "all")
    if action != "all":
        fields["protocol"] = of_action(fields["protocol"], action)
    return row(mean, low, high, **fields)


def put_rows(root, source, file, rows):
    """Write a file of rows."""
    path = results_folder(source, root) / f"{file}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(rows))


def put_json(root, path, value):
    """Write a JSON file."""
    (root / path).parent.mkdir(parents=True, exist_ok=True)
    (root / path).write_text(json.dumps(value))


def put_run(root, source, table, setting, seed, errors, **other):
    """Write the row of an ablation's run: {metric: mean of both clusters}, 1 and 3 images."""
    run = Run(load_config(root / PARAMS), table, setting, source, seed, root)
    clusters = {name: [mean + 3.0, mean - 1.0] for name, mean in errors.items()}
    value = {"library": "made up", "clusters": "subject", "images": [1, 3], "errors": clusters}
    value |= other
    put_json(root, run.row_path.relative_to(root), value)
