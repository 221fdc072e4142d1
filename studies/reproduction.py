"""Did this machine reproduce the committed errors? `python -m studies.reproduction`.

Another processor rounds otherwise, so it trains other networks from the same seed. A committed
record, results/reference/<source>_seeds.json, says how much the errors move from one training
seed to the next on the same images, and that is the measure: an error is *reproduced* if it lies
where one more seed's would in 95 of 100 cases. `make repro` ends with the table.

`--measure` writes the record: it trains two more seeds on the images of the finished pipeline of
this machine (twice the time of `make repro`) in scratch/reproduction, where it continues.
"""

import argparse
import dataclasses
import math
import sys

from di2pose_lib.base import surroundings
from di2pose_lib.base.checks import require
from di2pose_lib.base.config_file import load_config
from di2pose_lib.base.files import fingerprint, is_there, read_json, write_json
from di2pose_lib.base.machine import machine
from di2pose_lib.base.project import LIBRARY_DIGEST, Pipeline, finished_pipeline, project_root
from di2pose_lib.diffusion.stage import trained_denoiser
from di2pose_lib.encoder.stage import trained_encoder
from di2pose_lib.evaluation.intervals import student
from di2pose_lib.evaluation.stage import evaluated
from di2pose_lib.evaluation.table import read_table
from di2pose_lib.tokens.stage import trained_tokenizer
from studies import ablations

PROGRAM = "python -m studies.reproduction"
PARAMS = "params.yaml"
NUM_SEEDS = 3
SUMMARY, ROWS = "evaluation_summary.json", "evaluation.csv.gz"
ROUNDING_MM = 0.05  # what no seed moves (the mean pose) moves elsewhere by rounding alone
REPRODUCED, DIFFERS = "reproduced", "differs by more than seeds do"
STEPS = (
    ("image_encoder", trained_encoder),
    ("pose_tokenizer", trained_tokenizer),
    ("diffusion_training", trained_denoiser),
    ("evaluation", evaluated),
)


def record_path(config):
    """Where the errors of several training seeds are committed."""
    return project_root() / "results" / "reference" / f"{config.data.source}_seeds.json"


def parameters(config):
    """A digest of all parameters that an error depends on."""
    return fingerprint(ablations.run_values(config, ablations.DENOISER))


def table(seeds, committed, errors):
    """Each error beside the committed one, and where one more seed's would lie.

    Args:
        seeds: list of {name: mm}, one a training seed.
        committed, errors: {name: mm}, committed and of this machine, the same names.

    Returns:
        list of (name, committed mm, mm here, low, high, word); low and high are the ends of the
        95 % prediction interval.

    Raises:
        ValueError: other names.
    """
    for each in (committed, errors):
        require(
            each.keys() == seeds[0].keys(),
            f"the errors must be {', '.join(seeds[0])}; got {', '.join(each)}",
        )
    rows = []
    for name, here in errors.items():
        low, high = prediction_interval([each[name] for each in seeds])
        word = REPRODUCED if low <= here <= high else DIFFERS
        rows.append((name, committed[name], here, low, high, word))
    return rows


def prediction_interval(values):
    """Where one more value of the same kind lies in 95 of 100 cases: mean ± t s √(1 + 1/n)."""
    mean, low, _, count = student(values)
    half = (mean - low) * math.sqrt(count + 1) + ROUNDING_MM
    return mean - half, mean + half


def show(config, results):
    """The table of the errors in a folder of results and what it means, as text.

    Raises:
        ValueError: the results are not there, or hold other errors than the record.
    """
    path = record_path(config)
    if not is_there(path):
        return "How far seeds differ is not recorded: `python -m studies.reproduction --measure`."
    record = read_json(path)
    if record["parameters"] != parameters(config):
        return "The parameters are not those of the committed errors: nothing to compare with."
    errors, here = read_json(results / SUMMARY), read_table(results / ROWS).iloc[0]
    seeds = record["errors"]
    rows = table(list(seeds.values()), seeds[str(config.seed)], errors)
    width = max(len(row[0]) for row in rows)
    lines = [
        f"{'MPJPE, mm':{width}}  committed    here   one more seed, 95 %",
        *(
            f"{name:{width}}  {committed:9.1f} {value:7.1f}   [{low:5.1f}, {high:5.1f}]  {word}"
            for name, committed, value, low, high, word in rows
        ),
        "",
        f"Committed on {_words(record['machine'])}; here {_words(here)}.",
        f"{sum(row[-1] == REPRODUCED for row in rows)} of {len(rows)} reproduced. {len(seeds)} "
        "training seeds on the same images tell roughly how far one more would lie: each number is "
        "outside in about one case of twenty, several at once, for they share their networks. All "
        "inside says that nothing large is wrong, no more.",
    ]
    return "\n".join(lines)


def _words(computer):
    return f"{computer['cpu']} ({computer['vectors']}), {computer['threads']} threads"


def measure(params_file):
    """Train more seeds on the images of the finished pipeline, and write the record; its path.

    Raises:
        ValueError: the pipeline was not run here, or with other parameters.
    """
    finished = finished_pipeline(params_file)
    require(finished is not None, f"run `dvc repro` with {params_file} first; it is not finished")
    config = finished.config
    errors = {str(config.seed): read_json(finished.results / SUMMARY)}
    for seed in range(config.seed + 1, config.seed + NUM_SEEDS):
        errors[str(seed)] = _trained(finished, seed)
    path = record_path(config)
    write_json(path, {"machine": machine(), "parameters": parameters(config), "errors": errors})
    return path


def _trained(finished, seed):
    """The evaluation_summary.json of another training seed on the finished pipeline's images."""
    config = dataclasses.replace(finished.config, seed=seed)
    code = LIBRARY_DIGEST[:16]  # as DVC would: networks of other code are trained anew
    folder = project_root() / "scratch" / "reproduction" / code / str(seed)
    images = Pipeline(config, folder).artifacts / "data_preparation"
    images.parent.mkdir(parents=True, exist_ok=True)
    images.unlink(missing_ok=True)
    images.symlink_to(finished.artifacts / "data_preparation")
    for stage, make in STEPS:  # as DVC would run them: what came before is only loaded
        pipeline = Pipeline(config, folder, stage)
        make(pipeline)
        pipeline.remove_checkpoints(stage)
    return read_json(pipeline.results / SUMMARY)


def main(arguments):
    """Command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog=PROGRAM, description=__doc__)
    parser.add_argument("--params", default=PARAMS, help="seen from the repository's top folder")
    parser.add_argument("--measure", action="store_true", help="train more seeds, write the record")
    chosen = parser.parse_args(arguments)
    try:
        surroundings.check(project_root())
        if chosen.measure:
            print(measure(chosen.params).relative_to(project_root()))
            return 0
        config = load_config(project_root() / chosen.params)
        results = Pipeline(config, (project_root() / chosen.params).parent).results
        print(show(config, results))
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    surroundings.write_utf8()
    sys.exit(main(sys.argv[1:]))
