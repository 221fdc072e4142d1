"""The engine: who is asked what, and that the rows' numbers are what they say."""

import pytest
import torch
from small import PixelEncoder, make_split, measured, small_config

from di2pose_lib.base.metrics import pa_mpjpe_mm
from di2pose_lib.evaluation import measure, models
from di2pose_lib.evaluation.estimators import ARGMAX, BEST, CHAIN, MEAN, ONE_SAMPLE, SOFT
from di2pose_lib.evaluation.intervals import interval
from di2pose_lib.evaluation.measure import (
    action_rows,
    error_rows,
    joint_errors,
    predict,
    predict_shuffled,
    summary,
)
from di2pose_lib.evaluation.models import IMAGES, Model, Prediction
from di2pose_lib.evaluation.pictures import joined, pictures_of, truth_of


def moved(pose, millimetres):
    """`pose` (n, J, 3) with joints off by `millimetres` (n, J) along y; the pelvis stays."""
    out = pose.clone()
    out[..., 1] += torch.as_tensor(millimetres) / 1000
    return out


def rows_of(dataset, pose):
    predictions, truth = (
        [Prediction("method", "estimator", pose)],
        truth_of(dataset, small_config()),
    )
    return joined([error_rows(predictions, truth), action_rows(predictions, truth)])


def value(rows, **wanted):
    wanted = {"joints": "all", "action": "all", "metric": "mpjpe_mm", **wanted}
    return measured(rows, **wanted)


@pytest.fixture
def four(tmp_path):
    """Four images, two of each action; image n is off by 17 · (1, 2, 3, 10) mm at joint 1 alone."""
    visible = torch.ones(4, 17, dtype=torch.bool)
    visible[0, 1] = visible[1, 2] = visible[1, 3] = False  # image 2 and 3: all visible
    action = torch.tensor([0, 0, 1, 1], dtype=torch.int16)
    dataset = make_split(tmp_path / "test", 4, visible=visible, action=action)
    millimetres = torch.zeros(4, 17)
    millimetres[:, 1] = torch.tensor([17.0, 34.0, 51.0, 170.0])
    return dataset, moved(dataset.take("pose"), millimetres)


def test_there_are_rows_for_each_metric_choice_of_joints_and_action(four):
    rows = rows_of(*four)
    assert not rows.duplicated(["metric", "joints", "action", "cluster"]).any()
    assert set(zip(rows.metric, rows.joints, rows.action, strict=True)) == {
        (metric, joints, action)
        for metric in ("mpjpe_mm", "pa_mpjpe_mm")
        for joints, action in [
            *((joints, "all") for joints in ("all", "visible", "occluded")),
            *(("all", action) for action in ("walk", "dance")),
        ]
    }
    assert set(rows.method) == {"method"} and set(rows.estimator) == {"estimator"}


def test_the_mean_over_all_visible_and_occluded_joints_by_hand(four):
    rows = rows_of(*four)
    assert value(rows) == (pytest.approx((1 + 2 + 3 + 10) / 4, abs=1e-4), 4)
    # Visible: image 0 without joint 1 is right; image 1 has 15 visible joints.
    visible = pytest.approx((0 + 34 / 15 + 3 + 10) / 4, abs=1e-4)
    assert value(rows, joints="visible") == (visible, 4)
    # Occluded: image 0 has joint 1 alone, image 1 two joints that are right, no other image.
    assert value(rows, joints="occluded") == (pytest.approx((17 + 0) / 2, abs=1e-4), 2)


def test_the_mean_of_an_action_and_the_mean_of_action_means_by_hand(tmp_path):
    action = torch.tensor([0, 1, 1, 1], dtype=torch.int16)
    dataset = make_split(tmp_path / "test", 4, action=action)
    millimetres = torch.zeros(4, 17)
    millimetres[:, 1] = torch.tensor([17.0, 34.0, 51.0, 170.0])
    rows = rows_of(dataset, moved(dataset.take("pose"), millimetres))
    assert value(rows, action="walk") == (pytest.approx(1, abs=1e-4), 1)
    assert value(rows, action="dance") == (pytest.approx(5, abs=1e-4), 3)
    by_action = rows.query("action != 'all' and metric == 'mpjpe_mm'")
    assert interval(by_action, "action").mean == pytest.approx((1 + 5) / 2, abs=1e-4)
    assert interval(by_action).mean == pytest.approx((1 + 2 + 3 + 10) / 4, abs=1e-4)


def test_masks_choose_what_is_averaged_after_an_alignment_over_all_joints(four):
    dataset, pose = four
    rows = rows_of(dataset, pose)
    errors = joint_errors(pose, dataset.take("pose"))["pa_mpjpe_mm"]
    all_joints = pa_mpjpe_mm(pose, dataset.take("pose")).mean().item()
    assert value(rows, metric="pa_mpjpe_mm")[0] == pytest.approx(all_joints, abs=1e-4)
    occluded = (errors[0, 1] + errors[1, 2:4].mean()).item() / 2
    got, _ = value(rows, metric="pa_mpjpe_mm", joints="occluded")
    assert got == pytest.approx(occluded, abs=1e-4)
    assert errors[1, 2] > 0.01  # right before the alignment, off after it


def test_a_turned_and_scaled_pose_has_no_error_after_alignment(four):
    dataset, _ = four
    turn = torch.tensor([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    rows = rows_of(dataset, 0.7 * dataset.take("pose") @ turn.T)
    for joints in ("all", "visible", "occluded"):
        assert value(rows, metric="pa_mpjpe_mm", joints=joints)[0] < 0.01
        assert value(rows, joints=joints)[0] > 50


def test_the_pelvis_of_a_prediction_does_not_matter_to_mpjpe(four):
    dataset, pose = four
    shifted = pose + torch.tensor([0.5, -1.0, 2.0])
    plain, _ = value(rows_of(dataset, pose))
    assert value(rows_of(dataset, shifted))[0] == pytest.approx(plain, abs=1e-3)


def test_the_interval_is_over_clusters_not_over_images(tmp_path):
    # Ten recordings of two equal images: the interval is that of ten values, not of twenty.
    dataset = make_split(tmp_path / "test", 20)
    millimetres = torch.zeros(20, 17)
    millimetres[:, 1] = 17 * (torch.arange(20) // 2)  # 0, 0, 1, 1, … 9, 9 mm on average
    query = "joints == 'all' and action == 'all' and metric == 'mpjpe_mm'"
    ten = interval(rows_of(dataset, moved(dataset.take("pose"), millimetres)).query(query))
    assert ten.mean == pytest.approx(4.5, abs=1e-4)
    # 4.5 ± 1.96 · 2.87 / √10; over images it would be ± 1.96 · 2.87 / √20: 3.24 to 5.76
    assert 2.4 < ten.low < 3.05 and 5.95 < ten.high < 6.6
    same = make_split(tmp_path / "one", 20, recording=torch.zeros(20, dtype=torch.int32))
    one = interval(rows_of(same, moved(same.take("pose"), millimetres)).query(query))
    assert one.low == one.mean == one.high  # one cluster says nothing


DI2POSE_ESTIMATORS = (ONE_SAMPLE, ARGMAX, MEAN, SOFT, BEST)


def test_the_summary_holds_every_method_clean_and_with_occluders(four):
    dataset, pose = four
    methods = {"mean_pose": (models.MEAN_POSE, "mean")}
    methods["nearest_neighbour"] = (models.NEIGHBOUR, "copy")
    names = {"one_sample": ONE_SAMPLE, "argmax": ARGMAX}
    names |= {"mean_of_samples": MEAN, "soft_decoding": SOFT}
    methods |= {name: (models.DI2POSE, estimator) for name, estimator in names.items()}
    tables, wanted = [], {}
    for occlusion in ("clean", "occluders"):
        truth = truth_of(dataset, small_config(), occlusion)
        for name, named in methods.items():
            off = 17 * len(tables) * (torch.arange(17) == 1)
            tables.append(error_rows([Prediction(*named, moved(truth.pose, off))], truth))
            wanted[f"{occlusion}_{name}_mpjpe_mm"] = pytest.approx(len(wanted), abs=1e-3)
    assert summary(joined(tables)) == wanted and len(wanted) == 12
    for occlusion in ("clean", "occluders"):
        truth = truth_of(dataset, small_config(), occlusion)
        tables.append(error_rows([Prediction(models.DI2POSE, CHAIN, pose)], truth))
    added = {k: v for k, v in summary(joined(tables)).items() if k not in wanted}
    assert set(added) == {
        f"{occlusion}_one_sample_algorithm_2_mpjpe_mm" for occlusion in ("clean", "occluders")
    }
    with pytest.raises(ValueError, match="the rows must have one with .*mean pose per camera"):
        summary(joined(tables[1:]))


def test_joint_errors_are_millimetres_of_each_joint(four):
    dataset, pose = four
    errors = joint_errors(pose, dataset.take("pose"))
    assert list(errors) == ["mpjpe_mm", "pa_mpjpe_mm"]
    assert all(error.shape == (4, 17) and error.dtype == torch.float64 for error in errors.values())
    by_hand = torch.zeros(4, 17, dtype=torch.float64)
    by_hand[:, 1] = torch.tensor([17.0, 34.0, 51.0, 170.0])
    torch.testing.assert_close(errors["mpjpe_mm"], by_hand, atol=1e-3, rtol=0)


# --- who is asked what


class Asked:
    """Its pose has an eighth of what it is given as x of joint 1; notes how it is asked."""

    def __init__(self):
        self.batches, self.seeds = [], []

    def __call__(self, given, seeds, num_hypotheses):
        self.batches.append((len(given), num_hypotheses))
        self.seeds += seeds
        poses = torch.zeros(len(given), num_hypotheses, 17, 3)
        poses[:, :, 1, 0] = (given.flatten(1)[:, :1].float() + torch.arange(num_hypotheses)) / 8
        return poses


@pytest.fixture
def pictures(tmp_path):
    """Those of an occlusion, of ten images."""
    data = {split: make_split(tmp_path / split, 10) for split in ("test", "test_occluded")}
    return lambda occlusion: pictures_of(data, small_config(), occlusion)


def seed_of(model, row):
    return 1000 * len(model.method) + row


def x_of(prediction):
    return (8 * prediction.pose[:, 1, 0]).tolist()


def test_images_go_to_every_model_in_batches_are_encoded_once_and_come_back_in_order(pictures):
    point, sampler, encoder = Asked(), Asked(), PixelEncoder()
    both = (Model("a", SOFT, point), Model("bb", ONE_SAMPLE, sampler, IMAGES, samples=3))
    predictions, hypotheses = predict(both, encoder, pictures("clean"), seed_of, 4)
    assert encoder.batches == [4, 4, 2]
    assert point.batches == [(4, 1), (4, 1), (2, 1)] and sampler.batches[0] == (4, 3)
    assert point.seeds == list(range(1000, 1010)) and sampler.seeds == list(range(2000, 2010))
    names = [(p.method, p.estimator) for p in predictions]
    assert names == [("a", SOFT), ("bb", ONE_SAMPLE), ("bb", MEAN), ("bb", BEST)]
    assert x_of(predictions[0]) == x_of(predictions[1]) == list(range(10))
    assert x_of(predictions[2]) == [row + 1 for row in range(10)]  # of 0, 1 and 2 more
    assert hypotheses == {}


def test_where_uncertainty_is_asked_for_there_are_more_hypotheses_under_their_names(pictures):
    model = Model("m", ONE_SAMPLE, Asked(), samples=2, hypotheses=5)
    asked = (model,), PixelEncoder(), pictures("occluders"), seed_of, 10
    predictions, hypotheses = predict(*asked, closely=True, few=3)
    assert list(hypotheses) == [("m", "5 samples")]
    assert hypotheses["m", "5 samples"].shape == (10, 5, 17, 3)
    assert x_of(predictions[1]) == [row + 1 for row in range(10)]  # the mean of the first three


def test_who_does_not_see_pictures_answers_once_and_needs_no_encoder(pictures):
    blind = Model("m", "e", Asked(), "pose", sees_pictures=False)
    assert len(predict([blind], None, pictures("clean"), seed_of, 10)[0]) == 1
    assert predict([blind], None, pictures("occluders"), seed_of, 10) == ([], {})


def test_shuffled_images_are_another_picture_each_for_one_sample(pictures):
    asked = Asked()
    model = Model("m", ONE_SAMPLE, asked, samples=4)
    (shuffled,) = predict_shuffled([model], PixelEncoder(), pictures("clean"), seed_of, 10)
    assert shuffled.method == f"m, {measure.EXCHANGED}" and asked.batches == [(10, 1)]
    assert x_of(shuffled) == [5, 6, 7, 8, 9, 0, 1, 2, 3, 4]
    assert asked.seeds[0] == seed_of(model._replace(method=shuffled.method), 0)


def test_who_wants_all_pictures_together_is_asked_once(pictures):
    searcher, point, encoder = Asked(), Asked(), PixelEncoder()
    both = (Model("a", "copy", searcher, wants_all=True), Model("bb", SOFT, point))
    predictions, _ = predict(both, encoder, pictures("clean"), seed_of, 4)
    assert searcher.batches == [(10, 1)] and point.batches == [(4, 1), (4, 1), (2, 1)]
    assert encoder.batches == [4, 4, 2] and searcher.seeds == list(range(1000, 1010))
    assert x_of(predictions[0]) == x_of(predictions[1]) == list(range(10))


def test_a_model_that_samples_more_than_uncertainty_needs_keeps_its_mean(pictures):
    model = Model("m", ONE_SAMPLE, Asked(), samples=3)
    asked = (model,), PixelEncoder(), pictures("clean"), seed_of, 10
    predictions, _ = predict(*asked, closely=True)
    assert [p.estimator for p in predictions] == [ONE_SAMPLE, MEAN, BEST]


def test_models_are_asked_without_gradients(pictures):
    weight = torch.ones((), requires_grad=True)

    def learn(features, seeds, num_hypotheses):
        return weight * torch.zeros(len(features), num_hypotheses, 17, 3)

    (one,), _ = predict([Model("m", "e", learn)], PixelEncoder(), pictures("clean"), seed_of, 10)
    assert not one.pose.requires_grad


def test_models_that_ask_for_what_there_is_not_or_name_samples_otherwise_are_refused(pictures):
    asked = PixelEncoder(), pictures("clean"), seed_of, 10
    with pytest.raises(ValueError, match="`takes` of a model must be one of images.*got 'image'"):
        predict([Model("m", "e", Asked(), "image")], *asked)
    with pytest.raises(ValueError, match="must begin with 'one sample'; got 'pose'"):
        predict([Model("m", "pose", Asked(), samples=3)], *asked)
