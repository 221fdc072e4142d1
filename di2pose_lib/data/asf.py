"""ASF files: the bones of a subject's original skeleton in the CMU database.

The database was recorded with one Acclaim skeleton (.asf) for each subject, and a BVH
file was made from each recording later. That conversion lost the bone from the chest to
the neck and shoulders; the ASF file still has it.

A bone stands between `begin` and `end` under `:bonedata`; of its entries only the name,
the direction (a unit vector at rest) and the length are read, and those two of the bones
alone that are needed. Lengths count in the file's own unit, which is the BVH files' too.
What follows a # is a comment.
"""

import torch

from di2pose_lib.base.checks import require
from di2pose_lib.data import bvh

# The file says `length 0.45`: its unit is 1/0.45 inch, 56.4444 mm.
INCHES_PER_UNIT = 1 / 0.45

# What every file must hold: the bone that the BVH files lost, and the thighs, by which to
# tell that a skeleton and a motion are one person's.
BONES = ("thorax", "lfemur", "rfemur")


def read_asf(path):
    """Bones of an Acclaim skeleton: direction × length, as the BVH's offsets.

    Both files count in 1/0.45 inch, so no scale lies between them.

    Args:
        path: an ASF file with `length 0.45` among its :units.

    Returns:
        dict from the names in `BONES`, the thorax and both thighs, to float64 (3,), file
        units.

    Raises:
        ValueError: unreadable or malformed file, another unit, one of these bones missing or
            of no length; one sentence with the file, the line, the wanted and the got.
    """
    lines = bvh.read_text_lines(path)
    section, unit, bones, entries = "", None, {}, None  # entries: of the open bone
    for line, text in enumerate(lines, start=1):
        where = f"{path}, line {line}"
        keyword, *values = text.partition("#")[0].split() or [""]
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
            name = _name(path, line, entries)
            if name in BONES:
                require(name not in bones, f"{where}: wanted each bone once; got {name!r} again")
                bones[name] = _offset(path, line, entries)
            entries = None
        elif entries is not None:
            entries[keyword] = (line, values)
    where = f"{path}, line {len(lines)}"
    require(entries is None, f"{where}: wanted 'end' of a bone; got the end of the file")
    require(unit is not None, f"{where}: wanted a 'length' under ':units'; got none in the file")
    for name in BONES:
        require(name in bones, f"{where}: wanted a bone named {name!r}; got none in the file")
    return bones


def _entry(path, end_line, entries, keyword):
    """(line, values) of a bone's entry, of its {keyword: (line, values)}."""
    require(
        keyword in entries, f"{path}, line {end_line}: wanted a {keyword!r} before 'end'; got none"
    )
    return entries[keyword]


def _name(path, end_line, entries):
    line, values = _entry(path, end_line, entries, "name")
    require(len(values) == 1, f"{path}, line {line}: wanted one name; got {len(values)}")
    return values[0]


def _offset(path, end_line, entries):
    """Direction × length of a bone, float64 (3,)."""
    line, words = _entry(path, end_line, entries, "direction")
    direction = torch.tensor(_numbers(path, line, "direction", words, 3), dtype=torch.float64)
    norm = direction.norm().item()
    require(
        abs(norm - 1) < 1e-3, f"{path}, line {line}: wanted a unit direction; got length {norm:g}"
    )
    line, words = _entry(path, end_line, entries, "length")
    (length,) = _numbers(path, line, "length", words, 1)
    require(length > 0, f"{path}, line {line}: wanted a positive length; got {length:g}")
    return direction * length


def _numbers(path, line, keyword, words, count):
    require(
        len(words) == count,
        f"{path}, line {line}: wanted {count} number(s) after {keyword!r}; got {len(words)}",
    )
    return [bvh.parse_number(path, line, word, keyword) for word in words]
