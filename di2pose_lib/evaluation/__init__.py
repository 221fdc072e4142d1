"""How good the poses are (notebooks 06 and 08), clean and under occlusion.

How one pose is read from a model (estimators), what is hidden from it (masks, crops, occluders,
the worst patch), the errors, their conventions, calibration, plausibility and visible failures;
the one table of results, and the one function that makes its intervals. Any model with `predict`
can be measured.
"""

from di2pose_lib.base.metrics import joint_errors_mm, mpjpe_mm, pa_mpjpe_mm
from di2pose_lib.evaluation.baselines import nearest_neighbour
from di2pose_lib.evaluation.calibration import spread_and_error_mm
from di2pose_lib.evaluation.estimators import PoseModel
from di2pose_lib.evaluation.intervals import difference, interval, intervals, shown, verdict
from di2pose_lib.evaluation.measure import error_rows, joint_errors, predict
from di2pose_lib.evaluation.models import ImageModel, Model, Prediction
from di2pose_lib.evaluation.pictures import pictures_of, truth_of
from di2pose_lib.evaluation.stage import evaluated, pose_model
from di2pose_lib.evaluation.table import read_table, study_rows

__all__ = [
    "ImageModel",
    "Model",
    "PoseModel",
    "Prediction",
    "difference",
    "error_rows",
    "evaluated",
    "interval",
    "intervals",
    "joint_errors",
    "joint_errors_mm",
    "mpjpe_mm",
    "nearest_neighbour",
    "pa_mpjpe_mm",
    "pictures_of",
    "pose_model",
    "predict",
    "read_table",
    "shown",
    "spread_and_error_mm",
    "study_rows",
    "truth_of",
    "verdict",
]
