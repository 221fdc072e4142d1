"""The denoiser: its formula written out, what its output depends on, and its start."""

import math

import pytest
import torch
from torch.nn import functional

from di2pose_lib.diffusion.denoiser import AdaLN, Block, Denoiser, DenoiserConfig
from di2pose_lib.tokens.fsq import FSQ

SMALL = {
    "num_codes": 12,
    "num_tokens": 5,
    "num_steps": 7,
    "condition_tokens": 6,
    "condition_width": 10,
    "width": 16,
    "layers": 2,
    "heads": 4,
}


def small_denoiser(seed=0, code_table=None, **changes):
    """Float64: a dependence must be seen however small the weights start."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        return Denoiser(DenoiserConfig(**{**SMALL, **changes}), code_table).double().eval()


def random_inputs(batch=3, seed=1):
    generator = torch.Generator().manual_seed(seed)
    k_s = torch.randint(SMALL["num_codes"] + 1, (batch, SMALL["num_tokens"]), generator=generator)
    step = torch.randint(1, SMALL["num_steps"] + 1, (batch,), generator=generator)
    condition = torch.randn(batch, 6, 10, generator=generator, dtype=torch.float64)
    return k_s, step, condition


# By hand


def linear(layer, x):
    return x @ layer.weight.T + layer.bias


def layer_norm(x):
    centred = x - x.mean(dim=-1, keepdim=True)
    return centred / (centred.square().mean(dim=-1, keepdim=True) + 1e-5).sqrt()


def affine_norm(layer, x):
    return layer_norm(x) * layer.weight + layer.bias


def adaptive_norm(layer, x, step):
    """LayerNorm, then scale and shift of the image's own step."""
    rows = []
    for b in range(len(x)):
        embedding = layer.step_embedding.weight[step[b] - 1]
        scale, shift = linear(layer.scale_shift, embedding * embedding.sigmoid()).split(x.shape[-1])
        rows.append(layer_norm(x[b]) * (1 + scale) + shift)
    return torch.stack(rows)


def attention(query, key, value, heads):
    """Softmax attention, one head and one query after the other; every key is seen."""
    mixed = torch.zeros_like(query)
    size = query.shape[-1] // heads
    for b in range(len(query)):
        for h in range(heads):
            part = slice(h * size, (h + 1) * size)
            for n in range(query.shape[1]):
                scores = key[b, :, part] @ query[b, n, part] / size**0.5
                mixed[b, n, part] = scores.softmax(dim=0) @ value[b, :, part]
    return mixed


def logits_by_hand(denoiser, k_s, step, condition):
    heads = denoiser.config.heads
    condition = condition + denoiser.condition_position
    x = denoiser.token_embedding.weight[k_s] + denoiser.position
    for block in denoiser.blocks:
        query, key, value = linear(block.self_qkv, adaptive_norm(block.self_norm, x, step)).chunk(
            3, dim=-1
        )
        x = x + linear(block.self_out, attention(query, key, value, heads))
        query = linear(block.cross_query, adaptive_norm(block.cross_norm, x, step))
        key, value = linear(block.cross_key_value, condition).chunk(2, dim=-1)
        x = x + linear(block.cross_out, attention(query, key, value, heads))
        hidden = functional.gelu(linear(block.mlp[0], affine_norm(block.mlp_norm, x)))
        x = x + linear(block.mlp[2], hidden)
    return linear(denoiser.head, affine_norm(denoiser.head_norm, x))


@torch.no_grad()
def test_logits_are_the_transformer_written_out():
    denoiser = small_denoiser()
    for parameter in denoiser.parameters():  # biases and norms start at 0 and 1: stir them
        parameter.add_(
            0.2
            * torch.randn(
                parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())
            )
        )
    inputs = random_inputs()
    torch.testing.assert_close(denoiser(*inputs), logits_by_hand(denoiser, *inputs))


def test_the_first_and_the_last_step_have_their_own_scale_and_shift():
    norm = AdaLN(width=4, num_steps=3)
    x = torch.randn(3, 2, 4, generator=torch.Generator().manual_seed(0))
    norm(x, torch.tensor([1, 3, 3])).square().sum().backward()
    touched = norm.step_embedding.weight.grad.abs().sum(dim=1) > 0
    assert touched.tolist() == [True, False, True]


# What the output is, and what it depends on


def test_logits_have_one_number_for_each_code_and_none_for_occ():
    logits = small_denoiser()(*random_inputs())
    assert logits.shape == (3, 5, 12)
    assert logits.isfinite().all()
    single = small_denoiser().float()
    k_s, step, condition = random_inputs()
    assert single(k_s, step, condition.float()).dtype == torch.float32


@torch.no_grad()
def test_the_memory_of_the_features_stands_for_the_features():
    denoiser = small_denoiser()
    k_s, step, condition = random_inputs()
    memory = denoiser.condition_memory(condition)
    assert len(memory) == 2
    assert memory[0][0].shape == memory[0][1].shape == (3, 4, 6, 4)  # B, heads, tokens, width/heads
    assert torch.equal(denoiser(k_s, step, memory), denoiser(k_s, step, condition))
    # One memory serves every step.
    other = torch.full_like(step, 7)
    assert torch.equal(denoiser(k_s, other, memory), denoiser(k_s, other, condition))


@torch.no_grad()
def test_memory_repeated_for_hypotheses_is_that_of_repeated_features():
    denoiser = small_denoiser()
    k_s, step, condition = random_inputs(batch=6)
    memory = denoiser.condition_memory(condition[:2])
    repeated = [tuple(part.repeat_interleave(3, dim=0) for part in pair) for pair in memory]
    expected = denoiser(k_s, step, condition[:2].repeat_interleave(3, dim=0))
    torch.testing.assert_close(denoiser(k_s, step, repeated), expected)


@torch.no_grad()
def test_logits_of_every_token_depend_on_every_token():
    # The last token changes the first one's logits too: attention is not causal.
    denoiser = small_denoiser()
    k_s, step, condition = random_inputs(batch=1)
    before = denoiser(k_s, step, condition)
    for changed in range(5):
        other = k_s.clone()
        other[0, changed] = (other[0, changed] + 1) % 13
        difference = (denoiser(other, step, condition) - before).abs().amax(dim=-1)[0]
        assert (difference > 1e-6).all(), f"token {changed} does not reach all"


@torch.no_grad()
def test_logits_depend_on_every_image_feature():
    denoiser = small_denoiser()
    k_s, step, condition = random_inputs(batch=1)
    before = denoiser(k_s, step, condition)
    for token in range(6):
        for channel in range(10):
            other = condition.clone()
            other[0, token, channel] += 1.0
            difference = (denoiser(k_s, step, other) - before).abs().amax(dim=-1)[0]
            assert (difference > 1e-7).all()


@torch.no_grad()
def test_logits_depend_on_the_step_at_every_step():
    denoiser = small_denoiser()
    k_s, _, condition = random_inputs(batch=1)
    logits = torch.cat([denoiser(k_s, torch.tensor([s]), condition) for s in range(1, 8)])
    apart = torch.cdist(logits.flatten(1), logits.flatten(1)) + torch.eye(7)
    assert apart.min() > 1e-6


@torch.no_grad()
def test_equal_tokens_at_different_places_have_different_logits():
    denoiser = small_denoiser()
    _, step, condition = random_inputs(batch=1)
    occluded = torch.full((1, 5), 12)
    logits = denoiser(occluded, step, condition)[0]
    assert (torch.cdist(logits, logits) + torch.eye(5)).min() > 1e-6


@torch.no_grad()
def test_the_order_of_the_image_features_matters():
    denoiser = small_denoiser()
    k_s, step, condition = random_inputs()
    moved = denoiser(k_s, step, condition.roll(1, dims=1)) - denoiser(k_s, step, condition)
    assert moved.abs().max() > 1e-6


@torch.no_grad()
def test_images_of_a_batch_do_not_touch_each_other():
    denoiser = small_denoiser()
    k_s, step, condition = random_inputs()
    alone = [denoiser(k_s[[b]], step[[b]], condition[[b]]) for b in range(3)]
    torch.testing.assert_close(denoiser(k_s, step, condition), torch.cat(alone))


def test_gradients_reach_every_parameter():
    denoiser = small_denoiser()
    k_s, step, condition = random_inputs(batch=3)
    loss = functional.cross_entropy(
        denoiser(k_s, step, condition).flatten(0, 1), k_s.flatten() % 12
    )
    loss.backward()
    without = [
        name
        for name, parameter in denoiser.named_parameters()
        if parameter.grad is None or not parameter.grad.abs().sum() > 0
    ]
    assert without == []


# Sizes and start


def test_the_papers_denoiser_has_443_million_parameters():
    with torch.device("meta"):
        denoiser = Denoiser(DenoiserConfig(4375, 100, 100, 192, 768, 1024, 21, 16))
    count = sum(parameter.numel() for parameter in denoiser.parameters())
    assert round(count / 1e6) == 443
    width, codes, steps = 1024, 4375, 100
    norms = 2 * (steps * width + width * 2 * width + 2 * width)
    self_attention = 4 * (width * width + width)
    cross_attention = 2 * (width * width + width) + 2 * (768 * width + width)
    mlp = 2 * width + 8 * width * width + 5 * width
    rest = (codes + 1) * width + 100 * width + 192 * 768 + 2 * width + codes * width + codes
    assert count == 21 * (norms + self_attention + cross_attention + mlp) + rest


@pytest.mark.parametrize(("width", "std"), [(1024, 0.02), (256, 0.04), (64, 0.08)])
def test_weights_start_at_the_papers_size_and_larger_where_narrower(width, std):
    with torch.random.fork_rng():
        torch.manual_seed(0)
        config = DenoiserConfig(**{**SMALL, "width": width, "layers": 1, "num_codes": 100})
        denoiser = Denoiser(config)
    block = denoiser.blocks[0]
    for weight in (
        denoiser.token_embedding.weight,
        denoiser.head.weight,
        denoiser.position,
        block.self_qkv.weight,
        block.cross_key_value.weight,
        block.self_norm.scale_shift.weight,
        block.mlp[0].weight,
    ):
        assert weight.std().item() == pytest.approx(std, rel=0.15)
    biases = [p for name, p in denoiser.named_parameters() if name.endswith("bias")]
    assert all((bias == 0).all() for bias in biases)


def distances_apart(fsq, rows):
    """Mean distance of `rows` (C, width) of codes by how many digits' steps lie between them."""
    steps = torch.tensor([max(level // 2, 1) for level in fsq.levels])
    codes = fsq.code_table() * steps
    apart = torch.cdist(codes, codes, p=1).round().long()
    distance = torch.cdist(rows, rows)
    return [distance[apart == k].mean().item() for k in range(1, 5)]


@pytest.mark.parametrize("part", ["head", "token_embedding"])
def test_near_codes_start_with_nearer_rows(part):
    fsq = FSQ([5, 5, 4])
    changes = {"num_codes": 100, "width": 256, "layers": 1}
    with_table = small_denoiser(code_table=fsq.code_table(), **changes)
    without = small_denoiser(**changes)
    rows = getattr(with_table, part).weight.detach()[:100]
    near = distances_apart(fsq, rows)
    assert near == sorted(near)
    assert near[0] < 0.75 * near[3]
    plain = distances_apart(fsq, getattr(without, part).weight.detach()[:100])
    assert plain[0] == pytest.approx(plain[3], rel=0.03)


@pytest.mark.parametrize("part", ["head", "token_embedding"])
def test_rows_of_codes_a_distance_apart_correlate_as_a_gaussian_of_it(part):
    # E cos(f·a + p) cos(f·b + p) = exp(−σ² |a − b|² / 2) / 2 for f ~ N(0, σ²), p uniform; σ = 1.5.
    table = FSQ([5, 5, 5]).code_table()  # neighbours are 0.5 apart
    denoiser = small_denoiser(code_table=table, num_codes=125, width=1024, layers=1)
    rows = getattr(denoiser, part).weight.detach()[:125]
    similarity = rows @ rows.T / rows.square().sum(dim=1).mean()
    apart = torch.cdist(table, table)
    for distance in (0.5, 0.5 * 2**0.5, 1.0, 2.0):
        got = similarity[(apart - distance).abs() < 1e-3].mean().item()
        assert got == pytest.approx(math.exp(-(1.5**2) * distance**2 / 2), abs=0.06), distance


def test_rows_from_the_code_table_differ_and_keep_their_size_and_occ_its_own():
    fsq = FSQ([5, 5, 4])
    changes = {"num_codes": 100, "width": 256, "layers": 1}
    denoiser = small_denoiser(code_table=fsq.code_table(), **changes)
    std = 0.02 * 2
    for weight in (denoiser.token_embedding.weight, denoiser.head.weight):
        assert weight.std().item() == pytest.approx(std, rel=0.1)
        distance = torch.cdist(weight, weight) + torch.eye(len(weight))
        assert distance.min() > 0.1 * std, "no two codes start alike"
    plain = small_denoiser(**changes)
    assert torch.equal(denoiser.token_embedding.weight[-1], plain.token_embedding.weight[-1])
    assert not torch.equal(denoiser.token_embedding.weight[:-1], denoiser.head.weight)


# Refusals


@pytest.mark.parametrize(
    ("name", "value", "sentence"),
    [
        ("k_s", torch.zeros(3, 4).long(), r"`k_s` must have shape \(B, 5\); got \(3, 4\)"),
        ("k_s", torch.zeros(3, 5), "`k_s` must be int64; got torch.float32"),
        ("step", torch.ones(2).long(), r"`step` must have shape \(3,?\); got \(2,\)"),
        ("step", torch.ones(3), "`step` must be int64; got torch.float32"),
        ("condition", torch.zeros(3, 6, 9), r"`condition` must have shape \(3, 6, 10\); got"),
        ("condition", torch.zeros(3, 5, 10), r"`condition` must have shape \(3, 6, 10\); got"),
        ("condition", torch.zeros(3, 6, 10).long(), "`condition` must be floating point; got"),
        (
            "condition",
            torch.zeros(1, 6, 10).double(),
            r"must have shape \(3, 6, 10\); got \(1, 6, 10\)",
        ),
        ("condition", torch.full((3, 6, 10), float("nan")), "`condition` must be finite; got NaN"),
    ],
)
def test_inputs_that_do_not_fit_are_refused(name, value, sentence):
    given = dict(zip(("k_s", "step", "condition"), random_inputs(), strict=True))
    with pytest.raises(ValueError, match=sentence):
        small_denoiser()(**{**given, name: value})


def test_memory_of_another_batch_is_refused():
    denoiser = small_denoiser()
    k_s, step, condition = random_inputs()
    with pytest.raises(ValueError, match="must be of 3 images or a divisor of it; got 2"):
        denoiser(k_s, step, denoiser.condition_memory(condition[:2]))


def test_the_memory_of_an_image_serves_all_its_rows_of_tokens():
    denoiser = small_denoiser()
    k_s, step, condition = random_inputs()
    many, steps = k_s.repeat_interleave(4, dim=0).roll(1, dims=1), step.repeat_interleave(4)
    shared = denoiser(many, steps, denoiser.condition_memory(condition))
    copied = denoiser(many, steps, condition.repeat_interleave(4, dim=0))
    torch.testing.assert_close(shared, copied, atol=1e-6, rtol=1e-5)


def test_a_block_keeps_the_shape_of_its_tokens():
    block = Block(DenoiserConfig(**SMALL))
    key, value = block.key_value(torch.zeros(2, 6, 10))
    assert block(torch.zeros(2, 5, 16), torch.tensor([1, 7]), key, value).shape == (2, 5, 16)
