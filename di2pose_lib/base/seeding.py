"""All randomness from one seed: a generator for each named place that draws."""

import hashlib
import json

import torch

from di2pose_lib.base.checks import require


def seed_for(seed, *keys):
    """A 63-bit seed that depends on `seed` and every key (strings or integers)."""
    text = json.dumps([seed, *keys])  # "a", "b" is not "a/b", and "1" not 1
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


def generator_for(seed, *keys):
    """A CPU generator for the place named by `keys`; other keys, independent draws.

    Training draws with the step's number among its keys, so the state of a resumed run
    is its step number alone.
    """
    return torch.Generator().manual_seed(seed_for(seed, *keys))


def image_seeds(seeds, count):
    """A list of one int for each of `count` images.

    Args:
        seeds: such a list, or a torch.Generator (of any device) that draws them.
        count: ≥ 0.

    Raises:
        ValueError: neither of the two, or a list of another length.
    """
    if isinstance(seeds, torch.Generator):
        draw = torch.randint(2**62, (count,), generator=seeds, device=seeds.device)
        return draw.tolist()
    whole = isinstance(seeds, list) and all(type(seed) is int for seed in seeds)
    got = type(seeds).__name__
    require(whole, f"`seeds` must be a list of ints, or a torch.Generator; got {got}")
    require(len(seeds) == count, f"`seeds` must hold {count} seeds; got {len(seeds)}")
    return seeds
