"""PCT's recipe for a pose tokenizer (Geng et al. 2023): its loss and what it reports.

The loss trains any `TokenizerDesign` through `training.fit`, on poses augmented as ours
are (`tokens.training.augment_poses`).
"""

from dataclasses import dataclass

import torch
from torch import nn

from di2pose_lib.base.checks import require
from di2pose_lib.base.metrics import MM_PER_M
from di2pose_lib.tokens.tokenizer import POSE_UNIT
from di2pose_lib.tokens.training import errors_and_code_use

# Metres. PCT counts in pixels of a 256 × 256 crop that is 1.25 times as high as the
# person; a person 1.7 m high makes 8.3 mm of one. This carries its loss over to metres.
PIXEL = 1.7 * 1.25 / 256


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

    The codes of a learned codebook are taken first and, in training mode, moved afterwards
    (`VectorQuantizer.update`). PCT also hides joints from its encoder; no design here does.

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
    features = tokenizer.project(pose)
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
    """`tokens.training.reconstruction_report` without the levels: a learned codebook has none."""
    return errors_and_code_use(tokenizer, pose, tokenizer.encode(pose))
