"""How few reverse steps will do, and how sure are the seeds of that?

The rule: on validation subjects, the fewest steps whose means over the seeds keep 99 % of the
reference's quality (the reciprocal of the error) in both errors, the MPJPE of one sample and the
error of its bones' lengths. The reference of an error is the best of the ways with the most steps:
not always the exact chain, which is "uniform", and in as many steps "cosine" as well.

Beside the rule stands what the seeds say: each candidate's change from the reference, seed by
seed, with Student's interval. It takes its candidate as if it had been named beforehand: that it
was picked out of many is not in it.
"""

from typing import NamedTuple

import numpy as np

from di2pose_lib.base.checks import require
from di2pose_lib.base.files import read_json
from di2pose_lib.base.project import project_root
from di2pose_lib.evaluation.estimators import ONE_SAMPLE
from di2pose_lib.evaluation.intervals import FAILS, HOLDS, Interval, student, verdict
from di2pose_lib.evaluation.step_curve import WAYS
from di2pose_lib.evaluation.table import study_rows
from studies.ablations import CURVE

DECIDE = ("mpjpe_mm", "bone_error_mm")  # both are to be kept
SHARE = 0.99  # of the reference's quality that is to be kept
ALLOWED = 100 * (1 / SHARE - 1)  # %: so much may an error lie above its reference
KEPT, MISSED, UNDECIDED = "kept", "missed", "undecided"
BENCHMARK_FILE = "benchmarks/results/inference_cpu.json"
RANDOM = "random"
PER_POSE = {  # the sampler's `order`: where the benchmark has ms per pose by the number of steps
    RANDOM: "ms_per_pose_by_steps",
    "confidence": "ms_per_pose_by_steps_confident_first",
}


class Candidate(NamedTuple):
    """A way to go a number of steps."""

    way: str
    steps: int

    def __str__(self):  # one step is the same each way
        return "1 step" if self.steps == 1 else f"{self.steps} steps, {self.way}"


class Beside(NamedTuple):
    """A candidate beside the reference of each error that decides."""

    changes: dict
    """{error: `Interval` of its change from the reference, in %}."""
    verdict: str
    """On its keeping `SHARE` of the quality: `KEPT` where the interval of each error lies below
    `ALLOWED`, `MISSED` where that of any lies above, else (or with too few seeds) `UNDECIDED`."""


def seed_curves(source, split, root=None):
    """Errors of one sample in mm: a DataFrame, rows (setting, steps), columns (metric, seed).

    Args:
        source: of the data.
        split: "validation" or "test".
        root: the repository's top folder.
    """
    rows = study_rows(CURVE.study, source, root)
    rows = rows[(rows.test_set == split) & (rows.estimator == ONE_SAMPLE)]
    rows = rows.astype({"setting": str, "metric": str, "steps": int})
    return rows.pivot_table("value", ["setting", "steps"], ["metric", "seed"], sort=False)


def candidates(curves):
    """Every `Candidate` of curves, way by way; of those that are the same draws the first."""
    return [Candidate(*place) for place in curves.drop_duplicates().index]


def fewest_steps(curves, share=SHARE):
    """The `Candidate` that the rule takes; of ways with as many steps that with the lowest MPJPE.

    Raises:
        ValueError: no curves.
    """
    require(len(curves) > 0, "`curves` must hold at least one way; got none")
    means = {error: curves[error].mean(axis=1) for error in DECIDE}
    kept = np.ones(len(curves), dtype=bool)
    for error, reference in references(curves).items():
        kept &= (means[error] <= means[error][reference] / share).to_numpy()
    most = curves.index.get_level_values("steps") == curves.index.levels[1].max()
    enough = curves.index[kept] if kept.any() else curves.index[most]
    return Candidate(*min(enough, key=lambda place: (place[1], means[DECIDE[0]][place])))


def references(curves):
    """{error: the `Candidate` of the most steps with the lowest mean} for each of `DECIDE`."""
    most = curves.xs(curves.index.levels[1].max(), level="steps", drop_level=False)
    return {error: Candidate(*most[error].mean(axis=1).idxmin()) for error in DECIDE}


def paired_change(curves, error, candidate, other):
    """`Interval`: how much larger an error is in one way than in another, seed by seed.

    In % of the other's mean error, so that its own mean is the change of the means, which the
    rule compares.
    """
    errors, beside = curves[error].loc[candidate], curves[error].loc[other]
    return student((100 * (errors - beside) / beside.mean()).tolist())


def beside_reference(curves, candidate):
    """The `Beside` of a candidate."""
    changes = {
        error: paired_change(curves, error, candidate, reference)
        for error, reference in references(curves).items()
    }
    words = set()  # of the claim that a change is too large
    for change in changes.values():
        ends = (end - ALLOWED for end in change[:3])
        words.add(verdict(Interval(*ends, change.seeds)))
    word = MISSED if HOLDS in words else KEPT if words == {FAILS} else UNDECIDED
    return Beside(changes, word)


def next_cheaper(curves, chosen):
    """The `Candidate` with the next fewer steps; of several ways the one that comes nearest.

    Nearest is the one whose worst change has the lowest mean. None below the fewest steps.
    """
    fewer = [one for one in candidates(curves) if one.steps < chosen.steps]
    most = max((one.steps for one in fewer), default=None)

    def worst(one):
        return max(change.mean for change in beside_reference(curves, one).changes.values())

    return min((one for one in fewer if one.steps == most), key=worst, default=None)


def configured(evaluation):
    """The `Candidate` that the section `evaluation` of a configuration asks for.

    Raises:
        ValueError: its options are none of `WAYS`.
    """
    options = {"spacing": evaluation.step_spacing, "order": evaluation.step_order}
    usual = {"spacing": "uniform", "order": RANDOM}
    ways = [way for way, differs in WAYS.items() if usual | differs == options]
    require(len(ways) > 0, f"`evaluation` must sample in one of {', '.join(WAYS)}; got {options}")
    return Candidate(ways[0], evaluation.num_inference_steps)


def times_per_pose(scale, order=RANDOM, root=None):
    """{pictures at once: {steps: ms per pose}} of the committed benchmark, from picture to pose.

    Args:
        scale: "lesson" or "paper".
        order: a key of `PER_POSE`; "paper" is timed in random order alone.
    """
    cases = read_json((root or project_root()) / BENCHMARK_FILE)["cases"][scale]
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
