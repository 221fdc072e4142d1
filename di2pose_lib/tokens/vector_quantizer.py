"""Vector quantization with a learned codebook (van den Oord et al. 2017), as PCT has it.

No gradient reaches the codebook: its codes follow moving averages of the features that
chose them. What PCT lacks is `dead_share`: a code that hardly any feature chooses is put
where a feature of the batch is, or a growing part of the codebook would lie idle.
"""

import torch

from di2pose_lib.base.checks import check_channels, check_indices, require
from di2pose_lib.base.devices import Float32Buffers


class VectorQuantizer(Float32Buffers):
    """Quantizer to the nearest of V learned codes of d channels.

    The codes and what they are averaged from are buffers, so that a checkpoint holds
    them. They change in `update` alone, which the training's loss calls.

    Args:
        num_codes: V, at least 1.
        code_width: d, at least 1.
        decay: of the moving averages, in [0, 1); PCT's is 0.9.
        dead_share: a code is dead whose average count is below this share of the mean
            over codes, in [0, 1); with 0 no code is ever moved, as in PCT.
    """

    SMOOTHING = 1e-5  # Laplace: no code's count reaches 0

    def __init__(self, num_codes, code_width, decay, dead_share):
        super().__init__()
        self.num_codes = num_codes
        self.decay = decay
        self.dead_share = dead_share
        codes = torch.randn(num_codes, code_width)
        self.register_buffer("codes", codes)
        # PCT's counts start at 0, which throws a code that the first batch leaves out
        # 10⁵ away. One feature at each code keeps it where it is.
        self.register_buffer("counts", torch.ones(num_codes))
        self.register_buffer("sums", codes.clone())

    @torch.no_grad()
    def nearest(self, z):
        """Index int64 (...) in [0, V) of the code at the smallest squared distance.

        Args:
            z: float (..., d). Of codes at the same distance the first is taken.

        Raises:
            ValueError: other channels than d, NaN or infinity.
        """
        check_channels("z", z, self.codes.shape[1])
        require(bool(z.isfinite().all()), "`z` must be finite; got NaN or infinity")
        with torch.autocast(z.device.type, enabled=False):
            products = z.float() @ self.codes.T
        # ‖z − c‖² without ‖z‖², which is the same for every code
        return (self.codes.square().sum(dim=1) - 2 * products).argmin(dim=-1)

    def straight_through(self, z, indices):
        """The codes of `indices`, with the gradient of `z`.

        z − z is 0 to the bit, so that these are the codes that `indices_to_codes` gives.
        """
        z = z.float()
        return self.indices_to_codes(indices) + (z - z.detach())

    def quantize(self, z):
        """The nearest codes, float32 (..., d), of z (..., d); the gradient passes through."""
        return self.straight_through(z, self.nearest(z))

    def commitment(self, z, indices):
        """Mean squared distance per channel of z (..., d) to its codes, which stay put."""
        return (z.float() - self.indices_to_codes(indices)).square().mean()

    def indices_to_codes(self, indices):
        """float32 (..., d) from int64 indices (...) in [0, V)."""
        check_indices("indices", indices, self.num_codes)
        return self.codes[indices]

    def code_table(self):
        """All codes in the order of their indices, float32 (V, d), as they are now."""
        return self.codes.clone()

    @torch.no_grad()
    def update(self, z, indices, generator):
        """Move the codes after a batch of features, and revive the dead ones.

        With n_i features of this batch at code i, and their sum s_i:

            counts ← decay · counts + (1 − decay) · n, then Laplace smoothed in place,
            sums   ← decay · sums + (1 − decay) · s,
            codes  ← sums / counts.

        Then each dead code takes the place of a feature of the batch, no two the same
        one, with the mean count, which gives it time to be chosen. Where fewer features
        than dead codes are at hand the last of these wait for the next batch.

        Args:
            z: features before quantization, float (..., d); no gradient is taken.
            indices: their codes by `nearest`, which refuses what is not finite, int64 (...).
            generator: torch.Generator; every call draws one permutation of the features.

        Returns:
            How many codes were revived.
        """
        z, indices = z.detach().float().flatten(0, -2), indices.flatten()
        # A product with one-hot rows: adding at indices would differ in bits on a GPU.
        chosen = torch.zeros(len(z), self.num_codes, device=z.device)
        chosen.scatter_(1, indices[:, None], 1.0)
        self.counts.mul_(self.decay).add_((1 - self.decay) * chosen.sum(dim=0))
        with torch.autocast(z.device.type, enabled=False):
            sums = chosen.T @ z
        self.sums.mul_(self.decay).add_((1 - self.decay) * sums)
        mass = self.counts.sum()
        self.counts.add_(self.SMOOTHING).mul_(mass / (mass + self.num_codes * self.SMOOTHING))
        self.codes.copy_(self.sums / self.counts[:, None])

        mean = mass / self.num_codes
        order = torch.randperm(len(z), generator=generator, device=generator.device).to(z.device)
        dead = (self.counts < self.dead_share * mean).nonzero().flatten()[: len(z)]
        self.codes[dead] = z[order[: len(dead)]]
        self.counts[dead] = mean
        self.sums[dead] = self.codes[dead] * mean
        return len(dead)
