"""What any method must beat: the mean pose, and the nearest training image's pose."""

import torch

from di2pose_lib.base.checks import check_tensor


def camera_azimuth(camera_position):
    """Azimuth in radians (n,) of camera centres (n, 3) around the world's origin."""
    return torch.atan2(camera_position[:, 1], camera_position[:, 0])


def mean_pose_per_camera(train_pose, train_position, position):
    """The mean training pose of the training camera that stands nearest in azimuth.

    Args:
        train_pose: float (n, J, 3), camera frame, root-relative, metres.
        train_position: camera centres of the training images, float (n, 3), metres.
        position: camera centres of the images to predict, float (m, 3), metres.

    Returns:
        float (m, J, 3).
    """
    check_tensor("train_pose", train_pose, ("n", "J", 3), "float")
    check_tensor("train_position", train_position, (len(train_pose), 3), "float")
    check_tensor("position", position, ("m", 3), "float")
    cameras, member = train_position.unique(dim=0, return_inverse=True)
    means = torch.stack([train_pose[member == i].mean(dim=0) for i in range(len(cameras))])
    turn = camera_azimuth(position)[:, None] - camera_azimuth(cameras)
    return means[torch.cos(turn).argmax(dim=1)]


def nearest_neighbour(train_features, num_train, features, block=1024):
    """Row int64 (m,) of the training image whose features lie nearest (Euclidean).

    Args:
        train_features: `rows (slice) -> features (B, tokens, width)` of training images.
        num_train: how many there are.
        features: float (m, tokens, width).
        block: training images compared at once; bounds the memory.
    """
    check_tensor("features", features, ("m", "tokens", "width"), "float")
    best_distance = torch.full((len(features),), float("inf"))
    best_row = torch.zeros(len(features), dtype=torch.int64)
    queries = features.flatten(1)
    for start in range(0, num_train, block):
        stored = train_features(slice(start, min(start + block, num_train))).flatten(1).cpu()
        # |q − t|² without |q|², which is the same for every t
        distance = stored.square().sum(dim=1) - 2 * queries @ stored.T
        value, index = distance.min(dim=1)
        closer = value < best_distance
        best_distance = torch.where(closer, value, best_distance)
        best_row = torch.where(closer, start + index, best_row)
    return best_row
