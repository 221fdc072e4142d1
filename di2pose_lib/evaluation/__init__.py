"""How good the poses are (notebooks 06 and 08), clean and under occlusion.

How one pose is read from a model (estimators), what is hidden from it (masks, crops, occluders,
the worst patch), the errors, their conventions and intervals, calibration, plausibility and
visible failures. Any model with `predict` can be measured.
"""

from di2pose_lib.base.metrics import joint_errors_mm, mpjpe_mm, pa_mpjpe_mm
from di2pose_lib.evaluation.baselines import nearest_neighbour
from di2pose_lib.evaluation.calibration import spread_and_error_mm
from di2pose_lib.evaluation.contenders import Contender
from di2pose_lib.evaluation.estimators import PoseModel
from di2pose_lib.evaluation.measure import Prediction, evaluation_rows, joint_errors, summary
from di2pose_lib.evaluation.stage import evaluated, pose_model
from di2pose_lib.evaluation.statistics import cluster_bootstrap

__all__ = [
    "Contender",
    "PoseModel",
    "Prediction",
    "cluster_bootstrap",
    "evaluated",
    "evaluation_rows",
    "joint_errors",
    "joint_errors_mm",
    "mpjpe_mm",
    "nearest_neighbour",
    "pa_mpjpe_mm",
    "pose_model",
    "spread_and_error_mm",
    "summary",
]
