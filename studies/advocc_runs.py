"""AdvOcc over many images: what it will cost, and a run that can be killed.

A run keeps a file for each finished image, written whole or not at all. A run that was killed
goes on where it stopped, to the same bits, because each image is attacked by itself.
"""

import time
from pathlib import Path
from typing import NamedTuple

from di2pose_lib.base.checks import require
from di2pose_lib.base.files import is_there, locked, read_json, write_json
from di2pose_lib.base.progress import Progress
from di2pose_lib.evaluation.advocc import METRICS, target
from di2pose_lib.evaluation.advocc_search import SEARCHES, most_positions

PROBE_SECONDS = 2.0


class Cost(NamedTuple):
    """What attacking a number of images will take."""

    seconds: float
    """passes · seconds_per_pass."""
    passes: int
    """Pictures through encoder and estimator; for the coarse search an upper bound."""
    seconds_per_pass: float


def expected_cost(attack, dataset, num_images, search):
    """The `Cost` of a run before it starts, from a timed probe of about two seconds.

    The probe predicts a batch of patched pictures of the first image, once to warm up and then
    again until time is up: textures, pasting, prediction and errors. The clean image, which is
    predicted too, is one of a position's passes more.

    Args:
        attack: an `Attack`.
        dataset: the `PoseDataset` of the run.
        num_images: how many images will be attacked.
        search: a key of `SEARCHES`.
    """
    first, grid = target(dataset, 0), attack.grid
    positions = list(range(min(grid.num_positions, max(1, 64 // attack.draws))))
    attack.position_errors(first, positions)
    done, started = 0, time.monotonic()
    while not done or time.monotonic() - started < PROBE_SECONDS:
        attack.position_errors(first, positions)
        done += len(positions) * attack.draws
    per_pass = (time.monotonic() - started) / done
    most = most_positions(search, grid, len(METRICS))
    found = len(METRICS) * (attack.draws + attack.fresh_draws)
    passes = num_images * ((most + 1) * attack.draws + found)
    return Cost(passes * per_pass, passes, per_pass)


def run(attack, dataset, rows, search, folder, identity):
    """Attack images of a split; what an earlier, killed run finished is not done again.

    Args:
        attack: an `Attack`.
        dataset: a `PoseDataset` of the grid's image size.
        rows: which images, ints.
        search: a key of `SEARCHES`.
        folder: for the files of this run alone; kept.
        identity: what the model and the data are, for JSON; with the attack's settings it
            must be that of the files already there.

    Returns:
        a list of `Attack.attack`'s records, in the order of `rows`, as read from the files.

    Raises:
        ValueError: no images, another search, images of another size than the grid's, a folder
            with files of other settings.
    """
    rows, folder, grid = [int(row) for row in rows], Path(folder), attack.grid
    require(len(rows) > 0, "`rows` must name at least one image; got none")
    require(search in SEARCHES, f"`search` must be one of {', '.join(SEARCHES)}; got {search!r}")
    require(
        tuple(dataset.image_size) == grid.image_size,
        f"images must be {grid.image_size[0]} × {grid.image_size[1]} for this grid; got "
        f"{dataset.image_size[0]} × {dataset.image_size[1]}",
    )
    settings = {
        "protocol": grid.name,
        "grid": [grid.patch, grid.stride, grid.rows, grid.columns],
        "search": search,
        "seed": attack.seed,
        "draws": attack.draws,
        "fresh_draws": attack.fresh_draws,
        "textures": attack.textures.identity,
        "identity": identity,
    }
    with locked(folder):
        _check_settings(folder / "settings.json", settings)
        progress = Progress(f"{grid.name}, {search}", len(rows))
        for done, row in enumerate(rows, start=1):
            path = _path(folder, row)
            if not is_there(path):
                write_json(path, attack.attack(target(dataset, row), SEARCHES[search]))
                progress.tick(done)
        progress.report(len(rows), {})
    return [read_json(_path(folder, row)) for row in rows]


def _path(folder, row):
    return folder / f"{row:06d}.json"


def _check_settings(path, settings):
    if not is_there(path):
        write_json(path, settings)
    found = read_json(path)
    other = sorted(key for key in settings if found.get(key) != settings[key])
    require(
        not other,
        f"{path} must be of the same run; got another {', '.join(other)}: take another folder",
    )
