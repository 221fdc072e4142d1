"""Conventions of the error: by hand, by a second Procrustes, and what each must not see."""

import numpy as np
import pytest
import torch
from small import make_split, measured, small_config

from di2pose_lib.base.metrics import mpjpe_mm, pa_mpjpe_mm
from di2pose_lib.base.skeleton import JOINT_NAMES
from di2pose_lib.evaluation.metric_conventions import (
    CONVENTIONS,
    FEWEST_TO_ALIGN,
    LSP_14,
    REFERENCE,
    Convention,
    aligned_pose,
    convention_errors_mm,
    convention_rows,
)
from di2pose_lib.evaluation.models import Prediction
from di2pose_lib.evaluation.pictures import truth_of

J = {name: joint for joint, name in enumerate(JOINT_NAMES)}
ALL_SEEN = torch.ones(1, 17, dtype=torch.bool)

# A body in a T-pose, in centimetres: x to its left, y up.
T_POSE = [
    [0, 0, 0],  # pelvis
    [-13, 0, 0],
    [-13, -44, 0],
    [-13, -89, 0],
    [13, 0, 0],
    [13, -44, 0],
    [13, -89, 0],
    [0, 23, 0],
    [0, 49, 0],
    [0, 60, 6],
    [0, 71, 4],
    [15, 46, 0],
    [43, 46, 0],
    [68, 46, 0],
    [-15, 46, 0],
    [-43, 46, 0],
    [-68, 46, 0],
]


def random_pairs(batch=12, seed=0, error=0.2):
    """(pose_pred, pose, visible): float64 (batch, 17, 3) twice, bool (batch, 17)."""
    generator = torch.Generator().manual_seed(seed)
    pose = 0.4 * torch.randn(batch, 17, 3, generator=generator, dtype=torch.float64)
    noise = error * torch.randn(batch, 17, 3, generator=generator, dtype=torch.float64)
    visible = torch.rand(batch, 17, generator=generator) < 0.6
    visible[:, 8:12], visible[:, 12:15] = True, False
    return pose + noise, pose, visible


def rotations(batch, seed=0):
    generator = torch.Generator().manual_seed(seed)
    q = torch.linalg.qr(torch.randn(batch, 3, 3, generator=generator, dtype=torch.float64)).Q
    return q * torch.linalg.det(q)[:, None, None]


def errors(name, pose_pred, pose, visible=None):
    convention = CONVENTIONS[name] if isinstance(name, str) else name
    visible = ALL_SEEN.expand(len(pose), -1) if visible is None else visible
    values, images = convention_errors_mm(pose_pred, pose, convention, visible)
    assert images.tolist() == list(range(len(pose)))
    return values


def body(count=1):
    return torch.tensor(T_POSE, dtype=torch.float64).expand(count, 17, 3) / 100


def horn(source, target, with_scale):
    """The best rigid motion or similarity by quaternions, (J, 3) arrays: no SVD in it."""
    source_mean, target_mean = source.mean(axis=0), target.mean(axis=0)
    a, b = source - source_mean, target - target_mean
    s = a.T @ b
    n = np.empty((4, 4))
    n[0, 0] = np.trace(s)
    n[0, 1:] = n[1:, 0] = [s[1, 2] - s[2, 1], s[2, 0] - s[0, 2], s[0, 1] - s[1, 0]]
    n[1:, 1:] = s + s.T - np.trace(s) * np.eye(3)
    w, x, y, z = np.linalg.eigh(n)[1][:, -1]
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    rotation = np.eye(3) + 2 * w * cross + 2 * cross @ cross
    scale = (a @ rotation.T * b).sum() / (a * a).sum() if with_scale else 1.0
    return lambda points: scale * (points - source_mean) @ rotation.T + target_mean


# By hand


def test_the_fourteen_joints_are_those_of_lsp_by_name():
    assert [JOINT_NAMES[joint] for joint in LSP_14] == [
        *("right hip", "right knee", "right ankle", "left hip", "left knee", "left ankle"),
        *("thorax", "head", "left shoulder", "left elbow", "left wrist"),
        *("right shoulder", "right elbow", "right wrist"),
    ]


def test_every_convention_has_one_name_and_says_who_uses_it():
    assert all(name == c.name and len(c.used_by) > 2 for name, c in CONVENTIONS.items())
    settings = [
        (c.root, c.joints, c.alignment, c.seen, c.fitted, c.average) for c in CONVENTIONS.values()
    ]
    assert len(set(settings)) == len(settings) >= 15


def test_one_wrong_joint_is_shared_by_those_that_count():
    pose_pred = body().clone()
    pose_pred[0, J["left wrist"], 2] += 0.17
    assert errors("MPJPE", pose_pred, body()).item() == pytest.approx(170 / 17)
    assert errors("MPJPE, 16 joints", pose_pred, body()).item() == pytest.approx(170 / 16)
    assert errors("MPJPE, 14 joints", pose_pred, body()).item() == pytest.approx(170 / 14)


@pytest.mark.parametrize("joint", ["spine", "nose"])
def test_spine_and_nose_are_not_among_the_fourteen(joint):
    pose_pred = body().clone()
    pose_pred[0, J[joint]] += 0.1
    for name in ("MPJPE, 14 joints", "PA-MPJPE, 14 joints"):
        assert errors(name, pose_pred, body()).item() == pytest.approx(0, abs=1e-9)
    assert errors("MPJPE", pose_pred, body()).item() > 5


def test_roots_by_hand_where_the_pelvis_alone_is_wrong():
    pose_pred = body().clone()
    pose_pred[0, 0, 2] = 0.034
    assert errors("MPJPE", pose_pred, body()).item() == pytest.approx(34 * 16 / 17)
    between = errors("MPJPE, root between the hips", pose_pred, body())
    assert between.item() == pytest.approx(34 / 17)
    # The means are 2 mm apart: the pelvis stays 32 mm off, the sixteen others 2 mm.
    means = errors("MPJPE, means aligned", pose_pred, body())
    assert means.item() == pytest.approx((32 + 16 * 2) / 17)


def test_two_definitions_of_the_root_shift_a_perfect_prediction():
    pose = body().clone()
    pose[0, 0, 1] += 0.03  # the pelvis 3 cm above the line of the hips
    name = "MPJPE, 14 joints, hips of the prediction on pelvis of the truth"
    assert errors(name, pose, pose).item() == pytest.approx(30)
    same = errors("MPJPE, 14 joints, root between the hips", pose, pose)
    assert same.item() == pytest.approx(0, abs=1e-9)


def test_scale_alone_is_the_factor_of_least_squares_about_the_root():
    pose_pred, pose, _ = random_pairs()
    x, y = pose_pred - pose_pred[:, :1], pose - pose[:, :1]
    wanted = []
    for a, b in zip(x, y, strict=True):
        factor = (a * b).sum() / (a * a).sum()
        wanted.append((factor * a - b).norm(dim=1).mean() * 1000)
    torch.testing.assert_close(errors("N-MPJPE", pose_pred, pose), torch.stack(wanted))


def test_the_conventions_of_this_repository_are_its_metrics():
    pose_pred, pose, visible = random_pairs()
    for name, wanted in {
        "MPJPE": mpjpe_mm(pose_pred, pose),
        "PA-MPJPE": pa_mpjpe_mm(pose_pred, pose),
        "MPJPE, visible joints": mpjpe_mm(pose_pred, pose, visible),
        "MPJPE, occluded joints": mpjpe_mm(pose_pred, pose, ~visible),
        "PA-MPJPE, visible joints, aligned over them alone": pa_mpjpe_mm(pose_pred, pose, visible),
    }.items():
        torch.testing.assert_close(errors(name, pose_pred, pose, visible), wanted)


# A second implementation


@pytest.mark.parametrize(
    ("name", "joints", "with_scale"),
    [
        ("PA-MPJPE", range(17), True),
        ("PA-MPJPE without scale", range(17), False),
        ("PA-MPJPE, 14 joints", LSP_14, True),
    ],
)
def test_alignments_are_those_of_quaternions(name, joints, with_scale):
    pose_pred, pose, _ = random_pairs(error=0.5)
    joints = list(joints)
    wanted = []
    for a, b in zip(pose_pred.numpy()[:, joints], pose.numpy()[:, joints], strict=True):
        wanted.append(1000 * np.linalg.norm(horn(a, b, with_scale)(a) - b, axis=1).mean())
    assert errors(name, pose_pred, pose).tolist() == pytest.approx(wanted)


@pytest.mark.parametrize("seen", ["visible", "occluded"])
@pytest.mark.parametrize("fitted", ["all", "counted"])
def test_alignment_over_all_or_over_the_counted_joints_is_that_of_quaternions(seen, fitted):
    pose_pred, pose, visible = random_pairs(error=0.5)
    over = "all" if fitted == "all" else "them alone"
    found = errors(f"PA-MPJPE, {seen} joints, aligned over {over}", pose_pred, pose, visible)
    counted = (visible if seen == "visible" else ~visible).numpy()
    for n, (a, b) in enumerate(zip(pose_pred.numpy(), pose.numpy(), strict=True)):
        fit = slice(None) if fitted == "all" else counted[n]
        moved = horn(a[fit], b[fit], with_scale=True)(a[counted[n]])
        assert found[n].item() == pytest.approx(
            1000 * np.linalg.norm(moved - b[counted[n]], axis=1).mean()
        )


# What each must not see, and what it must


TRANSFORMS = {
    "moved": lambda pose: pose + torch.tensor([0.3, -1.0, 2.0], dtype=torch.float64),
    "scaled": lambda pose: 1.4 * pose,
    "turned": lambda pose: pose @ rotations(len(pose), seed=3).mT,
    "mirrored": lambda pose: pose * torch.tensor([-1.0, 1.0, 1.0], dtype=torch.float64),
}
BLIND = {
    "MPJPE": ("moved",),
    "MPJPE, root between the hips": ("moved",),
    "MPJPE, means aligned": ("moved",),
    "N-MPJPE": ("moved", "scaled"),
    "PA-MPJPE without scale": ("moved", "turned"),
    "PA-MPJPE": ("moved", "scaled", "turned"),
    "PA-MPJPE, 14 joints": ("moved", "scaled", "turned"),
    "PA-MPJPE, visible joints, aligned over them alone": ("moved", "scaled", "turned"),
}


@pytest.mark.parametrize("name", BLIND)
@pytest.mark.parametrize("transform", TRANSFORMS)
def test_a_convention_ignores_what_its_alignment_takes_out_and_nothing_else(name, transform):
    pose_pred, pose, visible = random_pairs()
    before = errors(name, pose_pred, pose, visible)
    after = errors(name, TRANSFORMS[transform](pose_pred), pose, visible)
    if transform in BLIND[name]:
        torch.testing.assert_close(after, before)
    else:
        assert (after - before).abs().mean() > 5


def test_every_convention_finds_no_error_in_the_truth_but_that_of_two_roots():
    _, pose, visible = random_pairs()
    for name, convention in CONVENTIONS.items():
        if convention.root != "hips on pelvis":
            assert errors(name, pose, pose, visible).abs().max() < 1e-6


def test_the_root_mean_square_error_after_alignment_never_exceeds_that_before():
    pose_pred, pose, visible = random_pairs(batch=300, error=0.3)

    def rms(**settings):
        moved = aligned_pose(pose_pred, pose, Convention("x", "nobody", **settings), visible)
        return (moved - pose).square().sum(dim=-1).mean(dim=-1).sqrt()

    none, means, hips = rms(), rms(root="mean"), rms(root="hips")
    scale, rigid, similarity = (rms(alignment=a) for a in ("scale", "rigid", "similarity"))
    slack = 1e-12
    assert (similarity <= rigid + slack).all() and (rigid <= means + slack).all()
    assert (means <= none + slack).all() and (means <= hips + slack).all()
    assert (scale <= none + slack).all() and (similarity <= scale + slack).all()


def test_five_joints_on_a_line_have_a_pa_mpjpe_above_their_mpjpe():
    """By hand: the end joint is 1 m off. The best similarity is the regression with slope
    30/37; it shares the error out as 8, 1, 6, 13 and 10 thirty-sevenths of a metre. Their
    squares sum to less than 1, they themselves to 38/37."""
    pose, pose_pred = torch.zeros(2, 1, 5, 3, dtype=torch.float64)
    pose[0, :, 0] = torch.tensor([0.0, 1.0, 2.0, 3.0, 4.0])
    pose_pred[0, :, 0] = torch.tensor([0.0, 1.0, 2.0, 3.0, 5.0])
    assert mpjpe_mm(pose_pred, pose).item() == pytest.approx(1000 / 5)
    assert pa_mpjpe_mm(pose_pred, pose).item() == pytest.approx(1000 * (38 / 37) / 5)
    assert (8**2 + 1**2 + 6**2 + 13**2 + 10**2) / 37**2 < 1


def test_a_body_with_one_wrong_wrist_has_a_pa_mpjpe_above_its_mpjpe():
    """Sixteen joints are right. Procrustes moves them all to lessen one square."""
    pose_pred = body().clone()
    pose_pred[0, J["left wrist"]] = torch.tensor([0.43, 0.71, 0.0])  # straight up, not out
    mpjpe = errors("MPJPE", pose_pred, body()).item()
    assert mpjpe == pytest.approx(250 * 2**0.5 / 17)  # 20.8 mm
    pa = errors("PA-MPJPE", pose_pred, body()).item()
    rigid = errors("PA-MPJPE without scale", pose_pred, body()).item()
    assert pa > 1.3 * mpjpe and rigid > 1.3 * mpjpe


def test_a_truth_of_one_point_leaves_the_rotation_free_and_the_distance_to_the_mean():
    pose_pred = body()
    pose = torch.zeros_like(pose_pred)
    wanted = (pose_pred - pose_pred.mean(dim=1, keepdim=True)).norm(dim=-1).mean() * 1000
    found = errors("PA-MPJPE without scale", pose_pred, pose)
    assert found.item() == pytest.approx(wanted.item())


# Which images count


def test_images_with_too_few_joints_to_fit_alone_are_left_out():
    pose_pred, pose, _ = random_pairs(batch=4)
    visible = torch.ones(4, 17, dtype=torch.bool)
    for image, hidden in enumerate((0, 1, 2, 3)):
        visible[image, 5 : 5 + hidden] = False
    alone = CONVENTIONS["PA-MPJPE, occluded joints, aligned over them alone"]
    values, images = convention_errors_mm(pose_pred, pose, alone, visible)
    assert FEWEST_TO_ALIGN == 3 and images.tolist() == [3] and values[0] > 1
    over_all = CONVENTIONS["PA-MPJPE, occluded joints, aligned over all"]
    assert convention_errors_mm(pose_pred, pose, over_all, visible)[1].tolist() == [1, 2, 3]
    # Why: two joints are laid on the truth whatever was predicted.
    assert pa_mpjpe_mm(pose_pred[[2]], pose[[2]], ~visible[[2]]).item() < 1e-6


# Rows and table


@pytest.fixture
def truth(tmp_path):
    visible = torch.ones(4, 17, dtype=torch.bool)
    visible[0, 3:7] = False
    dataset = make_split(tmp_path / "test", 4, visible=visible)
    return truth_of(dataset, small_config())


def off(truth, millimetres):
    """A `Prediction` whose left elbow is off by so many mm in each image."""
    pose = truth.pose.clone()
    pose[:, J["left elbow"], 1] += torch.tensor(millimetres) / 1000
    return Prediction("m", "e", pose)


def test_rows_hold_every_convention_that_averages_over_frames(truth):
    rows = convention_rows(off(truth, [17.0, 34.0, 51.0, 68.0]), truth)
    frames = [name for name, one in CONVENTIONS.items() if one.average == "frames"]
    assert list(dict.fromkeys(rows.metric)) == frames and len(frames) < len(CONVENTIONS)
    assert measured(rows, metric="MPJPE")[0] == pytest.approx((1 + 2 + 3 + 4) / 4, abs=1e-3)
    sixteen, _ = measured(rows, metric="MPJPE, 16 joints")
    assert sixteen == pytest.approx(2.5 * 17 / 16, abs=1e-3)
    hidden = {"metric": "MPJPE, occluded joints", "joints": "occluded"}
    assert measured(rows, **hidden) == (pytest.approx(0, abs=1e-3), 1)


def test_conventions_without_an_image_have_no_row(truth):
    seen = truth._replace(visible=torch.ones(4, 17, dtype=torch.bool))
    rows = convention_rows(off(seen, [1.0, 1.0, 1.0, 1.0]), seen)
    assert not rows.metric.str.contains("occluded").any() and len(rows)


# Refusals


@pytest.mark.parametrize(
    ("field", "known"),
    [
        ("root", "pelvis, hips, hips on pelvis, mean"),
        ("joints", "17, 16, 14"),
        ("alignment", "none, scale, rigid, similarity"),
        ("seen", "all, visible, occluded"),
        ("fitted", "all, counted"),
        ("average", "frames, actions"),
    ],
)
def test_unknown_words_are_refused(field, known):
    with pytest.raises(ValueError, match=f"`{field}` must be one of {known}; got 'x'"):
        Convention("a", "b", **{field: "x"})


def test_input_that_does_not_fit_is_refused(truth):
    pose_pred, pose, visible = random_pairs()
    plain = CONVENTIONS[REFERENCE]
    with pytest.raises(ValueError, match=r"`visible` must have shape \(n, 17\)"):
        convention_errors_mm(pose_pred, pose, plain, visible[:, :16])
    with pytest.raises(ValueError, match=r"`pose_pred` must have shape \(12, 17, 3\)"):
        aligned_pose(pose_pred[:1], pose, plain, visible)
    with pytest.raises(ValueError, match="`pose` must be finite"):
        aligned_pose(pose_pred, pose * torch.nan, plain, visible)
    with pytest.raises(ValueError, match="`prediction.pose` must have shape"):
        convention_rows(Prediction("m", "e", pose_pred), truth)
