"""Real motion capture: the CMU database in B. Hahne's BVH conversion, as 17 joints.

One file goes through: read, check the hierarchy, repair the offsets that the conversion
lost, drop the synthetic T-pose (frame 0), forward kinematics, metres, the Human3.6M
joints, the world's axes, and a cut at each one-frame jump.

World from file axes (the file has y up, its T-pose faces +z, left is +x):
(x, y, z) → (x, −z, y), a turn by +90° about x, no reflection. So the world is
right-handed with z up, the T-pose faces −y, and who looks at it along +y has x to the
right. Positions are not moved: the floor stays near z = 0.
"""

import csv
import re
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import torch

from di2pose_lib import bvh
from di2pose_lib.checks import require

# The file's unit is 1/0.45 inch: 56.4444 mm.
INCHES_PER_UNIT = 1 / 0.45
METRES_PER_UNIT = 0.0254 * INCHES_PER_UNIT

SPLITS = ("train", "validation", "test")
INDEX_COLUMNS = ("split", "subject", "trial", "description", "frames_with_t_pose", "path")

# An action and the word that tells it: the first whose word begins a word of the
# description wins, so "playground - jump down" is playground and "run, leap" is run.
# The training subjects hold all of them, dance too; the test subjects walk and dance.
ACTION_WORDS = (
    ("playground", "playground"),
    ("dance", "dance"),
    ("run", "run"),
    ("walk", "walk"),
    ("jump", "jump"),
)
ACTIONS = ("walk", "run", "jump", "dance", "playground", "other")

# A joint this fast (120 mm in 1/120 s) has jumped. Fingertips and End Sites, which
# flicker and which no joint of ours needs, are not looked at.
JUMP_SPEED = 14.4  # m/s
SHORTEST_SECONDS = 0.1  # what lies between two jumps and is shorter is dropped

# Parent to child in the order of every file: 31 joints, an End Site after each chain.
_CHAINS = (
    "Hips LHipJoint LeftUpLeg LeftLeg LeftFoot LeftToeBase",
    "Hips RHipJoint RightUpLeg RightLeg RightFoot RightToeBase",
    "Hips LowerBack Spine Spine1 Neck Neck1 Head",
    "Spine1 LeftShoulder LeftArm LeftForeArm LeftHand LeftFingerBase LeftHandIndex1",
    "LeftHand LThumb",
    "Spine1 RightShoulder RightArm RightForeArm RightHand RightFingerBase RightHandIndex1",
    "RightHand RThumb",
)
# (joint, its parent), and the joints that carry an End Site.
HIERARCHY = (("Hips", None),) + tuple(
    (child, parent) for chain in _CHAINS for parent, child in pairwise(chain.split())
)
END_SITES = tuple(chain.split()[-1] for chain in _CHAINS)
# Bones of an ASF file and the joints whose OFFSET must equal them.
THIGHS = {"lfemur": "LeftLeg", "rfemur": "RightLeg"}
_INDEX = {name: index for index, (name, _) in enumerate(HIERARCHY)}


@dataclass(frozen=True)
class Trial:
    """One row of the index.

    Attributes:
        split: of `SPLITS`; no subject is in two.
        subject, name: such as "05" and "05_01".
        description: the database's words.
        action: of `ACTIONS`.
        num_frames: recorded frames, without the T-pose and before any is dropped.
        path: the BVH file.
        asf: the subject's original skeleton, or None where the folder has none.
    """

    split: str
    subject: str
    name: str
    description: str
    action: str
    num_frames: int
    path: Path
    asf: Path | None


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


def read_index(root):
    """The trials that `root`/INDEX.csv lists.

    Args:
        root: the data folder, with INDEX.csv, the BVH files, and asf/ if there is one.

    Returns:
        tuple of `Trial`, in the index's order.

    Raises:
        ValueError: no such folder or index, missing columns, an unknown split, a
            missing file, a trial twice, a subject in two splits.
    """
    root = Path(root)
    require(root.is_dir(), f"`root` must be a folder with INDEX.csv and BVH files; got {root}")
    index = root / "INDEX.csv"
    reader = csv.DictReader(bvh.read_text_lines(index))
    missing = [name for name in INDEX_COLUMNS if name not in (reader.fieldnames or ())]
    require(
        not missing,
        f"{index}, line 1: wanted the columns {', '.join(INDEX_COLUMNS)}; "
        f"got none named {', '.join(missing)}",
    )
    trials = []
    split_of, seen = {}, set()
    for row in reader:
        where = f"{index}, line {reader.line_num}"
        require(
            None not in row and None not in row.values(),
            f"{where}: wanted {len(reader.fieldnames)} columns; got another number",
        )
        trial = _trial(root, where, row)
        require(trial.name not in seen, f"{where}: wanted each trial once; got {trial.name} again")
        seen.add(trial.name)
        other = split_of.setdefault(trial.subject, trial.split)
        require(
            other == trial.split,
            f"{where}: wanted subject {trial.subject} in one split; got {other} and {trial.split}",
        )
        trials.append(trial)
    require(trials, f"{index}, line 2: wanted at least one trial; got the end of the file")
    return tuple(trials)


def _trial(root, where, row):
    require(
        row["split"] in SPLITS,
        f"{where}: wanted a split of {', '.join(SPLITS)}; got {bvh.show(row['split'])}",
    )
    require(
        row["subject"] and row["trial"].startswith(row["subject"] + "_"),
        f"{where}: wanted a trial named after its subject {bvh.show(row['subject'])}; "
        f"got {bvh.show(row['trial'])}",
    )
    count = row["frames_with_t_pose"]
    require(
        re.fullmatch(r"[0-9]{1,9}", count) and int(count) > 1,
        f"{where}: wanted frames_with_t_pose of at least 2; got {bvh.show(count)}",
    )
    path = root / row["path"]
    require(
        path.resolve().is_relative_to(root.resolve()) and path.is_file(),
        f"{where}: wanted the path of a file inside {root}; got {bvh.show(row['path'])}",
    )
    asf = root / "asf" / f"{row['subject']}.asf"
    return Trial(
        split=row["split"],
        subject=row["subject"],
        name=row["trial"],
        description=row["description"],
        action=action_of(row["description"]),
        num_frames=int(count) - 1,
        path=path,
        asf=asf if asf.is_file() else None,
    )


def action_of(description):
    """The action, of `ACTIONS`, that a trial's description tells (see `ACTION_WORDS`)."""
    for action, word in ACTION_WORDS:
        if re.search(rf"\b{word}", description.lower()):
            return action
    return "other"


def read_trial(path, asf=None):
    """Read one BVH file of the conversion as 17 joints.

    Frames within a stretch shorter than 0.1 s between two jumps are dropped: there a
    leg was mislabelled. Elsewhere a jump begins a new segment and nothing is dropped.

    Args:
        path: the BVH file.
        asf: the subject's original skeleton, for the trunk bone that the conversion
            lost; None takes the length of Spine1 instead (joints up to 6.2 mm off).

    Returns:
        a `Recording` without the T-pose.

    Raises:
        ValueError: unreadable or malformed files, another hierarchy, no frame besides
            the T-pose, a skeleton of someone else.
    """
    motion = bvh.read_bvh(path)
    check_hierarchy(path, motion)
    bones = None if asf is None else read_asf(asf)
    motion = repair(path, motion, None if bones is None else bones["thorax"])
    if bones is not None:
        _check_same_person(path, motion, asf, bones)
    require(len(motion.frames) > 1, f"{path} must hold frames after the T-pose; got 1 frame")
    motion = replace(motion, frames=motion.frames[1:])
    joints, ends = (points * METRES_PER_UNIT for points in bvh.forward_kinematics(motion))
    jumps = _jumps(joints, motion.frame_time)
    frame, segment = _segments(len(joints), jumps, SHORTEST_SECONDS / motion.frame_time)
    return Recording(
        name=Path(path).stem,
        joints=to_world(retarget(joints, ends))[frame],
        frame=frame,
        segment=segment,
        frame_rate=1 / motion.frame_time,
        jumps=jumps,
        thorax="spine1" if bones is None else "asf",
    )


def check_hierarchy(path, motion):
    """Refuse a motion of other joints, End Sites or unit than the conversion's."""
    got = [
        (name, None if parent < 0 else motion.names[parent])
        for name, parent in zip(motion.names, motion.parents, strict=True)
    ]
    for (name, parent), (wanted, wanted_parent) in zip(got, HIERARCHY, strict=False):
        require(
            (name, parent) == (wanted, wanted_parent),
            f"{path} must have the CMU hierarchy, with joint {wanted} on {wanted_parent}; "
            f"got {bvh.show(name)} on {parent}",
        )
    require(
        len(got) == len(HIERARCHY),
        f"{path} must have the CMU hierarchy of {len(HIERARCHY)} joints; got {len(got)}",
    )
    ends = tuple(motion.names[parent] for parent in motion.end_parents)
    require(
        ends == END_SITES,
        f"{path} must have End Sites on {', '.join(END_SITES)}; got {', '.join(ends) or 'none'}",
    )
    for joint in THIGHS.values():
        thigh = motion.offsets[_INDEX[joint]].norm().item() * METRES_PER_UNIT
        require(
            0.15 <= thigh <= 0.8,
            f"{path} must count in 1/0.45 inch, so that the thigh above {joint} is 0.15 to 0.8 m; "
            f"got {thigh:.3g} m",
        )


def repair(path, motion, thorax=None):
    """The motion with the bones that the conversion dropped.

    OFFSET(Neck) = OFFSET(LeftShoulder) = OFFSET(RightShoulder) := the thorax bone, and
    OFFSET(FingerBase) = OFFSET(Thumb) := half of OFFSET(Hand) on either side. Unrepaired
    the trunk is about 117 mm and the forearm about 95 mm too short.

    Args:
        path: the file, for the message.
        motion: of the CMU hierarchy, those seven offsets zero.
        thorax: float64 (3,), the original bone in file units; None takes OFFSET(Spine1).

    Raises:
        ValueError: one of those offsets is not zero: not this conversion.
    """
    offsets = motion.offsets.clone()
    lost = {}
    for name in ("Neck", "LeftShoulder", "RightShoulder"):
        lost[name] = offsets[_INDEX["Spine1"]] if thorax is None else thorax
    for side in ("Left", "Right"):
        lost[side + "FingerBase"] = lost[side[0] + "Thumb"] = 0.5 * offsets[_INDEX[side + "Hand"]]
    for name, offset in lost.items():
        got = offsets[_INDEX[name]].tolist()
        require(
            got == [0, 0, 0],
            f"{path} must have a zero OFFSET at {name}, which this conversion lost; got {got}",
        )
        offsets[_INDEX[name]] = offset
    return replace(motion, offsets=offsets)


def retarget(joints, ends):
    """The Human3.6M 17 joints (F, 17, 3) from joints (F, 31, 3) and End Sites (F, 7, 3).

    Pelvis: midpoint of the hip joints (not Hips, which lies about 100 mm higher); nose:
    midpoint of Neck1 and Head; head: Head's End Site; wrist: FingerBase.
    """

    def at(*names):
        return joints[:, [_INDEX[name] for name in names]]

    def limb(side, *parts):
        return at(*(side + part for part in parts))

    hips = at("LeftUpLeg", "RightUpLeg").mean(1, keepdim=True)
    nose = at("Neck1", "Head").mean(1, keepdim=True)
    head = ends[:, [END_SITES.index("Head")]]
    legs = [limb(side, "UpLeg", "Leg", "Foot") for side in ("Right", "Left")]
    arms = [limb(side, "Arm", "ForeArm", "FingerBase") for side in ("Left", "Right")]
    return torch.cat([hips, *legs, at("Spine", "Neck"), nose, head, *arms], dim=1)


def to_world(points):
    """Points (..., 3) of the file's axes, y up, in the world's, z up: (x, −z, y)."""
    x, y, z = points.unbind(-1)
    return torch.stack([x, -z, y], dim=-1)


def subsample(recording, frame_rate):
    """The recording at a lower frame rate: in each segment, from its first frame on, the
    recorded frame nearest to each multiple of 1 / frame_rate (none is interpolated).

    Raises:
        ValueError: a rate that is not positive or above the recording's.
    """
    require(
        0 < frame_rate <= recording.frame_rate * 1.001,  # 0.0083333 s is 120 Hz
        f"`frame_rate` must lie in (0, {recording.frame_rate:.4g}]; got {frame_rate}",
    )
    stride = max(recording.frame_rate / frame_rate, 1.0)
    kept = []
    for segment in recording.segment.unique().tolist():
        own = (recording.segment == segment).nonzero()[:, 0]
        steps = (torch.arange(len(own), dtype=torch.float64) * stride).round().long()
        kept.append(own[steps[steps < len(own)]])
    kept = torch.cat(kept)
    return replace(
        recording,
        joints=recording.joints[kept],
        frame=recording.frame[kept],
        segment=recording.segment[kept],
        frame_rate=float(recording.frame_rate / stride),
    )


def read_asf(path):
    """Bones of an Acclaim skeleton: direction × length, as the BVH's offsets.

    Both files count in 1/0.45 inch, so no scale lies between them.

    Args:
        path: an ASF file with `length 0.45` among its :units.

    Returns:
        dict from bone name to float64 (3,), file units; it holds the
        thorax and both thighs.

    Raises:
        ValueError: unreadable or malformed file, another unit, a bone missing; one
            sentence with the file, the line, the wanted and the got.
    """
    lines = bvh.read_text_lines(path)
    section, unit, bones, entries = "", None, {}, None  # entries: of the open bone
    for line, text in enumerate(lines, start=1):
        where, (keyword, *values) = f"{path}, line {line}", text.split() or [""]
        if keyword.startswith(":"):
            require(entries is None, f"{where}: wanted 'end' of a bone; got {bvh.show(keyword)}")
            section = keyword
        elif (section, keyword) == (":units", "length"):
            (unit,) = _numbers(path, line, "length", values, 1)
            require(
                abs(unit * INCHES_PER_UNIT - 1) < 1e-6,
                f"{where}: wanted the length unit 0.45 of the BVH files; got {unit:g}",
            )
        elif section == ":bonedata" and keyword == "begin":
            require(entries is None, f"{where}: wanted 'end' of the bone before; got 'begin'")
            entries = {}
        elif section == ":bonedata" and keyword == "end":
            require(entries is not None, f"{where}: wanted 'begin' of a bone; got 'end'")
            name, offset = _bone(path, line, entries)
            require(name not in bones, f"{where}: wanted each bone once; got {name!r} again")
            bones[name], entries = offset, None
        elif entries is not None:
            entries[keyword] = (line, values)
    where = f"{path}, line {len(lines)}"
    require(entries is None, f"{where}: wanted 'end' of a bone; got the end of the file")
    require(unit is not None, f"{where}: wanted a 'length' under ':units'; got none in the file")
    for name in ("thorax", *THIGHS):
        require(name in bones, f"{where}: wanted a bone named {name!r}; got none in the file")
    return bones


def _bone(path, end_line, entries):
    """Name and offset of one bone, from its entries {keyword: (line, values)}."""
    for keyword in ("name", "direction", "length"):
        require(
            keyword in entries,
            f"{path}, line {end_line}: wanted a {keyword!r} before 'end'; got none",
        )
    line, values = entries["name"]
    require(len(values) == 1, f"{path}, line {line}: wanted one name; got {len(values)}")
    line, words = entries["direction"]
    direction = torch.tensor(_numbers(path, line, "direction", words, 3), dtype=torch.float64)
    norm = direction.norm().item()
    require(
        abs(norm - 1) < 1e-3, f"{path}, line {line}: wanted a unit direction; got length {norm:g}"
    )
    line, words = entries["length"]
    (length,) = _numbers(path, line, "length", words, 1)
    require(length > 0, f"{path}, line {line}: wanted a positive length; got {length:g}")
    return values[0], direction * length


def _numbers(path, line, keyword, words, count):
    require(
        len(words) == count,
        f"{path}, line {line}: wanted {count} number(s) after {keyword!r}; got {len(words)}",
    )
    return [bvh.parse_number(path, line, word, keyword) for word in words]


def _check_same_person(path, motion, asf, bones):
    """Refuse a skeleton whose thighs are not the motion's."""
    for bone, joint in THIGHS.items():
        apart = (bones[bone] - motion.offsets[_INDEX[joint]]).norm().item()
        require(
            apart < 1e-3,
            f"`asf` must be the skeleton of {path}; got {asf}, whose {bone} is "
            f"{apart * METRES_PER_UNIT * 1000:.3g} mm off",
        )


def _jumps(joints, frame_time):
    """Frames f with a joint of (F, 31, 3) faster than `JUMP_SPEED` from f to f + 1."""
    seen = [index for name, index in _INDEX.items() if "HandIndex" not in name]
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
