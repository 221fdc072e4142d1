"""Real motion capture: one file of the CMU database as a `Recording` of 17 joints.

A file goes through: read, check the hierarchy, repair the bones that the conversion to
BVH lost, drop the synthetic T-pose (frame 0), forward kinematics, metres, the Human3.6M
joints, the world's axes, check the rest pose (all of these: `mocap_skeleton`), and a cut at
each one-frame jump, so that no stretch of motion reaches across one. Frame 0 is dropped
whatever it shows; a recording without a T-pose loses one frame.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import torch

from di2pose_lib.base.checks import require
from di2pose_lib.base.skeleton import BONES, JOINT_NAMES, bone_lengths
from di2pose_lib.data import bvh
from di2pose_lib.data.asf import read_asf
from di2pose_lib.data.mocap_skeleton import (
    INDEX,
    LONGEST_BONE,
    METRES_PER_UNIT,
    SHORTEST_BONE,
    check_hierarchy,
    check_rest_pose,
    check_same_person,
    repair,
    retarget,
    to_world,
)

# A joint this fast (120 mm in 1/120 s) has jumped. Fingertips and End Sites, which
# flicker and which no joint of ours needs, are not looked at.
JUMP_SPEED = 14.4  # m/s
SHORTEST_SECONDS = 0.1  # what lies between two jumps and is shorter is dropped
LARGEST_LOSS = 0.05  # share of a trial's frames so dropped; the database's largest is 0.011
FRAME_RATES = (20, 500)  # frames per second; a time in milliseconds lies far outside
FARTHEST = 100  # metres from the origin to the pelvis, along each axis


@dataclass(frozen=True, eq=False)
class Recording:
    """The motion of one trial.

    Attributes:
        name: the file's stem, such as "05_01".
        joints: float64 (F, 17, 3), metres, world frame, order of `skeleton.JOINT_NAMES`.
        frame: int64 (F,), the frame's number in the file, T-pose dropped, from 0.
        segment: int64 (F,), rising from 0; it changes where the motion jumps, so
            velocities and windows must not reach from one segment into the next.
        frame_rate: frames per second.
        jumps: numbers of the frames after which a joint jumped.
        thorax: where the lost trunk bone came from, "asf" or "spine1".
    """

    name: str
    joints: torch.Tensor
    frame: torch.Tensor
    segment: torch.Tensor
    frame_rate: float
    jumps: tuple
    thorax: str


def read_trial(path, asf=None, num_frames=None):
    """Read one BVH file of the conversion as 17 joints.

    Frames within a stretch shorter than 0.1 s between two jumps are dropped: there a
    leg was mislabelled. Elsewhere a jump begins a new segment and nothing is dropped.

    Args:
        path: the BVH file.
        asf: the subject's original skeleton, for the trunk bone that the conversion
            lost; None takes the length of Spine1 instead (joints up to 6.2 mm off).
        num_frames: how many frames the index promises after the T-pose; None: any number.

    Returns:
        a `Recording` without the T-pose.

    Raises:
        ValueError: unreadable or malformed files, another hierarchy, a frame rate outside
            `FRAME_RATES`, no frame besides the T-pose or another number than
            `num_frames`, a skeleton of someone else, bones, a rest pose or a place no person can
            have, more than 5 % of the frames lost to jumps.
    """
    motion = bvh.read_bvh(path)
    slowest, fastest = FRAME_RATES
    require(
        1 / fastest <= motion.frame_time <= 1 / slowest,
        f"{path} must have a Frame Time of {1 / fastest:g} to {1 / slowest:g} s, so {slowest} to "
        f"{fastest} frames per second; got {motion.frame_time:g} s",
    )
    check_hierarchy(path, motion)
    bones = None if asf is None else read_asf(asf)
    motion = repair(path, motion, None if bones is None else bones["thorax"])
    if bones is not None:
        check_same_person(path, motion, asf, bones)
    require(len(motion.frames) > 1, f"{path} must hold frames after the T-pose; got 1 frame")
    require(
        num_frames in (None, len(motion.frames) - 1),
        f"{path} must hold as many frames with the T-pose as the index says, "
        f"{(num_frames or 0) + 1}; got {len(motion.frames)}",
    )
    whole, motion = motion, replace(motion, frames=motion.frames[1:])
    joints, ends = (points * METRES_PER_UNIT for points in bvh.forward_kinematics(motion))
    world = to_world(retarget(joints, ends))
    _check_person(path, world)
    check_rest_pose(path, whole)
    jumps = _jumps(joints, motion.frame_time)
    frame, segment = _segments(len(joints), jumps, SHORTEST_SECONDS / motion.frame_time)
    lost = len(joints) - len(frame)
    require(
        lost <= LARGEST_LOSS * len(joints),
        f"{path} must lose at most {LARGEST_LOSS:.0%} of its {len(joints)} frames to jumps; "
        f"got {lost} lost",
    )
    return Recording(
        name=Path(path).stem,
        joints=world[frame],
        frame=frame,
        segment=segment,
        frame_rate=1 / motion.frame_time,
        jumps=jumps,
        thorax="spine1" if bones is None else "asf",
    )


def continuous(recording):
    """The recording cut at its jumps: a list of `Recording`s of one segment each."""
    parts = []
    for number in recording.segment.unique():
        rows = recording.segment == number
        joints, frame, segment = (
            field[rows] for field in (recording.joints, recording.frame, recording.segment)
        )
        parts.append(replace(recording, joints=joints, frame=frame, segment=segment))
    return parts


def _check_person(path, joints):
    """Refuse joints (F, 17, 3), metres, that lie far away or hang on bones of odd length."""
    reach = joints[:, 0].abs().amax(dim=1)
    frame = reach.argmax().item()
    require(
        reach[frame] <= FARTHEST,
        f"{path} must keep the pelvis within {FARTHEST} m of the origin; got "
        f"{reach[frame].item():.6g} m in frame {frame + 1}, counting the T-pose as 0",
    )
    for (parent, child), lengths in zip(BONES, bone_lengths(joints).unbind(dim=1), strict=True):
        shortest, longest = lengths.min().item(), lengths.max().item()
        require(
            shortest >= SHORTEST_BONE and longest <= LONGEST_BONE,
            f"{path} must have OFFSETs that put {JOINT_NAMES[child]} {SHORTEST_BONE} to "
            f"{LONGEST_BONE} m from {JOINT_NAMES[parent]}; "
            f"got {shortest if shortest < SHORTEST_BONE else longest:.3g} m",
        )


def _jumps(joints, frame_time):
    """Frames f with a joint of (F, 31, 3) faster than `JUMP_SPEED` from f to f + 1."""
    seen = [index for name, index in INDEX.items() if "HandIndex" not in name]
    moved = joints[1:, seen] - joints[:-1, seen]
    fast = (moved.norm(dim=-1) > JUMP_SPEED * frame_time).any(dim=1)
    return tuple(fast.nonzero()[:, 0].tolist())


def _segments(num_frames, jumps, shortest):
    """Kept frames and their segments, int64, of a motion cut after each of `jumps`."""
    starts = [0, *(jump + 1 for jump in jumps)]
    stops = [*starts[1:], num_frames]
    frame, segment = [], []
    for start, stop in zip(starts, stops, strict=True):
        between_jumps = start > 0 and stop < num_frames
        if not (between_jumps and stop - start < shortest):
            frame.append(torch.arange(start, stop))
            segment.append(torch.full((stop - start,), len(segment)))
    return torch.cat(frame), torch.cat(segment)
