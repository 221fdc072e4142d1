"""Finite scalar quantization: every code of small quantizers, and the paper's own levels."""

import itertools
import math

import pytest
import torch
from torch import nn

from di2pose_lib.tokens.fsq import FSQ

LEVELS = [[2], [3], [4], [5], [2, 3], [4, 2, 3], [3, 5, 2, 4], [8, 6, 5], [7, 5, 5, 5, 5]]
each_levels = pytest.mark.parametrize("levels", LEVELS, ids=str)


def bounded_by_hand(z, level):
    """The unrounded value of one channel, float: tanh squeezed into (−L/2 − ε, L/2 + ε)."""
    half_range = (level - 1) * 1.001 / 2
    offset = 0.5 if level % 2 == 0 else 0.0
    return math.tanh(z + math.atanh(offset / half_range)) * half_range - offset


def mixed_radix_digits(index, levels):
    """Digits of `index`, the first channel fastest, one division after the other."""
    digits = []
    for level in levels:
        index, digit = divmod(index, level)
        digits.append(digit)
    return digits


@pytest.mark.parametrize(
    ("levels", "num_codes"),
    [((7, 5, 5, 5, 5), 4375), ((8, 8, 8, 6, 5), 15360), ((8, 5, 5, 5), 1000), ((2,), 2)],
)
def test_the_number_of_codes_is_the_product_of_the_levels(levels, num_codes):
    fsq = FSQ(levels)
    assert fsq.num_codes == num_codes
    assert fsq.code_table().shape == (num_codes, len(levels))
    assert len(fsq.code_table().unique(dim=0)) == num_codes


# Digits and indices


@each_levels
def test_every_index_returns_from_its_code(levels):
    fsq = FSQ(levels)
    indices = torch.arange(fsq.num_codes)
    codes = fsq.indices_to_codes(indices)
    assert codes.dtype == torch.float32
    assert torch.equal(fsq.codes_to_indices(codes), indices)


@each_levels
def test_codes_are_the_mixed_radix_digits_with_the_first_channel_fastest(levels):
    fsq = FSQ(levels)
    expected = torch.tensor(
        [
            [
                (digit - level // 2) / (level // 2)
                for digit, level in zip(mixed_radix_digits(index, levels), levels, strict=True)
            ]
            for index in range(fsq.num_codes)
        ]
    )
    torch.testing.assert_close(fsq.code_table(), expected, atol=1e-7, rtol=0)


def test_the_papers_levels_weigh_1_7_35_175_and_875():
    fsq = FSQ([7, 5, 5, 5, 5])
    lowest = fsq.indices_to_codes(torch.tensor(0))
    torch.testing.assert_close(lowest, -torch.ones(5))
    step = torch.tensor([1 / 3, 1 / 2, 1 / 2, 1 / 2, 1 / 2])
    for channel, weight in enumerate([1, 7, 35, 175, 875]):
        raised = lowest.clone()
        raised[channel] += step[channel]
        assert fsq.codes_to_indices(raised).item() == weight


def test_digits_of_an_even_channel_lie_one_more_below_zero():
    codes = FSQ([4]).code_table().flatten()
    torch.testing.assert_close(codes, torch.tensor([-1.0, -0.5, 0.0, 0.5]))
    codes = FSQ([5]).code_table().flatten()
    torch.testing.assert_close(codes, torch.tensor([-1.0, -0.5, 0.0, 0.5, 1.0]))
    assert FSQ([2]).code_table().flatten().tolist() == [-1.0, 0.0]


def test_leading_axes_are_kept():
    fsq = FSQ([3, 4])
    indices = torch.arange(12).reshape(2, 3, 2)
    codes = fsq.indices_to_codes(indices)
    assert codes.shape == (2, 3, 2, 2)
    assert torch.equal(fsq.codes_to_indices(codes), indices)


# Rounding


@each_levels
def test_a_quantized_code_stays_what_it_is_through_its_index(levels):
    fsq = FSQ(levels)
    z = 3 * torch.randn(500, len(levels), generator=torch.Generator().manual_seed(0))
    codes = fsq.quantize(z)
    indices = fsq.codes_to_indices(codes)
    torch.testing.assert_close(fsq.indices_to_codes(indices), codes, atol=1e-6, rtol=0)
    assert codes.abs().max() <= 1


@pytest.mark.parametrize("level", range(2, 17))
def test_every_value_is_reached_and_none_besides(level):
    fsq = FSQ([level])
    sweep = torch.linspace(-12, 12, 20001, dtype=torch.float64)[:, None]
    digits = fsq.codes_to_indices(fsq.quantize(sweep))
    assert digits.unique().tolist() == list(range(level))
    assert (digits.diff() >= 0).all(), "a larger z must not give a smaller digit"


@pytest.mark.parametrize("level", range(2, 17))
def test_the_papers_short_form_has_one_value_too_many_where_the_level_is_even(level):
    sweep = torch.linspace(-12, 12, 20001, dtype=torch.float64)
    values = ((level // 2) * torch.tanh(sweep)).round().unique()
    assert len(values) == (level + 1 if level % 2 == 0 else level)


@pytest.mark.parametrize("level", [2, 3, 4, 5, 7, 8])
def test_a_channel_takes_the_nearest_of_its_values(level):
    fsq = FSQ([level])
    for z in torch.linspace(-6, 6, 301, dtype=torch.float64).tolist():
        bounded = bounded_by_hand(z, level) / (level // 2)
        allowed = [(digit - level // 2) / (level // 2) for digit in range(level)]
        distance, nearest = min((abs(value - bounded), value) for value in allowed)
        got = fsq.quantize(torch.tensor([z], dtype=torch.float64)).item()
        assert got == pytest.approx(nearest, abs=1e-12), f"z = {z}, {distance} away"


@each_levels
def test_zero_is_the_code_zero_in_every_channel(levels):
    codes = FSQ(levels).quantize(torch.zeros(1, len(levels)))
    torch.testing.assert_close(codes, torch.zeros(1, len(levels)), atol=1e-6, rtol=0)


def test_channels_are_quantized_each_with_its_own_level():
    levels = [2, 3, 8, 5]
    z = torch.randn(50, 4, generator=torch.Generator().manual_seed(1))
    together = FSQ(levels).quantize(z)
    apart = [FSQ([level]).quantize(z[:, [i]]) for i, level in enumerate(levels)]
    torch.testing.assert_close(together, torch.cat(apart, dim=1))


@each_levels
def test_huge_inputs_give_the_outermost_codes(levels):
    fsq = FSQ(levels)
    for sign, index in ((-1, 0), (1, fsq.num_codes - 1)):
        z = torch.full((len(levels),), sign * 1e6)
        assert fsq.codes_to_indices(fsq.quantize(z)).item() == index


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_low_precision_input_is_quantized_in_float32(dtype):
    fsq = FSQ([8, 8, 8, 6, 5])
    z = (4 * torch.randn(2000, 5, generator=torch.Generator().manual_seed(2))).to(dtype)
    codes = fsq.quantize(z)
    assert codes.dtype == torch.float32
    assert torch.equal(codes, fsq.quantize(z.float()))
    assert fsq.quantize(z.double()).dtype == torch.float64


CASTS = {
    "bfloat16": lambda module: module.bfloat16(),
    "half": lambda module: module.half(),
    "to": lambda module: module.to(torch.bfloat16),
    "to and back": lambda module: module.half().float(),
    "double": lambda module: module.double(),
    "within a network": lambda module: nn.Sequential(module, nn.Linear(2, 2)).bfloat16()[0],
}


@pytest.mark.parametrize("cast", CASTS.values(), ids=CASTS)
@pytest.mark.parametrize("levels", [[8, 8, 8, 6, 5], [1000, 999]], ids=str)
def test_a_cast_of_the_network_leaves_the_quantizer_in_float32(levels, cast):
    z = 3 * torch.randn(20_000, len(levels), generator=torch.Generator().manual_seed(3))
    whole, smaller = FSQ(levels), cast(FSQ(levels))
    indices = whole.nearest(z)
    assert torch.equal(smaller.nearest(z), indices)
    assert torch.equal(smaller.quantize(z), whole.quantize(z))
    assert torch.equal(smaller.code_table(), whole.code_table())
    with torch.autocast("cpu", torch.bfloat16):
        assert torch.equal(smaller.nearest(z), indices)
        assert smaller.quantize(z).dtype == smaller.code_table().dtype == torch.float32


# Gradients


@pytest.mark.parametrize("level", [2, 3, 4, 5, 8])
def test_the_gradient_is_that_of_the_bound_as_if_nothing_were_rounded(level):
    z = torch.linspace(-3, 3, 41, dtype=torch.float64)[:, None].requires_grad_()
    weight = torch.linspace(1, 2, 41, dtype=torch.float64)[:, None]
    (FSQ([level]).quantize(z) * weight).sum().backward()
    width = 1e-6
    slope = [
        (bounded_by_hand(v + width, level) - bounded_by_hand(v - width, level)) / (2 * width)
        for v in z.flatten().tolist()
    ]
    expected = torch.tensor(slope, dtype=torch.float64)[:, None] * weight / (level // 2)
    torch.testing.assert_close(z.grad, expected, atol=2e-5, rtol=1e-4)
    assert (z.grad > 0).all()


# Refusals


@pytest.mark.parametrize(
    "levels", [[], [5, 1], [0], [-3, 5], [5.0], [True, 5], ["5"], [1001]], ids=str
)
def test_what_are_no_levels_is_refused(levels):
    with pytest.raises(ValueError, match=r"`levels` must be one or more integers in \[2, 1000\]; "):
        FSQ(levels)


def test_another_number_of_channels_is_refused():
    fsq = FSQ([5, 5, 5])
    sentence = r"must have shape \(…, 3\); got \(4, 2\)"
    with pytest.raises(ValueError, match=f"`z` {sentence}"):
        fsq.quantize(torch.zeros(4, 2))
    with pytest.raises(ValueError, match=f"`codes` {sentence}"):
        fsq.codes_to_indices(torch.zeros(4, 2))
    with pytest.raises(ValueError, match=r"`z` must have shape \(…, 3\); got \(\)"):
        fsq.quantize(torch.tensor(0.0))


def test_codes_beyond_the_levels_are_refused():
    sentence = r"`codes` must be values that quantize\(\) returns for levels \(4, 3\)"
    for code in ([1.0, 0.0], [0.0, 2.0], [-1.5, 0.0], [0.0, float("nan")]):
        with pytest.raises(ValueError, match=sentence):
            FSQ([4, 3]).codes_to_indices(torch.tensor(code))


def test_a_nan_is_refused_by_the_name_of_what_holds_it_and_infinity_is_an_outermost_code():
    fsq = FSQ([4, 3])
    with pytest.raises(ValueError, match="`z` must hold numbers; got NaN"):
        fsq.nearest(torch.tensor([[0.0, 0.0], [float("nan"), 0.0]]))
    assert fsq.nearest(torch.tensor([float("inf"), float("-inf")])).item() == 3


def test_no_indices_at_all_are_refused():
    with pytest.raises(ValueError, match=r"`indices` must not be empty; got shape \(0,\)"):
        FSQ([4, 3]).indices_to_codes(torch.zeros(0, dtype=torch.int64))


@pytest.mark.parametrize("index", [-1, 12, 4375])
def test_indices_out_of_range_are_refused(index):
    with pytest.raises(ValueError, match=rf"`indices` must lie in \[0, 11\]; got {index}"):
        FSQ([4, 3]).indices_to_codes(torch.tensor([0, index]))


@pytest.mark.parametrize("dtype", [torch.int32, torch.float32, torch.uint8])
def test_indices_of_another_kind_are_refused(dtype):
    with pytest.raises(ValueError, match=f"`indices` must be int64; got {dtype}"):
        FSQ([4, 3]).indices_to_codes(torch.zeros(2, dtype=dtype))


def test_nothing_of_the_quantizer_is_learned_or_saved():
    fsq = FSQ([7, 5])
    assert list(itertools.chain(fsq.parameters(), fsq.state_dict())) == []
