"""Rows of uncertainty: what H hypotheses are worth beyond one pose, with intervals.

Spread against error, coverage and sharpness from `calibration`, proper scores and diversity
from `proper_scores`. The pelvis, which is 0 by definition, is left out, but for the
diversity, which is an MPJPE and counts all joints as that does.
"""

from fractions import Fraction

from di2pose_lib.base.checks import check_tensor
from di2pose_lib.evaluation.calibration import (
    coverage,
    rank_products,
    region_radius_mm,
    spread_and_error_mm,
)
from di2pose_lib.evaluation.conditions import check_poses, joint_rows, result_row
from di2pose_lib.evaluation.proper_scores import (
    crps_mm,
    diversity_mm,
    energy_score_mm,
    pose_energy_score_mm,
)

LEVELS = (0.5, 0.8)  # of the regions that the rows always name


def coverage_metric(level):
    """Name in the rows of the coverage at a level: a percentage, or "k/(H + 1)" as given."""
    return f"coverage {level if isinstance(level, str) else f'{100 * level:.0f} %'}"


def exact_levels(num_hypotheses):
    """{"k/(H + 1)": level} of all regions that H samples tell apart."""
    whole = num_hypotheses + 1
    return {f"{k}/{whole}": float(Fraction(k, whole)) for k in range(1, whole)}


def uncertainty_rows(hypotheses, condition, method, estimator, more_joints=None):
    """Rows of everything above for all, visible and occluded joints, with intervals.

    Metrics: spread_mm, error_of_mean_mm, rank_correlation, "coverage 50 %", "coverage
    80 %", "coverage k/(H + 1)" of every exact level, radius_50_mm, radius_80_mm,
    energy_score_mm, pose_energy_score_mm, crps_mm, diversity_mm. The rank correlation is
    that over the images, mean over the joints, each with its weight in images; its interval
    keeps the ranks of the whole sample.

    Args:
        hypotheses: float (n, H, 17, 3), H ≥ 2, metres, of the condition's images.
        condition: a `conditions.Condition`.
        method, estimator: names, for the rows.
        more_joints: {name: bool (n, 17)} of other choices of joints, or None.

    Raises:
        ValueError: another number of images or joints, NaN, a single hypothesis.
    """
    check_tensor("hypotheses", hypotheses, (len(condition.pose), "H", "J", 3), "float")
    check_poses("hypotheses[:, 0]", hypotheses[:, 0], condition)
    pose = condition.pose
    choices = {**condition.joint_masks, **(more_joints or {})}
    masks = {joints: mask.clone() for joints, mask in choices.items()}
    for mask in masks.values():
        mask[:, 0] = False
    found = spread_and_error_mm(hypotheses, pose)
    exact = exact_levels(hypotheses.shape[1])
    inside = coverage(hypotheses, pose, (*LEVELS, *exact.values()))
    radius = region_radius_mm(hypotheses, LEVELS)
    measures = {
        "spread_mm": found.spread,
        "error_of_mean_mm": found.error,
        **{
            coverage_metric(level): inside[..., place]
            for place, level in enumerate((*LEVELS, *exact))
        },
        **{f"radius_{100 * p:.0f}_mm": radius[..., place] for place, p in enumerate(LEVELS)},
        "energy_score_mm": energy_score_mm(hypotheses, pose),
        "crps_mm": crps_mm(hypotheses, pose),
    }
    rows = [
        row
        for metric, values in measures.items()
        for row in joint_rows(condition, method, estimator, metric, values, masks)
    ]
    rows += joint_rows(
        condition,
        method,
        estimator,
        "diversity_mm",
        diversity_mm(hypotheses),
        choices,
    )
    for joints, mask in masks.items():
        names = (method, estimator, joints)
        images = mask.any(dim=1).nonzero().flatten()
        if len(images) > 0:
            scores = pose_energy_score_mm(hypotheses[images], pose[images], mask[images])
            rows.append(result_row(condition, *names, "pose_energy_score_mm", scores, images))
        products, images = rank_products(*found, mask)
        if len(products) > 0:
            rows.append(result_row(condition, *names, "rank_correlation", products, images))
    return rows
