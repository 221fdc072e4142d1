"""PCT's recipe for a pose tokenizer (Geng et al. 2023): its sizes, its loss, what it reports.

The loss trains any `TokenizerDesign` through `training.fit`, on poses augmented as ours
are (`tokens.training.augment_poses`).
"""

from dataclasses import dataclass

import torch
from torch import nn

from di2pose_lib.base.checks import require
from di2pose_lib.base.metrics import MM_PER_M, mpjpe_mm, pa_mpjpe_mm
from di2pose_lib.tokens.designs import TokenizerDesign
from di2pose_lib.tokens.tokenizer import POSE_UNIT

# Metres. PCT counts in pixels of a 256 × 256 crop that is 1.25 times as high as the
# person; a person 1.7 m high makes 8.3 mm of one. This carries its loss over to metres.
PIXEL = 1.7 * 1.25 / 256

# The base tokenizer, without image guidance; there a joint has two coordinates.
PUBLISHED = TokenizerDesign(
    blocks="mixer",
    quantizer="vq",
    num_tokens=34,
    width=512,
    encoder_blocks=4,
    decoder_width=32,
    decoder_blocks=1,
    codebook_size=2048,
    code_width=512,
    codebook_decay=0.9,
    dead_share=0.0,
    token_hidden=64,
    mlp_ratio=1.0,
    decoder_mlp_ratio=2.0,
    masked_share=0.2,
    start_at_joints=False,
)


@dataclass(frozen=True)
class PCTLoss:
    """Smooth L1 on coordinates, and the commitment to a learned codebook's codes.

    The defaults are PCT's: a threshold of 0.05 pixels, and 15 beside an error in pixels.
    """

    smooth_below: float = 0.05 * PIXEL  # metres: errors below count by their squares; 0: L1
    commitment_weight: float = 15 * PIXEL / POSE_UNIT  # beside an error in units of POSE_UNIT

    def __post_init__(self):
        for name in ("smooth_below", "commitment_weight"):
            got = getattr(self, name)
            require(got >= 0, f"`{name}` must not be negative; got {got}")


def pct_loss(tokenizer, pose, settings, generator):
    """PCT's loss of a `DesignedTokenizer`; in training mode it also moves the codebook.

    In training mode each joint is hidden from the encoder with the design's
    `masked_share`; all joints are to be rebuilt. The codes of a learned codebook are
    taken first and moved afterwards (`VectorQuantizer.update`). In evaluation mode
    nothing is hidden, moved or drawn.

    Args:
        tokenizer: a `DesignedTokenizer`; with FSQ there is no commitment.
        pose: root-relative, float (B, J, 3), metres.
        settings: a `PCTLoss`.
        generator: torch.Generator.

    Returns:
        (loss, values), as `training.fit` takes them: the loss in units of `POSE_UNIT`;
        `l1_mm`, the mean absolute error of a coordinate; for a learned codebook also
        `commitment` (unweighted) and `revived`, the codes moved to a feature.
    """
    masked, share = None, tokenizer.config.masked_share
    if tokenizer.training and share:
        drawn = torch.rand(pose.shape[:2], generator=generator, device=generator.device)
        masked = (drawn < share).to(pose.device)
    features = tokenizer.project(pose, masked)
    quantizer, values = tokenizer.quantizer, {}
    if tokenizer.config.quantizer == "vq":
        indices = quantizer.nearest(features)
        codes = quantizer.straight_through(features, indices)
        commitment = quantizer.commitment(features, indices)
        revived = quantizer.update(features, indices, generator) if tokenizer.training else 0
        values = {"commitment": commitment, "revived": torch.tensor(float(revived))}
    else:
        codes, commitment = quantizer.quantize(features), 0.0
    pose_pred = tokenizer.decode_codes(codes)
    smooth_l1 = nn.functional.smooth_l1_loss(
        pose_pred / POSE_UNIT,
        pose.to(pose_pred.dtype) / POSE_UNIT,
        beta=settings.smooth_below / POSE_UNIT,
    )
    values["l1_mm"] = (pose_pred - pose).abs().mean() * MM_PER_M
    return smooth_l1 + settings.commitment_weight * commitment, values


@torch.no_grad()
def design_report(tokenizer, pose):
    """Reconstruction errors (mm) and code use of a `DesignedTokenizer` on poses (n, J, 3).

    The names are those of `tokens.training.reconstruction_report`; a learned codebook
    has no levels, so what is said of them is left out, for those that have some too.
    """
    tokens = tokenizer.encode(pose)
    rebuilt = tokenizer.decode(tokens)
    shares = torch.bincount(tokens.flatten(), minlength=tokenizer.num_codes).double()
    shares = shares / shares.sum()
    return {
        "validation_mpjpe_mm": mpjpe_mm(rebuilt, pose).mean().item(),
        "validation_pa_mpjpe_mm": pa_mpjpe_mm(rebuilt, pose).mean().item(),
        "code_perplexity": torch.special.entr(shares).sum().exp().item(),
        "codes_used_share": (shares > 0).double().mean().item(),
    }
