"""The ledger: each number and each claim of the two papers, ours beside it.

`python -m studies.ledger` writes results/ledger.csv from the committed results; nothing is
measured and nothing entered by hand. A row is one number of a table, or one claim, on one of our
data sources; where no data of ours play a part it is one row, and `source` says what does, or is
empty. `status` is one of those in `claims`: "measured here" says that an analogue of ours stands
beside the number, as `measure` names it; the paper's own number needs licensed data. Of a claim
`value` is an effect, above 0 where the claim holds, and `verdict` one of three words.

Ours are of other data, other sizes and another image encoder: an analogue shows whether the same
comparison comes out the same way, never whether the paper's number is right.

| the paper's | ours |
|---|---|
| Human3.6M, average | test set, clean, mean of the actions' means |
| Human3.6M, an action | synthetic: the action of that name; motion capture: walk for Walk |
| 3DPW | test set, clean: other people and cameras, but no other data set |
| 3DPW-Occ | test set with occluders in the scene |
| 3DPW-AdvOcc | the same protocol on ours, fresh textures at the worst place |
| Di2Pose's ablations | the ablations' settings of the same names |
| HiPART's masks and crops | the same sweeps of Di2Pose, until HiPART is here |
| HiPART's speed | Di2Pose's, poses a second, one picture at a time |

A row of 3DPW's table is of one estimator, soft decoding: an attack needs hundreds of predictions
of each image, and that of Algorithm 2 was made on few of them. All others are one sample of it.
"""

import math
import sys

import pandas as pd

from di2pose_lib.base import surroundings
from di2pose_lib.base.checks import require
from di2pose_lib.base.config_file import load_config
from di2pose_lib.base.files import write_text
from di2pose_lib.base.project import project_root
from di2pose_lib.evaluation.estimators import CHAIN_STEPS, SOFT
from di2pose_lib.evaluation.intervals import UNDECIDED, interval
from di2pose_lib.evaluation.table import study_rows
from studies import ablations, claims
from studies.claims import (
    CLEAN,
    EQUATIONS,
    FRESH_40,
    FRESH_80,
    MEAN_OF_ACTIONS,
    MEASURED,
    OCCLUDERS,
    QUOTED,
    SLIP,
    Found,
    Undecidable,
)
from studies.paper_numbers import DI2POSE, HIPART, ablation_settings, numbers, read_csv

LEDGER, CLAIMS = "results/ledger.csv", "paper/claims.csv"
SOURCES = ("synthetic", "mocap")
CLAIM = "claim"  # in the rows of claims, in the place of a column's name
DIGITS = 2
COLUMNS = (
    *("paper", "table", "row", "column", "paper_value", "unit", "paper_data"),
    *("source", "status", "value", "low", "high", "over", "seeds", "verdict"),
    *("measure", "command", "note"),
)
WITHOUT_DATA = {  # what stands in the place of a source, where none plays a part
    claims.BENCHMARK: "untrained networks",
    EQUATIONS: "the chain alone",
    claims.PAPERS: "the paper's own numbers",
}
COMMANDS = {  # what makes such results; all others are studies
    claims.BENCHMARK: f"python benchmarks/inference.py {claims.BENCHMARK_FILE}",
    EQUATIONS: "make repro",
    claims.PAPERS: "python -m studies.ledger",
}

METHODS = {  # the papers' names of rivals, and of the two methods
    "Di2Pose": DI2POSE,
    "HiPART": HIPART,
    "vanilla spatial transformer + HiPART": HIPART,
    "Gong 2023 (DiffPose)": "DiffPose",
    "Gong 2023 (DiffPose)*": "DiffPose",
    "DiffPose": "DiffPose",
    "Geng 2023 (PCT)": "PCT",
    "Geng 2023 (PCT)*": "PCT",
}
PRINTED = "Dir Disc Eat Greet Phone Photo Pose Purch Sit SitD Smoke Wait WalkD Walk WalkT"
SYNTHETIC = (
    "Directions Discussion Eating Greeting Phoning Photo Posing Purchases Sitting SittingDown "
    "Smoking Waiting WalkDog Walking WalkTogether"
)
ACTIONS = {
    "synthetic": dict(zip(PRINTED.split(), SYNTHETIC.split(), strict=True)),
    "mocap": {"Walk": "walk"},
}
BENCHMARKS = {  # Table 2's: where our analogue is
    "3dpw": CLEAN | {"estimator": SOFT},
    "occ": OCCLUDERS | {"estimator": SOFT},
    "adv40": FRESH_40 | {"study": "advocc"},
    "adv80": FRESH_80 | {"study": "advocc"},
}
METRICS = {"mpjpe": "mpjpe_mm", "pa": "pa_mpjpe_mm", "pa_mpjpe": "pa_mpjpe_mm"}
MEAN = CLEAN | {"study": "actions", "action": MEAN_OF_ACTIONS}

_COPY = "equal to another row of the paper, aligned error above the unaligned: do not aim at it"
SLIPS = {  # (paper, table, row, column): what is wrong
    (DI2POSE, "Table 3b", "fsq_levels (reconstruction), 8 5 5 5", "mpjpe"): _COPY,
    (DI2POSE, "Table 3b", "fsq_levels (reconstruction), 8 5 5 5", "pa_mpjpe"): _COPY,
    (DI2POSE, "Table 4", "representation (reconstruction), PCT", "mpjpe"): _COPY,
    (DI2POSE, "Table 4", "representation (reconstruction), PCT", "pa_mpjpe"): _COPY,
    (DI2POSE, "Table 6", "Di2Pose", "Avg"): "the row's 15 actions average 39.16",
}


def build(root=None):
    """Every row of the ledger, a DataFrame of strings, in the order of the papers' tables.

    Raises:
        ValueError: papers' files or results that cannot be read, or claims without a function.
    """
    root = root or project_root()
    tables = {source: study_rows(source=source, root=root) for source in SOURCES}
    lines = []
    for number in numbers(root / "paper").to_dict("records"):
        slip = SLIPS.get(tuple(number[name] for name in ("paper", "table", "row", "column")), "")
        for source, found in _each_source(tables, lambda df, n=number: beside(n, df)):
            lines.append(_line(number, source, found, slip, verdict=""))
    for claim in _claims(root):
        sentence, function = claims.CLAIMS[claim["row"]]
        for source, found in _each_source(tables, function):
            lines.append(_line({**claim, "note": sentence}, source, found, claim["slip"]))
    return pd.DataFrame(lines, columns=COLUMNS).fillna("").astype(str)


def _claims(root):
    rows = read_csv(root / CLAIMS)
    require(
        sorted(rows.id) == sorted(claims.CLAIMS),
        f"{CLAIMS} and `claims.CLAIMS` must have the same ids, once; "
        f"they differ in {sorted(set(rows.id) ^ set(claims.CLAIMS)) or 'how often'}",
    )
    names = {"source": "paper", "section": "table", "id": "row"}
    return rows.rename(columns=names).assign(column=CLAIM).to_dict("records")


def _each_source(tables, function):
    """(source, `Found` or `Undecidable`) of each source; once, where the sources play no part."""
    found = {}
    for source, df in tables.items():
        try:
            found[source] = function(df)
        except Undecidable as reason:
            found[source] = reason
        one = found[source]
        if isinstance(one, Found) and one.made_by in WITHOUT_DATA:
            return [(WITHOUT_DATA[one.made_by], one)]
        if isinstance(one, Undecidable) and one.args[0] in (QUOTED, claims.OUT_OF_SCOPE):
            return [("", one)]
    return list(found.items())


def _line(row, source, found, slip, verdict=None):
    """A line of the ledger."""
    line = {name: row.get(name, "") for name in COLUMNS} | {"source": source}
    if slip:
        line["note"] = f"{line['note']} (slip: {slip})" if line["note"] else f"slip: {slip}"
    if isinstance(found, Undecidable):
        status, measure, study = (*found.args, "", "")[:3]
        command = _command(study) if study else ""
        word = UNDECIDED if verdict is None else verdict
        return line | {"status": status, "measure": measure, "command": command, "verdict": word}
    value, whole = found.value, found.over and math.isfinite(found.value.low + found.value.high)
    return line | {
        "status": SLIP if slip else MEASURED,
        "unit": found.unit if verdict is None else line["unit"],
        "value": _rounded(value.mean),
        "low": _rounded(value.low) if whole else "",
        "high": _rounded(value.high) if whole else "",
        "over": found.over if whole else "",
        "seeds": str(value.seeds) if value.seeds else "",
        "verdict": found.verdict if verdict is None else verdict,
        "measure": found.measure,
        "command": _command(found.made_by),
    }


def _command(made_by):
    target = "ablations" if made_by.startswith("ablation") else "occlusion"
    return COMMANDS.get(made_by, f"make {target} MOCAP_ROOT=<folder of BVH files>")


def _rounded(value):
    return f"{round(value, DIGITS) + 0.0:.{DIGITS}f}"  # + 0.0: no −0.00


def beside(number, df):
    """`Found`: what of ours stands beside a number of the papers, a row of `numbers` as a dict.

    Raises:
        Undecidable: nothing does.
    """
    if number["frames"] not in ("", "1") or "MixSTE" in number["method"]:
        raise Undecidable(claims.OUT_OF_SCOPE)
    if number["ablation"]:
        return _ablation(number, df)
    method = method_of(number, df)
    if method is None or number["unit"] not in ("mm", "frames/s"):
        raise Undecidable(QUOTED)
    if number["column"] == "fps_v100":
        return _speed(number)
    return claims.error(df, **{"method": method} | _place(number, df))


def method_of(number, df):
    """`method` of the rows of ours that a number is like; None without any."""
    if number["table"] == "Table 3" and number["paper"] == HIPART:
        whose = HIPART
    else:  # HiPART's Table 1 has methods in columns
        whose = METHODS.get(number["method"] or number["column"])
    if (df.method == whose).any():
        return whose
    return DI2POSE if whose == HIPART else None


def _ablation(number, df):
    table, setting = ablation_settings()[number["ablation"], number["setting"]]
    place = table.primary | {"metric": METRICS[number["column"]]}
    rows = ablations.rows_of(df, table, setting=setting.name, **place)
    value = interval(rows, draws=ablations.DRAWS)
    measure = f"ablation {table.name}: {setting.name}, {', '.join(place.values())}"
    if value is None:
        raise Undecidable(claims.NOT_RUN, measure, table.study)
    return Found(value, measure, table.study, over="seeds and images")


def _place(number, df):
    """Arguments of `claims.error`: which row of ours is like a number."""
    if number["paper"] == DI2POSE and number["table"] == "Table 2":
        benchmark, metric = number["column"].split("_")
        return BENCHMARKS[benchmark] | {"metric": METRICS[metric]}
    if number["paper"] == DI2POSE:
        metric = {"metric": "pa_mpjpe_mm" if number["table"] == "Table 6" else "mpjpe_mm"}
        if number["column"] == "Avg":
            return MEAN | metric
        action = ACTIONS[df.source.iloc[0]].get(number["column"])
        if action is None:
            raise Undecidable(claims.LICENSED)
        return CLEAN | metric | {"study": "actions", "action": action}
    if number["occlusion"]:
        level = float(number["ratio"])
        return {"occlusion": number["occlusion"], "level": level} if level else CLEAN
    sizes = [number[name] for name in ("L1_encoder_blocks", "L2_gcsab_blocks", "D1", "D2")]
    if number["table"] == "Table 3" and sizes != ["4", "12", "128", "128"]:
        raise Undecidable(claims.LICENSED)
    return MEAN


def _speed(number):
    """Poses a second; of untrained networks, so the data play no part."""
    if METHODS.get(number["method"]) != HIPART:
        raise Undecidable(QUOTED)
    num_steps = load_config(project_root() / "params.yaml").diffusion.num_steps
    steps = min(CHAIN_STEPS, num_steps)  # of the estimator whose errors stand beside
    each, where = claims.milliseconds(steps)
    what = f"Di2Pose, scale lesson, {steps} steps, one picture at a time, {where}"
    return claims.exact(1000 / each, what, claims.BENCHMARK, "frames/s")


def main():
    """Command line; returns the exit code."""
    try:
        surroundings.check(project_root())
        rows = build()
        write_text(project_root() / LEDGER, rows.to_csv(index=False, lineterminator="\n"))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    of_claims = rows[rows.column == CLAIM]
    print(f"{LEDGER}: {len(rows) - len(of_claims)} lines of numbers, {len(of_claims)} of claims")
    print(of_claims.groupby(["verdict", "source"]).size().to_string())
    waiting = (rows.status == claims.NOT_RUN).sum()
    if waiting:
        print(f"{waiting} lines wait for studies that have not been run")
    return 0


if __name__ == "__main__":
    surroundings.write_utf8()
    sys.exit(main())
