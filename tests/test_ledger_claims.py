"""Verdicts on claims: every comparison by hand on made-up results."""

import math

import pytest
from small_results import clean, empty_root, put_json, put_rows, put_run, row

from di2pose_lib.evaluation.comparisons import FAILS, HOLDS, UNDECIDED, SeedInterval
from di2pose_lib.evaluation.estimators import MEAN
from studies import ablations, ledger_analogues
from studies.ledger_claims import decide, selection
from studies.ledger_results import Results, Selection

RECONSTRUCTION = "reconstruction, mpjpe_mm"
ONE_SAMPLE = (ablations.ONE_SAMPLE, ablations.ONE_SAMPLE_OCCLUDED)
SEEDS = (3, 4, 5)
PROTOCOLS = ("occluders", "clean")


@pytest.fixture
def root(tmp_path):
    return empty_root(tmp_path)


def ask(root, text, source="synthetic"):
    return decide(text, source, Results(root))


def put_table(root, name, errors, metrics=(RECONSTRUCTION,), seeds=SEEDS):
    """Runs of a table: {setting's place: error of each seed}, in every metric the same."""
    table = ablations.table_of(name)
    for place, values in errors.items():
        for seed, error in zip(seeds, values, strict=True):
            its = dict.fromkeys(metrics, error)
            put_run(root, "synthetic", table, table.settings[place], seed, its)


def test_rows_are_selected_by_a_file_and_fields():
    found = selection("sweeps; protocol=mask; level=0.8; estimator=mean of samples")
    fields = {"protocol": "mask", "level": 0.8, "estimator": "mean of samples"}
    assert found == Selection("sweeps", fields)
    assert selection("sweeps") == Selection("sweeps", {})


def test_a_favourite_holds_where_every_other_setting_is_worse_and_the_nearest_shows(root):
    put_table(root, "3a", {0: (13.0, 14.1, 15.2), 1: (10.0, 11.0, 12.0), 2: (11.0, 12.1, 13.2)})
    found = ask(root, "ablation | 3a")
    half = 4.303 * 0.1 / math.sqrt(3)
    assert found.verdict == HOLDS and found.status == "measured here"
    assert found.effect.mean == pytest.approx(1.1)
    assert found.effect.low == pytest.approx(1.1 - half)
    assert found.effect.high == pytest.approx(1.1 + half)
    assert found.what == "ablation 3a: X = 5 above X = 3, the lowest of 2"
    assert ask(root, "ablation | 3a | X = 1").effect.mean == pytest.approx(3.1)
    assert ask(root, "ablation | 3a", "mocap").status == "not run yet"


def test_a_favourite_fails_where_one_setting_is_surely_better(root):
    put_table(root, "3a", {0: (9.0, 10.1, 11.2), 1: (10.0, 11.0, 12.0), 2: (10.0, 11.0, 13.0)})
    found = ask(root, "ablation | 3a")
    assert found.verdict == FAILS and found.effect.mean == pytest.approx(-0.9)
    assert "X = 1 above X = 3" in found.what
    assert ask(root, "ablation | 3a | X = 5").verdict == UNDECIDED


def test_a_favourite_fails_by_an_interval_for_all_settings_together(root):
    """The better one of two by luck: its own interval lies below 0, theirs together does not."""
    put_table(root, "3a", {0: (9.0, 10.25, 11.5), 1: (10.0, 11.0, 12.0), 2: (10.0, 11.0, 13.0)})
    found = ask(root, "ablation | 3a")
    half = 6.2053 * 0.25 / math.sqrt(3)
    assert found.verdict == UNDECIDED and found.what.endswith("interval of all together")
    assert found.effect.low == pytest.approx(-0.75 - half, abs=1e-3)
    assert ask(root, "ablation | 3a | X = 1").verdict == FAILS, "named alone it is one comparison"


def test_at_most_is_a_margin_in_the_rows_own_unit(root):
    usual = {"protocol": "clean", "level": 0.0, "metric": "poses_beyond_limits_percent"}
    own = row(2.0, 1.7, 2.3, **usual)
    truth = row(1.5, 1.4, 1.6, **usual, method="ground truth", estimator="")
    text = "plausibility; protocol=clean; metric=poses_beyond_limits_percent"
    text = f"{text} | {text}; method=ground truth; estimator="
    put_rows(root, "synthetic", "plausibility", [own, truth])
    found = ask(root, f"at most | 1 | {text}")
    assert (found.verdict, found.unit) == (HOLDS, "%")
    wide = math.hypot(0.3, 0.1)
    assert found.effect.mean == pytest.approx(0.5)
    assert found.effect[1:3] == pytest.approx((0.5 - wide, 0.5 + wide))
    put_rows(root, "synthetic", "plausibility", [own, {**truth, "mean": 0.0, "ci95_low": 0.0}])
    assert ask(root, f"at most | 1 | {text}").effect.mean == pytest.approx(-1.0)


def test_a_favourite_is_undecided_with_two_seeds_and_not_run_where_a_setting_is_missing(root):
    put_table(root, "3a", {0: (13.0, 14.1), 1: (10.0, 11.0)}, seeds=SEEDS[:2])
    assert ask(root, "ablation | 3a").status == "not run yet"
    assert ask(root, "ablation | 3a").effect is None
    assert ask(root, "ablation | 3a | X = 1").verdict == UNDECIDED
    assert ask(root, "ablation | 3a | X = 1").status == "measured here"


def test_a_contrast_is_the_ablations_own(root):
    claim = "contrast | occlusion | occluded tokens help under occluders, with plain pictures"
    assert ask(root, claim).status == "not run yet"
    put_table(root, "occlusion", {0: (20.0, 22.0, 24.0), 1: (18.0, 20.1, 21.9)}, ONE_SAMPLE)
    found = ask(root, claim)
    assert found.verdict == HOLDS and found.effect.mean == pytest.approx(2.0)


@pytest.mark.parametrize(
    ("gains", "word", "left"),
    [
        ((0.9, 1.0, 1.1), HOLDS, 4.0),
        ((9.8, 10.0, 10.2), FAILS, -5.0),
        ((2.0, 4.0, 6.0), UNDECIDED, 1.0),
    ],
)
def test_there_is_no_gain_where_a_contrast_is_within_a_margin(root, gains, word, left):
    claim = "no gain | 5 | occlusion | occluded pictures in training help, with occluded tokens"
    assert ask(root, claim).status == "not run yet"
    without = [100.0 + gain for gain in gains]
    put_table(root, "occlusion", {1: without, 3: (100.0, 100.0, 100.0)}, ONE_SAMPLE)
    found = ask(root, claim)
    assert found.verdict == word and found.effect.mean == pytest.approx(left)
    assert found.effect.low < left < found.effect.high


def test_one_rise_is_more_than_another(root):
    rows = [
        row(mean, mean - 1, mean + 1, protocol=protocol, level=level, joints=joints)
        for protocol, level, means in (
            ("clean", 0.0, (50.0, 60.0)),
            ("occluders", 1.0, (90.0, 70.0)),
        )
        for joints, mean in zip(("covered by the occluder", "seen"), means, strict=True)
    ]
    put_rows(root, "synthetic", "sweeps", rows)
    kinds = [
        f"sweeps; protocol={protocol}; joints={joints}"
        for joints in ("covered by the occluder", "seen")
        for protocol in ("occluders", "clean")
    ]
    found = ask(root, f"rises more | {' | '.join(kinds)}")
    assert (found.verdict, found.unit, found.over) == (HOLDS, "mm", "images")
    assert found.effect.mean == pytest.approx((90 - 50) - (70 - 60))
    assert found.effect[1:3] == pytest.approx((30 - 2, 30 + 2))  # four intervals of ±1
    swapped = ask(root, f"rises more | {' | '.join(kinds[2:] + kinds[:2])}")
    assert swapped.verdict == FAILS and swapped.effect.mean == pytest.approx(-30)
    assert ask(root, f"rises more | {' | '.join(kinds)}", "mocap").status == "not run yet"


def test_code_use_is_compared_seed_by_seed(root):
    table = ablations.table_of("4")
    for place, shares in ((5, (0.9, 0.8, 0.85)), (0, (0.5, 0.45, 0.4))):
        for seed, share in zip(SEEDS, shares, strict=True):
            use = {"code_use": {"codes_used_share": share}}
            setting = table.settings[place]
            put_run(root, "synthetic", table, setting, seed, {RECONSTRUCTION: 1.0}, **use)
    names = f"{table.settings[5].name} | {table.settings[0].name}"
    found = ask(root, f"code use | 4 | {names}")
    assert found.verdict == HOLDS and found.unit == "%"
    assert found.effect.mean == pytest.approx(40.0)
    assert ask(root, f"code use | 4 | {names}", "mocap").status == "not run yet"


def test_few_steps_may_cost_so_many_percent(root):
    put_table(root, "3d", {2: (102.0, 103.0, 102.5), 5: (100.0, 100.0, 100.0)}, ONE_SAMPLE)
    text = "| 3d | S = 100, run in 25 | S = 100, run in 100"
    within = ask(root, f"within | 5 {text}")
    assert within.verdict == HOLDS and within.effect.mean == pytest.approx(2.5)
    assert ask(root, f"within | 1 {text}").verdict == FAILS


def test_where_the_difference_was_taken_image_by_image_its_own_interval_decides(root):
    usual = {"joints": "covered by the occluder"}
    both = [
        row(40.0, 20.0, 60.0, protocol="occluders", level=1.0, **usual),
        row(30.0, 10.0, 50.0, protocol="clean", level=0.0, **usual),
    ]
    first, second = (
        f"sweeps; protocol={protocol}; joints={usual['joints']}"
        for protocol in ("occluders", "clean")
    )
    text = f"above | {first} | {second}"
    put_rows(root, "synthetic", "sweeps", both)
    assert ask(root, text).verdict == UNDECIDED
    pair = row(10.0, 9.0, 11.0, protocol="occluders", level=1.0, estimator="", **usual)
    pair["method"] = "Di2Pose, one sample − Di2Pose without the occluder, one sample"
    put_rows(root, "synthetic", "sweeps", [*both, pair])
    found = ask(root, text)
    assert found.verdict == HOLDS and found.effect == SeedInterval(10.0, 9.0, 11.0, 3)
    assert found.what.endswith("image by image")


def test_one_error_is_above_another_by_their_intervals(root):
    rows = [
        row(30.0, 27.0, 33.0, protocol="occluders", joints="occluded"),
        row(20.0, 16.0, 24.0, protocol="occluders", joints="visible"),
    ]
    put_rows(root, "synthetic", "sweeps", rows)
    text = (
        "sweeps; protocol=occluders; joints=occluded | sweeps; protocol=occluders; joints=visible"
    )
    found = ask(root, f"above | {text}")
    assert found.effect == SeedInterval(10.0, 5.0, 15.0, 3)
    assert found.verdict == HOLDS and found.over == "images" and found.unit == "mm"
    swapped = " | ".join(reversed(text.split(" | ")))
    assert ask(root, f"above | {swapped}").verdict == FAILS
    put_rows(root, "synthetic", "sweeps", [{**each, "seeds": 1} for each in rows])
    assert ask(root, f"above | {text}").verdict == UNDECIDED
    assert ask(root, f"above | {text}", "mocap").status == "not run yet"


def test_one_error_is_within_percents_of_another(root):
    rows = [
        row(10.5, 10.2, 10.8, protocol="occluders", metric="bone_error_mm"),
        row(10.0, 9.7, 10.4, protocol="clean", metric="bone_error_mm"),
    ]
    put_rows(root, "synthetic", "plausibility", rows)
    text = (
        "plausibility; protocol=occluders; metric=bone_error_mm | "
        "plausibility; protocol=clean; metric=bone_error_mm"
    )
    found = ask(root, f"within rows | 10 | {text}")
    assert found.effect.mean == pytest.approx(11.0 - 10.5)
    assert found.effect.low == pytest.approx(0.5 - math.hypot(1.1 * 0.3, 0.3))
    assert found.effect.high == pytest.approx(0.5 + math.hypot(1.1 * 0.4, 0.3))
    assert found.verdict == HOLDS
    assert ask(root, f"within rows | 1 | {text}").verdict == UNDECIDED


def test_what_is_left_of_a_percentage_is_taken_image_by_image_where_that_was_measured(root):
    metric = {"metric": "bone_error_mm"}
    occluders = {"protocol": "occluders", "level": 1.0}
    rows = [
        row(10.5, 8.5, 12.5, **occluders, **metric),
        row(10.0, 8.0, 13.0, protocol="clean", level=0.0, **metric),
    ]
    text = " | ".join(f"plausibility; protocol={p}; metric=bone_error_mm" for p in PROTOCOLS)
    put_rows(root, "synthetic", "plausibility", rows)
    alone = ask(root, f"within rows | 10 | {text}")
    assert alone.verdict == UNDECIDED and "image by image" not in alone.what
    pair = row(0.5, 0.4, 0.7, **occluders, **metric, estimator="")
    pair["method"] = "Di2Pose, one sample − Di2Pose without the occluder, one sample"
    put_rows(root, "synthetic", "plausibility", [*rows, pair])
    # a tenth of 10 (8 to 13) less the difference
    found = ask(root, f"within rows | 10 | {text}")
    assert found.effect.mean == pytest.approx(1.0 - 0.5)
    assert found.effect.low == pytest.approx(0.5 - math.hypot(0.2, 0.2))
    assert found.effect.high == pytest.approx(0.5 + math.hypot(0.3, 0.1))
    assert found.verdict == HOLDS and found.what.endswith("image by image")
    assert found.what.startswith("what is left of 10 %: ")
    none = ask(root, f"within rows | 0 | {text}")
    assert none.effect == SeedInterval(-0.5, -0.7, -0.4, 3) and none.verdict == FAILS
    swapped = " | ".join(reversed(text.split(" | ")))
    assert ask(root, f"above | {swapped}").effect == none.effect
    fewer = ask(root, f"within rows | 0 | {swapped}")
    assert fewer.effect == SeedInterval(0.5, 0.4, 0.7, 3) and fewer.verdict == HOLDS


def test_samples_and_their_mean_may_be_compared_by_name(root):
    usual = {"protocol": "clean", "metric": "bone_error_mm"}
    means = row(30.0, 29.0, 31.0, **usual, estimator=MEAN)
    put_rows(root, "synthetic", "plausibility", [means, row(20.0, 19.0, 21.0, **usual)])
    file = "plausibility; protocol=clean; metric=bone_error_mm"
    found = ask(root, f"above | {file}; estimator={MEAN} | {file}; estimator=one sample")
    assert found.effect.mean == 10.0 and found.verdict == HOLDS


def test_an_action_that_the_data_lack_needs_other_data(root):
    rows = [clean(9.0, 8.0, 10.0, action="dance"), clean(5.0, 4.0, 6.0, action="seen in training")]
    put_rows(root, "mocap", "sweeps", rows)
    clean_of = "sweeps; protocol=clean; action="
    text = f"above | {clean_of}dance | {clean_of}seen in training"
    assert ask(root, text, "mocap").effect.mean == 4.0
    missing = ask(root, text, "synthetic")
    assert (missing.status, missing.verdict) == ("needs licensed data", UNDECIDED)


def test_a_claim_about_a_rival_waits_for_it_and_is_then_decided(root, monkeypatch):
    better = "better | Di2Pose | DiffPose | sweeps; protocol=mask; level=0.8"
    steadier = f"steadier{better[6:]} | sweeps; protocol=mask; level=0"
    for text in (better, steadier):
        assert (ask(root, text).status, ask(root, text).verdict) == ("quoted", UNDECIDED)
    monkeypatch.setitem(ledger_analogues.RIVALS, "DiffPose", "continuous diffusion")
    assert ask(root, better).status == "not run yet"
    levels = {"level": 0.8}, {"level": 0.0}
    rival = {"method": "continuous diffusion", "estimator": "8 steps"}
    put_rows(
        root,
        "synthetic",
        "sweeps",
        [
            row(50.0, 47.0, 53.0, protocol="mask", **levels[0]),
            row(20.0, 20.0, 20.0, protocol="mask", **levels[1]),
            row(60.0, 56.0, 64.0, protocol="mask", **levels[0], **rival),
            row(40.0, 40.0, 40.0, protocol="mask", **levels[1], **rival),
        ],
    )
    assert ask(root, better).effect == SeedInterval(10.0, 5.0, 15.0, 3)
    assert ask(root, better).verdict == HOLDS
    assert ask(root, steadier).effect == SeedInterval(-10.0, -15.0, -5.0, 3)
    assert ask(root, steadier).verdict == FAILS


@pytest.mark.parametrize("rival_first", [True, False])
def test_a_rival_is_compared_image_by_image_where_that_was_measured(root, monkeypatch, rival_first):
    monkeypatch.setitem(ledger_analogues.RIVALS, "DiffPose", "continuous diffusion")
    levels = {"protocol": "mask", "level": 0.8}, {"protocol": "mask", "level": 0.0}
    rival = {"method": "continuous diffusion", "estimator": "8 steps"}
    rows = [
        each
        for level in levels
        for each in (row(50.0, 40.0, 60.0, **level), row(55.0, 45.0, 65.0, **level, **rival))
    ]
    better = "better | Di2Pose | DiffPose | sweeps; protocol=mask; level=0.8"
    put_rows(root, "synthetic", "sweeps", rows)
    alone = ask(root, better)
    assert alone.effect.mean == 5.0 and alone.verdict == UNDECIDED
    assert "image by image" not in alone.what
    names = ["continuous diffusion, 8 steps", "Di2Pose, one sample"]
    pair = row(5.0, 4.0, 7.0, **levels[0], estimator="", method=" − ".join(names))
    if not rival_first:
        names.reverse()
        pair = row(-5.0, -7.0, -4.0, **levels[0], estimator="", method=" − ".join(names))
    put_rows(root, "synthetic", "sweeps", [*rows, pair])
    found = ask(root, better)
    assert found.effect == SeedInterval(5.0, 4.0, 7.0, 3) and found.verdict == HOLDS
    assert found.what.endswith("image by image") and found.unit == "mm"
    # Of two rises no row has the difference.
    steadier = ask(root, f"steadier{better[6:]} | sweeps; protocol=mask; level=0")
    assert steadier.effect == SeedInterval(0.0, pytest.approx(-20.0), pytest.approx(20.0), 3)
    assert "image by image" not in steadier.what


def test_an_equation_holds_where_its_deviation_is_rounding(root):
    text = "exact | transition_matrices | closed_form_max_error"
    assert ask(root, text).status == "not run yet"
    path = "results/lesson/synthetic/transition_matrices.json"
    put_json(root, path, {"closed_form_max_error": 1e-15})
    found = ask(root, text)
    assert found.verdict == HOLDS and found.effect.mean == pytest.approx(6.0)
    put_json(root, path, {"closed_form_max_error": 1e-6})
    assert ask(root, text).verdict == FAILS
    put_json(root, path, {"closed_form_max_error": 0.0})
    assert ask(root, text).verdict == HOLDS


def test_steps_are_slow_where_they_take_most_of_the_time(root):
    assert ask(root, "slow steps").status == "not run yet"

    def put(one, many):
        cases = {"lesson": {"1": {"ms_per_pose_by_steps": {"1": one, "100": many}}}}
        value = {"device": "cpu", "threads": 2, "cases": cases}
        put_json(root, "benchmarks/results/inference_cpu.json", value)

    put(10.0, 100.0)
    found = ask(root, "slow steps")
    assert found.verdict == HOLDS and found.effect.mean == pytest.approx(90 - 50)
    put(80.0, 100.0)
    assert ask(root, "slow steps").verdict == FAILS


def test_table_6_leaves_its_own_claim_undecided(root):
    actions = [34.5, 38.4, 35.1, 40.8, 39.8, 47.0, 34.9, 34.7, 47.1, 52.3, 40.4, 36.1]
    mean = sum([*actions, 42.9, 30.0, 33.4]) / 15
    assert mean == pytest.approx(39.16)
    found = ask(root, "table 6 average")
    assert found.effect.mean == pytest.approx(39.1 - mean)
    assert found.effect.low == pytest.approx(39.1 - mean - 0.1)
    assert found.verdict == UNDECIDED


def test_the_largest_rises_of_table_2_by_hand(root):
    found = ask(root, "largest rise | mpjpe | 129")
    assert found.effect.mean == pytest.approx(129 - 100 * (334.3 / 101.8 - 1))
    assert found.verdict == FAILS and "Pavllo 2019's 228.4 %" in found.what
    aligned = ask(root, "largest rise | pa | 72")
    assert aligned.effect.mean == pytest.approx(72 - 100 * (103.9 / 54.3 - 1))
    assert aligned.verdict == FAILS and "Zhang 2023" in aligned.what
    assert ask(root, "largest rise | mpjpe | 230").verdict == HOLDS
    # 228.4 lies within what the rounding of 228 and of the table's numbers leaves open.
    assert ask(root, "largest rise | mpjpe | 228").verdict == UNDECIDED


def test_rounded_tanh_has_as_many_values_as_levels_for_odd_numbers_alone(root):
    assert ask(root, "values of tanh | 8").verdict == FAILS
    assert ask(root, "values of tanh | 8").effect.mean == -1
    assert ask(root, "values of tanh | 7").verdict == HOLDS


def test_what_nothing_here_is_like(root):
    assert ask(root, "another method").status == "quoted"
    assert ask(root, "sequence models").status == "out of scope"
    assert ask(root, "sequence models").verdict == UNDECIDED


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("guess | 3a", "`decided_by` must begin with one of ablation, .*; got 'guess'"),
        ("above | sweeps", "'above' takes 2 arguments; got 1"),
        ("ablation", "'ablation' takes 1 or 2 arguments; got 0"),
        ("ablation | 3z", "`table` must be one of"),
        ("ablation | 3a | X = 4", "no other setting is called 'X = 4'"),
        ("ablation | 3a | X = 3", "no other setting is called 'X = 3'"),
        ("ablation | occlusion", "table occlusion has contrasts, no favourite"),
        ("contrast | occlusion | nothing", "no contrast is called 'nothing'"),
        ("code use | 4 | a | b", "no setting is called 'a'"),
        ("within rows | -5 | sweeps | sweeps", "the percent must be at least 0; got -5"),
        ("above | sweeps; mask | sweeps", "selected as 'field=value'; got 'mask'"),
    ],
)
def test_a_comparison_that_does_not_exist_is_refused(root, text, message):
    with pytest.raises(ValueError, match=message):
        ask(root, text)
