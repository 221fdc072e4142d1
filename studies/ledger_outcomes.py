"""What a comparison found about a claim: its effect, and one of three words."""

from typing import NamedTuple

from di2pose_lib.evaluation import comparisons
from di2pose_lib.evaluation.comparisons import SeedInterval
from studies.ledger_analogues import MEASURED, NOT_RUN

PAPERS = "the papers' tables"  # what arithmetic is made of: no data of ours


class Outcome(NamedTuple):
    """What a comparison found on one data source."""

    status: str
    verdict: str
    effect: SeedInterval | None
    """How much speaks for the claim: above 0 where it holds."""
    unit: str
    over: str
    """What the effect's interval is over, as in `ledger_results.Measured`; "rounding" of the
    papers' numbers; or nothing."""
    what: str
    """What was compared, in words."""
    made_by: str
    """The file of results, or another name in `ledger.COMMANDS`; empty without any."""


def not_run(what, made_by):
    """The experiment is planned; its results are not there."""
    return Outcome(NOT_RUN, comparisons.UNDECIDED, None, "", "", what, made_by)


def without(status, what=""):
    """Nothing here decides the claim, for the reason that the status names."""
    return Outcome(status, comparisons.UNDECIDED, None, "", "", what, "")


def trained(effect, unit, over, what, made_by):
    """An effect of trained networks: fewer than three training seeds decide nothing."""
    word = comparisons.verdict(effect)
    return Outcome(MEASURED, word, effect, unit, over, what, made_by)


def exact(effect, unit, over, what, made_by):
    """An effect without training in it: its interval alone decides."""
    word = comparisons.UNDECIDED
    if not effect.low <= 0 <= effect.high:
        word = comparisons.HOLDS if effect.low > 0 else comparisons.FAILS
    return Outcome(MEASURED, word, effect, unit, over, what, made_by)


def point(value):
    """A `SeedInterval` without width, of no training seed."""
    return SeedInterval(value, value, value, 0)
