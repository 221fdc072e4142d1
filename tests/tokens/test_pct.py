"""PCT's loss by hand, what it moves, and its training killed and resumed."""

import math
from collections import Counter

import pytest
import torch
from small import optimizer
from small_designs import made, random_poses, seeded, small_design

from di2pose_lib.base.config import TokenizerConfig, TokenizerStageConfig
from di2pose_lib.base.metrics import mpjpe_mm, pa_mpjpe_mm
from di2pose_lib.base.training import fit
from di2pose_lib.tokens.designs import DesignedTokenizer
from di2pose_lib.tokens.pct import PIXEL, PCTLoss, design_report, pct_loss
from di2pose_lib.tokens.training import augment_poses

STATE = ("codes", "counts", "sums")


def state_of(tokenizer):
    return {name: value.clone() for name, value in tokenizer.state_dict().items()}


# The loss


def smooth_l1_by_hand(error, bound):
    """Metres in, units of 25 cm out."""
    error = abs(error)
    return 4 * (error**2 / (2 * bound) if error < bound else error - bound / 2)


@pytest.mark.parametrize("bound", [0.0, 0.0004, 0.1, 10.0])
def test_the_rebuilding_loss_is_the_formula_joint_by_joint(bound):
    tokenizer, pose = made(small_design(quantizer="fsq")).eval(), random_poses()
    loss, values = pct_loss(tokenizer, pose, PCTLoss(smooth_below=bound), seeded())
    errors = (tokenizer(pose) - pose).flatten().tolist()
    expected = sum(smooth_l1_by_hand(error, bound) for error in errors) / len(errors)
    assert loss.item() == pytest.approx(expected, rel=1e-5)
    l1_mm = 1000 * sum(map(abs, errors)) / len(errors)
    assert values["l1_mm"].item() == pytest.approx(l1_mm, rel=1e-5)
    assert set(values) == {"l1_mm"}


def test_a_codebook_adds_its_weighted_commitment():
    tokenizer, pose = made(small_design()).eval(), random_poses()
    rebuilding, values = pct_loss(tokenizer, pose, PCTLoss(commitment_weight=0.0), seeded())
    features = tokenizer.project(pose)
    codes = tokenizer.quantizer.codes[tokenizer.encode(pose)]
    commitment = sum((a - b) ** 2 for a, b in zip(features.flatten(), codes.flatten(), strict=True))
    commitment = commitment.item() / features.numel()
    assert commitment > 0
    assert values["commitment"].item() == pytest.approx(commitment, rel=1e-5)
    loss, _ = pct_loss(tokenizer, pose, PCTLoss(commitment_weight=3.0), seeded())
    assert loss.item() == pytest.approx(rebuilding.item() + 3 * commitment, rel=1e-5)


def test_the_published_weights_are_those_of_a_loss_in_pixels():
    """0.05 and 15 beside an error in pixels of 8.3 mm, here beside one in units of 25 cm."""
    settings = PCTLoss()
    assert pytest.approx(0.0083, abs=5e-5) == PIXEL
    assert settings.smooth_below / PIXEL == pytest.approx(0.05)
    tokenizer, pose = made(small_design()).eval(), random_poses()
    loss, values = pct_loss(tokenizer, pose, settings, seeded())
    errors = ((tokenizer(pose) - pose) / PIXEL).abs()
    smooth = torch.where(errors < 0.05, errors.square() / 0.1, errors - 0.025).mean()
    in_pixels = smooth + 15 * values["commitment"]
    assert loss.item() == pytest.approx(in_pixels.item() * PIXEL / 0.25, rel=1e-5)


def test_the_encoders_gradient_is_the_decoders_and_the_commitments():
    tokenizer, pose = made(small_design()).eval(), random_poses()
    seen = []

    def keep(module, arguments, out):
        out.retain_grad()
        seen.append(out)

    hook = tokenizer.to_codes.register_forward_hook(keep)
    loss, _ = pct_loss(tokenizer, pose, PCTLoss(0.0, 3.0), seeded())
    loss.backward()
    hook.remove()
    (features,) = seen
    codes = tokenizer.quantizer.codes[tokenizer.encode(pose)].requires_grad_()
    rebuilding = (tokenizer.decode_codes(codes) - pose).abs().mean() / 0.25
    (gradient,) = torch.autograd.grad(rebuilding, codes)
    gradient = gradient + 3 * 2 * (features - codes).detach() / features.numel()
    torch.testing.assert_close(features.grad, gradient, atol=1e-8, rtol=1e-4)


# What training moves


def test_training_takes_the_codes_first_and_moves_them_afterwards():
    tokenizer, still = made(small_design()), made(small_design()).eval()
    pose, settings = random_poses(), PCTLoss()
    loss, values = pct_loss(tokenizer.train(), pose, settings, seeded())
    assert torch.equal(loss, pct_loss(still, pose, settings, seeded())[0])
    quantizer, features = still.quantizer, still.project(pose)
    revived = quantizer.update(features, quantizer.nearest(features), seeded())
    assert values["revived"].item() == revived
    for name in STATE:
        moved = getattr(tokenizer.quantizer, name)
        torch.testing.assert_close(moved, getattr(quantizer, name), atol=1e-6, rtol=1e-6)
        assert not torch.equal(moved, getattr(made(small_design()).quantizer, name)), name


@pytest.mark.parametrize("quantizer", ["vq", "fsq"])
def test_in_evaluation_nothing_is_moved_or_drawn(quantizer):
    tokenizer = made(small_design(quantizer=quantizer)).eval()
    before, generator, pose = state_of(tokenizer), seeded(), random_poses()
    first, _ = pct_loss(tokenizer, pose, PCTLoss(), generator)
    assert torch.equal(first, pct_loss(tokenizer, pose, PCTLoss(), generator)[0])
    assert all(torch.equal(value, before[name]) for name, value in state_of(tokenizer).items())
    assert torch.equal(torch.rand(3, generator=generator), torch.rand(3, generator=seeded()))


# Training


SETTINGS = TokenizerStageConfig(  # sizes are not read here
    TokenizerConfig(5, (3, 4), 16, 1, 16, 1, 3, "index", True),
    rotate=True,
    flip=True,
    scale_range=0.1,
    optimizer=optimizer(epochs=10.0, ema_decay=0.9),
)


def trained(folder, design, seed=0, stop_at=None, optimizer_config=SETTINGS.optimizer):
    """(tokenizer, history) of a training on 24 poses, augmented as ours are."""
    with torch.random.fork_rng():
        torch.manual_seed(1)
        tokenizer = DesignedTokenizer(design)
    poses = random_poses(24)
    rotations = torch.linalg.qr(torch.randn(24, 3, 3, generator=seeded(2))).Q

    def loss_function(rows, generator):
        pose = augment_poses(poses[rows], rotations[rows], SETTINGS, generator)
        return pct_loss(tokenizer, pose, PCTLoss(), generator)

    name = "designed tokenizer"
    history = fit(
        name, tokenizer, loss_function, 24, optimizer_config, seed, folder, stop_at=stop_at
    )
    return tokenizer, history


LIVELY = {"codebook_decay": 0.5, "dead_share": 0.3}


@pytest.mark.parametrize(("quantizer", "stops"), [("vq", (1, 7)), ("vq", (29,)), ("fsq", (8,))])
def test_a_stopped_and_resumed_training_ends_with_the_bits_of_an_uninterrupted_one(
    tmp_path, quantizer, stops
):
    design = small_design(quantizer=quantizer, **(LIVELY if quantizer == "vq" else {}))
    whole, whole_history = trained(tmp_path / "whole", design)
    for stop in stops:
        trained(tmp_path / "pieces", design, stop_at=stop)
    pieces, pieces_history = trained(tmp_path / "pieces", design)
    assert whole_history == pieces_history
    ends = [one.state_dict() for one in (whole, pieces)]
    assert list(ends[0]) == list(ends[1])
    for name, value in ends[0].items():
        assert torch.equal(value, ends[1][name]), name
    if quantizer == "vq":
        assert {f"quantizer.{name}" for name in STATE} <= set(ends[0])
        revived = [row["revived"] for row in whole_history]
        assert sum(revived) > 0, "a weak case"


def test_trainings_of_different_seeds_differ(tmp_path):
    one, other = (trained(tmp_path / str(seed), small_design(), seed)[0] for seed in (0, 1))
    assert not torch.equal(one.quantizer.codes, other.quantizer.codes)


@pytest.mark.parametrize("blocks", ["mixer", "local_mlp"])
@pytest.mark.parametrize("quantizer", ["vq", "fsq"])
def test_training_lowers_the_error_of_every_design(tmp_path, blocks, quantizer):
    config = optimizer(epochs=25.0)
    _, history = trained(tmp_path, small_design(blocks, quantizer), optimizer_config=config)
    assert history[-1]["l1_mm"] < 0.85 * history[0]["l1_mm"]


# The report


@torch.no_grad()
@pytest.mark.parametrize("quantizer", ["vq", "fsq"])
def test_the_report_is_that_of_a_slow_loop(quantizer):
    tokenizer, pose = made(small_design(quantizer=quantizer)).eval(), random_poses(30)
    counts, plain, aligned = Counter(), [], []
    for one in pose:
        tokens = tokenizer.encode(one[None])
        rebuilt = tokenizer.decode(tokens)
        plain.append(mpjpe_mm(rebuilt, one[None]).item())
        aligned.append(pa_mpjpe_mm(rebuilt, one[None]).item())
        counts.update(tokens[0].tolist())
    shares = [count / 270 for count in counts.values()]
    assert design_report(tokenizer, pose) == pytest.approx(
        {
            "validation_mpjpe_mm": sum(plain) / 30,
            "validation_pa_mpjpe_mm": sum(aligned) / 30,
            "code_perplexity": math.exp(-sum(share * math.log(share) for share in shares)),
            "codes_used_share": len(counts) / 36,
        },
        rel=1e-4,
    )
    assert 0 < len(counts) < 36, "a weak case"


# Refusals


@pytest.mark.parametrize("name", ["smooth_below", "commitment_weight"])
def test_a_negative_weight_or_threshold_is_refused(name):
    with pytest.raises(ValueError, match=f"`{name}` must not be negative; got -1.0"):
        PCTLoss(**{name: -1.0})
