"""Claims that no training decides: equations, time, and the papers' own arithmetic."""

import math

import torch

from di2pose_lib.base.files import is_there, read_json
from di2pose_lib.base.project import results_folder
from di2pose_lib.evaluation import comparisons
from di2pose_lib.evaluation.comparisons import SeedInterval
from studies.ledger_analogues import MEASURED
from studies.ledger_outcomes import PAPERS, Outcome, exact, not_run, point
from studies.ledger_results import BENCHMARK
from studies.paper_numbers import DI2POSE, numbers

ROUNDED = 0.05  # half the last digit of the papers' numbers
ROUNDED_PERCENT = 0.5  # of the percents in their text
ROUNDING = 1e-9  # at most, of an equation checked in float64
LEAST = 2.0**-53  # that float64 tells from 0 beside 1
ALL_STEPS = 100  # the paper's
HALF = 0.5  # of a pose's time


def equation(source, results, file, field):
    """Whether the largest deviation in an equation's check is rounding: digits to spare."""
    path = results_folder(source, results.root) / f"{file}.json"
    what = f"{file}.json: {field}"
    if not is_there(path):
        return not_run(what, file)
    deviation = read_json(path)[field]
    what = f"{what} = {deviation:.0e}, below {ROUNDING:.0e}"
    spare = math.log10(ROUNDING / max(deviation, LEAST))
    return exact(point(spare), "digits", "", what, file)


def slow_steps(source, results):
    """Whether most of a pose's time goes into steps after the first."""
    times = [results.milliseconds(steps) for steps in (1, ALL_STEPS)]
    what = f"share of a pose's time in the steps after the first, of {ALL_STEPS}"
    if None in times:
        return not_run(what, BENCHMARK)
    (one, where), (many, _) = times
    what = f"{what}, above {HALF:.0%}: scale lesson, {where}"
    return exact(point(100 * (1 - one / many - HALF)), "%", "", what, BENCHMARK)


def table_6_average(source, results):
    """Whether Di2Pose's 15 actions in Table 6 average below the best average of the others."""
    own, best = _row(results, "Table 6", "Di2Pose"), "Zhang 2023"
    del own["Avg"]
    left = _row(results, "Table 6", best)["Avg"] - sum(own.values()) / len(own)
    effect = SeedInterval(left, left - 2 * ROUNDED, left + 2 * ROUNDED, 0)
    what = f"{best}'s average above the mean of Di2Pose's {len(own)} actions, in Table 6"
    return exact(effect, "mm", "rounding", what, PAPERS)


def largest_rise(source, results, metric, percent):
    """Whether the largest rise from 3DPW to AdvOcc@80 in Table 2 stays below so many percent."""
    table = [n for n in numbers(results.root / "paper") if _of_table(n, "Table 2")]
    largest = None
    for method in dict.fromkeys(n.keys["method"] for n in table):
        row = _row(results, "Table 2", method)
        base, worst = row.get(f"3dpw_{metric}"), row[f"adv80_{metric}"]
        if base is not None and (largest is None or worst / base > largest[0]):
            largest = (worst / base, base, worst, method)
    ratio, base, worst, method = largest
    rise, said = 100 * (ratio - 1), float(percent)
    least = 100 * ((worst - ROUNDED) / (base + ROUNDED) - 1)
    most = 100 * ((worst + ROUNDED) / (base - ROUNDED) - 1)
    low, high = said - ROUNDED_PERCENT - most, said + ROUNDED_PERCENT - least
    what = f"{said:g} % less the largest rise in Table 2, {method}'s {rise:.1f} % ({metric}, @80)"
    return exact(SeedInterval(said - rise, low, high, 0), "%", "rounding", what, PAPERS)


def values_of_tanh(source, results, levels="8"):
    """Whether rounding ⌊L/2⌋ · tanh gives L values: how many are missing, or too many."""
    count = int(levels)
    bounded = count // 2 * torch.linspace(-9, 9, 10001, dtype=torch.float64).tanh()
    left = count - len(bounded.round().unique())
    word = comparisons.FAILS if left else comparisons.HOLDS
    what = f"L = {count}, less the values that round(⌊L/2⌋ · tanh) takes: 0 would be right"
    return Outcome(MEASURED, word, point(left), "values", "", what, PAPERS)


def _of_table(number, table):
    return (number.source, number.table) == (DI2POSE, table)


def _row(results, table, method):
    """{column: value} of a row of Di2Pose's tables."""
    return {
        number.column: float(number.value)
        for number in numbers(results.root / "paper")
        if _of_table(number, table) and number.keys["method"] == method
    }
