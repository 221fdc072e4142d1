"""Pictures of people from 3D joints, with exact 2D joints and visibility.

A person is a set of ellipsoids hung on the 17 joints (`PARTS`). Where the ray
through a picture's sample meets an ellipsoid is known in closed form, perspective
included, so there is no mesh and no approximation of depth:

With A mapping the ellipsoid to the unit sphere, c its centre, m = A c and
k = |m|² − 1, a ray t·d meets it where the inverse depth s = 1/t solves
k s² − 2 (m·Ad) s + |Ad|² = 0. The nearer root is s = (m·Ad + √h) / k, and with
d = c/c_z + δ the discriminant is h = |Ad|² − |m × Aδ|²: a quadratic in the two
picture coordinates, without cancellation. A part thus costs eight passes over the
samples; the colour is worked out once, for the nearest part.

Everything is elementwise and runs in chunks of pictures, so memory is bounded, a
picture does not depend on its neighbours, and the device is that of the joints.
"""

import dataclasses

import torch

from di2pose_lib.base.checks import require
from di2pose_lib.data.appearance import occluder_distance, paint_background
from di2pose_lib.data.body_parts import (
    DEPTH_TOLERANCE,
    FLESH,
    OWN_FOOT,
    body_scale,
    clothing,
    ellipsoids,
)
from di2pose_lib.data.camera import inside_image, project

OVERSAMPLING = 2  # samples per pixel along each axis, averaged: edges are smooth
PART_BITS, SIGN_BIT = 31, -(2**31)  # of an int32: number of a part, sign
# Samples rendered at once: about the cache of a CPU; elsewhere, enough work for a GPU.
CPU_SAMPLES, GPU_SAMPLES = 1 << 19, 1 << 24


@dataclasses.dataclass(frozen=True)
class Rendered:
    """Pictures and what is known about them; leading axis B."""

    images: torch.Tensor  # uint8 (B, 3, H, W), RGB
    joints_2d: torch.Tensor  # float32 (B, 17, 2), pixels
    covered: torch.Tensor  # bool (B, 17), behind an occluder or outside the image
    self_occluded: torch.Tensor  # bool (B, 17), behind the person's own body
    depth_order: torch.Tensor  # int64 (B, 17), joints from nearest to farthest

    @property
    def visible(self):
        """bool (B, 17): in the image, and neither covered nor self-occluded."""
        return ~(self.covered | self.self_occluded)


def _dot(a, b):
    return (a * b).sum(-1)


class _Silhouettes:
    """Inverse depth of every part as s = √(S(y) − T(x, y)²) + b(x) + b(y), where the root is real.

    x, y are ray directions (z = 1); all coefficients (B, P). See the module's text.
    """

    def __init__(self, centre, matrix):
        m = _dot(matrix, centre[..., None, :])  # (B, P, 3)
        a1, a2 = matrix[..., 0], matrix[..., 1]
        m1, m2 = torch.linalg.cross(m, a1), torch.linalg.cross(m, a2)
        length, depth = _dot(m, m), centre[..., 2]
        k = length - 1.0
        g1, g2 = _dot(m, a1) / depth, _dot(m, a2) / depth
        q11 = _dot(m1, m1) - _dot(a1, a1)
        q12, q22 = _dot(m1, m2) - _dot(a1, a2), _dot(m2, m2) - _dot(a2, a2)
        root = q11.sqrt()
        self.x0, self.y0 = centre[..., 0] / depth, centre[..., 1] / depth
        self.t = torch.stack([root / k, q12 / root / k, -g1 / root / k])
        s0, s1 = length / depth**2 + g1**2 / q11, g2 - g1 * q12 / q11
        self.s = torch.stack([s0, 2.0 * s1, q12**2 / q11 - q22]) / k**2
        self.b = torch.stack([length / depth, depth * g1, depth * g2]) / k

    def columns(self, x):
        """T and b as functions of x (B, n): two of (B, P, n)."""
        dx = x[:, None] - self.x0[..., None]
        return self.t[0, ..., None] * dx, self.b[1, ..., None] * dx

    def rows(self, y):
        """T, b and S as functions of y (B, n): three of (B, P, n)."""
        dy = y[:, None] - self.y0[..., None]
        shift = self.t[1, ..., None] * dy + self.t[2, ..., None]
        square = self.s[0, ..., None] + dy * (self.s[1, ..., None] + dy * self.s[2, ..., None])
        return shift, self.b[0, ..., None] + self.b[2, ..., None] * dy, square


def _joint_depths(shapes, rays):
    """Inverse depth (B, 17) of the nearest surface on the joints' rays (B, 17, 2); 0 is none."""
    shift_x, slope_x = shapes.columns(rays[..., 0])
    shift_y, slope_y, square = shapes.rows(rays[..., 1])
    inside = square - (shift_x + shift_y).square()
    inverse = inside.clamp_min(0.0).sqrt() + slope_x + slope_y
    own_foot = torch.tensor(OWN_FOOT, device=rays.device)  # (P, 17)
    return inverse.masked_fill((inside <= 0) | own_foot, 0.0).amax(1)


def _nearest(shapes, x, y):
    """Nearest part at every sample: inverse depth (B, h, w), 0 is none, and its number.

    Positive floats sort like their bit patterns, so depth and number are compared as
    one int32: the number replaces the 5 last bits of the depth (a few micrometres),
    and a sample off the part gets the sign bit. Selecting by masks, the plain way,
    takes twice the time.
    """
    shift_x, slope_x = (value[:, :, None] for value in shapes.columns(x))  # (B, P, 1, w)
    shift_y, slope_y, square = (value[..., None] for value in shapes.rows(y))  # (B, P, h, 1)
    size = (len(x), y.shape[1], x.shape[1])
    nearest = torch.zeros(size, dtype=torch.int32, device=x.device)
    inverse, outside = x.new_empty(size), torch.empty_like(nearest)
    key = inverse.view(torch.int32)  # the same memory
    for p in range(shift_x.shape[1]):
        torch.add(shift_x[:, p], shift_y[:, p], out=inverse)
        torch.addcmul(square[:, p], inverse, inverse, value=-1, out=inverse)
        torch.bitwise_and(key, SIGN_BIT, out=outside)
        # Above 0: MKL's root of 0 or less is ten times slower than of anything else.
        inverse.clamp_min_(1e-30).sqrt_().add_(slope_x[:, p]).add_(slope_y[:, p])
        key.bitwise_and_(~PART_BITS).bitwise_or_(p).bitwise_or_(outside)
        torch.maximum(nearest, key, out=nearest)
    return (nearest & ~PART_BITS).view(torch.float32), nearest & PART_BITS


def _shade(table, inverse, x, y):
    """Colours (3, N) of N hits; `table` (F, N) holds the rows that `_draw_people` stacks."""
    matrix, centre, base, normal, offset, cap, light, ambient, falloff, root = table.split(
        (9, 3, 3, 3, 1, 3, 3, 1, 1, 1)
    )
    depth = 1.0 / inverse
    point = torch.stack([x * depth, y * depth, depth])  # (3, N)
    matrix = matrix.unflatten(0, (3, 3))
    sphere = (matrix * (point - centre)).sum(1)  # on the unit sphere, up to rounding
    outward = (matrix * sphere[:, None]).sum(0)
    shrink = outward.square().sum(0).rsqrt()
    lit = ((outward * light).sum(0) * shrink).clamp_min(0.0)
    facing = -(outward * point).sum(0) * shrink * point.square().sum(0).rsqrt()
    strength = (ambient + (1.0 - ambient) * lit) * (0.5 + 0.5 * facing.clamp(0.0, 1.0))
    strength = strength * (1.0 - falloff * (depth - root)).clamp(0.4, 1.4)
    capped = (sphere * normal).sum(0) > offset
    return torch.where(capped, cap, base) * strength


def _samples(count, device):
    """Pixel coordinates of the samples of one axis: all first samples, then all second."""
    places = (torch.arange(OVERSAMPLING, device=device) + 0.5) / OVERSAMPLING - 0.5
    return (places[:, None] + torch.arange(count, device=device)).reshape(1, -1)


def _fold(samples, height, width):
    """Mean (..., H, W) over the samples of each pixel, from (..., 2H, 2W) of `_samples`."""
    total = 0
    for rows in samples.split(height, dim=-2):
        for block in rows.split(width, dim=-1):
            total = total + block
    return total / OVERSAMPLING**2


def _draw_people(centre, matrix, shapes, intrinsics, appearance, root, picture):
    """Put the people over `picture` (b, 3, H, W), in place."""
    height, width = picture.shape[-2:]
    fx, fy, cx, cy = intrinsics[:, :, None].unbind(1)  # (b, 1)
    x = (_samples(width, picture.device) - cx) / fx  # (b, 2W)
    y = (_samples(height, picture.device) - cy) / fy
    inverse, part = _nearest(shapes, x, y)
    where, row, column = (inverse > 0).nonzero(as_tuple=True)

    num, parts = centre.shape[:2]
    base, normal, offset, cap = clothing(appearance)
    whole = (appearance.light, appearance.ambient, appearance.falloff, root)
    whole = torch.cat([value.reshape(num, 1, -1) for value in whole], -1).expand(-1, parts, -1)
    table = torch.cat([matrix.flatten(2), centre, base, normal, offset[..., None], cap, whole], -1)
    chosen = table.flatten(0, 1).T.contiguous()
    chosen = chosen.index_select(1, where * parts + part[where, row, column])
    colour = _shade(chosen, inverse[where, row, column], x[where, column], y[where, row])

    canvas = picture.new_zeros(4, *inverse.shape)
    canvas[:3, where, row, column] = colour
    canvas[3] = inverse > 0
    *rgb, cover = _fold(canvas, height, width).unbind(0)  # each (b, H, W)
    picture.mul_((1.0 - cover)[:, None]).add_(torch.stack(rgb, 1))


def _draw_occluders(occluders, picture):
    """Put the shapes over `picture` (b, 3, H, W), in place, edges one pixel soft."""
    height, width = picture.shape[-2:]
    rows = torch.arange(height, device=picture.device, dtype=picture.dtype)
    columns = torch.arange(width, device=picture.device, dtype=picture.dtype)
    pixels = torch.stack(torch.meshgrid(columns, rows, indexing="xy"), -1)  # (H, W, 2)
    distances, stripes = occluder_distance(occluders, pixels[None])
    for k, (distance, stripe) in enumerate(zip(distances, stripes, strict=True)):
        first, second = occluders.colours[:, k, :, :, None, None].unbind(1)  # (b, 3, 1, 1)
        shade = torch.lerp(first, second, stripe[:, None])
        picture.lerp_(shade, (0.5 - distance).clamp_(0.0, 1.0)[:, None])


@torch.no_grad()
def render(joints_camera, intrinsics, appearance, image_size, occluders=None, chunk_size=None):
    """Render people, and say where their joints are and which of them can be seen.

    A joint is `covered` if it lies under an occluder or outside the image, and
    `self_occluded` if the nearest body surface on its ray lies further in front of
    it than its own flesh is thick (`FLESH`, scaled to the person, times
    `DEPTH_TOLERANCE`; an ankle's own foot does not count): an arm in front of the
    hip hides it, the hip's own skin does not. Both are exact: they come from the ray
    through the joint, not from pixels.

    Args:
        joints_camera: float (B, 17, 3), camera frame, metres; float32 inside.
        intrinsics: float (B, 4): fx, fy, cx, cy in pixels.
        appearance: Appearance of B pictures (`Appearance.index` repeats one per
            frame of a sequence).
        image_size: (height, width) in pixels.
        occluders: Occluders of B pictures; None is none.
        chunk_size: pictures in flight at once, which bounds the memory and changes
            nothing else; None suits the device.

    Returns:
        Rendered, on the device of the joints.

    Raises:
        ValueError: a body that reaches behind the camera.
    """
    num, device = len(joints_camera), joints_camera.device
    joints_camera, intrinsics = joints_camera.float(), intrinsics.float()
    joints_2d = project(joints_camera, intrinsics)
    height, width = image_size
    samples = CPU_SAMPLES if device.type == "cpu" else GPU_SAMPLES
    if chunk_size is None:
        chunk_size = max(1, samples // (OVERSAMPLING**2 * height * width))
    tolerance = DEPTH_TOLERANCE * joints_camera.new_tensor(FLESH)
    images = torch.empty(num, 3, height, width, dtype=torch.uint8, device=device)
    covered = ~inside_image(joints_2d, image_size)
    if occluders is not None:
        covered |= (occluder_distance(occluders, joints_2d)[0] < 0).any(0)
    hidden = torch.zeros_like(covered)
    for start in range(0, num, chunk_size):
        rows = slice(start, start + chunk_size)
        joints, looks = joints_camera[rows], appearance.index(rows)
        scale = body_scale(joints)
        centre, matrix = ellipsoids(joints, looks.girth, scale)
        axis_z = matrix[..., 2] / matrix.square().sum(-1)  # the half axes' z, (b, P, 3)
        front = (centre[..., 2] - axis_z.norm(dim=-1)).min().item()
        require(
            front > 0.01,
            "`joints_camera` must leave the whole body in front of the camera (z > 0.01); "
            f"got a part that reaches z = {front:.3f}",
        )
        shapes = _Silhouettes(centre, matrix)

        rays = joints[..., :2] / joints[..., 2:]
        gap = joints[..., 2] - 1.0 / _joint_depths(shapes, rays)
        hidden[rows] = gap > tolerance * (scale * looks.girth)[:, None]

        picture = paint_background(looks, image_size)
        _draw_people(centre, matrix, shapes, intrinsics[rows], looks, joints[:, 0, 2], picture)
        if occluders is not None:
            _draw_occluders(occluders.index(rows), picture)
        images[rows] = picture.mul_(255.0).add_(0.5).clamp_(0.0, 255.0).to(torch.uint8)
    return Rendered(images, joints_2d, covered, hidden, joints_camera[..., 2].argsort(dim=1))
