"""Verdicts on the papers' claims: the comparisons that `decided_by` in paper/claims.csv names.

`decided_by` is a comparison and its arguments, apart by " | ". Rows of results are selected as
"file; field=value; field=value" (`ledger_results.Selection`). Every comparison says how much
speaks for the claim: an effect that is above 0 where the claim holds, with its interval.

`ablation | table`: every setting of an ablation is worse than the favourite; the nearest shows.
That it does not hold takes a setting that is better with an interval for all of them together.
`ablation | table | setting`: this setting is worse than the favourite.
`contrast | table | claim`: the ablation's contrast is above 0.
`no gain | margin | table | claim`: the ablation's contrast, a gain in mm, is at most so much.
`code use | table | setting | other`: the setting uses more of its codes than the other.
`within | percent | table | setting | other`: the setting's error is within so many percent of the
other's.
`above | rows | rows`: the first error is above the second.
`rises more | rows | rows | rows | rows`: the first error is above the second by more than the third
above the fourth.
`at most | margin | rows | rows`: the first is at most so much above the second.
`within rows | percent | rows | rows`: the first is at most so many percent above the second.
`better | method | rival | rows`: the rival's error is above the method's, in these rows of both.
`steadier | method | rival | rows | rows`: so is its rise from the second rows to the first.
`exact | file | field`: the largest deviation in the check of an equation is rounding.
`slow steps`: most of the time that a pose takes goes into steps after the first.
`table 6 average`, `largest rise | metric | percent`, `values of tanh | L`: arithmetic.
`another method`: nothing here is like it. `sequence models`: out of scope.

Rows of two errors are compared by the row of their difference, image by image, where there is
one; else by the two intervals alone.
"""

from di2pose_lib.base.checks import require
from di2pose_lib.evaluation import comparisons, measure
from di2pose_lib.evaluation.comparisons import SeedInterval, seed_interval
from studies import ablation_tables, ablations, ledger_checks
from studies.ledger_analogues import KNOWN_ACTIONS, LICENSED, OUT_OF_SCOPE, QUOTED, RIVALS
from studies.ledger_outcomes import not_run, trained, without
from studies.ledger_results import (
    ABLATION,
    ABLATIONS,
    OVER_SEEDS,
    Selection,
    minus,
    negative,
    scaled,
)
from studies.paper_numbers import DI2POSE


def decide(decided_by, source, results):
    """The `Outcome` of a claim on one data source, from `Results`.

    Raises:
        ValueError: a comparison that does not exist, or whose arguments do not fit.
    """
    name, *arguments = (part.strip() for part in decided_by.split("|"))
    known = ", ".join(COMPARISONS)
    require(name in COMPARISONS, f"`decided_by` must begin with one of {known}; got {name!r}")
    function, counts = COMPARISONS[name]
    require(
        len(arguments) in counts,
        f"`decided_by`: {name!r} takes {' or '.join(map(str, counts))} arguments; "
        f"got {len(arguments)}",
    )
    return function(source, results, *arguments)


def selection(text):
    """The `Selection` that "file; field=value; …" says; a level is a number.

    Raises:
        ValueError: a field without a value.
    """
    file, *parts = (part.strip() for part in text.split(";"))
    fields = {}
    for part in parts:
        require("=" in part, f"rows must be selected as 'field=value'; got {part!r}")
        key, value = part.split("=", 1)
        fields[key] = float(value) if key == "level" else value
    return Selection(file, fields)


# -- from the ablations ----------------------------------------------------------------------------


def _ablation(source, results, name, setting=None):
    table = ablations.table_of(name)
    require(table.favourite is not None, f"table {name} has contrasts, no favourite")
    found = results.compared(table, source)
    others = [one for one in found if one.setting != table.favourite]
    if setting is not None:
        others = [one for one in others if one.setting == setting]
        require(len(others) == 1, f"table {name}: no other setting is called {setting!r}")
    if any(one.worse_by is None for one in others):
        return not_run(f"{ABLATION}{name}: {setting or 'all'} above {table.favourite}", ABLATIONS)
    effects = {one.setting: one.worse_by for one in others}
    note = ""
    if len(others) > 1:
        note = f", the lowest of {len(others)}"
        if {one.verdict for one in others} != {comparisons.HOLDS}:  # that each is needs no more
            note += ", interval of all together"
            effects = {
                one: comparisons.corrected(effect, len(others)) for one, effect in effects.items()
            }
    fails = {
        one: effect
        for one, effect in effects.items()
        if comparisons.verdict(effect) == comparisons.FAILS
    }
    shown = fails or effects
    lowest = min(shown, key=lambda one: shown[one].mean)
    what = f"{ABLATION}{name}: {lowest} above {table.favourite}{note}"
    return trained(shown[lowest], "mm", OVER_SEEDS, what, ABLATIONS)


def _contrast(source, results, name, claim):
    table = ablations.table_of(name)
    found = {text: effect for text, effect, _ in results.contrasts(table, source)}
    require(claim in found, f"table {name}: no contrast is called {claim!r}")
    if found[claim] is None:
        return not_run(f"{ABLATION}{name}: {claim}", ABLATIONS)
    return trained(found[claim], "mm", OVER_SEEDS, f"{ABLATION}{name}: {claim}", ABLATIONS)


def _no_gain(source, results, margin, name, claim):
    gain, most = _contrast(source, results, name, claim), float(margin)
    if gain.effect is None:
        return gain
    mean, low, high = (most - end for end in (gain.effect.mean, gain.effect.high, gain.effect.low))
    left = SeedInterval(mean, low, high, gain.effect.seeds)
    return trained(left, "mm", OVER_SEEDS, f"what is left of {most:g} mm: {gain.what}", ABLATIONS)


def _finished(source, results, name, *settings):
    """{setting: {seed: row}} of the runs of an ablation."""
    finished = results.finished(ablations.table_of(name), source)
    for wanted in settings:
        require(wanted in finished, f"table {name}: no setting is called {wanted!r}")
    return finished


def _code_use(source, results, name, setting, other):
    finished = _finished(source, results, name, setting, other)
    used = [
        {seed: 100 * row["code_use"]["codes_used_share"] for seed, row in finished[one].items()}
        for one in (setting, other)
    ]
    differences = [used[0][seed] - used[1][seed] for seed in sorted(used[0].keys() & used[1])]
    what = f"{ABLATION}{name}: share of codes used, {setting} above {other}"
    if not differences:
        return not_run(what, ABLATIONS)
    return trained(seed_interval(differences), "%", "seeds", what, ABLATIONS)


def _within(source, results, percent, name, setting, other):
    finished = _finished(source, results, name, setting, other)
    metric, most = ablations.table_of(name).primary, 1 + float(percent) / 100
    weights = {(other, metric): most, (setting, metric): -1}
    left = ablation_tables.weighted_errors(finished, weights)
    what = f"{ABLATION}{name}: what is left of {percent} % above {other}, {setting}"
    if left is None:
        return not_run(what, ABLATIONS)
    least = ablation_tables.weighted_errors(finished, {(other, metric): 1}).mean
    return trained(scaled(left, 100 / least), "%", OVER_SEEDS, what, ABLATIONS)


# -- from rows of results --------------------------------------------------------------------------


def _selections(source, *texts):
    """The `Selection`s; None where the source's data have no such action."""
    found = [selection(text) for text in texts]
    actions = {s.fields.get("action", "all") for s in found}
    return found if actions <= {"all", *KNOWN_ACTIONS[source]} else None


def _above(source, results, first, second):
    return _pair(source, results, first, second)


def _at_most(source, results, margin, first, second):
    most = float(margin)

    def left(a, b, paired):
        above = _difference(a, b, paired)
        ends = (most - end for end in (above.mean, above.high, above.low))
        return SeedInterval(*ends, above.seeds)

    return _pair(source, results, first, second, left, f"what is left of {most:g}: ")


def _within_rows(source, results, percent, first, second):
    most = float(percent)
    require(most >= 0, f"`decided_by`: the percent must be at least 0; got {percent}")

    def left(a, b, paired):
        return _left(most, a, b, paired)

    return _pair(source, results, first, second, left, f"what is left of {most:g} %: ")


def _pair(source, results, first, second, left=None, words=""):
    """First − second; or what is left, of (first, second, their paired difference or None)."""
    found = _selections(source, first, second)
    if found is None:
        return without(LICENSED, "the data have no such actions")
    measured = results.together(source, found)
    if measured is None:
        return not_run(f"{first} | {second}", found[0].file)
    (a, _, named), (b, _, other) = measured
    what, paired = f"{named} above {other}", results.paired(source, *found)
    effect = (left or _difference)(a, b, paired)
    return _trained(effect, f"{words}{what}", paired, found[0])


def _difference(a, b, paired):
    return minus(a, b) if paired is None else paired


def _left(percent, a, b, paired):
    """`SeedInterval` of what a leaves of so many percent above b, by their paired difference."""
    if paired is None:
        return minus(scaled(b, 1 + percent / 100), a)
    return minus(scaled(b, percent / 100), paired) if percent > 0 else negative(paired)


def _rises_more(source, results, *texts):
    found = _selections(source, *texts)
    if found is None:
        return without(LICENSED, "the data have no such actions")
    rises, words = [], []
    for pair in (found[:2], found[2:]):
        measured = results.together(source, pair)
        if measured is None:
            return not_run(" | ".join(texts), found[0].file)
        (a, _, named), (b, _, other) = measured
        rises.append(_difference(a, b, results.paired(source, *pair)))
        words.append(f"{named} above {other}")
    return _trained(minus(*rises), "; more than ".join(words), None, found[0])


def _trained(effect, what, paired, own):
    words = what if paired is None else f"{what}, image by image"
    return trained(effect, _unit(own), "images", words, own.file)


def _unit(own):
    metric = own.fields.get("metric", "mpjpe_mm").split(",")[0]
    units = {"mm": "mm", "ms": "ms", "percent": "%"}
    return units.get(metric.rsplit("_", 1)[-1], "")


def _rise(source, results, method, rival, *texts):
    """The rival's error, or its rise from the second rows to the first, less the method's."""
    found, names = _selections(source, *texts), [_in_rows(method), _in_rows(rival)]
    if None in names:
        return without(QUOTED, "a rival that is not implemented here")
    if found is None:
        return without(LICENSED, "the data have no such actions")
    rises, words = [], []
    each_method = [[Selection(s.file, {"method": n, **s.fields}) for s in found] for n in names]
    for own in each_method:
        measured = results.together(source, own)
        if measured is None:
            return not_run(f"{rival} above {method}: {' | '.join(texts)}", found[0].file)
        values = [each.value for each in measured]
        rises.append(minus(*values) if len(values) == 2 else values[0])
        words.append(" less ".join(each.what for each in measured))
    what, paired = f"{words[1]} above {words[0]}", None
    if len(found) == 1:  # a row has the difference of two methods, but not of two rises
        (own,), (other,) = each_method
        paired = results.paired(source, other, own)
    effect = minus(rises[1], rises[0]) if paired is None else paired
    return _trained(effect, what, paired, found[0])


def _in_rows(method):
    """`method` of our rows; None for a rival that is not implemented here."""
    return measure.DI2POSE if method == DI2POSE else RIVALS.get(method)


COMPARISONS = {  # name: (function, how many arguments it takes)
    "ablation": (_ablation, (1, 2)),
    "contrast": (_contrast, (2,)),
    "no gain": (_no_gain, (3,)),
    "code use": (_code_use, (3,)),
    "within": (_within, (4,)),
    "above": (_above, (2,)),
    "rises more": (_rises_more, (4,)),
    "at most": (_at_most, (3,)),
    "within rows": (_within_rows, (3,)),
    "better": (_rise, (3,)),
    "steadier": (_rise, (4,)),
    "exact": (ledger_checks.equation, (2,)),
    "slow steps": (ledger_checks.slow_steps, (0,)),
    "table 6 average": (ledger_checks.table_6_average, (0,)),
    "largest rise": (ledger_checks.largest_rise, (2,)),
    "values of tanh": (ledger_checks.values_of_tanh, (1,)),
    "another method": (lambda source, results: without(QUOTED, "another method"), (0,)),
    "sequence models": (lambda source, results: without(OUT_OF_SCOPE), (0,)),
}
