"""The rows of uncertainty: what they are named, over which joints, and their numbers."""

import pandas as pd
import pytest
import torch
from small import make_split, measured, small_config

from di2pose_lib.evaluation import calibration, proper_scores
from di2pose_lib.evaluation.intervals import interval
from di2pose_lib.evaluation.pictures import truth_of
from di2pose_lib.evaluation.uncertainty import exact_levels, uncertainty_rows

METRICS = {
    *("spread_mm", "error_of_mean_mm", "rank_correlation", "energy_score_mm"),
    *("pose_energy_score_mm", "crps_mm", "diversity_mm"),
}
REGIONS = {("coverage", level) for level in (0.2, 0.4, 0.5, 0.6, 0.8)}
REGIONS |= {("radius_mm", level) for level in (0.5, 0.8)}
COUNT = 60


@pytest.fixture
def truth(tmp_path):
    """60 images of 30 recordings; a third of the joints hidden, none in image 0."""
    visible = torch.rand(COUNT, 17, generator=torch.Generator().manual_seed(2)) < 0.67
    visible[0] = True
    dataset = make_split(tmp_path / "test", COUNT, visible=visible)
    return truth_of(dataset, small_config(), "crop", 0.2)


def hypotheses_of(truth, count=4, spread=0.1):
    """Calibrated ones, each image with a spread of its own: they share the truth's law."""
    generator = torch.Generator().manual_seed(1)
    width = spread * (0.2 + torch.rand(COUNT, 1, 1, 1, generator=generator))
    draws = width * torch.randn(COUNT, count + 1, 17, 3, generator=generator)
    draws[:, :, 0] = 0
    return truth.pose[:, None] + draws[:, 1:] - draws[:, :1]


def rows_of(truth, hypotheses):
    return uncertainty_rows(hypotheses, truth, "Di2Pose", "4 samples")


def mean(rows, metric, joints="all", **wanted):
    return measured(rows, metric=metric, joints=joints, **wanted)[0]


def near(value):
    """Values are rounded to 4 digits."""
    return pytest.approx(value, abs=1e-4)


def test_there_are_rows_of_every_metric_for_all_visible_and_occluded_joints(truth):
    rows = rows_of(truth, hypotheses_of(truth))
    plain, regions = rows[rows.nominal.isna()], rows[rows.nominal.notna()]
    assert set(plain.metric) == METRICS
    assert set(zip(regions.metric, regions.nominal, strict=True)) == REGIONS
    keys = ["metric", "nominal", "joints"]
    groups = rows.groupby(keys, dropna=False)
    assert len(groups) == 3 * (len(METRICS) + len(REGIONS))
    for (metric, _, joints), part in groups:
        count = COUNT - 1 if joints == "occluded" else COUNT
        if metric != "rank_correlation":  # which has a value for each joint
            assert part.n.sum() == count
    assert set(rows.method) == {"Di2Pose"} and set(rows.estimator) == {"4 samples"}
    assert set(rows.occlusion) == {"crop"} and set(rows.level) == {0.2}


def test_means_are_over_the_joints_that_count_without_the_pelvis(truth):
    samples = hypotheses_of(truth)
    rows, seen = rows_of(truth, samples), truth.visible.clone()
    seen[:, 0] = False

    def by_hand(per_joint, mask):
        return ((per_joint * mask).sum(dim=1) / mask.sum(dim=1)).mean().item()

    spread = calibration.spread_and_error_mm(samples, truth.pose)
    assert mean(rows, "spread_mm", "visible") == near(by_hand(spread.spread, seen))
    assert mean(rows, "error_of_mean_mm", "visible") == near(by_hand(spread.error, seen))
    energy = proper_scores.energy_score_mm(samples, truth.pose)
    assert mean(rows, "energy_score_mm") == near(energy[:, 1:].mean().item())
    crps = proper_scores.crps_mm(samples, truth.pose)
    assert mean(rows, "crps_mm") == near(crps[:, 1:].mean().item())
    whole = proper_scores.pose_energy_score_mm(samples, truth.pose, seen)
    assert mean(rows, "pose_energy_score_mm", "visible") == near(whole.mean().item())
    radius = calibration.region_radius_mm(samples, [0.8])[:, 1:, 0]
    assert mean(rows, "radius_mm", nominal=0.8) == near(radius.mean().item())
    inside = calibration.coverage(samples, truth.pose, [0.4])[..., 0]
    assert mean(rows, "coverage", "visible", nominal=0.4) == near(by_hand(inside, seen))


def test_diversity_counts_the_pelvis_as_mpjpe_does(truth):
    samples = hypotheses_of(truth)
    wanted = proper_scores.diversity_mm(samples).mean().item()
    assert mean(rows_of(truth, samples), "diversity_mm") == near(wanted)


def test_the_rank_correlation_is_that_of_the_joints(truth):
    samples = hypotheses_of(truth)
    rows = rows_of(truth, samples).query("metric == 'rank_correlation' and joints == 'all'")
    spread, error = calibration.spread_and_error_mm(samples, truth.pose)
    wanted = [calibration.rank_correlation(spread[:, j], error[:, j]) for j in range(1, 17)]
    ranks = interval(rows)
    assert ranks.mean == near(sum(wanted) / 16) and ranks.mean > 0.3
    assert rows.n.sum() == 16 * COUNT and ranks.low < ranks.mean < ranks.high


def test_a_calibrated_model_is_near_nominal_and_a_bold_one_is_not(truth):
    samples = hypotheses_of(truth)
    calibrated = rows_of(truth, samples)
    middle = samples.mean(dim=1, keepdim=True)
    bold = rows_of(truth, middle + 0.3 * (samples - middle))
    for level in (0.5, 0.4, 0.8):
        assert mean(calibrated, "coverage", nominal=level) == pytest.approx(level, abs=0.06)
        own = bold.query("metric == 'coverage' and joints == 'all' and nominal == @level")
        assert interval(own).high < level - 0.1
    for score in ("energy_score_mm", "crps_mm", "pose_energy_score_mm"):
        assert mean(bold, score) > mean(calibrated, score)
    small, large = (mean(rows, "radius_mm", nominal=0.5) for rows in (bold, calibrated))
    assert small == pytest.approx(0.3 * large, rel=1e-4)


def test_a_point_estimator_has_neither_spread_nor_diversity_nor_rank_correlation(truth):
    rows = rows_of(truth, hypotheses_of(truth)[:, :1].expand(-1, 4, -1, -1))
    assert mean(rows, "spread_mm") < 1e-4 and mean(rows, "diversity_mm") < 1e-4
    assert mean(rows, "coverage", nominal=0.6) < 1e-6
    assert mean(rows, "energy_score_mm") == near(mean(rows, "error_of_mean_mm"))


def test_nothing_is_said_of_occluded_joints_where_there_are_none(truth):
    seen = truth._replace(visible=torch.ones_like(truth.visible))
    assert set(rows_of(seen, hypotheses_of(truth)).joints) == {"all", "visible"}


def test_exact_levels_are_those_that_the_samples_tell_apart():
    assert exact_levels(3) == (0.25, 0.5, 0.75)


def test_input_that_does_not_fit_is_refused(truth):
    samples = hypotheses_of(truth)
    with pytest.raises(ValueError, match="`hypotheses` must hold at least 2 an image; got 1"):
        uncertainty_rows(samples[:, :1], truth, "m", "s")
    with pytest.raises(ValueError, match="`hypotheses` must not be empty"):
        uncertainty_rows(samples[:, :0], truth, "m", "s")
    with pytest.raises(ValueError, match=r"`hypotheses` must have shape \(60, H, J, 3\)"):
        uncertainty_rows(samples[:5], truth, "m", "s")
    with pytest.raises(ValueError, match="as the truth; got"):
        uncertainty_rows(samples[:, :, :16], truth, "m", "s")


def test_other_choices_of_joints_have_rows_too_without_the_pelvis(truth):
    hypotheses = hypotheses_of(truth)
    wrist = torch.zeros(COUNT, 17, dtype=torch.bool)
    wrist[:4, 13] = wrist[:, 0] = True
    rows = uncertainty_rows(hypotheses, truth, "Di2Pose", "4 samples", {"a wrist": wrist})
    plain = rows[rows.joints != "a wrist"].reset_index(drop=True)
    pd.testing.assert_frame_equal(plain, rows_of(truth, hypotheses))
    wanted = calibration.spread_and_error_mm(hypotheses, truth.pose).spread[:4, 13].mean()
    spread = measured(rows, metric="spread_mm", joints="a wrist")
    assert spread == (near(wanted.item()), 4)
    assert not wrist[5, 13] and wrist[0, 0], "what was given stays as it was"
