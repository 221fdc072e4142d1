"""Poses and pictures (notebook 01): where they come from and how they are prepared.

Generated bodies that move, or recorded motion capture, before a camera: bodies, motions, readers
of BVH and ASF/AMC files, a small renderer with occluders and textures, and the prepared set that
all later rooms read. The rules that hide a part of a picture live here as well.
"""

from di2pose_lib.data.dataset import FIELDS
from di2pose_lib.data.mocap import Recording, read_trial
from di2pose_lib.data.sources import Source, open_source
from di2pose_lib.data.stage import prepared_data

__all__ = ["FIELDS", "Recording", "Source", "open_source", "prepared_data", "read_trial"]
