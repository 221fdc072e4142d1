"""The tables of the ablations, from the rows that the runs left: ours beside the paper's."""

import contextlib
import csv
import math
import statistics
from typing import NamedTuple

import torch

from di2pose_lib.base.checks import require
from di2pose_lib.base.config_file import load_config
from di2pose_lib.base.files import is_there, read_json
from di2pose_lib.base.project import project_root
from di2pose_lib.base.seeding import generator_for
from di2pose_lib.evaluation import estimators, measure, step_curve
from di2pose_lib.evaluation.comparisons import SeedInterval, seed_interval, verdict
from di2pose_lib.evaluation.seed_statistics import SeedErrors, combined_interval
from studies.ablation_runs import PARAMS, SEEDS, Run
from studies.ablations import CURVE, TOKENIZER

BOOTSTRAP_SAMPLES = 2000
PAPER = "paper/di2pose_table3_ablations_h36m_mm.csv"


class Compared(NamedTuple):
    """A setting on one data source, beside its table's favourite."""

    setting: str
    error: SeedInterval | None
    """Its error in mm; None where no run has finished."""
    worse_by: SeedInterval | None
    """mm above the favourite's, seed by seed; None without a favourite, for it, or its runs."""
    verdict: str
    """On the claim that the favourite is better; empty where `worse_by` is None."""
    paper_mm: float | None


def row_error(row, metric):
    """Mean of a metric over the images of a row: its clusters' means, by their images.

    Raises:
        ValueError: the run did not measure it.
    """
    errors, images = _cluster_errors(row, metric), row["images"]
    weighted = zip(errors, images, strict=True)
    return sum(error * count for error, count in weighted) / sum(images)


def _cluster_errors(row, metric):
    names = ", ".join(sorted(row["errors"]))
    require(metric in row["errors"], f"`metric` must be one of {names}; got {metric!r}")
    return row["errors"][metric]


def weighted_errors(rows, weights):
    """`SeedInterval` of a weighted sum of errors, by the rule of `seed_statistics`.

    The errors of a seed's settings are of the same images, so the sum is taken in each cluster
    of them, people or recordings, before these are resampled.

    Args:
        rows: {setting: {seed: row}}, as `finished_rows` gives them.
        weights: {(setting, metric): weight}.

    Returns:
        The interval over the seeds that have every setting; None without any; infinite for a
        single seed.

    Raises:
        ValueError: a run did not measure a metric, or clusters do not fit.
    """
    common = sorted(set.intersection(*(set(rows[name]) for name, _ in weights)))
    runs, kinds = [], set()
    for seed in common:
        means = 0.0
        for (name, metric), weight in weights.items():
            own = torch.tensor(_cluster_errors(rows[name][seed], metric), dtype=torch.float64)
            means = means + weight * own
            images = rows[name][seed]["images"]
            kinds.add(rows[name][seed]["clusters"])
        runs.append(SeedErrors(means, torch.tensor(images)))
    if len(runs) < 2:  # of how seeds differ, one says nothing
        return seed_interval([_mean_of(run) for run in runs]) if runs else None
    generator = generator_for(0, "ablations", "bootstrap")
    shared = kinds == {"recording"}  # the same two people, whatever the seed
    found = combined_interval(runs, BOOTSTRAP_SAMPLES, generator, shared_clusters=shared)
    return SeedInterval(found.mean, found.low, found.high, len(runs))


def _mean_of(run):
    return ((run.means * run.images).sum() / run.images.sum()).item()


def finished_rows(table, source, seeds=SEEDS, root=None):
    """{setting: {seed: row}} of the runs that have finished."""
    root = root or project_root()
    base = load_config(root / PARAMS)
    found = {}
    for setting in table.settings:
        paths = {s: Run(base, table, setting, source, s, root).row_path for s in seeds}
        found[setting.name] = {s: read_json(p) for s, p in paths.items() if is_there(p)}
    return found


def mean_curves(source, split, seeds=SEEDS, root=None):
    """{way: curve} as `step_curve` gives it, the mean over the seeds that have finished.

    Also how many seeds have; without any the curves are {}.
    """
    (rows,) = finished_rows(CURVE, source, seeds, root).values()
    curves = [row["curve"][split] for row in rows.values()]
    means = {}
    for way in curves[0] if curves else ():
        own = [curve[way] for curve in curves]
        errors = {
            name: [statistics.fmean(each) for each in zip(*(o[name] for o in own), strict=True)]
            for name in step_curve.ERRORS
        }
        means[way] = {"steps": own[0]["steps"], **errors}
    return means, len(curves)


def paper_numbers(root=None):
    """{(ablation, setting): MPJPE in mm} of the paper's ablations, on Human3.6M."""
    with open((root or project_root()) / PAPER, encoding="utf-8") as handle:
        return {(r["ablation"], r["setting"]): float(r["mpjpe"]) for r in csv.DictReader(handle)}


def compared(table, source, seeds=SEEDS, root=None):
    """A `Compared` for each setting of a table, in its order."""
    rows, paper = finished_rows(table, source, seeds, root), paper_numbers(root)
    result = []
    for setting in table.settings:
        own, worse_by = (setting.name, table.primary), None
        if table.favourite not in (None, setting.name):
            weights = {own: 1, (table.favourite, table.primary): -1}
            worse_by = weighted_errors(rows, weights)
        interval = weighted_errors(rows, {own: 1})
        word = verdict(worse_by) if worse_by else ""
        result.append(Compared(setting.name, interval, worse_by, word, paper.get(setting.paper)))
    return result


def claims(table, source, seeds=SEEDS, root=None):
    """[(claim, difference, verdict)] of a table: its contrasts', or those beside its favourite.

    A difference is a `SeedInterval` in mm, above 0 where it speaks for the claim; None (and no
    verdict) where no seed has all settings.
    """
    if table.favourite is not None:
        return [
            (f"{one.setting} is worse than {table.favourite}", one.worse_by, one.verdict)
            for one in compared(table, source, seeds, root)
            if one.setting != table.favourite
        ]
    rows = finished_rows(table, source, seeds, root)
    found = [(c.claim, weighted_errors(rows, _of_metrics(c, table))) for c in table.contrasts]
    return [(claim, by, verdict(by) if by else "") for claim, by in found]


def _of_metrics(contrast, table):
    """{(setting, metric): weight} of a contrast."""
    metrics = contrast.metrics or {table.primary: 1}
    return {
        (name, metric): weight * times
        for name, weight in contrast.weights.items()
        for metric, times in metrics.items()
    }


def versions(table, source, seeds=SEEDS, root=None):
    """Digests of the library that made a table's rows: of more than one, beware."""
    rows = finished_rows(table, source, seeds, root).values()
    return sorted({row["library"] for own in rows for row in own.values()})


def _shown(interval, sign=""):
    """ "12.3 [11.0, 13.6]"; the mean alone with one seed, a dash without any."""
    if interval is None:
        return "–"
    mean = f"{interval.mean:{sign}.1f}"
    if interval.seeds == 1:
        return f"{mean} (1)"
    return f"{mean} [{interval.low:{sign}.1f}, {interval.high:{sign}.1f}] ({interval.seeds})"


def markdown_rows(table, sources, root=None):
    """(columns, rows) of a table for a reader: error, difference and verdict for each source."""
    each = {source: compared(table, source, root=root) for source in sources}
    columns = ["", "the paper, Human3.6M"]
    for source in sources:
        columns.append(f"{source}, mm (seeds)")
        columns += ["above the favourite, mm", ""] if table.favourite else []
    rows = []
    for settings in zip(*each.values(), strict=True):
        name, paper = settings[0].setting, settings[0].paper_mm
        row = [f"**{name}**" if name == table.favourite else name, "–" if paper is None else paper]
        for one in settings:
            row.append(_shown(one.error))
            row += [_shown(one.worse_by, "+"), one.verdict] if table.favourite else []
        rows.append(row)
    return columns, rows


def _even_use(row):
    """Share of the codes that as many draws as a row's poses have tokens would use if even."""
    tokenizer = row["from"].get("design") or row["from"]["tokenizer"]["sizes"]
    codes = tokenizer.get("codebook_size") or math.prod(tokenizer["levels"])
    return 1 - (1 - 1 / codes) ** (tokenizer["num_tokens"] * sum(row["images"]))


def _mean_of_several(row, name):
    """The mean of samples where there are several."""
    if row["from"]["evaluation"]["num_hypotheses"] == 1:
        raise KeyError(name)
    return row_error(row, name)


# What a row holds besides its table's primary metric: {column: reader of a row}.
_OF_TOKENIZERS = {
    "PA-MPJPE, mm": lambda row: row_error(row, "reconstruction, pa_mpjpe_mm"),
    "bone lengths, mm": lambda row: row_error(row, "reconstruction, bone_length_mm"),
    "codes used, %": lambda row: 100 * row["code_use"]["codes_used_share"],
    "by an even draw, %": lambda row: 100 * _even_use(row),
    "perplexity": lambda row: row["code_use"]["code_perplexity"],
    "levels used, %": lambda row: 100 * row["code_use"]["levels_used_share"],
    "entropy of the levels, %": lambda row: 100 * row["code_use"]["level_entropy_share"],
}
_OF_DENOISERS = {
    f"{estimator}, {occlusion}": lambda row, read=read, name=f"{estimator}, {occlusion}": read(
        row, f"{name}, mpjpe_mm"
    )
    for estimator, read in (
        (estimators.ONE_SAMPLE, row_error),
        (estimators.MEAN, _mean_of_several),
        (estimators.SOFT, row_error),
    )
    for occlusion in measure.CONDITIONS
}


def markdown_details(table, source, seeds=SEEDS, root=None):
    """(columns, rows) of the other things that a table's rows hold, means over the seeds.

    A dash stands where no row has it: soft decoding where nothing is occluded, a mean where one
    sample was drawn, the levels of a learned codebook and of the designs beside it. Codes are
    counted on the test poses alone, so even the evenest use of many codes would leave some out:
    "by an even draw" says what is then to be expected.
    """
    readers = _OF_TOKENIZERS if table.kind == TOKENIZER else _OF_DENOISERS
    rows = []
    for name, own in finished_rows(table, source, seeds, root).items():
        cells = [_mean(own.values(), reader) for reader in readers.values()]
        rows.append([name, *cells])
    return [source, *readers], rows


def _mean(rows, reader):
    """Mean of what a reader finds in rows; a dash where it finds nothing."""
    found = []
    for row in rows:
        with contextlib.suppress(KeyError, ValueError):  # not measured there
            found.append(reader(row))
    return statistics.fmean(found) if found else "–"


def markdown_claims(table, sources, root=None):
    """(columns, rows) of a table's claims: difference and verdict for each source."""
    columns = ["claim"] + [text for source in sources for text in (f"{source}, mm (seeds)", "")]
    each = [claims(table, source, root=root) for source in sources]
    rows = [
        [own[0][0], *(cell for _, by, word in own for cell in (_shown(by, "+"), word))]
        for own in zip(*each, strict=True)
    ]
    return columns, rows
