"""Error against what is seen: by the visible share of the body, by what hides a joint, by joint.

An occluder of the scene is known exactly, and the same frames are there without it. So the joints
that it covers have rows with it and rows without: the same joints of the same frames. Hidden
joints beside seen ones would be other joints, wrists more often than hips.
"""

import torch

from di2pose_lib.base.checks import check_tensor
from di2pose_lib.base.metrics import joint_errors_mm
from di2pose_lib.base.skeleton import JOINT_NAMES
from di2pose_lib.evaluation.conditions import joint_rows

SHARE = "visible share"  # the protocol of the rows by share; their level is the end of a bin
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


def kind_rows(predictions, condition, kinds):
    """Rows of MPJPE by what hides a joint, over all joints but the pelvis, and for each.

    The rows' `joints` are "covered by the occluder", "left wrist, covered by the occluder", …;
    a joint that is so in fewer than `FEWEST` clusters has no row. The pelvis is 0 by definition.

    Args:
        predictions: `evaluation.Prediction`s of the condition's images.
        condition: a `conditions.Condition`.
        kinds: of `joint_kinds`, for the condition's images.
    """
    of_kinds, of_joints = {}, {}
    for kind, mask in kinds.items():
        of_kinds[kind] = mask.clone()
        of_kinds[kind][:, 0] = False
    for joint, name in enumerate(JOINT_NAMES[1:], start=1):
        for kind, mask in kinds.items():
            only = torch.zeros_like(mask)
            only[:, joint] = mask[:, joint]
            of_joints[f"{name}, {kind}"] = only
    single = _rows(predictions, condition, of_joints)
    return _rows(predictions, condition, of_kinds) + _enough(single)


def share_rows(predictions, condition):
    """Rows of MPJPE over all joints, by the share of them that the image shows.

    A row's protocol is `SHARE`, its level the end of its bin: of (0.2, 0.4] it is 0.4, and 0 is in
    the first. Bins with fewer than `FEWEST` clusters have no row. Arguments as in `kind_rows`.
    """
    share = condition.visible.double().mean(dim=1)
    ends = torch.tensor(SHARES, dtype=torch.float64)
    bins = torch.searchsorted(ends, share.clamp_max(1.0) - 1e-9)
    rows = []
    for place, end in enumerate(SHARES):
        of_bin = condition._replace(protocol=SHARE, level=end)
        mask = (bins == place)[:, None].expand(condition.visible.shape)
        rows += _enough(_rows(predictions, of_bin, {"all": mask}))
    return rows


def _enough(rows):
    return [row for row in rows if len(row["clusters"]["names"]) >= FEWEST]


def _rows(predictions, condition, masks):
    return [
        row
        for method, estimator, pose in predictions
        for row in joint_rows(
            condition, method, estimator, METRIC, joint_errors_mm(pose, condition.pose), masks
        )
    ]
