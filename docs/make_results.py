"""Write what is derived from results.

The blocks of README.md and docs/results.md: tables from the studies' rows, verdicts from
results/ledger.csv, figures of speed from benchmarks/results/*.json, and how far seeds differ from
their record; and into the record of the synthetic source the variation of real motion capture,
which notebook 01 compares it with.
"""

from functools import cache
from pathlib import Path

import pandas as pd

from di2pose_lib.base import surroundings
from di2pose_lib.base.config_file import load_config
from di2pose_lib.base.files import is_there, read_json, write_json, write_text
from di2pose_lib.base.project import results_folder
from di2pose_lib.evaluation import estimators, inpainting, measure, models
from di2pose_lib.evaluation.advocc_search import COARSE_TO_FINE
from di2pose_lib.evaluation.intervals import difference, interval, intervals
from di2pose_lib.evaluation.table import study_rows
from di2pose_lib.figures import markdown_table
from studies import ablation_runs, ablations, ledger, reproduction, step_choice
from studies.claims import CLAIMS
from studies.paper_numbers import read_csv

ROOT = Path(__file__).resolve().parent.parent
SOURCES = {"synthetic": "synthetic", "mocap": "motion capture"}
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
WHY = {"quoted": "no rival here yet", "needs licensed data": "nothing like it in these data"}

HEADLINES = (  # README's few rows of them
    (models.MEAN_POSE, "mean"),
    (models.NEIGHBOUR, "copy"),
    (models.DI2POSE, estimators.CHAIN),
    (models.DI2POSE, estimators.SOFT),
    (models.TOKENIZER, models.RECONSTRUCTION),
)

PARAMS = {"lesson": "params.yaml", "paper": "pipelines/paper.yaml"}
SAMPLED = {  # evaluation.step_order and step_spacing: what benchmarks/sampler.py calls it, in words
    ("random", "uniform"): ("default", "Eq. 9"),
    ("confidence", "uniform"): ("confidence", "confident tokens first"),
}


@cache
def rows_of(study):
    """The rows of a study, of all sources and seeds."""
    return study_rows(study, root=ROOT)


def shown(one, sign="", digits=1):
    """ "12.3 [11.0, 13.6]" of a line of `intervals`, or of an `Interval`."""
    return "{:{f}} [{:{f}}, {:{f}}]".format(one.mean, one.low, one.high, f=f"{sign}.{digits}f")


@cache
def _errors():
    """MPJPE over all joints: a DataFrame, a row a method and estimator, a column for the images."""
    rows = pd.concat([rows_of("occlusion").query("joint == ''"), rows_of("actions")])
    rows = rows.query("occlusion in ['clean', 'occluders'] and action in ['all', 'dance']")
    rows = rows.query("joints == 'all' and metric == 'mpjpe_mm'")
    names = rows.source.astype(str).map(SOURCES) + ", " + rows.occlusion.astype(str)
    rows = rows.assign(images=names.mask(rows.action == "dance", "dance, clean"))
    found = intervals(rows, ["method", "estimator", "images"])
    cells = found.assign(cell=[shown(one, digits=0) for one in found.itertuples()])
    columns = [f"{name}, {what}" for name in SOURCES.values() for what in ("clean", "occluders")]
    columns += ["dance, clean"]
    cells = cells.pivot(index=["method", "estimator"], columns="images", values="cell")
    seeds = found.groupby("images").seeds.min()[columns].astype(str).tolist()
    return cells[columns].fillna("–"), ["*training seeds*", "", *seeds]


def table():
    """The table's lines, in Markdown."""
    cells, seeds = _errors()
    rows = cells.reindex(SHOWN).reset_index()
    return markdown_table(list(rows.columns), [*rows.to_numpy().tolist(), seeds]).splitlines()


def headlines():
    """README's few rows of the table, without dance."""
    rows = _errors()[0].reindex(HEADLINES).iloc[:, :4].reset_index()
    lines = markdown_table(list(rows.columns), rows.to_numpy().tolist()).splitlines()
    return [line.replace(" ", "") if "--:" in line else line for line in lines]  # few words


def besides():
    """Lines on what else was measured, in Markdown; none on what was not."""
    return [*_known_joints(), *_best_tokenizer(), *_steps()]


def _known_joints():
    each = []
    for case in [f"{known} known" for known in inpainting.CASES]:
        for source in SOURCES:
            rows = rows_of("inpainting").query("source == @source and setting == @case")
            given = rows.query("estimator == @inpainting.INPAINTED")
            pairs = (("unknown", inpainting.SAMPLE), ("known", models.RECONSTRUCTION))
            both = [
                difference(
                    given.query("joints == @j"), rows.query("joints == @j and estimator == @e")
                )
                for j, e in pairs
            ]
            each.append(f"{case}, {source}: " + " and ".join(shown(interval(d), "+") for d in both))
    line = (
        "* Inpainting (notebook 09), given some joints: the unknown joints' error beside one "
        "sample's and the known joints' beside the tokenizer's, mm, by what is known: "
    )
    return [f"{line}{'; '.join(each)}."]


def _best_tokenizer():
    rows = rows_of(ablations.BEST.study)
    used = 100 * rows.query("metric == 'codes_used_share'").groupby("source").value.mean()
    each = [
        f"{one.mean:.1f} mm [{one.low:.1f}, {one.high:.1f}] on {one.source} data ({one.seeds} "
        f"seeds; codes used {used[one.source]:.0f} %)"
        for one in ablations.errors(rows, ablations.BEST).itertuples()
    ]
    (setting,) = ablations.BEST.settings
    base = load_config(ROOT / ablation_runs.PARAMS)
    sizes = ablations.changed(base, setting.changes).tokenizer.sizes
    what = f"{sizes.num_tokens} tokens of {sizes.num_codes} codes, notebook 07"
    line = f"* The most exact tokenizer ({what}) rebuilds unseen people"
    return [f"{line} to {' and '.join(each)}."]


def _steps():
    each = []
    for source in SOURCES:
        curves = step_choice.seed_curves(source, "validation", ROOT)
        chosen = step_choice.fewest_steps(curves)
        sure = f"by intervals {step_choice.beside_reference(curves, chosen).verdict}"
        cheaper = step_choice.next_cheaper(curves, chosen)
        if cheaper:
            word = step_choice.beside_reference(curves, cheaper).verdict
            sure += f", one cheaper: {word}"
        seeds = curves.columns.get_level_values("seed").nunique()
        each.append(f"{chosen} on {source} data ({seeds} seeds; {sure})")
    line = "* Fewest steps with 99 % of 100 steps' quality on average (validation, notebook 07)"
    return [f"{line}: {'; '.join(each)}."]


def _time(milliseconds):
    if milliseconds < 1000:
        return f"{milliseconds:.0f} ms"
    return f"{milliseconds / 1000:.0f} s"


def _per_pose():
    """Times of a pose by Algorithm 2, by scale, and by the default of scale lesson."""
    each = []
    for scale in PARAMS:
        times = step_choice.times_per_pose(scale, root=ROOT)
        one, many = (_time(times[batch][estimators.CHAIN_STEPS]) for batch in (1, 64))
        each.append(f"{one} for one picture and {many} each for 64 at scale {scale}")
    default = step_choice.configured(load_config(ROOT / PARAMS["lesson"]).evaluation)
    times = step_choice.candidate_times(default, "lesson", ROOT)
    return (
        f"A pose by Algorithm 2 in {estimators.CHAIN_STEPS} steps takes {'; '.join(each)}; by "
        f"lesson's default, {default}, {_time(times[1])} and {_time(times[64])}."
    )


def _samplers(sampler):
    """The sampler's own time as a share of the denoiser's, by scale, as each scale samples."""
    each = []
    for scale, params in PARAMS.items():
        own = load_config(ROOT / params).evaluation
        cases = [case for name, case in sampler["cases"].items() if name.startswith(scale)]
        option, order = SAMPLED[own.step_order, own.step_spacing]
        share = max(case["options"][option]["sampler_over_denoiser"] for case in cases)
        shown = f"{share:.0%}" if share >= 0.01 else f"{share:.1%}"
        each.append(f"{shown} at scale {scale} ({order})")
    adds = "The sampler itself adds to the denoiser's time at most"
    return f"{adds} {', '.join(each)}, on one thread."


def _training(training):
    """How near training comes to the bare matrix products that it holds."""
    lesson, width = (
        training["cases"][name]["share_of_the_products_rate"]
        for name in ("lesson", "the paper's width, two layers")
    )
    parts = training["cases"]["lesson"]["profile"]
    return (
        f"Training reaches {lesson:.0%} of its matrix products' own rate at scale lesson (where "
        f"{parts['matrix products']:.0%} of its time goes to them, {parts['loss']:.0%} to the "
        f"loss, {parts['everything else']:.0%} mostly to sums and copies), {width:.0%} at the "
        "paper's width."
    )


def _attacks(advocc):
    """What AdvOcc takes on as many images as the protocol attacks, in minutes."""
    found = advocc["extrapolated"]
    return (
        f"AdvOcc@40 and @80, coarse to fine, on {found['images_for_each_patch']} images each: "
        f"{found['minutes_for_all_patches'][COARSE_TO_FINE]:.0f} minutes, extrapolated from "
        f"{advocc['images']} images; the full grid {found['full_over_coarse']:.1f} × as long."
    )


def _losses(loss):
    """Time and memory of the loss, with the range over the processes that measured."""
    each = loss["of_each_process"]
    over, dense = each["loss_over_cross_entropy"], each["dense_over_loss"]
    return (
        f"* The loss, forward and backward, takes {loss['loss_over_cross_entropy']:.1f} × the time "
        f"of cross entropy on the same logits ({min(over):.1f} to {max(over):.1f} in {len(over)} "
        f"processes) and {loss['extra_memory_over_logits']:.1f} × their bytes; the usual dense "
        f"formulation takes {loss['dense_over_loss']:.0f} × as long as it "
        f"({min(dense):.0f} to {max(dense):.0f})."
    )


def speed():
    """Lines on what the benchmarks measured, in Markdown."""
    folder = ROOT / "benchmarks" / "results"
    loss, sampler, repro, training = (
        read_json(folder / f"{name}_cpu.json") for name in ("loss", "sampler", "repro", "training")
    )
    advocc = folder / "advocc_cpu.json"
    attacks = [_attacks(read_json(advocc))] if is_there(advocc) else []
    lesson, smoke = repro["main job"], repro["smoke"]
    return [
        f"* `make repro`: {lesson['minutes']:.1f} minutes, {lesson['peak_gib']:.1f} GiB; "
        f"`make smoke`: {smoke['minutes']:.1f} minutes, {smoke['peak_gib']:.1f} GiB "
        f"({lesson['machine']['cpu']}).",
        _losses(loss),
        f"* {_training(training)} {_samplers(sampler)}",
        " ".join([f"* {_per_pose()}", *attacks]),
    ]


def seeds():
    """How far one more training seed would be from the committed errors, in Markdown."""
    path = ROOT / "results" / "reference" / "synthetic_seeds.json"
    if not is_there(path):
        return [f"By how much is not measured yet: `{reproduction.PROGRAM} --measure`."]
    record = read_json(path)
    committed = record["errors"][str(load_config(ROOT / PARAMS["lesson"]).seed)]
    rows = reproduction.table([*record["errors"].values()], committed, committed)
    shown = {
        "clean_soft_decoding_mpjpe_mm": "soft decoding",
        "clean_one_sample_algorithm_2_mpjpe_mm": "one sample of Algorithm 2",
    }
    each = [
        f"{shown[name]} {mm:.1f} mm, one more seed {low:.0f} to {high:.0f}"
        for name, mm, _, low, high, _ in rows
        if name in shown
    ]
    told = "`make repro` ends with a table that calls each error reproduced or not. Committed: "
    return [f"{told}{'; '.join(each)} (clean images, {len(record['errors'])} seeds)."]


def claims():
    """The verdicts on the claims that are marked to be shown, in Markdown."""
    rows = pd.read_csv(ROOT / ledger.LEDGER, dtype=str, keep_default_na=False)
    listed = read_csv(ROOT / ledger.CLAIMS_FILE)
    listed = listed[listed.readme == "yes"].id
    rows = rows[(rows.column == ledger.CLAIM) & rows.row.isin(listed)]
    lines = [
        [CLAIMS[name][0], *(_verdict(own, source) for source in SOURCES)]
        for name, own in rows.groupby("row", sort=False)
    ]
    return markdown_table(["claim", *SOURCES.values()], lines).splitlines()


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
