"""Claims are functions of the table: made-up rows, and what each comparison says of them."""

import json
import shutil

import pandas as pd
import pytest

from di2pose_lib.base.project import project_root
from di2pose_lib.evaluation.intervals import FAILS, HOLDS, UNDECIDED, Interval
from di2pose_lib.evaluation.visibility import COVERED, SEEN
from studies import ablations, effects
from studies.claims import CLAIMS
from studies.effects import CLEAN, OCCLUDERS, Effect, Undecidable

ROOT = project_root()


def rows(value, seeds=3, spread=0.1, **fields):
    """Rows of Algorithm 2's sample: a value in two people of each seed."""
    usual = effects.USUAL | {"setting": "", "occlusion": "clean", "level": 0.0}
    lines = [
        {"seed": seed, "cluster": f"{seed}-{k}", "value": value + spread * seed + k, "n": 2}
        for seed in range(seeds)
        for k in (0, 1)
    ]
    return pd.DataFrame(lines).assign(source="synthetic", **usual | fields)


def decide(name, *parts):
    return CLAIMS[name][1](pd.concat(parts, ignore_index=True))


def interval(mean, half=1.0, seeds=3):
    return Interval(mean, mean - half, mean + half, seeds)


def test_every_claim_has_a_sentence_and_a_function():
    assert len(CLAIMS) == 56
    for sentence, function in CLAIMS.values():
        assert sentence[0].isupper() and len(sentence.split()) >= 4 and callable(function)
    assert len({sentence for sentence, _ in CLAIMS.values()}) == len(CLAIMS)


@pytest.mark.parametrize(
    ("value", "is_trained", "word"),
    [
        (interval(2.0), True, HOLDS),
        (interval(-2.0), True, FAILS),
        (interval(0.5), True, UNDECIDED),
        (interval(2.0, seeds=2), True, UNDECIDED),
        (interval(2.0, seeds=0), False, HOLDS),  # no training is in it
        (interval(0.5, seeds=0), False, UNDECIDED),
        (Interval(-1.0, -1.0, -1.0, 0), False, FAILS),
    ],
)
def test_a_verdict_needs_an_interval_on_one_side_and_three_seeds_of_training(
    value, is_trained, word
):
    assert Effect(value, "", "", is_trained=is_trained).verdict == word


def test_a_change_is_taken_in_each_person():
    df = pd.concat([rows(100.0), rows(130.0, **OCCLUDERS)])
    effect = effects.change(df, OCCLUDERS, CLEAN)
    assert effect.value == pytest.approx((30.0, 30.0, 30.0, 3)) and effect.unit == "mm"
    assert "occluders" in effect.measure and effect.made_by == "occlusion"


def test_intervals_that_share_nothing_are_joined_by_movers_rule():
    first, second = Effect(interval(10.0, 3.0), "a", "x"), Effect(interval(4.0, 4.0, 2), "b", "x")
    effect = effects.minus(first, second)
    assert effect.value == pytest.approx((6.0, 1.0, 11.0, 2)) and effect.measure == "a above b"
    assert effects.scaled(first, 2).value == (20.0, 14.0, 26.0, 3)
    assert effects.left_of(12, first).value == (2.0, -1.0, 5.0, 3)


def test_what_is_not_there_says_why():
    df = rows(100.0)
    with pytest.raises(Undecidable) as nothing:
        effects.error(df, metric="pa_mpjpe_mm")
    assert (nothing.value.status, nothing.value.made_by) == (effects.NOT_RUN, "occlusion")
    with pytest.raises(Undecidable) as other:
        effects.error(df, action="Sitting")
    assert other.value.status == effects.LICENSED
    with pytest.raises(Undecidable) as rival:
        decide("accuracy", df)
    assert rival.value.status == effects.QUOTED


def test_a_rival_with_rows_decides_the_claims_about_it():
    ours, theirs = rows(100.0), rows(104.0, method="DiffPose")
    effect = decide("accuracy", ours, theirs)
    assert (effect.value.mean, effect.verdict) == (pytest.approx(4.0), HOLDS)
    assert decide("accuracy", rows(110.0), theirs).verdict == FAILS
    attacked = [
        rows(value, **place, method=method, study="advocc")
        for method, unhit, hit in (("Di2Pose", 100.0, 120.0), ("DiffPose", 104.0, 150.0))
        for value, place in ((unhit, effects.UNHIT), (hit, effects.FRESH_80))
    ]
    rise = decide("occlusion-adversarial", *attacked)
    assert rise.value.mean == pytest.approx((150 - 104) - (120 - 100))
    assert decide("occlusion-adversarial", *attacked).made_by == "advocc"


def test_samples_may_bend_joints_one_point_more_often_than_the_truth():
    metric = {"metric": "poses_beyond_limits_percent"}
    truth = rows(10.0, method="ground truth", estimator="", **metric)
    assert decide("plausible-tokens", truth, rows(10.5, **metric)).verdict == HOLDS
    effect = decide("plausible-tokens", truth, rows(14.0, **metric))
    assert (effect.verdict, effect.unit) == (FAILS, "%")
    assert effect.value.mean == pytest.approx(-3.0)


def test_bones_may_be_a_tenth_worse_under_occluders():
    metric = {"metric": "bone_error_mm"}
    clean = rows(20.0, spread=0.0, **metric)
    effect = decide("plausible-occluded", clean, rows(21.0, spread=0.0, **OCCLUDERS, **metric))
    assert effect.value.mean == pytest.approx(0.1 * 20.5 - 1.0) and effect.verdict == HOLDS


def test_covered_joints_must_rise_by_more_than_seen_ones():
    def joints(kind, clean, hidden):
        return rows(clean, joints=kind), rows(hidden, joints=kind, **OCCLUDERS)

    covered, seen = joints(COVERED, 100.0, 150.0), joints(SEEN, 80.0, 90.0)
    effect = decide("failures", *covered, *seen)
    assert effect.value.mean == pytest.approx(40.0) and effect.verdict == HOLDS


def test_hard_actions_are_told_beside_the_mean_of_all_actions():
    sit = rows(130.0, study="actions", action="Sitting")
    walk = rows(100.0, study="actions", action="Walking")
    assert decide("hard-actions", sit, walk).value.mean == pytest.approx(130 - 115)
    with pytest.raises(Undecidable):
        decide("hard-actions", walk)


def of_ablation(name, errors, **columns):
    """Rows of an ablation's own measure: {setting: mm}."""
    table = ablations.table_of(name)
    place = {"study": table.study, "joints": "all", "occlusion": "clean", **table.primary}
    return pd.concat([rows(e).assign(setting=s, **place | columns) for s, e in errors.items()])


def test_the_favourite_must_be_better_than_every_other_setting():
    better = of_ablation("3a", {"X = 1": 12.0, "X = 3": 10.0, "X = 5": 11.0})
    effect = decide("local-joints", better)
    assert effect.verdict == HOLDS and "X = 5 above X = 3, the lowest of 2" in effect.measure
    worse = decide("local-joints", of_ablation("3a", {"X = 1": 12.0, "X = 3": 10.0, "X = 5": 9.0}))
    assert worse.verdict == FAILS and worse.measure.endswith("interval of all together")
    assert decide("local-interactions", better).value.mean == pytest.approx(2.0)
    with pytest.raises(Undecidable):
        decide("local-joints", of_ablation("3a", {"X = 1": 12.0, "X = 3": 10.0}))


def test_a_gain_and_an_allowance():
    plain, occluded = (
        "occlude and replace, plain pictures",
        "occlude and replace, occluded pictures",
    )
    rows_of = of_ablation("occlusion", {plain: 160.0, occluded: 153.0})
    assert decide("no-augmentation", rows_of).value.mean == pytest.approx(5 - 7)
    steps = of_ablation("3d", {"S = 100, run in 100": 100.0, "S = 100, run in 25": 103.0})
    effect = decide("few-steps", steps)
    mean = steps[steps.setting == "S = 100, run in 100"].value.mean()
    assert effect.value.mean == pytest.approx(100 * (0.05 * mean - 3) / mean) and effect.unit == "%"


def test_the_use_of_codes_has_the_seeds_interval_alone():
    names = ("mixer, 34 tokens, FSQ of 2048 codes", "PCT's: mixer, 34 tokens, 2048 learned codes")
    lines = [
        {"setting": name, "seed": seed, "cluster": "", "value": used + 0.01 * seed, "n": 220}
        for name, used in zip(names, (0.9, 0.8), strict=True)
        for seed in range(3)
    ]
    place = {"study": "ablation_4", "joints": "all", "metric": "codes_used_share"}
    effect = decide("codebook", pd.DataFrame(lines).assign(**place))
    assert effect.value == pytest.approx((10.0, 10.0, 10.0, 3)) and effect.over == "seeds"


def test_equations_and_times_are_read_from_their_files(tmp_path, monkeypatch):
    for name in ("pyproject.toml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Undecidable):
        decide("bound", rows(1.0))
    put(tmp_path / "results/lesson/synthetic/transition_matrices.json", {"bound_max_error": 1e-12})
    effect = decide("bound", rows(1.0))
    assert (effect.value.mean, effect.verdict) == (pytest.approx(3.0), HOLDS)
    cases = {"lesson": {"1": {"ms_per_pose_by_steps": {"1": 10.0, "100": 109.0}}}}
    put(tmp_path / effects.BENCHMARK_FILE, {"device": "cpu", "threads": 2, "cases": cases})
    effect = decide("runtime", rows(1.0))
    assert (effect.value.mean, effect.verdict) == (pytest.approx(50 - 1000 / 109), HOLDS)


def put(path, value):
    path.parent.mkdir(parents=True)
    path.write_text(json.dumps(value))


@pytest.mark.parametrize(
    ("name", "mean", "word"),
    [  # by hand, from the papers' tables
        ("accuracy-aligned", 39.1 - 39.16, UNDECIDED),
        ("occlusion-drop", 129 - 228.4, FAILS),
        ("occlusion-drop-aligned", 72 - 91.3, FAILS),
        ("values", -1.0, FAILS),
    ],
)
def test_the_papers_own_arithmetic(name, mean, word):
    effect = decide(name, rows(1.0))
    assert effect.value.mean == pytest.approx(mean, abs=0.06) and effect.verdict == word
