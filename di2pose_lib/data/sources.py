"""Where poses come from: procedural bodies or motion capture, as clips in the world frame."""

import math
import os
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Protocol

import torch

from di2pose_lib.base.checks import require
from di2pose_lib.base.files import file_digest
from di2pose_lib.base.project import project_root
from di2pose_lib.base.seeding import generator_for
from di2pose_lib.base.skeleton import ACTIONS
from di2pose_lib.data import bodies, mocap, mocap_index, motions

MOCAP_VARIABLE = "DI2POSE_MOCAP_ROOT"  # the folder of BVH files
MOCAP_DEFAULT = "../shared/data/cmu"  # where the variable is not set


class Clip(NamedTuple):
    """A stretch of motion of one person, near the world's origin."""

    subject: str
    action: str
    joints: torch.Tensor  # (F, 17, 3), world frame, metres
    frames: torch.Tensor  # int64 (F,), frame numbers in the recording
    recording: int  # its number in the split; two clips of one recording may overlap


class Source(Protocol):
    """What the data preparation asks of a source; readers of photographs bring images too."""

    actions: tuple

    def identity(self):
        """JSON-like; changes when the source's files do."""

    def subjects(self, split):
        """Names of the subjects of "train", "validation" or "test"."""

    def clips(self, split, num_sequences, num_frames, frames_per_second, seed):
        """Yield `num_sequences` clips, balanced over subjects."""


class SyntheticSource:
    """Procedural subjects doing the fifteen actions, in turn."""

    actions = ACTIONS

    def __init__(self, seed):
        self.seed = seed

    def identity(self):
        return "synthetic"

    def subjects(self, split):
        return {
            "train": bodies.TRAIN_SUBJECTS,
            "validation": bodies.VALIDATION_SUBJECTS,
            "test": bodies.TEST_SUBJECTS + bodies.EXTRA_TEST_SUBJECTS,
        }[split]

    def clips(self, split, num_sequences, num_frames, frames_per_second, seed):
        # The subject changes fastest, so any number of sequences is balanced to within one.
        subjects, actions = self.subjects(split), self.actions
        pairs = len(subjects) * len(actions)
        rounds = -(-num_sequences // pairs)
        drawn = {}
        for number in range(num_sequences):
            turn, pair = divmod(number, pairs)
            subject = subjects[pair % len(subjects)]
            action = actions[pair // len(subjects)]
            if turn == 0:  # all rounds of a pair at once: motion is drawn in batches
                drawn[pair] = motions.sample_motions(
                    bodies.make_subject(subject, self.seed),
                    action,
                    rounds,
                    num_frames,
                    frames_per_second,
                    generator_for(seed, "motion", split, subject, action),
                )
            yield Clip(subject, action, drawn[pair][turn], torch.arange(num_frames), number)


class MocapSource:
    """The CMU motion capture in a folder, windows drawn at random, balanced by subject.

    The pelvis is moved over the origin in every frame (people walk on the spot) and each
    clip is turned by a random angle about the vertical.
    """

    actions = mocap_index.ACTIONS

    def __init__(self, root):
        self.root = Path(root)
        self.trials = mocap_index.read_index(self.root)

    def identity(self):
        files = [self.root / "INDEX.csv"]
        for trial in self.trials:
            files += [trial.path] + ([trial.asf] if trial.asf else [])
        return {str(f.relative_to(self.root)): file_digest(f) for f in sorted(set(files))}

    def subjects(self, split):
        return tuple(sorted({trial.subject for trial in self.trials if trial.split == split}))

    @cached_property
    def stretches(self):
        """{subject: [(number of the trial in its split, trial, `Recording` without jumps)]}.

        Of all splits at once: a bad file is refused before an image is made of another.
        """
        stretches, counts = {}, {}
        for trial in self.trials:
            number = counts[trial.split] = counts.get(trial.split, -1) + 1
            whole = mocap.read_trial(trial.path, trial.asf, trial.num_frames)
            parts = [(number, trial, part) for part in mocap.continuous(whole)]
            stretches.setdefault(trial.subject, []).extend(parts)
        return stretches

    def clips(self, split, num_sequences, num_frames, frames_per_second, seed):
        subjects = self.subjects(split)
        for number in range(num_sequences):
            subject = subjects[number % len(subjects)]
            generator = generator_for(seed, "motion", split, number)
            stretches = self.stretches[subject]
            lengths = torch.tensor([len(part.joints) for *_, part in stretches]).double()
            chosen = torch.multinomial(lengths, 1, generator=generator)
            recording, trial, part = stretches[chosen]
            rows = _window(part, num_frames, frames_per_second, generator)
            joints = _on_the_spot(part.joints[rows], generator)
            yield Clip(subject, trial.action, joints, part.frame[rows], recording)


def _window(recording, num_frames, frames_per_second, generator):
    """Rows int64 (num_frames,) at an even stride; a short recording gets a shorter stride."""
    last = len(recording.joints) - 1
    stride = recording.frame_rate / frames_per_second
    if num_frames > 1:
        stride = min(stride, last / (num_frames - 1))
    span = stride * (num_frames - 1)
    start = torch.rand((), generator=generator).item() * (last - span)
    return (start + stride * torch.arange(num_frames)).round().long().clamp(max=last)


def _on_the_spot(joints, generator):
    """Joints (F, 17, 3) with the pelvis over one point near the origin, turned at random."""
    angle = 2 * math.pi * torch.rand((), generator=generator).item()
    turn = torch.eye(3, dtype=joints.dtype)
    turn[0, 0] = turn[1, 1] = math.cos(angle)
    turn[1, 0], turn[0, 1] = math.sin(angle), -math.sin(angle)
    place = torch.zeros(3, dtype=joints.dtype)
    place[:2] = 0.6 * torch.rand(2, generator=generator, dtype=joints.dtype) - 0.3
    centre = joints[:, :1] * joints.new_tensor([1.0, 1.0, 0.0])
    return (joints - centre) @ turn.T + place


def mocap_root():
    """The folder of motion capture, there or not; `~` is the home, the rest as seen from the top.

    The top is the repository's: stages and notebooks run in different folders.
    """
    return project_root() / os.path.expanduser(os.environ.get(MOCAP_VARIABLE) or MOCAP_DEFAULT)


def open_source(config):
    """The source that `config.data.source` names.

    Raises:
        ValueError: the motion-capture folder is missing or its index is bad.
    """
    if config.data.source == "synthetic":
        return SyntheticSource(config.seed)
    root = mocap_root()
    require(
        os.path.isdir(root),  # unlike Path's, it takes any name
        f"data.source mocap needs a folder of BVH files in ${MOCAP_VARIABLE}; got {str(root)!r}",
    )
    return MocapSource(root)
