"""Finite scalar quantization (Mentzer et al. 2023): bound, round, digits <-> index.

A vector z of d channels becomes a code with L_i values in channel i, without a
learned codebook. The paper's short form ⌊L/2⌋·tanh(z) yields L values for odd L
only; for even L it yields L + 1. We use the offset form, right for both.
"""

import math

import torch

from di2pose_lib.base.checks import check_channels, check_indices, require
from di2pose_lib.base.config import check_levels
from di2pose_lib.base.devices import Float32Buffers


class FSQ(Float32Buffers):
    """Quantizer with `levels[i]` values in channel i; in float32 also within a smaller network.

    Digit order: `index = Σ_i digit_i · Π_{j<i} L_j`; the first channel changes
    fastest. Digits run from 0 to L_i − 1; codes are `(digit − ⌊L/2⌋) / ⌊L/2⌋`.

    Args:
        levels: values per channel, each in [2, MOST_LEVELS].

    Raises:
        ValueError: if `levels` is empty or holds anything else.
    """

    EPS = 1e-3  # the outermost values stay reachable without saturating tanh

    def __init__(self, levels):
        super().__init__()
        check_levels(levels)
        self.levels = tuple(levels)
        self.num_codes = math.prod(levels)
        sizes = torch.tensor(levels)
        basis = torch.tensor([math.prod(levels[:i]) for i in range(len(levels))])
        half_range = (sizes - 1) * (1 + self.EPS) / 2
        offset = torch.where(sizes % 2 == 0, 0.5, 0.0)  # even L: one value more below zero
        self.register_buffer("_sizes", sizes, persistent=False)
        self.register_buffer("_basis", basis, persistent=False)
        self.register_buffer("_half_width", sizes // 2, persistent=False)
        self.register_buffer("_half_range", half_range, persistent=False)
        self.register_buffer("_offset", offset, persistent=False)
        self.register_buffer("_shift", torch.atanh(offset / half_range), persistent=False)

    def quantize(self, z):
        """Round each channel to its nearest value; the gradient passes straight through.

        Args:
            z: float (..., d), unbounded.

        Returns:
            codes (..., d) in [−1, 1], float32 (float64 for float64 input): low
            precision would push an index out of range.
        """
        check_channels("z", z, len(self.levels))
        z = z if z.dtype == torch.float64 else z.float()
        bounded = torch.tanh(z + self._shift.to(z.dtype)) * self._half_range.to(z.dtype)
        bounded = bounded - self._offset.to(z.dtype)
        rounded = bounded + (bounded.round() - bounded).detach()
        return rounded / self._half_width

    def nearest(self, z):
        """Index int64 (...) in [0, num_codes) of the code that z (..., d) is rounded to.

        Raises:
            ValueError: other channels than d, or NaN.
        """
        check_channels("z", z, len(self.levels))
        require(not bool(z.isnan().any()), "`z` must hold numbers; got NaN")
        return self.codes_to_indices(self.quantize(z))

    def codes_to_indices(self, codes):
        """int64 (...) in [0, num_codes) from codes (..., d) in [−1, 1]."""
        check_channels("codes", codes, len(self.levels))
        digits = (codes * self._half_width).round().long() + self._half_width
        require(
            bool(((digits >= 0) & (digits < self._sizes)).all()),
            f"`codes` must be values that quantize() returns for levels {self.levels}",
        )
        return (digits * self._basis).sum(dim=-1)

    def indices_to_codes(self, indices):
        """float32 (..., d) in [−1, 1] from int64 indices (...)."""
        check_indices("indices", indices, self.num_codes)
        digits = (indices[..., None] // self._basis) % self._sizes
        return (digits - self._half_width).float() / self._half_width

    def code_table(self):
        """All codes in the order of their indices, float32 (num_codes, d) in [−1, 1]."""
        return self.indices_to_codes(torch.arange(self.num_codes, device=self._sizes.device))
