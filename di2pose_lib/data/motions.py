"""Procedural motion: joint angles over time for each of the 15 Human3.6M actions.

A sequence draws a stance of the legs, a carriage of trunk and head and one posture
for each arm from the ranges of `postures`, as its action allows, twice; it moves back and
forth between the two draws, on top of which come a gait cycle where the action
walks, beating hands, and slow drift of every angle. Half of all sequences are
mirrored, so left and right are balanced. `bodies.JOINT_LIMITS` cuts off what no joint
can do.
"""

import math

import torch

from di2pose_lib.base.skeleton import NUM_JOINTS
from di2pose_lib.data.bodies import (
    ANGLE_NAMES,
    JOINT_LIMITS,
    NUM_ANGLES,
    ROOT_ANGLE_NAMES,
    forward_kinematics,
    mirror_angles,
)
from di2pose_lib.data.postures import ARMS, LEGS, LINKED_ARMS, REPERTOIRES, TRUNKS

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
    """
    kind = REPERTOIRES[action]
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
    """
    root_xy, root_deg, joint_deg = sample_angles(action, num_sequences, num_frames, fps, generator)
    joints = forward_kinematics(
        subject.bone_lengths,
        root_xy.reshape(-1, 2),
        root_deg.reshape(-1, len(ROOT_ANGLE_NAMES)),
        joint_deg.reshape(-1, NUM_ANGLES),
    )
    return joints.reshape(num_sequences, num_frames, NUM_JOINTS, 3)


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
    tilt, roll, *legs = _within(LEGS, kind.legs, stance, _fractions(generator, count, 10))
    lean, *trunk = _within(TRUNKS, kind.trunks, carriage, _fractions(generator, count, 7))
    arms = []
    for names in zip(*kind.arms, strict=True):
        linked = torch.tensor([name in LINKED_ARMS for name in names])[pair]
        fraction = _fractions(generator, count, len(_ARM) + 1)
        shoulder = slice(2, 5)
        fraction[:, shoulder] = torch.where(
            linked[:, None], fraction[:, 2:3], fraction[:, shoulder]
        )
        arms.extend(_within(ARMS, names, pair, fraction))
    return torch.stack([tilt + lean, roll, *trunk, *arms, *legs], dim=-1)


def _fractions(generator, *shape):
    """Draws in [0, 1) from a bell around 1/2: the middle of a range is common."""
    return _rand(generator, 3, *shape).mean(dim=0)


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
