"""Rows of uncertainty: what H hypotheses are worth beyond one pose.

Spread against error, coverage and sharpness from `calibration`, proper scores and diversity
from `proper_scores`. The pelvis, which is 0 by definition, is left out, but for the
diversity, which is an MPJPE and counts all joints as that does.
"""

from di2pose_lib.base.checks import check_tensor
from di2pose_lib.evaluation.calibration import (
    coverage,
    rank_products,
    region_radius_mm,
    spread_and_error_mm,
)
from di2pose_lib.evaluation.pictures import joined
from di2pose_lib.evaluation.proper_scores import (
    crps_mm,
    diversity_mm,
    energy_score_mm,
    pose_energy_score_mm,
)

LEVELS = (0.5, 0.8)  # of the regions that the rows always name


def exact_levels(num_hypotheses):
    """The levels k / (H + 1) of all regions that H samples tell apart."""
    return tuple(k / (num_hypotheses + 1) for k in range(1, num_hypotheses + 1))


def uncertainty_rows(hypotheses, truth, method, estimator, more_joints=None):
    """Rows of everything above for all, visible and occluded joints.

    Metrics: spread_mm, error_of_mean_mm, rank_correlation, coverage and radius_mm (with the
    region's level in `nominal`: coverage at `LEVELS` and every exact level, the radius at
    `LEVELS`), energy_score_mm, pose_energy_score_mm, crps_mm, diversity_mm. The rank correlation
    is that over the images, mean over the joints, each with its weight in images.

    Args:
        hypotheses: float (n, H, 17, 3), H ≥ 2, metres, for the images of a `Truth`.
        truth: the `Truth`.
        method, estimator: names, for the rows.
        more_joints: {name: bool (n, 17)} of other choices of joints, or None.

    Raises:
        ValueError: another number of images or joints, NaN, a single hypothesis.
    """
    check_tensor("hypotheses", hypotheses, (len(truth.pose), "H", "J", 3), "float")
    truth.check("hypotheses[:, 0]", hypotheses[:, 0])
    pose, names = truth.pose, {"method": method, "estimator": estimator}
    choices = {**truth.joint_masks, **(more_joints or {})}
    masks = {joints: mask.clone() for joints, mask in choices.items()}
    for mask in masks.values():
        mask[:, 0] = False
    spread = spread_and_error_mm(hypotheses, pose)
    levels = tuple(dict.fromkeys((*LEVELS, *exact_levels(hypotheses.shape[1]))))
    inside = coverage(hypotheses, pose, levels)
    radius = region_radius_mm(hypotheses, LEVELS)
    measures = [
        ({"metric": "spread_mm"}, spread.spread),
        ({"metric": "error_of_mean_mm"}, spread.error),
        *(
            ({"metric": "coverage", "nominal": round(level, 6)}, inside[..., place])
            for place, level in enumerate(levels)
        ),
        *(
            ({"metric": "radius_mm", "nominal": level}, radius[..., place])
            for place, level in enumerate(LEVELS)
        ),
        ({"metric": "energy_score_mm"}, energy_score_mm(hypotheses, pose)),
        ({"metric": "crps_mm"}, crps_mm(hypotheses, pose)),
    ]
    tables = [truth.joint_rows(values, masks, **names | columns) for columns, values in measures]
    tables.append(
        truth.joint_rows(diversity_mm(hypotheses), choices, metric="diversity_mm", **names)
    )
    for joints, mask in masks.items():
        images, columns = mask.any(dim=1).nonzero().flatten(), names | {"joints": joints}
        if len(images) > 0:
            scores = pose_energy_score_mm(hypotheses[images], pose[images], mask[images])
            tables.append(truth.rows(scores, images, metric="pose_energy_score_mm", **columns))
        products, images = rank_products(*spread, mask)
        if len(products) > 0:
            tables.append(truth.rows(products, images, metric="rank_correlation", **columns))
    return joined(tables)
