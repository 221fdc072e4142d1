"""A pose as a handful of discrete tokens (notebook 03): the paper's first stage.

Finite scalar quantization, the Local-MLP tokenizer with its Joint Shift, the designs that it is
compared with (PCT's and a learned codebook), and their training.
"""

from di2pose_lib.tokens.fsq import FSQ
from di2pose_lib.tokens.stage import tokenize, trained_tokenizer
from di2pose_lib.tokens.tokenizer import PoseTokenizer, joint_shift
from di2pose_lib.tokens.training import reconstruction_report, train_tokenizer

__all__ = [
    "FSQ",
    "PoseTokenizer",
    "joint_shift",
    "reconstruction_report",
    "tokenize",
    "train_tokenizer",
    "trained_tokenizer",
]
