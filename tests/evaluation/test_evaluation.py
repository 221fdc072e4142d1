"""The rows of evaluation.json: what they name, and that their numbers are what they say."""

from types import SimpleNamespace

import pytest
import torch
from small import make_split
from torch import nn

from di2pose_lib.base.metrics import pa_mpjpe_mm
from di2pose_lib.evaluation import measure
from di2pose_lib.evaluation.estimators import ARGMAX, BEST, CHAIN, MEAN, ONE_SAMPLE, SOFT
from di2pose_lib.evaluation.measure import Prediction, evaluation_rows, find, joint_errors, summary

ROW_KEYS = {  # of a row as it is written, before the machine; `stages` adds data and scale
    *("data", "scale", "method", "estimator", "occlusion", "joints", "action", "metric"),
    *("mean", "ci95_low", "ci95_high", "seeds", "n"),
}


def config(source="synthetic", seed=0):
    settings = SimpleNamespace(bootstrap_samples=400, num_hypotheses=3, batch_size=4)
    return SimpleNamespace(seed=seed, data=SimpleNamespace(source=source), evaluation=settings)


def moved(pose, millimetres):
    """`pose` (n, J, 3) with joints off by `millimetres` (n, J) along y; the pelvis stays."""
    out = pose.clone()
    out[..., 1] += torch.as_tensor(millimetres) / 1000
    return out


def rows_of(dataset, pose, occlusion="clean", **changes):
    prediction = Prediction("method", "estimator", pose)
    return evaluation_rows(prediction, dataset, occlusion, config(**changes))


def value(rows, **wanted):
    return find(rows, **wanted)["mean"]


@pytest.fixture
def four(tmp_path):
    """Four images, two of each action; image n is off by 16 · 10ⁿ mm at joint 1 alone."""
    visible = torch.ones(4, 17, dtype=torch.bool)
    visible[0, 1] = visible[1, 2] = visible[1, 3] = False  # image 2 and 3: all visible
    action = torch.tensor([0, 0, 1, 1], dtype=torch.int16)
    dataset = make_split(tmp_path / "test", 4, visible=visible, action=action)
    millimetres = torch.zeros(4, 17)
    millimetres[:, 1] = torch.tensor([17.0, 34.0, 51.0, 170.0])
    return dataset, moved(dataset.take("pose"), millimetres)


def test_a_row_has_the_documented_fields_and_no_other(four):
    for row in rows_of(*four):
        assert set(row) == ROW_KEYS - {"data", "scale"}
        assert row["method"] == "method" and row["estimator"] == "estimator"
        assert row["occlusion"] == "clean" and row["seeds"] == 1
        assert row["ci95_low"] <= row["mean"] <= row["ci95_high"]
        assert 1 <= row["n"] <= 4


def test_there_is_one_row_for_each_metric_group_of_joints_and_action(four):
    rows = rows_of(*four)
    got = [(row["metric"], row["joints"], row["action"]) for row in rows]
    assert len(set(got)) == len(got)
    groups = [("all", "all"), ("visible", "all"), ("occluded", "all")]
    groups += [("all", name) for name in ("mean of actions", "walk", "dance")]
    wanted = {(metric, *group) for metric in ("mpjpe_mm", "pa_mpjpe_mm") for group in groups}
    assert set(got) == wanted


def test_the_mean_over_all_visible_and_occluded_joints_by_hand(four):
    rows = rows_of(*four)
    assert value(rows) == pytest.approx((1 + 2 + 3 + 10) / 4, abs=1e-4)
    # Visible: image 0 without joint 1 is right; image 1 has 15 visible joints.
    visible = find(rows, joints="visible")
    assert visible["n"] == 4
    assert visible["mean"] == pytest.approx((0 + 34 / 15 + 3 + 10) / 4, abs=1e-4)
    # Occluded: image 0 has joint 1 alone, image 1 two joints that are right, no other image.
    occluded = find(rows, joints="occluded")
    assert occluded["n"] == 2
    assert occluded["mean"] == pytest.approx((17 + 0) / 2, abs=1e-4)


def test_the_mean_of_an_action_and_the_mean_of_action_means_by_hand(tmp_path):
    action = torch.tensor([0, 1, 1, 1], dtype=torch.int16)
    dataset = make_split(tmp_path / "test", 4, action=action)
    millimetres = torch.zeros(4, 17)
    millimetres[:, 1] = torch.tensor([17.0, 34.0, 51.0, 170.0])
    rows = rows_of(dataset, moved(dataset.take("pose"), millimetres))
    assert value(rows, action="walk") == pytest.approx(1, abs=1e-4)
    assert value(rows, action="dance") == pytest.approx(5, abs=1e-4)
    assert find(rows, action="dance")["n"] == 3
    assert value(rows, action="mean of actions") == pytest.approx((1 + 5) / 2, abs=1e-4)
    assert value(rows) == pytest.approx((1 + 2 + 3 + 10) / 4, abs=1e-4)


def test_masks_choose_what_is_averaged_after_an_alignment_over_all_joints(four):
    dataset, pose = four
    rows = rows_of(dataset, pose)
    errors = joint_errors(pose, dataset.take("pose"))["pa_mpjpe_mm"]
    assert value(rows, metric="pa_mpjpe_mm") == pytest.approx(
        pa_mpjpe_mm(pose, dataset.take("pose")).mean().item()
    )
    occluded = (errors[0, 1] + errors[1, 2:4].mean()) / 2
    assert value(rows, metric="pa_mpjpe_mm", joints="occluded") == pytest.approx(occluded.item())
    assert errors[1, 2] > 0.01  # right before the alignment, off after it


def test_a_turned_and_scaled_pose_has_no_error_after_alignment(four):
    dataset, _ = four
    turn = torch.tensor([[0.0, 1, 0], [-1, 0, 0], [0, 0, 1]])
    rows = rows_of(dataset, 0.7 * dataset.take("pose") @ turn.T)
    for joints in ("all", "visible", "occluded"):
        assert value(rows, metric="pa_mpjpe_mm", joints=joints) < 0.01
        assert value(rows, joints=joints) > 50


def test_the_pelvis_of_a_prediction_does_not_matter_to_mpjpe(four):
    dataset, pose = four
    shifted = pose + torch.tensor([0.5, -1.0, 2.0])
    assert value(rows_of(dataset, shifted)) == pytest.approx(value(rows_of(dataset, pose)), 1e-4)


def test_nothing_is_said_of_occluded_joints_where_there_are_none(tmp_path):
    dataset = make_split(tmp_path / "test", 4)
    rows = rows_of(dataset, dataset.take("pose"))
    assert {row["joints"] for row in rows} == {"all", "visible"}


def test_motion_capture_also_reports_the_actions_seen_in_training(four):
    rows = rows_of(*four, source="mocap")
    assert value(rows, action="seen in training") == pytest.approx(1.5, abs=1e-4)  # walk
    assert value(rows, action="dance") == pytest.approx(6.5, abs=1e-4)
    with pytest.raises(ValueError, match="got 0"):
        find(rows_of(*four), action="seen in training")


def test_walks_runs_and_jumps_count_as_seen_in_training_and_dances_do_not(tmp_path):
    names = ("dance", "jump", "walk", "run")
    action = torch.tensor([0, 1, 2, 3, 3], dtype=torch.int16)
    dataset = make_split(tmp_path / "test", 5, actions=names, action=action)
    millimetres = torch.zeros(5, 17)
    millimetres[:, 1] = 17 * torch.tensor([100.0, 1.0, 2.0, 4.0, 9.0])
    rows = rows_of(dataset, moved(dataset.take("pose"), millimetres), source="mocap")
    seen = find(rows, action="seen in training")
    assert seen["n"] == 4
    assert seen["mean"] == pytest.approx((1 + 2 + 4 + 9) / 4, abs=1e-4)


def test_rows_repeat_exactly(four):
    assert rows_of(*four) == rows_of(*four)


def test_another_seed_draws_other_intervals_around_the_same_means(tmp_path):
    dataset = make_split(tmp_path / "test", 20)
    generator = torch.Generator().manual_seed(0)
    pose = moved(dataset.take("pose"), 50 * torch.rand(20, 17, generator=generator))
    one, other = (rows_of(dataset, pose, seed=seed) for seed in (0, 1))
    for row, again in zip(one, other, strict=True):
        assert row["mean"] == again["mean"]
        assert (row["ci95_low"], row["ci95_high"]) != (again["ci95_low"], again["ci95_high"])


@pytest.mark.parametrize(("people", "kind"), [(2, "recording"), (9, "recording"), (10, "subject")])
def test_subjects_are_resampled_and_recordings_where_subjects_are_few(tmp_path, people, kind):
    dataset = make_split(tmp_path / "test", 20, [f"T{n:02d}" for n in range(people)])
    got, clusters = measure.clusters_of(dataset)
    assert got == kind and clusters.dtype == torch.int64
    assert torch.equal(clusters, dataset.take(kind).long())


def test_the_interval_is_over_clusters_not_over_images(tmp_path):
    # Ten recordings of two equal images: the interval is that of ten values, not of twenty.
    dataset = make_split(tmp_path / "test", 20)
    millimetres = torch.zeros(20, 17)
    millimetres[:, 1] = 17 * (torch.arange(20) // 2)  # 0, 0, 1, 1, … 9, 9 mm on average
    row = find(rows_of(dataset, moved(dataset.take("pose"), millimetres)))
    assert row["mean"] == pytest.approx(4.5, abs=1e-4)
    # 4.5 ± 1.96 · 2.87 / √10; over images it would be ± 1.96 · 2.87 / √20: 3.24 to 5.76
    assert 2.4 < row["ci95_low"] < 3.05 and 5.95 < row["ci95_high"] < 6.6
    same = make_split(tmp_path / "one", 20, recording=torch.zeros(20, dtype=torch.int32))
    alone = find(rows_of(same, moved(same.take("pose"), millimetres)))
    assert alone["ci95_low"] == alone["mean"] == alone["ci95_high"]  # one cluster says nothing


# --- reading the rows


def row(**fields):
    plain = {"joints": "all", "action": "all", "metric": "mpjpe_mm", "occlusion": "clean"}
    return {"method": "m", "estimator": "e", "mean": 1.0, **plain, **fields}


def test_find_gives_the_one_row_and_assumes_all_joints_and_actions():
    rows = [row(), row(joints="visible"), row(action="walk"), row(metric="pa_mpjpe_mm")]
    assert find(rows, method="m") is rows[0]
    assert find(rows, joints="visible") is rows[1]
    assert find(rows, action="walk") is rows[2]
    assert find(rows, metric="pa_mpjpe_mm") is rows[3]


def test_find_refuses_none_and_many():
    rows = [row(estimator="a"), row(estimator="b")]
    with pytest.raises(ValueError, match="one row must have .*'estimator': 'c'.*; got 0"):
        find(rows, estimator="c")
    with pytest.raises(ValueError, match="one row must have .*; got 2"):
        find(rows, method="m")
    with pytest.raises(ValueError, match="got 0"):
        find([])


DI2POSE_ESTIMATORS = (ONE_SAMPLE, ARGMAX, MEAN, SOFT, BEST)


def test_the_summary_holds_every_method_clean_and_with_occluders():
    methods = {"mean_pose": (measure.MEAN_POSE, "mean")}
    methods["nearest_neighbour"] = (measure.NEIGHBOUR, "copy")
    names = {"one_sample": ONE_SAMPLE, "argmax": ARGMAX}
    names |= {"mean_of_samples": MEAN, "soft_decoding": SOFT}
    methods |= {name: (measure.DI2POSE, estimator) for name, estimator in names.items()}
    rows, wanted = [], {}
    for occlusion in ("clean", "occluders"):
        for name, (method, estimator) in methods.items():
            mean = float(len(rows))
            rows.append(row(method=method, estimator=estimator, occlusion=occlusion, mean=mean))
            wanted[f"{occlusion}_{name}_mpjpe_mm"] = mean
    assert summary(rows) == wanted
    assert len(wanted) == 12
    chain = [
        row(method=measure.DI2POSE, estimator=CHAIN, occlusion=occlusion, mean=7.0)
        for occlusion in ("clean", "occluders")
    ]
    added = {k: v for k, v in summary(rows + chain).items() if k not in wanted}
    assert set(added) == {
        f"{occlusion}_one_sample_algorithm_2_mpjpe_mm" for occlusion in ("clean", "occluders")
    }
    with pytest.raises(ValueError, match="got 0"):
        summary(rows[1:])


def test_joint_errors_are_millimetres_of_each_joint(four):
    dataset, pose = four
    errors = joint_errors(pose, dataset.take("pose"))
    assert list(errors) == ["mpjpe_mm", "pa_mpjpe_mm"]
    assert all(error.shape == (4, 17) and error.dtype == torch.float64 for error in errors.values())
    by_hand = torch.zeros(4, 17, dtype=torch.float64)
    by_hand[:, 1] = torch.tensor([17.0, 34.0, 51.0, 170.0])
    torch.testing.assert_close(errors["mpjpe_mm"], by_hand, atol=1e-3, rtol=0)


# --- every method's prediction


class ToyEncoder(nn.Module):
    """One feature of one number: the image's, which `make_split` makes its row."""

    def __init__(self):
        super().__init__()
        self.nothing = nn.Parameter(torch.zeros(()))

    def forward(self, images):
        return images[:, :1, 0, :1].float()  # (B, 1, 1)


class ToyModel:
    """Predicts a pose whose joint 1 has the feature as x, and notes what it was asked."""

    def __init__(self, follows_chain=True):
        self.batches, self.draws = [], []
        self.follows_chain = follows_chain
        self.tokenizer = SimpleNamespace(encode=lambda pose: pose, decode=lambda pose: pose)

    def estimates(self, features, pose, num_hypotheses, generator):
        self.batches.append((len(features), num_hypotheses))
        self.draws += generator  # a seed for each image
        predicted = torch.zeros(len(features), 17, 3)
        predicted[:, 1, 0] = features[:, 0, 0]
        return {ONE_SAMPLE: predicted / 2, SOFT: predicted, BEST: pose}

    def along_chain(self):
        return ToyChain()


class ToyChain:
    """Another sampler: joint 1 has minus the feature as x, joint 2 the image's seed."""

    def hypotheses(self, features, num_hypotheses, seeds):
        poses = torch.zeros(len(features), num_hypotheses, 17, 3)
        poses[:, :, 1, 0] = -features[:, 0, 0, None]
        poses[:, :, 2, 0] = torch.tensor([seed % 1000 for seed in seeds])[:, None]
        return poses, poses[:, 0]


@pytest.fixture
def predicted(tmp_path):
    """(occlusion -> predictions, its model, the test split, the training split)."""
    train = make_split(tmp_path / "train", 3, ("S1",))
    test = make_split(tmp_path / "test", 10)

    def run(occlusion, follows_chain=True):
        model = ToyModel(follows_chain)
        features = torch.tensor([2.2, 50.0, 6.9])
        found = measure.predict(
            model,
            ToyEncoder(),
            test,
            train,
            lambda rows: features[rows].view(-1, 1, 1),
            config().evaluation,
            0,
            occlusion,
        )
        return {(p.method, p.estimator): p.pose for p in found}, model

    return run, test, train


def test_every_method_predicts_every_image_and_the_shuffle_is_a_clean_one(predicted):
    run, test, _ = predicted
    clean, _ = run("clean")
    hidden, _ = run("occluders")
    rivals = [(measure.MEAN_POSE, "mean"), (measure.NEIGHBOUR, "copy")]
    ours = [(measure.DI2POSE, estimator) for estimator in (ONE_SAMPLE, SOFT, BEST)]
    shuffled = [(measure.SHUFFLED, estimator) for estimator in (ONE_SAMPLE, SOFT)]
    tokens = [(measure.TOKENIZER, measure.RECONSTRUCTION)]
    assert list(clean) == rivals + ours + shuffled + tokens
    assert list(hidden) == rivals + ours
    assert all(pose.shape == (10, 17, 3) for pose in clean.values())
    assert torch.equal(clean[tokens[0]], test.take("pose"))


def test_where_the_sampler_leaves_the_chain_algorithm_2_stands_beside_it(predicted):
    run, test, _ = predicted
    for occlusion in measure.CONDITIONS:
        found, model = run(occlusion, follows_chain=False)
        chain = found.pop((measure.DI2POSE, CHAIN))
        assert list(found) == list(run(occlusion)[0])
        assert (-chain[:, 1, 0]).tolist() == list(range(10))
        assert chain[:, 2, 0].tolist() == [seed % 1000 for seed in model.draws[:10]]


def test_images_go_to_the_model_in_batches_and_come_back_in_order(predicted):
    run, _, _ = predicted
    clean, model = run("clean")
    own, other = [(4, 3), (4, 3), (2, 3)], [(4, 1), (4, 1), (2, 1)]
    assert model.batches == own + other  # (images, hypotheses): of another's image one will do
    assert clean[measure.DI2POSE, SOFT][:, 1, 0].tolist() == list(range(10))
    others = clean[measure.SHUFFLED, SOFT][:, 1, 0].tolist()
    assert sorted(others) == list(range(10))
    assert all(own != other for own, other in enumerate(others))


def test_every_image_method_and_condition_has_a_seed_of_its_own_that_repeats(predicted):
    run, _, _ = predicted
    seeds = run("clean")[1].draws + run("occluders")[1].draws
    assert len(set(seeds)) == len(seeds) == 30  # 10 images, own and another's, with occluders
    assert run("clean")[1].draws == seeds[:20]


def test_the_rivals_are_the_mean_training_pose_and_the_neighbour_in_the_features(predicted):
    run, _, train = predicted
    clean, _ = run("clean")
    pose = train.take("pose")
    mean = clean[measure.MEAN_POSE, "mean"]
    torch.testing.assert_close(mean, pose.mean(dim=0).expand(10, 17, 3))
    nearest = [0, 0, 0, 0, 0, 2, 2, 2, 2, 2]  # of features 2.2, 50 and 6.9 to 0, 1, … 9
    assert torch.equal(clean[measure.NEIGHBOUR, "copy"], pose[nearest])


def test_the_mean_pose_is_that_of_the_training_camera_on_the_same_side(tmp_path):
    """Four training cameras in a ring, test cameras between them; nobody stands where another."""

    def ring(degrees, radius):
        turn = torch.deg2rad(torch.tensor(degrees))
        return torch.stack([radius * turn.cos(), radius * turn.sin(), 1 + 0 * turn], dim=1)

    train = make_split(
        tmp_path / "train",
        6,
        ("S1",),
        camera_position=ring([0.0, 90.0, 180.0, 270.0, 90.0, 270.0], 5.0),
    )
    test = make_split(
        tmp_path / "test",
        6,
        camera_position=ring([30.0, -30.0, 100.0, 200.0, 250.0, 310.0], 4.0),
    )
    found = measure.predict(
        ToyModel(),
        ToyEncoder(),
        test,
        train,
        lambda rows: torch.zeros(6)[rows].view(-1, 1, 1),
        config().evaluation,
        0,
        "occluders",
    )
    (mean,) = [p.pose for p in found if (p.method, p.estimator) == (measure.MEAN_POSE, "mean")]
    pose = train.take("pose")
    of_camera = {0: pose[0], 90: (pose[1] + pose[4]) / 2}
    of_camera |= {180: pose[2], 270: (pose[3] + pose[5]) / 2}
    wanted = torch.stack([of_camera[degrees] for degrees in (0, 0, 90, 180, 270, 270)])
    torch.testing.assert_close(mean, wanted)
