"""Does uncertainty grow with occlusion? Samples under masks that hide more and more of the image.

`protocols` looks closely at one mask; here are the others, for contenders told in detail.
"""

from di2pose_lib.data.occlusions import MASK, RATIOS
from di2pose_lib.evaluation import estimators, protocols
from di2pose_lib.evaluation.contenders import HYPOTHESES
from di2pose_lib.evaluation.uncertainty import LEVELS, uncertainty_rows

CONDITIONS = tuple(
    (MASK, ratio)
    for ratio in RATIOS[MASK]
    if ratio > 0 and (MASK, ratio) not in protocols.LOOKED_INTO
)


def settings():
    """What the rows depend on besides the training, for JSON."""
    return {
        "images": protocols.IMAGES,
        "hypotheses": HYPOTHESES,
        "chain_steps": estimators.CHAIN_STEPS,
        "levels": list(LEVELS),
        "conditions": [list(condition) for condition in CONDITIONS],
    }


def growth_rows(found, folder):
    """{"uncertainty": rows} under each of `CONDITIONS`.

    Args:
        found: a `protocols.Tested`.
        folder: as for `protocols.occlusion_rows`.
    """

    def rows_of(protocol, level):
        pictures, rows = protocols.pictures_of(found, protocol, level), []
        for contender in found.contenders:
            count = contender.looked_into
            if contender.in_detail and count > 1:
                poses = protocols.drawn(found, contender, pictures, count)
                names = (contender.method, contender.set_of(count))
                rows += uncertainty_rows(poses, pictures.condition, *names)
        return {"uncertainty": rows}

    return protocols.each_condition(CONDITIONS, rows_of, folder)
