"""Pinhole cameras: from the world to the camera frame, and on to the pixels of a crop.

World frame: z up, right-handed, metres. Camera frame: x right, y down, z forward.
`intrinsics` are (fx, fy, cx, cy) in pixels; pixel (0, 0) is the centre of the
top-left pixel, so an image of width W spans [−0.5, W − 0.5].
"""

import math

import torch

from di2pose_lib.base.checks import require

ENLARGE = 1.25  # how much larger a crop is than the joints' box, as ViTPose's


def look_at(position, target):
    """Rotation of a camera without roll that looks from `position` at `target`.

    Args:
        position: camera centre in the world, float (B, 3), metres.
        target: point that lands on the optical axis, float (B, 3), metres.

    Returns:
        float (B, 3, 3) R with `x_camera = R (x_world − position)`.

    Raises:
        ValueError: a view straight up or down.
    """
    forward = torch.nn.functional.normalize(target - position, dim=-1)
    up = torch.tensor([0.0, 0.0, 1.0], dtype=position.dtype, device=position.device)
    right = torch.linalg.cross(forward, up.expand_as(forward))
    length = right.norm(dim=-1, keepdim=True)
    require(bool((length > 1e-6).all()), "`target` must not lie straight above or below `position`")
    right = right / length
    down = torch.linalg.cross(forward, right)
    return torch.stack([right, down, forward], dim=-2)


def to_camera(joints_world, position, rotation):
    """World joints in the camera frame: R (x − position).

    Args:
        joints_world: float (B, J, 3), metres.
        position: camera centres in the world, float (B, 3), metres.
        rotation: float (B, 3, 3), as `look_at` gives it.

    Returns:
        float (B, J, 3), metres.
    """
    return (joints_world - position[:, None]) @ rotation.transpose(-1, -2)


def project(joints_camera, intrinsics):
    """Pixels (B, J, 2) of camera-frame joints (B, J, 3), metres; intrinsics are (B, 4).

    Raises:
        ValueError: a joint that is not in front of the camera.
    """
    depth = joints_camera[..., 2:]
    require(
        bool((depth > 0.01).all()), "`joints_camera` must lie in front of the camera (z > 0.01)"
    )
    focal, centre = intrinsics[:, None, :2], intrinsics[:, None, 2:]
    return joints_camera[..., :2] / depth * focal + centre


def inside_image(joints_2d, image_size):
    """Which joints (…, 2), pixels, lie inside an image of (h, w): bool (…)."""
    x, y = joints_2d.unbind(dim=-1)
    height, width = image_size
    return (x >= -0.5) & (x < width - 0.5) & (y >= -0.5) & (y < height - 0.5)


def crop_intrinsics(joints_camera, image_size):
    """Intrinsics of the crop around a person: the joints' box times `ENLARGE`, aspect kept.

    Args:
        joints_camera: float (B, J, 3), metres, camera frame.
        image_size: (height, width) of the crop in pixels.

    Returns:
        float (B, 4): fx, fy, cx, cy in pixels of the crop; fx = fy.

    Raises:
        ValueError: joints behind the camera.
    """
    height, width = image_size
    unit = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=joints_camera.dtype)
    rays = project(joints_camera, unit.to(joints_camera.device).expand(len(joints_camera), 4))
    low, high = rays.amin(dim=1), rays.amax(dim=1)  # (B, 2)
    extent = (high - low).clamp_min(1e-3) * ENLARGE
    focal = torch.minimum(width / extent[:, 0], height / extent[:, 1])
    middle = (low + high) / 2
    centre = torch.tensor([(width - 1) / 2, (height - 1) / 2], dtype=rays.dtype, device=rays.device)
    offset = centre - focal[:, None] * middle
    return torch.stack([focal, focal, offset[:, 0], offset[:, 1]], dim=-1)


def ring_positions(azimuths_deg, radius, height):
    """Camera centres on a ring around the world's origin.

    Args:
        azimuths_deg: n angles about the vertical, degrees from the x axis.
        radius, height: metres.

    Returns:
        float64 (n, 3), metres.
    """
    angles = torch.tensor([math.radians(a) for a in azimuths_deg], dtype=torch.float64)
    heights = torch.full_like(angles, height)
    return torch.stack([radius * angles.cos(), radius * angles.sin(), heights], dim=-1)
