import math

import numpy as np
import pytest
import torch

from di2pose_lib.data import bvh

# A root, an arm of two joints that points along x, and a tip.
TINY = """HIERARCHY
ROOT hip
{
  OFFSET 0 0 0
  CHANNELS 6 Xposition Yposition Zposition Zrotation Yrotation Xrotation
  JOINT elbow
  {
    OFFSET 2 0 0
    CHANNELS 3 Zrotation Yrotation Xrotation
    JOINT wrist
    {
      OFFSET 1 0 0
      CHANNELS 3 Zrotation Yrotation Xrotation
      End Site
      {
        OFFSET 0 0 .5
      }
    }
  }
}
MOTION
Frames: 3
Frame Time: .0083333
0 0 0 0 0 0 0 0 0 0 0 0
10 20 30 90 0 0 0 0 0 0 0 0
0 0 0 0 0 90 90 0 0 0 90 0
"""


def write(folder, text, name="tiny.bvh"):
    path = folder / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def close(got, wanted):
    torch.testing.assert_close(got, torch.tensor(wanted, dtype=torch.float64))


def test_a_small_file_is_read_word_for_word(tmp_path):
    motion = bvh.read_bvh(write(tmp_path, TINY))
    assert motion.names == ("hip", "elbow", "wrist")
    assert motion.parents == (-1, 0, 1)
    assert motion.end_parents == (2,)
    assert motion.offsets.dtype == motion.frames.dtype == torch.float64
    close(motion.offsets, [[0.0, 0, 0], [2, 0, 0], [1, 0, 0]])
    close(motion.end_offsets, [[0.0, 0, 0.5]])
    assert motion.frames.shape == (3, 12)
    assert motion.frames[1].tolist() == [10, 20, 30, 90, 0, 0, 0, 0, 0, 0, 0, 0]
    assert motion.frame_time == 0.0083333


def test_positions_are_those_worked_out_by_hand(tmp_path):
    joints, ends = bvh.forward_kinematics(bvh.read_bvh(write(tmp_path, TINY)))
    close(joints[0], [[0.0, 0, 0], [2, 0, 0], [3, 0, 0]])
    close(ends[0], [[3.0, 0, 0.5]])
    # Root moved and turned by 90 degrees about z: x becomes y.
    close(joints[1], [[10.0, 20, 30], [10, 22, 30], [10, 23, 30]])
    close(ends[1], [[10.0, 23, 30.5]])
    # Root by 90 about x (y to z), elbow by 90 about z (x to y), wrist by 90 about y (z to x).
    # Forearm: x to y by the elbow, then y to z by the root. Tip: z to x to y to z.
    close(joints[2], [[0.0, 0, 0], [2, 0, 0], [2, 0, 1]])
    close(ends[2], [[2.0, 0, 1.5]])


def test_the_root_offset_adds_to_the_root_position(tmp_path):
    text = TINY.replace("OFFSET 0 0 0", "OFFSET 1 -2 3", 1)
    joints, _ = bvh.forward_kinematics(bvh.read_bvh(write(tmp_path, text)))
    close(joints[:2, 0], [[1.0, -2, 3], [11, 18, 33]])


def test_three_angles_compose_as_z_times_y_times_x(tmp_path):
    text = TINY.replace("0 0 0 0 0 0 0 0 0 0 0 0", "0 0 0 20 -50 70 11 22 33 " + "-120 14 -5", 1)

    def about(axis, degrees):
        c, s = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
        matrix = np.eye(3)
        first, second = [(1, 2), (2, 0), (0, 1)]["xyz".index(axis)]
        matrix[first, first] = matrix[second, second] = c
        matrix[first, second], matrix[second, first] = -s, s
        return matrix

    def turn(z, y, x):
        return about("z", z) @ about("y", y) @ about("x", x)

    root, elbow, wrist = turn(20, -50, 70), turn(11, 22, 33), turn(-120, 14, -5)
    at_elbow = root @ [2, 0, 0]
    at_wrist = at_elbow + root @ elbow @ [1, 0, 0]
    at_tip = at_wrist + root @ elbow @ wrist @ [0, 0, 0.5]
    joints, ends = bvh.forward_kinematics(bvh.read_bvh(write(tmp_path, text)))
    close(joints[0], np.stack([np.zeros(3), at_elbow, at_wrist]).tolist())
    close(ends[0], [at_tip.tolist()])


def test_line_ends_blanks_tabs_and_a_byte_order_mark_do_not_matter(tmp_path):
    wanted = bvh.read_bvh(write(tmp_path, TINY))
    for text in (
        TINY.replace("\n", "\r\n"),
        TINY.replace("  ", "\t").replace("MOTION", "\n\nMOTION\n") + "\n\n  \n",
        "\ufeff" + TINY.rstrip("\n"),
        TINY.replace("\n", " \t\n"),
    ):
        got = bvh.read_bvh(write(tmp_path, text))
        assert got.names == wanted.names
        assert torch.equal(got.frames, wanted.frames)


def test_siblings_hang_on_the_joint_whose_brace_is_open(tmp_path):
    twig = """  JOINT {}
  {{
    OFFSET 0 {} 0
    CHANNELS 3 Zrotation Yrotation Xrotation
  }}
"""
    text = TINY.replace("}\nMOTION", twig.format("left", 4) + twig.format("up", 5) + "}\nMOTION")
    text = text.replace(" 0\n10", " 0" + " 0" * 6 + "\n10")
    lines = [
        line + " 0" * 6 if line[:1].isdigit() and len(line.split()) == 12 else line
        for line in text.splitlines()
    ]
    motion = bvh.read_bvh(write(tmp_path, "\n".join(lines)))
    assert motion.parents == (-1, 0, 1, 0, 0)
    close(bvh.forward_kinematics(motion)[0][1, 3:], [[6.0, 20, 30], [5, 20, 30]])


def edit(old, new, count=1):
    assert old in TINY
    return TINY.replace(old, new, count)


ROW = "10 20 30 90 0 0 0 0 0 0 0 0"  # the second frame, on line 25
MALFORMED = {
    "empty": ("", 1, "wanted text; got an empty file"),
    "blank": (" \n\n", 1, "wanted text; got an empty file"),
    "another format": (":version 1.10\n", 1, "wanted 'HIERARCHY'; got ':version'"),
    "binary": (b"\x00\x01\x02\x00", 1, "wanted text; got a NUL character"),
    "NUL in a row": (edit(ROW, ROW + "\0"), 25, "wanted text; got a NUL character"),
    "not UTF-8": (
        TINY.encode().replace(b"wrist", b"wr\xff"),
        10,
        "wanted UTF-8 text; got byte 0xff",
    ),
    "no root": ("HIERARCHY\n", 1, "wanted 'ROOT'; got the end of the file"),
    "JOINT for ROOT": (edit("ROOT", "JOINT"), 2, "wanted 'ROOT'; got 'JOINT'"),
    "cut in the hierarchy": (TINY[: TINY.index("    JOINT wrist")], 9, "got the end of the file"),
    "cut in an offset": (
        TINY[: TINY.index(" 0 0\n    CHANNELS")],
        8,
        "OFFSET of 'elbow'; got the end",
    ),
    "nameless joint": (
        edit("JOINT elbow", "JOINT"),
        7,
        "wanted a joint's name after JOINT, .*; got '{'",
    ),
    "name twice": (edit("wrist", "hip"), 10, "not used before; got 'hip' again"),
    "no open brace": (edit("{\n  OFFSET 0", "OFFSET 0"), 3, "wanted '{'; got 'OFFSET'"),
    "one brace too few": (
        edit("}\nMOTION", "MOTION"),
        20,
        "wanted 'JOINT' or 'End' or '}'; got 'MOTION'",
    ),
    "one brace too many": (edit("}\nMOTION", "}\n}\nMOTION"), 21, "wanted 'MOTION'; got '}'"),
    "End Site not closed": (edit("      }\n    }", "    }"), 20, "got 'MOTION'"),
    "unknown keyword": (edit("JOINT wrist", "BONE wrist"), 10, "or '}'; got 'BONE'"),
    "misspelt End Site": (edit("End Site", "End Sight"), 14, "wanted 'Site'; got 'Sight'"),
    "no OFFSET": (edit("    OFFSET 2 0 0\n", ""), 8, "wanted 'OFFSET'; got 'CHANNELS'"),
    "short OFFSET": (
        edit("OFFSET 2 0 0", "OFFSET 2 0"),
        9,
        "OFFSET of 'elbow' to be a number; got 'CHANNELS'",
    ),
    "long OFFSET": (edit("OFFSET 2 0 0", "OFFSET 2 0 0 0"), 8, "wanted 'CHANNELS'; got '0'"),
    "word in OFFSET": (edit("OFFSET 2 0 0", "OFFSET 2 zero 0"), 8, "to be a number; got 'zero'"),
    "NaN in OFFSET": (edit("OFFSET 2 0 0", "OFFSET 2 nan 0"), 8, "to be finite.*; got 'nan'"),
    "infinity in OFFSET": (
        edit("OFFSET 0 0 .5", "OFFSET 0 0 -inf"),
        16,
        "of End Site to be finite.*; got '-inf'",
    ),
    "overflow in OFFSET": (
        edit("OFFSET 2 0 0", "OFFSET 1e999 0 0"),
        8,
        "to be finite.*; got '1e999'",
    ),
    "channel count": (edit("CHANNELS 3", "CHANNELS 6"), 9, "wanted '3'; got '6'"),
    "unknown channel": (
        edit("Zrotation Yrotation Xrotation\n    JOINT", "Wrotation\n"),
        9,
        "wanted 'Zrotation'; got 'Wrotation'",
    ),
    "another order": (
        edit("3 Zrotation Yrotation Xrotation", "3 Zrotation Xrotation Yrotation"),
        9,
        "wanted 'Yrotation'; got 'Xrotation'",
    ),
    "root order": (
        edit("Yposition Zposition", "Zposition Yposition"),
        5,
        "wanted 'Yposition'; got 'Zposition'",
    ),
    "no MOTION": (TINY[: TINY.index("MOTION")], 20, "wanted 'MOTION'; got the end of the file"),
    "MOTION not alone": (edit("MOTION\n", "MOTION "), 21, "wanted 'MOTION' alone on its line"),
    "nothing after MOTION": (
        TINY[: TINY.index("Frames:")],
        21,
        "wanted 'Frames:'; got the end of the file",
    ),
    "no Frames": (edit("Frames: 3\n", ""), 22, "wanted 'Frames:'; got 'Frame Time: .0083333'"),
    "no Frame Time": (edit("Frame Time: .0083333\n", ""), 23, "wanted 'Frame Time:'; got '0 0"),
    "no frames": (edit("Frames: 3", "Frames: 0"), 22, "wanted a positive count.*; got '0'"),
    "negative frames": (edit("Frames: 3", "Frames: -3"), 22, "wanted a positive count.*; got '-3'"),
    "fractional frames": (
        edit("Frames: 3", "Frames: 3.0"),
        22,
        "wanted a positive count.*; got '3.0'",
    ),
    "zero frame time": (edit(".0083333", "0"), 23, "wanted a positive 'Frame Time:'; got '0'"),
    "negative frame time": (
        edit(".0083333", "-.01"),
        23,
        "wanted a positive 'Frame Time:'; got '-.01'",
    ),
    "NaN frame time": (edit(".0083333", "NaN"), 23, "to be finite.*; got 'NaN'"),
    "no frame time": (edit(".0083333", ""), 23, "to be a number; got ''"),
    "too few rows": (edit("Frames: 3", "Frames: 4"), 26, "wanted 4 rows of frames.*; got 3"),
    "no rows": (TINY[: TINY.index("0 0 0 0 0 0 0")], 23, "wanted 3 rows of frames.*; got 0"),
    "too many rows": (edit("Frames: 3", "Frames: 2"), 26, "wanted 2 rows of frames.*; got 3"),
    "blank row": (edit(ROW, ""), 25, "wanted 12 columns in a frame; got 0"),
    "short row": (edit(ROW, ROW[:-2]), 25, "wanted 12 columns in a frame; got 11"),
    "long row": (edit(ROW, ROW + " 0"), 25, "wanted 12 columns in a frame; got 13"),
    "a number in the next row": (
        edit(" 0\n" + ROW, "\n0 " + ROW),
        24,
        "wanted 12 columns in a frame; got 11",
    ),
    "word in a row": (edit(ROW, ROW.replace("90", "9O")), 25, "to be a number; got '9O'"),
    "old Mac": (TINY.replace("\n", "\r"), 1, "wanted 'MOTION' alone on its line"),
    "NaN in a row": (edit(ROW, ROW.replace("90", "nan")), 25, "to be finite.*; got 'nan'"),
    "infinity in a row": (edit(ROW, ROW.replace("90", "-Inf")), 25, "to be finite.*; got '-Inf'"),
    "a row out of bounds": (edit(ROW, ROW.replace("90", "2e6")), 25, "within .1e.06; got '2e6'"),
    "Python's own numbers": (edit(ROW, ROW.replace("90", "9_0")), 25, "to be a number; got '9_0'"),
    "other digits": (edit(ROW, ROW.replace("90", "\u0669")), 25, "to be a number; got '\u0669'"),
    "a comma for a point": (edit(ROW, ROW.replace("90", "90,5")), 25, "to be a number; got '90,5'"),
}


@pytest.mark.parametrize(("text", "line", "wanted"), MALFORMED.values(), ids=MALFORMED)
def test_a_malformed_file_is_refused_in_one_sentence_with_its_line(tmp_path, text, line, wanted):
    path = write(tmp_path, text)
    with pytest.raises(ValueError, match=wanted) as refusal:
        bvh.read_bvh(path)
    message = str(refusal.value)
    assert message.startswith(f"{path}, line {line}: wanted ")
    assert "\n" not in message
    assert message.count("; got ") == 1


def test_a_missing_file_and_a_folder_are_refused_by_name(tmp_path):
    with pytest.raises(ValueError, match="none.bvh does not exist"):
        bvh.read_bvh(tmp_path / "none.bvh")
    with pytest.raises(ValueError, match=f"{tmp_path} must be a file; got a folder"):
        bvh.read_bvh(tmp_path)
    with pytest.raises(ValueError, match="must be readable; got File name too long"):
        bvh.read_bvh(tmp_path / ("x" * 5000))


def test_no_beginning_of_a_file_passes_for_the_whole(tmp_path):
    for end in range(len(TINY) - 1):  # only the last line end may be missing
        with pytest.raises(ValueError, match="wanted"):
            bvh.read_bvh(write(tmp_path, TINY[:end]))


def test_deep_nesting_needs_no_recursion(tmp_path):
    count = 1200
    names = [f"j{index}" for index in range(count)]
    opening = "".join(
        f"{'JOINT' if index else 'ROOT'} {name} {{ OFFSET 0 1 0 CHANNELS "
        f"{'3' if index else '6 Xposition Yposition Zposition'} Zrotation Yrotation Xrotation\n"
        for index, name in enumerate(names)
    )
    row = " ".join(["0"] * (3 + 3 * count))
    motion = f"MOTION\nFrames: 1\nFrame Time: 1\n{row}\n"
    path = write(tmp_path, "HIERARCHY\n" + opening + "}" * count + "\n" + motion)
    with pytest.raises(ValueError, match="got '}}}"):  # braces are words of their own
        bvh.read_bvh(path)
    path = write(tmp_path, "HIERARCHY\n" + opening + "} " * count + "\n" + motion)
    joints, _ = bvh.forward_kinematics(bvh.read_bvh(path))
    assert joints[0, -1].tolist() == [0, count, 0]  # the root's own offset counts as well
