"""What was measured, found in the committed results: for the ledger, which measures nothing.

Files of rows lie as <file>.json in `project.results_folder`, lists of dicts with `protocol`,
`level`, `method`, `estimator`, `joints`, `metric`, `mean`, `ci95_low`, `ci95_high` and `seeds`. A
file that does not exist has no rows. The ablations' rows are read through `ablation_tables`.
"""

import math
from typing import NamedTuple

from di2pose_lib.base.checks import require
from di2pose_lib.base.files import is_there, read_json
from di2pose_lib.base.project import results_folder
from di2pose_lib.evaluation import estimators, measure
from di2pose_lib.evaluation.comparisons import SeedInterval
from di2pose_lib.evaluation.conditions import of_action
from di2pose_lib.evaluation.measure import CONDITIONS
from di2pose_lib.evaluation.visibility import WITHOUT
from studies import ablation_tables

# Algorithm 2 draws k_S, then each k_{s-1} from the model's posterior, and decodes k_0: one sample,
# without mean, arg-max or choice. So this is the estimator that stands beside the paper's numbers;
# of sets of samples those that it drew.
PAPER_ESTIMATOR = estimators.CHAIN
# Where a protocol was not run with it, the first of these that was; the ledger names it. Never
# the best of samples, which uses the answer.
OTHER_ESTIMATORS = (
    estimators.ONE_SAMPLE,
    estimators.ARGMAX,
    estimators.MEAN,
    estimators.SOFT,
)

SOURCES = ("synthetic", "mocap")
ABLATIONS, BENCHMARK = "ablations", "inference benchmark"  # what is no file of rows
OVER_SEEDS = "seeds and images"
ABLATION = "ablation "  # how what was measured begins, where it was by an ablation
BENCHMARK_FILE = "benchmarks/results/inference_cpu.json"
NEEDED = {"method", "estimator", "joints", "metric", "mean", "ci95_low", "ci95_high", "seeds"}
PLACE = ("protocol", "level", "joints", "metric")  # what a row is of
DEFAULTS = {"method": measure.DI2POSE, "joints": "all", "metric": "mpjpe_mm"}


class Measured(NamedTuple):
    """A number of ours with its 95 % interval."""

    value: SeedInterval
    over: str
    """What the interval is over: "images" (people or recordings, and seeds where there are more
    than one), "seeds and images" of an ablation, "seeds" where no image counts, or nothing."""
    what: str
    """What was measured, in words."""


class Selection(NamedTuple):
    """Which row of a file: fields and their values; `DEFAULTS` hold where they say nothing.

    An "action" is part of the row's protocol.
    """

    file: str
    fields: dict


def minus(first, second):
    """`SeedInterval` of a difference, from the two intervals alone.

    Zou and Donner's rule (MOVER) for independent means. Where the same images or people saw
    both, their errors go together, and the interval is wider than it had to be.
    """
    below = math.hypot(first.mean - first.low, second.high - second.mean)
    above = math.hypot(first.high - first.mean, second.mean - second.low)
    mean = first.mean - second.mean
    return SeedInterval(mean, mean - below, mean + above, min(first.seeds, second.seeds))


def negative(interval):
    """`SeedInterval` of second − first, from that of first − second."""
    return SeedInterval(-interval.mean, -interval.high, -interval.low, interval.seeds)


def scaled(interval, factor):
    """`SeedInterval` of a positive multiple."""
    return SeedInterval(*(factor * value for value in interval[:3]), interval.seeds)


class Results:
    """The results of a repository.

    Args:
        root: its top folder, a Path.
    """

    def __init__(self, root):
        self.root = root
        self._rows, self._ablations = {}, {}

    def rows(self, source, file):
        """The rows of a file; none where it does not exist.

        Raises:
            ValueError: it holds something else than a list of rows, or a row lacks a field.
        """
        if (source, file) not in self._rows:
            path = results_folder(source, self.root) / f"{file}.json"
            rows = read_json(path) if is_there(path) else []
            require(isinstance(rows, list), f"{path} must hold a list; got {type(rows).__name__}")
            for row in rows:
                whole = isinstance(row, dict) and row.keys() >= NEEDED
                require(
                    whole, f"{path}: every row must have {', '.join(sorted(NEEDED))}; got {row}"
                )
            self._rows[source, file] = rows
        return self._rows[source, file]

    def find(self, source, selection):
        """The `Measured` of one `Selection`; None where no row has it."""
        found = self.together(source, [selection])
        return found and found[0]

    def together(self, source, selections):
        """A `Measured` for each of several `Selection`s, those of a method by one estimator.

        The paper's estimator where all have it, else the first of the others; a selection that
        names its estimator keeps it. None where a row is missing.

        Raises:
            ValueError: several rows that a selection cannot tell apart.
        """
        found = self._together(source, selections)
        return found and [_measured(row) for row in found]

    def paired(self, source, first, second):
        """The `SeedInterval` of first − second, two `Selection`s, from a row of their difference.

        Such rows take the difference image by image: of two estimators or methods under one
        condition, or of one under occluders and on the same frames without. A row of
        second − first serves too. None where there is no row of either.

        Raises:
            ValueError: as `together`.
        """
        if first.file != second.file:
            return None
        found = self._together(source, [first, second])
        if found is None:
            return None
        a, b = found
        forward = self._difference(source, first.file, a, b)
        backward = self._difference(source, first.file, b, a)
        return forward or (backward and negative(backward))

    def _difference(self, source, file, a, b):
        """The `SeedInterval` in the row of a − b, two rows of a file; None without it."""
        rival = _rival(a, b)
        if rival is None:
            return None
        place = {key: a[key] for key in PLACE if key in a}
        method = f"{a['method']}, {a['estimator']} − {rival}, {b['estimator']}"
        wanted = {**place, "method": method, "estimator": ""}
        rows = [r for r in self.rows(source, file) if wanted.items() <= r.items()]
        return _measured(rows[0]).value if rows else None

    def _together(self, source, selections):
        """The rows of `together`."""
        each = [self._matching(source, selection) for selection in selections]
        free = {}  # method: the estimators that every selection without one has
        for rows, selection in zip(each, selections, strict=True):
            if not _fixed(selection):
                names = {row["estimator"] for row in rows}
                method = _fields(selection)["method"]
                free[method] = free.get(method, names) & names
        chosen = {method: _preferred(names) for method, names in free.items()}
        if None in chosen.values() or not all(each):
            return None
        found = []
        for rows, selection in zip(each, selections, strict=True):
            own = [r for r in rows if _fixed(selection) or r["estimator"] == chosen[r["method"]]]
            wanted = f"{selection.file}.json of {source}: one row must have {_fields(selection)}"
            require(len(own) == 1, f"{wanted}; got {len(own)}")
            found.append(own[0])
        return found

    def _matching(self, source, selection):
        wanted = _fields(selection)
        return [
            row
            for row in self.rows(source, selection.file)
            if all(_equal(row.get(key), value) for key, value in wanted.items())
            and row["estimator"] != estimators.BEST
        ]

    def finished(self, table, source):
        """{setting: {seed: row}} of an ablation."""
        return self._of_ablation(ablation_tables.finished_rows, table, source)

    def compared(self, table, source):
        """`ablation_tables.compared` of an ablation."""
        return self._of_ablation(ablation_tables.compared, table, source)

    def contrasts(self, table, source):
        """`ablation_tables.claims` of an ablation."""
        return self._of_ablation(ablation_tables.claims, table, source)

    def _of_ablation(self, function, table, source):
        """What a function finds, read once."""
        key = (function.__name__, table.name, source)
        if key not in self._ablations:
            self._ablations[key] = function(table, source, root=self.root)
        return self._ablations[key]

    def setting(self, source, table, name, metric):
        """The `Measured` error of an ablation's setting; None where no run has finished."""
        rows = self.finished(table, source)
        interval = ablation_tables.weighted_errors(rows, {(name, metric): 1})
        what = f"{ABLATION}{table.name}: {name}, {metric}"
        return None if interval is None else Measured(interval, OVER_SEEDS, what)

    def milliseconds(self, steps):
        """(time of one pose of scale lesson in so many steps of inference, where); or None.

        The benchmark's times are a constant and so many times that of a step.
        """
        path = self.root / BENCHMARK_FILE
        if not is_there(path):
            return None
        found = read_json(path)
        by_steps = found["cases"]["lesson"]["1"]["ms_per_pose_by_steps"]
        one, many = by_steps["1"], by_steps["100"]
        where = f"{found['device']}, {found['threads']} threads"
        return one + (steps - 1) * (many - one) / 99, where


def _rival(a, b):
    """What a row of a − b calls b's method; None where the two are of other images or joints."""
    if all(a.get(key) == b.get(key) for key in PLACE):
        return b["method"]
    same_joints = all(a[key] == b[key] for key in ("method", "joints", "metric"))
    conditions = (b.get("protocol"), a.get("protocol"))
    own = a["method"] == measure.DI2POSE
    return WITHOUT if own and same_joints and conditions == tuple(CONDITIONS) else None


def _fixed(selection):
    return "estimator" in selection.fields


def _fields(selection):
    fields = {**DEFAULTS, **selection.fields}
    if selection.file == "advocc" and "joints" not in selection.fields:
        del fields["joints"]  # there is no choice: joints under the patch never count
    action = fields.pop("action", "all")
    if action != "all":
        fields["protocol"] = of_action(fields["protocol"], action)
    return fields


def _equal(got, wanted):
    if isinstance(wanted, float) and isinstance(got, int | float):
        return math.isclose(got, wanted, abs_tol=1e-9)
    return got == wanted


def _preferred(names):
    """The estimator to take of those that were run; None without any.

    Raises:
        ValueError: several, none of which is ours.
    """
    for name in (PAPER_ESTIMATOR, *OTHER_ESTIMATORS):
        if name in names:
            return name
    along = {name for name in names if name.endswith(estimators.ALGORITHM_2)}
    names = along or names
    require(len(names) <= 1, f"one estimator must be named; got {', '.join(sorted(names))}")
    return next(iter(names), None)


def _measured(row):
    value = SeedInterval(row["mean"], row["ci95_low"], row["ci95_high"], row["seeds"])
    names = ("method", "estimator", "protocol", "level")
    words = [f"{row[name]}" for name in names if row.get(name) is not None]
    return Measured(value, "images", ", ".join([*words, f"{row['joints']} joints", row["metric"]]))
