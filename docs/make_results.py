"""Write what is derived from the results of scale lesson.

README's table from results/lesson/*/evaluation.json, and into the record of the synthetic
source the variation of real motion capture, which notebook 01 compares it with.
"""

from pathlib import Path

from di2pose_lib import estimators, evaluation
from di2pose_lib.files import read_json, write_json, write_text

ROOT = Path(__file__).resolve().parent.parent
BEGIN, END = "<!-- results:begin", "<!-- results:end -->"
ROWS = (
    (evaluation.MEAN_POSE, "mean"),
    (evaluation.NEIGHBOUR, "copy"),
    (evaluation.DI2POSE, estimators.ONE_SAMPLE),
    (evaluation.DI2POSE, estimators.ARGMAX),
    (evaluation.DI2POSE, estimators.MEAN),
    (evaluation.DI2POSE, estimators.SOFT),
    (evaluation.DI2POSE, estimators.BEST),
    (evaluation.SHUFFLED, estimators.SOFT),
    (evaluation.TOKENIZER, evaluation.RECONSTRUCTION),
)
COLUMNS = (
    ("synthetic", "synthetic, clean", "clean", "all"),
    ("synthetic", "synthetic, occluders", "occluders", "all"),
    ("mocap", "motion capture, clean", "clean", "all"),
    ("mocap", "seen actions", "clean", "seen in training"),
    ("mocap", "dance", "clean", "dance"),
)


def cell(rows, method, estimator, occlusion, action):
    """mean [low, high], or a dash where the method was not asked."""
    # The reconstruction and the shuffled images are evaluated clean alone.
    if not rows or (occlusion != "clean" and method in (evaluation.SHUFFLED, evaluation.TOKENIZER)):
        return "–"
    row = evaluation.find(
        rows, method=method, estimator=estimator, occlusion=occlusion, action=action
    )
    return f"{row['mean']:.0f} [{row['ci95_low']:.0f}, {row['ci95_high']:.0f}]"


def table():
    """The table's lines, in Markdown."""
    paths = {
        data: ROOT / "results" / "lesson" / data / "evaluation.json"
        for data in ("synthetic", "mocap")
    }
    results = {data: read_json(path) if path.is_file() else [] for data, path in paths.items()}
    lines = [
        "| method | estimator | " + " | ".join(title for _, title, _, _ in COLUMNS) + " |",
        "|---" * (2 + len(COLUMNS)) + "|",
    ]
    for method, estimator in ROWS:
        cells = [
            cell(results[data], method, estimator, occlusion, action)
            for data, _, occlusion, action in COLUMNS
        ]
        lines.append(f"| {method} | {estimator} | " + " | ".join(cells) + " |")
    return lines


def main():
    """Replace what stands between the two markers in README.md."""
    readme = ROOT / "README.md"
    head, rest = readme.read_text(encoding="utf-8").split(BEGIN)
    marker, rest = rest.split("\n", 1)
    _, tail = rest.split(END)
    write_text(readme, "\n".join([f"{head}{BEGIN}{marker}", *table(), f"{END}{tail}"]))
    real = read_json(ROOT / "results" / "lesson" / "mocap" / "data_preparation.json")
    record = ROOT / "results" / "reference" / "synthetic.json"
    compared = {"real_pairwise_pa_mpjpe_mm": real["pairwise_pa_mpjpe_mm"]}
    write_json(record, {**read_json(record), **compared})


if __name__ == "__main__":
    main()
