"""The ablations: which settings each table compares, and what the paper says of them.

A setting is a change of studies/ablations.yaml; everything else in its table stays
the same, the training steps too. Its name in the paper's tables finds the paper's number. Each
table is a study, `Table.study`, whose rows `errors`, `differences` and `contrasts` compare.
"""

import dataclasses
from functools import cache
from typing import NamedTuple

import pandas as pd

from di2pose_lib.base.checks import require
from di2pose_lib.base.config_file import config_from_dict, to_dict
from di2pose_lib.evaluation import step_curve
from di2pose_lib.evaluation.intervals import interval, intervals, verdict, weighted_sum
from di2pose_lib.tokens.designs import TokenizerDesign, design_size, match_parameters

# What a table trains, and what it measures.
TOKENIZER, DENOISER, STEPS = "tokenizer", "denoiser", "steps of inference"


class Setting(NamedTuple):
    """A row of a table."""

    name: str
    changes: dict
    """{dotted parameter: value}."""
    paper: tuple | None = None
    """(ablation, setting) in the paper's table 3, or None where it has no such row."""
    design: TokenizerDesign | None = None
    """A tokenizer of another design, with as many parameters as the parameters' own."""


class Contrast(NamedTuple):
    """A claim about several settings: that a weighted sum of their errors is above 0."""

    claim: str
    weights: dict
    """{setting: weight}."""
    measures: tuple = ()
    """(weight, measure) of the error, as `Table.primary`; none: that one."""


class Table(NamedTuple):
    """Settings that are compared."""

    name: str
    question: str
    kind: str
    settings: tuple
    favourite: str | None
    """The setting that the paper found, or we took, for the best; each other one is claimed to
    be worse. None where `contrasts` say what is claimed."""
    primary: dict
    """Which of its rows decide: {column: value}."""
    contrasts: tuple = ()

    @property
    def study(self):
        """The study that holds its rows."""
        return f"ablation_{self.name}"


def _rates(occlude):
    return {
        "diffusion.final_occlude_rate": occlude,
        "diffusion.final_replace_rate": round(1.0 - occlude, 10),
    }


def _steps(trained, inference):
    return {
        "diffusion.num_steps": trained,
        "evaluation.num_inference_steps": inference,
        "evaluation.num_hypotheses": 1,
    }


def _neighbours(count):
    return Setting(
        f"X = {count}",
        {"tokenizer.sizes.local_joints": count},
        ("local_joints_X (reconstruction)", str(count)),
    )


def _levels(*levels):
    name = " ".join(map(str, levels))
    return Setting(
        f"[{', '.join(map(str, levels))}]",
        {"tokenizer.sizes.levels": list(levels)},
        ("fsq_levels (reconstruction)", name),
    )


def _helps(what, setting):
    """A `Contrast` with the setting "as it is"."""
    return Contrast(f"{what} help", {"as it is": 1, setting: -1})


def _occlude(rate):
    name = f"{rate:g}" if 0 < rate < 1 else f"{rate:.1f}" if rate else "0"
    return Setting(f"γ̄ = {rate:g}", _rates(rate), ("final_occlude_rate", name))


def _trained_and_run(trained, inference):
    return Setting(
        f"S = {trained}, run in {inference}",
        _steps(trained, inference),
        (f"steps train={trained} infer={inference}", ""),
    )


def _design(blocks, num_tokens, **quantizer):
    """A design at lesson scale; `sized` brings it to the parameters of the reference."""
    return TokenizerDesign(
        blocks,
        num_tokens=num_tokens,
        width=64,
        encoder_blocks=4,
        decoder_width=64,
        decoder_blocks=2,
        token_hidden=64,
        **quantizer,
    )


# 51 tokens of 1000 codes and 34 of 32768 have equal bits: 508 and 510.
FINE, COARSE = (
    {"quantizer": "fsq", "levels": (8, 5, 5, 5)},
    {"quantizer": "fsq", "levels": (8,) * 5},
)
# PCT's 34 tokens of 2048 codes have 374, learned or not. Its blocks and codebook are trained as
# ours are: tokens start at joints, no joint is hidden, and dead codes are revived.
FEW = {"quantizer": "fsq", "levels": (8, 8, 8, 4)}
PCT_CODES = {"quantizer": "vq", "codebook_size": 2048, "code_width": 8}

IN_TRAINING = {"data.train_occluder_share": 0.5}
ONE_SAMPLE = {"estimator": "one sample", "occlusion": "clean", "metric": "mpjpe_mm"}
ONE_SAMPLE_OCCLUDED = ONE_SAMPLE | {"occlusion": "occluders"}
RISE = ((1, ONE_SAMPLE_OCCLUDED), (-1, ONE_SAMPLE))  # what occluders add to the error
RECONSTRUCTION = {"estimator": "reconstruction of the truth", "metric": "mpjpe_mm"}

# What the tokenizer's reconstruction may gain from, one by one.
TWICE_THE_TOKENS = {"tokenizer.sizes.num_tokens": 102}
MORE_LEVELS = {"tokenizer.sizes.levels": [8, 8, 8, 6, 5]}
WIDER = {"tokenizer.sizes.width": 128, "tokenizer.sizes.decoder_width": 128}
LONGER = {"tokenizer.optimizer.epochs": 15.0}
HALF_THE_DATA = {"data.train_sequences": 2400, "tokenizer.optimizer.epochs": 10.0}
# Chosen on validation subjects, with another seed than those of the runs.
MORE = {
    "tokenizer.sizes.num_tokens": 204,
    "tokenizer.optimizer.epochs": 25.0,
    "tokenizer.optimizer.learning_rate": 4.0e-3,
}

TABLES = (
    Table(
        "3a",
        "How many neighbouring joints should Joint Shift mix?",
        TOKENIZER,
        tuple(map(_neighbours, (1, 3, 5))),
        "X = 3",
        RECONSTRUCTION,
    ),
    Table(
        "3b",
        "How many codes, in how many levels?",
        TOKENIZER,
        (_levels(8, 5, 5, 5), _levels(7, 5, 5, 5, 5), _levels(8, 8, 8, 6, 5)),
        "[7, 5, 5, 5, 5]",
        RECONSTRUCTION,
    ),
    Table(
        "3c",
        "How many tokens should be occluded at the end of the chain?",
        DENOISER,
        tuple(map(_occlude, (0.0, 0.3, 0.6, 0.9, 1.0))),
        "γ̄ = 0.9",
        ONE_SAMPLE,
    ),
    Table(
        "3d",
        "How many steps, in training and when poses are drawn?",
        DENOISER,
        tuple(
            _trained_and_run(*pair)
            for pair in ((25, 25), (50, 25), (100, 25), (50, 50), (100, 50), (100, 100))
        ),
        "S = 100, run in 100",
        ONE_SAMPLE,
    ),
    Table(
        "4",
        "PCT's tokenizer or ours: is it the blocks, the codebook, or the number of tokens?",
        TOKENIZER,
        (
            Setting(
                "PCT's: mixer, 34 tokens, 2048 learned codes",
                {},
                ("representation (reconstruction)", "PCT"),
                _design("mixer", 34, **PCT_CODES),
            ),
            Setting(
                "Di2Pose: Local-MLP, 51 tokens, FSQ",
                {},
                ("representation (reconstruction)", "Di2Pose"),
                _design("local_mlp", 51, **FINE),
            ),
            Setting("mixer, 51 tokens, FSQ", {}, None, _design("mixer", 51, **FINE)),
            Setting("Local-MLP, 34 tokens, FSQ", {}, None, _design("local_mlp", 34, **COARSE)),
            Setting("mixer, 34 tokens, FSQ", {}, None, _design("mixer", 34, **COARSE)),
            Setting("mixer, 34 tokens, FSQ of 2048 codes", {}, None, _design("mixer", 34, **FEW)),
        ),
        "Di2Pose: Local-MLP, 51 tokens, FSQ",
        RECONSTRUCTION,
    ),
    Table(
        "5",
        "Occlude, replace, or both?",
        DENOISER,
        (
            Setting("occlude", _rates(1.0), ("transition_matrix", "occlude")),
            Setting("replace", _rates(0.0), ("transition_matrix", "replace")),
            Setting("both", _rates(0.9), ("transition_matrix", "both")),
        ),
        "both",
        ONE_SAMPLE,
    ),
    Table(
        "occlusion",
        "Do occluded tokens do what occluded pictures in training do?",
        DENOISER,
        (
            Setting("replace alone, plain pictures", _rates(0.0)),
            Setting("occlude and replace, plain pictures", _rates(0.9)),
            Setting("replace alone, occluded pictures", _rates(0.0) | IN_TRAINING),
            Setting("occlude and replace, occluded pictures", _rates(0.9) | IN_TRAINING),
        ),
        None,
        ONE_SAMPLE_OCCLUDED,
        (
            Contrast(
                "occluders cost less with occluded tokens, plain pictures",
                {
                    "replace alone, plain pictures": 1,
                    "occlude and replace, plain pictures": -1,
                },
                RISE,
            ),
            Contrast(
                "occluded tokens help under occluders, with plain pictures",
                {
                    "replace alone, plain pictures": 1,
                    "occlude and replace, plain pictures": -1,
                },
            ),
            Contrast(
                "occluded pictures in training help less where tokens are occluded",
                {
                    "replace alone, plain pictures": 1,
                    "replace alone, occluded pictures": -1,
                    "occlude and replace, plain pictures": -1,
                    "occlude and replace, occluded pictures": 1,
                },
            ),
            Contrast(
                "occluded pictures in training help, with occluded tokens",
                {
                    "occlude and replace, plain pictures": 1,
                    "occlude and replace, occluded pictures": -1,
                },
            ),
        ),
    ),
    Table(
        "choices",
        "What are our own choices worth, where the paper is silent or says otherwise?",
        DENOISER,
        (
            Setting("as it is", {}),
            Setting("λ = 5e-4, the paper's", {"diffusion.aux_weight": 5e-4}),
            Setting("codes' rows start at random", {"diffusion.start_from_codes": False}),
            Setting("hard steps drawn more often", {"diffusion.step_draws": "importance"}),
            Setting("λ · (2 − s / S)", {"diffusion.aux_by_step": "falling"}),
        ),
        "as it is",
        ONE_SAMPLE,
    ),
    Table(
        "tokens",
        "What are our own choices in the tokenizer worth?",
        TOKENIZER,
        (
            Setting("as it is", {}),
            Setting("Joint Shift along the tree", {"tokenizer.sizes.neighbours": "tree"}),
            Setting("tokens start as mixtures", {"tokenizer.sizes.start_at_joints": False}),
        ),
        "as it is",
        RECONSTRUCTION,
    ),
    Table(
        "limits",
        "What limits the reconstruction: tokens, levels, width, training or data?",
        TOKENIZER,
        (
            Setting("as it is", {}),
            Setting("102 tokens", TWICE_THE_TOKENS),
            Setting("levels [8, 8, 8, 6, 5]", MORE_LEVELS),
            Setting("width 128", WIDER),
            Setting("three times the training", LONGER),
            Setting("half the training poses, each seen twice as often", HALF_THE_DATA),
        ),
        None,
        RECONSTRUCTION,
        (
            _helps("more tokens", "102 tokens"),
            _helps("more levels", "levels [8, 8, 8, 6, 5]"),
            _helps("wider networks", "width 128"),
            _helps("more steps of training", "three times the training"),
            Contrast(
                "more training poses help",
                {"half the training poses, each seen twice as often": 1, "as it is": -1},
            ),
        ),
    ),
)

BEST = Table(  # not compared
    "best",
    "How exact can the tokenizer be, with more tokens and longer training?",
    TOKENIZER,
    (Setting("204 tokens, 25 epochs", MORE),),
    "204 tokens, 25 epochs",
    RECONSTRUCTION,
)

CURVE = Table(  # not compared row by row: one run holds the whole curve
    "curve",
    "How few steps of inference will do?",
    STEPS,
    (Setting("as it is", {}),),
    "as it is",
    {},
)

EVERY_TABLE = (*TABLES, BEST, CURVE)


def table_of(name):
    """The `Table` of this name; another name is a ValueError."""
    tables = {table.name: table for table in EVERY_TABLE}
    require(name in tables, f"`table` must be one of {', '.join(tables)}; got {name!r}")
    return tables[name]


def changed(config, changes):
    """A `Config` with {dotted parameter: value} in place of its own.

    Raises:
        ValueError: an unknown parameter, a wrong type, or a contradiction.
    """
    values = to_dict(config)
    for path, value in changes.items():
        *sections, name = path.split(".")
        section = values
        for key in sections:
            require(isinstance(section.get(key), dict), f"`{path}` is not a known key")
            section = section[key]
        require(name in section, f"`{path}` is not a known key")
        section[name] = value
    return config_from_dict(values)


def config_of(base, setting, source, seed):
    """The whole `Config` of one run: a setting on one data source with one seed."""
    return changed(base, {"data.source": source, "seed": seed, **setting.changes})


REFERENCE = _design("local_mlp", 51, **FINE)  # its parameters are those of every design


@cache
def sized(design):
    """The design at the width that gives it the reference's number of parameters."""
    return match_parameters(design, design_size(REFERENCE).parameters)


def run_values(config, kind, design=None):
    """All that a run's row depends on, but for the code and the source's files, for JSON.

    A tokenizer does not depend on encoder, chain and evaluation; what a training writes to
    disk when, and how an interval is drawn, changes no error.
    """
    values = to_dict(config)
    for section in ("encoder", "tokenizer", "diffusion"):
        del values[section]["optimizer"]["checkpoint_every"]
    if kind == TOKENIZER:
        values = {name: values[name] for name in ("scale", "seed", "data", "tokenizer")}
    if kind == STEPS:
        values["evaluation"] = step_curve.settings()
    if design is not None:
        del values["tokenizer"]["sizes"]
        values["design"] = dataclasses.asdict(design) | {"masked_share": 0.0}  # as PCT's is not
    return {"kind": kind, **values}


DRAWS = (2000, "ablations", "bootstrap")  # of the intervals


def rows_of(df, table, **wanted):
    """The rows of a table's measure, or of another: {column: value}; all joints."""
    rows = df[(df.study == table.study) & (df.joints == "all")]
    for name, value in wanted.items():
        rows = rows[rows[name] == value]
    return rows


def errors(df, table):
    """The measure of each setting: mean, low, high, seeds; a DataFrame in the table's order."""
    found = intervals(rows_of(df, table, **table.primary), ["source", "setting"], draws=DRAWS)
    order = {setting.name: place for place, setting in enumerate(table.settings)}
    return found.sort_values("setting", key=lambda names: names.map(order), kind="stable")


def weighted(df, table, weights, measures=()):
    """`Interval` of a weighted sum of settings, {name: weight}; None where one was not run.

    The errors of a seed's settings are of the same images, so the sum is taken in each cluster
    of them before these are resampled.
    """
    parts = [
        (weight * times, rows_of(df, table, setting=name, **measure))
        for name, weight in weights.items()
        for times, measure in measures or ((1, table.primary),)
    ]
    if any(rows.empty for _, rows in parts):
        return None
    return interval(weighted_sum(*parts), draws=DRAWS)


def claims_of(df, table):
    """What a table claims: (claim, weights, measures) of its contrasts, or against its favourite;
    a DataFrame of claim, mean, low, high, seeds, verdict, above 0 where it holds."""
    lines = []
    for claim, weights, measures in table.contrasts or [
        Contrast(f"{one.name} is worse than {table.favourite}", {one.name: 1, table.favourite: -1})
        for one in table.settings
        if one.name != table.favourite
    ]:
        value = weighted(df, table, weights, measures)
        if value is not None:
            lines.append({"claim": claim, **value._asdict(), "verdict": verdict(value)})
    return pd.DataFrame(lines)
