"""Every picture of the notebooks: poses, films, the chain, curves.

Functions take numbers and give a plotly figure with units on its axes. The room imports the
ground floor alone, so a figure can be drawn of anybody's numbers.
"""

from di2pose_lib.figures.chain import (
    joint_law_figure,
    matrices_figure,
    pose_film_figure,
    schedule_figure,
    shares_figure,
    terms_figure,
    waiting_figure,
)
from di2pose_lib.figures.data import camera_figure, joint_bars_figure
from di2pose_lib.figures.errors import (
    calibration_figure,
    interval_bars,
    spread_error_figure,
    sweep_figure,
)
from di2pose_lib.figures.failures import gallery_figure
from di2pose_lib.figures.pictures import image_figure
from di2pose_lib.figures.poses import MAX_FRAMES, film_figure, pose_figure, token_states
from di2pose_lib.figures.training import (
    code_use_figure,
    curve_figure,
    fates_figure,
    history_figure,
    token_reach_figure,
)

__all__ = [
    "MAX_FRAMES",
    "calibration_figure",
    "camera_figure",
    "code_use_figure",
    "curve_figure",
    "fates_figure",
    "film_figure",
    "gallery_figure",
    "history_figure",
    "image_figure",
    "interval_bars",
    "joint_bars_figure",
    "joint_law_figure",
    "matrices_figure",
    "pose_figure",
    "pose_film_figure",
    "schedule_figure",
    "shares_figure",
    "spread_error_figure",
    "sweep_figure",
    "terms_figure",
    "token_reach_figure",
    "token_states",
    "waiting_figure",
]
