"""The claims of both papers, each a sentence and a function of the table that decides it.

A function takes the rows of one data source and gives a `Found`: how much speaks for the claim,
above 0 where it holds, with its interval. Rows of the same images are compared cluster by cluster
(`change`); where images differ the two intervals are joined (`minus`), which is wider than it has
to be where the same people were in both. Of trained networks fewer than three seeds decide
nothing. What our data or methods cannot decide raises `Undecidable`.

paper/claims.csv says where the paper claims it, in which words, and how we check it.
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
    difference,
    interval,
    verdict,
    weighted_sum,
)
from di2pose_lib.evaluation.models import DI2POSE, MEAN_POSE
from di2pose_lib.evaluation.plausibility import GROUND_TRUTH
from di2pose_lib.evaluation.visibility import COVERED, SEEN
from studies import ablations
from studies.paper_numbers import numbers

# Why nothing of ours stands beside a number or claim; what does is "measured here".
MEASURED = "measured here"
LICENSED = "needs licensed data"  # our data hold nothing like it
QUOTED = "quoted"  # another method's, or HiPART's sizes: nothing of ours is like it yet
OUT_OF_SCOPE = "out of scope"  # sequence models
NOT_RUN = "not run yet"  # the experiment is planned, its rows are not there
SLIP = "slip"  # the paper contradicts itself there

# What results are made from, where it is no study.
EQUATIONS, BENCHMARK, PAPERS = "transition_matrices", "inference benchmark", "the papers' tables"
BENCHMARK_FILE = "benchmarks/results/inference_cpu.json"

ROUNDED, ROUNDED_PERCENT = 0.05, 0.5  # half the last digit of the papers' numbers, of percents
ROUNDING = 1e-9  # at most, of an equation checked in float64
LEAST = 2.0**-53  # that float64 tells from 0 beside 1
MEAN_OF_ACTIONS = "mean of actions"

# Algorithm 2 draws k_S, then each k_{s-1} from the model's posterior, and decodes k_0: one sample,
# without mean, arg-max or choice. So it stands beside the paper's numbers where nothing is said.
USUAL = {
    "method": DI2POSE,
    "estimator": estimators.CHAIN,
    "joints": "all",
    "joint": "",
    "metric": "mpjpe_mm",
}
SAMPLES = f"8 samples, {estimators.ALGORITHM_2}"
CLEAN, OCCLUDERS = {"occlusion": "clean"}, {"occlusion": "occluders"}
FRESH = {"occlusion": "worst patch", "setting": "fresh textures", "estimator": estimators.SOFT}
FRESH |= {"joints": "outside the patch"}
UNHIT = CLEAN | {"joints": "in the image", "estimator": estimators.SOFT}
FRESH_40, FRESH_80 = FRESH | {"level": 40.0}, FRESH | {"level": 80.0}


class Undecidable(Exception):
    """Nothing here decides a claim: (status, what was wanted, the study that would)."""


class Found(NamedTuple):
    """A measurement, or an effect that speaks for a claim where it is above 0."""

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


# -- what claims are made of -----------------------------------------------------------------------


def select(df, study="occlusion", action="all", **wanted):
    """The rows of a study with these values, of `USUAL` where they say nothing else.

    Raises:
        Undecidable: the data have no such action, or there are no such rows.
    """
    rows, wanted = df[df.study == study], USUAL | wanted
    if len(rows) and action not in {"all", MEAN_OF_ACTIONS, *rows.action}:
        raise Undecidable(LICENSED, "the data have no such actions")
    rows = rows[rows.action != "all"] if action == MEAN_OF_ACTIONS else rows[rows.action == action]
    for name, value in wanted.items():
        rows = rows[rows[name] == value]
    if rows.empty:
        raise Undecidable(NOT_RUN, words(study, action, **wanted), study)
    return rows


def words(study="occlusion", action="all", **wanted):
    """What `select` is asked for, for a reader."""
    named = USUAL | wanted
    parts = [named["method"], named["estimator"], named.get("setting", "")]
    parts += [named.get("occlusion", ""), f"{named['level']:g}" if "level" in named else ""]
    parts += ["" if action == "all" else action, f"{named['joints']} joints", named["metric"]]
    return ", ".join(part for part in parts if part)


def unit_of(metric):
    """A metric's unit, by the end of its name."""
    return {"mm": "mm", "percent": "%", "ms": "ms"}.get(metric.rsplit("_", 1)[-1], "")


def error(df, study="occlusion", action="all", **wanted):
    """`Found` of one measurement; arguments as in `select`."""
    rows = select(df, study, action, **wanted)
    value = interval(rows, "action" if action == MEAN_OF_ACTIONS else None)
    unit = unit_of((USUAL | wanted)["metric"])
    return Found(value, words(study, action, **wanted), study, unit)


def change(df, first, second, study="occlusion", **both):
    """`Found` of first − second, cluster by cluster: dicts for `select`, and what they share."""
    first, second = both | first, both | second
    rows = difference(select(df, study, **first), select(df, study, **second))
    named = f"{words(study, **first)} above {words(study, **second)}, image by image"
    return Found(interval(rows), named, study, unit_of((USUAL | first)["metric"]))


def minus(first, second, joined="above"):
    """`Found` of first − second from the two intervals alone (Zou and Donner's MOVER)."""
    a, b = first.value, second.value
    below = math.hypot(a.mean - a.low, b.high - b.mean)
    above = math.hypot(a.high - a.mean, b.mean - b.low)
    mean = a.mean - b.mean
    value = Interval(mean, mean - below, mean + above, min(a.seeds, b.seeds))
    return first._replace(value=value, measure=f"{first.measure} {joined} {second.measure}")


def scaled(found, factor):
    """`Found` of a positive multiple."""
    value = Interval(*(factor * end for end in found.value[:3]), found.value.seeds)
    return found._replace(value=value)


def left_of(most, found):
    """`Found` of what is left of an allowance."""
    mean, low, high, seeds = found.value
    value = Interval(most - mean, most - high, most - low, seeds)
    return found._replace(value=value, measure=f"what is left of {most:g}: {found.measure}")


def exact(value, measure, made_by, unit, over=""):
    """`Found` without training in it, of a number or an `Interval`."""
    value = value if isinstance(value, Interval) else Interval(value, value, value, 0)
    return Found(value, measure, made_by, unit, over, is_trained=False)


def better(method, rival, *places, **wanted):
    """The rival's error is above the method's; with two places, so is its rise from the second
    to the first, cluster by cluster. A method without rows is not implemented here yet."""

    def effect(df):
        for name in (method, rival):
            if not (df.method == name).any():
                raise Undecidable(QUOTED, f"{name} is not implemented here")
        signs = (1, -1)[: len(places) or 1]
        parts = [
            (of_method * of_place, select(df, **(wanted | place | {"method": name})))
            for of_method, name in ((1, rival), (-1, method))
            for of_place, place in zip(signs, places or ({},), strict=True)
        ]
        rise = " in its rise" if len(places) == 2 else ""
        named = words(**(wanted | (places or ({},))[0] | {"method": rival}))
        unit = unit_of((USUAL | wanted)["metric"])
        study = wanted.get("study", "occlusion")
        return Found(interval(weighted_sum(*parts)), f"{named} above {method}{rise}", study, unit)

    return effect


# -- from the ablations ----------------------------------------------------------------------------


def _of_ablation(value, measure, table, unit="mm", over="seeds and images"):
    measure = f"ablation {table.name}: {measure}"
    if value is None:
        raise Undecidable(NOT_RUN, measure, table.study)
    return Found(value, measure, table.study, unit, over)


def favourite(name, setting=None):
    """Every other setting of an ablation is worse than the favourite, or this one is.

    The nearest shows. That it does not hold takes a setting that is better with an interval that
    holds for all of them together; that each is worse needs no more than each.
    """
    table = ablations.table_of(name)
    others = [s.name for s in table.settings if s.name != table.favourite]
    others = [setting] if setting else others

    def effect(df):
        weights = {one: {one: 1, table.favourite: -1} for one in others}
        effects = {one: ablations.weighted(df, table, weights[one]) for one in others}
        note = ""
        if None not in effects.values() and len(others) > 1:
            note = f", the lowest of {len(others)}"
            if {verdict(one) for one in effects.values()} != {HOLDS}:
                note += ", interval of all together"
                effects = {k: corrected(v, len(others)) for k, v in effects.items()}
        elif None in effects.values():
            return _of_ablation(None, f"{setting or 'all'} above {table.favourite}", table)
        fails = {k: v for k, v in effects.items() if verdict(v) == FAILS}
        lowest = min(fails or effects, key=lambda one: effects[one].mean)
        return _of_ablation(effects[lowest], f"{lowest} above {table.favourite}{note}", table)

    return effect


def contrast(name, claim):
    """An ablation's contrast is above 0."""
    table = ablations.table_of(name)
    (own,) = (one for one in table.contrasts if one.claim == claim)
    return lambda df: _of_ablation(
        ablations.weighted(df, table, own.weights, own.measures), claim, table
    )


def no_gain(most, name, claim):
    """An ablation's contrast, a gain in mm, is at most so much."""
    gain = contrast(name, claim)
    return lambda df: left_of(most, gain(df))


def within(percent, name, setting, other):
    """A setting's error is at most so many percent above another's."""
    table = ablations.table_of(name)

    def effect(df):
        left = ablations.weighted(df, table, {other: 1 + percent / 100, setting: -1})
        measure = f"what is left of {percent} % above {other}, {setting}"
        found = _of_ablation(left, measure, table, "%")
        return scaled(found, 100 / ablations.weighted(df, table, {other: 1}).mean)

    return effect


def codes_used(name, setting, other):
    """A setting uses more of its codes than another."""
    table = ablations.table_of(name)

    def effect(df):
        rows = ablations.rows_of(df, table, metric="codes_used_share")
        first, second = (rows[rows.setting == one] for one in (setting, other))
        value = None if first.empty or second.empty else interval(difference(first, second))
        measure = f"share of codes used, {setting} above {other}"
        return scaled(_of_ablation(value, measure, table, "%", "seeds"), 100)

    return effect


# -- without training ------------------------------------------------------------------------------


def equation(field):
    """The largest deviation in an equation's check is rounding: digits to spare."""

    def effect(df):
        path = results_folder("synthetic") / f"{EQUATIONS}.json"
        if not is_there(path):
            raise Undecidable(NOT_RUN, f"{EQUATIONS}: {field}", EQUATIONS)
        deviation = read_json(path)[field]
        spare = math.log10(ROUNDING / max(deviation, LEAST))
        measure = f"{EQUATIONS}: {field} = {deviation:.0e}, below {ROUNDING:.0e}"
        return exact(spare, measure, EQUATIONS, "digits")

    return effect


def milliseconds(steps):
    """(time of one pose of scale lesson in so many reverse steps, where).

    The benchmark's times are a constant and so many times that of a step.
    """
    path = project_root() / BENCHMARK_FILE
    if not is_there(path):
        raise Undecidable(NOT_RUN, "the time of a pose", BENCHMARK)
    timed = read_json(path)
    by_steps = timed["cases"]["lesson"]["1"]["ms_per_pose_by_steps"]
    one, many = by_steps["1"], by_steps["100"]
    return one + (steps - 1) * (many - one) / 99, f"{timed['device']}, {timed['threads']} threads"


def slow_steps(df):
    """More than half of a pose's time goes into the steps after the first, of 100."""
    (one, where), (many, _) = milliseconds(1), milliseconds(100)
    what = "share of a pose's time in the steps after the first, of 100, above 50%"
    return exact(100 * (0.5 - one / many), f"{what}: scale lesson, {where}", BENCHMARK, "%")


def _printed(table):
    """{method: {column: value}} of one of Di2Pose's tables."""
    rows, values = numbers(), {}
    rows = rows[(rows.paper == "Di2Pose") & (rows.table == table)]
    for method, column, value in zip(rows.method, rows.column, rows.paper_value, strict=True):
        values.setdefault(method, {})[column] = float(value)
    return values


def table_6_average(df):
    """Di2Pose's 15 actions in Table 6 average below the best average of the others."""
    printed, best = _printed("Table 6"), "Zhang 2023"
    own = {name: value for name, value in printed["Di2Pose"].items() if name != "Avg"}
    left = printed[best]["Avg"] - sum(own.values()) / len(own)
    what = f"{best}'s average above the mean of Di2Pose's {len(own)} actions, in Table 6"
    value = Interval(left, left - 2 * ROUNDED, left + 2 * ROUNDED, 0)
    return exact(value, what, PAPERS, "mm", "rounding")


def largest_rise(metric, said):
    """The largest rise from 3DPW to AdvOcc@80 in Table 2 stays below so many percent."""

    def effect(df):
        printed = _printed("Table 2").items()
        pairs = {name: (row.get(f"3dpw_{metric}"), row[f"adv80_{metric}"]) for name, row in printed}
        pairs = {name: pair for name, pair in pairs.items() if pair[0]}
        method = max(pairs, key=lambda name: pairs[name][1] / pairs[name][0])
        base, worst = pairs[method]
        rise = 100 * (worst / base - 1)
        least = 100 * ((worst - ROUNDED) / (base + ROUNDED) - 1)
        most = 100 * ((worst + ROUNDED) / (base - ROUNDED) - 1)
        low, high = said - ROUNDED_PERCENT - most, said + ROUNDED_PERCENT - least
        what = f"{said} % less the largest rise in Table 2, {method}'s {rise:.1f} % ({metric}, @80)"
        return exact(Interval(said - rise, low, high, 0), what, PAPERS, "%", "rounding")

    return effect


def values_of_tanh(df, levels=8):
    """Rounding ⌊L/2⌋ · tanh gives L values: 0 left would be right, and any left is wrong."""
    bounded = levels // 2 * torch.linspace(-9, 9, 10001, dtype=torch.float64).tanh()
    left = float(levels - len(bounded.round().unique()))
    what = f"L = {levels}, less the values that round(⌊L/2⌋ · tanh) takes: 0 would be right"
    return exact(left, what, PAPERS, "values")


# -- claims of more than one line ------------------------------------------------------------------


def failures(df):
    """The joints that an occluder covers rise by more than those still seen."""
    covered, seen = (change(df, OCCLUDERS, CLEAN, joints=joints) for joints in (COVERED, SEEN))
    return minus(covered, seen, "; more than")


def plausible_tokens(df):
    """Samples bend a joint beyond its limits at most one point more often than the truth."""
    truth = {"method": GROUND_TRUTH, "estimator": ""}
    return left_of(1, change(df, {}, truth, **CLEAN, metric="poses_beyond_limits_percent"))


def plausible_occluded(df):
    """Bones of samples are at most a tenth worse with occluders than without."""
    clean = error(df, **CLEAN, metric="bone_error_mm")
    rise = change(df, OCCLUDERS, CLEAN, metric="bone_error_mm")
    left = minus(scaled(clean, 0.1), rise)
    return left._replace(measure=f"what is left of 10 %: {rise.measure}")


def spread(**joints):
    """Samples spread more with occluders than without."""
    wanted = {"estimator": SAMPLES, "metric": "spread_mm"} | joints
    return lambda df: change(df, OCCLUDERS, CLEAN, **wanted)


def hard_actions(df):
    """Sitting is harder than the mean of the actions."""
    return minus(
        error(df, "actions", "Sitting", **CLEAN), error(df, "actions", MEAN_OF_ACTIONS, **CLEAN)
    )


def rare_actions(df):
    """Dance is harder than the actions seen in training, by more than it is for the mean pose."""
    mean_pose = {"method": MEAN_POSE, "estimator": "mean"}
    rises = []
    for who in ({}, mean_pose):
        dance = error(df, "actions", "dance", **CLEAN, **who)
        rises.append(minus(dance, error(df, "actions", "walk", **CLEAN, **who)))
    return minus(*rises, "; more than")


def severe_occlusion(df):
    """Errors rise where four fifths of the image are masked."""
    return minus(error(df, occlusion="mask", level=0.8), error(df, **CLEAN))


def not_here(status, why=""):
    """Nothing here decides such claims."""

    def effect(df):
        raise Undecidable(status, why)

    return effect


CLAIMS = {  # id: (sentence, function of the table)
    "accuracy": (
        "Di2Pose is more exact than DiffPose, the best diffusion model, on Human3.6M",
        better(DI2POSE, "DiffPose", **CLEAN),
    ),
    "accuracy-aligned": (
        "Di2Pose has the lowest PA-MPJPE of all compared methods on Human3.6M",
        table_6_average,
    ),
    "accuracy-wild": (
        "Di2Pose is more exact than DiffPose on 3DPW, a data set it may not have been trained on",
        better(DI2POSE, "DiffPose", **CLEAN),
    ),
    "accuracy-wild-aligned": (
        "Di2Pose is more exact than DiffPose on 3DPW after alignment too",
        better(DI2POSE, "DiffPose", **CLEAN, metric="pa_mpjpe_mm"),
    ),
    "classifier": (
        "Drawing the tokens by diffusion beats classifying them (PCT), which takes no account of "
        "occlusion",
        better(DI2POSE, "PCT", **OCCLUDERS),
    ),
    "occlusion-set": (
        "Di2Pose keeps its lead on the occluded images of 3DPW-Occ",
        better(DI2POSE, "DiffPose", **OCCLUDERS),
    ),
    "occlusion-drop": (
        "Under adversarial patches no method's MPJPE rises by more than 129 %",
        largest_rise("mpjpe", 129),
    ),
    "occlusion-drop-aligned": (
        "Under adversarial patches no method's PA-MPJPE rises by more than 72 %",
        largest_rise("pa", 72),
    ),
    "occlusion-adversarial": (
        "Di2Pose loses less than DiffPose to the worst patch of 80 pixels",
        better(DI2POSE, "DiffPose", FRESH_80, UNHIT, study="advocc"),
    ),
    "occlusion-adversarial-40": (
        "Di2Pose loses less than DiffPose to the worst patch of 40 pixels",
        better(DI2POSE, "DiffPose", FRESH_40, UNHIT, study="advocc"),
    ),
    "occlusion-object": (
        "Di2Pose estimates joints behind objects more exactly than DiffPose",
        better(DI2POSE, "DiffPose", **OCCLUDERS, joints="occluded"),
    ),
    "occlusion-self": (
        "Di2Pose estimates joints behind the body itself more exactly than DiffPose",
        better(DI2POSE, "DiffPose", **CLEAN, joints="occluded"),
    ),
    "latent-occlusion": (
        "Occluding tokens in training teaches the model to bear occluded images",
        contrast("occlusion", "occluders cost less with occluded tokens, plain pictures"),
    ),
    "no-augmentation": (
        "Occlusion in token space takes the place of occluders in the training images",
        no_gain(5, "occlusion", "occluded pictures in training help, with occluded tokens"),
    ),
    "failures": (
        "Di2Pose fails where much of the body is covered",
        failures,
    ),
    "plausible-tokens": (
        "Decoding tokens confines poses to plausible ones",
        plausible_tokens,
    ),
    "plausible-occluded": (
        "Poses stay plausible under occlusion",
        plausible_occluded,
    ),
    "implausible-continuous": (
        "Diffusion over coordinates makes less plausible poses than diffusion over tokens",
        better(DI2POSE, "DiffPose", **OCCLUDERS, metric="bone_error_mm"),
    ),
    "uncertainty": (
        "The model's uncertainty grows with occlusion",
        spread(),
    ),
    "diversity": (
        "Poses drawn for an occluded part of the body take several shapes",
        spread(joints=COVERED),
    ),
    "tokenizer": (
        "Di2Pose's tokenizer reconstructs poses more exactly than PCT's",
        favourite("4", "PCT's: mixer, 34 tokens, 2048 learned codes"),
    ),
    "local-blocks": (
        "Local-MLP blocks are better than the MLP-Mixer's, which mix all joints",
        favourite("4", "mixer, 51 tokens, FSQ"),
    ),
    "local-joints": (
        "Joint Shift over three joints reconstructs best",
        favourite("3a"),
    ),
    "local-interactions": (
        "Mixing neighbouring joints is better than mixing none",
        favourite("3a", "X = 1"),
    ),
    "levels": (
        "Levels [7, 5, 5, 5, 5] reconstruct best",
        favourite("3b"),
    ),
    "codebook": (
        "FSQ keeps more of its codes in use than a learned codebook, even one whose dead codes "
        "are revived",
        codes_used(
            "4",
            "mixer, 34 tokens, FSQ of 2048 codes",
            "PCT's: mixer, 34 tokens, 2048 learned codes",
        ),
    ),
    "values": (
        "Rounding ⌊L/2⌋ · tanh gives L values a channel",
        values_of_tanh,
    ),
    "both": (
        "Occlude and replace together are better than either alone",
        favourite("5"),
    ),
    "occlude-alone": (
        "Occlude alone is worse, for it neglects visible parts",
        favourite("5", "occlude"),
    ),
    "replace-alone": (
        "Replace alone is worse, for random sub-structures are hard to undo",
        favourite("5", "replace"),
    ),
    "occlude-rate": (
        "A final occlude rate of 0.9 is best",
        favourite("3c"),
    ),
    "more-steps": (
        "More steps in training and inference are better",
        favourite("3d"),
    ),
    "few-steps": (
        "A quarter of the inference steps costs little",
        within(5, "3d", "S = 100, run in 25", "S = 100, run in 100"),
    ),
    "closed-form": (
        "All steps so far have a closed form that stores no matrices",
        equation("closed_form_max_error"),
    ),
    "schedule": (
        "The rates are linear in the step, to 0.1 and 0.9",
        equation("configured_chain_max_error"),
    ),
    "bound": (
        "The loss is the variational bound",
        equation("bound_max_error"),
    ),
    "data": (
        "With less training data DiffPose gets worse faster than Di2Pose",
        not_here(QUOTED, "DiffPose is not implemented here"),
    ),
    "runtime": (
        "A diffusion model takes longer than one that needs a single pass",
        slow_steps,
    ),
    "hipart-mask": (
        "HiPART is better than DiffPose with 0.8 of the image masked",
        better("HiPART", "DiffPose", occlusion="mask", level=0.8),
    ),
    "hipart-crop": (
        "HiPART is better than DiffPose with 0.4 of the image cropped",
        better("HiPART", "DiffPose", occlusion="crop", level=0.4),
    ),
    "hipart-robust-mask": (
        "HiPART's error rises less than DiffPose's when more of the image is masked",
        better("HiPART", "DiffPose", {"occlusion": "mask", "level": 0.8}, CLEAN),
    ),
    "hipart-robust-crop": (
        "HiPART's error rises less than DiffPose's when more of the image is cropped",
        better("HiPART", "DiffPose", {"occlusion": "crop", "level": 0.4}, CLEAN),
    ),
    "hipart-accuracy": (
        "HiPART is more exact than diffusion models",
        better("HiPART", "DiffPose", **CLEAN),
    ),
    "hipart-speed": (
        "HiPART is faster than diffusion models",
        not_here(QUOTED, "HiPART is not implemented here"),
    ),
    "di2pose-slow": (
        "Di2Pose is slow, for it takes many sampling steps",
        slow_steps,
    ),
    "pct-classifier": (
        "Classifying tokens does not capture their distribution; diffusion over them is more exact",
        better(DI2POSE, "PCT", **CLEAN),
    ),
    "dense-joints": (
        "True dense 2D joints beside the 17 lower the error of lifting",
        better("HiPART, true dense joints", "HiPART, true sparse joints", **CLEAN),
    ),
    "densification": (
        "HiPART's dense 2D joints are more exact than those of Pose2Mesh, HGN and PCT",
        not_here(QUOTED, "another method"),
    ),
    "hard-actions": (
        "Actions with more occlusion are harder: sitting",
        hard_actions,
    ),
    "hipart-blocks": (
        "Four encoder blocks and twelve global ones are enough",
        better("HiPART", "HiPART, 5 and 16 blocks", **CLEAN),
    ),
    "hipart-width": (
        "Width 128 is best",
        better("HiPART", "HiPART, width 256", **CLEAN),
    ),
    "hipart-dense-occluded": (
        "Where 3DPW hides joints HiPART stays robust and DiffPose does not",
        better("HiPART", "DiffPose", OCCLUDERS, CLEAN, joints="occluded"),
    ),
    "hipart-failures": (
        "HiPART fails on motions that training lacks",
        rare_actions,
    ),
    "hipart-failures-occluded": (
        "HiPART fails under severe occlusion",
        severe_occlusion,
    ),
    "hipart-sequence": (
        "HiPART is best with single frames and with sequences",
        not_here(OUT_OF_SCOPE),
    ),
    "hipart-temporal": (
        "HiPART is fastest and most exact together with MixSTE",
        not_here(OUT_OF_SCOPE),
    ),
}
