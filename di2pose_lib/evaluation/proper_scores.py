"""Proper scores of H hypotheses, draws of a model's law, against the truth, in millimetres.

A score is proper if on average no law scores better than the one that the truth was drawn
from: it rewards the right spread, neither boldness nor caution. The estimators are the fair
ones (Ferro 2014): without the bias of few samples, so that models of different H compare.
Every pose is moved to its own pelvis first, so the pelvis itself scores 0.
"""

from di2pose_lib.base.checks import check_pose, check_tensor, require
from di2pose_lib.base.metrics import MM_PER_M


def relative_mm(hypotheses, pose=None):
    """Hypotheses (and truth, where given) relative to their own pelvis, float64, mm.

    Args:
        hypotheses: float (n, H, J, 3), H ≥ 2, metres.
        pose: true joints, float (n, J, 3), metres, or None.

    Raises:
        ValueError: shapes disagree, NaN, or a single hypothesis.
    """
    sizes = check_pose("hypotheses", hypotheses, ("n", "H", "J", 3))
    require(sizes["H"] >= 2, f"`hypotheses` must hold at least 2 an image; got {sizes['H']}")
    hypotheses = hypotheses.double() * MM_PER_M
    hypotheses = hypotheses - hypotheses[:, :, :1]
    if pose is None:
        return hypotheses
    check_pose("pose", pose, (sizes["n"], sizes["J"], 3))
    pose = pose.double() * MM_PER_M
    return hypotheses, pose - pose[:, :1]


def _mean_over_pairs(samples, distance):
    """Mean of `distance(x_i, x_j)` over i ≠ j; `samples` (n, H, J, 3)."""
    count = samples.shape[1]
    return sum(
        distance(samples, samples.roll(shift, dims=1)).sum(dim=1) for shift in range(1, count)
    ) / (count * (count - 1))


def _joint_distance(a, b):
    return (a - b).norm(dim=-1)


def _fair_score(samples, truth, distance):
    """mean |x − y| − ½ mean over pairs |x − x'|: unbiased in H."""
    return distance(samples, truth[:, None]).mean(dim=1) - _mean_over_pairs(samples, distance) / 2


def energy_score_mm(hypotheses, pose):
    """Energy score of every joint, float64 (n, J), mm; smaller is better.

    E|X − y| − ½ E|X − X'| (Gneiting and Raftery 2007, Eq. 21), the second mean over pairs
    of different samples: the fair estimator (Ferro 2014), whose expectation does not
    depend on H. It is proper: on average no law scores better than the one that the truth
    was drawn from. A single score may be negative.

    Args:
        hypotheses: float (n, H, J, 3), H ≥ 2, metres.
        pose: true joints, float (n, J, 3), metres.
    """
    return _fair_score(*relative_mm(hypotheses, pose), _joint_distance)


def pose_energy_score_mm(hypotheses, pose, joint_mask):
    """Energy score of the pose as a whole, float64 (n,), mm.

    As `energy_score_mm`, but the distance of two poses is the root of the mean squared
    distance of their joints of `joint_mask`, bool (n, J): it also scores whether the joints
    of a hypothesis fit each other.
    """
    samples, truth = relative_mm(hypotheses, pose)
    check_tensor("joint_mask", joint_mask, tuple(truth.shape[:2]), "bool")
    empty = (~joint_mask.any(dim=1)).nonzero().flatten().tolist()
    require(not empty, f"`joint_mask` must keep a joint in every pose; poses {empty[:5]} have none")
    weight = (joint_mask / joint_mask.sum(dim=1, keepdim=True))[:, None].double()  # (n, 1, J)

    def distance(a, b):
        return ((a - b).square().sum(dim=-1) * weight).sum(dim=-1).sqrt()

    return _fair_score(samples, truth, distance)


def crps_mm(hypotheses, pose):
    """Continuous ranked probability score, the mean of the three coordinates', (n, J), mm.

    The energy score of a number, with the same fair estimator; equal to the absolute error
    where all hypotheses are equal. Arguments as in `energy_score_mm`.
    """
    samples, truth = relative_mm(hypotheses, pose)
    return _fair_score(samples, truth, lambda a, b: (a - b).abs()).mean(dim=-1)


def diversity_mm(hypotheses):
    """Distance of a joint between two hypotheses, mean over pairs, float64 (n, J), mm.

    Its mean over all joints is the mean pairwise MPJPE of the hypotheses.

    Args:
        hypotheses: float (n, H, J, 3), H ≥ 2, metres.
    """
    return _mean_over_pairs(relative_mm(hypotheses), _joint_distance)
