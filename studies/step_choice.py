"""How sure is the choice of the steps of inference, and what does it cost in time?

`step_curve.fewest_steps` chooses by means over the seeds. Here stands what the seeds say of it:
each candidate's change from the reference, seed by seed, with Student's interval. An interval
takes its candidate as if it had been named beforehand: that it was picked out of many is not in it.

The reference of an error is the best of the ways with the most steps: not always the exact chain,
which is "uniform", and in as many steps "cosine" as well.
"""

import statistics
from typing import NamedTuple

from di2pose_lib.base.checks import require
from di2pose_lib.base.files import read_json
from di2pose_lib.base.project import project_root
from di2pose_lib.evaluation.comparisons import FAILS, HOLDS, SeedInterval, seed_interval, verdict
from di2pose_lib.evaluation.step_curve import DECIDE, WAYS
from studies.ablation_runs import SEEDS
from studies.ablation_tables import finished_rows
from studies.ablations import CURVE

SHARE = 0.99  # of the reference's quality that is to be kept
ALLOWED = 100 * (1 / SHARE - 1)  # %: so much may an error lie above its reference
KEPT, MISSED, UNDECIDED = "kept", "missed", "undecided"
BENCHMARK = "benchmarks/results/inference_cpu.json"
RANDOM = "random"
PER_POSE = {  # the sampler's `order`: where the benchmark has ms per pose by the number of steps
    RANDOM: "ms_per_pose_by_steps",
    "confidence": "ms_per_pose_by_steps_confident_first",
}


class Candidate(NamedTuple):
    """A way to go a number of steps."""

    way: str
    """A key of the curves."""
    steps: int

    def __str__(self):  # one step is the same each way
        return "1 step" if self.steps == 1 else f"{self.steps} steps, {self.way}"


class Beside(NamedTuple):
    """A candidate beside the reference of each error that decides."""

    candidate: Candidate
    errors: dict
    """{error: mm}, means over the seeds."""
    changes: dict
    """{error: `SeedInterval` of its change from the reference, in %}."""
    verdict: str
    """On its keeping `SHARE` of the quality: `KEPT` where the interval of each error lies below
    `ALLOWED`, `MISSED` where that of any lies above, else (or with too few seeds) `UNDECIDED`."""


class Evidence(NamedTuple):
    """What the seeds say of a chosen candidate and of the next cheaper one."""

    chosen: Beside
    cheaper: Beside | None
    """None below the fewest steps; then the rest is empty, and nothing is separated."""
    missed_by: dict
    """{error: mm} by which the cheaper one's means lie above what is allowed."""
    between: dict
    """{error: `SeedInterval` of the change from the chosen to the cheaper one, in %}."""
    separated: bool
    """Whether the intervals tell the two apart: the chosen one kept, the cheaper one missed."""


def seed_curves(source, split, seeds=SEEDS, root=None):
    """[{way: curve}] of the seeds that have finished, as `step_curve.step_curve` gives them."""
    (rows,) = finished_rows(CURVE, source, seeds, root).values()
    return [row["curve"][split] for row in rows.values()]


def candidates(runs):
    """Every `Candidate` of curves, way by way; of those that are the same draws the first."""
    found = {}
    for way, curve in runs[0].items():
        for steps in curve["steps"]:
            one = Candidate(way, steps)
            drawn = tuple(value for error in DECIDE for value in _errors(runs, error, one))
            found.setdefault((steps, drawn), one)
    return list(found.values())


def _errors(runs, error, candidate):
    """An error (mm) of a candidate, one a seed."""
    place = runs[0][candidate.way]["steps"].index(candidate.steps)
    return [run[candidate.way][error][place] for run in runs]


def paired_change(runs, error, candidate, other):
    """How much larger an error is in one way than in another: differences within each seed.

    Args:
        runs: [{way: curve}], one a seed.
        error: a key of the curves.
        candidate, other: a `Candidate` each.

    Returns:
        `SeedInterval` in % of the other's mean error, so that its own mean is the change of
        the means, which the rule compares.

    Raises:
        ValueError: no runs.
    """
    require(len(runs) > 0, "`runs` must hold at least one seed; got none")
    beside = _errors(runs, error, other)
    pairs = zip(_errors(runs, error, candidate), beside, strict=True)
    return seed_interval([100 * (own - its) / statistics.fmean(beside) for own, its in pairs])


def references(runs):
    """{error: the `Candidate` of the most steps with the lowest mean} for each of `DECIDE`."""
    most = [Candidate(way, curve["steps"][-1]) for way, curve in runs[0].items()]
    return {
        error: min(most, key=lambda one: statistics.fmean(_errors(runs, error, one)))
        for error in DECIDE
    }


def beside_reference(runs, candidate):
    """The `Beside` of a candidate."""
    errors, changes, words = {}, {}, []
    for error, reference in references(runs).items():
        change = paired_change(runs, error, candidate, reference)
        errors[error] = statistics.fmean(_errors(runs, error, candidate))
        changes[error] = change
        ends = (end - ALLOWED for end in (change.mean, change.low, change.high))
        words.append(verdict(SeedInterval(*ends, change.seeds)))  # of the claim: it is too large
    word = MISSED if HOLDS in words else KEPT if set(words) == {FAILS} else UNDECIDED
    return Beside(candidate, errors, changes, word)


def next_cheaper(runs, chosen):
    """The `Candidate` with the next fewer steps; of several ways the one that comes nearest.

    Nearest is the one whose worst change has the lowest mean. None below the fewest steps.
    """
    fewer = [one for one in candidates(runs) if one.steps < chosen.steps]
    most = max((one.steps for one in fewer), default=None)

    def worst(one):
        return max(change.mean for change in beside_reference(runs, one).changes.values())

    return min((one for one in fewer if one.steps == most), key=worst, default=None)


def evidence(runs, chosen):
    """The `Evidence` on a chosen `Candidate`."""
    own, cheaper = beside_reference(runs, chosen), next_cheaper(runs, chosen)
    if cheaper is None:
        return Evidence(own, None, {}, {}, False)
    other = beside_reference(runs, cheaper)
    over = {
        error: other.errors[error] - statistics.fmean(_errors(runs, error, one)) / SHARE
        for error, one in references(runs).items()
    }
    return Evidence(
        own,
        other,
        {error: excess for error, excess in over.items() if excess > 0},
        {error: paired_change(runs, error, cheaper, chosen) for error in DECIDE},
        (own.verdict, other.verdict) == (KEPT, MISSED),
    )


def configured(evaluation):
    """The `Candidate` that the section `evaluation` of a configuration asks for.

    Raises:
        ValueError: its options are none of `WAYS`.
    """
    options = {"spacing": evaluation.step_spacing, "order": evaluation.step_order}
    usual = {"spacing": "uniform", "order": "random"}
    ways = [way for way, own in WAYS.items() if usual | own == options]
    require(len(ways) > 0, f"`evaluation` must sample in one of {', '.join(WAYS)}; got {options}")
    return Candidate(ways[0], evaluation.num_inference_steps)


def times_per_pose(scale, order=RANDOM, root=None):
    """{pictures at once: {steps: ms per pose}} of the committed benchmark, from picture to pose.

    Args:
        scale: "lesson" or "paper".
        order: a key of `PER_POSE`; "paper" is timed in random order alone.
    """
    cases = read_json((root or project_root()) / BENCHMARK)["cases"][scale]
    return {
        int(batch): {int(steps): ms for steps, ms in case[PER_POSE[order]].items()}
        for batch, case in cases.items()
        if batch.isdigit()
    }


def candidate_times(candidate, scale, root=None):
    """{pictures at once: ms per pose} of a `Candidate`, in its own order of the tokens."""
    order = WAYS[candidate.way].get("order", RANDOM)
    times = times_per_pose(scale, order, root)
    return {batch: by_steps[candidate.steps] for batch, by_steps in times.items()}
