"""The learned codebook: nearest codes by enumeration, averages by hand, revival, gradients."""

import math

import pytest
import torch

from di2pose_lib.tokens.vector_quantizer import VectorQuantizer

SMOOTHING = 1e-5


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def quantizer_of(codes, decay=0.9, dead_share=0.0):
    """A quantizer with these codes, one feature standing at each."""
    codes = torch.as_tensor(codes, dtype=torch.float32)
    quantizer = VectorQuantizer(*codes.shape, decay, dead_share)
    quantizer.codes.copy_(codes)
    quantizer.sums.copy_(codes)
    return quantizer


def random_quantizer(num_codes=23, code_width=4, **changes):
    return quantizer_of(torch.randn(num_codes, code_width, generator=seeded(5)), **changes)


def state_of(quantizer):
    return {name: value.clone() for name, value in quantizer.state_dict().items()}


# The nearest code


def test_the_nearest_code_is_that_of_an_enumeration():
    quantizer = random_quantizer()
    z = torch.randn(6, 7, 4, generator=seeded(1))
    expected = torch.zeros(6, 7, dtype=torch.int64)
    for b in range(6):
        for n in range(7):
            distances = [math.dist(z[b, n], code) for code in quantizer.codes]
            expected[b, n] = distances.index(min(distances))
    indices = quantizer.nearest(z)
    assert indices.dtype == torch.int64
    assert torch.equal(indices, expected)
    assert len(indices.unique()) > 10, "a weak case"


def test_of_codes_at_one_distance_the_first_is_taken():
    square = quantizer_of([[2.0, 0.0], [0.0, 2.0], [-2.0, 0.0], [0.0, -2.0], [0.0, 2.0]])
    z = torch.tensor([[0.0, 0.0], [1.0, 1.0], [-1.0, 1.0], [-1.0, -1.0], [0.0, 3.0], [1.0, -1.0]])
    assert square.nearest(z).tolist() == [0, 0, 1, 2, 1, 0]


def test_every_code_is_nearest_to_itself_and_comes_back_to_the_bit():
    quantizer = random_quantizer()
    indices = torch.arange(23)
    assert torch.equal(quantizer.nearest(quantizer.code_table()), indices)
    assert torch.equal(quantizer.indices_to_codes(indices), quantizer.codes)
    assert torch.equal(quantizer.quantize(quantizer.codes), quantizer.codes)


def test_a_quantized_feature_is_its_code_to_the_bit():
    quantizer = random_quantizer()
    z = 100 * torch.randn(500, 4, generator=seeded(1))
    assert torch.equal(quantizer.quantize(z), quantizer.codes[quantizer.nearest(z)])


def test_codes_in_another_order_change_the_indices_and_nothing_else():
    quantizer = random_quantizer()
    order = torch.randperm(23, generator=seeded(2))
    shuffled = quantizer_of(quantizer.codes[order])
    z = torch.randn(50, 4, generator=seeded(1))
    assert torch.equal(order[shuffled.nearest(z)], quantizer.nearest(z))
    assert torch.equal(shuffled.quantize(z), quantizer.quantize(z))
    for one in (quantizer, shuffled):
        one.update(z, one.nearest(z), seeded())
    torch.testing.assert_close(shuffled.codes, quantizer.codes[order], atol=1e-6, rtol=1e-5)


def test_the_table_is_a_copy():
    quantizer = random_quantizer()
    before = quantizer.codes.clone()
    quantizer.code_table().zero_()
    assert torch.equal(quantizer.codes, before)


@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_codes_are_float32_whatever_comes_in(dtype):
    quantizer = random_quantizer()
    z = torch.randn(5, 4, generator=seeded(1)).to(dtype)
    assert quantizer.quantize(z).dtype == torch.float32


def test_a_cast_of_the_network_leaves_codes_and_averages_in_float32():
    whole, smaller = random_quantizer(), random_quantizer().bfloat16()
    z = torch.randn(400, 4, generator=seeded(1))
    for one in (whole, smaller):
        with torch.autocast("cpu", torch.bfloat16, enabled=one is smaller):
            indices = one.nearest(z)
            one.update(z, indices, seeded(2))
    for name, value in state_of(whole).items():
        assert torch.equal(value, smaller.state_dict()[name]), name
    assert torch.equal(smaller.nearest(z), whole.nearest(z))


# Gradients


def test_the_gradient_passes_straight_through_and_commitment_adds_its_own():
    quantizer = random_quantizer()
    z = torch.randn(5, 3, 4, generator=seeded(1)).requires_grad_()
    weights = torch.randn(5, 3, 4, generator=seeded(2))
    indices = quantizer.nearest(z)
    codes = quantizer.straight_through(z, indices)
    (gradient,) = torch.autograd.grad((codes * weights).sum(), z, retain_graph=True)
    assert torch.equal(gradient, weights)
    loss = (codes * weights).sum() + 7 * quantizer.commitment(z, indices)
    (gradient,) = torch.autograd.grad(loss, z)
    pull = 2 * (z.detach() - quantizer.codes[indices]) / z.numel()
    torch.testing.assert_close(gradient, weights + 7 * pull, atol=1e-6, rtol=1e-5)


def test_the_codebook_gets_no_gradient_and_is_no_parameter():
    quantizer = random_quantizer()
    z = torch.randn(5, 4, generator=seeded(1)).requires_grad_()
    (quantizer.quantize(z).sum() + quantizer.commitment(z, quantizer.nearest(z))).backward()
    assert list(quantizer.parameters()) == []
    assert all(not value.requires_grad for value in quantizer.state_dict().values())
    assert quantizer.codes.grad is None


def test_commitment_is_the_mean_over_features_and_channels():
    quantizer = quantizer_of([[0.0, 0.0], [10.0, 0.0]])
    z = torch.tensor([[1.0, 2.0], [7.0, 0.0]])
    commitment = quantizer.commitment(z, quantizer.nearest(z))
    assert commitment.item() == pytest.approx((1 + 4 + 9 + 0) / 4)


def test_a_code_may_move_between_a_loss_and_its_gradient():
    quantizer = random_quantizer()
    still = random_quantizer()
    z = torch.randn(20, 4, generator=seeded(1)).requires_grad_()
    gradients = []
    for one in (quantizer, still):
        indices = one.nearest(z)
        loss = one.straight_through(z, indices).square().sum() + one.commitment(z, indices)
        if one is quantizer:
            one.update(z, indices, seeded())
        gradients.append(torch.autograd.grad(loss, z)[0])
    assert not torch.equal(quantizer.codes, still.codes)
    assert torch.equal(*gradients)


# Moving averages


def test_two_batches_by_hand():
    """Three codes on a line; the third is never chosen. Smoothing is 1e-5 of a count."""
    quantizer = quantizer_of([[0.0], [10.0], [20.0]], decay=0.8)

    def smoothed(counts):
        mass = sum(counts)
        return [(count + SMOOTHING) * mass / (mass + 3 * SMOOTHING) for count in counts]

    z = torch.tensor([[1.0], [3.0], [9.0], [2.0]])
    quantizer.update(z, quantizer.nearest(z), seeded())
    counts = smoothed([0.8 + 0.2 * 3, 0.8 + 0.2 * 1, 0.8])  # 1.4, 1.0, 0.8
    sums = [0.8 * 0 + 0.2 * 6, 0.8 * 10 + 0.2 * 9, 0.8 * 20]  # 1.2, 9.8, 16
    assert quantizer.counts.tolist() == pytest.approx(counts, rel=1e-6)
    assert quantizer.sums.flatten().tolist() == pytest.approx(sums, rel=1e-6)
    codes = [total / count for total, count in zip(sums, counts, strict=True)]
    assert quantizer.codes.flatten().tolist() == pytest.approx(codes, rel=1e-6)
    assert codes == pytest.approx([0.857, 9.8, 20.0], abs=1e-2)

    z = torch.tensor([[[5.0], [6.0]], [[8.0], [4.0]]])  # 5 lies nearer 0.857, 6 nearer 9.8
    indices = quantizer.nearest(z)
    assert indices.tolist() == [[0, 1], [1, 0]]
    quantizer.update(z, indices, seeded())
    counts = smoothed([0.8 * counts[0] + 0.4, 0.8 * counts[1] + 0.4, 0.8 * counts[2]])
    sums = [0.8 * 1.2 + 0.2 * 9, 0.8 * 9.8 + 0.2 * 14, 0.8 * 16]
    assert quantizer.counts.tolist() == pytest.approx(counts, rel=1e-6)
    codes = [total / count for total, count in zip(sums, counts, strict=True)]
    assert quantizer.codes.flatten().tolist() == pytest.approx(codes, rel=1e-6)


def test_smoothing_keeps_the_mass_and_lifts_an_empty_count():
    quantizer = quantizer_of([[0.0], [1.0], [2.0]], decay=0.0)  # the batch alone counts
    z = torch.zeros(6, 1)
    quantizer.update(z, quantizer.nearest(z), seeded())
    assert quantizer.counts.sum().item() == pytest.approx(6)
    assert quantizer.counts[1:].tolist() == pytest.approx([SMOOTHING] * 2, rel=1e-4)
    assert quantizer.codes.isfinite().all()


def test_codes_settle_at_the_means_of_what_chooses_them():
    quantizer = quantizer_of([[-1.0, 0.0], [1.0, 0.0]])
    near = torch.tensor([[-4.0, 1.0], [-2.0, 3.0], [3.0, 5.0], [5.0, 5.0]])
    for _ in range(200):
        quantizer.update(near, quantizer.nearest(near), seeded())
    means = torch.tensor([[-3.0, 2.0], [4.0, 5.0]])
    torch.testing.assert_close(quantizer.codes, means, atol=1e-3, rtol=0)


def test_nothing_moves_but_in_an_update():
    quantizer = random_quantizer().train()
    before = state_of(quantizer)
    z = torch.randn(30, 4, generator=seeded(1))
    quantizer.quantize(z)
    quantizer.commitment(z, quantizer.nearest(z))
    quantizer.code_table()
    assert all(torch.equal(value, before[name]) for name, value in state_of(quantizer).items())
    assert set(before) == {"codes", "counts", "sums"}


# Revival


def cluster_of(count, seed=1):
    """Features near the origin, the place of code 0; the other codes are far away."""
    return 0.1 * torch.randn(count, 2, generator=seeded(seed))


FAR = [[0.0, 0.0], [50.0, 0.0], [0.0, 50.0], [50.0, 50.0]]


def test_dead_codes_move_to_features_and_the_living_stay():
    """Counts fall to 0.9 of themselves, 8.25 in all, and code 0 gains 1: their mean is 2.1."""
    quantizer, plain = quantizer_of(FAR, dead_share=0.1), quantizer_of(FAR)
    counts = torch.tensor([5.0, 0.05, 3.0, 0.2])
    for one in (quantizer, plain):
        one.counts.copy_(counts)
        one.sums.copy_(one.codes * counts[:, None])
    z = cluster_of(10)
    revived = [one.update(z, one.nearest(z), seeded(4)) for one in (quantizer, plain)]
    assert revived == [2, 0]
    living, dead = [0, 2], [1, 3]
    for name in ("codes", "counts", "sums"):
        one, other = quantizer.state_dict()[name], plain.state_dict()[name]
        assert torch.equal(one[living], other[living]), name
    places = z[torch.randperm(10, generator=seeded(4))[:2]]
    assert torch.equal(quantizer.codes[dead], places)
    assert quantizer.counts[dead].tolist() == pytest.approx([(0.9 * 8.25 + 1) / 4] * 2)
    torch.testing.assert_close(quantizer.sums[dead] / quantizer.counts[dead, None], places)


def test_a_code_at_the_bound_lives_and_one_below_it_is_dead():
    """Four features at four codes with counts of 4 in all: the mean stays 1, the bound 0.1."""
    for start, revived in [(0.1001 / 0.9, 0), (0.0999 / 0.9, 1)]:
        quantizer = quantizer_of(FAR, dead_share=0.1)
        rest = (4 - start) / 3
        quantizer.counts.copy_(torch.tensor([rest, start, rest, rest]))
        z = cluster_of(4)
        assert quantizer.update(z, quantizer.nearest(z), seeded()) == revived


def test_an_unused_code_dies_after_as_many_batches_as_its_average_needs():
    """0.9ⁿ of a first count of 1 against 1 % of a mean of 1: n = 44."""
    quantizer = quantizer_of(FAR, dead_share=0.01)
    z = cluster_of(4)  # as many features as codes: the mean stays at 1
    revived = [quantizer.update(z, quantizer.nearest(z), seeded(step)) for step in range(45)]
    assert revived == [0] * 43 + [3, 0]
    assert (quantizer.codes.norm(dim=1) < 1).all()


def test_a_revived_code_is_chosen_and_lives():
    quantizer = quantizer_of(FAR, dead_share=0.01)
    z = cluster_of(400)
    for step in range(200):
        quantizer.update(z, quantizer.nearest(z), seeded(step))
    assert quantizer.nearest(z).bincount(minlength=4).min() > 20


def test_no_two_dead_codes_take_one_feature_and_the_last_wait():
    codes = torch.cat([torch.zeros(1, 2), 100 + torch.rand(9, 2, generator=seeded(3))])
    quantizer = quantizer_of(codes, dead_share=0.5)
    quantizer.counts[1:] = 0.01
    quantizer.sums.copy_(quantizer.codes * quantizer.counts[:, None])
    z = cluster_of(6)
    assert quantizer.update(z, quantizer.nearest(z), seeded()) == 6
    assert len(quantizer.codes[1:7].unique(dim=0)) == 6
    assert torch.cdist(quantizer.codes[1:7], z).min(dim=1).values.max() == 0
    assert (quantizer.codes[7:] > 50).all()


def test_revival_draws_from_its_generator_alone_and_always_as_much():
    ends, next_draws = [], []
    for seed, share in [(1, 0.5), (1, 0.5), (2, 0.5), (1, 0.0)]:
        quantizer = quantizer_of(FAR, dead_share=share)
        quantizer.counts[1:] = 0.01
        torch.manual_seed(len(ends))
        generator, z = seeded(seed), cluster_of(50)
        quantizer.update(z, quantizer.nearest(z), generator)
        ends.append(quantizer.codes.clone())
        next_draws.append(torch.rand(3, generator=generator))
    assert torch.equal(ends[0], ends[1])
    assert not torch.equal(ends[0], ends[2])
    assert torch.equal(next_draws[0], next_draws[3])


def test_an_update_ignores_how_features_stand_in_the_batch():
    one, other = random_quantizer(), random_quantizer()
    z = torch.randn(6, 7, 4, generator=seeded(1))
    one.update(z, one.nearest(z), seeded())
    order = torch.randperm(42, generator=seeded(2))
    z = z.flatten(0, 1)[order]
    other.update(z, other.nearest(z), seeded())
    torch.testing.assert_close(one.codes, other.codes, atol=1e-6, rtol=1e-5)


# Refusals


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_what_is_not_finite_has_no_nearest_code(value):
    quantizer, z = random_quantizer(), torch.zeros(3, 4)
    z[1, 2] = value
    for call in (quantizer.nearest, quantizer.quantize):
        with pytest.raises(ValueError, match="`z` must be finite; got NaN or infinity"):
            call(z)


def test_no_indices_at_all_are_refused():
    with pytest.raises(ValueError, match=r"`indices` must not be empty; got shape \(0,\)"):
        random_quantizer().indices_to_codes(torch.zeros(0, dtype=torch.int64))


def test_features_and_indices_that_do_not_fit_are_refused():
    quantizer = random_quantizer()
    indices, wrong = torch.zeros(3).long(), torch.zeros(3, 5)
    for call in (quantizer.nearest, quantizer.quantize):
        with pytest.raises(ValueError, match=r"`z` must have shape \(…, 4\); got \(3, 5\)"):
            call(wrong)
    with pytest.raises(ValueError, match="`indices` must be int64; got torch.float32"):
        quantizer.indices_to_codes(indices.float())
    for index in (-1, 23):
        sentence = rf"`indices` must lie in \[0, 22\]; got {index}"
        with pytest.raises(ValueError, match=sentence):
            quantizer.indices_to_codes(torch.tensor([0, index]))
