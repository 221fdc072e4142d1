"""A pose as a handful of discrete tokens (notebook 03): the paper's first stage.

Finite scalar quantization, the Local-MLP tokenizer with its Joint Shift, the designs that it is
compared with (PCT's and a learned codebook), and their training.
"""

from di2pose_lib.tokens.fsq import FSQ
from di2pose_lib.tokens.stage import trained_tokenizer
from di2pose_lib.tokens.tokenizer import PoseTokenizer, joint_shift

__all__ = ["FSQ", "PoseTokenizer", "joint_shift", "trained_tokenizer"]
