"""Which postures each of the 15 Human3.6M actions is made of: tables of angle ranges.

Three tables list stances of the legs, carriages of trunk and head, and postures of one
arm. Each row is a (low, high) range of degrees for every angle, in the order told above
its table. A `Repertoire` names the rows that an action may take; `motions` draws from
them. All of it is our own design, meant to be broad: the ranges may ask for more than a
joint can do, which `bodies.JOINT_LIMITS` cuts off.
"""

from dataclasses import dataclass

# Degrees (low, high): pelvis tilt, roll; then twice, leading leg first, thigh (forward
# of the vertical), abduction, rotation, shank (backward of the vertical). Slopes, not
# joint angles, so that the feet stay below a standing body: hip = thigh + tilt, knee =
# thigh + shank.
LEGS = {
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
TRUNKS = {
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
ARMS = {
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
LINKED_ARMS = ("mouth", "ear", "eyes", "crown", "akimbo", "pocket", "folded")


@dataclass(frozen=True)
class Repertoire:
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
# In the order of `skeleton.ACTIONS`.
REPERTOIRES = {
    "Directions": Repertoire(
        _STANDING,
        (*_CALM, "turned", "lean", "gaze_up"),
        (("point", "hang"), ("point", "akimbo"), ("point_side", "hang"), ("waist", "gesture"))
        + (("raise", "hang"), ("waist", "hang"), ("hang", "hang"), ("hang", "pocket")),
    ),
    "Discussion": Repertoire(
        _STANDING,
        (*_CALM, "lean", "sway"),
        (("gesture", "gesture"), ("gesture", "waist"), ("gesture", "hang"), ("waist", "akimbo"))
        + (("folded", "folded"), ("point", "waist"), ("waist", "pocket"), ("waist", "waist")),
        walk=0.1,
    ),
    "Eating": Repertoire(
        (*_SEATED, *_STANDING, "stand", "shift"),
        ("upright", "slouch", "gaze_down", "lean"),
        (("mouth", "table"), ("mouth", "lap"), ("mouth", "waist"), ("table", "table")),
    ),
    "Greeting": Repertoire(
        _STANDING,
        (*_CALM, "lean", "sway"),
        (("wave", "hang"), ("wave", "hang"), ("wave", "waist"), ("raise", "hang"))
        + (("shake", "hang"), ("shake", "hang"), ("shake", "waist"), ("hang", "hang"))
        + (("point_side", "point_side"), ("raise", "raise")),
        walk=0.1,
    ),
    "Phoning": Repertoire(
        (*_STANDING, "stand", "chair", "ankle_on_knee"),
        (*_CALM, "lean", "sway"),
        (("ear", "hang"), ("ear", "pocket"), ("ear", "waist"), ("ear", "folded"))
        + (("ear", "akimbo"), ("ear", "hang")),
        walk=0.25,
    ),
    "Photo": Repertoire(
        (*_STANDING, *_STANDING, "crouch", "half_kneel"),
        ("upright", "upright", "lean", "sway", "gaze_up", "gaze_down"),
        (("eyes", "eyes"), ("eyes", "eyes"), ("eyes", "hang"), ("reach", "reach"))
        + (("waist", "hang"), ("waist", "waist")),
    ),
    "Posing": Repertoire(
        (*_STANDING, *_STANDING, "lift", "lift", "half_kneel"),
        (*_CALM, "sway", "lean", "gaze_up"),
        (("akimbo", "akimbo"), ("akimbo", "hang"), ("akimbo", "pocket"), ("crown", "akimbo"))
        + (("hang", "hang"), ("folded", "folded"), ("behind", "behind"), ("mouth", "folded"))
        + (("point", "akimbo"), ("point_side", "point_side"), ("raise", "hang")),
    ),
    "Purchases": Repertoire(
        (*_STANDING, *_STANDING, "crouch", "crouch", "half_kneel"),
        (*_CALM, "lean", "lean", "bend", "bend", "bend"),
        (("reach", "hang"), ("waist", "carry"), ("down", "down"), ("down", "carry"))
        + (("carry", "hang"), ("carry", "carry"), ("down", "hang")),
        walk=0.15,
        relocate=0.4,
    ),
    "Sitting": Repertoire(
        (*_SEATED, "tailor"),
        (*_CALM, "lean", "sway"),
        (("lap", "lap"), ("lap", "lap"), ("folded", "folded"), ("table", "table"))
        + (("mouth", "table"), ("gesture", "lap"), ("crown", "lap"), ("prop", "lap")),
    ),
    "SittingDown": Repertoire(
        (*_FLOOR, *_SEATED, "crouch", "kneel", "half_kneel", "stand", "stand", "shift"),
        ("upright", "slouch", "slouch", "lean", "turned"),
        (("prop", "prop"), ("prop", "lap"), ("hug", "hug"), ("lap", "lap"), ("down", "down"))
        + (("lap", "lap"), ("waist", "prop"), ("waist", "lap")),
        relocate=0.5,
    ),
    "Smoking": Repertoire(
        (*_STANDING, "stand", "chair", "knee_over_knee"),
        _CALM,
        (("mouth", "hang"), ("mouth", "pocket"), ("mouth", "folded"), ("waist", "hang"))
        + (("mouth", "lap"), ("waist", "akimbo")),
        walk=0.1,
    ),
    "Waiting": Repertoire(
        (*_STANDING, *_STANDING, "lift", "chair"),
        (*_CALM, "sway", "gaze_up"),
        (("folded", "folded"), ("akimbo", "akimbo"), ("behind", "behind"), ("pocket", "pocket"))
        + (("hang", "hang"), ("hang", "hang"), ("hang", "mouth"), ("waist", "hang")),
        walk=0.2,
    ),
    "WalkDog": Repertoire(
        (*_STANDING, *_STANDING, "crouch"),
        (*_CALM, *_CALM, "lean", "lean", "bend"),
        (("leash", "hang"), ("leash", "hang"), ("leash", "leash"), ("leash", "pocket"))
        + (("down", "hang"), ("leash", "waist")),
        walk=0.6,
        relocate=0.3,
    ),
    "Walking": Repertoire(
        ("stand",),
        ("upright", "upright", "upright", "turned", "gaze_down"),
        (("hang", "hang"), ("hang", "hang"), ("hang", "hang"), ("hang", "hang"))
        + (("hang", "pocket"), ("waist", "hang"), ("carry", "hang"), ("behind", "behind")),
        walk=1.0,
        relocate=0.0,
    ),
    "WalkTogether": Repertoire(
        ("stand", "shift"),
        ("upright", "upright", "turned", "turned", "slouch"),
        (("hang", "hang"), ("hang", "hang"), ("hang", "hang"), ("waist", "hang"))
        + (("gesture", "hang"), ("pocket", "hang"), ("point_side", "hang")),
        walk=0.9,
        relocate=0.0,
    ),
}
