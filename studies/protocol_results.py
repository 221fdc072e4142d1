"""Results of the protocols of occlusion: the rows of all finished seeds, joined.

`python -m studies.protocol_results` writes lists of rows, each with protocol, level, method,
estimator, joints, metric, mean, ci95_low, ci95_high, seeds and n (images of all seeds together):

| file in `results_folder(source)` | what its rows are of |
|---|---|
| sweeps.json | errors under masks, crops and occluders, by visible share of the body, by action |
| advocc.json | AdvOcc; level 0 is the clean image; the coarse search beside the full grid |
| inpainting.json | some joints known |
| uncertainty.json | several samples of a picture |
| plausibility.json | bones, symmetry, joint limits; ground truth's own too |
| advocc_gallery.json | no rows: the worst patches of the pipeline's own seed, to paint again |
| conventions.json | the errors of the clean images, in every convention |

A row is of all seeds whose run has finished, or is left out. Its interval is over seeds and
clusters of images together (`seed_statistics`). On motion capture the clusters are the same
recordings in every seed, and those that all seeds have count. A mean of actions is no mean of
clusters: the seeds' own intervals stand in for these.

A method "a, b − c, d" with an empty estimator is the paired difference of estimator b of method
a and estimator d of method c, on the same images; where c is "Di2Pose without the occluder", on
the same joints of the same frames, with the occluder and without.
"""

import argparse
import math
import sys

from di2pose_lib.base import surroundings
from di2pose_lib.base.checks import require
from di2pose_lib.base.config import SOURCES
from di2pose_lib.base.config_file import load_config
from di2pose_lib.base.files import is_there, read_json
from di2pose_lib.base.project import SOURCE_PARAMS, project_root, results_folder
from di2pose_lib.data.occlusions import RATIOS
from di2pose_lib.evaluation import estimators, measure, protocols
from di2pose_lib.evaluation.comparisons import seed_interval
from di2pose_lib.evaluation.contenders import HYPOTHESES
from di2pose_lib.evaluation.plausibility import GROUND_TRUTH
from di2pose_lib.evaluation.row_files import write_rows
from di2pose_lib.evaluation.visibility import COVERED, FEWEST, OWN_BODY, SEEN, SHARE, WITHOUT
from studies.protocol_rows import KEY, combined_rows, difference_rows
from studies.protocol_runs import (
    ACTIONS,
    GROWTH,
    INPAINTING,
    NAMES,
    OCCLUSION,
    ONE_SEED,
    PATCHES,
    SEEDS,
    planned,
)

SHARED_CLUSTERS = {"synthetic": False, "mocap": True}

_CHAIN, _CHAIN_MEAN, _ONE, _MEAN, _SOFT = (
    (measure.DI2POSE, estimator)
    for estimator in (
        estimators.CHAIN,
        protocols.CHAIN_MEAN,
        estimators.ONE_SAMPLE,
        estimators.MEAN,
        estimators.SOFT,
    )
)
_NEIGHBOUR, _TRUTH = (measure.NEIGHBOUR, "copy"), (GROUND_TRUTH, "")

# Pairs (worse, better), as expected: what each estimator is worth, and what the neighbour lacks.
ERROR_PAIRS = (
    *((_CHAIN, _ONE), (_CHAIN, _SOFT), (_ONE, _MEAN), (_ONE, _SOFT)),
    *((_NEIGHBOUR, _CHAIN), (_NEIGHBOUR, _ONE)),
)
# What averaging costs in plausibility, and what a sample lacks of it.
PLAUSIBILITY_PAIRS = (
    *((_CHAIN_MEAN, _CHAIN), (_MEAN, _ONE), (_SOFT, _CHAIN), (_SOFT, _ONE)),
    *((_CHAIN, _TRUTH), (_ONE, _TRUTH)),
)

# The quick sampler's set beside Algorithm 2's.
SAMPLER_PAIRS = (
    (
        (measure.DI2POSE, f"{HYPOTHESES} samples"),
        (measure.DI2POSE, f"{HYPOTHESES} samples, {estimators.ALGORITHM_2}"),
    ),
)

WHICH_JOINTS = ("all", "visible", "occluded")  # that a sweep's rows are of

FILES = ("sweeps", "advocc", "inpainting", "uncertainty", "plausibility", "conventions")
GALLERY = "advocc_gallery"  # a file beside them

KINDS = {  # lists of rows in a run's file
    OCCLUSION: ("errors", "uncertainty", "plausibility", "conventions"),
    GROWTH: ("uncertainty",),
    **dict.fromkeys((ACTIONS, INPAINTING, *PATCHES, *ONE_SEED), ("errors",)),
}

_FIELDS = {*KEY, "mean", "ci95_low", "ci95_high", "n", "clusters"}


def finished(source, root=None):
    """{protocol: {seed: {kind: rows}}} of the runs that have finished with these parameters.

    Raises:
        ValueError: a run's file that is damaged, or lacks rows or fields of them.
    """
    root = root or project_root()
    base = load_config(root / SOURCE_PARAMS["synthetic"])
    found = {name: {} for name in NAMES}
    for run in planned(base, NAMES, [source], SEEDS, root):
        if is_there(run.row_path):
            measured = read_json(run.row_path)
            found[run.name][run.config.seed] = {
                kind: _checked(run.row_path, measured, kind) for kind in KINDS[run.name]
            }
    return found


def _checked(path, measured, kind):
    rows = measured.get(kind) if isinstance(measured, dict) else None
    require(isinstance(rows, list), f"{path} must hold a list called {kind!r}")
    for row in rows:
        whole = isinstance(row, dict) and row.keys() >= _FIELDS
        require(whole, f"{path}: every row must have {', '.join(sorted(_FIELDS))}; got {row}")
    return rows


def joined(found, *, shared_clusters):
    """{file: its rows} of what `finished` found; files without a finished run are left out.

    Args:
        found: of `finished`.
        shared_clusters: as for `protocol_rows.combined_rows`.

    Raises:
        ValueError: a row twice in a run, or pairs of other images.
    """
    options = {"shared_clusters": shared_clusters}
    files = {"sweeps": [], "uncertainty": []}
    seeds = found[OCCLUSION].values()
    if seeds:
        errors, uncertainty, plausibility, conventions = (
            _comparable([_enough(measured[kind]) for measured in seeds], shared_clusters)
            for kind in KINDS[OCCLUSION]
        )
        files["sweeps"] = _with_level_0(_with_differences(errors, ERROR_PAIRS, options))
        files["uncertainty"] = _with_differences(uncertainty, SAMPLER_PAIRS, options)
        files["plausibility"] = _with_differences(plausibility, PLAUSIBILITY_PAIRS, options)
        files["conventions"] = _with_means_of_actions(conventions, options)
    files["sweeps"] += _of_kind(found[ACTIONS], "errors", options)
    files["uncertainty"] += _of_kind(found[GROWTH], "uncertainty", options)
    files["advocc"] = _advocc(found, options)
    files["inpainting"] = _of_kind(found[INPAINTING], "errors", options)
    return {name: rows for name, rows in files.items() if rows}


def _of_kind(seeds, kind, options):
    """The joined rows of one kind of a protocol; none where no seed has finished."""
    if not seeds:
        return []
    rows = [measured[kind] for measured in seeds.values()]
    return _with_means_of_actions(_comparable(rows, options["shared_clusters"]), options)


def _enough(rows):
    """Without the bins of too few clusters, which runs by older code left too."""
    return [
        row for row in rows if row["protocol"] != SHARE or len(row["clusters"]["names"]) >= FEWEST
    ]


def _comparable(rows_of_seeds, shared_clusters):
    """Where clusters are shared, without the rows of which no cluster is in every seed."""
    if not shared_clusters:
        return rows_of_seeds
    common = {}
    for row in (row for rows in rows_of_seeds for row in rows if row["clusters"] is not None):
        names = set(row["clusters"]["names"])
        common[_key(row)] = common.get(_key(row), names) & names
    return [[row for row in rows if common.get(_key(row), True)] for rows in rows_of_seeds]


def _with_level_0(rows):
    """The rows, and those of clean images once more as what a mask and a crop of 0 leave."""
    clean = [
        row
        for row in rows
        if (row["protocol"], row["level"]) == protocols.CLEAN and row["joints"] in WHICH_JOINTS
    ]
    return rows + [{**row, "protocol": sweep} for sweep in RATIOS for row in clean]


def _with_differences(rows_of_seeds, pairs, options):
    rows = combined_rows(rows_of_seeds, **options)
    both = [[*own, *_uncovered(own)] for own in rows_of_seeds]
    own = {row["estimator"] for row in rows if row["method"] == measure.DI2POSE}
    occluder = [((measure.DI2POSE, name), (WITHOUT, name)) for name in sorted(own)]
    for worse, better in (*pairs, *occluder):
        rows += difference_rows(both, worse, better, **options)
    return rows


def _uncovered(rows):
    """Rows of clean images to be paired with those with the occluder.

    Those over all joints and by what hides a joint: with visible ones it would be other joints.
    """
    kinds = (SEEN, COVERED, OWN_BODY)
    return [
        {**row, "protocol": protocols.OCCLUDERS, "level": 1.0, "method": WITHOUT}
        for row in rows
        if row["protocol"] == protocols.CLEAN[0]
        and row["method"] == measure.DI2POSE
        and row["joints"].endswith(("all", *kinds))
    ]


def _advocc(found, options):
    """Clean images once: their errors are the same whatever the patch, as are their draws."""
    clean, rows = {}, []
    for name in PATCHES:
        for seed, measured in found[name].items():
            clean.setdefault(seed, [row for row in measured["errors"] if row["level"] == 0])
    attacked = [
        [[row for row in one["errors"] if row["level"] != 0] for one in found[name].values()]
        for name in PATCHES
    ]
    for rows_of_seeds in (list(clean.values()), *attacked):
        if rows_of_seeds:
            kept = _comparable(rows_of_seeds, options["shared_clusters"])
            rows += combined_rows(kept, **options)
    for name in ONE_SEED:
        rows += _of_kind(found[name], "errors", options)
    return rows


def _with_means_of_actions(rows_of_seeds, options):
    """The joined rows, and the means of actions, in the first seed's order."""
    rows = {_key(row): row for row in combined_rows(rows_of_seeds, **options)}
    groups = [{_key(row): row for row in own if row["clusters"] is None} for own in rows_of_seeds]
    for key in groups[0]:
        if all(key in own for own in groups):
            rows[key] = _mean_of_seeds([own[key] for own in groups], **options)
    return [rows[key] for key in map(_key, rows_of_seeds[0]) if key in rows]


def _key(row):
    return tuple(row[name] for name in KEY)


def _mean_of_seeds(rows, shared_clusters):
    """One row of several seeds' means of actions, by the rule of `seed_statistics`.

    Of the clusters each seed's own interval is all that is known. Shared clusters move the seeds'
    means together, others cancel in part.
    """
    first, count = rows[0], len(rows)
    mean = sum(row["mean"] for row in rows) / count
    below = [row["mean"] - row["ci95_low"] for row in rows]
    above = [row["ci95_high"] - row["mean"] for row in rows]
    if shared_clusters:
        below, above = sum(below) / count, sum(above) / count
    else:
        below, above = math.hypot(*below) / count, math.hypot(*above) / count
    if count > 1:
        seeds = seed_interval([row["mean"] for row in rows])
        join = math.hypot if shared_clusters else max
        below, above = join(below, mean - seeds.low), join(above, seeds.high - mean)
    return {
        **{name: first[name] for name in KEY},
        "mean": mean,
        "ci95_low": mean - below,
        "ci95_high": mean + above,
        "seeds": count,
        "n": sum(row["n"] for row in rows),
    }


def write(source, root=None):
    """Write the files of one source; {file: rows}, and `finished`'s runs.

    Raises:
        ValueError: as `finished` and `joined`, or parameters of another scale than lesson.
    """
    root = root or project_root()
    params = SOURCE_PARAMS[source]
    scale = load_config(root / params).scale
    require(scale == "lesson", f"`scale` must be lesson in {params}; got {scale}")
    found = finished(source, root)
    files = joined(found, shared_clusters=SHARED_CLUSTERS[source])
    for name, rows in files.items():
        write_rows(results_folder(source, root) / f"{name}.json", rows)
    worst = galleries(source, root)
    if worst:
        write_rows(results_folder(source, root) / f"{GALLERY}.json", worst)
    return files, found


def galleries(source, root=None):
    """{"advocc 80": records of the worst cases, …} of the pipeline's own seed, where they ran.

    The records (`Attack.attack`, without their tables) tell how to paint the pictures again.
    """
    root = root or project_root()
    base = load_config(root / SOURCE_PARAMS["synthetic"])
    runs = planned(base, list(PATCHES), [source], SEEDS[:1], root)
    return {r.name: read_json(r.row_path)["gallery"] for r in runs if is_there(r.row_path)}


def main(arguments):
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m studies.protocol_results", description=__doc__.splitlines()[0]
    )
    parser.add_argument("--source", nargs="+", choices=SOURCES, default=list(SOURCES))
    try:
        surroundings.check(project_root())
        for source in parser.parse_args(arguments).source:
            files, found = write(source)
            seeds = [f"{name}: {len(own)} of {_planned(name)}" for name, own in found.items()]
            print(f"{source}: finished seeds of {', '.join(seeds)}")
            for name in FILES:
                none = "no finished run with these parameters, left as it was"
                rows = f"{len(files[name])} rows" if name in files else none
                print(f"  {name}.json: {rows}")
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


def _planned(name):
    return 1 if name in ONE_SEED else len(SEEDS)


if __name__ == "__main__":
    surroundings.write_utf8()
    sys.exit(main(sys.argv[1:]))
