"""Stage 2's network: a transformer from noisy tokens, step and image features to logits."""

from dataclasses import dataclass

import torch
from torch import nn
from torch.nn import functional

from di2pose_lib.base.checks import check_tensor, require


@dataclass(frozen=True)
class DenoiserConfig:
    """Sizes of the denoiser; the paper's are 21 layers, 16 heads, width 1024."""

    num_codes: int  # C
    num_tokens: int  # N
    num_steps: int  # S
    condition_tokens: int  # image features: how many, and how wide
    condition_width: int
    width: int
    layers: int
    heads: int
    mlp_ratio: int = 4


class AdaLN(nn.Module):
    """LayerNorm whose scale and shift are a learned function of the step."""

    def __init__(self, width, num_steps):
        super().__init__()
        self.norm = nn.LayerNorm(width, elementwise_affine=False)
        self.step_embedding = nn.Embedding(num_steps, width)
        self.scale_shift = nn.Linear(width, 2 * width)

    def forward(self, x, step):
        embedding = functional.silu(self.step_embedding(step - 1))  # steps are 1 … S
        scale, shift = self.scale_shift(embedding)[:, None].chunk(2, dim=-1)  # (B, 1, width)
        return self.norm(x) * (1 + scale) + shift


class Block(nn.Module):
    """Self-attention, cross-attention to the image features, MLP; each a residual."""

    def __init__(self, config):
        super().__init__()
        width = config.width
        self.heads = config.heads
        self.self_norm = AdaLN(width, config.num_steps)
        self.self_qkv = nn.Linear(width, 3 * width)
        self.self_out = nn.Linear(width, width)
        self.cross_norm = AdaLN(width, config.num_steps)
        self.cross_query = nn.Linear(width, width)
        self.cross_key_value = nn.Linear(config.condition_width, 2 * width)
        self.cross_out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        hidden = config.mlp_ratio * width
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def _heads(self, x):
        return x.unflatten(-1, (self.heads, -1)).transpose(1, 2)  # (B, heads, tokens, width/heads)

    def key_value(self, condition):
        """Keys and values of the image features: they depend on neither tokens nor step."""
        key, value = self.cross_key_value(condition).chunk(2, dim=-1)
        return self._heads(key), self._heads(value)

    def _attend(self, query, key, value):
        mixed = functional.scaled_dot_product_attention(query, key, value)
        return mixed.transpose(1, 2).flatten(2)  # (B, tokens, width)

    def _attend_shared(self, query, key, value):
        """As `_attend`; each image's keys and values serve all of its H rows of queries."""
        images, tokens = len(key), query.shape[2]
        query = query.unflatten(0, (images, -1)).transpose(1, 2).flatten(2, 3)  # H N tokens
        return self._attend(query, key, value).unflatten(1, (-1, tokens)).flatten(0, 1)

    def forward(self, x, step, key, value):
        qkv = self.self_qkv(self.self_norm(x, step)).chunk(3, dim=-1)
        x = x + self.self_out(self._attend(*(self._heads(part) for part in qkv)))
        query = self._heads(self.cross_query(self.cross_norm(x, step)))
        x = x + self.cross_out(self._attend_shared(query, key, value))
        return x + self.mlp(self.mlp_norm(x))


class Denoiser(nn.Module):
    """f(k̂_0 | k_s, y): logits over the C codes of each token (Sec. 3.2).

    Args:
        config: a `DenoiserConfig`.
        code_table: the codes' coordinates, float (C, d) in [−1, 1], or None. With it
            near codes start with near embeddings and logits, so that a small training
            budget need not find out code by code which ones are alike.
    """

    def __init__(self, config, code_table=None):
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.num_codes + 1, config.width)  # the last is Occ
        self.position = nn.Parameter(torch.zeros(1, config.num_tokens, config.width))
        self.condition_position = nn.Parameter(
            torch.zeros(1, config.condition_tokens, config.condition_width)
        )
        self.blocks = nn.ModuleList(Block(config) for _ in range(config.layers))
        self.head_norm = nn.LayerNorm(config.width)
        self.head = nn.Linear(config.width, config.num_codes)
        self.apply(self._initialise)
        nn.init.normal_(self.position, std=self._initial_std())
        nn.init.normal_(self.condition_position, std=0.5)  # features are layer-normed: near 1
        if code_table is not None:
            self._start_from_codes(code_table)

    @torch.no_grad()
    def _start_from_codes(self, code_table):
        """Embeddings and head as random Fourier features of the codes' coordinates."""
        for weight in (self.token_embedding.weight[:-1], self.head.weight):
            frequency = 1.5 * torch.randn(code_table.shape[1], self.config.width)
            phase = 2 * torch.pi * torch.rand(self.config.width)
            weight.copy_(2**0.5 * self._initial_std() * torch.cos(code_table @ frequency + phase))

    def _initial_std(self):
        """0.02 at the paper's width of 1024, as VQ-Diffusion; wider or narrower, ∝ width^−½."""
        return 0.02 * (1024 / self.config.width) ** 0.5

    def _initialise(self, module):
        if isinstance(module, (nn.Linear, nn.Embedding)):
            nn.init.normal_(module.weight, std=self._initial_std())
        if isinstance(module, nn.Linear):
            nn.init.zeros_(module.bias)

    def condition_memory(self, condition):
        """Keys and values of every block for image features (B, tokens, condition_width).

        Give the result to `forward` in place of the features: a sampler computes it
        once per image and not once per step.
        """
        wanted = ("B", self.config.condition_tokens, self.config.condition_width)
        check_tensor("condition", condition, wanted, "float")
        return self._memory(condition)

    def _memory(self, condition):
        condition = condition.to(self.condition_position.dtype) + self.condition_position
        return [block.key_value(condition) for block in self.blocks]

    def forward(self, k_s, step, condition):
        """Logits of the clean tokens.

        Args:
            k_s: tokens at `step`, int64 (B, N), in [0, C]; C is Occ.
            step: int64 (B,), in [1, S].
            condition: image features, float (B, tokens, condition_width), or what
                `condition_memory` made of those of B / H images, each of which then
                serves H rows of `k_s`, one after the other.

        Returns:
            float (B, N, C).

        Raises:
            ValueError: wrong shapes or dtypes, or on the CPU NaN in the features. A look at values
                would make a GPU wait at each step: the sampler and the loss answer for theirs.
        """
        config = self.config
        check_tensor("k_s", k_s, ("B", config.num_tokens), "int64")
        check_tensor("step", step, (len(k_s),), "int64")
        if isinstance(condition, torch.Tensor):
            wanted = (len(k_s), config.condition_tokens, config.condition_width)
            check_tensor("condition", condition, wanted, "float", condition.device.type == "cpu")
            condition = self._memory(condition)
        got = len(condition[0][0])
        require(
            len(k_s) % got == 0,
            f"`condition` must be of {len(k_s)} images or a divisor of it; got {got}",
        )
        x = self.token_embedding(k_s) + self.position
        for block, (key, value) in zip(self.blocks, condition, strict=True):
            x = block(x, step, key, value)
        return self.head(self.head_norm(x))
