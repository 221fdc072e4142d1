"""Rows of test pictures: what they name, what they average, over what they resample."""

import pytest
import torch
from small import make_split, measured, small_config

from di2pose_lib.base.seeding import seed_for
from di2pose_lib.data import occlusions
from di2pose_lib.data.occlusions import RATIOS
from di2pose_lib.evaluation.pictures import (
    CLEAN,
    OCCLUDERS,
    cluster_names,
    clusters_of,
    pictures_of,
    spread_rows,
    truth_of,
)

PLACES = [(CLEAN, 0.0), (OCCLUDERS, 1.0)]
PLACES += [(name, ratio) for name, ratios in RATIOS.items() for ratio in ratios if ratio > 0]


@pytest.fixture
def dataset(tmp_path):
    """Six images of three recordings; joint 3 of image 0 and all of image 5 are hidden."""
    visible = torch.ones(6, 17, dtype=torch.bool)
    visible[0, 3] = visible[5] = False
    action = torch.tensor([0, 0, 0, 1, 1, 1], dtype=torch.int16)
    return make_split(tmp_path / "test", 6, visible=visible, action=action)


def truth(dataset, **changes):
    return truth_of(dataset, small_config(seed=4), "crop", 0.2, **changes)


def test_a_truth_holds_the_split_or_the_images_that_are_named(dataset):
    whole = truth(dataset)
    assert torch.equal(whole.pose, dataset.take("pose"))
    assert whole.clusters == [f"recording 4-{n}" for n in (0, 0, 1, 1, 2, 2)]
    rows = torch.tensor([5, 0])
    some = truth(dataset, rows=rows)
    assert torch.equal(some.pose, whole.pose[rows])
    assert torch.equal(some.visible, whole.visible[rows])
    assert some.clusters == ["recording 4-2", "recording 4-0"] and some.actions == ["dance", "walk"]


def test_an_occlusion_may_say_itself_what_is_visible(dataset):
    seen = torch.zeros(6, 17, dtype=torch.bool)
    seen[:, :4] = True
    masks = truth(dataset, visible=seen).joint_masks
    assert torch.equal(masks["visible"], seen) and torch.equal(masks["occluded"], ~seen)
    assert masks["all"].all()


def test_a_row_is_a_clusters_mean_and_says_of_what(dataset):
    values, images = torch.tensor([1.0, 5.0, 7.0]), torch.tensor([2, 3, 5])
    rows = truth(dataset).rows(values, images, method="m", estimator="e", metric="x_mm")
    assert rows[["cluster", "value", "n"]].to_numpy().tolist() == [
        ["recording 4-1", 3.0, 2],
        ["recording 4-2", 7.0, 1],
    ]
    said = rows.iloc[0].to_dict()
    wanted = {"occlusion": "crop", "level": 0.2, "seed": 4, "scale": "smoke", "test_set": "test"}
    wanted |= {"method": "m", "estimator": "e", "metric": "x_mm", "joints": "all", "action": "all"}
    assert wanted.items() <= said.items() and said["source"] == "synthetic"


def test_an_image_counts_by_the_mean_of_its_joints(dataset):
    per_joint = torch.arange(6.0)[:, None] + torch.zeros(17)
    per_joint[0, 3] = 17.0
    own = truth(dataset)
    rows = own.joint_rows(per_joint, own.joint_masks, metric="x")
    assert measured(rows, joints="all") == (pytest.approx((1 + 1 + 2 + 3 + 4 + 5) / 6), 6)
    assert measured(rows, joints="visible") == (pytest.approx((0 + 1 + 2 + 3 + 4) / 5), 5)
    assert measured(rows, joints="occluded") == (pytest.approx((17 + 5) / 2), 2)


def test_actions_have_the_images_of_their_names(dataset):
    rows = truth(dataset).action_rows(torch.arange(6.0), metric="x")
    assert measured(rows, action="walk") == (1.0, 3)
    assert measured(rows, action="dance") == (4.0, 3)
    middle = rows[rows.cluster == "recording 4-1"]  # of images 2 and 3, one of each
    assert sorted(middle.value) == [2.0, 3.0]


def test_nothing_is_said_of_joints_that_no_image_has(dataset):
    own = truth(dataset, visible=torch.ones(6, 17, dtype=torch.bool))
    rows = own.joint_rows(torch.ones(6, 17), own.joint_masks)
    assert set(rows.joints) == {"all", "visible"}


@pytest.mark.parametrize(("people", "kind"), [(2, "recording"), (9, "recording"), (10, "subject")])
def test_subjects_are_resampled_and_recordings_where_subjects_are_few(tmp_path, people, kind):
    dataset = make_split(tmp_path / "test", 20, [f"T{n:02d}" for n in range(people)])
    got, clusters = clusters_of(dataset)
    assert got == kind and clusters.dtype == torch.int64
    assert torch.equal(clusters, dataset.take(kind).long())
    word = {"subject": "person", "recording": "recording"}[kind]
    assert cluster_names(dataset, small_config(seed=3))[1] == f"{word} 3-{clusters[1]}"
    assert cluster_names(dataset, small_config("mocap", 3))[1] == f"{word} {clusters[1]}"


@pytest.fixture
def data(tmp_path):
    """A split without occluders, and one whose joints 5 and 6 are covered."""
    covered = torch.zeros(12, 17, dtype=torch.bool)
    covered[:, 5:7] = True
    joints_2d = 40 * torch.rand(12, 17, 2, generator=torch.Generator().manual_seed(0))
    fields = {"size": (64, 48), "joints_2d": joints_2d}
    hidden = make_split(tmp_path / "hidden", 12, covered=covered, visible=~covered, **fields)
    return {"test": make_split(tmp_path / "plain", 12, **fields), "test_occluded": hidden}


@pytest.mark.parametrize(("occlusion", "level"), PLACES)
def test_a_lifter_is_given_the_joints_but_for_those_that_are_hidden(data, occlusion, level):
    pictures = pictures_of(data, small_config(), occlusion, level)
    assert pictures.occlusion == (occlusion, level)
    split = data["test_occluded" if occlusion == "occluders" else "test"]
    every = split.take("joints_2d", pictures.rows)
    hidden = torch.zeros(12, 17, dtype=torch.bool)
    if occlusion == "occluders":
        hidden = split.take("covered", pictures.rows)
    elif occlusion != "clean":
        seeds = [seed_for(0, "occlusion", row) for row in pictures.rows.tolist()]
        lost = occlusions.occluded(occlusion, level, split.take("image"), every, seeds)
        assert torch.equal(pictures.images, lost.images)
        hidden = lost.hidden
    centre = torch.tensor([47 / 2, 63 / 2])  # of 64 × 48 pixels
    wanted = torch.where(hidden[..., None], centre, every)
    torch.testing.assert_close(pictures.joints_2d, wanted)
    assert torch.equal(pictures.truth.visible, ~hidden)


def test_pictures_are_spread_over_the_split_and_shuffled_by_half_of_it(data):
    some = pictures_of(data, small_config(), most=4)
    assert some.rows.tolist() == [0, 4, 7, 11] and some.images[:, 0, 0, 0].tolist() == [0, 4, 7, 11]
    other = some.shuffled()
    assert other.images[:, 0, 0, 0].tolist() == [7, 11, 0, 4]
    assert torch.equal(other.joints_2d, some.joints_2d[[2, 3, 0, 1]])
    assert torch.equal(other.pose, some.pose)
    assert spread_rows(torch.zeros(9), 3).tolist() == [0, 4, 8]
    assert spread_rows(torch.zeros(2), 5).tolist() == [0, 1]


def test_input_that_does_not_fit_is_refused(dataset):
    own = truth(dataset)
    with pytest.raises(ValueError, match=r"`rows` must lie in \[0, 5\]; got 6"):
        truth(dataset, rows=torch.tensor([6]))
    with pytest.raises(ValueError, match=r"`visible` must have shape \(6, 17\); got \(5, 17\)"):
        truth(dataset, visible=torch.ones(5, 17, dtype=torch.bool))
    with pytest.raises(ValueError, match=r"`images` must have shape \(2,\); got \(1,\)"):
        own.rows(torch.ones(2), torch.tensor([0]))
    with pytest.raises(ValueError, match=r"`images` must lie in \[0, 5\]; got 9"):
        own.rows(torch.ones(1), torch.tensor([9]))
    with pytest.raises(ValueError, match="`values` must be finite"):
        own.rows(torch.full((6,), torch.nan))
    with pytest.raises(ValueError, match="`per_joint` must be finite"):
        own.joint_rows(torch.full((6, 17), torch.nan), own.joint_masks)
    with pytest.raises(ValueError, match=r"`p` must have shape \(6, 17, 3\), as the truth"):
        own.check("p", torch.zeros(5, 17, 3))
    with pytest.raises(ValueError, match="`p` must be finite"):
        own.check("p", torch.full((6, 17, 3), torch.nan))


def test_an_occlusion_that_there_is_not_is_refused_and_never_the_clean_pictures(data):
    with pytest.raises(ValueError, match="`occlusion` must be one of clean, .*; got 'masks'"):
        pictures_of(data, small_config(), "masks", 0.4)
    with pytest.raises(ValueError, match="`level` of a mask must be given; got None"):
        pictures_of(data, small_config(), "mask")
