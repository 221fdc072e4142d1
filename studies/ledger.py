"""The ledger: a row for each number and each claim of the two papers, ours beside it.

`python -m studies.ledger` writes results/ledger.csv from the committed results; nothing is
measured and nothing entered by hand. A row is one number of a table, or one claim. Our two data
sources have columns of their own and are never mixed: `our_value`, `our_ci95`, `status` … are of
the source in `data`, synthetic people; those that begin with `mocap_` are of motion capture. Both
are empty where no data of ours play a part.

`status` is one of `ledger_analogues.STATUSES`. "measured here" says that an analogue of ours stands
beside the number, as `measure` names it (`ledger_analogues` says why this one); the paper's own
number stays as it is, for it needs licensed data. The estimator is one sample, the paper's
Algorithm 2, where the results have it (soft decoding in 3DPW's table). Of a claim `our_value` is
an effect, above 0 where the claim holds, and `verdict` one of three words; of trained networks
fewer than three training seeds decide nothing, while equations and the papers' own arithmetic need
none.

Our values have two digits after the point; papers' numbers stand as printed. Intervals are of
95 %: over "images" (clusters of them: people or recordings; and seeds where there are several),
"seeds and images" of the ablations, "seeds" alone where no image counts, or what the "rounding" of
the papers' numbers leaves open.
"""

import csv
import io
import math
import sys

from di2pose_lib.base import surroundings
from di2pose_lib.base.checks import require
from di2pose_lib.base.files import write_text
from di2pose_lib.base.project import project_root
from di2pose_lib.evaluation import comparisons
from studies.ledger_analogues import MEASURED, SLIP, SLIPS, STATUSES, beside
from studies.ledger_claims import decide
from studies.ledger_outcomes import PAPERS
from studies.ledger_results import ABLATIONS, BENCHMARK, BENCHMARK_FILE, SOURCES, Results
from studies.ledger_tables import CLAIM, claim_rows, incomplete
from studies.paper_numbers import numbers, read_csv

EQUATIONS = "transition_matrices"
LEDGER = "results/ledger.csv"
CLAIMS = "paper/claims.csv"
DIGITS = 2

_OWN = ("value", "ci95", "status", "command", "verdict", "seeds", "ci95_over", "measure")
_FIRST = {"value": "our_value", "ci95": "our_ci95"}
COLUMNS = (
    *("source", "table", "row", "column", "paper_value", "our_value", "our_ci95"),
    *("data", "status", "command", "verdict", "seeds", "ci95_over", "measure"),
    *(f"mocap_{name}" for name in _OWN),
    *("unit", "paper_data", "note"),
)
CLAIM_COLUMNS = {
    *("id", "source", "section", "claim", "quotation", "paper_value", "unit", "check"),
    *("decided_by", "slip", "readme"),
}

_MOCAP_ROOT = "MOCAP_ROOT=<folder of BVH files>"
_EXPERIMENTS = f"make occlusion {_MOCAP_ROOT}"
COMMANDS = {  # what makes a file of results
    EQUATIONS: "make repro",
    ABLATIONS: f"make ablations {_MOCAP_ROOT}",
    BENCHMARK: f"python benchmarks/inference.py {BENCHMARK_FILE}",
    PAPERS: "python -m studies.ledger",
    "sweeps": _EXPERIMENTS,
    "advocc": _EXPERIMENTS,
    "uncertainty": _EXPERIMENTS,
    "plausibility": _EXPERIMENTS,
}
WITHOUT_DATA = {  # these are the same whatever the source
    BENCHMARK: "untrained networks",
    EQUATIONS: "the chain alone",
    PAPERS: "the paper's own numbers",
}


def read_claims(root=None):
    """The claims of both papers, dicts, in the order of their file.

    Raises:
        ValueError: a column is missing, or two claims of a paper have one id.
    """
    path = (root or project_root()) / CLAIMS
    rows = read_csv(path)
    missing = CLAIM_COLUMNS - (rows[0].keys() if rows else set())
    require(not missing, f"{path} must have the columns {', '.join(sorted(missing))}")
    ids = [(row["source"], row["id"]) for row in rows]
    twice = {key for key in ids if ids.count(key) > 1}
    require(not twice, f"{path}: every claim must have an id of its own; got {sorted(twice)} twice")
    return rows


def build(root=None):
    """Every row of the ledger as a dict of strings, in the order of the papers' tables.

    Raises:
        ValueError: papers' files or results that cannot be read, or that do not fit.
    """
    root = root or project_root()
    results = Results(root)
    rows = [_number_row(number, results) for number in numbers(root / "paper")]
    return rows + [_claim_row(claim, results) for claim in read_claims(root)]


def write(root=None):
    """Write results/ledger.csv; the rows."""
    root = root or project_root()
    rows = build(root)
    text = io.StringIO()
    table = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    table.writeheader()
    table.writerows(rows)
    write_text(root / LEDGER, text.getvalue())
    return rows


def _number_row(number, results):
    row = dict.fromkeys(COLUMNS, "")
    row |= {
        "source": number.source,
        "table": number.table,
        "row": number.row,
        "column": number.column,
        "paper_value": number.value,
        "unit": number.unit,
        "paper_data": number.data,
    }
    for source in SOURCES:
        found = beside(number, source, results)
        row |= _cells(source, found.status, found.made_by, *(found.measured or ()))
    slip = SLIPS.get((number.source, number.table, number.row, number.column))
    return _slipped(row, slip) if slip else row


def _claim_row(claim, results):
    row = dict.fromkeys(COLUMNS, "")
    row |= {
        "source": claim["source"],
        "table": claim["section"],
        "row": claim["id"],
        "column": CLAIM,
        "paper_value": claim["paper_value"],
        "unit": claim["unit"],
        "note": claim["claim"],
    }
    for source in SOURCES:
        found = decide(claim["decided_by"], source, results)
        shown = (found.effect, found.over, found.what, found.verdict)
        row |= _cells(source, found.status, found.made_by, *shown)
        row["unit"] = found.unit or row["unit"]
    return _slipped(row, claim["slip"]) if claim["slip"] else row


def _cells(source, status, made_by, value=None, over="", what="", verdict=""):
    """The columns of one source; of the second none where no data of ours play a part."""
    require(status in STATUSES, f"`status` must be one of {', '.join(STATUSES)}; got {status!r}")
    if made_by in WITHOUT_DATA and source != SOURCES[0]:
        return {}
    data = WITHOUT_DATA.get(made_by, source if made_by else "")
    cells = {
        "value": "" if value is None else _rounded(value.mean),
        "ci95": _interval(value, over),
        "status": status,
        "command": COMMANDS.get(made_by, ""),
        "verdict": verdict,
        "seeds": str(value.seeds) if value is not None and value.seeds else "",
        "ci95_over": over if _interval(value, over) else "",
        "measure": what,
    }
    named = {_column(source, name): text for name, text in cells.items()}
    return {**named, "data": data} if source == SOURCES[0] else named


def _column(source, name):
    return _FIRST.get(name, name) if source == SOURCES[0] else f"mocap_{name}"


def _slipped(row, slip):
    row["status"] = SLIP
    if row["mocap_status"] == MEASURED:
        row["mocap_status"] = SLIP
    row["note"] = f"{row['note']} (slip: {slip})" if row["note"] else f"slip: {slip}"
    return row


def _rounded(value):
    return f"{round(value, DIGITS) + 0.0:.{DIGITS}f}"  # + 0.0: no −0.00


def _interval(value, over):
    """ "[1.00, 2.00]"; empty without a value, or of a single training seed over seeds."""
    if value is None or not over or not math.isfinite(value.low + value.high):
        return ""
    return f"[{_rounded(value.low)}, {_rounded(value.high)}]"


def main():
    """Command line; returns the exit code."""
    try:
        surroundings.check(project_root())
        rows = write()
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    claims = claim_rows(rows)
    print(f"{LEDGER}: {len(rows) - len(claims)} numbers, {len(claims)} claims")
    for word in (comparisons.HOLDS, comparisons.FAILS, comparisons.UNDECIDED):
        own, mocap = (sum(row[f"{p}verdict"] == word for row in claims) for p in ("", "mocap_"))
        print(f"  {word}: {own} on synthetic data or by arithmetic, {mocap} on motion capture")
    waiting = len(incomplete(rows))
    if waiting:
        print(f"  {waiting} rows wait for experiments that have not been run")
    return 0


if __name__ == "__main__":
    surroundings.write_utf8()
    sys.exit(main())
