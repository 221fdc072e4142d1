"""Write what is derived from results.

The blocks of README.md and docs/results.md: tables from the studies' rows, verdicts from
results/ledger.csv, and sentences of docs/blocks/, filled with what benchmarks and studies measured;
and into the record of the synthetic source the variation of real motion capture, which notebook 01
compares it with.
"""

import re
from functools import cache
from pathlib import Path

import jinja2
import pandas as pd

from di2pose_lib.base import surroundings
from di2pose_lib.base.config_file import load_config
from di2pose_lib.base.files import is_there, read_json, write_json, write_text
from di2pose_lib.base.project import results_folder
from di2pose_lib.evaluation import estimators, inpainting, measure, models
from di2pose_lib.evaluation.intervals import difference, intervals, shown
from di2pose_lib.evaluation.table import study_rows
from studies import ablation_runs, ablations, ledger, reproduction, step_choice
from studies.claims import CLAIMS
from studies.paper_numbers import read_csv

DOCS = Path(__file__).resolve().parent
ROOT = DOCS.parent
DATA = {"synthetic": "synthetic", "mocap": "motion capture"}  # a source, in words
SHOWN = (
    (models.MEAN_POSE, "mean"),
    (models.NEIGHBOUR, "copy"),
    (models.DI2POSE, estimators.CHAIN),
    (models.DI2POSE, estimators.ONE_SAMPLE),
    (models.DI2POSE, estimators.MEAN),
    (models.DI2POSE, estimators.SOFT),
    (models.DI2POSE, estimators.BEST),
    (measure.SHUFFLED, estimators.SOFT),
    (models.TOKENIZER, models.RECONSTRUCTION),
)
HEADLINES = [SHOWN[place] for place in (0, 1, 2, 5, 8)]  # README's few rows of them
WHY = {"quoted": "no rival here yet", "needs licensed data": "nothing like it in these data"}

PARAMS = {"lesson": "params.yaml", "paper": "pipelines/paper.yaml"}
SAMPLED = {  # evaluation.step_order and step_spacing: what benchmarks/sampler.py calls it, in words
    ("random", "uniform"): ("default", "Eq. 9"),
    ("confidence", "uniform"): ("confidence", "confident tokens first"),
}


@cache
def rows_of(study):
    """The rows of a study, of all sources and seeds."""
    return study_rows(study, root=ROOT)


def markdown(table):
    """A DataFrame of texts as lines; the first column is flush left, the others right."""
    lines = [[*table.columns], [":--", *["--:"] * (len(table.columns) - 1)], *table.to_numpy()]
    return [f"| {' | '.join(line)} |" for line in lines]


def duration(milliseconds):
    """A time in words."""
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1000:.0f} s"


def sentences(block, **values):
    """The lines of a template in docs/blocks/; one that begins with spaces goes on with another."""
    templates = jinja2.Environment(
        loader=jinja2.FileSystemLoader(DOCS / "blocks"),
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
    )
    templates.filters |= {"form": format, "duration": duration}
    text = templates.get_template(f"{block}.md.j2").render(values)
    return re.sub(r"\n +", " ", text.strip()).splitlines()


@cache
def _errors():
    """MPJPE over all joints: a DataFrame, a row a method and estimator, a column for the images."""
    rows = pd.concat([rows_of("occlusion").query("joint == ''"), rows_of("actions")])
    rows = rows.query("occlusion in ['clean', 'occluders'] and action in ['all', 'dance']")
    rows = rows.query("joints == 'all' and metric == 'mpjpe_mm'")
    images = rows.source.astype(str).map(DATA) + ", " + rows.occlusion.astype(str)
    rows = rows.assign(images=images.mask(rows.action == "dance", "dance, clean"))
    lines = intervals(rows, ["method", "estimator", "images"])
    lines["cell"] = shown(lines, digits=0)
    columns = [f"{name}, {what}" for name in DATA.values() for what in ("clean", "occluders")]
    columns += ["dance, clean"]
    cells = lines.pivot(index=["method", "estimator"], columns="images", values="cell")
    seeds = lines.groupby("images").seeds.min()[columns].astype(str).tolist()
    return cells[columns].fillna("–"), ["*training seeds*", "", *seeds]


def table():
    """The table's lines, in Markdown."""
    cells, seeds = _errors()
    rows = cells.reindex(SHOWN).reset_index()
    rows.loc[len(rows)] = seeds
    return markdown(rows)


def headlines():
    """README's few rows of the table, without dance."""
    lines = markdown(_errors()[0].reindex(HEADLINES).iloc[:, :4].reset_index())
    return [line.replace(" ", "") if "--:" in line else line for line in lines]  # few words


def besides():
    """What else was measured: inpainting, the best tokenizer, the fewest steps."""
    best = rows_of(ablations.BEST.study)
    codes = best.query("metric == 'codes_used_share'")
    config = load_config(ROOT / ablation_runs.PARAMS)
    (setting,) = ablations.BEST.settings
    return sentences(
        "besides",
        inpainting=_known_joints(),
        best=ablations.changed(config, setting.changes).tokenizer.sizes,
        rebuilt=[*ablations.errors(best, ablations.BEST).itertuples()],
        used=codes.groupby("source", observed=True).value.mean(),
        steps=[_steps(source) for source in DATA],
    )


def _known_joints():
    """(case, source, the error of unknown joints beside a sample's, of known ones beside the
    tokenizer's) of inpainting."""
    rows, on = rows_of("inpainting"), ["setting", "source"]
    inpainted = rows[rows.estimator == inpainting.INPAINTED]
    columns = []
    for joints, other in (("unknown", inpainting.SAMPLE), ("known", models.RECONSTRUCTION)):
        beside = rows[(rows.joints == joints) & (rows.estimator == other)]
        lines = intervals(difference(inpainted[inpainted.joints == joints], beside, on), on)
        columns.append(shown(lines.set_index(on), sign="+"))
    cases = [f"{case} known" for case in inpainting.CASES]
    places = [(case, source) for case in cases for source in DATA]
    return [(*place, *(column[place] for column in columns)) for place in places]


def _steps(source):
    """The fewest steps that keep the quality on a source, and how sure that is."""
    curves = step_choice.seed_curves(source, "validation", ROOT)
    chosen = step_choice.fewest_steps(curves)
    cheaper = step_choice.next_cheaper(curves, chosen)
    return {
        "chosen": chosen,
        "source": source,
        "seeds": curves.columns.get_level_values("seed").nunique(),
        "verdict": step_choice.beside_reference(curves, chosen).verdict,
        "cheaper": cheaper and step_choice.beside_reference(curves, cheaper).verdict,
    }


def sampler_shares(sampler):
    """{scale: (the sampler's own time over the denoiser's, the order in words)}, at most, as each
    scale samples."""
    shares = {}
    for scale, params in PARAMS.items():
        evaluation = load_config(ROOT / params).evaluation
        cases = [case for name, case in sampler["cases"].items() if name.startswith(scale)]
        option, order = SAMPLED[evaluation.step_order, evaluation.step_spacing]
        share = max(case["options"][option]["sampler_over_denoiser"] for case in cases)
        shares[scale] = share, order
    return shares


def speed():
    """What the benchmarks measured."""
    folder = ROOT / "benchmarks" / "results"
    names = ("loss", "sampler", "repro", "training", "advocc")
    measured = {name: read_json(folder / f"{name}_cpu.json") for name in names}
    default = step_choice.configured(load_config(ROOT / PARAMS["lesson"]).evaluation)
    return sentences(
        "speed",
        **measured,
        sampler_shares=sampler_shares(measured["sampler"]),
        chain_steps=estimators.CHAIN_STEPS,
        per_pose={scale: step_choice.times_per_pose(scale, root=ROOT) for scale in PARAMS},
        default=default,
        default_times=step_choice.candidate_times(default, "lesson", ROOT),
    )


def seeds():
    """How far one more training seed would be from the committed errors."""
    path = ROOT / "results" / "reference" / "synthetic_seeds.json"
    if not is_there(path):
        return sentences("seeds", errors=[], program=reproduction.PROGRAM)
    record = read_json(path)
    committed = record["errors"][str(load_config(ROOT / PARAMS["lesson"]).seed)]
    names = {
        "clean_soft_decoding_mpjpe_mm": "soft decoding",
        "clean_one_sample_algorithm_2_mpjpe_mm": "one sample of Algorithm 2",
    }
    rows = reproduction.table([*record["errors"].values()], committed, committed)
    errors = [(names[name], mm, low, high) for name, mm, _, low, high, _ in rows if name in names]
    return sentences("seeds", errors=errors, seeds=len(record["errors"]))


def claims():
    """The verdicts on the claims that are marked to be shown, in Markdown."""
    rows = pd.read_csv(ROOT / ledger.LEDGER, dtype=str, keep_default_na=False)
    listed = read_csv(ROOT / ledger.CLAIMS_FILE)
    listed = listed[listed.readme == "yes"].id
    rows = rows[(rows.column == ledger.CLAIM) & rows.row.isin(listed)]
    lines = [
        [CLAIMS[name][0], *(_verdict(of_claim, source) for source in DATA)]
        for name, of_claim in rows.groupby("row", sort=False)
    ]
    return markdown(pd.DataFrame(lines, columns=["claim", *DATA.values()]))


def _verdict(rows, source):
    """ "**holds here**: +1.20 mm [0.30, 2.10], 3 seeds", or why there is no effect."""
    (one,) = rows[rows.source.isin([source, ""])].itertuples()
    if not one.value:
        return f"**{one.verdict}**: {WHY.get(one.status, one.status)}"
    sign = "" if one.value.startswith("-") else "+"
    ends = f" [{one.low}, {one.high}]" if one.low else ""
    return f"**{one.verdict}**: {sign}{one.value} {one.unit}{ends}, {one.seeds} seeds"


BLOCKS = {  # file: what stands there between two markers
    "README.md": {"headlines": headlines},
    "docs/results.md": {
        "results": table,
        "besides": besides,
        "claims": claims,
        "seeds": seeds,
        "speed": speed,
    },
}


def markers(block):
    """The starts of the lines before and after a block."""
    return f"<!-- {block}:begin", f"<!-- {block}:end -->"


def main():
    """Replace the blocks, and write the record."""
    surroundings.check(ROOT)
    for file, blocks in BLOCKS.items():
        text = (ROOT / file).read_text(encoding="utf-8")
        for block, lines in blocks.items():
            begin, end = markers(block)
            head, rest = text.split(begin)
            marker, rest = rest.split("\n", 1)
            text = "\n".join([f"{head}{begin}{marker}", *lines(), f"{end}{rest.split(end)[1]}"])
        write_text(ROOT / file, text)
    real = read_json(results_folder("mocap", ROOT) / "data_preparation.json")
    record = ROOT / "results" / "reference" / "synthetic.json"
    compared = {"real_pairwise_pa_mpjpe_mm": real["pairwise_pa_mpjpe_mm"]}
    write_json(record, {**read_json(record), **compared})


if __name__ == "__main__":
    main()
