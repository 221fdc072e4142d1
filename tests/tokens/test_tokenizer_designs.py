"""Tokenizers between PCT's and ours: blocks against slow loops, ways in and out, sizes."""

import dataclasses
import math

import pytest
import torch
from small_designs import SIZES, made, random_poses, seeded, small_design
from torch.nn import functional

from di2pose_lib.base.config import TokenizerConfig
from di2pose_lib.tokens.designs import (
    DesignedTokenizer,
    MixerBlock,
    TokenizerDesign,
    design_size,
    match_parameters,
)
from di2pose_lib.tokens.tokenizer import PoseTokenizer

every_design = pytest.mark.parametrize("blocks", ["mixer", "local_mlp"])
every_quantizer = pytest.mark.parametrize("quantizer", ["vq", "fsq"])


# The mixer block


def slow_mlp(mlp, values):
    """Two linear layers with a GELU between them, on one list of numbers."""
    for layer in (mlp[0], mlp[2]):
        weight, bias = layer.weight.tolist(), layer.bias.tolist()
        values = [
            sum(w * v for w, v in zip(row, values, strict=True)) + b
            for row, b in zip(weight, bias, strict=True)
        ]
        if layer is mlp[0]:
            values = [0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in values]
    return values


def slow_norm(norm, values):
    mean = sum(values) / len(values)
    variance = sum((v - mean) ** 2 for v in values) / len(values)
    weight, bias = norm.weight.tolist(), norm.bias.tolist()
    scaled = [(v - mean) / math.sqrt(variance + 1e-5) for v in values]
    return [s * w + b for s, w, b in zip(scaled, weight, bias, strict=True)]


def slow_mixer(block, pose):
    """One pose as lists: joint by joint, and channel by channel across the joints."""
    joints, width = len(pose), len(pose[0])
    normed = [slow_norm(block.token_norm, joint) for joint in pose]
    middle = [list(joint) for joint in pose]
    for channel in range(width):
        moved = slow_mlp(block.token_mlp, [normed[j][channel] for j in range(joints)])
        for j in range(joints):
            middle[j][channel] += moved[j]
    out = []
    for joint in middle:
        moved = slow_mlp(block.mlp, slow_norm(block.mlp_norm, joint))
        out.append([a + b for a, b in zip(joint, moved, strict=True)])
    return out


def mixer_block(width=6, joints=5, hidden=7, ratio=2.0):
    with torch.random.fork_rng():
        torch.manual_seed(3)
        block = MixerBlock(width, joints, hidden, ratio)
        for norm in (block.token_norm, block.mlp_norm):  # away from 1 and 0
            norm.weight.data.uniform_(0.5, 1.5)
            norm.bias.data.normal_()
    return block


def test_a_mixer_block_is_the_slow_loop():
    block = mixer_block()
    x = torch.randn(2, 5, 6, generator=seeded())
    assert block.token_mlp[0].weight.shape == (7, 5)
    assert block.mlp[0].weight.shape == (12, 6)
    expected = torch.tensor([slow_mixer(block, pose) for pose in x.tolist()])
    torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=1e-5)


def test_joints_in_another_order_come_out_in_it_where_the_weights_are_reordered_too():
    block, other = mixer_block(), mixer_block()
    order = torch.tensor([3, 0, 4, 1, 2])
    with torch.no_grad():
        other.token_mlp[0].weight.copy_(block.token_mlp[0].weight[:, order])
        other.token_mlp[2].weight.copy_(block.token_mlp[2].weight[order])
        other.token_mlp[2].bias.copy_(block.token_mlp[2].bias[order])
    x = torch.randn(2, 5, 6, generator=seeded())
    torch.testing.assert_close(other(x[:, order]), block(x)[:, order], atol=1e-5, rtol=1e-5)
    assert not torch.allclose(block(x[:, order]), block(x)[:, order])


def test_a_mixer_joint_hears_every_other_and_a_local_one_its_neighbours_alone():
    x = torch.randn(1, 17, 24, generator=seeded())
    changed = x.clone()
    changed[0, 8] += torch.randn(24, generator=seeded(1))
    heard = {}
    for blocks in ("mixer", "local_mlp"):
        block = made(small_design(blocks)).encoder[0]
        moved = (block(changed) - block(x)).abs().amax(dim=(0, 2))
        heard[blocks] = (moved > 1e-6).nonzero().flatten().tolist()
    assert heard == {"mixer": list(range(17)), "local_mlp": [7, 8, 9]}


# The tokenizer


def test_with_local_mlp_blocks_and_fsq_it_is_the_pose_tokenizer_to_the_bit():
    sizes = {name: value for name, value in SIZES.items() if name != "token_hidden"}
    design = small_design("local_mlp", "fsq", local_joints=3)
    config = TokenizerConfig(
        levels=(4, 3, 3), local_joints=3, neighbours="index", start_at_joints=True, **sizes
    )
    torch.manual_seed(5)
    ours = PoseTokenizer(config)
    torch.manual_seed(5)
    designed = DesignedTokenizer(design)
    assert list(ours.state_dict()) == list(designed.state_dict())
    for name, weight in ours.state_dict().items():
        assert torch.equal(weight, designed.state_dict()[name]), name
    pose = random_poses()
    assert torch.equal(ours(pose), designed(pose))
    tokens = ours.encode(pose)
    assert torch.equal(tokens, designed.encode(pose))
    assert torch.equal(ours.decode(tokens), designed.decode(tokens))
    assert ours.num_codes == designed.num_codes
    assert ours.config.num_tokens == designed.config.num_tokens


@every_design
@every_quantizer
def test_sizes_and_kinds_of_what_comes_out(blocks, quantizer):
    tokenizer, pose = made(small_design(blocks, quantizer)), random_poses()
    tokens = tokenizer.encode(pose)
    assert tokens.shape == (6, 9)
    assert tokens.dtype == torch.int64
    assert tokenizer.num_codes == tokenizer.config.num_codes == 36
    assert tokens.min() >= 0
    assert tokens.max() < 36
    assert len(tokens.unique()) > 5, "one code for everything would agree with anything"
    for rebuilt in (tokenizer.decode(tokens), tokenizer(pose)):
        assert rebuilt.shape == (6, 17, 3)
        assert rebuilt.dtype == torch.float32
    assert tokenizer.encode_codes(pose).shape == (6, 9, {"vq": 6, "fsq": 3}[quantizer])


@every_design
@every_quantizer
def test_codes_are_those_of_the_tokens_and_forward_decodes_them(blocks, quantizer):
    tokenizer, pose = made(small_design(blocks, quantizer)), random_poses()
    tokens = tokenizer.encode(pose)
    codes = tokenizer.quantizer.indices_to_codes(tokens)
    torch.testing.assert_close(tokenizer.encode_codes(pose), codes, atol=1e-6, rtol=0)
    torch.testing.assert_close(tokenizer(pose), tokenizer.decode(tokens), atol=1e-5, rtol=1e-5)


def test_tokens_of_a_codebook_are_the_codes_nearest_by_enumeration():
    tokenizer, pose = made(small_design()), random_poses(3)
    features, tokens = tokenizer.project(pose).detach(), tokenizer.encode(pose)
    for b in range(3):
        for n in range(9):
            distances = [math.dist(features[b, n], code) for code in tokenizer.quantizer.codes]
            assert tokens[b, n] == distances.index(min(distances))


@every_quantizer
def test_soft_decoding_decodes_the_expected_code_and_a_certain_one(quantizer):
    tokenizer = made(small_design(quantizer=quantizer))
    tokens = torch.randint(36, (4, 9), generator=seeded())
    certain = tokenizer.soft_decode(functional.one_hot(tokens, 36).double())
    torch.testing.assert_close(certain, tokenizer.decode(tokens), atol=1e-6, rtol=1e-5)
    probs = torch.rand(2, 9, 36, generator=seeded()).softmax(dim=-1)
    expected = torch.zeros(2, 9, tokenizer.config.channels)
    for code in range(36):
        expected += probs[..., [code]] * tokenizer.quantizer.indices_to_codes(torch.tensor(code))
    soft = tokenizer.soft_decode(probs)
    torch.testing.assert_close(soft, tokenizer.decode_codes(expected), atol=1e-6, rtol=1e-5)


@every_design
def test_poses_of_a_batch_do_not_touch_each_other(blocks):
    tokenizer, pose = made(small_design(blocks)), random_poses()
    order = torch.tensor([4, 2, 0, 5, 1, 3])
    assert torch.equal(tokenizer.encode(pose)[order], tokenizer.encode(pose[order]))
    alone = torch.cat([tokenizer(pose[[i]]) for i in range(6)])
    torch.testing.assert_close(tokenizer(pose), alone, atol=1e-5, rtol=1e-5)


def test_codes_in_another_order_rename_the_tokens_and_rebuild_the_same_poses():
    tokenizer, other = made(small_design()), made(small_design())
    order = torch.randperm(36, generator=seeded())
    other.quantizer.codes.copy_(tokenizer.quantizer.codes[order])
    pose = random_poses()
    assert torch.equal(order[other.encode(pose)], tokenizer.encode(pose))
    assert torch.equal(other(pose), tokenizer(pose))


@every_design
@every_quantizer
def test_gradients_reach_every_parameter_of_encoder_and_decoder(blocks, quantizer):
    tokenizer, pose = made(small_design(blocks, quantizer)), random_poses()
    codes = tokenizer.quantizer.quantize(tokenizer.project(pose))
    (tokenizer.decode_codes(codes) - pose).abs().mean().backward()
    without = [
        name
        for name, parameter in tokenizer.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    assert without == []


@pytest.mark.parametrize("quantizer", ["vq", "fsq"])
def test_tokens_begin_at_joints_only_where_asked_for(quantizer):
    home, mixed = (
        made(small_design(quantizer=quantizer, num_tokens=34, start_at_joints=start))
        for start in (True, False)
    )
    expected = torch.zeros(34, 17)
    expected[torch.arange(34), torch.arange(34) // 2] = 1.0
    torch.testing.assert_close(
        home.joints_to_tokens.weight, 0.5 * mixed.joints_to_tokens.weight + expected
    )
    torch.testing.assert_close(
        home.tokens_to_joints.weight, 0.5 * mixed.tokens_to_joints.weight + expected.T / 2
    )


# Sizes

PCT = TokenizerDesign(  # as published, without image guidance; there a joint has two coordinates
    *("mixer", "vq", 34, 512, 4, 32, 1), codebook_size=2048, code_width=512, decoder_mlp_ratio=2.0
)


def linear(inputs, outputs):
    return inputs * outputs + outputs


def test_the_published_sizes_are_counted_by_hand():
    def mixer(width, hidden):
        norms = 2 * 2 * width
        over_joints = linear(17, 64) + linear(64, 17)
        return norms + over_joints + linear(width, hidden) + linear(hidden, width)

    encoder = linear(3, 512) + 4 * mixer(512, 512) + 2 * 512
    between = linear(17, 34) + linear(512, 512) + 2048 * 512
    decoder = linear(512, 32) + linear(34, 17) + mixer(32, 64) + 2 * 32 + linear(32, 3)
    size = design_size(PCT)
    assert size.parameters == encoder + between + decoder
    assert size.bits_per_pose == 34 * 11


def test_the_papers_tokenizer_has_three_times_the_bits_of_pcts():
    ours = TokenizerDesign("local_mlp", "fsq", 100, 2048, 4, 512, 1, levels=(7, 5, 5, 5, 5))
    size = design_size(ours)
    assert size.bits_per_pose == pytest.approx(100 * math.log2(4375))
    assert size.bits_per_pose / design_size(PCT).bits_per_pose == pytest.approx(3.23, abs=0.01)
    with torch.device("meta"):
        paper = PoseTokenizer(
            TokenizerConfig(100, [7, 5, 5, 5, 5], 2048, 4, 512, 1, 3, "index", True)
        )
    assert size.parameters == sum(p.numel() for p in paper.parameters())


def test_bits_are_those_of_the_codes():
    assert design_size(small_design()).bits_per_pose == pytest.approx(9 * math.log2(36))
    assert design_size(small_design(codebook_size=64)).bits_per_pose == 54
    assert design_size(small_design(quantizer="fsq", levels=(2, 4))).bits_per_pose == 27


@pytest.mark.parametrize("target", [("local_mlp", "fsq"), ("mixer", "fsq"), ("local_mlp", "vq")])
def test_a_matched_design_has_about_the_parameters_of_the_other_and_no_width_is_nearer(target):
    wanted = design_size(small_design(*target, width=96, decoder_width=64)).parameters
    matched = match_parameters(small_design(), wanted)
    apart = abs(design_size(matched).parameters - wanted)
    assert apart <= 0.05 * wanted
    assert matched.width > 24
    assert matched.decoder_width == round(matched.width * 16 / 24)
    rest = dataclasses.replace(matched, width=24, decoder_width=16)
    assert rest == small_design(), "only the widths change"
    for width in (matched.width - 1, matched.width + 1):
        other = dataclasses.replace(matched, width=width, decoder_width=round(width * 16 / 24))
        assert abs(design_size(other).parameters - wanted) >= apart


def test_a_design_matched_to_itself_stays_as_it_is_from_wherever_it_starts():
    design = small_design("local_mlp", "fsq", width=60, decoder_width=40)
    wanted = design_size(design).parameters
    for width in (3, 24, 60, 600):
        start = dataclasses.replace(design, width=width, decoder_width=width * 2 // 3)
        assert match_parameters(start, wanted) == design


def test_parameters_that_no_width_gives_are_refused():
    """The codebook alone has 36 · 6 numbers, whatever the width."""
    with pytest.raises(
        ValueError, match="`parameters` must be within 5% of what .*; got 200, near"
    ):
        match_parameters(small_design(), 200)


def test_narrow_hidden_layers_keep_a_channel_while_a_width_is_sought():
    design = small_design(mlp_ratio=0.25, decoder_mlp_ratio=0.5)
    wanted = design_size(design).parameters
    assert match_parameters(dataclasses.replace(design, width=240, decoder_width=160), wanted)


# Refusals


@pytest.mark.parametrize(
    ("quantizer", "changes", "sentence"),
    [
        ("vq", {"blocks": "conv"}, "`blocks` must be one of mixer, local_mlp; got 'conv'"),
        ("vq", {"quantizer": "lfq"}, "`quantizer` must be one of vq, fsq; got 'lfq'"),
        ("vq", {"levels": (3, 3)}, r"`levels` must be \(\) for vq; got \(3, 3\)"),
        ("vq", {"codebook_size": 0}, "`codebook_size` must be at least 1; got 0"),
        ("vq", {"code_width": 0}, "`code_width` must be at least 1; got 0"),
        ("fsq", {"levels": ()}, "`levels` must be one or more integers"),
        ("fsq", {"codebook_size": 8}, "`codebook_size` must be 0 for fsq; got 8"),
        ("fsq", {"code_width": 8}, "`code_width` must be 0 for fsq; got 8"),
        ("vq", {"codebook_decay": 1.0}, r"`codebook_decay` must lie in \[0, 1\); got 1.0"),
        ("vq", {"dead_share": -0.1}, r"`dead_share` must lie in \[0, 1\); got -0.1"),
        (
            "vq",
            {"local_joints": 2},
            "`local_joints` must be odd and at most num_joints = 17; got 2",
        ),
        ("vq", {"local_joints": 19}, "`local_joints` must be odd and at most .*; got 19"),
        ("vq", {"mlp_ratio": 0.01}, "`mlp_ratio` must leave at least 1 of 24 channels; got 0.01"),
        (
            "vq",
            {"decoder_mlp_ratio": 0},
            "`decoder_mlp_ratio` must leave at least 1 of 16 .* got 0",
        ),
    ]
    + [
        ("vq", {name: 0}, f"`{name}` must be at least 1; got 0")
        for name in [*SIZES, "local_joints", "num_joints"]
    ],
)
def test_designs_that_contradict_themselves_are_refused(quantizer, changes, sentence):
    with pytest.raises(ValueError, match=sentence):
        dataclasses.replace(small_design(quantizer=quantizer), **changes)


def test_a_design_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        small_design().num_tokens = 5
    assert small_design(quantizer="fsq", levels=[4, 3]).levels == (4, 3)


@every_quantizer
def test_poses_tokens_codes_and_probabilities_that_do_not_fit_are_refused(quantizer):
    tokenizer = made(small_design(quantizer=quantizer))
    channels = tokenizer.config.channels
    for method in (tokenizer.encode, tokenizer.encode_codes, tokenizer):
        with pytest.raises(ValueError, match=r"`pose` must have shape \(B, 17, 3\); got \(2, 16,"):
            method(torch.zeros(2, 16, 3))
        with pytest.raises(ValueError, match="`pose` must be finite; got NaN or infinity"):
            method(torch.full((2, 17, 3), float("nan")))
    with pytest.raises(ValueError, match=r"`indices` must have shape \(B, 9\); got \(2, 8\)"):
        tokenizer.decode(torch.zeros(2, 8).long())
    # Occ is no code: a pose has no occluded tokens left.
    with pytest.raises(ValueError, match=r"`indices` must lie in \[0, 35\]; got 36"):
        tokenizer.decode(torch.full((2, 9), 36))
    wanted = rf"`codes` must have shape \(B, 9, {channels}\); got \(2, 9, {channels + 1}\)"
    with pytest.raises(ValueError, match=wanted):
        tokenizer.decode_codes(torch.zeros(2, 9, channels + 1))
    with pytest.raises(ValueError, match=r"`probs` must have shape \(B, 9, 36\); got \(2, 9, 37\)"):
        tokenizer.soft_decode(torch.full((2, 9, 37), 1 / 37))
