"""What the ledger reads: the right row, the right estimator, differences by hand."""

import math

import pytest
from small_results import clean, empty_root, put_json, put_rows, put_run, row

from di2pose_lib.base.project import results_folder
from di2pose_lib.evaluation import estimators
from di2pose_lib.evaluation.comparisons import SeedInterval
from studies import ablations
from studies.ledger_results import PAPER_ESTIMATOR, Results, Selection, minus, negative, scaled

MASK = Selection("sweeps", {"protocol": "mask", "level": 0.8})


@pytest.fixture
def root(tmp_path):
    return empty_root(tmp_path)


def test_the_difference_of_two_intervals_by_hand():
    found = minus(SeedInterval(10.0, 7.0, 14.0, 3), SeedInterval(2.0, 1.0, 6.0, 5))
    assert found == SeedInterval(8.0, 8.0 - math.hypot(3, 4), 8.0 + math.hypot(4, 1), 3)


def test_a_multiple_scales_mean_and_ends():
    assert scaled(SeedInterval(2.0, 1.0, 4.0, 3), 1.5) == SeedInterval(3.0, 1.5, 6.0, 3)


def test_the_negative_of_an_interval_has_its_ends_swapped():
    assert negative(SeedInterval(2.0, -1.0, 4.0, 3)) == SeedInterval(-2.0, -4.0, 1.0, 3)


def test_the_papers_estimator_is_a_single_sample_along_its_chain():
    assert PAPER_ESTIMATOR == estimators.CHAIN == "one sample, Algorithm 2, 25 steps"


def test_a_file_that_does_not_exist_has_no_rows(root):
    assert Results(root).rows("synthetic", "sweeps") == []
    assert Results(root).find("synthetic", MASK) is None


def test_a_row_is_found_by_its_fields_and_no_other_source_is_asked(root):
    put_rows(
        root,
        "mocap",
        "sweeps",
        [
            row(3.0, 2.0, 4.0, protocol="mask", level=0.8),
            row(5.0, 4.0, 6.0, protocol="mask", level=0.6),
            row(6.0, 4.0, 6.0, protocol="crop", level=0.8),
            row(7.0, 4.0, 8.0, protocol="mask", level=0.8, joints="occluded"),
            row(8.0, 4.0, 9.0, protocol="mask", level=0.8, metric="pa_mpjpe_mm"),
            row(9.0, 4.0, 9.0, protocol="mask", level=0.8, method="another"),
        ],
    )
    found = Results(root).find("mocap", MASK)
    assert found.value == SeedInterval(3.0, 2.0, 4.0, 3)
    assert found.what == "Di2Pose, one sample, mask, 0.8, all joints, mpjpe_mm"
    assert Results(root).find("synthetic", MASK) is None


def test_the_papers_estimator_goes_before_others_and_the_best_of_samples_never_counts(root):
    soft = row(2.0, 1.0, 3.0, protocol="mask", level=0.8, estimator=estimators.SOFT)
    mean = row(4.0, 1.0, 5.0, protocol="mask", level=0.8, estimator=estimators.MEAN)
    best = row(1.0, 1.0, 1.0, protocol="mask", level=0.8, estimator=estimators.BEST)
    one = row(9.0, 1.0, 10.0, protocol="mask", level=0.8)
    chain = row(11.0, 1.0, 12.0, protocol="mask", level=0.8, estimator=PAPER_ESTIMATOR)
    for rows, expected in (
        ([soft, mean, best, one, chain], 11.0),
        ([soft, mean, best, one], 9.0),
        ([soft, best, mean], 4.0),
        ([best, soft], 2.0),
        ([best], None),
    ):
        put_rows(root, "synthetic", "sweeps", rows)
        found = Results(root).find("synthetic", MASK)
        assert (found and found.value.mean) == expected


def test_what_is_compared_has_one_estimator(root):
    none = Selection("sweeps", {"protocol": "mask", "level": 0.0})
    put_rows(
        root,
        "synthetic",
        "sweeps",
        [
            row(9.0, 8.0, 10.0, protocol="mask", level=0.8),
            row(7.0, 6.0, 8.0, protocol="mask", level=0.8, estimator=estimators.SOFT),
            row(2.0, 1.0, 3.0, protocol="mask", level=0.0, estimator=estimators.SOFT),
        ],
    )
    together = Results(root).together("synthetic", [MASK, none])
    assert [each.value.mean for each in together] == [7.0, 2.0]
    named = Selection("sweeps", {**MASK.fields, "estimator": estimators.ONE_SAMPLE})
    assert [m.value.mean for m in Results(root).together("synthetic", [named, none])] == [9.0, 2.0]


def test_of_sets_of_samples_those_along_the_chain_are_taken(root):
    spread = {"protocol": "clean", "level": 0.0, "metric": "spread_mm"}
    own = row(30.0, 29.0, 31.0, **spread, estimator="8 samples")
    along = row(40.0, 39.0, 41.0, **spread, estimator="8 samples, Algorithm 2, 25 steps")
    put_rows(root, "synthetic", "uncertainty", [own, along])
    found = Results(root).find("synthetic", Selection("uncertainty", spread))
    assert found.value.mean == 40.0 and "8 samples, Algorithm 2" in found.what


def test_rows_that_cannot_be_told_apart_are_refused(root):
    same = row(9.0, 8.0, 10.0, protocol="mask", level=0.8)
    put_rows(root, "synthetic", "sweeps", [same, same])
    with pytest.raises(ValueError, match="one row must have .*; got 2"):
        Results(root).find("synthetic", MASK)
    others = [{**same, "estimator": "4 samples"}, {**same, "estimator": "8 samples"}]
    put_rows(root, "synthetic", "sweeps", others)
    with pytest.raises(ValueError, match="one estimator must be named; got 4 samples, 8 samples"):
        Results(root).find("synthetic", MASK)


def test_rows_are_of_all_actions_unless_one_is_named(root):
    walk = clean(1.0, 0.0, 2.0, action="walk")
    put_rows(root, "mocap", "sweeps", [clean(5.0, 4.0, 6.0), walk])
    results = Results(root)
    assert results.find("mocap", Selection("sweeps", {"protocol": "clean"})).value.mean == 5.0
    walking = Selection("sweeps", {"protocol": "clean", "action": "walk"})
    assert results.find("mocap", walking).value.mean == 1.0


def test_under_patches_the_joints_need_no_name(root):
    put_rows(root, "mocap", "advocc", [row(5.0, 4.0, 6.0, level=40, joints="outside the patch")])
    assert Results(root).find("mocap", Selection("advocc", {"level": 40.0})).value.mean == 5.0


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ({"rows": []}, "must hold a list; got dict"),
        ([{"method": "Di2Pose"}], "every row must have ci95_high, ci95_low, estimator"),
        ([7], "every row must have"),
    ],
)
def test_a_file_of_something_else_is_refused(root, value, message):
    put_rows(root, "synthetic", "sweeps", value)
    with pytest.raises(ValueError, match=message):
        Results(root).find("synthetic", MASK)


def test_an_ablations_setting_is_the_mean_over_its_seeds(root):
    table = ablations.table_of("3a")
    metric = "reconstruction, mpjpe_mm"
    assert Results(root).setting("synthetic", table, "X = 3", metric) is None
    for seed, error in ((3, 10.0), (4, 12.0), (5, 14.0)):
        put_run(root, "synthetic", table, table.settings[1], seed, {metric: error})
    found = Results(root).setting("synthetic", table, "X = 3", metric)
    half = 4.303 * 2.0 / math.sqrt(3)
    assert found.value == SeedInterval(12.0, pytest.approx(12 - half), pytest.approx(12 + half), 3)
    assert found.over == "seeds and images"
    assert Results(root).setting("mocap", table, "X = 3", metric) is None


def test_the_time_of_a_pose_is_that_of_one_picture_at_scale_lesson(root):
    assert Results(root).milliseconds(25) is None
    cases = {"lesson": {"1": {"ms_per_pose_by_steps": {"1": 10.0, "100": 208.0}}}}
    value = {"device": "cpu", "threads": 2, "cases": cases}
    put_json(root, "benchmarks/results/inference_cpu.json", value)
    assert Results(root).milliseconds(25) == (58.0, "cpu, 2 threads")


def test_a_row_of_paired_differences_is_found_for_two_estimators_under_one_condition(root):
    place = {"protocol": "clean", "level": 0.0, "metric": "bone_error_mm"}
    rows = [
        row(20.0, 10.0, 30.0, **place, estimator="mean of samples"),
        row(17.0, 7.0, 27.0, **place),
        row(3.0, 2.0, 4.0, **place, estimator="")
        | {"method": "Di2Pose, mean of samples − Di2Pose, one sample"},
    ]
    put_rows(root, "synthetic", "plausibility", rows)
    mean, one = (
        Selection("plausibility", {**place, "estimator": name})
        for name in ("mean of samples", "one sample")
    )
    results = Results(root)
    assert results.paired("synthetic", mean, one) == SeedInterval(3.0, 2.0, 4.0, 3)
    assert results.paired("synthetic", one, mean) == SeedInterval(-3.0, -4.0, -2.0, 3)
    assert results.paired("synthetic", one, one) is None
    elsewhere = Selection("plausibility", {**one.fields, "level": 0.1})
    assert Results(root).paired("synthetic", mean, elsewhere) is None


def test_occluders_and_the_same_frames_without_are_paired(root):
    spread = {"metric": "spread_mm", "estimator": "8 samples"}
    rows = [
        row(40.0, 30.0, 50.0, protocol="occluders", level=1.0, **spread),
        row(30.0, 20.0, 40.0, protocol="clean", level=0.0, **spread),
        row(35.0, 25.0, 45.0, protocol="mask", level=0.4, **spread),
        row(10.0, 9.0, 11.0, protocol="occluders", level=1.0, metric="spread_mm", estimator="")
        | {"method": "Di2Pose, 8 samples − Di2Pose without the occluder, 8 samples"},
    ]
    put_rows(root, "synthetic", "uncertainty", rows)
    occluders, clean_ones, mask = (
        Selection("uncertainty", {"protocol": protocol, "metric": "spread_mm"})
        for protocol in ("occluders", "clean", "mask")
    )
    results = Results(root)
    found = results.paired("synthetic", occluders, clean_ones)
    assert found == SeedInterval(10.0, 9.0, 11.0, 3)
    assert results.paired("synthetic", clean_ones, occluders) == negative(found)
    assert Results(root).paired("synthetic", mask, clean_ones) is None
    assert Results(root).paired("mocap", occluders, clean_ones) is None


RIVAL = {"method": "rival", "estimator": "8 steps"}


def test_two_methods_are_paired_each_by_its_own_estimator(root):
    place = {"protocol": "mask", "level": 0.8}
    both = [
        row(50.0, 40.0, 60.0, **place),
        row(45.0, 35.0, 55.0, **place, estimator=estimators.SOFT),
        row(58.0, 48.0, 68.0, **place, **RIVAL),
    ]
    rival = Selection("sweeps", {**place, "method": "rival"})

    def pair(method, mean=8.0):
        fields = {**place, "estimator": "", "method": method}
        return row(mean, mean - 1, mean + 1, **fields)

    own_first = pair("Di2Pose, one sample − rival, 8 steps", -8.0)
    others = [
        pair("rival, 8 steps − Di2Pose, soft decoding"),
        {**pair("rival, 8 steps − Di2Pose, one sample"), "level": 0.6},
        {**pair("rival, 8 steps − Di2Pose, one sample"), "joints": "occluded"},
    ]
    for pairs, wanted in (
        ([], None),
        (others, None),
        ([*others, pair("rival, 8 steps − Di2Pose, one sample")], SeedInterval(8.0, 7.0, 9.0, 3)),
        ([*others, own_first], SeedInterval(8.0, 7.0, 9.0, 3)),
    ):
        put_rows(root, "synthetic", "sweeps", [*both, *pairs])
        assert Results(root).paired("synthetic", rival, MASK) == wanted
        assert Results(root).paired("synthetic", MASK, rival) == (wanted and negative(wanted))
    assert [m.value.mean for m in Results(root).together("synthetic", [rival, MASK])] == [58, 50]


def test_rows_of_other_files_actions_or_occlusions_are_no_pair(root):
    """The same name stands over every action, with and without occluders."""
    name = "rival, 8 steps − Di2Pose, one sample"
    rows = []
    for protocol in ("clean", "occluders"):
        for action, mean in (("all", 1.0), ("walk", 2.0)):
            where = {"protocol": protocol, "action": action}
            rows += [clean(50.0, 40.0, 60.0, **where), clean(51.0, 41.0, 61.0, **where, **RIVAL)]
            if protocol == "clean":
                pair = {**where, "method": name, "estimator": ""}
                rows.append(clean(mean, mean - 0.5, mean + 0.5, **pair))
    put_rows(root, "synthetic", "sweeps", rows)
    put_rows(root, "synthetic", "other", [clean(50.0, 40.0, 60.0)])

    def paired(first, second, file="sweeps"):
        rival = Selection("sweeps", {"method": "rival", **first})
        return Results(root).paired("synthetic", rival, Selection(file, second))

    walk, occluded = ({"protocol": "clean", "action": "walk"}, {"protocol": "occluders"})
    assert paired(walk, walk) == SeedInterval(2.0, 1.5, 2.5, 3)
    assert paired({"protocol": "clean"}, {"protocol": "clean"}).mean == 1.0
    assert paired(walk, {"protocol": "clean"}) is None
    assert paired(occluded, occluded) is None
    assert paired(walk, {"protocol": "clean"}, "other") is None


def test_another_method_is_not_paired_with_ours_without_the_occluder(root):
    name = "Di2Pose, one sample − Di2Pose without the occluder, one sample"
    occluders, without = ({"protocol": "occluders", "level": 1.0}, {"protocol": "clean"})
    rows = [
        row(40.0, 30.0, 50.0, **occluders),
        row(30.0, 20.0, 40.0, **without),
        row(35.0, 25.0, 45.0, **without, method="rival"),
        row(10.0, 9.0, 11.0, **occluders, method=name, estimator=""),
    ]
    put_rows(root, "synthetic", "sweeps", rows)
    first = Selection("sweeps", occluders)
    own, rival = (Selection("sweeps", {**without, "method": m}) for m in ("Di2Pose", "rival"))
    assert Results(root).paired("synthetic", first, own).mean == 10.0
    assert Results(root).paired("synthetic", first, rival) is None


def test_results_that_cannot_be_read_do_not_count_as_not_measured(root):
    results = results_folder("mocap", root).parent
    results.mkdir(parents=True)
    (results / "mocap").write_text("a link once, of which a copy made a file")
    with pytest.raises(ValueError, match="mocap/sweeps.json must be readable; got Not a directory"):
        Results(root).find("mocap", MASK)
    (results / "mocap").unlink()
    (results / "mocap").symlink_to("nowhere")
    with pytest.raises(ValueError, match="sweeps.json must be a file; got a link to nowhere at "):
        Results(root).find("mocap", MASK)
    (results / "mocap").unlink()
    assert Results(root).find("mocap", MASK) is None
