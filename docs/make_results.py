"""Write what is derived from results.

The blocks of README.md and docs/results.md: tables from the sources' sweeps.json, verdicts from
results/ledger.csv, figures of speed from benchmarks/results/*.json, and how far seeds differ from
their record; and into the record of the synthetic source the variation of real motion capture,
which notebook 01 compares it with.
"""

import csv
from pathlib import Path

from di2pose_lib.base import surroundings
from di2pose_lib.base.config import SOURCES
from di2pose_lib.base.config_file import load_config
from di2pose_lib.base.files import is_there, read_json, write_json, write_text
from di2pose_lib.base.project import results_folder
from di2pose_lib.evaluation import estimators, inpainting, measure, step_curve
from di2pose_lib.evaluation.advocc_search import COARSE_TO_FINE
from di2pose_lib.evaluation.conditions import of_action
from di2pose_lib.evaluation.result_tables import chosen, shown
from di2pose_lib.figures import markdown_table
from studies import (
    ablation_runs,
    ablation_tables,
    ablations,
    ledger,
    ledger_tables,
    reproduction,
    step_choice,
)

ROOT = Path(__file__).resolve().parent.parent
ROWS = (
    (measure.MEAN_POSE, "mean"),
    (measure.NEIGHBOUR, "copy"),
    (measure.DI2POSE, estimators.CHAIN),
    (measure.DI2POSE, estimators.ONE_SAMPLE),
    (measure.DI2POSE, estimators.MEAN),
    (measure.DI2POSE, estimators.SOFT),
    (measure.DI2POSE, estimators.BEST),
    (measure.SHUFFLED, estimators.SOFT),
    (measure.TOKENIZER, measure.RECONSTRUCTION),
)
HEADLINES = (  # README's few rows and columns of them
    (measure.MEAN_POSE, "mean"),
    (measure.NEIGHBOUR, "copy"),
    (measure.DI2POSE, estimators.CHAIN),
    (measure.DI2POSE, estimators.SOFT),
    (measure.TOKENIZER, measure.RECONSTRUCTION),
)
COLUMNS = (
    ("synthetic", "synthetic, clean", "clean"),
    ("synthetic", "synthetic, occluders", "occluders"),
    ("mocap", "motion capture, clean", "clean"),
    ("mocap", "motion capture, occluders", "occluders"),
    ("mocap", "dance, clean", of_action("clean", "dance")),
)

PARAMS = {"lesson": "params.yaml", "paper": "pipelines/paper.yaml"}
SAMPLED = {  # evaluation.step_order and step_spacing: what benchmarks/sampler.py calls it, in words
    ("random", "uniform"): ("default", "Eq. 9"),
    ("confidence", "uniform"): ("confidence", "confident tokens first"),
}


def rows_of(data, file):
    """The rows of a file of results, over all training seeds; none where it is not there."""
    path = results_folder(data, ROOT) / f"{file}.json"
    return read_json(path) if is_there(path) else []


def cell(rows, method, estimator, protocol):
    """mean [low, high], or a dash where the method was not asked."""
    found = chosen(rows, method=method, estimator=estimator, protocol=protocol)
    return shown(found[0], 0) if found else "–"


def table(shown_rows=ROWS, columns=COLUMNS):
    """The table's lines, in Markdown."""
    results = {data: rows_of(data, "sweeps") for data in SOURCES}
    lines = [
        "| method | estimator | " + " | ".join(title for _, title, _ in columns) + " |",
        "|---" * (2 + len(columns)) + "|",
    ]
    for method, estimator in shown_rows:
        cells = [cell(results[data], method, estimator, protocol) for data, _, protocol in columns]
        lines.append(f"| {method} | {estimator} | " + " | ".join(cells) + " |")
    seeds = [
        min((row["seeds"] for row in chosen(results[data], protocol=protocol)), default="–")
        for data, _, protocol in columns
    ]
    return [*lines, f"| *training seeds* | | {' | '.join(map(str, seeds))} |"]


def headlines():
    """README's few rows of the table, without that of the seeds."""
    return table(HEADLINES, COLUMNS[:4])[:-1]


def besides():
    """Lines on what else was measured, in Markdown; none on what was not."""
    return [*_known_joints(), *_best_tokenizer(), *_steps()]


def _known_joints():
    each = []
    for case in inpainting.CASES:
        protocol = inpainting.protocol_of(case)
        for data in SOURCES:
            found = {
                row["estimator"]: f"{row['mean']:+.1f} [{row['ci95_low']:+.1f}, "
                f"{row['ci95_high']:+.1f}]"
                for row in rows_of(data, "inpainting")
                if row["protocol"] == protocol
            }
            if found:
                unknown = found[inpainting.WORSE_THAN_SAMPLE]
                known = found[inpainting.WORSE_THAN_TOKENIZER]
                each.append(f"{case}, {data}: {unknown} and {known}")
    line = (
        "* Inpainting (notebook 09), given some joints: the unknown joints' error beside one "
        "sample's and the known joints' beside the tokenizer's, mm, by what is known: "
    )
    return [f"{line}{'; '.join(each)}."] if each else []


def _best_tokenizer():
    each = []
    for data in SOURCES:
        (best,) = ablation_tables.compared(ablations.BEST, data)
        if best.error:
            _, ((_, *details),) = ablation_tables.markdown_details(ablations.BEST, data)
            each.append(
                f"{_over_seeds(best.error)} on {data} data ({_seeds(best.error.seeds)}; "
                f"codes used {details[2]:.0f} %)"
            )
    (setting,) = ablations.BEST.settings
    base = load_config(ROOT / ablation_runs.PARAMS)
    sizes = ablations.changed(base, setting.changes).tokenizer.sizes
    what = f"{sizes.num_tokens} tokens of {sizes.num_codes} codes, notebook 07"
    line = f"* The most exact tokenizer ({what}) rebuilds unseen people"
    return [f"{line} to {' and '.join(each)}."] if each else []


def _over_seeds(error):
    """A mean in mm with its interval over the seeds, which a single seed has not."""
    mean = f"{error.mean:.1f} mm"
    return mean if error.seeds == 1 else f"{mean} [{error.low:.1f}, {error.high:.1f}]"


def _seeds(count):
    return f"{count} seed{'' if count == 1 else 's'}"


def _steps():
    each = []
    for data in SOURCES:
        curves, seeds = ablation_tables.mean_curves(data, "validation")
        if curves:
            chosen_way = step_choice.Candidate(*step_curve.fewest_steps(curves))
            found = step_choice.evidence(step_choice.seed_curves(data, "validation"), chosen_way)
            sure = f"by intervals {found.chosen.verdict}"
            if found.cheaper is not None:
                sure += f", one cheaper: {found.cheaper.verdict}"
            each.append(f"{chosen_way} on {data} data ({_seeds(seeds)}; {sure})")
    line = "* Fewest steps with 99 % of 100 steps' quality on average (validation, notebook 07)"
    return [f"{line}: {'; '.join(each)}."] if each else []


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
    with open(ROOT / ledger.LEDGER, encoding="utf-8", newline="") as handle:
        rows = list(csv.DictReader(handle))
    verdicts = ledger_tables.readme_verdicts(rows, ledger.read_claims(ROOT))
    return markdown_table(*verdicts).splitlines()


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
