"""The ground floor: what every room stands on.

The skeleton and its conventions, the parameters as dataclasses, named random streams, files that
are never half written, the folders of a pipeline, one training loop, and the two errors of the
field. It imports no other room, and needs torch, numpy and filelock alone.
"""

from di2pose_lib.base.devices import default_device
from di2pose_lib.base.files import read_json, write_json
from di2pose_lib.base.metrics import (
    joint_errors_mm,
    mean_pairwise_pa_mpjpe_mm,
    mpjpe_mm,
    pa_mpjpe_mm,
    procrustes,
)
from di2pose_lib.base.project import finished_pipeline, open_pipeline
from di2pose_lib.base.seeding import generator_for
from di2pose_lib.base.skeleton import BONES, JOINT_NAMES, NUM_JOINTS, bone_lengths

__all__ = [
    "BONES",
    "JOINT_NAMES",
    "NUM_JOINTS",
    "bone_lengths",
    "default_device",
    "finished_pipeline",
    "generator_for",
    "joint_errors_mm",
    "mean_pairwise_pa_mpjpe_mm",
    "mpjpe_mm",
    "open_pipeline",
    "pa_mpjpe_mm",
    "procrustes",
    "read_json",
    "write_json",
]
