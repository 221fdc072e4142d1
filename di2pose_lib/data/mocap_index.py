"""What the motion-capture folder holds: INDEX.csv, one recorded trial a line.

The index says which subject belongs to which split, so that nobody is both trained on
and tested on, and where a trial's file lies; `mocap` reads that file. The database has no
actions, only a few words for each trial; the action is told from them.
"""

import csv
import os
import re
from dataclasses import dataclass
from pathlib import Path

from di2pose_lib.base.checks import require
from di2pose_lib.base.files import is_there
from di2pose_lib.base.progress import note
from di2pose_lib.data import bvh

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


@dataclass(frozen=True)
class Trial:
    """One row of the index.

    Attributes:
        split: of `SPLITS`; no subject is in two.
        subject, name: such as "05" and "05_01".
        action: of `ACTIONS`.
        num_frames: recorded frames, without the T-pose and before any is dropped.
        path: the BVH file.
        asf: the subject's original skeleton, or None where the folder has none.
    """

    split: str
    subject: str
    name: str
    action: str
    num_frames: int
    path: Path
    asf: Path | None


def read_index(root):
    """The trials that `root`/INDEX.csv lists.

    Args:
        root: the data folder, with INDEX.csv, the BVH files, and asf/ if there is one.

    Returns:
        tuple of `Trial`, in the index's order.

    Raises:
        ValueError: no such folder or index, missing columns, an unknown split or one
            without trials, a missing file, a trial or a file twice, a subject in two
            splits or in two spellings, a skeleton in another spelling than its subject's;
            one sentence with the file and the line.
    """
    root = Path(root)
    require(
        os.path.isdir(root) and is_there(root, folder=True),  # isdir takes any name
        f"`root` must be a folder with INDEX.csv and BVH files; got {root}",
    )
    index, skeletons = root / "INDEX.csv", _skeletons(root)
    trials = []
    split_of, spelling, seen, files = {}, {}, set(), set()
    for line, row in _rows(index):
        where = f"{index}, line {line}"
        trial = _trial(root, where, row, skeletons)
        again = f"{bvh.show(trial.name)} again"
        bvh.expect(trial.name not in seen, where, "each trial once", again)
        seen.add(trial.name)
        file = os.path.realpath(trial.path)
        bvh.expect(file not in files, where, "each file once", f"{bvh.show(row['path'])} again")
        files.add(file)
        first = spelling.setdefault(_spelled(trial.subject), trial.subject)
        wanted = f"one spelling of a subject, {bvh.show(first)} as before"
        bvh.expect(first == trial.subject, where, wanted, bvh.show(trial.subject))
        other = split_of.setdefault(trial.subject, trial.split)
        wanted = f"subject {trial.subject} in one split"
        bvh.expect(other == trial.split, where, wanted, f"{other} and {trial.split}")
        trials.append(trial)
    bvh.expect(trials, f"{index}, line 2", "at least one trial", "the end of the file")
    for split in SPLITS:
        wanted = f"trials of each of {', '.join(SPLITS)}"
        got = f"the end of the file and none of {split}"
        bvh.expect(split in split_of.values(), where, wanted, got)
    without = sorted({trial.subject for trial in trials if trial.asf is None})
    if skeletons and without:
        note(
            f"{root}/asf has no skeleton of subjects {', '.join(without)}: their bone from chest "
            "to neck is taken to be as long as the one below it"
        )
    return tuple(trials)


def _spelled(subject):
    """A subject, or the file of one's skeleton, as who writes 1 for 01 or A for a means it."""
    return subject.lower().removesuffix(".asf").strip().lstrip("0")


def _skeletons(root):
    """{spelling: the names of such files} in `root`/asf; empty where there is no such folder."""
    for name in os.listdir(root):
        require(
            name == "asf" or name.lower() != "asf",
            f"{root} must have its skeletons in a folder 'asf'; got {name!r}",
        )
    names = os.listdir(root / "asf") if is_there(root / "asf", folder=True) else ()
    by_spelling = {}
    for name in sorted(names):
        by_spelling.setdefault(_spelled(name), []).append(name)
    return by_spelling


def _rows(index):
    """Yield the line's number and {column: text} of each row of a CSV file."""
    reader = csv.DictReader(bvh.read_text_lines(index), strict=True)
    try:
        columns = reader.fieldnames or ()
        where, missing = f"{index}, line 1", [n for n in INDEX_COLUMNS if n not in columns]
        wanted = f"the columns {', '.join(INDEX_COLUMNS)}"
        bvh.expect(not missing, where, wanted, f"none named {', '.join(missing)}")
        for place, name in enumerate(columns):
            again = f"{bvh.show(name)} again"
            bvh.expect(name not in columns[:place], where, "each column once", again)
        for row in reader:
            where = f"{index}, line {reader.line_num}"
            fits = None not in row and None not in row.values()
            bvh.expect(fits, where, f"{len(columns)} columns", "another number")
            yield reader.line_num, row
    except csv.Error as error:
        raise ValueError(
            f"{index}, line {reader.reader.line_num}: wanted comma-separated values; got {error}"
        ) from None


def _trial(root, where, row, skeletons):
    """The `Trial` of a row, {column: text}."""

    def check(column, fits, wanted):
        bvh.expect(fits, where, wanted, bvh.show(row[column]))

    subject, count = row["subject"], row["frames_with_t_pose"]
    check("split", row["split"] in SPLITS, f"a split of {', '.join(SPLITS)}")
    plain = re.fullmatch(r"[0-9A-Za-z]+", subject)
    check("subject", plain, "a subject of the letters and digits 0-9A-Za-z")
    named = row["trial"].startswith(subject + "_")
    check("trial", named, f"a trial named after its subject {bvh.show(subject)}")
    enough = re.fullmatch(r"[0-9]{1,9}", count) and int(count) > 1
    check("frames_with_t_pose", enough, "frames_with_t_pose of at least 2")
    path = root / row["path"]
    inside = Path(os.path.realpath(path)).is_relative_to(os.path.realpath(root))
    check("path", inside and os.path.isfile(path), f"the path of a file inside {root}")
    asf, alike = f"{subject}.asf", skeletons.get(_spelled(subject), ())
    wanted = f"the skeleton of subject {subject} as asf/{asf}"
    bvh.expect(not alike or asf in alike, where, wanted, f"asf/{', asf/'.join(alike)}")
    return Trial(
        split=row["split"],
        subject=row["subject"],
        name=row["trial"],
        action=action_of(row["description"]),
        num_frames=int(count) - 1,
        path=path,
        asf=root / "asf" / asf if alike and is_there(root / "asf" / asf) else None,
    )


def action_of(description):
    """The action, of `ACTIONS`, that a trial's description tells (see `ACTION_WORDS`)."""
    for action, word in ACTION_WORDS:
        if re.search(rf"\b{word}", description.lower()):
            return action
    return "other"
