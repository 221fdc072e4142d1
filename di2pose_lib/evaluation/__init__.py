"""How good the poses are (notebooks 06 and 08), clean and under occlusion.

How one pose is read from a model (estimators), what is hidden from it (masks, crops, occluders,
the worst patch), the errors, their conventions, calibration, plausibility and visible failures;
the one table of results, and the one function that makes its intervals. Any model with `predict`
can be measured.
"""

from di2pose_lib.base.metrics import joint_errors_mm, mpjpe_mm, pa_mpjpe_mm
from di2pose_lib.evaluation.baselines import nearest_neighbour
from di2pose_lib.evaluation.calibration import spread_and_error_mm
from di2pose_lib.evaluation.contenders import Contender
from di2pose_lib.evaluation.estimators import PoseModel
from di2pose_lib.evaluation.intervals import difference, interval, intervals, shown, verdict
from di2pose_lib.evaluation.measure import Prediction, evaluation_rows, joint_errors, summary
from di2pose_lib.evaluation.stage import evaluated, pose_model
from di2pose_lib.evaluation.statistics import cluster_bootstrap
from di2pose_lib.evaluation.table import read_table, study_rows

__all__ = [
    "Contender",
    "PoseModel",
    "Prediction",
    "cluster_bootstrap",
    "difference",
    "evaluated",
    "evaluation_rows",
    "interval",
    "intervals",
    "joint_errors",
    "joint_errors_mm",
    "mpjpe_mm",
    "nearest_neighbour",
    "pa_mpjpe_mm",
    "pose_model",
    "read_table",
    "shown",
    "spread_and_error_mm",
    "study_rows",
    "summary",
    "verdict",
]
