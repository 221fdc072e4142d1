"""Chains of few codes, with both ends of the rates among them, for tests of every equation."""

import pytest

# (num_codes, num_steps, final_occlude_rate, final_replace_rate)
CHAINS = [
    (3, 5, 0.9, 0.1),
    (4, 6, 1.0, 0.0),
    (4, 6, 0.0, 1.0),
    (8, 3, 0.3, 0.7),
    (2, 1, 0.9, 0.1),
    (2, 2, 1.0, 0.0),
    (2, 2, 0.0, 1.0),
    (1, 4, 0.9, 0.1),
    (5, 7, 0.123, 0.877),
]
chains = pytest.mark.parametrize("chain", CHAINS, ids=str)
