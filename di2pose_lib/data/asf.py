"""ASF files: the bones of a subject's original skeleton in the CMU database.

The database was recorded with one Acclaim skeleton (.asf) for each subject, and a BVH
file was made from each recording later. That conversion lost the bone from the chest to
the neck and shoulders; the ASF file still has it.

A bone stands between `begin` and `end` under `:bonedata`; of its entries only the name,
the direction (a unit vector at rest) and the length are read, and those two of the bones
alone that are needed. Lengths count in the file's own unit, which is the BVH files' too.
What follows a # is a comment.
"""

import re

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
            of no length; one sentence with the file, the wanted and the got.
    """
    text = "\n".join(line.partition("#")[0] for line in bvh.read_text_lines(path))
    unit = re.search(r"^:units\b[^:]*^\s*length[ \t]+(\S+)[ \t]*$", text, re.M)
    require(unit, f"{path} must hold a 'length' under ':units'; got none")
    counted = bvh.parse_number(path, unit[1], "length")
    require(
        abs(counted * INCHES_PER_UNIT - 1) < 1e-6,
        f"{path} must count in the length unit 0.45 of the BVH files; got {counted:g}",
    )
    bones = {}
    for block in re.split(r"^\s*begin\s*$", text, flags=re.M)[1:]:
        block, *ended = re.split(r"^\s*end\s*$", block, maxsplit=1, flags=re.M)
        require(ended, f"{path} must hold an 'end' for each 'begin'; got none after {block!r:.60}")
        entries = {words[0]: words[1:] for words in map(str.split, block.split("\n")) if words}
        name = " ".join(entries.get("name", ()))
        if name in BONES:
            require(name not in bones, f"{path} must hold each bone once; got {name!r} again")
            bones[name] = _offset(f"{path}, bone {name!r}", entries)
    missing = [name for name in BONES if name not in bones]
    require(not missing, f"{path} must hold the bones {', '.join(BONES)}; got no {missing}")
    return bones


def _offset(where, entries):
    """Direction × length of a bone, float64 (3,), of its {keyword: words}."""

    def numbers(keyword, count):
        words = entries.get(keyword, ())
        bvh.expect(len(words) == count, where, f"{count} number(s) after {keyword!r}", len(words))
        return [bvh.parse_number(where, word, keyword) for word in words]

    direction = torch.tensor(numbers("direction", 3), dtype=torch.float64)
    norm = direction.norm().item()
    bvh.expect(abs(norm - 1) < 1e-3, where, "a unit direction", f"length {norm:g}")
    (length,) = numbers("length", 1)
    bvh.expect(length > 0, where, "a positive length", f"{length:g}")
    return direction * length
