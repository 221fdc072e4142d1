"""The ledger for readers: the verdicts on the papers' claims, and what is still to be run."""

from di2pose_lib.base.checks import require
from di2pose_lib.evaluation.comparisons import FEWEST_SEEDS
from studies.ledger_analogues import LICENSED, NOT_RUN, QUOTED, SLIP
from studies.ledger_results import ABLATION

CLAIM = "claim"  # in the rows of claims, in the place of a column's name
MOST_LINES = 15  # of verdicts in the README
WHY = {  # why there is no effect to show
    QUOTED: "no rival here yet",
    LICENSED: "nothing like it in these data",
}
TITLES = {"synthetic": "synthetic", "mocap": "motion capture"}


def incomplete(rows):
    """The rows that wait for experiments: not run, with too few seeds, or slips without ours."""
    return [row for row in rows if _waits(row, "") or _waits(row, "mocap_")]


def _waits(row, prefix):
    status, value = row[f"{prefix}status"], row[f"{prefix}value" if prefix else "our_value"]
    if status == NOT_RUN or (status == SLIP and not value):
        return True
    of_ablations = row[f"{prefix}measure"].startswith(ABLATION)
    return bool(value) and of_ablations and int(row[f"{prefix}seeds"]) < FEWEST_SEEDS


def claim_rows(rows):
    """The rows of claims."""
    return [row for row in rows if row["column"] == CLAIM]


def markdown_verdicts(rows):
    """(columns, rows) of the claims for a reader: effect and verdict on each data source."""
    columns = ["claim", "paper", "where", "the paper's"]
    for title in TITLES.values():
        columns += [f"{title}: effect", "verdict"]
    table = []
    for row in claim_rows(rows):
        paper = f"{row['paper_value']} {row['unit']}" if row["paper_value"] else "–"
        cells = [row["note"], row["source"], row["table"], paper]
        for prefix in ("", "mocap_"):
            cells += [_shown(row, prefix), _word(row, prefix)]
        table.append(cells)
    return columns, table


def readme_verdicts(rows, claims):
    """(columns, at most 15 rows) of the claims that the README shows, with both verdicts.

    Args:
        rows: of `ledger.build`.
        claims: of `ledger.read_claims`.

    Raises:
        ValueError: more claims than lines, or none.
    """
    wanted = {(claim["source"], claim["id"]): claim["claim"] for claim in claims if claim["readme"]}
    require(
        1 <= len(wanted) <= MOST_LINES,
        f"`claims` must mark 1 to {MOST_LINES} claims for the README; got {len(wanted)}",
    )
    table = [
        [
            wanted[row["source"], row["row"]],
            *(f"**{_word(row, prefix)}**: {_shown(row, prefix)}" for prefix in ("", "mocap_")),
        ]
        for row in claim_rows(rows)
        if (row["source"], row["row"]) in wanted
    ]
    return ["claim", *TITLES.values()], table


def _shown(row, prefix):
    """An effect for a reader: "+1.20 mm [0.30, 2.10], 3 seeds", or why there is none."""
    value = row[f"{prefix}value" if prefix else "our_value"]
    if not value:
        status = row[f"{prefix}status"]
        return WHY.get(status, status) or "–"
    sign = "" if value.startswith("-") else "+"
    seeds = row[f"{prefix}seeds"]
    interval = row[f"{prefix}ci95" if prefix else "our_ci95"]
    parts = [f"{sign}{value} {row['unit']}".strip(), interval]
    trained = f", {seeds} seed{'s' if seeds != '1' else ''}" if seeds else ""
    return " ".join(part for part in parts if part) + trained


def _word(row, prefix):
    return row[f"{prefix}verdict"] or "–"
