"""What claims are made of: functions of the table that say how much speaks for a claim.

An `Effect` is above 0 where its claim holds. Rows of the same images are compared cluster by
cluster (`change`); where images differ the two intervals are joined (`minus`), which is wider than
it has to be where the same people were in both. Of trained networks fewer than three seeds decide
nothing. What our data or methods cannot decide raises `Undecidable`.
"""

import math
from typing import NamedTuple

import torch

from di2pose_lib.base.files import is_there, read_json
from di2pose_lib.base.project import project_root, results_folder
from di2pose_lib.evaluation import estimators
from di2pose_lib.evaluation.intervals import (
    FAILS,
    FEWEST_SEEDS,
    HOLDS,
    Interval,
    corrected,
    interval,
    verdict,
    weighted_sum,
)
from di2pose_lib.evaluation.models import DI2POSE
from studies import ablations
from studies.paper_numbers import numbers
from studies.step_choice import BENCHMARK_FILE

# Why nothing of ours stands beside a number or claim; what does is "measured here".
MEASURED = "measured here"
LICENSED = "needs licensed data"  # our data hold nothing like it
QUOTED = "quoted"  # another method's, or HiPART's sizes: nothing of ours is like it yet
OUT_OF_SCOPE = "out of scope"  # sequence models
NOT_RUN = "not run yet"  # the experiment is planned, its rows are not there
SLIP = "slip"  # the paper contradicts itself there

# What results are made from, where it is no study.
EQUATIONS, BENCHMARK, PAPERS = "transition_matrices", "inference benchmark", "the papers' tables"

ROUNDED, ROUNDED_PERCENT = 0.05, 0.5  # half the last digit of the papers' numbers, of percents
ROUNDING = 1e-9  # at most, of an equation checked in float64
LEAST = 2.0**-53  # that float64 tells from 0 beside 1
MEAN_OF_ACTIONS = "mean of actions"

# Algorithm 2 draws k_S, then each k_{s-1} from the model's posterior, and decodes k_0: one sample,
# without mean, arg-max or choice. So it stands beside the paper's numbers where nothing is said.
USUAL = {
    "study": "occlusion",
    "action": "all",
    "method": DI2POSE,
    "estimator": estimators.CHAIN,
    "joints": "all",
    "joint": "",
    "metric": "mpjpe_mm",
}
CLEAN, OCCLUDERS = {"occlusion": "clean"}, {"occlusion": "occluders"}
SOFT = {"estimator": estimators.SOFT}
UNHIT = CLEAN | SOFT | {"joints": "in the image"}
FRESH = SOFT | {"occlusion": "worst patch", "setting": "fresh textures"}
FRESH |= {"joints": "outside the patch"}
FRESH_40, FRESH_80 = FRESH | {"level": 40.0}, FRESH | {"level": 80.0}


class Undecidable(Exception):
    """Nothing here decides a claim, or is like a number."""

    def __init__(self, status, measure="", made_by=""):
        super().__init__(status, measure, made_by)
        self.status, self.measure = status, measure  # one of the words above; what was wanted
        self.made_by = made_by  # the study that would decide it


class Effect(NamedTuple):
    """How much speaks for a claim, above 0 where it holds; or one measurement."""

    value: Interval
    measure: str
    """What was measured, in words."""
    made_by: str
    """A study, or `EQUATIONS`, `BENCHMARK`, `PAPERS`."""
    unit: str = "mm"
    over: str = "images"
    """What the interval is over: "images" (clusters of them, and seeds), "seeds and images" of an
    ablation, "seeds" where no image counts, "rounding" of the papers' numbers, or nothing."""
    is_trained: bool = True

    @property
    def verdict(self):
        """One of three words."""
        # what no training is in is decided by its interval alone
        seeds = self.value.seeds if self.is_trained else FEWEST_SEEDS
        return verdict(self.value._replace(seeds=seeds))


def exact(value, measure, made_by, unit, over=""):
    """An `Effect` without training in it, of a number or an `Interval`."""
    value = value if isinstance(value, Interval) else Interval(value, value, value, 0)
    return Effect(value, measure, made_by, unit, over, is_trained=False)


# -- of the studies' rows --------------------------------------------------------------------------


def select(df, **wanted):
    """The rows of a study with these values, of `USUAL` where they say nothing else.

    Raises:
        Undecidable: the data have no such action, or there are no such rows.
    """
    place = USUAL | wanted
    rows = df[df.study == place["study"]]
    if len(rows) and place["action"] not in {"all", MEAN_OF_ACTIONS, *rows.action}:
        raise Undecidable(LICENSED, "the data have no such actions")
    if place["action"] == MEAN_OF_ACTIONS:
        rows = rows[rows.action != "all"]
        del place["action"]
    for name, value in place.items():
        rows = rows[rows[name] == value]
    if rows.empty:
        raise Undecidable(NOT_RUN, words(**wanted), place["study"])
    return rows


def words(**wanted):
    """What `select` is asked for, for a reader."""
    place = {"setting": "", "occlusion": "", "level": ""} | USUAL | wanted
    place["level"] = f"{place['level']:g}" if place["level"] else ""
    place["action"] = place["action"].removeprefix("all")
    place["joints"] += " joints"
    order = ("method", "estimator", "setting", "occlusion", "level", "action", "joints", "metric")
    return ", ".join(place[name] for name in order if place[name])


def _effect(rows, measure, equally=None, **wanted):
    """The `Effect` of rows that were selected so."""
    place = USUAL | wanted
    units = {"mm": "mm", "percent": "%", "ms": "ms"}  # by the end of a metric's name
    unit = units.get(place["metric"].rsplit("_", 1)[-1], "")
    return Effect(interval(rows, equally), measure, place["study"], unit)


def error(df, **wanted):
    """The `Effect` of one measurement; arguments as in `select`."""
    equally = "action" if wanted.get("action") == MEAN_OF_ACTIONS else None
    return _effect(select(df, **wanted), words(**wanted), equally, **wanted)


def change(df, first, second, **both):
    """`Effect` of first − second, cluster by cluster; dicts for `select`, and what they share."""
    first, second = both | first, both | second
    rows = weighted_sum((1, select(df, **first)), (-1, select(df, **second)))
    return _effect(rows, f"{words(**first)} above {words(**second)}, image by image", **first)


def minus(first, second, joined="above"):
    """The `Effect` of first − second from the intervals alone (Zou and Donner's MOVER)."""
    a, b = first.value, second.value
    below = math.hypot(a.mean - a.low, b.high - b.mean)
    above = math.hypot(a.high - a.mean, b.mean - b.low)
    mean = a.mean - b.mean
    value = Interval(mean, mean - below, mean + above, min(a.seeds, b.seeds))
    return first._replace(value=value, measure=f"{first.measure} {joined} {second.measure}")


def scaled(effect, factor):
    """The `Effect` of a positive multiple."""
    value = Interval(*(factor * end for end in effect.value[:3]), effect.value.seeds)
    return effect._replace(value=value)


def left_of(most, effect):
    """The `Effect` of what is left of an allowance."""
    mean, low, high, seeds = effect.value
    value = Interval(most - mean, most - high, most - low, seeds)
    return effect._replace(value=value, measure=f"what is left of {most:g}: {effect.measure}")


def better(df, method, rival, *places, **wanted):
    """The rival's error is above the method's; with two places, so is its rise from the second
    to the first, cluster by cluster. A method without rows is not implemented here yet."""
    for name in (method, rival):
        if not (df.method == name).any():
            raise Undecidable(QUOTED, f"{name} is not implemented here")
    parts = [
        (of_method * of_place, wanted | place | {"method": name})
        for of_method, name in ((1, rival), (-1, method))
        for of_place, place in zip((1, -1), places or ({},), strict=False)
    ]
    rows = weighted_sum(*((weight, select(df, **place)) for weight, place in parts))
    first, rise = parts[0][1], " in its rise" if len(places) == 2 else ""
    return _effect(rows, f"{words(**first)} above {method}{rise}", **first)


def not_here(df, status, why=""):
    """Nothing here decides such claims."""
    raise Undecidable(status, why)


# -- of the ablations ------------------------------------------------------------------------------


def of_ablation(df, table, weights, measure, measures=(), unit="mm", over="seeds and images"):
    """The `Effect` of a weighted sum of an ablation's settings, as in `ablations.weighted`."""
    value = ablations.weighted(df, table, weights, measures)
    measure = f"ablation {table.name}: {measure}"
    if value is None:
        raise Undecidable(NOT_RUN, measure, table.study)
    return Effect(value, measure, table.study, unit, over)


def favourite(df, name, setting=None):
    """Every other setting of an ablation is worse than the favourite, or this one is.

    The nearest shows. That it does not hold takes a setting that is better with an interval that
    holds for all of them together; that each is worse needs no more than each.
    """
    table = ablations.table_of(name)
    best, note = table.favourite, ""
    others = [setting] if setting else [s.name for s in table.settings if s.name != best]
    each = [of_ablation(df, table, {o: 1, best: -1}, f"{o} above {best}") for o in others]
    if len(each) > 1:
        note = f", the lowest of {len(each)}"
        if {one.verdict for one in each} != {HOLDS}:
            note += ", interval of all together"
            each = [one._replace(value=corrected(one.value, len(each))) for one in each]
    fails = [one for one in each if one.verdict == FAILS]
    lowest = min(fails or each, key=lambda one: one.value.mean)
    return lowest._replace(measure=lowest.measure + note)


def contrast(df, name, claim):
    """An ablation's contrast is above 0."""
    table = ablations.table_of(name)
    (one,) = (one for one in table.contrasts if one.claim == claim)
    return of_ablation(df, table, one.weights, claim, one.measures)


def within(df, percent, name, setting, other):
    """A setting's error is at most so many percent above another's."""
    table, weights = ablations.table_of(name), {other: 1 + percent / 100, setting: -1}
    measure = f"what is left of {percent} % above {other}, {setting}"
    left = of_ablation(df, table, weights, measure, unit="%")
    return scaled(left, 100 / ablations.weighted(df, table, {other: 1}).mean)


def codes_used(df, name, setting, other):
    """A setting uses more of its codes than another."""
    table, used = ablations.table_of(name), [(100, {"metric": "codes_used_share"})]
    measure, weights = f"share of codes used, {setting} above {other}", {setting: 1, other: -1}
    return of_ablation(df, table, weights, measure, used, "%", "seeds")


# -- without training ------------------------------------------------------------------------------


def equation(df, field):
    """The largest deviation in an equation's check is rounding: digits to spare."""
    path = results_folder("synthetic") / f"{EQUATIONS}.json"
    if not is_there(path):
        raise Undecidable(NOT_RUN, f"{EQUATIONS}: {field}", EQUATIONS)
    deviation = read_json(path)[field]
    spare = math.log10(ROUNDING / max(deviation, LEAST))
    measure = f"{EQUATIONS}: {field} = {deviation:.0e}, below {ROUNDING:.0e}"
    return exact(spare, measure, EQUATIONS, "digits")


def milliseconds(steps):
    """(time of one pose of scale lesson in so many reverse steps, where)."""
    path = project_root() / BENCHMARK_FILE
    if not is_there(path):
        raise Undecidable(NOT_RUN, "the time of a pose", BENCHMARK)
    timed = read_json(path)
    by_steps = timed["cases"]["lesson"]["1"]["ms_per_pose_by_steps"]
    return by_steps[str(steps)], f"{timed['device']}, {timed['threads']} threads"


def slow_steps(df):
    """More than half of a pose's time goes into the steps after the first, of 100."""
    (one, where), (many, _) = milliseconds(1), milliseconds(100)
    what = "share of a pose's time in the steps after the first, of 100, above 50%"
    return exact(100 * (0.5 - one / many), f"{what}: scale lesson, {where}", BENCHMARK, "%")


def _printed(table):
    """One of Di2Pose's tables: a DataFrame, a row for each method."""
    rows = numbers()
    rows = rows[(rows.paper == DI2POSE) & (rows.table == table)]
    return rows.pivot(index="method", columns="column", values="paper_value").astype(float)


def table_6_average(df):
    """Di2Pose's 15 actions in Table 6 average below the best average of the others."""
    printed, best = _printed("Table 6"), "Zhang 2023"
    actions = printed.drop(columns="Avg").loc["Di2Pose"]
    left = printed.Avg[best] - actions.mean()
    what = f"{best}'s average above the mean of Di2Pose's {len(actions)} actions, in Table 6"
    value = Interval(left, left - 2 * ROUNDED, left + 2 * ROUNDED, 0)
    return exact(value, what, PAPERS, "mm", "rounding")


def largest_rise(df, metric, said):
    """The largest rise from 3DPW to AdvOcc@80 in Table 2 stays below so many percent."""
    printed = _printed("Table 2")
    before, after = printed[f"3dpw_{metric}"], printed[f"adv80_{metric}"]
    method = (after / before).idxmax()
    before, after = before[method], after[method]
    rise = 100 * (after / before - 1)
    least = 100 * ((after - ROUNDED) / (before + ROUNDED) - 1)
    most = 100 * ((after + ROUNDED) / (before - ROUNDED) - 1)
    low, high = said - ROUNDED_PERCENT - most, said + ROUNDED_PERCENT - least
    what = f"{said} % less the largest rise in Table 2, {method}'s {rise:.1f} % ({metric}, @80)"
    return exact(Interval(said - rise, low, high, 0), what, PAPERS, "%", "rounding")


def values_of_tanh(df, levels=8):
    """Rounding ⌊L/2⌋ · tanh gives L values: 0 left would be right, and any left is wrong."""
    bounded = levels // 2 * torch.linspace(-9, 9, 10001, dtype=torch.float64).tanh()
    left = float(levels - len(bounded.round().unique()))
    what = f"L = {levels}, less the values that round(⌊L/2⌋ · tanh) takes: 0 would be right"
    return exact(left, what, PAPERS, "values")
