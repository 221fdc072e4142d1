"""Rows by what hides a joint: the same joints with and without the occluder, by hand."""

import pandas as pd
import pytest
import torch
from small import make_split, measured, small_config

from di2pose_lib.base.skeleton import JOINT_NAMES
from di2pose_lib.evaluation import visibility
from di2pose_lib.evaluation.models import Prediction
from di2pose_lib.evaluation.pictures import truth_of
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
    """(truth of eight images, kinds, prediction); image n's wrist is n + 1 cm off."""
    seen = torch.ones(COUNT, 17, dtype=torch.bool)
    seen[:2, WRIST] = False
    covered = torch.zeros_like(seen)
    covered[1:4, WRIST] = True
    dataset = make_split(tmp_path / "test", COUNT, visible=seen & ~covered)
    truth = truth_of(dataset, small_config(), "occluders")
    pose = truth.pose.clone()
    pose[:, WRIST, 0] += torch.arange(1, COUNT + 1) / 100
    return truth, joint_kinds(seen, covered), [Prediction("m", "e", pose)]


def test_a_joint_is_seen_covered_or_behind_the_body_and_both_is_none_of_them(case):
    _, kinds, _ = case
    assert list(kinds) == [SEEN, COVERED, OWN_BODY]
    assert kinds[OWN_BODY].nonzero().tolist() == [[0, WRIST]]
    assert kinds[COVERED].nonzero().tolist() == [[2, WRIST], [3, WRIST]]
    together = torch.stack(list(kinds.values())).sum(dim=0)
    assert together.max() == 1 and (together == 0).nonzero().tolist() == [[1, WRIST]]


def test_each_kind_has_the_mean_error_of_its_own_joints(case, monkeypatch):
    monkeypatch.setattr(visibility, "FEWEST", 1)
    truth, kinds, predictions = case
    rows = kind_rows(predictions, truth, kinds)
    together, single = rows[rows.joint.isna()], rows[rows.joint.notna()]
    assert measured(together, joints=COVERED)[0] == pytest.approx((30 + 40) / 2, abs=1e-3)
    assert measured(together, joints=OWN_BODY) == (pytest.approx(10, abs=1e-3), 1)
    # Without the pelvis images 0 to 3 show 15 joints without error, 4 to 7 all 16.
    seen = pytest.approx((50 + 60 + 70 + 80) / 16 / 8, abs=1e-3)
    assert measured(together, joints=SEEN)[0] == seen
    head = single[single.joint == "head"]
    assert measured(head, joints=SEEN)[0] == 0 and COVERED not in set(head.joints)
    assert "pelvis" not in set(single.joint)


def test_a_covered_pelvis_counts_for_nothing(case):
    truth, kinds, predictions = case
    plain = kind_rows(predictions, truth, kinds)
    covered = {**kinds, COVERED: kinds[COVERED].clone()}
    covered[COVERED][:, 0] = True
    pd.testing.assert_frame_equal(kind_rows(predictions, truth, covered), plain)


@pytest.mark.parametrize(("fewest", "count"), [(2, 0), (1, 2)])  # 2 and 3 are of one recording
def test_a_joint_has_a_row_where_enough_clusters_have_it(case, monkeypatch, fewest, count):
    truth, kinds, predictions = case
    monkeypatch.setattr(visibility, "FEWEST", fewest)
    rows = kind_rows(predictions, truth, kinds)
    assert measured(rows, joint="left wrist", joints=COVERED)[1] == count
    wrist, _ = measured(rows, joint="left wrist", joints=SEEN)
    assert wrist == pytest.approx(65, abs=1e-3)


def test_the_same_joints_count_where_the_occlusion_shows_them(case):
    truth, kinds, predictions = case
    columns = truth.columns | {"occlusion": "clean"}
    clean = truth._replace(columns=columns, visible=torch.ones_like(truth.visible))
    with_it = kind_rows(predictions, truth, kinds).assign(occlusion="clean")
    pd.testing.assert_frame_equal(with_it, kind_rows(predictions, clean, kinds))


def shares(rows):
    """[(level, images)] of rows by share."""
    assert set(rows.occlusion) == {SHARE}
    return [(level, int(part.n.sum())) for level, part in rows.groupby("level")]


def test_bins_with_few_people_have_no_row(case):
    truth, _, predictions = case
    visible = torch.ones(COUNT, 17, dtype=torch.bool)
    visible[: visibility.FEWEST, 5:] = False
    each = truth._replace(clusters=[str(n) for n in range(COUNT)], visible=visible)
    assert shares(share_rows(predictions, each)) == [(0.4, visibility.FEWEST)]


def test_images_are_sorted_by_the_share_that_they_show_into_bins_with_their_ends(case, monkeypatch):
    monkeypatch.setattr(visibility, "FEWEST", 1)
    truth, _, predictions = case
    visible = torch.zeros(COUNT, 17, dtype=torch.bool)
    for image, joints in enumerate((0, 3, 4, 10, 11, 13, 14, 17)):  # of 17: 0.2 is 3.4, 0.8 13.6
        visible[image, :joints] = True
    rows = share_rows(predictions, truth._replace(visible=visible))
    assert shares(rows) == [(0.2, 2), (0.4, 1), (0.6, 1), (0.8, 2), (1.0, 2)]
    assert measured(rows, level=0.2)[0] == pytest.approx((10 + 20) / 2 / 17, abs=1e-3)


def test_a_share_at_an_end_belongs_to_the_bin_that_ends_there(case, monkeypatch):
    monkeypatch.setattr(visibility, "FEWEST", 1)
    truth, _, predictions = case
    visible = torch.zeros(COUNT, 5, dtype=torch.bool)
    for image in range(COUNT):
        visible[image, : image % 6] = True  # shares 0, 0.2, 0.4 …
    few = truth._replace(visible=visible, pose=truth.pose[:, :5])
    rows = share_rows([Prediction("m", "e", predictions[0].pose[:, :5])], few)
    assert shares(rows) == [(0.2, 4), (0.4, 1), (0.6, 1), (0.8, 1), (1.0, 1)]


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match="`covered` must have shape"):
        joint_kinds(torch.ones(2, 17, dtype=torch.bool), torch.ones(2, 16, dtype=torch.bool))
