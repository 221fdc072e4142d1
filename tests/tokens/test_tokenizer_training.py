"""Training the tokenizer: what augmentation keeps, what is learned, what is reported."""

import math
from collections import Counter

import pytest
import torch
from small import make_split, optimizer, tokenizer_sizes

from di2pose_lib.base.config import TokenizerStageConfig
from di2pose_lib.base.skeleton import FLIP_PAIRS, JOINT_NAMES
from di2pose_lib.data.camera import look_at
from di2pose_lib.tokens.tokenizer import PoseTokenizer
from di2pose_lib.tokens.training import augment_poses, reconstruction_report, train_tokenizer

SIZES = tokenizer_sizes()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def settings(rotate=False, flip=False, scale_range=0.0, **changes):
    return TokenizerStageConfig(SIZES, rotate, flip, scale_range, optimizer(**changes))


def random_poses(count, seed=0):
    """(pose, camera_rotation): every camera stands elsewhere, looking down or up at the origin."""
    pose = 0.3 * torch.randn(count, 17, 3, generator=seeded(seed))
    pose[:, 0] = 0.0
    position = torch.randn(count, 3, generator=seeded(seed + 1)) * torch.tensor([3.0, 3.0, 1.5])
    return pose, look_at(position, torch.zeros(count, 3))


def in_the_world(pose, rotation):
    """Rᵀ x: root-relative joints along the world's axes, z up."""
    return torch.einsum("bji,bnj->bni", rotation, pose)


def mirrored(pose):
    """Joint by joint: left becomes right, and x its negative."""
    out = pose.clone()
    for one, other in FLIP_PAIRS:
        out[:, one], out[:, other] = pose[:, other], pose[:, one]
    out[..., 0] = -out[..., 0]
    return out


# --- augmentation


def test_without_any_augmentation_poses_stay_as_they_are():
    pose, rotation = random_poses(20)
    assert torch.equal(augment_poses(pose, rotation, settings(), seeded()), pose)


def test_a_turn_keeps_the_heights_above_the_ground_and_the_distances_from_the_vertical():
    pose, rotation = random_poses(200)
    turned = augment_poses(pose, rotation, settings(rotate=True), seeded())
    before, after = in_the_world(pose, rotation), in_the_world(turned, rotation)
    torch.testing.assert_close(after[..., 2], before[..., 2], atol=1e-5, rtol=0)
    torch.testing.assert_close(
        after[..., :2].norm(dim=-1), before[..., :2].norm(dim=-1), atol=1e-5, rtol=0
    )
    assert ((turned - pose).abs().amax(dim=(1, 2)) > 1e-3).float().mean() > 0.95


def test_all_joints_of_a_pose_turn_by_one_angle_and_poses_by_any_angle_of_the_circle():
    pose, rotation = random_poses(2000)
    turned = augment_poses(pose, rotation, settings(rotate=True), seeded())
    before, after = in_the_world(pose, rotation), in_the_world(turned, rotation)
    complex_turn = torch.view_as_complex(after[:, 1:, :2].contiguous()) / torch.view_as_complex(
        before[:, 1:, :2].contiguous()
    )
    first = complex_turn[:, :1]
    far = before[:, 1:, :2].norm(dim=-1) > 0.05  # nearer the vertical, rounding is the angle
    assert ((complex_turn - first).abs() * far * far[:, :1]).max() < 1e-3
    sectors = torch.histc(first.angle(), bins=8, min=-math.pi, max=math.pi) / 2000
    assert sectors.tolist() == pytest.approx([1 / 8] * 8, abs=0.03)


def test_a_mirrored_pose_has_left_and_right_exchanged_and_x_turned_round():
    pose, rotation = random_poses(400)
    out = augment_poses(pose, rotation, settings(flip=True), seeded())
    hand = mirrored(pose)
    is_mirrored = (out == hand).all(dim=2).all(dim=1)
    is_itself = (out == pose).all(dim=2).all(dim=1)
    assert (is_mirrored ^ is_itself).all()
    assert is_mirrored.float().mean().item() == pytest.approx(0.5, abs=0.08)
    which = is_mirrored.nonzero()[0, 0]
    left, right = JOINT_NAMES.index("left wrist"), JOINT_NAMES.index("right wrist")
    x, y, z = pose[which, left].tolist()
    assert out[which, right].tolist() == [-x, y, z]


def test_mirrored_twice_is_the_pose_itself():
    pose, rotation = random_poses(400)
    once = augment_poses(pose, rotation, settings(flip=True), seeded(0))
    twice = augment_poses(once, rotation, settings(flip=True), seeded(1))
    changed = [(a != b).flatten(1).any(dim=1) for a, b in ((once, pose), (twice, once))]
    both = changed[0] & changed[1]
    assert both.sum() > 50
    assert torch.equal(twice[both], pose[both])


def test_scales_are_one_a_pose_and_fill_their_range_evenly():
    pose, rotation = random_poses(2000)
    out = augment_poses(pose, rotation, settings(scale_range=0.2), seeded())
    ratio = out[:, 1:] / pose[:, 1:]
    torch.testing.assert_close(ratio, ratio[:, :1, :1].expand_as(ratio), atol=1e-4, rtol=0)
    quarters = torch.histc(ratio[:, 0, 0], bins=4, min=0.8, max=1.2) / 2000
    assert quarters.tolist() == pytest.approx([1 / 4] * 4, abs=0.04)  # none lies outside


def test_a_mirrored_turned_and_scaled_pose_has_the_heights_of_its_mirror_image_scaled():
    pose, rotation = random_poses(300)
    everything = settings(rotate=True, flip=True, scale_range=0.1)
    out = augment_poses(pose, rotation, everything, seeded())
    height = in_the_world(out, rotation)[..., 2]
    scale = out.flatten(1).norm(dim=1) / pose.flatten(1).norm(dim=1)
    assert scale.min() >= 0.9 and scale.max() <= 1.1
    fits = []
    for candidate in (pose, mirrored(pose)):
        wanted = scale[:, None] * in_the_world(candidate, rotation)[..., 2]
        fits.append((height - wanted).abs().amax(dim=1) < 1e-4)
    assert (fits[0] ^ fits[1]).all()
    assert 0.4 < fits[1].float().mean() < 0.6


def test_augmentation_draws_from_its_generator_alone():
    pose, rotation = random_poses(10)
    everything = settings(rotate=True, flip=True, scale_range=0.1)
    first = augment_poses(pose, rotation, everything, seeded(3))
    torch.manual_seed(99)
    assert torch.equal(first, augment_poses(pose, rotation, everything, seeded(3)))
    assert not torch.equal(first, augment_poses(pose, rotation, everything, seeded(4)))


# --- the report


@torch.no_grad()
def test_the_report_is_that_of_a_slow_loop():
    torch.manual_seed(0)
    tokenizer = PoseTokenizer(SIZES).eval()
    tokenizer.to_codes.weight[1] *= 0.02  # the second channel keeps to its middle
    pose, _ = random_poses(30)
    counts, digits = Counter(), ([], [])
    plain, aligned = [], []
    for one in pose:
        tokens = tokenizer.encode(one[None])
        rebuilt = tokenizer.decode(tokens)[0]
        shift = one[0] - rebuilt[0]
        distances = [math.dist(rebuilt[j] + shift, one[j]) for j in range(17)]
        plain.append(1000 * sum(distances) / 17)
        aligned.append(procrustes_error_mm(rebuilt, one))
        for token in tokens[0].tolist():
            counts[token] += 1
            digits[0].append(token % 3)
            digits[1].append(token // 3)
    shares = [count / 150 for count in counts.values()]
    levels = (len(set(digits[0])) / 3 + len(set(digits[1])) / 4) / 2
    report = reconstruction_report(tokenizer, pose)
    assert report == pytest.approx(
        {
            "validation_mpjpe_mm": sum(plain) / 30,
            "validation_pa_mpjpe_mm": sum(aligned) / 30,
            "code_perplexity": math.exp(-sum(share * math.log(share) for share in shares)),
            "codes_used_share": len(counts) / 12,
            "levels_used_share": levels,
            "level_entropy_share": min(entropy(digits[0], 3), entropy(digits[1], 4)),
        },
        rel=1e-4,
    )
    assert 0 < report["codes_used_share"] < report["levels_used_share"] < 1, "a weak case"


def entropy(digits, levels):
    """Of the digits that occur, over that of as many equally frequent levels."""
    shares = [count / len(digits) for count in Counter(digits).values()]
    return -sum(share * math.log(share) for share in shares) / math.log(levels)


def procrustes_error_mm(pose_pred, pose):
    """Mean distance after the best rotation, scale and shift; one pose, rotation by SVD."""
    a, b = (x.double() - x.double().mean(dim=0) for x in (pose_pred, pose))
    u, singular, vt = torch.linalg.svd(a.T @ b)
    sign = torch.tensor([1.0, 1.0, torch.linalg.det(u @ vt).sign()], dtype=torch.float64)
    turned = a @ (u * sign) @ vt * (singular * sign).sum() / a.square().sum()
    return 1000 * (turned - b).norm(dim=1).mean().item()


# --- training


class Recorder(PoseTokenizer):
    """Notes the poses that it is trained on."""

    def __init__(self, config):
        super().__init__(config)
        self.seen = []

    def forward(self, pose):
        self.seen.append(pose.detach().clone())
        return super().forward(pose)


@pytest.fixture(scope="module")
def splits(tmp_path_factory):
    """24 training poses, each seen by a camera of its own, and 10 others."""
    folder = tmp_path_factory.mktemp("splits")
    pose, rotation = random_poses(24)
    train = make_split(folder / "train", 24, pose=pose, camera_rotation=rotation)
    return train, make_split(folder / "validation", 10, pose=random_poses(10, seed=7)[0])


def trained(splits, folder, config, seed=0):
    torch.manual_seed(1)
    tokenizer = Recorder(SIZES)
    history, report = train_tokenizer(tokenizer, *splits, config, seed, folder)
    return tokenizer, history, report


def test_training_lowers_the_error_and_its_loss_is_l1_in_units_of_25_cm(splits, tmp_path):
    tokenizer, history, report = trained(splits, tmp_path, settings(epochs=60.0))
    assert history[-1]["step"] == 180
    assert history[-1]["l1_mm"] < 0.8 * history[0]["l1_mm"]
    for row in history:
        assert row["loss"] == pytest.approx(row["l1_mm"] / 250, rel=1e-5)
    assert report == reconstruction_report(tokenizer, splits[1].take("pose"))
    assert report["validation_mpjpe_mm"] > 0
    assert not tokenizer.training


def test_the_first_row_is_the_mean_absolute_error_of_a_coordinate(splits, tmp_path):
    torch.manual_seed(1)
    start = PoseTokenizer(SIZES)
    pose = splits[0].take("pose")
    with torch.no_grad():
        wanted = 1000 * (start(pose) - pose).abs().mean().item()
    config = settings(epochs=1.0, batch_size=24)  # one step, of all poses
    _, history, _ = trained(splits, tmp_path, config)
    assert [row["step"] for row in history] == [1]
    assert history[0]["l1_mm"] == pytest.approx(wanted, rel=1e-5)


def test_poses_are_augmented_each_about_the_vertical_of_its_own_camera(splits, tmp_path):
    config = settings(rotate=True, scale_range=0.0, epochs=4.0)
    tokenizer, _, _ = trained(splits, tmp_path, config)
    pose, rotation = (splits[0].take(name) for name in ("pose", "camera_rotation"))
    seen = torch.cat(tokenizer.seen)
    assert seen.shape == (96, 17, 3)
    assert torch.cdist(seen.flatten(1), pose.flatten(1)).min() > 0.01, "none is as it was"
    # Of which row is a pose? The one whose camera sees its joints at the old heights.
    heights = torch.einsum("bi,pni->pbn", rotation[:, :, 2], seen)
    wanted = in_the_world(pose, rotation)[..., 2]
    apart = (heights - wanted).abs().amax(dim=-1)  # (96, 24)
    assert apart.min(dim=1).values.max() < 1e-5
    rows = Counter(apart.argmin(dim=1).tolist())
    assert rows == {row: 4 for row in range(24)}  # each of them in each of the four epochs


def test_an_epoch_augments_otherwise_than_the_one_before_and_a_run_like_itself(splits, tmp_path):
    config = settings(scale_range=0.2, epochs=2.0)
    one, history, report = trained(splits, tmp_path / "one", config)
    again, *same = trained(splits, tmp_path / "again", config)
    other, _, _ = trained(splits, tmp_path / "other", config, seed=1)
    assert all(torch.equal(a, b) for a, b in zip(one.seen, again.seen, strict=True))
    assert [history, report] == same
    assert all(torch.equal(p, again.state_dict()[name]) for name, p in one.state_dict().items())
    assert not torch.equal(one.seen[0], other.seen[0])
    lengths = torch.cat(one.seen).flatten(1).norm(dim=1)
    assert len(lengths.unique()) == 48  # 24 poses in two epochs: no scale occurs twice
