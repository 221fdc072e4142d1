"""Stage 1: the pose tokenizer, Local-MLP blocks around finite scalar quantization."""

import torch
from torch import nn

from di2pose_lib.base.checks import check_pose, check_tensor, require
from di2pose_lib.base.skeleton import PARENTS
from di2pose_lib.tokens.fsq import FSQ

# Metres: coordinates enter and leave the network in this unit, near 1 in size. The paper
# does not say how poses are normalised.
POSE_UNIT = 0.25


def joint_shift(features, local_joints):
    """Move channel group g of X by g − ⌊X/2⌋ places along the joint axis, zero padded.

    Args:
        features: float (B, J, D).
        local_joints: X, odd; 1 leaves the features as they are.

    Returns:
        float (B, J, D). Groups are near equal: D = 2048, X = 3 gives 683, 683, 682.

    Raises:
        ValueError: `local_joints` is not a positive odd number, or `features` no (B, J, D).
    """
    odd = local_joints >= 1 and local_joints % 2 == 1
    require(odd, f"`local_joints` must be positive and odd; got {local_joints}")
    check_tensor("features", features, ("B", "J", "D"))
    reach = local_joints // 2
    joints = features.shape[1]
    padded = nn.functional.pad(features, (0, 0, reach, reach))  # (B, J + 2 reach, D)
    groups = padded.tensor_split(local_joints, dim=-1)
    # A group moved by m places reads joint j − m, which stands at j − m + reach.
    return torch.cat(
        [group[:, 2 * reach - g : 2 * reach - g + joints] for g, group in enumerate(groups)], dim=-1
    )


def tree_matrices(local_joints):
    """What Joint Shift along the kinematic tree reads, float (X, J, J), one matrix a group.

    Group g of X moves by m = g − ⌊X/2⌋ bones away from the root: for m > 0 a joint reads
    its ancestor m bones up (0 where there is none), for m < 0 the mean of its descendants
    |m| bones down (0 at the ends). The paper's words suggest the tree and its figure
    shows the index order, which is the default.
    """
    up = torch.zeros(len(PARENTS), len(PARENTS), dtype=torch.float64)
    for joint, parent in enumerate(PARENTS):
        if parent >= 0:
            up[joint, parent] = 1.0
    matrices = []
    for move in range(-(local_joints // 2), local_joints // 2 + 1):
        ancestors = torch.linalg.matrix_power(up, abs(move))
        below = ancestors.T / ancestors.sum(dim=0)[:, None].clamp_min(1.0)
        matrices.append(ancestors if move >= 0 else below)
    return torch.stack(matrices).float()


class LocalMLPBlock(nn.Module):
    """x + JS(LN(x)), then x + MLP(LN(x)); JS is linear, Joint Shift, linear (Sec. 3.1).

    Joint Shift is in index order, or along the tree where its `tree_matrices` are given.
    """

    def __init__(self, width, local_joints, mlp_ratio, tree=None):
        super().__init__()
        hidden = round(width * mlp_ratio)
        self.local_joints = local_joints
        self.register_buffer("tree", tree, persistent=False)
        self.shift_norm = nn.LayerNorm(width)
        self.shift_in = nn.Linear(width, width)
        self.shift_out = nn.Linear(width, width)
        self.mlp_norm = nn.LayerNorm(width)
        self.mlp = nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, width))

    def _shift(self, features):
        if self.tree is None:
            return joint_shift(features, self.local_joints)
        groups = features.tensor_split(self.local_joints, dim=-1)
        return torch.cat([m @ group for m, group in zip(self.tree, groups, strict=True)], dim=-1)

    def forward(self, x):
        x = x + self.shift_out(self._shift(self.shift_in(self.shift_norm(x))))
        return x + self.mlp(self.mlp_norm(x))


class PoseTokenizer(nn.Module):
    """Pose <-> N tokens (Sec. 3.1, Appendix C.2).

    The step from J joints to N tokens, which the paper leaves out, is a linear map
    along the joint axis, as PCT and HiPART do; so is the way back.
    """

    def __init__(self, config):
        super().__init__()
        self.config = config
        self.quantizer = self._make_quantizer()
        channels, joints, tokens = config.channels, config.num_joints, config.num_tokens
        self.joint_embedding = nn.Linear(3, config.width)
        self.encoder = nn.Sequential(
            *(self._encoder_block() for _ in range(config.encoder_blocks)),
            nn.LayerNorm(config.width),
        )
        self.joints_to_tokens = nn.Linear(joints, tokens)
        self.to_codes = nn.Linear(config.width, channels)
        self.from_codes = nn.Linear(channels, config.decoder_width)
        self.tokens_to_joints = nn.Linear(tokens, joints)
        self.decoder = nn.Sequential(
            *(self._decoder_block() for _ in range(config.decoder_blocks)),
            nn.LayerNorm(config.decoder_width),
            nn.Linear(config.decoder_width, 3),
        )
        if config.start_at_joints:
            self._start_tokens_at_joints()

    # What another design of tokenizer may choose otherwise.

    def _make_quantizer(self):
        return FSQ(self.config.levels)

    def _encoder_block(self):
        return self._local_mlp_block(self.config.width)

    def _decoder_block(self):
        return self._local_mlp_block(self.config.decoder_width)

    def _local_mlp_block(self, width):
        reach = self.config.local_joints
        tree = tree_matrices(reach) if self.config.neighbours == "tree" else None
        return LocalMLPBlock(width, reach, self.config.mlp_ratio, tree)

    @torch.no_grad()
    def _start_tokens_at_joints(self):
        """Begin with each token at one joint, in joint order; training mixes them.

        The paper is silent. From random mixtures every token would depend on the whole
        body from the start. What it is worth: `ablations`, table "tokens".
        """
        joints, tokens = self.config.num_joints, self.config.num_tokens
        joint_of_token = torch.arange(tokens) * joints // tokens
        home = torch.zeros(tokens, joints)
        home[torch.arange(tokens), joint_of_token] = 1.0
        self.joints_to_tokens.weight.mul_(0.5).add_(home)
        share = home.sum(dim=0).clamp_min(1.0)  # tokens of a joint
        self.tokens_to_joints.weight.mul_(0.5).add_((home / share).T)

    @property
    def num_codes(self):
        """C, the number of codes a token can take; Occ is C."""
        return self.config.num_codes

    def project(self, pose):
        """Features float (B, N, d) that the quantizer takes, of poses (B, J, 3) in metres."""
        check_pose("pose", pose, ("B", self.config.num_joints, 3))
        joints = self.joint_embedding(pose.to(self.joint_embedding.weight.dtype) / POSE_UNIT)
        features = self.encoder(joints)  # (B, J, D)
        features = self.joints_to_tokens(features.transpose(1, 2)).transpose(1, 2)  # (B, N, D)
        return self.to_codes(features)

    def encode_codes(self, pose):
        """Quantized codes float32 (B, N, d), differentiable (straight-through)."""
        return self.quantizer.quantize(self.project(pose))

    def decode_codes(self, codes):
        """Pose (B, J, 3) in metres from codes (B, N, d); codes may be expectations."""
        wanted = ("B", self.config.num_tokens, self.config.channels)
        check_tensor("codes", codes, wanted, "float")
        features = self.from_codes(codes.to(self.from_codes.weight.dtype))  # (B, N, D')
        features = self.tokens_to_joints(features.transpose(1, 2)).transpose(1, 2)  # (B, J, D')
        return self.decoder(features) * POSE_UNIT

    def encode(self, pose):
        """Tokens int64 (B, N) in [0, C) of root-relative poses (B, J, 3) in metres."""
        return self.quantizer.nearest(self.project(pose))

    def decode(self, indices):
        """Root-relative poses (B, J, 3) in metres from tokens int64 (B, N) in [0, C)."""
        check_tensor("indices", indices, ("B", self.config.num_tokens), "int64")
        return self.decode_codes(self.quantizer.indices_to_codes(indices))

    def soft_decode(self, probs):
        """Pose of the expected codes under token probabilities (B, N, C)."""
        check_tensor("probs", probs, ("B", self.config.num_tokens, self.num_codes), "float")
        return self.decode_codes(probs.float() @ self.quantizer.code_table())

    def forward(self, pose):
        """The reconstruction (B, J, 3) of poses (B, J, 3), differentiable."""
        return self.decode_codes(self.encode_codes(pose))
