"""Procedural motion: joint angles over time for each of the 15 Human3.6M actions.

A sequence draws a stance of the legs, a carriage of trunk and head and one posture
for each arm from the ranges below, as its action allows, twice; it moves back and
forth between the two draws, on top of which come a gait cycle where the action
walks, beating hands, and slow drift of every angle. Half of all sequences are
mirrored, so left and right are balanced. All ranges are our own design, meant to be
broad; `bodies.JOINT_LIMITS` cuts off what no joint can do.
"""

import math
from dataclasses import dataclass

import torch

from di2pose_lib.bodies import (
    ANGLE_NAMES,
    JOINT_LIMITS,
    NUM_ANGLES,
    ROOT_ANGLE_NAMES,
    Subject,
    forward_kinematics,
    mirror_angles,
)
from di2pose_lib.checks import require
from di2pose_lib.skeleton import ACTIONS, NUM_JOINTS

# Degrees (low, high): pelvis tilt, roll; then twice, leading leg first, thigh (forward
# of the vertical), abduction, rotation, shank (backward of the vertical). Slopes, not
# joint angles, so that the feet stay below a standing body: hip = thigh + tilt, knee =
# thigh + shank.
_LEGS = {
    "stand": ((-6, 6), (-3, 3), (-6, 9), (-6, 9), (0, 25), (-3, 9))
    + ((-6, 9), (-6, 9), (0, 25), (-3, 9)),
    "shift": ((-6, 8), (-9, 0), (2, 26), (-4, 16), (0, 35), (-2, 22))
    + ((-10, 4), (-8, 6), (0, 20), (-2, 8)),
    "wide": ((-6, 12), (-4, 4), (-5, 22), (6, 26), (5, 35), (-2, 22))
    + ((-5, 22), (6, 26), (5, 35), (-2, 22)),
    "step": ((-4, 12), (-5, 5), (15, 50), (-8, 10), (-5, 20), (-12, 25))
    + ((-30, -5), (-8, 10), (0, 25), (6, 45)),
    "crouch": ((5, 40), (-5, 5), (45, 95), (5, 35), (0, 35), (15, 45))
    + ((45, 95), (5, 35), (0, 35), (15, 45)),
    "half_kneel": ((-5, 20), (-5, 5), (70, 100), (0, 25), (0, 30), (-15, 20))
    + ((-10, 20), (-5, 15), (-10, 20), (78, 95)),
    "kneel": ((-10, 20), (-4, 4), (0, 40), (0, 20), (-15, 15), (78, 95))
    + ((0, 40), (0, 20), (-15, 15), (78, 95)),
    "lift": ((-10, 10), (-10, 2), (35, 100), (-5, 35), (-10, 35), (0, 45))
    + ((-10, 8), (-5, 10), (0, 20), (0, 12)),
    "chair": ((-25, 10), (-4, 4), (76, 100), (0, 28), (-15, 25), (-30, 32))
    + ((76, 100), (0, 28), (-15, 25), (-30, 32)),
    "ankle_on_knee": ((-25, 5), (-4, 4), (85, 110), (15, 35), (28, 45), (5, 25))
    + ((78, 98), (0, 20), (-5, 20), (-15, 20)),
    "knee_over_knee": ((-20, 5), (-5, 5), (98, 115), (-18, -8), (-10, 10), (-25, 5))
    + ((78, 95), (-4, 10), (-10, 15), (-15, 20)),
    "stretched": ((-35, 0), (-4, 4), (65, 92), (-3, 22), (-5, 30), (-80, -35))
    + ((70, 95), (-3, 22), (-5, 30), (-80, 25)),
    "tailor": ((-32, -12), (-4, 4), (125, 140), (10, 42), (30, 45), (-24, 0))
    + ((125, 140), (10, 42), (30, 45), (-24, 0)),
    "half_tailor": ((-30, -10), (-5, 5), (125, 140), (10, 42), (30, 45), (-24, 0))
    + ((84, 98), (-2, 28), (-5, 30), (-98, -75)),
    "floor_long": ((-30, 2), (-5, 5), (84, 96), (-2, 28), (-5, 30), (-97, -78))
    + ((84, 135), (-2, 20), (-10, 20), (-92, -45)),
    "floor_hug": ((-32, -12), (-5, 5), (122, 140), (-4, 16), (-12, 16), (-60, -36))
    + ((122, 140), (-4, 16), (-12, 16), (-60, -36)),
    "recline": ((-78, -40), (-8, 8), (84, 96), (-2, 25), (-10, 30), (-97, -78))
    + ((105, 140), (-2, 25), (-10, 30), (-75, -36)),
}
# Degrees: lean (tilt added to the pelvis's), trunk flexion, lateral, rotation, then
# the neck's flexion, lateral, rotation.
_TRUNKS = {
    "upright": ((-5, 5), (-10, 9), (-6, 6), (-12, 12), (-18, 14), (-9, 9), (-30, 30)),
    "turned": ((-5, 6), (-8, 12), (-10, 10), (5, 38), (-18, 14), (-10, 10), (0, 55)),
    "slouch": ((-8, 6), (8, 34), (-8, 8), (-12, 12), (-18, 22), (-10, 10), (-30, 30)),
    "lean": ((5, 26), (-5, 24), (-14, 14), (-20, 20), (-35, 10), (-10, 10), (-35, 35)),
    "bend": ((25, 72), (12, 55), (-12, 12), (-25, 25), (-38, 15), (-10, 10), (-30, 30)),
    "sway": ((-12, 4), (-20, 4), (-24, 24), (-25, 25), (-25, 18), (-18, 18), (-40, 40)),
    "gaze_down": ((-4, 6), (-4, 18), (-6, 6), (-12, 12), (10, 38), (-8, 8), (-22, 22)),
    "gaze_up": ((-8, 4), (-15, 4), (-6, 6), (-12, 12), (-42, -15), (-9, 9), (-25, 25)),
}
# Degrees: clavicle elevation, protraction, shoulder flexion, abduction, rotation,
# elbow flexion, and how far the hand beats. A range may run downwards.
_ARMS = {
    "hang": ((-6, 5), (-8, 10), (-22, 22), (7, 24), (-25, 25), (4, 42), (0, 2)),
    "waist": ((-5, 10), (-5, 15), (-12, 38), (5, 40), (-35, 20), (45, 110), (0, 8)),
    "gesture": ((-5, 18), (-8, 22), (15, 85), (0, 60), (-40, 45), (25, 115), (4, 20)),
    "point": ((-2, 18), (-5, 28), (50, 125), (-22, 65), (-30, 40), (0, 28), (0, 5)),
    "point_side": ((0, 18), (-12, 10), (-15, 30), (55, 115), (-40, 60), (0, 45), (0, 5)),
    "raise": ((12, 42), (-10, 15), (115, 175), (-5, 45), (-40, 40), (0, 75), (0, 10)),
    "wave": ((2, 28), (-10, 10), (-15, 30), (50, 120), (55, 88), (40, 115), (10, 30)),
    "shake": ((-4, 10), (0, 25), (15, 55), (-10, 20), (-20, 10), (25, 80), (4, 15)),
    "mouth": ((-5, 15), (0, 20), (33, 82), (-22, 28), (-18, -66), (115, 138), (0, 4)),
    "ear": ((-5, 18), (-8, 12), (58, 85), (-12, 55), (2, -46), (133, 149), (0, 3)),
    "eyes": ((-2, 20), (0, 22), (55, 96), (-18, 38), (0, -64), (103, 124), (0, 3)),
    "crown": ((12, 38), (-10, 8), (125, 150), (20, 60), (-5, -45), (118, 148), (0, 3)),
    "akimbo": ((-5, 12), (-12, 5), (-50, -18), (10, 58), (15, -58), (85, 112), (0, 2)),
    "pocket": ((-6, 8), (-8, 8), (-36, -5), (8, 42), (20, -60), (55, 85), (0, 2)),
    "folded": ((-5, 10), (8, 28), (0, 38), (-14, 10), (-35, -66), (96, 118), (0, 2)),
    "behind": ((-8, 6), (-15, 0), (-50, -22), (2, 20), (-60, -30), (25, 75), (0, 2)),
    "lap": ((-8, 8), (-5, 20), (5, 42), (5, 25), (-40, 5), (40, 90), (0, 3)),
    "table": ((-5, 15), (0, 25), (30, 75), (-5, 45), (-55, 5), (45, 110), (0, 8)),
    "reach": ((-5, 25), (0, 30), (50, 150), (-20, 35), (-35, 35), (0, 50), (0, 8)),
    "down": ((-8, 10), (0, 28), (25, 100), (0, 40), (-35, 30), (0, 45), (0, 8)),
    "carry": ((-5, 10), (0, 25), (-5, 50), (0, 25), (-30, 20), (50, 105), (0, 4)),
    "leash": ((-6, 10), (0, 28), (5, 75), (-5, 40), (-30, 25), (0, 60), (2, 12)),
    "prop": ((0, 25), (-15, 5), (-58, -28), (8, 40), (-15, 45), (0, 30), (0, 2)),
    "hug": ((-5, 12), (5, 28), (45, 95), (5, 28), (-40, -5), (20, 80), (0, 2)),
}
# In these the shoulder's angles share one draw: they lead the hand to one place.
_LINKED_ARMS = ("mouth", "ear", "eyes", "crown", "akimbo", "pocket", "folded")

_CENTRE = ("tilt", "roll", *ANGLE_NAMES[:6])
_ARM = tuple(name.removeprefix("left_") for name in ANGLE_NAMES[6:12])
_LEG = ("thigh", "hip_abduction", "hip_rotation", "shank")
# A posture's columns: the centre, the leading and the other arm, then the legs.
_SIDES = ("lead", "other")
_ARM_COLUMNS = tuple(f"{side}_{name}" for side in _SIDES for name in (*_ARM, "beat"))
_LEG_COLUMNS = tuple(f"{side}_{name}" for side in _SIDES for name in _LEG)
_COLUMNS = (*_CENTRE, *_ARM_COLUMNS, *_LEG_COLUMNS)
_DRIFT_COLUMNS = tuple(name for name in _COLUMNS if not name.endswith("beat"))
# Slow drift of a sequence, degrees: the largest amplitude of one wave in each column.
_DRIFT = (3, 2, 6, 5, 7, 9, 6, 16) + 2 * (3, 3, 9, 6, 10, 11) + 2 * (3, 3, 4, 3)
_DRIFT_WAVES = 3


@dataclass(frozen=True)
class _Action:
    """What an action draws from: names repeat to weigh more; `arms` are (lead, other)."""

    legs: tuple
    trunks: tuple
    arms: tuple
    walk: float = 0.0  # share of sequences that walk
    relocate: float = 0.15  # share of sequences that change stance and carriage


_STANDING = ("stand", "stand", "stand", "shift", "shift", "wide", "step")
_SEATED = ("chair", "chair", "chair", "ankle_on_knee", "knee_over_knee", "stretched")
_FLOOR = ("tailor", "half_tailor", "floor_long", "floor_hug", "recline")
_CALM = ("upright", "upright", "upright", "turned", "slouch", "gaze_down")
_TABLE = {
    "Directions": _Action(
        _STANDING,
        (*_CALM, "turned", "lean", "gaze_up"),
        (("point", "hang"), ("point", "akimbo"), ("point_side", "hang"), ("waist", "gesture"))
        + (("raise", "hang"), ("waist", "hang"), ("hang", "hang"), ("hang", "pocket")),
    ),
    "Discussion": _Action(
        _STANDING,
        (*_CALM, "lean", "sway"),
        (("gesture", "gesture"), ("gesture", "waist"), ("gesture", "hang"), ("waist", "akimbo"))
        + (("folded", "folded"), ("point", "waist"), ("waist", "pocket"), ("waist", "waist")),
        walk=0.1,
    ),
    "Eating": _Action(
        (*_SEATED, *_STANDING, "stand", "shift"),
        ("upright", "slouch", "gaze_down", "lean"),
        (("mouth", "table"), ("mouth", "lap"), ("mouth", "waist"), ("table", "table")),
    ),
    "Greeting": _Action(
        _STANDING,
        (*_CALM, "lean", "sway"),
        (("wave", "hang"), ("wave", "hang"), ("wave", "waist"), ("raise", "hang"))
        + (("shake", "hang"), ("shake", "hang"), ("shake", "waist"), ("hang", "hang"))
        + (("point_side", "point_side"), ("raise", "raise")),
        walk=0.1,
    ),
    "Phoning": _Action(
        (*_STANDING, "stand", "chair", "ankle_on_knee"),
        (*_CALM, "lean", "sway"),
        (("ear", "hang"), ("ear", "pocket"), ("ear", "waist"), ("ear", "folded"))
        + (("ear", "akimbo"), ("ear", "hang")),
        walk=0.25,
    ),
    "Photo": _Action(
        (*_STANDING, *_STANDING, "crouch", "half_kneel"),
        ("upright", "upright", "lean", "sway", "gaze_up", "gaze_down"),
        (("eyes", "eyes"), ("eyes", "eyes"), ("eyes", "hang"), ("reach", "reach"))
        + (("waist", "hang"), ("waist", "waist")),
    ),
    "Posing": _Action(
        (*_STANDING, *_STANDING, "lift", "lift", "half_kneel"),
        (*_CALM, "sway", "lean", "gaze_up"),
        (("akimbo", "akimbo"), ("akimbo", "hang"), ("akimbo", "pocket"), ("crown", "akimbo"))
        + (("hang", "hang"), ("folded", "folded"), ("behind", "behind"), ("mouth", "folded"))
        + (("point", "akimbo"), ("point_side", "point_side"), ("raise", "hang")),
    ),
    "Purchases": _Action(
        (*_STANDING, *_STANDING, "crouch", "crouch", "half_kneel"),
        (*_CALM, "lean", "lean", "bend", "bend", "bend"),
        (("reach", "hang"), ("waist", "carry"), ("down", "down"), ("down", "carry"))
        + (("carry", "hang"), ("carry", "carry"), ("down", "hang")),
        walk=0.15,
        relocate=0.4,
    ),
    "Sitting": _Action(
        (*_SEATED, "tailor"),
        (*_CALM, "lean", "sway"),
        (("lap", "lap"), ("lap", "lap"), ("folded", "folded"), ("table", "table"))
        + (("mouth", "table"), ("gesture", "lap"), ("crown", "lap"), ("prop", "lap")),
    ),
    "SittingDown": _Action(
        (*_FLOOR, *_SEATED, "crouch", "kneel", "half_kneel", "stand", "stand", "shift"),
        ("upright", "slouch", "slouch", "lean", "turned"),
        (("prop", "prop"), ("prop", "lap"), ("hug", "hug"), ("lap", "lap"), ("down", "down"))
        + (("lap", "lap"), ("waist", "prop"), ("waist", "lap")),
        relocate=0.5,
    ),
    "Smoking": _Action(
        (*_STANDING, "stand", "chair", "knee_over_knee"),
        _CALM,
        (("mouth", "hang"), ("mouth", "pocket"), ("mouth", "folded"), ("waist", "hang"))
        + (("mouth", "lap"), ("waist", "akimbo")),
        walk=0.1,
    ),
    "Waiting": _Action(
        (*_STANDING, *_STANDING, "lift", "chair"),
        (*_CALM, "sway", "gaze_up"),
        (("folded", "folded"), ("akimbo", "akimbo"), ("behind", "behind"), ("pocket", "pocket"))
        + (("hang", "hang"), ("hang", "hang"), ("hang", "mouth"), ("waist", "hang")),
        walk=0.2,
    ),
    "WalkDog": _Action(
        (*_STANDING, *_STANDING, "crouch"),
        (*_CALM, *_CALM, "lean", "lean", "bend"),
        (("leash", "hang"), ("leash", "hang"), ("leash", "leash"), ("leash", "pocket"))
        + (("down", "hang"), ("leash", "waist")),
        walk=0.6,
        relocate=0.3,
    ),
    "Walking": _Action(
        ("stand",),
        ("upright", "upright", "upright", "turned", "gaze_down"),
        (("hang", "hang"), ("hang", "hang"), ("hang", "hang"), ("hang", "hang"))
        + (("hang", "pocket"), ("waist", "hang"), ("carry", "hang"), ("behind", "behind")),
        walk=1.0,
        relocate=0.0,
    ),
    "WalkTogether": _Action(
        ("stand", "shift"),
        ("upright", "upright", "turned", "turned", "slouch"),
        (("hang", "hang"), ("hang", "hang"), ("hang", "hang"), ("waist", "hang"))
        + (("gesture", "hang"), ("pocket", "hang"), ("point_side", "hang")),
        walk=0.9,
        relocate=0.0,
    ),
}


def sample_angles(action, num_sequences, num_frames, fps, generator):
    """Angles over time of random sequences of one action.

    Args:
        action: one of `skeleton.ACTIONS`.
        num_sequences: Q ≥ 1.
        num_frames: F ≥ 1.
        fps: frames per second, > 0.
        generator: torch.Generator on the CPU, the only source of randomness.

    Returns:
        (root_xy, root_deg, joint_deg): float64 (Q, F, 2) metres, within 0.5 of the
        origin; float64 (Q, F, 3) and (Q, F, 26), degrees, in the order of
        `bodies.ROOT_ANGLE_NAMES` and `bodies.ANGLE_NAMES`, within `JOINT_LIMITS`.

    Raises:
        TypeError: `generator` is no torch.Generator.
        ValueError: an unknown action, a count below 1, fps not above 0.
    """
    _check_request(action, num_sequences, num_frames, fps, generator)
    kind = _TABLE[action]
    time = torch.arange(num_frames, dtype=torch.float64) / fps

    walks = _rand(generator, num_sequences) < kind.walk
    first = _draw_posture(kind, walks, generator)  # (Q, 30)
    second = _draw_posture(kind, walks, generator)
    stays = walks | (_rand(generator, num_sequences) >= kind.relocate)
    centre_and_legs = torch.tensor([name not in _ARM_COLUMNS for name in _COLUMNS])
    second = torch.where(stays[:, None] & centre_and_legs, first, second)
    swing = _wave(time, generator, num_sequences, 0.08, 0.25)  # (Q, F)
    share = (0.5 + 0.5 * swing)[..., None]
    share = share * share * (3 - 2 * share)
    posture = first[:, None] * (1 - share) + second[:, None] * share  # (Q, F, 30)

    value = dict(zip(_COLUMNS, posture.unbind(-1), strict=True))
    drift = _drift(time, generator, num_sequences)
    for name, wander in zip(_DRIFT_COLUMNS, drift.unbind(-1), strict=True):
        value[name] = value[name] + wander
    for side in _SIDES:
        beat = value[f"{side}_beat"]
        hand = _wave(time, generator, num_sequences, 0.6, 1.6)
        value[f"{side}_elbow_flexion"] = value[f"{side}_elbow_flexion"] + beat * hand
        value[f"{side}_shoulder_rotation"] = value[f"{side}_shoulder_rotation"] - beat * hand
    _add_gait(value, walks, time, generator)

    for side in _SIDES:
        value[f"{side}_hip_flexion"] = value[f"{side}_thigh"] + value["tilt"]
        value[f"{side}_knee_flexion"] = value[f"{side}_thigh"] + value[f"{side}_shank"]
    turn = torch.where(walks, 70.0, 30.0)[:, None] * _rand(generator, num_sequences, 1)
    heading = 360 * _rand(generator, num_sequences, 1)
    heading = heading + turn * _wave(time, generator, num_sequences, 0.05, 0.2)
    root_deg = torch.stack([heading, value["tilt"], value["roll"]], dim=-1)
    names = [name.replace("left", "lead").replace("right", "other") for name in ANGLE_NAMES]
    joint_deg = torch.stack([value[name] for name in names], dim=-1)
    low, high, _ = zip(*JOINT_LIMITS.values(), strict=True)
    joint_deg = joint_deg.clamp(joint_deg.new_tensor(low), joint_deg.new_tensor(high))

    mirrored = _rand(generator, num_sequences, 1, 1) < 0.5
    root_mirror, joint_mirror = mirror_angles(root_deg, joint_deg)
    root_deg = torch.where(mirrored, root_mirror, root_deg)
    joint_deg = torch.where(mirrored, joint_mirror, joint_deg)
    place = 0.6 * _rand(generator, num_sequences, 1, 2) - 0.3
    roam = torch.where(walks, 0.2, 0.08)[:, None]
    paths = [roam * _wave(time, generator, num_sequences, 0.1, 0.35) for _ in range(2)]
    return place + torch.stack(paths, dim=-1), root_deg, joint_deg


def sample_motions(subject, action, num_sequences, num_frames, fps, generator):
    """Random sequences of one action by one body.

    Args:
        subject: bodies.Subject.
        action, num_sequences, num_frames, fps, generator: as for `sample_angles`.

    Returns:
        float64 (Q, F, 17, 3), metres, world frame (z up, floor at 0); the pelvis
        stays over the square of ±0.5 m around the origin.

    Raises:
        TypeError, ValueError: as `sample_angles`, or `subject` is no Subject.
    """
    if not isinstance(subject, Subject):
        raise TypeError(f"`subject` must be a bodies.Subject; got {type(subject).__name__}")
    root_xy, root_deg, joint_deg = sample_angles(action, num_sequences, num_frames, fps, generator)
    joints = forward_kinematics(
        subject.bone_lengths,
        root_xy.reshape(-1, 2),
        root_deg.reshape(-1, len(ROOT_ANGLE_NAMES)),
        joint_deg.reshape(-1, NUM_ANGLES),
    )
    return joints.reshape(num_sequences, num_frames, NUM_JOINTS, 3)


def sample_motion(subject, action, num_frames, fps, generator):
    """One sequence of `sample_motions`: float64 (F, 17, 3), metres, world frame."""
    return sample_motions(subject, action, 1, num_frames, fps, generator)[0]


def _check_request(action, num_sequences, num_frames, fps, generator):
    require(action in ACTIONS, f"`action` must be one of {', '.join(ACTIONS)}; got {action!r}")
    for name, count in (("num_sequences", num_sequences), ("num_frames", num_frames)):
        fits = isinstance(count, int) and not isinstance(count, bool) and count >= 1
        require(fits, f"`{name}` must be an integer of at least 1; got {count!r}")
    positive = isinstance(fps, int | float) and 0 < fps < math.inf
    require(positive, f"`fps` must be a positive number; got {fps!r}")
    if not isinstance(generator, torch.Generator):
        got = type(generator).__name__
        raise TypeError(f"`generator` must be a torch.Generator; got {got}")


def _rand(generator, *shape):
    return torch.rand(shape, generator=generator, dtype=torch.float64)


def _wave(time, generator, num_sequences, slowest, fastest):
    """A sine of random frequency, in Hz, and phase for each sequence: (Q, F)."""
    frequency = slowest + (fastest - slowest) * _rand(generator, num_sequences, 1)
    phase = _rand(generator, num_sequences, 1)
    return torch.sin(2 * torch.pi * (frequency * time + phase))


def _drift(time, generator, num_sequences):
    """Smooth random wandering of every column but the beats: (Q, F, 28), degrees."""
    shape = (num_sequences, _DRIFT_WAVES, len(_DRIFT), 1)
    frequency = 0.1 * 10 ** _rand(generator, *shape)  # 0.1 to 1 Hz
    phase = _rand(generator, *shape)
    waves = torch.sin(2 * torch.pi * (frequency * time + phase))  # (Q, 3, 28, F)
    amplitude = (0.1 / frequency).sqrt() * _rand(generator, *shape)
    limits = time.new_tensor(_DRIFT)[:, None]
    return (amplitude * waves * limits).sum(dim=1).transpose(1, 2)


def _draw_posture(kind, walks, generator):
    """One value for each of `_COLUMNS` and sequence: float64 (Q, 30)."""
    count = len(walks)
    stance = torch.randint(len(kind.legs), (count,), generator=generator)
    if kind.walk > 0:  # nobody walks on a chair
        stance = torch.where(walks, kind.legs.index("stand"), stance)
    carriage = torch.randint(len(kind.trunks), (count,), generator=generator)
    pair = torch.randint(len(kind.arms), (count,), generator=generator)
    tilt, roll, *legs = _within(_LEGS, kind.legs, stance, _fractions(generator, count, 10))
    lean, *trunk = _within(_TRUNKS, kind.trunks, carriage, _fractions(generator, count, 7))
    arms = []
    for names in zip(*kind.arms, strict=True):
        linked = torch.tensor([name in _LINKED_ARMS for name in names])[pair]
        fraction = _fractions(generator, count, len(_ARM) + 1)
        shoulder = slice(2, 5)
        fraction[:, shoulder] = torch.where(
            linked[:, None], fraction[:, 2:3], fraction[:, shoulder]
        )
        arms.extend(_within(_ARMS, names, pair, fraction))
    return torch.stack([tilt + lean, roll, *trunk, *arms, *legs], dim=-1)


def _fractions(generator, *shape):
    """Draws in [0, 1) from a bell around 1/2: the middle of a range is common."""
    return _rand(generator, 3, *shape).mean(dim=0)


def _fraction(generator, *shape):
    """Draws in [0, 1) from a triangle around 1/2: the middle of a range is common."""
    return (_rand(generator, *shape) + _rand(generator, *shape)) / 2


def _within(table, names, choice, fraction):
    """The columns, each (Q,), at `fraction` (Q, n) of the chosen rows' ranges."""
    rows = torch.tensor([table[name] for name in names], dtype=torch.float64)  # (names, n, 2)
    low, high = rows[choice].unbind(-1)
    return (low + fraction * (high - low)).unbind(-1)


def _add_gait(value, walks, time, generator):
    """Add a walking cycle, in place, to the sequences that walk.

    The cycle's shape follows the textbook curves (Perry & Burnfield, Gait Analysis):
    the hip swings about ±20 around 10 degrees of flexion, the knee yields to about 15
    under load and bends to about 60 in swing.
    """
    count = len(walks)
    style = _rand(generator, count, 6, 1)
    vigour = torch.where(walks[:, None], 0.45 + 0.7 * style[:, 0], 0.0)  # (Q, 1)
    cadence = 0.7 + 0.4 * style[:, 1]  # strides per second
    start = 2 * torch.pi * style[:, 2]
    for side, lag in zip(_SIDES, (0.0, math.pi), strict=True):
        phase = 2 * torch.pi * cadence * time + start + lag  # (Q, F); 0 at heel strike
        flexion = vigour * (8 + 22 * torch.cos(phase + 0.35))
        bend = 5 + 52 * _bump(phase - 0.72 * 2 * math.pi, 3.0)
        knee = vigour.clamp(max=1.15) * (bend + 12 * _bump(phase - 0.14 * 2 * math.pi, 4.0))
        value[f"{side}_thigh"] = value[f"{side}_thigh"] + flexion
        value[f"{side}_shank"] = value[f"{side}_shank"] + knee - flexion
        arm_swing = vigour * (4 + 28 * style[:, 3]) * torch.cos(phase + 0.35)
        bent = value[f"{side}_elbow_flexion"].clamp(0, 60) / 60
        swing = arm_swing * (1 - 0.8 * bent)
        value[f"{side}_shoulder_flexion"] = value[f"{side}_shoulder_flexion"] - swing
        value[f"{side}_elbow_flexion"] = value[f"{side}_elbow_flexion"] - 0.4 * swing
    lead = 2 * torch.pi * cadence * time + start
    twist = vigour * (3 + 7 * style[:, 4]) * torch.cos(lead + 0.35)
    value["trunk_rotation"] = value["trunk_rotation"] + twist
    value["roll"] = value["roll"] + vigour * 4 * style[:, 5] * torch.sin(lead)
    value["tilt"] = value["tilt"] + 3 * vigour


def _bump(phase, sharpness):
    """A smooth periodic bump of height 1 at phase 0."""
    return torch.exp(sharpness * (torch.cos(phase) - 1))
