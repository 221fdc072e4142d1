"""All randomness from one seed: a generator for each named place that draws."""

import hashlib
import json

import torch


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
