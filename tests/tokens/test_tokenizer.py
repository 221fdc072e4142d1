"""The pose tokenizer: Joint Shift against a slow loop, and its ways in and out agree."""

import dataclasses
import math

import pytest
import torch
from torch.nn import functional

from di2pose_lib.base.config import TokenizerConfig
from di2pose_lib.base.skeleton import JOINT_NAMES, PARENTS
from di2pose_lib.tokens.tokenizer import LocalMLPBlock, PoseTokenizer, joint_shift, tree_matrices

SMALL = {
    "num_tokens": 9,
    "levels": (4, 3, 3),
    "width": 24,
    "encoder_blocks": 2,
    "decoder_width": 16,
    "decoder_blocks": 1,
    "local_joints": 3,
    "neighbours": "index",
    "start_at_joints": True,
}


def small_tokenizer(seed=0, **changes):
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return PoseTokenizer(TokenizerConfig(**{**SMALL, **changes}))


def random_poses(batch=6, joints=17, seed=1):
    pose = 0.4 * torch.randn(batch, joints, 3, generator=torch.Generator().manual_seed(seed))
    return pose - pose[:, :1]


# Joint Shift


def group_of_channels(width, groups):
    """Group number of every channel: the first width mod groups are one channel larger."""
    small, larger = divmod(width, groups)
    sizes = [small + 1 if g < larger else small for g in range(groups)]
    return [g for g, size in enumerate(sizes) for _ in range(size)]


def slow_joint_shift(features, local_joints):
    shifted = torch.zeros_like(features)
    batch, joints, width = features.shape
    for channel, group in enumerate(group_of_channels(width, local_joints)):
        move = group - local_joints // 2
        for b in range(batch):
            for joint in range(joints):
                if 0 <= joint + move < joints:
                    shifted[b, joint + move, channel] = features[b, joint, channel]
    return shifted


@pytest.mark.parametrize("local_joints", [1, 3, 5, 7, 9])
@pytest.mark.parametrize(("joints", "width"), [(17, 12), (17, 11), (5, 10), (2, 9), (1, 6)])
def test_joint_shift_is_the_slow_loop(local_joints, joints, width):
    shape = (2, joints, width)
    features = torch.randn(shape, generator=torch.Generator().manual_seed(0))
    shifted = joint_shift(features, local_joints)
    assert torch.equal(shifted, slow_joint_shift(features, local_joints))


def test_joint_shift_of_three_joints_by_hand():
    features = torch.tensor([[[1.0, 10.0, 100.0], [2.0, 20.0, 200.0], [3.0, 30.0, 300.0]]])
    expected = torch.tensor([[[2.0, 10.0, 0.0], [3.0, 20.0, 100.0], [0.0, 30.0, 200.0]]])
    assert torch.equal(joint_shift(features, 3), expected)


def test_one_local_joint_is_no_shift():
    features = torch.randn(2, 17, 8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(joint_shift(features, 1), features)


def depth_below(joint, above):
    """Bones from `above` down to `joint`; None where it is no ancestor."""
    bones = 0
    while joint != above:
        joint, bones = PARENTS[joint], bones + 1
        if joint < 0:
            return None
    return bones


@pytest.mark.parametrize("local_joints", [1, 3, 5, 7])
def test_the_tree_reads_an_ancestor_or_the_mean_of_descendants(local_joints):
    matrices = tree_matrices(local_joints)
    assert matrices.shape == (local_joints, 17, 17)
    for group, matrix in enumerate(matrices):
        move = group - local_joints // 2
        for joint in range(17):
            if move >= 0:
                read = [j for j in range(17) if depth_below(joint, j) == move]
                assert len(read) <= 1
            else:
                read = [j for j in range(17) if depth_below(j, joint) == -move]
            expected = torch.zeros(17)
            expected[read] = 1 / max(1, len(read))
            torch.testing.assert_close(matrix[joint], expected)


def test_along_the_tree_a_wrist_reads_the_elbow_and_a_thorax_what_hangs_from_it():
    block = LocalMLPBlock(6, 3, 1.0, tree_matrices(3))
    wrist, elbow, thorax = (JOINT_NAMES.index(n) for n in ("left wrist", "left elbow", "thorax"))
    features = torch.zeros(1, 17, 6)
    features[0, elbow] = 1.0
    assert block._shift(features)[0, wrist].tolist() == [0, 0, 0, 0, 1, 1]
    assert block._shift(features)[0, elbow].tolist() == [0, 0, 1, 1, 0, 0]
    features = torch.zeros(1, 17, 6)
    features[0, [child for child, parent in enumerate(PARENTS) if parent == thorax]] = 3.0
    assert block._shift(features)[0, thorax].tolist() == [3, 3, 0, 0, 0, 0]


def test_neighbours_in_the_tree_change_the_tokenizer_and_not_its_weights():
    index, tree = small_tokenizer(), small_tokenizer(neighbours="tree")
    assert index.state_dict().keys() == tree.state_dict().keys()
    assert all(torch.equal(a, tree.state_dict()[name]) for name, a in index.state_dict().items())
    pose = random_poses()
    assert not torch.allclose(index(pose), tree(pose))
    one = [small_tokenizer(neighbours=n, local_joints=1)(pose) for n in ("index", "tree")]
    torch.testing.assert_close(*one)  # X = 1 is no shift in either


def test_tokens_begin_at_joints_only_where_asked_for():
    home, mixed = (
        small_tokenizer(num_tokens=17, start_at_joints=start).joints_to_tokens.weight
        for start in (True, False)
    )
    assert torch.equal(home.argmax(dim=1), torch.arange(17))
    assert mixed.abs().max() <= 17**-0.5  # torch's own start
    torch.testing.assert_close(home, 0.5 * mixed + torch.eye(17))


@pytest.mark.parametrize(
    ("width", "local_joints", "sizes"),
    [(2048, 3, [683, 683, 682]), (512, 3, [171, 171, 170]), (2048, 5, [410, 410, 410, 409, 409])],
)
def test_groups_are_near_equal_and_move_from_back_to_front(width, local_joints, sizes):
    reach = local_joints // 2
    features = torch.zeros(1, 17, width)
    features[:, 8] = 1.0
    shifted = joint_shift(features, local_joints)[0]
    where = shifted.argmax(dim=0)  # joint that each channel of joint 8 went to
    assert torch.equal(shifted.sum(dim=0), torch.ones(width))
    assert where.tolist() == sorted(where.tolist())
    assert where.bincount(minlength=17)[8 - reach : 9 + reach].tolist() == sizes


@pytest.mark.parametrize("local_joints", [3, 5])
def test_what_leaves_at_one_end_does_not_come_back_at_the_other(local_joints):
    shifted = joint_shift(torch.ones(1, 17, 30), local_joints)[0]
    per_move = 30 // local_joints
    lost = [per_move * sum(range(1, local_joints // 2 + 1))] * 2  # moved down, moved up
    assert (shifted == 0).sum().item() == sum(lost)
    assert torch.equal(shifted[2:-2], torch.ones(13, 30))


# The network


def test_a_block_is_the_formula_written_out():
    with torch.random.fork_rng():
        torch.manual_seed(3)
        block = LocalMLPBlock(width=10, local_joints=3, mlp_ratio=2.0)
    x = torch.randn(2, 6, 10, generator=torch.Generator().manual_seed(0))

    def linear(layer, value):
        return value @ layer.weight.T + layer.bias

    def norm(layer, value):
        centred = value - value.mean(dim=-1, keepdim=True)
        scaled = centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()
        return scaled * layer.weight + layer.bias

    assert block.mlp[0].weight.shape == (20, 10)
    shifted = slow_joint_shift(linear(block.shift_in, norm(block.shift_norm, x)), 3)
    middle = x + linear(block.shift_out, shifted)
    hidden = functional.gelu(linear(block.mlp[0], norm(block.mlp_norm, middle)))
    expected = middle + linear(block.mlp[2], hidden)
    torch.testing.assert_close(block(x), expected, atol=1e-5, rtol=1e-5)


def test_sizes_and_kinds_of_what_comes_out():
    tokenizer, pose = small_tokenizer(), random_poses()
    tokens = tokenizer.encode(pose)
    assert tokens.shape == (6, 9)
    assert tokens.dtype == torch.int64
    assert tokens.min() >= 0
    assert tokens.max() < 36
    assert tokenizer.num_codes == tokenizer.config.num_codes == 36
    for rebuilt in (tokenizer.decode(tokens), tokenizer(pose)):
        assert rebuilt.shape == (6, 17, 3)
        assert rebuilt.dtype == torch.float32
    assert tokenizer.encode_codes(pose).shape == (6, 9, 3)
    assert len(tokens.unique()) > 1, "one code for everything would agree with anything"


def test_the_papers_sizes_give_its_number_of_codes():
    paper = TokenizerConfig(100, [7, 5, 5, 5, 5], 2048, 4, 512, 1, 3, "index", True)
    assert paper.num_codes == 4375
    assert paper.levels == (7, 5, 5, 5, 5)
    with torch.device("meta"):
        tokenizer = PoseTokenizer(paper)
    assert len(tokenizer.encoder) == 4 + 1
    assert tokenizer.joints_to_tokens.weight.shape == (100, 17)
    assert tokenizer.to_codes.weight.shape == (5, 2048)
    assert tokenizer.from_codes.weight.shape == (512, 5)
    assert tokenizer.tokens_to_joints.weight.shape == (17, 100)


def test_forward_is_decode_after_encode():
    tokenizer, pose = small_tokenizer(), random_poses()
    by_tokens = tokenizer.decode(tokenizer.encode(pose))
    torch.testing.assert_close(tokenizer(pose), by_tokens, atol=1e-5, rtol=1e-5)


def test_codes_are_those_of_the_tokens():
    tokenizer, pose = small_tokenizer(), random_poses()
    codes = tokenizer.quantizer.indices_to_codes(tokenizer.encode(pose))
    torch.testing.assert_close(tokenizer.encode_codes(pose), codes, atol=1e-6, rtol=0)


def test_soft_decoding_of_a_certain_token_is_decoding_it():
    tokenizer = small_tokenizer()
    tokens = torch.randint(36, (4, 9), generator=torch.Generator().manual_seed(0))
    soft = tokenizer.soft_decode(functional.one_hot(tokens, 36).double())
    torch.testing.assert_close(soft, tokenizer.decode(tokens), atol=1e-6, rtol=1e-5)


def test_soft_decoding_decodes_the_expected_code():
    tokenizer = small_tokenizer()
    probs = torch.rand(2, 9, 36, generator=torch.Generator().manual_seed(0)).softmax(dim=-1)
    expected = torch.zeros(2, 9, 3)
    for code in range(36):
        expected += probs[..., [code]] * tokenizer.quantizer.indices_to_codes(torch.tensor(code))
    soft = tokenizer.soft_decode(probs)
    torch.testing.assert_close(soft, tokenizer.decode_codes(expected), atol=1e-6, rtol=1e-5)


def test_poses_of_a_batch_do_not_touch_each_other():
    tokenizer, pose = small_tokenizer(), random_poses()
    alone = torch.cat([tokenizer.encode_codes(pose[[i]]) for i in range(len(pose))])
    torch.testing.assert_close(tokenizer.encode_codes(pose), alone, atol=1e-5, rtol=1e-5)
    tokens = tokenizer.encode(pose)
    alone = torch.cat([tokenizer.decode(tokens[[i]]) for i in range(len(pose))])
    torch.testing.assert_close(tokenizer.decode(tokens), alone, atol=1e-5, rtol=1e-5)


def test_poses_enter_and_leave_in_quarter_metres():
    tokenizer, pose = small_tokenizer(), random_poses()
    seen = {}
    tokenizer.joint_embedding.register_forward_hook(lambda m, args, out: seen.update(i=args[0]))
    tokenizer.decoder.register_forward_hook(lambda m, args, out: seen.update(o=out))
    rebuilt = tokenizer(pose)
    torch.testing.assert_close(seen["i"], pose * 4)
    torch.testing.assert_close(rebuilt, seen["o"] / 4)


def test_gradients_reach_every_parameter_of_encoder_and_decoder():
    tokenizer, pose = small_tokenizer(), random_poses()
    (tokenizer(pose) - pose).abs().mean().backward()
    without = [
        name
        for name, parameter in tokenizer.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    assert without == []


@pytest.mark.parametrize("num_tokens", [17, 34, 100, 20])
def test_tokens_start_at_joints_in_order_and_every_joint_has_its_own(num_tokens):
    tokenizer = small_tokenizer(num_tokens=num_tokens)
    home = tokenizer.joints_to_tokens.weight.argmax(dim=1)  # joint of each token
    assert home.tolist() == [math.floor(n * 17 / num_tokens) for n in range(num_tokens)]
    assert home.unique().tolist() == list(range(17))
    # On the way back a joint listens to its own tokens together more than to any other's.
    share = torch.zeros(17, 17).index_add_(1, home, tokenizer.tokens_to_joints.weight.detach())
    assert share.argmax(dim=1).tolist() == list(range(17))


def test_fewer_tokens_than_joints_start_at_joints_too():
    tokenizer = small_tokenizer(num_tokens=5)
    home = tokenizer.joints_to_tokens.weight.argmax(dim=1).tolist()
    assert home == [0, 3, 6, 10, 13]
    assert tokenizer(random_poses()).isfinite().all()


# Refusals


@pytest.mark.parametrize("local_joints", [0, 2, -1])
def test_joint_shift_refuses_a_number_of_joints_that_has_no_middle(local_joints):
    sentence = f"`local_joints` must be positive and odd; got {local_joints}"
    with pytest.raises(ValueError, match=sentence):
        joint_shift(torch.zeros(1, 17, 6), local_joints)


def test_neighbours_in_the_tree_need_the_skeleton_s_joints():
    with pytest.raises(ValueError, match="`num_joints` must be 17 .* tree; got 16"):
        TokenizerConfig(**{**SMALL, "neighbours": "tree", "num_joints": 16})


@pytest.mark.parametrize("local_joints", [2, 4])
def test_local_joints_must_be_odd(local_joints):
    sentence = f"`local_joints` must be odd; got {local_joints}"
    with pytest.raises(ValueError, match=sentence):
        TokenizerConfig(**{**SMALL, "local_joints": local_joints})


@pytest.mark.parametrize("levels", [(), (5, 1), (2.5,)], ids=str)
def test_a_config_with_levels_that_are_none_is_refused(levels):
    with pytest.raises(ValueError, match="`levels` must be one or more integers in"):
        TokenizerConfig(**{**SMALL, "levels": levels})


def test_a_config_does_not_change():
    with pytest.raises(dataclasses.FrozenInstanceError):
        TokenizerConfig(**SMALL).num_tokens = 5


def test_poses_that_do_not_fit_are_refused():
    tokenizer = small_tokenizer()
    for method in (tokenizer.encode, tokenizer.encode_codes, tokenizer):
        with pytest.raises(ValueError, match=r"`pose` must have shape \(B, 17, 3\); got \(2, 16,"):
            method(torch.zeros(2, 16, 3))
        with pytest.raises(ValueError, match="`pose` must be finite; got NaN or infinity"):
            method(torch.full((2, 17, 3), float("nan")))
        with pytest.raises(ValueError, match="`pose` must be floating point; got torch.int64"):
            method(torch.zeros(2, 17, 3).long())


def test_tokens_that_do_not_fit_are_refused():
    tokenizer = small_tokenizer()
    with pytest.raises(ValueError, match=r"`indices` must have shape \(B, 9\); got \(2, 8\)"):
        tokenizer.decode(torch.zeros(2, 8).long())
    with pytest.raises(ValueError, match="`indices` must be int64; got torch.float32"):
        tokenizer.decode(torch.zeros(2, 9))
    # Occ is no code: a pose has no occluded tokens left.
    with pytest.raises(ValueError, match=r"`indices` must lie in \[0, 35\]; got 36"):
        tokenizer.decode(torch.full((2, 9), 36))


def test_codes_and_probabilities_that_do_not_fit_are_refused():
    tokenizer = small_tokenizer()
    with pytest.raises(ValueError, match=r"`codes` must have shape \(B, 9, 3\); got \(2, 9, 4\)"):
        tokenizer.decode_codes(torch.zeros(2, 9, 4))
    with pytest.raises(ValueError, match=r"`probs` must have shape \(B, 9, 36\); got \(2, 9, 37\)"):
        tokenizer.soft_decode(torch.full((2, 9, 37), 1 / 37))


def test_a_tokenizer_in_bfloat16_gives_and_takes_the_codes_of_the_same_features():
    tokenizer = small_tokenizer()
    pose = 0.3 * torch.randn(8, 17, 3, generator=torch.Generator().manual_seed(1))
    tokens = tokenizer.encode(pose)
    wanted = tokenizer.decode(tokens)
    z = 2 * torch.randn(500, len(tokenizer.quantizer.levels))
    codes = tokenizer.quantizer.nearest(z)
    tokenizer.bfloat16()
    assert torch.equal(tokenizer.quantizer.nearest(z), codes)
    torch.testing.assert_close(tokenizer.decode(tokens).float(), wanted, atol=0.02, rtol=0.05)
    assert tokenizer.encode(pose).shape == tokens.shape
