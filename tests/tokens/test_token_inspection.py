"""What tokens say: against slow loops over poses and tokens."""

import pytest
import torch

from di2pose_lib.base.config import TokenizerConfig
from di2pose_lib.tokens.inspection import (
    decode_occluded,
    mean_codes,
    poses_of_code,
    spread_mm,
    token_reach,
)
from di2pose_lib.tokens.tokenizer import PoseTokenizer

SIZES = TokenizerConfig(
    num_tokens=5, levels=(3, 4), width=8, encoder_blocks=1, decoder_width=8, decoder_blocks=1,
    local_joints=3, neighbours="index", start_at_joints=True,
)  # fmt: skip


@pytest.fixture
def tokenizer():
    with torch.random.fork_rng():
        torch.manual_seed(2)
        return PoseTokenizer(SIZES).eval()


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def some_tokens(count=6):
    return torch.randint(12, (count, 5), generator=seeded(1))


@torch.no_grad()
def test_the_reach_of_a_token_is_that_of_a_slow_loop(tokenizer):
    tokens, generator = some_tokens(), seeded(3)
    wanted = torch.zeros(5, 17)
    for n in range(5):
        other = torch.randint(1, 12, (6,), generator=generator)
        for row, by in zip(tokens, other, strict=True):
            changed = row.clone()
            changed[n] = (row[n] + by) % 12
            assert changed[n] != row[n]
            moved = tokenizer.decode(changed[None])[0] - tokenizer.decode(row[None])[0]
            wanted[n] += 1000 * moved.norm(dim=1) / 6
    reach = token_reach(tokenizer, tokens, seeded(3))
    torch.testing.assert_close(reach, wanted, rtol=1e-4, atol=1e-3)
    assert reach.max() > 1, "a weak case"
    assert torch.equal(tokens, some_tokens())


def test_mean_codes_are_means_of_the_codes_place_by_place(tokenizer):
    tokens = some_tokens()
    table = tokenizer.quantizer.code_table()
    wanted = torch.stack([torch.stack([table[k] for k in place]).mean(dim=0) for place in tokens.T])
    torch.testing.assert_close(mean_codes(tokenizer, tokens), wanted)


@torch.no_grad()
def test_occluded_tokens_decode_as_their_stand_in_and_do_not_count(tokenizer):
    tokens = some_tokens(2)
    stand_in = torch.rand(5, 2, generator=seeded(4)) - 0.5
    occluded = torch.tensor([[True, False, False, True, False], [False] * 5])
    codes = tokenizer.quantizer.code_table()[tokens]
    codes[0, 0], codes[0, 3] = stand_in[0], stand_in[3]
    pose = decode_occluded(tokenizer, tokens, occluded, stand_in)
    torch.testing.assert_close(pose, tokenizer.decode_codes(codes))
    torch.testing.assert_close(pose[1], tokenizer.decode(tokens)[1])
    others = torch.where(occluded, (tokens + 5) % 12, tokens)
    assert torch.equal(decode_occluded(tokenizer, others, occluded, stand_in), pose)


def test_what_does_not_fit_the_tokens_is_refused(tokenizer):
    tokens, stand_in = some_tokens(2), torch.zeros(5, 2)
    with pytest.raises(ValueError, match="`occluded` must have shape"):
        decode_occluded(tokenizer, tokens, torch.zeros(2, 4, dtype=torch.bool), stand_in)
    with pytest.raises(ValueError, match="`stand_in` must have shape"):
        decode_occluded(tokenizer, tokens, torch.zeros(2, 5, dtype=torch.bool), stand_in[:4])
    with pytest.raises(ValueError, match=r"`place` must lie in \[0, 4\]; got 5"):
        poses_of_code(tokens, 5, 0)
    with pytest.raises(ValueError, match="`points` must not be empty"):
        spread_mm(torch.zeros(0, 3))


def test_poses_of_a_code_are_those_that_have_it_at_the_place():
    tokens = torch.tensor([[1, 2], [2, 1], [1, 1], [0, 2]])
    assert poses_of_code(tokens, 0, 1).tolist() == [0, 2]
    assert poses_of_code(tokens, 1, 2).tolist() == [0, 3]
    assert poses_of_code(tokens, 1, 7).tolist() == []


def test_spread_is_the_mean_distance_from_the_mean_in_mm():
    points = torch.tensor([[0.0, 0, 0], [0.2, 0, 0], [0.1, 0.3, 0], [0.1, -0.3, 0]])
    assert spread_mm(points) == pytest.approx((100 + 100 + 300 + 300) / 4)
