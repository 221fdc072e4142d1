"""A condition's rows: what they name, what they average, over what they resample."""

import pytest
import torch
from small import make_split

from di2pose_lib.evaluation.conditions import check_poses, condition_of, joint_rows, result_row
from di2pose_lib.evaluation.statistics import cluster_bootstrap

ROW_KEYS = ["protocol", "level", "method", "estimator", "joints", "metric"]
ROW_KEYS += ["mean", "ci95_low", "ci95_high", "seeds", "n", "clusters"]


@pytest.fixture
def dataset(tmp_path):
    """Six images of three recordings; joint 3 of image 0 and all of image 5 are hidden."""
    visible = torch.ones(6, 17, dtype=torch.bool)
    visible[0, 3] = visible[5] = False
    action = torch.tensor([0, 0, 0, 1, 1, 1], dtype=torch.int16)
    return make_split(tmp_path / "test", 6, visible=visible, action=action)


def condition(dataset, **changes):
    return condition_of(dataset, "crop", 0.2, 2000, 0, **changes)


def test_a_condition_holds_the_split_or_the_images_that_are_named(dataset):
    whole = condition(dataset)
    assert torch.equal(whole.pose, dataset.take("pose"))
    assert whole.clusters.tolist() == [0, 0, 1, 1, 2, 2]  # recordings, for subjects are few
    rows = torch.tensor([5, 0])
    some = condition(dataset, rows=rows)
    assert torch.equal(some.pose, whole.pose[rows])
    assert torch.equal(some.visible, whole.visible[rows])
    assert some.clusters.tolist() == [2, 0] and some.action.tolist() == [1, 0]


def test_a_protocol_may_say_itself_what_is_visible(dataset):
    seen = torch.zeros(6, 17, dtype=torch.bool)
    seen[:, :4] = True
    masks = condition(dataset, visible=seen).joint_masks
    assert torch.equal(masks["visible"], seen) and torch.equal(masks["occluded"], ~seen)
    assert masks["all"].all()


def test_a_row_has_the_documented_fields_and_the_interval_of_its_clusters(dataset):
    values = torch.tensor([1.0, 2.0, 6.0])
    images = torch.tensor([0, 2, 4])
    row = result_row(condition(dataset), "m", "e", "all", "x_mm", values, images)
    assert list(row) == ROW_KEYS
    assert [row[key] for key in ROW_KEYS[:6]] == ["crop", 0.2, "m", "e", "all", "x_mm"]
    assert row["mean"] == pytest.approx(3) and row["n"] == 3 and row["seeds"] == 1
    assert (row["ci95_low"], row["ci95_high"]) == (
        1,
        6,
    )  # 1 in 27 resamples holds one cluster thrice


def test_images_of_one_cluster_are_resampled_together(dataset):
    values, images = torch.tensor([1.0, 5.0]), torch.tensor([2, 3])  # one recording
    row = result_row(condition(dataset), "m", "e", "all", "x", values, images)
    assert row["mean"] == row["ci95_low"] == row["ci95_high"] == 3


def test_a_row_brings_the_means_of_its_clusters_but_for_a_mean_of_groups(dataset):
    values, images = torch.tensor([1.0, 5.0, 7.0]), torch.tensor([2, 3, 5])
    row = result_row(condition(dataset), "m", "e", "all", "x", values, images)
    assert row["clusters"] == {"names": [1, 2], "means": [3.0, 7.0], "counts": [2, 1]}
    groups = torch.tensor([0, 0, 1])
    row = result_row(condition(dataset), "m", "e", "all", "x", values, images, groups)
    assert row["mean"] == 5 and row["clusters"] is None


def test_all_rows_of_a_condition_resample_with_the_same_draws(dataset):
    values = torch.randn(6, generator=torch.Generator().manual_seed(1))
    images = torch.arange(6)
    first = result_row(condition(dataset), "m", "e", "all", "x", values, images)
    other = result_row(condition(dataset), "m", "e", "all", "y", values + 5, images)
    assert other["ci95_low"] == pytest.approx(first["ci95_low"] + 5, abs=1e-5)
    assert other["ci95_high"] == pytest.approx(first["ci95_high"] + 5, abs=1e-5)


def test_an_image_may_give_several_values_and_counts_once(dataset):
    values, images = torch.tensor([1.0, 3.0, 8.0]), torch.tensor([0, 0, 4])
    row = result_row(condition(dataset), "m", "e", "all", "x", values, images)
    assert row["n"] == 2 and row["mean"] == pytest.approx(4)
    draws = torch.Generator().manual_seed(0)
    wanted = cluster_bootstrap(values, torch.tensor([0, 0, 2]), 2000, draws)
    assert row["ci95_low"] == pytest.approx(wanted.low)


def test_groups_give_the_mean_of_their_means(dataset):
    values, images = torch.tensor([1.0, 3.0, 8.0]), torch.tensor([0, 1, 4])
    groups = condition(dataset).action[images]
    row = result_row(condition(dataset), "m", "e", "all", "x", values, images, groups)
    assert row["mean"] == pytest.approx((2 + 8) / 2)


def test_an_image_counts_by_the_mean_of_its_joints(dataset):
    per_joint = torch.arange(6.0)[:, None] + torch.zeros(17)
    per_joint[0, 3] = 17.0
    found = condition(dataset)
    rows = {r["joints"]: r for r in joint_rows(found, "m", "e", "x", per_joint, found.joint_masks)}
    assert rows["all"]["mean"] == pytest.approx((1 + 1 + 2 + 3 + 4 + 5) / 6)
    assert rows["visible"]["mean"] == pytest.approx((0 + 1 + 2 + 3 + 4) / 5)
    assert rows["occluded"]["mean"] == pytest.approx((17 + 5) / 2)
    assert [rows[name]["n"] for name in ("all", "visible", "occluded")] == [6, 5, 2]


def test_nothing_is_said_of_joints_that_no_image_has(dataset):
    found = condition(dataset, visible=torch.ones(6, 17, dtype=torch.bool))
    rows = joint_rows(found, "m", "e", "x", torch.ones(6, 17), found.joint_masks)
    assert [row["joints"] for row in rows] == ["all", "visible"]


def test_input_that_does_not_fit_is_refused(dataset):
    found = condition(dataset)
    with pytest.raises(ValueError, match=r"`rows` must lie in \[0, 5\]; got 6"):
        condition(dataset, rows=torch.tensor([6]))
    with pytest.raises(ValueError, match=r"`visible` must have shape \(6, 17\); got \(5, 17\)"):
        condition(dataset, visible=torch.ones(5, 17, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"`images` must have shape \(2,\); got \(1,\)"):
        result_row(found, "m", "e", "all", "x", torch.ones(2), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"`images` must lie in \[0, 5\]; got 9"):
        result_row(found, "m", "e", "all", "x", torch.ones(1), torch.tensor([9]))
    with pytest.raises(ValueError, match="`per_joint` must be finite"):
        joint_rows(found, "m", "e", "x", torch.full((6, 17), torch.nan), found.joint_masks)
    with pytest.raises(ValueError, match=r"`p` must have shape \(6, 17, 3\), as the cond"):
        check_poses("p", torch.zeros(5, 17, 3), found)
    with pytest.raises(ValueError, match="`p` must be finite"):
        check_poses("p", torch.full((6, 17, 3), torch.nan), found)
