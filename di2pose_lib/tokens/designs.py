"""Tokenizers between PCT's (Geng et al. 2023) and ours: what Table 4 compares, in parts.

Two choices set the two apart: the blocks (MLP-Mixer or Local-MLP) and the quantizer
(a learned codebook or FSQ). A `TokenizerDesign` makes each by itself, and chooses the
number of tokens, so that a comparison can hold bits and parameters fixed. The paper's
does not: its own tokenizer has 100 tokens of 12.1 bits, PCT's 34 of 11.
"""

import dataclasses
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import nn

from di2pose_lib.base.checks import require
from di2pose_lib.base.config import check_levels
from di2pose_lib.base.skeleton import NUM_JOINTS
from di2pose_lib.tokens.fsq import FSQ
from di2pose_lib.tokens.tokenizer import LocalMLPBlock, PoseTokenizer
from di2pose_lib.tokens.vector_quantizer import VectorQuantizer

BLOCKS = ("mixer", "local_mlp")
QUANTIZERS = ("vq", "fsq")
TOLERANCE = 0.05  # two designs within this share have about equal parameters


@dataclass(frozen=True)
class TokenizerDesign:
    """Sizes of a tokenizer whose blocks and quantizer are chosen separately."""

    blocks: str  # one of BLOCKS
    quantizer: str  # one of QUANTIZERS
    num_tokens: int  # N
    width: int  # D of the encoder
    encoder_blocks: int
    decoder_width: int
    decoder_blocks: int
    levels: tuple[int, ...] = ()  # fsq: L_i; their product is C
    codebook_size: int = 0  # vq: V
    code_width: int = 0  # vq: channels of a code
    codebook_decay: float = 0.9  # vq: of its moving averages
    dead_share: float = 0.01  # vq: codes used below this share of the mean are moved; 0: none
    token_hidden: int = 64  # mixer: hidden width of the MLP over joints
    local_joints: int = 3  # local_mlp: X; 1 means no shift
    mlp_ratio: float = 1.0  # hidden width of the channel MLP in the encoder's blocks
    decoder_mlp_ratio: float = 1.0  # and in the decoder's
    start_at_joints: bool = True  # training begins with each token at one joint
    num_joints: int = NUM_JOINTS  # J

    def __post_init__(self):
        object.__setattr__(self, "levels", tuple(self.levels))
        for name, known in {"blocks": BLOCKS, "quantizer": QUANTIZERS}.items():
            got = getattr(self, name)
            require(got in known, f"`{name}` must be one of {', '.join(known)}; got {got!r}")
        sizes = ["num_tokens", "width", "encoder_blocks", "decoder_width", "decoder_blocks"]
        sizes += ["token_hidden", "local_joints", "num_joints"]
        if self.quantizer == "vq":
            sizes += ["codebook_size", "code_width"]
            require(not self.levels, f"`levels` must be () for vq; got {self.levels}")
        else:
            check_levels(self.levels)
            for name in ("codebook_size", "code_width"):
                got = getattr(self, name)
                require(got == 0, f"`{name}` must be 0 for fsq; got {got}")
        for name in sizes:
            got = getattr(self, name)
            require(got >= 1, f"`{name}` must be at least 1; got {got}")
        for name in ("codebook_decay", "dead_share"):
            got = getattr(self, name)
            require(0 <= got < 1, f"`{name}` must lie in [0, 1); got {got}")
        odd = self.local_joints % 2 == 1 and self.local_joints <= self.num_joints
        require(
            odd,
            f"`local_joints` must be odd and at most num_joints = {self.num_joints}; "
            f"got {self.local_joints}",
        )
        halves = {"mlp_ratio": self.width, "decoder_mlp_ratio": self.decoder_width}
        for name, width in halves.items():
            got = getattr(self, name)
            require(
                round(width * got) >= 1,
                f"`{name}` must leave at least 1 of {width} channels; got {got}",
            )

    @property
    def num_codes(self):
        """C, the number of codes a token can take."""
        return self.codebook_size if self.quantizer == "vq" else math.prod(self.levels)

    @property
    def channels(self):
        """d, the channels of a code."""
        return self.code_width if self.quantizer == "vq" else len(self.levels)


class MixerBlock(nn.Module):
    """x + MLP over joints of LN(x), then x + MLP over channels of LN(x), as PCT's."""

    def __init__(self, width, num_joints, token_hidden, mlp_ratio):
        super().__init__()
        hidden = round(width * mlp_ratio)
        self.token_norm = nn.LayerNorm(width)
        self.token_mlp = nn.Sequential(
            nn.Linear(num_joints, token_hidden), nn.GELU(), nn.Linear(token_hidden, num_joints)
        )
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def forward(self, x):
        x = x + self.token_mlp(self.token_norm(x).transpose(1, 2)).transpose(1, 2)  # (B, J, D)
        return x + self.mlp(self.mlp_norm(x))


class DesignedTokenizer(PoseTokenizer):
    """Pose <-> N tokens, by a `TokenizerDesign`.

    With Local-MLP blocks and FSQ it is a plain `PoseTokenizer` to the bit. The order of the
    two linear maps before the decoder (channels, then tokens) is that class's; PCT has the
    other, which differs by biases only.
    """

    def _make_quantizer(self):
        config = self.config
        if config.quantizer == "fsq":
            return FSQ(config.levels)
        sizes = (config.codebook_size, config.code_width)
        return VectorQuantizer(*sizes, config.codebook_decay, config.dead_share)

    def _encoder_block(self):
        return self._block(self.config.width, self.config.mlp_ratio)

    def _decoder_block(self):
        return self._block(self.config.decoder_width, self.config.decoder_mlp_ratio)

    def _block(self, width, mlp_ratio):
        if self.config.blocks == "local_mlp":
            return LocalMLPBlock(width, self.config.local_joints, mlp_ratio)
        return MixerBlock(width, self.config.num_joints, self.config.token_hidden, mlp_ratio)


class DesignSize(NamedTuple):
    """What two designs are to share for a fair comparison."""

    bits_per_pose: float  # N · log2 C
    parameters: int  # learned numbers, a codebook's among them


def design_size(design):
    """The `DesignSize` of a `TokenizerDesign`, without memory for its weights."""
    with torch.device("meta"):
        tokenizer = DesignedTokenizer(design)
    count = sum(p.numel() for p in tokenizer.parameters())
    if design.quantizer == "vq":
        count += tokenizer.quantizer.codes.numel()
    return DesignSize(design.num_tokens * math.log2(design.num_codes), count)


def _at_width(design, width):
    """`design` with another width, and the decoder's in proportion; hidden widths stay ≥ 1."""
    narrowest = math.ceil(1 / min(1.0, design.mlp_ratio, design.decoder_mlp_ratio))
    decoder_width = max(narrowest, round(design.decoder_width * width / design.width))
    return dataclasses.replace(design, width=max(narrowest, width), decoder_width=decoder_width)


def match_parameters(design, parameters):
    """`design` at the width that brings its parameters nearest to a number of them.

    The decoder's width keeps its proportion to the encoder's; a codebook keeps its size.

    Args:
        design: a `TokenizerDesign`.
        parameters: as `design_size` counts them, at least 1.

    Raises:
        ValueError: no width comes within `TOLERANCE` of `parameters`.
    """
    low, high = 1, design.width
    while design_size(_at_width(design, high)).parameters < parameters:
        low, high = high, 2 * high
    while high - low > 1:  # the number of parameters grows with the width
        middle = (low + high) // 2
        below = design_size(_at_width(design, middle)).parameters < parameters
        low, high = (middle, high) if below else (low, middle)
    candidates = [_at_width(design, width) for width in (low, high)]
    sizes = [design_size(candidate).parameters for candidate in candidates]
    best = min((0, 1), key=lambda i: abs(sizes[i] - parameters))
    require(
        abs(sizes[best] - parameters) <= TOLERANCE * parameters,
        f"`parameters` must be within {TOLERANCE:.0%} of what some width of the design has; "
        f"got {parameters}, nearest {sizes[best]} at width {candidates[best].width}",
    )
    return candidates[best]
