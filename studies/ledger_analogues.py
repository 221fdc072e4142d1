"""Which measurement of ours stands beside each number of the papers.

Ours are of other data, other sizes and another image encoder: an analogue shows whether the same
comparison comes out the same way, never whether the paper's number is right. The paper's own
numbers can be measured only on data that needs a licence.

| the paper's | ours |
|---|---|
| Human3.6M, average | test set, clean, mean of the actions' means |
| Human3.6M, an action | synthetic: the action of that name; motion capture: walk for Walk |
| 3DPW | test set, clean: other people and cameras, but no other data set |
| 3DPW-Occ | test set with occluders in the scene |
| 3DPW-AdvOcc | the same protocol on ours, fresh textures at the worst place |
| Di2Pose's ablations | the ablations' settings of the same names, mean over seeds |
| HiPART's masks and crops | the same sweeps of Di2Pose, until HiPART is here |
| HiPART's speed | Di2Pose's, poses a second, one picture at a time |

A row of 3DPW's table is of one estimator, soft decoding: an attack needs hundreds of predictions
of each image, and that of Algorithm 2 was made on few of them.
"""

from typing import NamedTuple

from di2pose_lib.base.config_file import load_config
from di2pose_lib.evaluation import estimators, measure
from di2pose_lib.evaluation.advocc_rows import ADVOCC, FRESH
from di2pose_lib.evaluation.comparisons import SeedInterval
from di2pose_lib.evaluation.conditions import MEAN_OF_ACTIONS
from di2pose_lib.evaluation.estimators import SOFT
from studies.ablations import TOKENIZER
from studies.ledger_results import ABLATIONS, BENCHMARK, Measured, Selection
from studies.paper_numbers import DI2POSE, HIPART, ablation_settings

MEASURED = "measured here"  # an analogue on our data stands beside the paper's number
LICENSED = "needs licensed data"  # Di2Pose's or HiPART's own, and our data hold no analogue
QUOTED = "quoted"  # another method's, or HiPART's sizes: nothing of ours is like it yet
SLIP = "slip"  # the paper contradicts itself there
OUT_OF_SCOPE = "out of scope"  # sequence models
NOT_RUN = "not run yet"  # the experiment is planned, its results are not there
STATUSES = (MEASURED, LICENSED, QUOTED, SLIP, OUT_OF_SCOPE, NOT_RUN)

# Rivals: {what the papers compare with: `method` in our rows of results}; None until it is
# implemented here. One that is fills the papers' numbers of it, and decides the claims about it.
RIVALS = {"DiffPose": None, "PCT": None, "HiPART": None}

# The papers' names of rivals, and of the two methods.
METHODS = {
    "Di2Pose": DI2POSE,
    "HiPART": HIPART,
    "vanilla spatial transformer + HiPART": HIPART,
    "Gong 2023 (DiffPose)": "DiffPose",
    "Gong 2023 (DiffPose)*": "DiffPose",
    "DiffPose": "DiffPose",
    "Geng 2023 (PCT)": "PCT",
    "Geng 2023 (PCT)*": "PCT",
}
SEQUENCE_MODELS = ("MixSTE",)  # however many frames they see
DEFAULT_SIZES = ("4", "12", "128", "128")  # HiPART's, as in its other tables

SYNTHETIC_ACTIONS = {
    "Dir": "Directions",
    "Disc": "Discussion",
    "Eat": "Eating",
    "Greet": "Greeting",
    "Phone": "Phoning",
    "Photo": "Photo",
    "Pose": "Posing",
    "Purch": "Purchases",
    "Sit": "Sitting",
    "SitD": "SittingDown",
    "Smoke": "Smoking",
    "Wait": "Waiting",
    "WalkD": "WalkDog",
    "Walk": "Walking",
    "WalkT": "WalkTogether",
    "Avg": MEAN_OF_ACTIONS,
}
ACTIONS = {
    "synthetic": SYNTHETIC_ACTIONS,
    "mocap": {"Walk": "walk", "Avg": MEAN_OF_ACTIONS},
}
KNOWN_ACTIONS = {  # whose images the results report apart
    "synthetic": set(SYNTHETIC_ACTIONS.values()),
    "mocap": {"walk", "dance", "seen in training", MEAN_OF_ACTIONS},
}
CLEAN = {"protocol": "clean", "action": MEAN_OF_ACTIONS}
BENCHMARKS = {  # of Table 2: where our analogue is, by the estimator that was attacked
    "3dpw": Selection("sweeps", {"protocol": "clean", "estimator": SOFT}),
    "occ": Selection("sweeps", {"protocol": "occluders", "estimator": SOFT}),
    "adv40": Selection("advocc", {"protocol": ADVOCC, "level": 40.0, "estimator": SOFT}),
    "adv80": Selection("advocc", {"protocol": ADVOCC, "level": 80.0, "estimator": SOFT}),
}
METRICS = {"mpjpe": "mpjpe_mm", "pa": "pa_mpjpe_mm", "pa_mpjpe": "pa_mpjpe_mm"}

_COPY = "equal to another row of the paper, aligned error above the unaligned: do not aim at it"
SLIPS = {  # (paper, table, row, column): what is wrong
    (DI2POSE, "Table 3b", "fsq_levels (reconstruction), 8 5 5 5", "mpjpe"): _COPY,
    (DI2POSE, "Table 3b", "fsq_levels (reconstruction), 8 5 5 5", "pa_mpjpe"): _COPY,
    (DI2POSE, "Table 4", "representation (reconstruction), PCT", "mpjpe"): _COPY,
    (DI2POSE, "Table 4", "representation (reconstruction), PCT", "pa_mpjpe"): _COPY,
    (DI2POSE, "Table 6", "Di2Pose", "Avg"): "the row's 15 actions average 39.16",
}


class Beside(NamedTuple):
    """What stands beside a number of the papers, on one of our data sources."""

    status: str
    measured: Measured | None
    made_by: str
    """The file of results, `ABLATIONS` or `BENCHMARK`; empty where nothing is like the number."""


def beside(number, source, results):
    """The `Beside` of a `Number` on one source, from `Results`."""
    if _is_sequence_model(number):
        return Beside(OUT_OF_SCOPE, None, "")
    if number.keys.keys() == {"ablation", "setting"}:
        return _of(ABLATIONS, _ablation(number, source, results))
    method = method_of(number)
    if method is None:
        return Beside(QUOTED, None, "")
    if number.column == "fps_v100":
        return _speed(number, results)
    if number.unit != "mm":
        return Beside(QUOTED, None, "")
    selection = _selection(number, source)
    if selection is None:
        return Beside(LICENSED, None, "")
    own = Selection(selection.file, {"method": method, **selection.fields})
    return _of(own.file, results.find(source, own))


def paper_method(number):
    """Di2Pose, HiPART, a rival's name, or None: whose number it is."""
    if number.table == "Table 3" and number.source == HIPART:
        return HIPART
    name = number.keys.get("method", number.column)  # HiPART's Table 1 has methods in columns
    return METHODS.get(name)


def method_of(number):
    """`method` of the rows of ours that a number is like; None without any.

    Di2Pose stands in for HiPART until that is implemented: the same protocols, another model.
    """
    whose = paper_method(number)
    if whose == DI2POSE:
        return measure.DI2POSE
    stand_in = measure.DI2POSE if whose == HIPART else None
    return RIVALS.get(whose) or stand_in


def _is_sequence_model(number):
    name = number.keys.get("method", "")
    many = number.keys.get("frames", "1") != "1"
    return many or any(model in name for model in SEQUENCE_MODELS)


def _of(file, measured):
    return Beside(MEASURED if measured else NOT_RUN, measured, file)


def _ablation(number, source, results):
    table, setting = ablation_settings()[tuple(number.keys.values())]
    base = "reconstruction" if table.kind == TOKENIZER else table.primary.removesuffix(", mpjpe_mm")
    metric = f"{base}, {METRICS[number.column]}"
    return results.setting(source, table, setting.name, metric)


def _selection(number, source):
    """Which row of ours is like a number of Di2Pose, HiPART or a rival; None without any."""
    if number.source == DI2POSE and number.table in ("Table 1", "Table 6"):
        metric = "pa_mpjpe_mm" if number.table == "Table 6" else "mpjpe_mm"
        action = ACTIONS[source].get(number.column)
        fields = {"protocol": "clean", "metric": metric, "action": action}
        return Selection("sweeps", fields) if action else None
    if number.source == DI2POSE:  # Table 2
        benchmark, metric = number.column.split("_")
        file, fields = BENCHMARKS[benchmark]
        worst = f", {FRESH}" if file == "advocc" else ""  # a maximum over draws is too high
        return Selection(file, {**fields, "metric": f"{METRICS[metric]}{worst}"})
    if "occlusion" in number.keys:
        fields = {"protocol": number.keys["occlusion"], "level": float(number.keys["ratio"])}
        return Selection("sweeps", fields)
    sizes = tuple(number.keys.values())
    if number.table == "Table 3" and sizes != DEFAULT_SIZES:
        return None
    return Selection("sweeps", CLEAN)


def _speed(number, results):
    """Poses a second; of untrained networks, so the data play no part."""
    if paper_method(number) != HIPART:
        return Beside(QUOTED, None, "")
    num_steps = load_config(results.root / "params.yaml").diffusion.num_steps
    steps = min(estimators.CHAIN_STEPS, num_steps)  # of the estimator whose errors stand beside
    timed = results.milliseconds(steps)
    if timed is None:
        return Beside(NOT_RUN, None, BENCHMARK)
    milliseconds, where = timed
    rate = 1000 / milliseconds
    what = f"Di2Pose, scale lesson, {steps} steps, one picture at a time, {where}"
    return _of(BENCHMARK, Measured(SeedInterval(rate, rate, rate, 0), "", what))  # no training
