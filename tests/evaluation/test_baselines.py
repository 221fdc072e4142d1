"""Baselines: the nearest neighbour by brute force, the mean pose of a camera by hand."""

import math

import pytest
import torch

from di2pose_lib.data.camera import ring_positions
from di2pose_lib.evaluation.baselines import camera_azimuth, mean_pose_per_camera, nearest_neighbour


def random_features(count, seed, tokens=4, width=5):
    return torch.randn(count, tokens, width, generator=torch.Generator().manual_seed(seed))


# Nearest neighbour


@pytest.mark.parametrize("block", [1, 2, 3, 7, 22, 23, 24, 1024])
def test_the_nearest_neighbour_is_that_of_brute_force_in_any_block_size(block):
    stored, queries = random_features(23, seed=0), random_features(11, seed=1)
    expected = []
    for query in queries:
        distances = [(query - row).square().sum().item() for row in stored]
        expected.append(distances.index(min(distances)))
    rows = nearest_neighbour(lambda rows: stored[rows], 23, queries, block=block)
    assert rows.dtype == torch.int64
    assert rows.tolist() == expected
    assert len(set(expected)) > 4


@pytest.mark.parametrize("block", [1, 5, 1024])
def test_a_training_image_finds_itself(block):
    stored = random_features(23, seed=0)
    order = torch.randperm(23, generator=torch.Generator().manual_seed(2))
    rows = nearest_neighbour(lambda rows: stored[rows], 23, stored[order], block=block)
    assert torch.equal(rows, order)


def test_nearest_means_distance_and_not_angle():
    # The query points along the first row, but the second is nearer.
    stored = torch.tensor([[[10.0, 0.0]], [[0.0, 0.5]]])
    query = torch.tensor([[[1.0, 0.0]]])
    assert nearest_neighbour(lambda rows: stored[rows], 2, query).tolist() == [1]


@pytest.mark.parametrize("block", [1, 2, 3, 10])
def test_of_equally_near_images_the_first_is_taken(block):
    stored = torch.ones(6, 2, 2)
    stored[:2] = 5.0
    rows = nearest_neighbour(lambda rows: stored[rows], 6, torch.zeros(3, 2, 2), block=block)
    assert rows.tolist() == [2, 2, 2]


def test_training_images_are_read_once_in_blocks_and_never_beyond_the_last():
    stored, asked = random_features(10, seed=0), []

    def read(rows):
        asked.append((rows.start, rows.stop))
        return stored[rows]

    nearest_neighbour(read, 10, random_features(2, seed=1), block=4)
    assert asked == [(0, 4), (4, 8), (8, 10)]


def test_images_after_num_train_are_not_candidates():
    stored = random_features(10, seed=0)
    rows = nearest_neighbour(lambda rows: stored[rows], 6, stored, block=4)
    assert rows[:6].tolist() == list(range(6))
    assert rows.max() < 6


def test_features_that_do_not_fit_are_refused():
    stored = random_features(5, seed=0)
    sentence = r"`features` must have shape \(m, tokens, width\); got \(4, 5\)"
    with pytest.raises(ValueError, match=sentence):
        nearest_neighbour(lambda rows: stored[rows], 5, stored[0])
    with pytest.raises(ValueError, match="`features` must be finite; got NaN or infinity"):
        nearest_neighbour(lambda rows: stored[rows], 5, stored * float("nan"))


# Mean pose of a camera


def test_azimuths_by_hand():
    position = torch.tensor([[2.0, 0, 1], [0, 3, 9], [-1, 0, 0], [0, -1, 2], [1, 1, -5]])
    expected = torch.tensor([0, math.pi / 2, math.pi, -math.pi / 2, math.pi / 4])
    torch.testing.assert_close(camera_azimuth(position), expected)


def test_the_azimuth_of_a_ring_camera_is_the_one_it_was_given():
    degrees = [-170.0, -45.0, 0.0, 20.0, 135.0]
    azimuth = camera_azimuth(ring_positions(degrees, radius=4.5, height=1.5))
    assert azimuth.rad2deg().tolist() == pytest.approx(degrees)


def test_the_mean_pose_of_two_cameras_by_hand():
    east, north = [4.0, 0.0, 1.0], [0.0, 4.0, 1.0]
    train_pose = torch.tensor([1.0, 10.0, 3.0, 20.0, 30.0])[:, None, None].expand(5, 2, 3)
    train_position = torch.tensor([east, north, east, north, north])
    # Nearer in azimuth, whatever the radius and the height.
    position = torch.tensor([[9.0, 1.0, 7.0], [1.0, 1.5, 1.0], [-9.0, 1.0, 0.0], [2.0, -9.0, 1.0]])
    mean = mean_pose_per_camera(train_pose, train_position, position)
    assert mean.shape == (4, 2, 3)
    expected = torch.tensor([2.0, 20.0, 20.0, 2.0])[:, None, None].expand(4, 2, 3)
    torch.testing.assert_close(mean, expected)


def test_azimuths_meet_again_at_180_degrees():
    train_position = ring_positions([170.0, -100.0], radius=4.0, height=1.0)
    train_pose = torch.tensor([1.0, 2.0]).double()[:, None, None].expand(2, 17, 3)
    position = ring_positions([-175.0, -140.0, 100.0, 40.0], radius=5.0, height=2.0)
    mean = mean_pose_per_camera(train_pose, train_position, position)
    assert mean[:, 0, 0].tolist() == [1.0, 2.0, 1.0, 1.0]


def test_the_mean_pose_is_that_of_a_slow_loop():
    generator = torch.Generator().manual_seed(0)
    degrees = torch.tensor([45.0, 135.0, 225.0, 315.0])
    of_image = torch.randint(4, (60,), generator=generator)
    train_pose = torch.randn(60, 17, 3, generator=generator)
    train_position = ring_positions(degrees[of_image].tolist(), 4.5, 1.5).float()
    queries = [20.0, 110.0, 200.0, 290.0, 359.0]
    mean = mean_pose_per_camera(train_pose, train_position, ring_positions(queries, 5.0, 1.3))
    for query, got in zip(queries, mean, strict=True):
        turns = [abs((query - d + 180) % 360 - 180) for d in degrees.tolist()]
        expected = train_pose[of_image == turns.index(min(turns))].mean(dim=0)
        torch.testing.assert_close(got, expected)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"train_pose": torch.zeros(3, 17)}, r"`train_pose` must have shape \(n, J, 3\); got"),
        ({"train_position": torch.zeros(2, 3)}, r"`train_position` must have shape \(3, 3\); got"),
        ({"position": torch.zeros(3)}, r"`position` must have shape \(m, 3\); got \(3,\)"),
        ({"position": torch.full((1, 3), float("nan"))}, "`position` must be finite; got NaN"),
    ],
)
def test_poses_and_positions_that_do_not_fit_are_refused(change, sentence):
    given = {
        "train_pose": torch.zeros(3, 17, 3),
        "train_position": torch.ones(3, 3),
        "position": torch.ones(1, 3),
    }
    with pytest.raises(ValueError, match=sentence):
        mean_pose_per_camera(**{**given, **change})
