"""Adversarial occlusion against brute force: joints left out, worst cases, replays."""

import json

import numpy as np
import pytest
import torch
from attack_toys import SIZE, ToyModel, WhiteTextures, toy_joints, toy_pose

from di2pose_lib.base.metrics import mpjpe_mm
from di2pose_lib.data.textures import open_textures
from di2pose_lib.evaluation import advocc
from di2pose_lib.evaluation.advocc import (
    METRICS,
    Attack,
    Target,
    clean_errors,
    drawn_errors,
    replay,
)
from di2pose_lib.evaluation.advocc_search import coarse_to_fine, full_search
from di2pose_lib.evaluation.patch_grid import paste, patch_grid

GRID = patch_grid(40, SIZE)
BLACK = torch.zeros(3, *SIZE, dtype=torch.uint8)
POSE = toy_pose()
ELSEWHERE = torch.full((17, 2), 60.0)  # joints of an image, none in the way of a patch


def joints_at(**places):
    """2D joints in the lower right corner, but for those named j0, j1 …"""
    joints = torch.tensor([47.0, 63.0]).repeat(17, 1)
    for name, place in places.items():
        joints[int(name[1:])] = torch.tensor(place)
    return joints


def make(place=(20, 30), joints=None, noise=0.0, textures=None, grid=GRID, **counts):
    target = Target(3, BLACK, POSE, toy_joints() if joints is None else joints)
    model = ToyModel(POSE, place, noise)
    return Attack(model, textures or WhiteTextures(), grid, seed=1, **counts), target


def restricted_procrustes_mm(predicted, truth, kept):
    """Mean error in mm over the kept joints, aligned by them alone: numpy, its own SVD."""
    source, goal = predicted[kept].double().numpy(), truth[kept].double().numpy()
    a, b = source - source.mean(axis=0), goal - goal.mean(axis=0)
    u, s, vt = np.linalg.svd(a.T @ b)
    flip = np.diag([1.0, 1.0, np.sign(np.linalg.det(u @ vt))])
    scale = np.trace(flip @ np.diag(s)) / (a**2).sum()
    return 1000 * np.linalg.norm(scale * a @ u @ flip @ vt - b, axis=1).mean()


class Wrong:
    """Every picture's pose is another random one."""

    def predict(self, images, generator, num_hypotheses):
        return torch.stack([toy_pose(seed % 2**31) for seed in generator])[:, None]


def test_errors_are_means_over_the_joints_that_the_patch_leaves_and_so_is_the_fit():
    attack, target = make()
    attack.model = Wrong()
    positions = [0, 25, 170, 333, 559]
    found = attack.position_errors(target, positions)
    for row, position in zip(found, positions, strict=True):
        draw = attack.draw(3, position, 0)
        guess = toy_pose(draw["seed"] % 2**31)
        top, left = draw["corner"]
        kept = []
        for joint, (x, y) in enumerate(target.joints_2d.tolist()):
            under = left - 0.5 < x < left + 9.5 and top - 0.5 < y < top + 9.5
            inside = -0.5 <= x < 47.5 and -0.5 <= y < 63.5
            if inside and not under:
                kept.append(joint)
        distances = [1000 * (guess[j] - POSE[j]).double().norm().item() for j in kept]
        assert row[0].item() == pytest.approx(sum(distances) / len(kept))
        assert row[1].item() == pytest.approx(restricted_procrustes_mm(guess, POSE, kept))


def test_a_joint_under_the_patch_counts_neither_in_the_error_nor_in_the_fit():
    joints = joints_at(j3=(20.0, 30.0), j5=(5.0, 60.0))
    attack, target = make(place=(20, 30), joints=joints)
    over_joint_3 = 13 * GRID.columns + 8  # top 26, left 16
    assert GRID.corner(over_joint_3) == (26, 16)
    covered = 10 * 10
    (errors,) = attack.position_errors(target, [over_joint_3])
    assert errors[0].item() == pytest.approx(covered / 16)  # joint 5 alone is off, of 16
    wrong, right = POSE.clone(), [j for j in range(17) if j != 3]
    wrong[[3, 5], 1] += covered / 1000
    assert errors[1].item() == pytest.approx(restricted_procrustes_mm(wrong, POSE, right), rel=1e-4)
    everything = restricted_procrustes_mm(wrong, POSE, list(range(17)))
    assert abs(errors[1].item() - everything) > 1


def test_a_position_that_leaves_no_joint_is_never_the_worst_and_an_image_without_one_refused():
    grid = patch_grid(80, SIZE)
    joints = torch.tensor([20.0, 30.0]).repeat(17, 1)
    attack, target = make(joints=joints, grid=grid)
    over = [p for p in range(grid.num_positions) if _covers(grid, p, 20, 30)]
    errors = attack.position_errors(target, over)
    assert len(over) > 50 and (errors == -torch.inf).all()
    record = attack.attack(target, full_search)
    for metric in METRICS:
        assert record["worst"][metric]["position"] not in over
        assert [p for p, e in enumerate(record["errors_mm"][metric]) if e is None] == over
    with pytest.raises(ValueError, match="image 3 must have a joint that the patch leaves visible"):
        attack.attack(target._replace(joints_2d=ELSEWHERE + 100), full_search)


def _covers(grid, position, x, y):
    top, left = grid.corner(position)
    under_x = left - 0.5 < x < left + grid.patch - 0.5
    return under_x and top - 0.5 < y < top + grid.patch - 0.5


@pytest.mark.parametrize("search", [full_search, coarse_to_fine])
def test_the_planted_worst_position_is_found(search):
    # only a patch inside the 15 × 15 pixels around (24, 35) covers its full 100 pixels of them
    attack, target = make(place=(24, 35), joints=joints_at())
    worst = attack.attack(target, search)["worst"]["mpjpe_mm"]
    top, left = GRID.corner(worst["position"])
    assert 28 <= top <= 33 and 17 <= left <= 22
    assert worst["error_mm"] == pytest.approx(100 * 2 / 17)


def test_the_worst_case_is_the_maximum_of_a_loop_over_positions_and_draws():
    grid = patch_grid(80, SIZE)
    attack, target = make(draws=2, textures=open_textures(None, 64), grid=grid)
    attack.model = Wrong()
    record = attack.attack(target, full_search)
    best = dict.fromkeys(METRICS, (-1.0, None))
    for position in range(grid.num_positions):
        draws = [attack.draw(3, position, draw) for draw in range(2)]
        errors = drawn_errors(attack.model, attack.textures, target, draws).tolist()
        for column, metric in enumerate(METRICS):
            mean = (errors[0][column] + errors[1][column]) / 2
            best[metric] = max(best[metric], (mean, position))
    for metric, (error, position) in best.items():
        worst = record["worst"][metric]
        assert worst["position"] == position
        assert worst["error_mm"] == pytest.approx(error)
        assert record["errors_mm"][metric][position] == pytest.approx(error, abs=1e-3)


class TwoPlaces:
    """Covering (8, 12) enlarges the pose, which Procrustes undoes; (40, 50) moves joint 3."""

    def predict(self, images, generator, num_hypotheses):
        sizes, moved = (
            (images[:, 0, y - 2 : y + 3, x - 2 : x + 3] > 0).float().sum(dim=(1, 2))
            for x, y in ((8, 12), (40, 50))
        )
        poses = POSE * (1 + sizes[:, None, None] / 25)
        poses[:, 3, 1] += moved / 100
        return poses[:, None]


def test_each_metric_has_its_own_worst_position():
    attack, target = make(joints=joints_at())
    attack.model = TwoPlaces()
    worst = attack.attack(target, full_search)["worst"]
    for metric, (x, y) in {"mpjpe_mm": (8, 12), "pa_mpjpe_mm": (40, 50)}.items():
        top, left = GRID.corner(worst[metric]["position"])
        assert left <= x - 2 and x + 3 <= left + 10, metric
        assert top <= y - 2 and y + 3 <= top + 10, metric


def test_a_stored_worst_case_rebuilds_its_picture_and_error_to_the_bit():
    attack, target = make(noise=30.0, draws=3, fresh_draws=2, textures=open_textures(None, 64))
    record = json.loads(json.dumps(attack.attack(target, coarse_to_fine)))
    assert record["image_sha256"] == target.digest
    for metric in METRICS:
        worst = record["worst"][metric]
        again = ToyModel(POSE, (20, 30), noise=30.0)
        images, errors = replay(again, open_textures(None, 64), target, record, metric)
        assert errors == worst["draws_mm"]
        for number, (image, draw) in enumerate(zip(images, worst["draws"], strict=True)):
            assert draw == attack.draw(3, worst["position"], number)
            patch = attack.textures.patch(draw["texture"])
            corner = GRID.corner(worst["position"])
            assert torch.equal(image, paste(BLACK, patch[None], [corner])[0])
        assert worst["error_mm"] == pytest.approx(sum(errors) / 3)


def test_replaying_with_another_model_is_a_transfer_attack():
    attack, target = make(place=(24, 35), joints=joints_at())
    record = attack.attack(target, full_search)
    _, errors = replay(ToyModel(POSE, (5, 5)), attack.textures, target, record, "mpjpe_mm")
    assert errors == [0.0]  # its place is not covered


def test_draws_depend_on_image_position_and_number_and_on_no_model_or_search():
    attack, _ = make(textures=open_textures(None, 64))
    other, _ = make(textures=open_textures(None, 64), draws=4)
    other.model = Wrong()
    assert attack.draw(3, 7, 0) == other.draw(3, 7, 0)
    draws = [attack.draw(*keys) for keys in [(3, 7, 0), (4, 7, 0), (3, 8, 0), (3, 7, 1)]]
    assert len({draw["seed"] for draw in draws}) == 4
    assert len({str(draw["texture"]) for draw in draws}) == 4


def test_the_bias_of_a_maximum_shows_and_more_draws_make_it_smaller():
    # noise alone, 0 to 60 mm on two of 17 joints: each position's mean is 30 · 2 / 17
    mean, biases = 30 * 2 / 17, {}
    for draws in (1, 8):
        counts = {"draws": draws, "fresh_draws": 400}
        attack, target = make(place=(47, 63), joints=joints_at(), noise=60.0, **counts)
        table = attack.position_errors(target, range(200))  # none of them reaches the place
        position = table[:, 0].argmax().item()
        worst = attack.worst(target, position, "mpjpe_mm")
        assert worst["fresh_mm"] == pytest.approx(mean, rel=0.1)  # σ of 400 draws: 3 %
        biases[draws] = worst["error_mm"] - worst["fresh_mm"]
    assert biases[1] > 0.8 * mean  # the largest of 200 is near 60
    assert 0.1 * mean < biases[8] < 0.8 * biases[1]


def test_the_clean_error_counts_the_joints_in_the_image():
    joints = joints_at(j3=(100.0, 5.0))
    attack, target = make(joints=joints)
    attack.model = Wrong()
    errors = clean_errors(attack.model, target, [11, 12])
    for row, seed in zip(errors, [11, 12], strict=True):
        mask = torch.ones(1, 17, dtype=torch.bool)
        mask[0, 3] = False
        expected = mpjpe_mm(toy_pose(seed)[None], POSE[None], mask)
        assert row[0].item() == pytest.approx(expected.item())


def test_what_is_predicted_at_once_is_bounded_and_changes_nothing(monkeypatch):
    attack, target = make(noise=5.0, draws=3)
    whole = attack.position_errors(target, list(range(50)))
    sizes = []
    real = advocc.predicted

    def noted(predict, images, seeds, num_hypotheses, takes):
        sizes.append(len(images))
        return real(predict, images, seeds, num_hypotheses, takes)

    monkeypatch.setattr(advocc, "predicted", noted)
    monkeypatch.setattr(advocc, "PICTURES_AT_ONCE", 10)
    assert torch.equal(attack.position_errors(target, list(range(50))), whole)
    assert max(sizes) == 9 and sum(sizes) == 150


def test_bad_input_is_refused_in_one_sentence():
    for name in ("draws", "fresh_draws"):
        with pytest.raises(ValueError, match=f"`{name}` must be at least 1; got 0"):
            make(**{name: 0})
    attack, target = make()
    small = target._replace(image=torch.zeros(3, 32, 24, dtype=torch.uint8))
    with pytest.raises(ValueError, match=r"`image 3` must have shape \(3, 64, 48\); got"):
        attack.attack(small, full_search)
    record, other = attack.attack(target, coarse_to_fine), target._replace(image=BLACK + 1)
    with pytest.raises(ValueError, match="`target` must be image 3 as it was attacked; got"):
        replay(attack.model, attack.textures, other, record, "mpjpe_mm")
