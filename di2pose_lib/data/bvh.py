"""BVH motion files: a strict reader and forward kinematics.

The dialect is that of the CMU conversion, and nothing else is guessed at: one ROOT with
the channels Xposition Yposition Zposition Zrotation Yrotation Xrotation, every other
joint with Zrotation Yrotation Xrotation, angles in degrees. A joint's rotation in its
parent's frame is R = Rz Ry Rx on column vectors. Lengths stay in the file's own unit.
"""

import contextlib
import re
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import torch

from di2pose_lib.base.checks import require
from di2pose_lib.base.files import check_file

ROTATIONS = ("Zrotation", "Yrotation", "Xrotation")
ROOT_CHANNELS = ("Xposition", "Yposition", "Zposition", *ROTATIONS)

# No length or angle of a recording comes near this; it also keeps the kinematics finite.
LARGEST_NUMBER = 1e6

_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?|[+-]?(nan|inf)", re.I)


@dataclass(frozen=True, eq=False)
class Motion:
    """One BVH file.

    Attributes:
        names: the J joint names in the file's order, parents before children.
        parents: index of each joint's parent; −1 for the root, which is joint 0.
        offsets: float64 (J, 3), each joint in its parent's frame at rest, file units.
        end_parents: the joint that each of the E End Sites hangs on.
        end_offsets: float64 (E, 3), file units.
        frames: float64 (F, 3 + 3 J): root position, then Z, Y, X degrees of each joint.
        frame_time: seconds from one frame to the next.
    """

    names: tuple
    parents: tuple
    offsets: torch.Tensor
    end_parents: tuple
    end_offsets: torch.Tensor
    frames: torch.Tensor
    frame_time: float


def forward_kinematics(motion):
    """Positions of all joints and End Sites.

    Following a chain from the root, R_j = R_parent Rz Ry Rx and
    p_j = p_parent + R_parent offset_j; the root lies at its OFFSET plus its
    position channels.

    Args:
        motion: a `Motion`.

    Returns:
        (joints, ends): float64 (F, J, 3) and (F, E, 3), file units and axes.
    """
    local = _rotations(motion.frames[:, 3:].reshape(-1, len(motion.names), 3))  # (F, J, 3, 3)
    positions = [motion.frames[:, :3] + motion.offsets[0]]
    turns = [local[:, 0]]
    for joint, parent in enumerate(motion.parents[1:], start=1):
        positions.append(positions[parent] + turns[parent] @ motion.offsets[joint])
        turns.append(turns[parent] @ local[:, joint])
    joints = torch.stack(positions, dim=1)
    ends = joints.new_zeros(len(joints), len(motion.end_parents), 3)
    for end, parent in enumerate(motion.end_parents):
        ends[:, end] = positions[parent] + turns[parent] @ motion.end_offsets[end]
    return joints, ends


def read_bvh(path):
    """Read a BVH file.

    Args:
        path: a text file, UTF-8, in the dialect of this module's docstring.

    Returns:
        a `Motion`.

    Raises:
        ValueError: no such file, not text, or not this dialect; one sentence with the
            file, the line, the wanted and the got.
    """
    lines = read_text_lines(path)
    names, parents, offsets, ends, line = _read_hierarchy(path, lines)
    frames, frame_time = _read_motion(path, lines, line, 3 + 3 * len(names))
    return Motion(
        names=tuple(names),
        parents=tuple(parents),
        offsets=torch.tensor(offsets, dtype=torch.float64),
        end_parents=tuple(parent for parent, _ in ends),
        end_offsets=torch.tensor([offset for _, offset in ends], dtype=torch.float64).view(-1, 3),
        frames=torch.from_numpy(frames),
        frame_time=frame_time,
    )


def read_text_lines(path):
    """Lines of a UTF-8 text file without their ends (LF or CRLF); refuses anything else.

    A byte order mark at the beginning is skipped.
    """
    check_file(path)
    try:
        text = Path(path).read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = error.object.count(b"\n", 0, error.start) + 1
        got = f"byte 0x{error.object[error.start]:02x}"
        raise ValueError(f"{path}, line {line}: wanted UTF-8 text; got {got}") from None
    expect(text.strip(), f"{path}, line 1", "text", "an empty file")
    line = text.partition("\0")[0].count("\n") + 1
    expect("\0" not in text, f"{path}, line {line}", "text", "a NUL character")
    return text.replace("\r\n", "\n").removesuffix("\n").split("\n")


def expect(fits, where, wanted, got):
    """Refuse what does not fit at a place of a file: one sentence with place, wanted and got."""
    require(fits, f"{where}: wanted {wanted}; got {got}")


def parse_number(where, word, wanted):
    """The finite float that `word` spells in plain ASCII decimals, at most 1e6 in size."""
    expect(_NUMBER.fullmatch(word), where, f"{wanted} to be a number", show(word))
    number = float(word)  # NaN, too, is not at most 1e6
    within = f"{wanted} to be finite and within ±{LARGEST_NUMBER:g}"
    expect(abs(number) <= LARGEST_NUMBER, where, within, show(word))
    return number


def show(text):
    """A piece of a file, quoted and cut, fit for a message."""
    return repr(text if len(text) <= 40 else text[:37] + "...")


class _Words:
    """The words of a text one after the other, with the line of the last one taken."""

    def __init__(self, path, lines):
        self.path, self.line = path, 1
        self._words = ((n, word) for n, text in enumerate(lines, start=1) for word in text.split())

    @property
    def where(self):
        return f"{self.path}, line {self.line}"

    def take(self, wanted):
        """The next word; `wanted` says what should stand here."""
        self.line, word = next(self._words, (self.line, None))
        expect(word is not None, self.where, wanted, "the end of the file")
        return word

    def expect(self, *options):
        """The next word, which must be one of `options`."""
        wanted = " or ".join(repr(option) for option in options)
        word = self.take(wanted)
        expect(word in options, self.where, wanted, show(word))
        return word

    def numbers(self, wanted):
        """The next three words as finite floats."""
        words = (self.take(wanted) for _ in range(3))
        return [parse_number(self.where, word, wanted) for word in words]


def _read_hierarchy(path, lines):
    """Everything up to and with the word MOTION, and the line on which that stands."""
    words = _Words(path, lines)
    words.expect("HIERARCHY")
    words.expect("ROOT")
    names, parents, offsets, ends = [], [], [], []
    open_joints = []  # indices of the joints whose brace is open, the innermost last
    keyword = "ROOT"
    while True:
        if keyword == "}":
            open_joints.pop()
        elif keyword == "End":
            for word in ("Site", "{", "OFFSET"):
                words.expect(word)
            ends.append((open_joints[-1], words.numbers("an OFFSET of End Site")))
            words.expect("}")
        else:
            wanted = f"a joint's name after {keyword}, not used before"
            name = words.take(wanted)
            expect(name not in ("{", "}"), words.where, wanted, show(name))
            expect(name not in names, words.where, wanted, f"{show(name)} again")
            names.append(name)
            parents.append(open_joints[-1] if open_joints else -1)
            open_joints.append(len(names) - 1)
            words.expect("{")
            words.expect("OFFSET")
            offsets.append(words.numbers(f"an OFFSET of {show(name)}"))
            channels = ROOT_CHANNELS if keyword == "ROOT" else ROTATIONS
            for word in ("CHANNELS", str(len(channels)), *channels):
                words.expect(word)
        if not open_joints:
            break
        keyword = words.expect("JOINT", "End", "}")
    words.expect("MOTION")
    return names, parents, offsets, ends, words.line


def _read_motion(path, lines, motion_line, num_columns):
    """Frames (F, C) float64 and the frame time, from the lines after MOTION."""
    where, alone = f"{path}, line {motion_line}", lines[motion_line - 1]
    expect(alone.split() == ["MOTION"], where, "'MOTION' alone on its line", show(alone))
    filled = ((n, text) for n, text in enumerate(lines, 1) if n > motion_line and text.strip())

    def header(wanted):
        """(line, where, what stands after the words `wanted`) of the next line that is filled."""
        line, text = next(filled, (len(lines), None))
        where = f"{path}, line {line}"
        expect(text is not None, where, repr(wanted), "the end of the file")
        expect(text.strip().startswith(wanted), where, repr(wanted), show(text.strip()))
        return line, where, text.strip().removeprefix(wanted).strip()

    _, where, word = header("Frames:")
    fits = re.fullmatch(r"[0-9]{1,9}", word) and int(word) > 0
    expect(fits, where, "a positive count after 'Frames:'", show(word))
    num_frames = int(word)
    line, where, word = header("Frame Time:")
    frame_time = parse_number(where, word, "seconds after 'Frame Time:'")
    expect(frame_time > 0, where, "a positive 'Frame Time:'", show(word))

    body = lines[line:]
    while body and not body[-1].strip():
        body.pop()
    # Too few rows: the last line that there is. Too many: the first one beyond.
    where = f"{path}, line {line + min(len(body), num_frames + 1)}"
    wanted = f"{num_frames} rows of frames, as 'Frames:' says"
    expect(len(body) == num_frames, where, wanted, len(body))
    return _read_rows(path, body, line + 1, num_columns), frame_time


def _read_rows(path, body, first_line, num_columns):
    """Rows of numbers as float64 (F, C): all at once, or line by line to find the fault."""
    rows = [text.split() for text in body]
    plain = all(text.isascii() and "_" not in text for text in body)  # float() takes more
    if plain and all(len(row) == num_columns for row in rows):
        with contextlib.suppress(ValueError):  # the loop below names the line
            frames = np.array(list(map(float, chain.from_iterable(rows))))
            if bool((np.abs(frames) <= LARGEST_NUMBER).all()):
                return frames.reshape(-1, num_columns)
    frames = []
    for line, row in enumerate(rows, start=first_line):
        where = f"{path}, line {line}"
        expect(len(row) == num_columns, where, f"{num_columns} columns in a frame", len(row))
        frames.append([parse_number(where, word, "a frame's channel") for word in row])
    return np.array(frames)


def _rotations(degrees):
    """Rz Ry Rx, float64 (..., 3, 3), of angles (..., 3) in degrees in the order Z, Y, X."""
    z, y, x = degrees.deg2rad().unbind(-1)
    (sz, cz), (sy, cy), (sx, cx) = ((angle.sin(), angle.cos()) for angle in (z, y, x))
    entries = [
        *(cz * cy, cz * sy * sx - sz * cx, cz * sy * cx + sz * sx),
        *(sz * cy, sz * sy * sx + cz * cx, sz * sy * cx - cz * sx),
        *(-sy, cy * sx, cy * cx),
    ]
    return torch.stack(entries, dim=-1).unflatten(-1, (3, 3))
