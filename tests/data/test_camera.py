"""Cameras: axes by hand, there and back again, and crops that hold every joint."""

import math

import pytest
import torch

from di2pose_lib.data.camera import crop_intrinsics, look_at, project, ring_positions, to_camera


def vectors(*rows):
    return torch.tensor(rows, dtype=torch.float64)


def people_in_view(batch=8, seed=0):
    """Camera-frame joints some 4 m away, float64 (batch, 17, 3)."""
    generator = torch.Generator().manual_seed(seed)
    joints = 0.5 * torch.randn(batch, 17, 3, generator=generator, dtype=torch.float64)
    middle = torch.randn(batch, 1, 3, generator=generator, dtype=torch.float64)
    return joints.clamp(-1, 1) + middle.clamp(-1, 1) + vectors([0.0, 0.0, 4.5])


# Frames


@pytest.mark.parametrize(
    ("position", "target", "right", "down", "forward"),
    [
        ([-5, 0, 1], [0, 0, 1], [0, -1, 0], [0, 0, -1], [1, 0, 0]),
        ([5, 0, 0], [0, 0, 0], [0, 1, 0], [0, 0, -1], [-1, 0, 0]),
        ([0, -2, 3], [0, 7, 3], [1, 0, 0], [0, 0, -1], [0, 1, 0]),
        # 45 degrees down: what is down in the image lies below and nearer to the camera
        (
            [-3, 0, 3],
            [0, 0, 0],
            [0, -1, 0],
            [-(0.5**0.5), 0, -(0.5**0.5)],
            [0.5**0.5, 0, -(0.5**0.5)],
        ),
    ],
)
def test_axes_of_look_at_by_hand(position, target, right, down, forward):
    rotation = look_at(vectors(position), vectors(target))
    torch.testing.assert_close(rotation[0], vectors(right, down, forward), atol=1e-12, rtol=0)


def test_rotations_are_proper_without_roll_and_aim_at_the_target():
    generator = torch.Generator().manual_seed(0)
    position = 4 * torch.randn(50, 3, generator=generator, dtype=torch.float64)
    target = torch.randn(50, 3, generator=generator, dtype=torch.float64)
    rotation = look_at(position, target)
    identity = torch.eye(3, dtype=torch.float64).expand(50, 3, 3)
    torch.testing.assert_close(rotation @ rotation.mT, identity, atol=1e-12, rtol=0)
    torch.testing.assert_close(torch.linalg.det(rotation), torch.ones(50, dtype=torch.float64))
    assert rotation[:, 0, 2].abs().max() < 1e-12, "right is level"
    assert (rotation[:, 1, 2] < 0).all(), "down points down"
    seen = to_camera(target[:, None], position, rotation)[:, 0]
    distance = (target - position).norm(dim=1)
    zero = torch.zeros_like(distance)
    torch.testing.assert_close(seen, torch.stack([zero, zero, distance], dim=1), atol=1e-9, rtol=0)


def test_world_joints_in_the_camera_frame_by_hand():
    # From (−5, 0, 1) along +x: y = 2 is 2 m to the left, z = 1.5 half a metre up.
    position, target = vectors([-5.0, 0.0, 1.0]), vectors([0.0, 0.0, 1.0])
    joints = vectors([0.0, 2.0, 1.5], [-4.0, -1.0, 0.0])[None]
    seen = to_camera(joints, position, look_at(position, target))
    expected = vectors([-2.0, -0.5, 5.0], [1.0, 1.0, 1.0])[None]
    torch.testing.assert_close(seen, expected, atol=1e-12, rtol=0)


def test_to_camera_keeps_distances_and_can_be_undone():
    generator = torch.Generator().manual_seed(1)
    joints = torch.randn(4, 17, 3, generator=generator, dtype=torch.float64)
    position = 5 + torch.rand(4, 3, generator=generator, dtype=torch.float64)
    rotation = look_at(position, torch.zeros(4, 3, dtype=torch.float64))
    seen = to_camera(joints, position, rotation)
    torch.testing.assert_close(torch.cdist(seen, seen), torch.cdist(joints, joints))
    back = torch.einsum("bij,bki->bkj", rotation, seen) + position[:, None]
    torch.testing.assert_close(back, joints, atol=1e-12, rtol=0)


@pytest.mark.parametrize("target", [[1, 2, 9], [1, 2, -9], [1, 2, 3]])
def test_a_view_straight_up_or_down_or_at_itself_is_refused(target):
    sentence = "`target` must not lie straight above or below `position`"
    with pytest.raises(ValueError, match=sentence):
        look_at(vectors([1, 2, 3], [0, 0, 0]), vectors(target, [1, 0, 0]))


# Pixels


def test_projection_by_hand():
    joints = vectors([0.0, 0.0, 2.0], [1.0, 0.0, 2.0], [0.0, 1.0, 4.0], [-2.0, -1.0, 1.0])[None]
    intrinsics = vectors([100.0, 200.0, 31.5, 63.5])
    expected = vectors([31.5, 63.5], [81.5, 63.5], [31.5, 113.5], [-168.5, -136.5])[None]
    torch.testing.assert_close(project(joints, intrinsics), expected)


def test_pixels_and_depth_give_the_joints_back():
    joints = people_in_view()
    generator = torch.Generator().manual_seed(2)
    intrinsics = 50 + 100 * torch.rand(8, 4, generator=generator, dtype=torch.float64)
    pixels = project(joints, intrinsics)
    for b in range(8):
        fx, fy, cx, cy = intrinsics[b]
        depth = joints[b, :, 2]
        rays = torch.stack([(pixels[b, :, 0] - cx) / fx, (pixels[b, :, 1] - cy) / fy], dim=1)
        torch.testing.assert_close(rays * depth[:, None], joints[b, :, :2])


@pytest.mark.parametrize("depth", [0.0, 0.01, -3.0])
def test_joints_behind_the_camera_are_refused(depth):
    joints = people_in_view(batch=2)
    joints[1, 5, 2] = depth
    sentence = r"`joints_camera` must lie in front of the camera \(z > 0.01\)"
    with pytest.raises(ValueError, match=sentence):
        project(joints, torch.ones(2, 4, dtype=torch.float64))
    with pytest.raises(ValueError, match=sentence):
        crop_intrinsics(joints, (64, 48))


# Crops


@pytest.mark.parametrize("image_size", [(256, 192), (64, 48), (48, 64), (32, 32)])
def test_a_crop_holds_every_joint_with_the_box_in_its_middle(image_size):
    height, width = image_size
    joints = people_in_view()
    intrinsics = crop_intrinsics(joints, image_size)
    pixels = project(joints, intrinsics)
    low, high = pixels.amin(dim=1), pixels.amax(dim=1)
    middle = vectors([(width - 1) / 2, (height - 1) / 2]).expand(8, 2)
    torch.testing.assert_close((low + high) / 2, middle, atol=1e-9, rtol=0)
    # The box fills 1 / 1.25 of the image along its tighter axis, and no more along the other.
    filled = (high - low) / vectors([width, height])
    assert filled.amax(dim=1).tolist() == pytest.approx([0.8] * 8)
    assert (low >= -0.5 - 1e-9).all()
    assert (high <= vectors([width, height]) - 0.5 + 1e-9).all()
    assert torch.equal(intrinsics[:, 0], intrinsics[:, 1])


def test_a_crop_by_hand():
    # A box of 0.5 x 1 at depth 1 in a 100 x 80 image: height decides, 100 / (1.25 · 1) = 80.
    joints = vectors([0.0, -0.5, 1.0], [0.5, 0.5, 1.0], [0.5, 1.0, 2.0])[None]
    intrinsics = crop_intrinsics(joints, (100, 80))
    torch.testing.assert_close(intrinsics, vectors([80.0, 80.0, 39.5 - 80 * 0.25, 49.5]))


def test_each_person_is_cropped_alone_and_in_the_kind_that_came():
    joints = people_in_view()
    alone = torch.cat([crop_intrinsics(joints[[b]], (64, 48)) for b in range(8)])
    torch.testing.assert_close(crop_intrinsics(joints, (64, 48)), alone)
    assert crop_intrinsics(joints.float(), (64, 48)).dtype == torch.float32


def test_a_person_who_is_one_point_gets_a_finite_crop():
    joints = vectors([0.3, -0.2, 3.0])[None].expand(1, 17, 3)
    intrinsics = crop_intrinsics(joints, (64, 48))
    assert intrinsics.isfinite().all()
    middle = vectors([23.5, 31.5])[None].expand(1, 17, 2)
    torch.testing.assert_close(project(joints, intrinsics), middle, atol=1e-6, rtol=0)


# Rings


def test_a_ring_of_cameras_by_hand():
    positions = ring_positions([0, 90, 180, 270, 30], radius=4.0, height=1.5)
    expected = vectors(
        [4, 0, 1.5], [0, 4, 1.5], [-4, 0, 1.5], [0, -4, 1.5], [4 * math.sqrt(3) / 2, 2, 1.5]
    )
    torch.testing.assert_close(positions, expected, atol=1e-12, rtol=0)
