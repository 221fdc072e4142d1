"""A body around the 17 joints: ellipsoids with a front, and what each one wears.

A part hangs between two points, joints or points derived from them, and is turned by
a direction of the body, so that the chest has a front, the head a face and the feet
toes although the skeleton has none of these. Camera frame, metres.
"""

import torch

from di2pose_lib.base.skeleton import JOINT_NAMES
from di2pose_lib.data.appearance import PALETTE

# Points derived from the joints (see `_points`), numbered after them.
POINT_NAMES = (
    *JOINT_NAMES,
    *("left hand", "right hand", "left toe", "right toe", "chin"),
    *("left eye", "right eye", "nose bridge", "nose tip"),
)
# Directions that a part's local x axis follows: towards the person's left, or down.
HINTS = ("left of hips", "left of chest", "left of head", "down hips", "down chest", "down head")

# name, top, bottom, reach (m, beyond the two points), half thickness along x and z (m),
# shift along z (m), hint of x, colour, cap: (normal, offset, colour) recolours the
# region of the unit sphere where normal · q > offset. Local y runs from bottom to top,
# z = x × y is the front (thigh and shin: the knee's side). `None` as offset: set by the garment.
_PANEL = ((0.0, 0.0, 1.0), 0.62, "panel")
_HAIR = ((0.0, 0.72, -0.69), -0.08, "hair")
_NO_CAP = ((0.0, 0.0, 1.0), 2.0, "skin")
_BARE = ((0.0, -1.0, 0.0), None, "skin")
_TORSO = (
    ("hips", "left hip", "right hip", 0.055, 0.115, 0.115, -0.01, "down hips", "lower", None),
    ("belly", "spine", "pelvis", 0.1, 0.14, 0.105, 0.0, "left of hips", "upper", _PANEL),
    ("chest", "thorax", "spine", 0.055, 0.165, 0.12, 0.0, "left of chest", "upper", _PANEL),
    ("yoke", "left shoulder", "right shoulder", 0.03, 0.07, 0.075, 0, "down chest", "upper", None),
    ("neck", "chin", "thorax", 0.05, 0.052, 0.052, 0.0, "left of chest", "skin", None),
    ("skull", "head", "chin", 0.005, 0.08, 0.1, 0.0, "left of head", "skin", _HAIR),
    ("eyes", "left eye", "right eye", 0.015, 0.014, 0.02, 0.0, "down head", "eyes", None),
    ("nose", "nose bridge", "nose tip", 0.012, 0.018, 0.02, 0.0, "left of head", "skin", None),
)
_LIMBS = (
    ("upper arm", "shoulder", "elbow", 0.045, 0.05, 0.05, 0.0, "left of chest", "upper", _BARE),
    ("forearm", "elbow", "wrist", 0.035, 0.042, 0.042, 0.0, "left of chest", "upper", _BARE),
    ("hand", "wrist", "hand", 0.015, 0.032, 0.042, 0.0, "left of chest", "skin", None),
    ("thigh", "hip", "knee", 0.06, 0.083, 0.088, 0.0, "left of hips", "lower", _BARE),
    ("shin", "knee", "ankle", 0.05, 0.056, 0.06, -0.012, "left of hips", "lower", _BARE),
    ("foot", "ankle", "toe", 0.05, 0.042, 0.04, 0.0, "left of hips", "shoes", None),
)
PARTS = _TORSO + tuple(
    (f"{side} {name}", f"{side} {top}", f"{side} {bottom}", *rest)
    for side in ("left", "right")
    for name, top, bottom, *rest in _LIMBS
)
# How deep under the nearest surface a joint may lie and still count as seen: its own
# flesh, times 1.3. Order of the joints, metres, for a person of average size.
FLESH = (
    *(0.125, 0.125, 0.065, 0.065, 0.125, 0.065, 0.065),  # pelvis, right leg, left leg
    *(0.12, 0.12, 0.115, 0.1),  # spine, thorax, nose, head
    *(0.08, 0.055, 0.05, 0.08, 0.055, 0.05),  # left arm, right arm
)
DEPTH_TOLERANCE = 1.3
# OWN_FOOT[part][joint]: the foot at this ankle, which never hides it (toes to the camera).
OWN_FOOT = [[n.endswith("foot") and top == joint for joint in JOINT_NAMES] for n, top, *_ in PARTS]
AVERAGE_SIZE = 2.3  # m, pelvis to thorax plus both thighs and shins; scales all thicknesses
_MEASURED = [
    [JOINT_NAMES.index(name) for name in pair]
    for pair in (
        ("pelvis", "thorax"),
        *((f"{side} hip", f"{side} knee") for side in ("left", "right")),
        *((f"{side} knee", f"{side} ankle") for side in ("left", "right")),
    )
]


def _unit(vector, fallback):
    """Vector (..., 3) at length 1; `fallback` (..., 3) where it has no direction."""
    length = vector.norm(dim=-1, keepdim=True)
    return torch.where(length > 1e-6, vector / length.clamp_min(1e-6), fallback)


def _frame(along, across):
    """Right-handed axes (..., 3, 3), rows x y z: y along, x near `across`, z = x × y."""
    eye = torch.eye(3, device=along.device)
    y = _unit(along, -eye[1])
    # `across` parallel to y tells nothing: take the coordinate axis least along y.
    spare = eye[y.abs().argmin(dim=-1)]
    spare = _unit(spare - (spare * y).sum(-1, keepdim=True) * y, spare)
    x = _unit(across - (across * y).sum(-1, keepdim=True) * y, spare)
    return torch.stack([x, y, torch.linalg.cross(x, y)], dim=-2)


def _points(joints, scale):
    """Joints and derived points (B, 26, 3), and the directions of `HINTS` (B, 6, 3).

    The chest's front is left × up, from the shoulders and the spine. The head turns
    away from it by the nose's offset from the line between thorax and head, unless
    that offset points backwards (a bent neck, not a turned face). Fingers continue
    the forearm; toes point to the knee's front, left of hips × up the shin.
    """
    at = dict(zip(JOINT_NAMES, joints.unbind(1), strict=True))
    scale = scale[:, None]
    hips = _frame(at["spine"] - at["pelvis"], at["left hip"] - at["right hip"])
    chest = _frame(at["thorax"] - at["spine"], at["left shoulder"] - at["right shoulder"])
    up = at["head"] - at["thorax"]
    offset = at["nose"] - at["thorax"]
    along = (offset * up).sum(-1, keepdim=True) / up.square().sum(-1, keepdim=True).clamp_min(1e-6)
    offset = offset - along * up
    ahead = (offset * chest[:, 2]).sum(-1, keepdim=True) > 0
    front = chest[:, 2] + ahead * offset / (0.02 * scale)
    head = _frame(up, torch.linalg.cross(up, front))  # up × front = left

    def on_head(left, above, before):
        """A point at these distances (m) from the crown."""
        return at["head"] + scale * (left * head[:, 0] + above * head[:, 1] + before * head[:, 2])

    derived = []
    for side in ("left", "right"):
        forearm = at[f"{side} wrist"] - at[f"{side} elbow"]
        derived.append(at[f"{side} wrist"] + 0.15 * scale * _unit(forearm, hips[:, 1]))
    for side in ("left", "right"):
        shin = _frame(at[f"{side} knee"] - at[f"{side} ankle"], hips[:, 0])
        derived.append(at[f"{side} ankle"] + scale * (0.14 * shin[:, 2] - 0.045 * shin[:, 1]))
    derived.append(on_head(0.0, -0.2, 0.0))
    derived += [on_head(0.035, -0.1, 0.088), on_head(-0.035, -0.1, 0.088)]
    derived += [on_head(0.0, -0.1, 0.1), on_head(0.0, -0.13, 0.112)]
    hints = [hips[:, 0], chest[:, 0], head[:, 0], -hips[:, 1], -chest[:, 1], -head[:, 1]]
    return torch.cat([joints, torch.stack(derived, 1)], 1), torch.stack(hints, 1)


def ellipsoids(joints, girth, scale):
    """Centres (B, P, 3) and matrices A (B, P, 3, 3), rows axis / half axis, of `PARTS`."""
    points, hints = _points(joints, scale)
    _, top, bottom, reach, thick_x, thick_z, shift, hint, _, _ = zip(*PARTS, strict=True)
    top = points[:, [POINT_NAMES.index(name) for name in top]]
    bottom = points[:, [POINT_NAMES.index(name) for name in bottom]]
    frame = _frame(top - bottom, hints[:, [HINTS.index(name) for name in hint]])
    reach, thick_x, thick_z, shift = joints.new_tensor([reach, thick_x, thick_z, shift])
    is_head = torch.tensor([n in ("skull", "eyes", "nose") for n, *_ in PARTS], device=girth.device)
    scale = scale[:, None]  # (B, 1)
    stout = torch.where(is_head, scale, scale * girth[:, None])  # (B, P)
    half_y = 0.5 * (top - bottom).norm(dim=-1) + reach * scale
    half = torch.stack([thick_x * stout, half_y, thick_z * stout], -1)  # (B, P, 3)
    # Broad shoulders have a broad chest under them.
    left, right = (JOINT_NAMES.index(f"{side} shoulder") for side in ("left", "right"))
    breadth = 0.46 * (joints[:, left] - joints[:, right]).norm(dim=-1)
    chest = [name for name, *_ in PARTS].index("chest")
    half[:, chest, 0] = torch.maximum(half[:, chest, 0], breadth)
    centre = 0.5 * (top + bottom) + (shift * stout)[..., None] * frame[:, :, 2]
    return centre, frame / half[..., None]


def body_scale(joints):
    """Size (B,) of each person relative to an average adult, from torso and legs."""
    ends = torch.tensor(_MEASURED, device=joints.device)
    lengths = (joints[:, ends[:, 0]] - joints[:, ends[:, 1]]).norm(dim=-1)
    return (lengths.sum(1) / AVERAGE_SIZE).clamp(0.2, 3.0)


def clothing(appearance):
    """Colours of `PARTS` under an appearance.

    Returns:
        base, float (B, P, 3), the part's colour; normal (B, P, 3), offset (B, P) and
        colour (B, P, 3) of its cap: where normal · q > offset on the unit sphere.
    """
    palette = appearance.palette
    base = palette[:, [PALETTE.index(row[8]) for row in PARTS]]
    caps = [row[9] or _NO_CAP for row in PARTS]
    colour = palette[:, [PALETTE.index(cap[2]) for cap in caps]]
    normal = palette.new_tensor([cap[0] for cap in caps]).expand(len(palette), -1, -1)
    offsets = []
    for (name, *_), cap in zip(PARTS, caps, strict=True):
        if cap is _BARE:
            length = appearance.sleeve if "arm" in name else appearance.trouser
            # Covered share of this part; q_y runs from 1 at its top to −1 at its bottom.
            length = length - 1.0 if "forearm" in name or "shin" in name else length
            offsets.append(2.0 * length.clamp(0.0, 1.0) - 1.0)
        else:
            offsets.append(torch.full_like(appearance.girth, cap[1]))
    return base, normal, torch.stack(offsets, 1), colour
