"""Small tokenizers of every design and poses for them, for more than one test file."""

import torch

from di2pose_lib.tokens.designs import DesignedTokenizer, TokenizerDesign

SIZES = {
    "num_tokens": 9,
    "width": 24,
    "encoder_blocks": 2,
    "decoder_width": 16,
    "decoder_blocks": 1,
    "token_hidden": 11,
}
CODES = {"vq": {"codebook_size": 36, "code_width": 6}, "fsq": {"levels": (4, 3, 3)}}


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def random_poses(batch=6, seed=1):
    pose = 0.4 * torch.randn(batch, 17, 3, generator=seeded(seed))
    return pose - pose[:, :1]


def small_design(blocks="mixer", quantizer="vq", **changes):
    return TokenizerDesign(blocks, quantizer, **{**SIZES, **CODES[quantizer], **changes})


def made(design, seed=0):
    """A tokenizer; the codes of a codebook stand among its features, so that many are used."""
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        tokenizer = DesignedTokenizer(design)
    if design.quantizer == "vq":
        features = tokenizer.project(random_poses(20, seed=9)).detach().flatten(0, 1)
        order = torch.randperm(len(features), generator=seeded())[: design.codebook_size]
        tokenizer.quantizer.codes.copy_(features[order])
    return tokenizer
