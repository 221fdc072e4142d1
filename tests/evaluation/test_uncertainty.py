"""The rows of uncertainty: what they are named, over which joints, and their numbers."""

from fractions import Fraction

import pytest
import torch
from small import make_split

from di2pose_lib.evaluation import calibration, proper_scores
from di2pose_lib.evaluation.conditions import condition_of
from di2pose_lib.evaluation.uncertainty import (
    coverage_metric,
    exact_levels,
    uncertainty_rows,
)

METRICS = {
    *("spread_mm", "error_of_mean_mm", "rank_correlation", "coverage 50 %", "coverage 80 %"),
    *("radius_50_mm", "radius_80_mm", "energy_score_mm", "pose_energy_score_mm", "crps_mm"),
    *("diversity_mm", "coverage 1/5", "coverage 2/5", "coverage 3/5", "coverage 4/5"),
}
COUNT = 60


@pytest.fixture
def condition(tmp_path):
    """60 images of 30 recordings; a third of the joints hidden, none in image 0."""
    visible = torch.rand(COUNT, 17, generator=torch.Generator().manual_seed(2)) < 0.67
    visible[0] = True
    dataset = make_split(tmp_path / "test", COUNT, visible=visible)
    return condition_of(dataset, "crop", 0.2, 200, 0)


def hypotheses_of(condition, count=4, spread=0.1):
    """Calibrated ones, each image with a spread of its own: they share the truth's law."""
    generator = torch.Generator().manual_seed(1)
    width = spread * (0.2 + torch.rand(COUNT, 1, 1, 1, generator=generator))
    draws = width * torch.randn(COUNT, count + 1, 17, 3, generator=generator)
    draws[:, :, 0] = 0
    return condition.pose[:, None] + draws[:, 1:] - draws[:, :1]


def rows_of(condition, hypotheses):
    rows = uncertainty_rows(hypotheses, condition, "Di2Pose", "4 samples")
    return {(row["metric"], row["joints"]): row for row in rows}, rows


def test_there_is_a_row_of_every_metric_for_all_visible_and_occluded_joints(condition):
    found, rows = rows_of(condition, hypotheses_of(condition))
    assert len(found) == len(rows)
    assert set(found) == {(m, j) for m in METRICS for j in ("all", "visible", "occluded")}
    for (_, joints), row in found.items():
        assert row["method"] == "Di2Pose" and row["estimator"] == "4 samples"
        assert row["protocol"] == "crop" and row["level"] == 0.2 and row["seeds"] == 1
        assert row["ci95_low"] <= row["mean"] <= row["ci95_high"]
        assert row["n"] == (COUNT - 1 if joints == "occluded" else COUNT)


def test_means_are_over_the_joints_that_count_without_the_pelvis(condition):
    samples = hypotheses_of(condition)
    found, _ = rows_of(condition, samples)
    seen = condition.visible.clone()
    seen[:, 0] = False

    def mean(per_joint, mask):
        return ((per_joint * mask).sum(dim=1) / mask.sum(dim=1)).mean().item()

    spread = calibration.spread_and_error_mm(samples, condition.pose)
    assert found["spread_mm", "visible"]["mean"] == pytest.approx(mean(spread.spread, seen))
    assert found["error_of_mean_mm", "visible"]["mean"] == pytest.approx(mean(spread.error, seen))
    energy = proper_scores.energy_score_mm(samples, condition.pose)
    assert found["energy_score_mm", "all"]["mean"] == pytest.approx(energy[:, 1:].mean().item())
    crps = proper_scores.crps_mm(samples, condition.pose)
    assert found["crps_mm", "all"]["mean"] == pytest.approx(crps[:, 1:].mean().item())
    whole = proper_scores.pose_energy_score_mm(samples, condition.pose, seen)
    assert found["pose_energy_score_mm", "visible"]["mean"] == pytest.approx(whole.mean().item())
    radius = calibration.region_radius_mm(samples, [0.8])[:, 1:, 0]
    assert found["radius_80_mm", "all"]["mean"] == pytest.approx(radius.mean().item())
    inside = calibration.coverage(samples, condition.pose, [0.4])[..., 0]
    assert found["coverage 2/5", "visible"]["mean"] == pytest.approx(mean(inside, seen))


def test_diversity_counts_the_pelvis_as_mpjpe_does(condition):
    samples = hypotheses_of(condition)
    found, _ = rows_of(condition, samples)
    wanted = proper_scores.diversity_mm(samples).mean().item()
    assert found["diversity_mm", "all"]["mean"] == pytest.approx(wanted)


def test_the_rank_correlation_is_that_of_the_joints(condition):
    samples = hypotheses_of(condition)
    found, _ = rows_of(condition, samples)
    spread, error = calibration.spread_and_error_mm(samples, condition.pose)
    wanted = [calibration.rank_correlation(spread[:, j], error[:, j]) for j in range(1, 17)]
    row = found["rank_correlation", "all"]
    assert row["mean"] == pytest.approx(sum(wanted) / 16) and row["mean"] > 0.3
    assert row["n"] == COUNT and row["ci95_low"] < row["mean"] < row["ci95_high"]


def test_a_calibrated_model_is_near_nominal_and_a_bold_one_is_not(condition):
    samples = hypotheses_of(condition)
    calibrated, _ = rows_of(condition, samples)
    mean = samples.mean(dim=1, keepdim=True)
    bold, _ = rows_of(condition, mean + 0.3 * (samples - mean))
    for level, tolerance in (("50 %", 0.06), ("2/5", 0.06), ("4/5", 0.06)):
        nominal = float(Fraction(level)) if "/" in level else 0.5
        row = calibrated[f"coverage {level}", "all"]
        assert row["mean"] == pytest.approx(nominal, abs=tolerance)
        assert bold[f"coverage {level}", "all"]["ci95_high"] < nominal - 0.1
    for score in ("energy_score_mm", "crps_mm", "pose_energy_score_mm"):
        assert bold[score, "all"]["mean"] > calibrated[score, "all"]["mean"]
    assert bold["radius_50_mm", "all"]["mean"] == pytest.approx(
        0.3 * calibrated["radius_50_mm", "all"]["mean"], rel=1e-4
    )


def test_a_point_estimator_has_neither_spread_nor_diversity_nor_rank_correlation(condition):
    one = hypotheses_of(condition)[:, :1]
    found, _ = rows_of(condition, one.expand(-1, 4, -1, -1))
    assert found["spread_mm", "all"]["mean"] < 1e-4
    assert found["diversity_mm", "all"]["mean"] < 1e-4
    assert found["coverage 4/5", "all"]["mean"] < 1e-6
    error = found["error_of_mean_mm", "all"]["mean"]
    assert found["energy_score_mm", "all"]["mean"] == pytest.approx(error)


def test_nothing_is_said_of_occluded_joints_where_there_are_none(condition):
    seen = condition._replace(visible=torch.ones_like(condition.visible))
    found, _ = rows_of(seen, hypotheses_of(condition))
    assert {joints for _, joints in found} == {"all", "visible"}


def test_exact_levels_are_named_as_fractions():
    assert exact_levels(3) == {"1/4": 0.25, "2/4": 0.5, "3/4": 0.75}
    assert coverage_metric(0.5) == "coverage 50 %" and coverage_metric("1/4") == "coverage 1/4"


def test_input_that_does_not_fit_is_refused(condition):
    samples = hypotheses_of(condition)
    with pytest.raises(ValueError, match="`hypotheses` must hold at least 2 an image; got 1"):
        uncertainty_rows(samples[:, :1], condition, "m", "s")
    with pytest.raises(ValueError, match="`hypotheses` must not be empty"):
        uncertainty_rows(samples[:, :0], condition, "m", "s")
    with pytest.raises(ValueError, match=r"`hypotheses` must have shape \(60, H, J, 3\)"):
        uncertainty_rows(samples[:5], condition, "m", "s")
    with pytest.raises(ValueError, match="as the condition's; got"):
        uncertainty_rows(samples[:, :, :16], condition, "m", "s")


def test_other_choices_of_joints_have_rows_too_without_the_pelvis(condition):
    hypotheses = hypotheses_of(condition)
    wrist = torch.zeros(COUNT, 17, dtype=torch.bool)
    wrist[:4, 13] = wrist[:, 0] = True
    names = ("Di2Pose", "4 samples")
    rows = uncertainty_rows(hypotheses, condition, *names, {"a wrist": wrist})
    plain = uncertainty_rows(hypotheses, condition, *names)
    assert [row for row in rows if row["joints"] != "a wrist"] == plain
    (spread,) = (r for r in rows if (r["joints"], r["metric"]) == ("a wrist", "spread_mm"))
    wanted = calibration.spread_and_error_mm(hypotheses, condition.pose).spread[:4, 13].mean()
    assert spread["mean"] == pytest.approx(wanted.item()) and spread["n"] == 4
    assert not wrist[5, 13] and wrist[0, 0], "what was given stays as it was"
