"""What a picture shows besides the pose: colours, light, background, occluders.

`sample_appearance` and `sample_occluders` draw once per person or picture, on the
CPU and from one generator, so a seed gives the same pictures on every device;
`paint_background` and `occluder_distance` turn the draws into pixels. Colours are
linear RGB in [0, 1]; positions of the background are fractions of the image.
"""

import dataclasses
import math

import torch

# Garment and body colours, in the order of `Appearance.palette`.
PALETTE = ("skin", "hair", "upper", "panel", "lower", "shoes", "eyes")
SKIN_TONES = ((0.94, 0.78, 0.67), (0.82, 0.62, 0.48), (0.60, 0.42, 0.30), (0.36, 0.24, 0.17))
HAIR_TONES = ((0.06, 0.05, 0.05), (0.22, 0.13, 0.08), (0.45, 0.22, 0.10), (0.80, 0.66, 0.42))
NUM_BOXES = 3  # pieces of furniture in a background
GRID_SIZE = (9, 7)  # coarse colour noise of a background, rows by columns
MAX_OCCLUDERS = 2  # K, the most shapes in front of a picture
SIDE_RANGE = (0.2, 0.6)  # smallest and largest side of a shape relative to the person


class Draws:
    """Tensors with one leading axis, moved and selected together."""

    def __len__(self):
        return len(getattr(self, dataclasses.fields(self)[0].name))

    def _map(self, function):
        fields = dataclasses.fields(self)
        return type(self)(**{f.name: function(getattr(self, f.name)) for f in fields})

    def index(self, rows):
        """The given rows (a slice, or int64 indices that may repeat: one per frame)."""
        return self._map(lambda tensor: tensor[rows])

    def to(self, device):
        """The same draws on another device."""
        return self._map(lambda tensor: tensor.to(device))


@dataclasses.dataclass(frozen=True)
class Appearance(Draws):
    """Looks of `num` pictures; float32 unless said otherwise, leading axis num."""

    palette: torch.Tensor  # (num, 7, 3) colours, in the order of `PALETTE`
    girth: torch.Tensor  # (num,) thickness of torso and limbs, 1 is average
    sleeve: torch.Tensor  # (num,) covered part of the arm: 0 none, 1 elbow, 2 wrist
    trouser: torch.Tensor  # (num,) covered part of the leg: 1 knee, 2 ankle
    light: torch.Tensor  # (num, 3) unit vector towards the light, camera frame
    ambient: torch.Tensor  # (num,) share of light without direction
    falloff: torch.Tensor  # (num,) 1/m, darkening of what lies behind the pelvis
    wall: torch.Tensor  # (num, 3, 2) colours at the top and at the bottom
    floor: torch.Tensor  # (num, 3) colour
    horizon: torch.Tensor  # (num,) height where the floor begins, 0 top, 1 bottom
    stripes: torch.Tensor  # (num, 3) signed contrast of wall stripes
    wave: torch.Tensor  # (num, 3) cycles across, cycles down, phase in radians
    grid: torch.Tensor  # (num, 3, 9, 7) coarse colour noise, added
    boxes: torch.Tensor  # (num, 3, 4) furniture: left, top, right, bottom
    box_colours: torch.Tensor  # (num, 3, 3) one RGB per box


@dataclasses.dataclass(frozen=True)
class Occluders(Draws):
    """Opaque shapes in front of `num` pictures, up to K each; pixels, float32."""

    centre: torch.Tensor  # (num, K, 2) pixels
    half_size: torch.Tensor  # (num, K, 2) half width and half height, pixels
    angle: torch.Tensor  # (num, K) radians
    is_ellipse: torch.Tensor  # (num, K) bool; False is a rectangle
    present: torch.Tensor  # (num, K) bool; an absent shape covers nothing
    colours: torch.Tensor  # (num, K, 2, 3) the two colours of the stripes
    cycles: torch.Tensor  # (num, K) stripes across the shape


class _Dice:
    """Uniform draws of one generator."""

    def __init__(self, num, generator):
        self.num, self.generator = num, generator

    def uniform(self, low, high, *shape):
        unit = torch.rand(self.num, *shape, generator=self.generator, device="cpu")
        return low + (high - low) * unit

    def colour(self, saturation, value, *shape):
        """RGB of a random hue; `saturation` and `value` are tensors or (low, high)."""
        hue = self.uniform(0.0, 6.0, *shape)[..., None]
        if isinstance(saturation, tuple):
            saturation = self.uniform(*saturation, *shape)
        if isinstance(value, tuple):
            value = self.uniform(*value, *shape)
        turn = (hue + torch.tensor([5.0, 3.0, 1.0], device="cpu")) % 6.0
        ramp = torch.minimum(turn, 4.0 - turn).clamp(0.0, 1.0)
        return value[..., None] * (1.0 - saturation[..., None] * ramp)

    def tone(self, anchors):
        """A colour between two neighbouring anchors."""
        anchors = torch.tensor(anchors, device="cpu")
        place = self.uniform(0.0, len(anchors) - 1.001)
        low = place.long()
        share = (place - low)[:, None]
        return anchors[low] * (1.0 - share) + anchors[low + 1] * share


def sample_appearance(num, generator):
    """Draw the looks of `num` people and places.

    Skin and hair lie between anchors of human tones. Garments have a random hue.
    The front panel of the upper garment (shirt under an open jacket) is light on a
    dark garment and dark on a light one, and the trousers' brightness differs from
    the jacket's by at least 0.2: without this, front and back, or torso and legs,
    would look the same in some pictures. Walls are paler than garments.

    Args:
        num: how many, ≥ 1.
        generator: torch.Generator of the CPU.

    Returns:
        Appearance with leading axis `num`, on the CPU.
    """
    dice = _Dice(num, generator)
    upper_value = dice.uniform(0.15, 0.95)
    panel_value = torch.where(upper_value > 0.5, dice.uniform(0.05, 0.2), dice.uniform(0.85, 1.0))
    lower_value = 0.1 + (upper_value - 0.1 + dice.uniform(0.2, 0.6)) % 0.8
    palette = [
        dice.tone(SKIN_TONES),
        dice.tone(HAIR_TONES),
        dice.colour((0.2, 0.9), upper_value),
        dice.colour((0.0, 0.6), panel_value),
        dice.colour((0.0, 0.7), lower_value),
        dice.colour((0.0, 0.6), (0.05, 0.9)),
        dice.colour((0.0, 0.5), (0.02, 0.12)),
    ]
    light = torch.cat([dice.uniform(-0.9, 0.9, 1), dice.uniform(-1, -0.3, 2)], -1)
    low = dice.uniform(-0.1, 0.9, NUM_BOXES, 2)
    return Appearance(
        palette=torch.stack(palette, 1),
        girth=dice.uniform(0.85, 1.2),
        sleeve=dice.uniform(0.4, 2.6).clamp(max=2.0),
        trouser=dice.uniform(0.5, 3.5).clamp(max=2.0),
        light=torch.nn.functional.normalize(light, dim=-1),
        ambient=dice.uniform(0.35, 0.6),
        falloff=dice.uniform(0.1, 0.6),
        wall=dice.colour((0.0, 0.4), (0.25, 0.95), 2).transpose(1, 2),
        floor=dice.colour((0.0, 0.5), (0.15, 0.7)),
        horizon=dice.uniform(0.5, 1.1),
        stripes=dice.uniform(-0.1, 0.1, 1) + dice.uniform(-0.05, 0.05, 3),
        wave=torch.cat([dice.uniform(-6, 6, 2), dice.uniform(0, 2 * math.pi, 1)], -1),
        grid=(dice.uniform(-1, 1, 1, *GRID_SIZE) + 0.5 * dice.uniform(-1, 1, 3, *GRID_SIZE))
        * dice.uniform(0.0, 0.15, 1, 1, 1),
        boxes=torch.cat([low, low + dice.uniform(0.05, 0.4, NUM_BOXES, 2)], -1),
        box_colours=dice.colour((0.0, 0.7), (0.1, 0.9), NUM_BOXES),
    )


def sample_occluders(joints_2d, image_size, generator, clear_share):
    """Draw opaque shapes in front of people, for pictures with exact visibility.

    With probability `clear_share` a picture has none; otherwise 1 … `MAX_OCCLUDERS`,
    each number equally likely. A shape is a rectangle or an ellipse (half and half)
    turned by any angle, centred within a tenth of the person's box around a joint
    drawn at random; its width and its height are each uniform in `SIDE_RANGE` times
    the geometric mean of the box's sides. The box is that of the joints, clipped to
    the image.

    Args:
        joints_2d: float (B, J, 2), pixels.
        image_size: (height, width) in pixels.
        generator: torch.Generator of the CPU.
        clear_share: probability of no shape, in [0, 1].

    Returns:
        Occluders with leading axis B, on the device of `joints_2d`.
    """
    num, num_joints = joints_2d.shape[:2]
    dice = _Dice(num, generator)
    high_edge = joints_2d.new_tensor([image_size[1] - 0.5, image_size[0] - 0.5])
    inside = joints_2d.float().clamp_min(-0.5).minimum(high_edge)
    extent = (inside.amax(1) - inside.amin(1)).clamp_min(2.0)  # (B, 2) pixels

    draw = dice.uniform(0.0, num_joints, MAX_OCCLUDERS).long().clamp(max=num_joints - 1)
    joint = draw.to(inside.device)[..., None].expand(-1, -1, 2)
    jitter = dice.uniform(-0.1, 0.1, MAX_OCCLUDERS, 2).to(inside.device)
    side = extent.prod(-1).sqrt()[:, None, None]
    sizes = dice.uniform(*SIDE_RANGE, MAX_OCCLUDERS, 2).to(inside.device)
    count = 1 + dice.uniform(0.0, MAX_OCCLUDERS, 1).long().clamp(max=MAX_OCCLUDERS - 1)
    count = count * (dice.uniform(0.0, 1.0, 1) >= clear_share)
    present = torch.arange(MAX_OCCLUDERS, device="cpu") < count
    return Occluders(
        centre=inside.gather(1, joint) + jitter * extent[:, None],
        half_size=0.5 * sizes * side,
        angle=dice.uniform(0.0, math.pi, MAX_OCCLUDERS).to(inside.device),
        is_ellipse=(dice.uniform(0.0, 1.0, MAX_OCCLUDERS) < 0.5).to(inside.device),
        present=present.to(inside.device),
        colours=dice.colour((0.0, 0.8), (0.1, 0.95), MAX_OCCLUDERS, 2).to(inside.device),
        cycles=dice.uniform(0.0, 4.0, MAX_OCCLUDERS).to(inside.device),
    )


def paint_background(appearance, image_size):
    """Wall, floor, coarse noise, stripes and furniture: float32 (B, 3, H, W) in [0, 1]."""
    height, width = image_size
    device = appearance.wall.device
    x = (torch.arange(width, device=device) + 0.5) / width  # (W,)
    y = ((torch.arange(height, device=device) + 0.5) / height)[:, None]  # (H, 1)
    top, bottom = appearance.wall[..., None, None].unbind(2)  # (B, 3, 1, 1)
    wall = top + (bottom - top) * y  # (B, 3, H, 1)
    is_floor = y > appearance.horizon[:, None, None, None]  # (B, 1, H, 1)
    plain = torch.where(is_floor, appearance.floor[..., None, None], wall)
    picture = torch.nn.functional.interpolate(
        appearance.grid, size=(height, width), mode="bilinear", align_corners=True
    )
    picture += plain
    across, down, phase = appearance.wave[..., None, None].unbind(1)  # (B, 1, 1)
    wave = (2 * math.pi * (across * x + down * y) + phase).sin()[:, None]  # (B, 1, H, W)
    picture.addcmul_(wave * ~is_floor, appearance.stripes[..., None, None])
    for box, colour in zip(
        appearance.boxes.unbind(1), appearance.box_colours.unbind(1), strict=True
    ):
        left, up, right, low = box[..., None, None, None].unbind(1)  # (B, 1, 1, 1)
        mask = (x > left) & (x < right) & (y > up) & (y < low)
        picture = torch.where(mask, colour[..., None, None], picture)
    return picture.clamp_(0.0, 1.0)


def occluder_distance(occluders, points):
    """Signed distance in pixels (negative inside) of points to each shape, and its stripes.

    Args:
        occluders: Occluders with leading axis B.
        points: float (B or 1, ..., 2), pixels.

    Returns:
        distance, float (K, B, ...), +inf for an absent shape; exact on the edge, to
        first order near it. stripes, float (K, B, ...) in [0, 1], the share of the
        second colour.
    """
    extra = (None,) * (points.dim() - 2)
    distances, stripes = [], []
    for k in range(occluders.centre.shape[1]):
        centre, half = (
            field[:, k][(slice(None), *extra)].unbind(-1)
            for field in (occluders.centre, occluders.half_size)
        )
        angle, is_ellipse, present, cycles = (
            field[:, k][(slice(None), *extra)]
            for field in (
                occluders.angle,
                occluders.is_ellipse,
                occluders.present,
                occluders.cycles,
            )
        )
        dx, dy = points[..., 0] - centre[0], points[..., 1] - centre[1]
        cos, sin = angle.cos(), angle.sin()
        along, across = dx * cos + dy * sin, dy * cos - dx * sin
        u, v = along / half[0], across / half[1]
        box = torch.maximum(along.abs() - half[0], across.abs() - half[1])
        radius = (u * u + v * v).sqrt()
        # radius − 1 over the length of its gradient: first-order distance to the edge.
        slope = ((u / half[0]).square() + (v / half[1]).square()).sqrt() / radius.clamp_min(1e-6)
        ellipse = (radius - 1.0) / slope.clamp_min(1e-6)
        inside = torch.where(is_ellipse, ellipse, box)
        distances.append(torch.where(present, inside, float("inf")))
        stripes.append(0.5 + 0.5 * (math.pi * cycles * u).cos())
    return torch.stack(distances), torch.stack(stripes)
