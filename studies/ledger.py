"""The ledger: each number and each claim of the two papers, ours beside it.

`python -m studies.ledger` writes results/ledger.csv from the committed results; nothing is
measured and nothing entered by hand. A row is one number of a table, or one claim, on one of our
data sources; where no data of ours play a part it is one row, and `source` says what does, or is
empty. `status` is one of those in `effects`: "measured here" says that an analogue of ours stands
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
from di2pose_lib.base.config import SOURCES
from di2pose_lib.base.files import write_text
from di2pose_lib.base.project import project_root
from di2pose_lib.base.skeleton import ACTIONS
from di2pose_lib.evaluation.estimators import CHAIN_STEPS
from di2pose_lib.evaluation.intervals import UNDECIDED
from di2pose_lib.evaluation.table import study_rows
from studies import effects
from studies.claims import CLAIMS
from studies.effects import CLEAN, Undecidable
from studies.paper_numbers import DI2POSE, HIPART, ablation_settings, numbers, read_csv

LEDGER, CLAIMS_FILE = "results/ledger.csv", "paper/claims.csv"
CLAIM = "claim"  # in the rows of claims, in the place of a column's name
COLUMNS = (
    *("paper", "table", "row", "column", "paper_value", "unit", "paper_data"),
    *("source", "status", "value", "low", "high", "over", "seeds", "verdict"),
    *("measure", "command", "note"),
)
WITHOUT_DATA = {  # what stands in the place of a source, where none plays a part
    effects.BENCHMARK: "untrained networks",
    effects.EQUATIONS: "the chain alone",
    effects.PAPERS: "the paper's own numbers",
}
COMMANDS = {  # what makes such results; all others are studies
    effects.BENCHMARK: f"python benchmarks/inference.py {effects.BENCHMARK_FILE}",
    effects.EQUATIONS: "make repro",
    effects.PAPERS: "python -m studies.ledger",
}

METHODS = (DI2POSE, HIPART, "DiffPose", "PCT")  # as they stand in the papers' longer names
PRINTED = "Dir Disc Eat Greet Phone Photo Pose Purch Sit SitD Smoke Wait WalkD Walk WalkT"
SAME_ACTION = {
    "synthetic": dict(zip(PRINTED.split(), ACTIONS, strict=True)),
    "mocap": {"Walk": "walk"},
}
BENCHMARKS = {  # Table 2's: where our analogue is
    "3dpw": CLEAN | effects.SOFT,
    "occ": effects.OCCLUDERS | effects.SOFT,
    "adv40": effects.FRESH_40 | {"study": "advocc"},
    "adv80": effects.FRESH_80 | {"study": "advocc"},
}
METRICS = {"mpjpe": "mpjpe_mm", "pa": "pa_mpjpe_mm", "pa_mpjpe": "pa_mpjpe_mm"}
MEAN = CLEAN | {"study": "actions", "action": effects.MEAN_OF_ACTIONS}

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
        slip = SLIPS.get(tuple(number[name] for name in ("paper", "table", "row", "column")))
        number |= {"verdict": "", "note": f"slip: {slip}" if slip else ""}
        for cells in _cells(tables, lambda df, n=number: beside(n, df), slip):
            lines.append(cells | number)
    for claim in _claims(root):
        sentence, function = CLAIMS[claim["row"]]
        claim["note"] = f"{sentence} (slip: {claim['slip']})" if claim["slip"] else sentence
        for cells in _cells(tables, function, claim["slip"]):
            lines.append(claim | cells)
    return pd.DataFrame(lines, columns=COLUMNS).fillna("").astype(str)


def _claims(root):
    rows = read_csv(root / CLAIMS_FILE)
    require(
        sorted(rows.id) == sorted(CLAIMS),
        f"{CLAIMS_FILE} and `claims.CLAIMS` must have the same ids, once; "
        f"they differ in {sorted(set(rows.id) ^ set(CLAIMS)) or 'how often'}",
    )
    names = {"source": "paper", "section": "table", "id": "row"}
    return rows.rename(columns=names).assign(column=CLAIM).to_dict("records")


def _cells(tables, function, slip):
    """What a function of the table says of each source; once, where sources play no part."""
    lines = []
    for source, df in tables.items():
        try:
            answer = function(df)
            cells = _measured(answer) | {"status": effects.SLIP if slip else effects.MEASURED}
        except Undecidable as reason:
            answer, cells = reason, {"status": reason.status, "verdict": UNDECIDED}
        cells |= {"measure": answer.measure, "command": _command(answer.made_by)}
        if cells["status"] in (effects.QUOTED, effects.OUT_OF_SCOPE):
            return [cells | {"source": ""}]
        if "value" in cells and answer.made_by in WITHOUT_DATA:
            return [cells | {"source": WITHOUT_DATA[answer.made_by]}]
        lines.append(cells | {"source": source})
    return lines


def _measured(effect):
    """The cells of an `Effect`."""
    mean, low, high, seeds = effect.value
    cells = {"value": _rounded(mean), "unit": effect.unit, "verdict": effect.verdict}
    if effect.over and math.isfinite(low + high):
        cells |= {"low": _rounded(low), "high": _rounded(high), "over": effect.over}
    return cells | {"seeds": str(seeds or "")}


def _command(made_by):
    """What makes such results."""
    target = "ablations" if made_by.startswith("ablation") else "occlusion"
    study = f"make {target} MOCAP_ROOT=<folder of BVH files>"
    return COMMANDS.get(made_by, study) if made_by else ""


def _rounded(value):
    return f"{value:z.2f}"  # z: no −0.00


def beside(number, df):
    """The `Effect` of ours that a number of the papers, a row of `numbers` as a dict, is like.

    Raises:
        Undecidable: none is.
    """
    if number["frames"] not in ("", "1") or "MixSTE" in number["method"]:
        raise Undecidable(effects.OUT_OF_SCOPE)
    if number["ablation"]:
        table, setting = ablation_settings()[number["ablation"], number["setting"]]
        place = table.primary | {"metric": METRICS[number["column"]]}
        what = f"{setting.name}, {', '.join(place.values())}"
        return effects.of_ablation(df, table, {setting.name: 1}, what, [(1, place)])
    method = _method(number, df)
    if method is None or number["unit"] not in ("mm", "frames/s"):
        raise Undecidable(effects.QUOTED)
    if number["column"] == "fps_v100":
        return _speed(number)
    return effects.error(df, **{"method": method} | _place(number, df))


def _named(name):
    """The method of a name in the papers, "Gong 2023 (DiffPose)*"; None of one that we lack."""
    return next((method for method in METHODS if method in name), None)


def _method(number, df):
    """`method` of the rows of ours that a number is like; None without any."""
    if number["table"] == "Table 3" and number["paper"] == HIPART:
        method = HIPART
    else:  # HiPART's Table 1 has methods in columns
        method = _named(number["method"] or number["column"])
    if (df.method == method).any():
        return method
    return DI2POSE if method == HIPART else None


def _place(number, df):
    """Arguments of `effects.error`: which row of ours is like a number."""
    if number["paper"] == DI2POSE and number["table"] == "Table 2":
        benchmark, metric = number["column"].split("_")
        return BENCHMARKS[benchmark] | {"metric": METRICS[metric]}
    if number["paper"] == DI2POSE:
        metric = {"metric": "pa_mpjpe_mm" if number["table"] == "Table 6" else "mpjpe_mm"}
        if number["column"] == "Avg":
            return MEAN | metric
        action = SAME_ACTION[df.source.iloc[0]].get(number["column"])
        if action is None:
            raise Undecidable(effects.LICENSED)
        return MEAN | metric | {"action": action}
    if number["occlusion"]:
        level = float(number["ratio"])
        return {"occlusion": number["occlusion"], "level": level} if level else CLEAN
    sizes = [number[name] for name in ("L1_encoder_blocks", "L2_gcsab_blocks", "D1", "D2")]
    if number["table"] == "Table 3" and sizes != ["4", "12", "128", "128"]:
        raise Undecidable(effects.LICENSED)
    return MEAN


def _speed(number):
    """Poses a second, of the estimator whose errors stand beside; the data play no part."""
    if _named(number["method"]) != HIPART:
        raise Undecidable(effects.QUOTED)
    each, where = effects.milliseconds(CHAIN_STEPS)
    what = f"Di2Pose, scale lesson, {CHAIN_STEPS} steps, one picture at a time, {where}"
    return effects.exact(1000 / each, what, effects.BENCHMARK, "frames/s")


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
    waiting = (rows.status == effects.NOT_RUN).sum()
    if waiting:
        print(f"{waiting} lines wait for studies that have not been run")
    return 0


if __name__ == "__main__":
    surroundings.write_utf8()
    sys.exit(main())
