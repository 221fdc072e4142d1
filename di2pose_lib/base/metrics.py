"""Pose errors with named conventions: MPJPE and PA-MPJPE, in millimetres.

Both take root-relative poses in metres, align the pelvis (joint 0) of prediction and
truth, and average over the joints of `joint_mask` (all where None).
"""

import torch

from di2pose_lib.base.checks import check_metres, check_tensor, require

MM_PER_M = 1000.0


def _check_pair(pose_pred, pose, joint_mask):
    sizes = check_tensor("pose", pose, ("B", "J", 3), "float")
    check_tensor("pose_pred", pose_pred, (sizes["B"], sizes["J"], 3), "float")
    if joint_mask is None:
        return torch.ones(pose.shape[:2], dtype=torch.bool, device=pose.device)
    check_tensor("joint_mask", joint_mask, (sizes["B"], sizes["J"]), "bool")
    empty = (~joint_mask.any(dim=1)).nonzero().flatten().tolist()
    require(not empty, f"`joint_mask` must keep a joint in every pose; poses {empty[:5]} have none")
    return joint_mask


def _check_metres(pose_pred, pose, joint_mask):
    """`_check_pair`, and no joint that counts so far from the root as where given in mm."""
    mask = _check_pair(pose_pred, pose, joint_mask)
    counted = mask.int().argmax(dim=1)[:, None, None].expand(-1, 1, 3)  # one; the root if it is
    for name, joints in (("pose_pred", pose_pred), ("pose", pose)):
        check_metres(name, torch.where(mask[..., None], joints, joints.gather(1, counted)))
    return mask


def joint_errors_mm(pose_pred, pose):
    """Distance of every joint after root alignment, float64 (B, J), mm."""
    _check_metres(pose_pred, pose, None)
    return _joint_errors_mm(pose_pred, pose)


def _joint_errors_mm(pose_pred, pose):
    pose_pred, pose = pose_pred.double(), pose.double()
    aligned = pose_pred - pose_pred[:, :1] + pose[:, :1]
    return (aligned - pose).norm(dim=-1) * MM_PER_M


def mpjpe_mm(pose_pred, pose, joint_mask=None):
    """Mean per-joint position error after root alignment (Protocol 1), float64 (B,), mm.

    Args:
        pose_pred: predicted joints, float (B, J, 3), metres.
        pose: true joints, float (B, J, 3), metres.
        joint_mask: joints that count, bool (B, J); None counts all.

    Raises:
        ValueError: shapes disagree, NaN, a pose without a joint that counts, or with one
            over 10 m from its root.
    """
    mask = _check_metres(pose_pred, pose, joint_mask)
    errors = _joint_errors_mm(pose_pred, pose)
    return (errors * mask).sum(dim=1) / mask.sum(dim=1)


def procrustes(pose_pred, pose, joint_mask=None):
    """`pose_pred` moved onto `pose` by the best similarity (rotation, scale, translation).

    Minimises the sum of squared distances over the joints of `joint_mask`;
    reflections are excluded. Returns float64 (B, J, 3), metres. A pose whose joints
    coincide is only translated.
    """
    mask = _check_pair(pose_pred, pose, joint_mask)
    source, target = pose_pred.double(), pose.double()
    weight = mask[..., None].double()
    count = weight.sum(dim=1, keepdim=True)
    source_mean = (source * weight).sum(dim=1, keepdim=True) / count
    target_mean = (target * weight).sum(dim=1, keepdim=True) / count
    centred = source - source_mean
    covariance = ((target - target_mean) * weight).transpose(1, 2) @ (centred * weight)  # (B, 3, 3)
    u, singular, vt = torch.linalg.svd(covariance)
    sign = torch.ones_like(singular)
    sign[:, -1] = torch.linalg.det(u @ vt).sign()  # avoid reflections: det R = −1
    rotation = (u * sign[:, None]) @ vt
    variance = (centred.square() * weight).sum(dim=(1, 2))
    scale = (singular * sign).sum(dim=1) / variance.clamp_min(1e-12)
    scale = torch.where(variance > 1e-12, scale, torch.ones_like(scale))
    return scale[:, None, None] * centred @ rotation.transpose(1, 2) + target_mean


def pa_mpjpe_mm(pose_pred, pose, joint_mask=None):
    """MPJPE after `procrustes` with scale (Protocol 2), float64 (B,), mm.

    For a single pose it may exceed MPJPE: Procrustes minimises squares, MPJPE
    averages norms. The root is not aligned afterwards. Arguments as in `mpjpe_mm`.
    """
    mask = _check_metres(pose_pred, pose, joint_mask)
    aligned = procrustes(pose_pred, pose, joint_mask)
    errors = (aligned - pose.double()).norm(dim=-1) * MM_PER_M
    return (errors * mask).sum(dim=1) / mask.sum(dim=1)


def mean_pairwise_pa_mpjpe_mm(poses, num_pairs, generator):
    """How varied poses are: mean PA-MPJPE between random pairs of (n, J, 3), mm."""
    sizes = check_tensor("poses", poses, ("n", "J", 3), "float")
    require(sizes["n"] >= 2, f"`poses` must hold at least two poses; got {sizes['n']}")
    first = torch.randint(sizes["n"], (num_pairs,), generator=generator)
    offset = torch.randint(1, sizes["n"], (num_pairs,), generator=generator)
    second = (first + offset) % sizes["n"]
    return pa_mpjpe_mm(poses[first], poses[second]).mean().item()
