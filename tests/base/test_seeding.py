"""Seeds: the same place draws the same numbers on every machine, other places others."""

import pytest
import torch

from di2pose_lib.base.seeding import generator_for, seed_for


@pytest.mark.parametrize(
    ("keys", "first_bytes"),
    # printf '[0, "denoiser", 17]' | sha256sum
    [((0, "denoiser", 17), 0x1202BE112FE118CF), ((0,), 0xD0BCA111F8628137)],
)
def test_the_seed_is_the_first_63_bits_of_a_sha256(keys, first_bytes):
    assert seed_for(*keys) == first_bytes // 2


def test_seeds_fit_into_63_bits():
    seeds = [seed_for(0, "place", i) for i in range(2000)]
    assert all(0 <= seed < 2**63 for seed in seeds)
    assert len(set(seeds)) == 2000
    assert max(seeds) >= 2**62, "the top bit is used"


def test_seed_and_every_key_and_their_order_matter():
    places = [
        (0, "a", "b"),
        (1, "a", "b"),
        (0, "b", "a"),
        (0, "a"),
        (0, "a", "b", 0),
        (0, "a", "b", 1),
        (0, "ab"),
        (10, "a"),
        (1, 0, "a"),
        (0, "a/b"),
        (0, "a", "b", "1"),
    ]
    assert len({seed_for(*place) for place in places}) == len(places)


def test_one_place_draws_the_same_again_and_another_place_differently():
    first = torch.rand(100, generator=generator_for(0, "stage", 3))
    assert torch.equal(first, torch.rand(100, generator=generator_for(0, "stage", 3)))
    other = torch.rand(100, generator=generator_for(0, "stage", 4))
    assert not (first == other).any()


def test_generators_are_on_the_cpu_and_leave_the_global_one_alone():
    before = torch.get_rng_state()
    generator = generator_for(7, "x")
    torch.rand(3, generator=generator)
    assert generator.device.type == "cpu"
    assert generator.initial_seed() == seed_for(7, "x")
    assert torch.equal(torch.get_rng_state(), before)
