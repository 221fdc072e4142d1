"""Runs of AdvOcc: killed and continued, their cost, agreement and rows."""

import pytest
import torch
from attack_toys import SIZE, ToyModel, toy_joints, toy_pose
from small import make_split

from di2pose_lib.data.textures import open_textures
from di2pose_lib.evaluation.advocc import METRICS, Attack, replay, target
from di2pose_lib.evaluation.advocc_rows import error_table
from di2pose_lib.evaluation.advocc_search import COARSE_TO_FINE, FULL, agreement, coarse_to_fine
from di2pose_lib.evaluation.patch_grid import patch_grid
from studies import advocc_runs
from studies.advocc_runs import expected_cost, run

GRID = patch_grid(80, SIZE)
POSE = toy_pose()
IDENTITY = {"model": "toy"}


@pytest.fixture
def dataset(tmp_path):
    count = 4
    return make_split(
        tmp_path / "split",
        count,
        size=SIZE,
        pose=POSE.repeat(count, 1, 1),
        joints_2d=torch.stack([toy_joints(seed) for seed in range(count)]),
    )


def attack(seed=5, **counts):
    model = ToyModel(POSE, (20, 30), noise=20.0)
    return Attack(model, open_textures(None, 64), GRID, seed, **counts)


def files(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_a_killed_run_goes_on_to_the_same_bits(dataset, tmp_path, monkeypatch):
    rows = [0, 1, 3]
    whole = run(attack(), dataset, rows, COARSE_TO_FINE, tmp_path / "whole", IDENTITY)
    real, images = Attack.attack, []

    def until_third(self, one, search):
        if len(images) == 2:
            raise KeyboardInterrupt
        images.append(one.number)
        return real(self, one, search)

    monkeypatch.setattr(Attack, "attack", until_third)
    with pytest.raises(KeyboardInterrupt):
        run(attack(), dataset, rows, COARSE_TO_FINE, tmp_path / "killed", IDENTITY)
    assert images == [0, 1]
    images.clear()
    resumed = run(attack(), dataset, rows, COARSE_TO_FINE, tmp_path / "killed", IDENTITY)
    assert images == [3], "finished images must not be attacked again"
    assert resumed == whole
    assert files(tmp_path / "killed") == files(tmp_path / "whole")


def test_records_come_in_the_order_of_the_rows_and_replay_to_the_bit(dataset, tmp_path):
    records = run(attack(draws=2), dataset, [2, 0], FULL, tmp_path / "run", IDENTITY)
    assert [record["image"] for record in records] == [2, 0]
    for record in records:
        for metric in METRICS:
            worst, one = record["worst"][metric], target(dataset, record["image"])
            again = attack(draws=2)
            _, errors = replay(again.model, again.textures, one, record, metric)
            assert errors == worst["draws_mm"]
            assert record["image_sha256"] == one.digest


def test_an_image_s_record_does_not_depend_on_the_other_images(dataset, tmp_path):
    together = run(attack(), dataset, [0, 1], COARSE_TO_FINE, tmp_path / "two", IDENTITY)
    alone = run(attack(), dataset, [1], COARSE_TO_FINE, tmp_path / "one", IDENTITY)
    assert together[1] == alone[0]


def test_a_folder_of_another_run_is_refused(dataset, tmp_path):
    folder = tmp_path / "run"
    run(attack(), dataset, [0], FULL, folder, IDENTITY)
    for other, search, identity, named in [
        (attack(seed=6), FULL, IDENTITY, "seed"),
        (attack(draws=2), FULL, IDENTITY, "draws"),
        (attack(), COARSE_TO_FINE, IDENTITY, "search"),
        (attack(), FULL, {"model": "rival"}, "identity"),
    ]:
        with pytest.raises(ValueError, match=f"must be of the same run; got another {named}: take"):
            run(other, dataset, [0], search, folder, identity)
    assert len(run(attack(), dataset, [0, 1], FULL, folder, IDENTITY)) == 2  # more images may


def test_the_agreement_is_that_of_a_coarse_run_beside_a_full_one(dataset, tmp_path):
    full = run(attack(), dataset, range(4), FULL, tmp_path / "full", IDENTITY)
    coarse = run(attack(), dataset, range(4), COARSE_TO_FINE, tmp_path / "coarse", IDENTITY)
    tables = torch.stack([error_table(record) for record in full])
    for metric, found in zip(METRICS, agreement(tables, GRID), strict=True):
        pairs = [
            (f["worst"][metric], c["worst"][metric]) for f, c in zip(full, coarse, strict=True)
        ]
        same = sum(f["position"] == c["position"] for f, c in pairs) / 4
        lost = sum(f["error_mm"] - c["error_mm"] for f, c in pairs) / 4
        assert found.same_position == same
        assert found.lost_mm == pytest.approx(lost, abs=1e-3)
        assert found.num_images == 4
    for record in coarse:
        table = error_table(record)
        assert table.shape == (GRID.num_positions, 2)
        full_table = error_table(full[record["image"]])
        looked = table > -torch.inf
        assert torch.equal(table[looked], full_table[looked])
        assert torch.equal(table, coarse_to_fine(full_table.__getitem__, GRID))


@pytest.mark.parametrize("search", [FULL, COARSE_TO_FINE])
def test_the_cost_counts_the_passes_of_a_run_or_more(dataset, tmp_path, monkeypatch, search):
    monkeypatch.setattr(advocc_runs, "PROBE_SECONDS", 0.0)
    one = attack(draws=2, fresh_draws=3)
    cost = expected_cost(one, dataset, 2, search)
    assert cost.seconds == pytest.approx(cost.passes * cost.seconds_per_pass)
    assert cost.seconds_per_pass > 0
    one.model.num_predicted = 0
    run(one, dataset, [0, 1], search, tmp_path / "run", IDENTITY)
    assert one.model.num_predicted <= cost.passes
    if search == FULL:
        assert one.model.num_predicted == cost.passes


def test_bad_input_is_refused_in_one_sentence(dataset, tmp_path):
    with pytest.raises(ValueError, match="`rows` must name at least one image; got none"):
        run(attack(), dataset, [], FULL, tmp_path / "run", IDENTITY)
    with pytest.raises(ValueError, match="`search` must be one of full grid, coarse to fine"):
        run(attack(), dataset, [0], "fast", tmp_path / "run", IDENTITY)
    other = make_split(tmp_path / "other", 2, size=(32, 24))
    with pytest.raises(ValueError, match="images must be 64 × 48 for this grid; got 32 × 24"):
        run(attack(), other, [0], FULL, tmp_path / "run", IDENTITY)
    assert not (tmp_path / "run").exists()
