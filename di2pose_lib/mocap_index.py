"""What the motion-capture folder holds: INDEX.csv, one recorded trial a line.

The index says which subject belongs to which split, so that nobody is both trained on
and tested on, and where a trial's file lies; `mocap` reads that file. The database has no
actions, only a few words for each trial; the action is told from them.
"""

import csv
import re
from dataclasses import dataclass
from pathlib import Path

from di2pose_lib import bvh
from di2pose_lib.checks import require

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
