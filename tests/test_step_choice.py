"""The choice of the steps: changes by hand, what they say, and the default of the parameters."""

import json

import pytest

from di2pose_lib.base.config_file import load_config
from di2pose_lib.base.project import project_root
from di2pose_lib.evaluation.comparisons import SeedInterval
from di2pose_lib.evaluation.step_curve import COUNTS, DECIDE, SPLITS, fewest_steps
from studies.ablation_runs import SEEDS
from studies.ablation_tables import mean_curves
from studies.step_choice import (
    ALLOWED,
    KEPT,
    MISSED,
    SHARE,
    UNDECIDED,
    Candidate,
    beside_reference,
    candidate_times,
    candidates,
    configured,
    evidence,
    next_cheaper,
    paired_change,
    references,
    seed_curves,
    times_per_pose,
)

MPJPE, BONES = DECIDE
CONFIDENT = "uniform, confident tokens first"
PARAMS = project_root() / "params.yaml"


def run(**ways):
    """The curve of one seed: for each way MPJPE in 1, 2 and 4 steps, bones' error a tenth."""
    return {
        way: {"steps": [1, 2, 4], MPJPE: errors, BONES: [error / 10 for error in errors]}
        for way, errors in ways.items()
    }


# Three seeds. In 4 steps b is the best: 98, 100 and 102 mm, 100 on average.
RUNS = [
    run(a=[120.0, 99.0, 108.0], b=[120.0, 97.0, 98.0]),
    run(a=[122.0, 102.0, 110.0], b=[122.0, 99.0, 100.0]),
    run(a=[124.0, 105.0, 112.0], b=[124.0, 101.0, 102.0]),
]


def means(runs):
    """The curves' means over the seeds, as `mean_curves` gives them."""
    return {
        way: {
            "steps": curve["steps"],
            **{
                error: [
                    sum(each) / len(each)
                    for each in zip(*(r[way][error] for r in runs), strict=True)
                ]
                for error in DECIDE
            },
        }
        for way, curve in runs[0].items()
    }


def test_a_change_is_paired_by_seed_by_hand():
    # a in 2 steps beside b in 4: 1, 2 and 3 mm more, of a mean of 100 mm
    change = paired_change(RUNS, MPJPE, Candidate("a", 2), Candidate("b", 4))
    half = 4.303 / 3**0.5  # Student's, two degrees of freedom; the differences' deviation is 1
    assert change == pytest.approx(SeedInterval(2.0, 2.0 - half, 2.0 + half, 3))
    # equal differences leave nothing uncertain, however the seeds differ
    change = paired_change(RUNS, BONES, Candidate("b", 2), Candidate("b", 4))
    assert change == pytest.approx(SeedInterval(-1.0, -1.0, -1.0, 3))
    with pytest.raises(ValueError, match="`runs` must hold at least one seed; got none"):
        paired_change([], MPJPE, Candidate("a", 2), Candidate("b", 4))


def test_the_reference_is_the_best_way_with_the_most_steps_of_each_error():
    assert references(RUNS) == {MPJPE: Candidate("b", 4), BONES: Candidate("b", 4)}
    bent = [run(a=one["a"][MPJPE], b=one["b"][MPJPE]) for one in RUNS]
    for one in bent:
        one["a"][BONES][-1] = 1.0
    assert references(bent) == {MPJPE: Candidate("b", 4), BONES: Candidate("a", 4)}


def test_a_verdict_needs_the_intervals_of_both_errors():
    assert pytest.approx(100 / 99) == ALLOWED
    of = {c: beside_reference(RUNS, c).verdict for c in candidates(RUNS)}
    assert of[Candidate("b", 2)] == KEPT  # −1 % in every seed
    assert of[Candidate("a", 4)] == MISSED  # +10 % in every seed
    assert of[Candidate("a", 2)] == UNDECIDED  # 2 ± 2.5 %
    assert of[Candidate("b", 4)] == KEPT  # the reference itself
    found = beside_reference(RUNS, Candidate("a", 4))
    assert found.errors == pytest.approx({MPJPE: 110.0, BONES: 11.0})
    worse = [run(a=one["a"][MPJPE], b=one["b"][MPJPE]) for one in RUNS]
    for one in worse:
        one["b"][BONES][1] *= 1.5
    assert beside_reference(worse, Candidate("b", 2)).verdict == MISSED  # for its bones alone
    assert beside_reference(RUNS[:2], Candidate("b", 2)).verdict == UNDECIDED  # two seeds


def test_one_step_is_one_candidate_whatever_the_way():
    assert list(map(str, candidates(RUNS))) == [
        "1 step",
        "2 steps, a",
        "4 steps, a",
        "2 steps, b",
        "4 steps, b",
    ]


def test_the_next_cheaper_is_the_nearest_of_those_with_the_next_fewer_steps():
    assert next_cheaper(RUNS, Candidate("b", 4)) == Candidate("b", 2)
    assert next_cheaper(RUNS, Candidate("b", 2)).steps == 1
    assert next_cheaper(RUNS, Candidate("b", 1)) is None


def test_the_evidence_says_by_how_much_the_cheaper_misses_and_whether_that_is_sure():
    found = evidence(RUNS, Candidate("b", 2))
    assert (found.chosen.verdict, found.cheaper.verdict) == (KEPT, MISSED) and found.separated
    assert found.missed_by == pytest.approx({MPJPE: 122 - 100 / 0.99, BONES: 12.2 - 10 / 0.99})
    # from 97, 99 and 101 mm to 120, 122 and 124: 23 of 99 mm in every seed
    assert found.between[MPJPE] == pytest.approx(SeedInterval(*[100 * 23 / 99] * 3, 3))
    unsure = [run(a=one["a"][MPJPE]) for one in RUNS]
    for one, last in zip(unsure, (98.0, 102.0, 103.0), strict=True):
        one["a"][MPJPE][-1], one["a"][BONES][-1] = last, last / 10
    found = evidence(unsure, Candidate("a", 4))
    assert found.cheaper.candidate == Candidate("a", 2)
    assert found.cheaper.verdict == UNDECIDED and not found.separated
    last = evidence(RUNS, Candidate("b", 1))
    assert last.cheaper is None and last.missed_by == {} and not last.separated


def test_a_mean_change_beyond_what_is_allowed_is_what_the_rule_refuses(committed):
    for source in ("synthetic", "mocap"):
        for split in SPLITS:
            runs, (curves, _) = seed_curves(source, split), mean_curves(source, split)
            way, steps = fewest_steps(curves, SHARE)
            for one in candidates(runs):
                changes = beside_reference(runs, one).changes.values()
                enough = all(change.mean <= ALLOWED for change in changes)
                assert not enough or one.steps >= steps
            chosen = beside_reference(runs, Candidate(way, steps))
            assert all(change.mean <= ALLOWED for change in chosen.changes.values())
    assert Candidate(*fewest_steps(means(RUNS), SHARE)) == Candidate("b", 2)


def test_the_default_is_what_the_rule_takes_from_the_committed_rows_on_synthetic_data(committed):
    curves, seeds = mean_curves("synthetic", "validation")
    assert seeds == len(SEEDS) == len(seed_curves("synthetic", "validation"))
    chosen = Candidate(*fewest_steps(curves, SHARE))
    for file in ("params.yaml", "pipelines/mocap.yaml"):  # one default: notebook 07 says why
        config = load_config(committed / file)
        assert configured(config.evaluation) == chosen


def test_a_configurations_way_is_found_and_one_without_a_curve_is_refused():
    evaluation = load_config(PARAMS).evaluation

    def with_options(**options):
        return type(evaluation)(**{**vars(evaluation), "num_inference_steps": 8, **options})

    ways = {
        ("uniform", "random"): "uniform",
        ("cosine", "random"): "cosine",
        ("uniform", "confidence"): CONFIDENT,
    }
    for (spacing, order), way in ways.items():
        asked = with_options(step_spacing=spacing, step_order=order)
        assert configured(asked) == Candidate(way, 8)
    with pytest.raises(ValueError, match="`evaluation` must sample in one of uniform, cosine, "):
        configured(with_options(step_spacing="cosine", step_order="confidence"))


def test_times_are_the_benchmarks(tmp_path):
    folder = tmp_path / "benchmarks" / "results"
    folder.mkdir(parents=True)
    times = {
        "ms_per_pose_by_steps": {"1": 5.0, "2": 8.0},
        "ms_per_pose_by_steps_confident_first": {"1": 6.0, "2": 10.0},
    }
    case = {"7": times, "one_over_64_at_25_steps": 2.0}
    (folder / "inference_cpu.json").write_text(json.dumps({"cases": {"tiny": case}}))
    assert times_per_pose("tiny", root=tmp_path) == {7: {1: 5.0, 2: 8.0}}
    assert times_per_pose("tiny", "confidence", tmp_path) == {7: {1: 6.0, 2: 10.0}}
    assert candidate_times(Candidate("uniform", 2), "tiny", tmp_path) == {7: 8.0}
    assert candidate_times(Candidate("cosine", 2), "tiny", tmp_path) == {7: 8.0}
    assert candidate_times(Candidate(CONFIDENT, 2), "tiny", tmp_path) == {7: 10.0}


@pytest.mark.parametrize("order", ["random", "confidence"])
def test_the_committed_benchmark_has_times_for_every_candidate(order):
    committed = times_per_pose("lesson", order)
    assert set(committed) == {1, 64} and all(set(own) == set(COUNTS) for own in committed.values())
