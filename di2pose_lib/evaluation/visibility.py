"""Error against what is seen: by the visible share of the body, by what hides a joint, by joint.

An occluder of the scene is known exactly, and the same frames are there without it. So the joints
that it covers have rows with it and rows without: the same joints of the same frames. Hidden
joints beside seen ones would be other joints, wrists more often than hips.
"""

import torch

from di2pose_lib.base.checks import check_tensor
from di2pose_lib.base.metrics import joint_errors_mm
from di2pose_lib.base.skeleton import JOINT_NAMES
from di2pose_lib.evaluation.pictures import joined

SHARE = "visible share"  # the occlusion of the rows by share; their level is the end of a bin
SHARES = (0.2, 0.4, 0.6, 0.8, 1.0)  # each bin begins where the one before ends
SEEN, COVERED, OWN_BODY = "seen", "covered by the occluder", "behind the own body"
METRIC = "mpjpe_mm"
FEWEST = 5  # clusters under a row of one joint or bin: the resampling of fewer tells little


def joint_kinds(visible, covered):
    """{`SEEN`, `COVERED`, `OWN_BODY`: bool (n, J)}: joints of frames with and without an occluder.

    A joint that is both covered and behind the own body is in none of them.

    Args:
        visible: joints that are seen without the occluder, bool (n, J).
        covered: joints behind the occluder or outside the image, bool (n, J), as in a data set.
    """
    check_tensor("visible", visible, ("n", "J"), "bool")
    check_tensor("covered", covered, tuple(visible.shape), "bool")
    return {SEEN: visible & ~covered, COVERED: visible & covered, OWN_BODY: ~visible & ~covered}


def kind_rows(predictions, truth, kinds):
    """Rows of MPJPE by what hides a joint, over all joints but the pelvis, and for each.

    The rows' `joints` are a kind, their `joint` is "left wrist" or its like; a joint
    hidden so in fewer than `FEWEST` clusters has no row. The pelvis is 0 by definition.

    Args:
        predictions: `Prediction`s for the images of a `Truth`.
        truth: the `Truth`.
        kinds: of `joint_kinds`, for its images.
    """
    errors, tables = _errors(predictions, truth), []
    for columns, each in errors:
        masks = {kind: mask.clone() for kind, mask in kinds.items()}
        for mask in masks.values():
            mask[:, 0] = False
        tables.append(truth.joint_rows(each, masks, **columns))
    for joint, name in enumerate(JOINT_NAMES[1:], start=1):
        for kind, mask in kinds.items():
            only = torch.zeros_like(mask)
            only[:, joint] = mask[:, joint]
            for columns, each in errors:
                rows = truth.joint_rows(each, {kind: only}, **columns, joint=name)
                tables += [rows] if len(rows) >= FEWEST else []
    return joined(tables)


def share_rows(predictions, truth):
    """Rows of MPJPE over all joints, by the share of them that the image shows.

    A row's occlusion is `SHARE`, its level the end of its bin: of (0.2, 0.4] it is 0.4, and 0 is in
    the first. Bins with fewer than `FEWEST` clusters have no row. Arguments as in `kind_rows`.
    """
    share = truth.visible.double().mean(dim=1)
    ends = torch.tensor(SHARES, dtype=torch.float64)
    bins, tables = torch.searchsorted(ends, share.clamp_max(1.0) - 1e-9), []
    for place, end in enumerate(SHARES):
        images = (bins == place).nonzero().flatten()
        for columns, each in _errors(predictions, truth) if len(images) else ():
            place_columns = {"occlusion": SHARE, "level": end}
            rows = truth.rows(each.mean(dim=1)[images], images, **columns | place_columns)
            tables += [rows] if len(rows) >= FEWEST else []
    return joined(tables)


def _errors(predictions, truth):
    """[(columns, MPJPE of each joint (n, J), mm)]."""
    return [
        (
            {"method": method, "estimator": estimator, "metric": METRIC},
            joint_errors_mm(pose, truth.pose),
        )
        for method, estimator, pose in predictions
    ]
