"""Does the spread of H hypotheses tell how wrong a model is?

Hypotheses x_1 … x_H (n, H, J, 3) of an image, draws of the model's law for it, are set
against the truth y (n, J, 3): their spread against the error, and how often regions of
nominal level p hold the truth. A model is *calibrated* if y is one more draw of its law.
What is measured is right for every H ≥ 2 under that. Every pose is moved to its own pelvis
first, so the pelvis has neither spread nor error.
"""

import math
from typing import NamedTuple

import torch

from di2pose_lib.base.checks import check_tensor, require
from di2pose_lib.base.skeleton import JOINT_NAMES
from di2pose_lib.evaluation.proper_scores import relative_mm

FEWEST_TO_RANK = 10  # images under a joint's rank correlation


class SpreadError(NamedTuple):
    """What the samples promise and what came, float64 (n, J), mm."""

    spread: torch.Tensor
    """Root of the mean squared distance to the samples' mean, the sum divided by H − 1."""
    error: torch.Tensor
    """Distance of the samples' mean from the truth."""


def spread_and_error_mm(hypotheses, pose):
    """`SpreadError` of every joint.

    If the model is calibrated, the mean of error² is (1 + 1/H) times that of spread²:
    the truth is one draw, and the mean of H has a variance of its own (`calibrated_error`).

    Args:
        hypotheses: float (n, H, J, 3), H ≥ 2, metres.
        pose: true joints, float (n, J, 3), metres.

    Raises:
        ValueError: shapes disagree, NaN, or a single hypothesis.
    """
    samples, truth = relative_mm(hypotheses, pose)
    mean = samples.mean(dim=1, keepdim=True)
    variance = (samples - mean).square().sum(dim=(1, 3)) / (samples.shape[1] - 1)
    return SpreadError(variance.sqrt(), (mean[:, 0] - truth).norm(dim=-1))


def calibrated_error(spread, num_hypotheses):
    """The RMS error that a calibrated model with this RMS spread has: √(1 + 1/H) of it."""
    return spread * math.sqrt(1 + 1 / num_hypotheses)


def coverage(hypotheses, pose, levels):
    """Is the truth inside the region of each nominal level? Float64 (n, J, levels) in [0, 1].

    Take the H samples and the truth, and the distance of each of these H + 1 points to the
    mean of all H + 1 (H / (H + 1) times its distance to the mean of the others). If the
    model is calibrated they are exchangeable, so the truth's rank by distance is uniform on
    1 … H + 1 whatever the law's shape: the region "rank ≤ k" has level k / (H + 1) exactly.
    A level p between two of these holds the larger region with the chance that makes it
    exact; a tie is broken at random. Neither is drawn: the returned value is the chance.
    Above H / (H + 1) every truth is inside at least in part: few samples tell nothing of
    their law's tail.

    Args:
        hypotheses: float (n, H, J, 3), H ≥ 2, metres.
        pose: true joints, float (n, J, 3), metres.
        levels: nominal levels, floats in (0, 1).

    Raises:
        ValueError: as `spread_and_error_mm`; or a level outside (0, 1).
    """
    samples, truth = relative_mm(hypotheses, pose)
    _check_levels(levels)
    points = torch.cat([truth[:, None], samples], dim=1)  # (n, H + 1, J, 3)
    distance = (points - points.mean(dim=1, keepdim=True)).norm(dim=-1)
    nearer = (distance < distance[:, :1]).sum(dim=1)
    tied = (distance == distance[:, :1]).sum(dim=1)  # the truth itself among them
    among = points.shape[1] * torch.tensor(levels, dtype=torch.float64)
    return ((among - nearer[..., None]) / tied[..., None]).clamp(0, 1)


def _check_levels(levels):
    outside = [level for level in levels if not 0 < level < 1]
    require(len(levels) > 0, "`levels` must hold at least one level; got none")
    require(not outside, f"`levels` must lie in (0, 1); got {outside}")


def region_radius_mm(hypotheses, levels):
    """Sharpness: radius of the region of each level about the mean, float64 (n, J, levels), mm.

    The distances of the samples to the mean of the others, in order; level p lies at place
    p (H + 1), between two of them by a straight line. Beyond the largest, for p above
    H / (H + 1), it is the largest: then the radius is a lower bound. Of two models with
    the same coverage the one with the smaller regions knows more.

    Args:
        hypotheses: float (n, H, J, 3), H ≥ 2, metres.
        levels: nominal levels, floats in (0, 1).
    """
    samples = relative_mm(hypotheses)
    _check_levels(levels)
    count = samples.shape[1]
    # x − mean of the others = H / (H − 1) · (x − mean of all)
    apart = (samples - samples.mean(dim=1, keepdim=True)).norm(dim=-1) * (count / (count - 1))
    ordered = apart.sort(dim=1).values.transpose(1, 2)  # (n, J, H)
    place = (torch.tensor(levels, dtype=torch.float64) * (count + 1) - 1).clamp(0, count - 1)
    below = place.floor().long()
    above = (below + 1).clamp_max(count - 1)
    return ordered[..., below].lerp(ordered[..., above], place - below)


def _ranks(values):
    """Ranks 1 … n of (n,) values, float64; equal values share their mean rank."""
    _, place, counts = values.unique(return_inverse=True, return_counts=True)
    return (counts.cumsum(0) - (counts - 1) / 2.0).double()[place]


def _standard_ranks(values):
    ranks = _ranks(values)
    return (ranks - ranks.mean()) / ranks.std(correction=0)


def rank_correlation(x, y):
    """Spearman's correlation of two float (n,): that of their ranks, in [−1, 1].

    Raises:
        ValueError: other shapes, NaN, or all values equal.
    """
    sizes = check_tensor("x", x, ("n",), "float")
    check_tensor("y", y, (sizes["n"],), "float")
    for name, values in (("x", x), ("y", y)):
        require(values.min() < values.max(), f"`{name}` must hold two different values")
    return (_standard_ranks(x) * _standard_ranks(y)).mean().item()


def rank_products(spread, error, mask):
    """(products of standard ranks (k,), images (k,)) of the joints and images that count.

    A joint's products average to its rank correlation over the images. Joints with fewer
    than `FEWEST_TO_RANK` images, or with equal spreads or errors, are left out.
    """
    products, images = [], []
    for joint in range(mask.shape[1]):
        rows = mask[:, joint].nonzero().flatten()
        x, y = spread[rows, joint], error[rows, joint]
        if len(rows) >= FEWEST_TO_RANK and x.min() < x.max() and y.min() < y.max():
            products.append(_standard_ranks(x) * _standard_ranks(y))
            images.append(rows)
    if not products:
        return torch.zeros(0, dtype=torch.float64), torch.zeros(0, dtype=torch.int64)
    return torch.cat(products), torch.cat(images)


def joint_table(hypotheses, pose, joint_mask):
    """Spread against error of each joint over the images: a table without the pelvis.

    Args:
        hypotheses: float (n, H, 17, 3), H ≥ 2, metres.
        pose: true joints, float (n, 17, 3), metres.
        joint_mask: joints that count, bool (n, 17); a joint that never counts has no row.

    Returns:
        list of {"joint", "rms_spread_mm", "rms_error_if_calibrated_mm", "rms_error_mm",
        "rank_correlation" (over the images; None for fewer than `FEWEST_TO_RANK` or equal
        values), "n"}.
    """
    each = spread_and_error_mm(hypotheses, pose)
    check_tensor("joint_mask", joint_mask, (len(pose), len(JOINT_NAMES)), "bool")
    table = []
    for joint, name in enumerate(JOINT_NAMES[1:], start=1):
        only = torch.zeros_like(joint_mask)
        only[:, joint] = joint_mask[:, joint]
        if not only.any():
            continue
        products, _ = rank_products(*each, only)
        rms_spread = each.spread[only].square().mean().sqrt().item()
        table.append(
            {
                "joint": name,
                "rms_spread_mm": rms_spread,
                "rms_error_if_calibrated_mm": calibrated_error(rms_spread, hypotheses.shape[1]),
                "rms_error_mm": each.error[only].square().mean().sqrt().item(),
                "rank_correlation": products.mean().item() if len(products) else None,
                "n": int(only.sum()),
            }
        )
    return table
