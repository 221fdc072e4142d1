"""Rows by what hides a joint: the same joints with and without the occluder, by hand."""

import pytest
import torch
from small import make_split

from di2pose_lib.base.skeleton import JOINT_NAMES
from di2pose_lib.evaluation import visibility
from di2pose_lib.evaluation.conditions import condition_of
from di2pose_lib.evaluation.measure import Prediction
from di2pose_lib.evaluation.visibility import (
    COVERED,
    OWN_BODY,
    SEEN,
    SHARE,
    joint_kinds,
    kind_rows,
    share_rows,
)

WRIST = JOINT_NAMES.index("left wrist")
COUNT = 8


@pytest.fixture
def case(tmp_path):
    """(condition of eight images, kinds, prediction); image n's wrist is n + 1 cm off."""
    seen = torch.ones(COUNT, 17, dtype=torch.bool)
    seen[:2, WRIST] = False
    covered = torch.zeros_like(seen)
    covered[1:4, WRIST] = True
    dataset = make_split(tmp_path / "test", COUNT, visible=seen & ~covered)
    condition = condition_of(dataset, "occluders", 1.0, 100, 0)
    pose = condition.pose.clone()
    pose[:, WRIST, 0] += torch.arange(1, COUNT + 1) / 100
    return condition, joint_kinds(seen, covered), [Prediction("m", "e", pose)]


def test_a_joint_is_seen_covered_or_behind_the_body_and_both_is_none_of_them(case):
    _, kinds, _ = case
    assert list(kinds) == [SEEN, COVERED, OWN_BODY]
    assert kinds[OWN_BODY].nonzero().tolist() == [[0, WRIST]]
    assert kinds[COVERED].nonzero().tolist() == [[2, WRIST], [3, WRIST]]
    together = torch.stack(list(kinds.values())).sum(dim=0)
    assert together.max() == 1 and (together == 0).nonzero().tolist() == [[1, WRIST]]


def test_each_kind_has_the_mean_error_of_its_own_joints(case, monkeypatch):
    monkeypatch.setattr(visibility, "FEWEST", 1)
    condition, kinds, predictions = case
    rows = {row["joints"]: row for row in kind_rows(predictions, condition, kinds)}
    assert rows[COVERED]["mean"] == pytest.approx((30 + 40) / 2)
    assert rows[OWN_BODY]["mean"] == pytest.approx(10) and rows[OWN_BODY]["n"] == 1
    # Without the pelvis images 0 to 3 show 15 joints without error, 4 to 7 all 16.
    assert rows[SEEN]["mean"] == pytest.approx((50 + 60 + 70 + 80) / 16 / 8)
    assert rows[f"head, {SEEN}"]["mean"] == 0 and f"head, {COVERED}" not in rows
    assert not any(name.startswith("pelvis") for name in rows)


def test_a_covered_pelvis_counts_for_nothing(case):
    condition, kinds, predictions = case
    plain = kind_rows(predictions, condition, kinds)
    covered = {**kinds, COVERED: kinds[COVERED].clone()}
    covered[COVERED][:, 0] = True
    assert kind_rows(predictions, condition, covered) == plain


def test_a_joint_has_a_row_where_enough_clusters_have_it(case, monkeypatch):
    condition, kinds, predictions = case
    for fewest, images in ((2, None), (1, 2)):  # images 2 and 3 are of one recording
        monkeypatch.setattr(visibility, "FEWEST", fewest)
        rows = {row["joints"]: row for row in kind_rows(predictions, condition, kinds)}
        assert (rows[f"left wrist, {COVERED}"]["n"] if images else None) == images
        assert (f"left wrist, {COVERED}" in rows) == (images is not None)
    assert rows[f"left wrist, {SEEN}"]["mean"] == pytest.approx(65)


def test_the_same_joints_count_where_the_condition_shows_them(case):
    condition, kinds, predictions = case
    clean = condition._replace(protocol="clean", visible=torch.ones_like(condition.visible))
    for with_it, without in zip(
        kind_rows(predictions, condition, kinds), kind_rows(predictions, clean, kinds), strict=True
    ):
        assert {**with_it, "protocol": "clean"} == without


def test_bins_with_few_people_have_no_row(case):
    condition, _, predictions = case
    condition = condition._replace(clusters=torch.arange(COUNT))
    visible = torch.ones(COUNT, 17, dtype=torch.bool)
    visible[: visibility.FEWEST, 5:] = False
    rows = share_rows(predictions, condition._replace(visible=visible))
    assert [(row["level"], row["n"]) for row in rows] == [(0.4, visibility.FEWEST)]


def test_images_are_sorted_by_the_share_that_they_show_into_bins_with_their_ends(case, monkeypatch):
    monkeypatch.setattr(visibility, "FEWEST", 1)
    condition, _, predictions = case
    visible = torch.zeros(COUNT, 17, dtype=torch.bool)
    for image, joints in enumerate((0, 3, 4, 10, 11, 13, 14, 17)):  # of 17: 0.2 is 3.4, 0.8 13.6
        visible[image, :joints] = True
    rows = share_rows(predictions, condition._replace(visible=visible))
    assert [(row["protocol"], row["level"], row["n"]) for row in rows] == [
        (SHARE, 0.2, 2),
        (SHARE, 0.4, 1),
        (SHARE, 0.6, 1),
        (SHARE, 0.8, 2),
        (SHARE, 1.0, 2),
    ]
    assert rows[0]["mean"] == pytest.approx((10 + 20) / 2 / 17)


def test_a_share_at_an_end_belongs_to_the_bin_that_ends_there(case, monkeypatch):
    monkeypatch.setattr(visibility, "FEWEST", 1)
    condition, _, predictions = case
    visible = torch.zeros(COUNT, 5, dtype=torch.bool)
    for image in range(COUNT):
        visible[image, : image % 6] = True  # shares 0, 0.2, 0.4 …
    few = condition._replace(visible=visible, pose=condition.pose[:, :5])
    rows = share_rows([Prediction("m", "e", predictions[0].pose[:, :5])], few)
    assert [(row["level"], row["n"]) for row in rows] == [
        (0.2, 4),
        (0.4, 1),
        (0.6, 1),
        (0.8, 1),
        (1.0, 1),
    ]


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="`covered` must have shape"):
        joint_kinds(torch.ones(2, 17, dtype=torch.bool), torch.ones(2, 16, dtype=torch.bool))
