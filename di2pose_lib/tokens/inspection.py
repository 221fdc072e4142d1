"""What tokens say: which joints one moves, what is left without it, which poses share a code."""

import torch

from di2pose_lib.base.checks import check_range, check_tensor
from di2pose_lib.base.metrics import MM_PER_M


@torch.no_grad()
def token_reach(tokenizer, tokens, generator):
    """How far each joint moves when one token takes another code at random.

    Args:
        tokenizer: a trained `PoseTokenizer`.
        tokens: of some poses, int64 (B, N), in [0, C).
        generator: CPU torch.Generator that draws the other codes, evenly.

    Returns:
        Mean over the poses of the movement of joint j when token n changes, mm, float (N, J).
    """
    rebuilt = tokenizer.decode(tokens)
    reach = []
    for n in range(tokens.shape[1]):
        other = torch.randint(1, tokenizer.num_codes, (len(tokens),), generator=generator)
        changed = tokens.clone()
        changed[:, n] = (changed[:, n] + other.to(tokens.device)) % tokenizer.num_codes
        moved = (tokenizer.decode(changed) - rebuilt).norm(dim=-1)
        reach.append(MM_PER_M * moved.mean(dim=0))
    return torch.stack(reach)


def mean_codes(tokenizer, tokens):
    """The expected code of each token over poses: float32 (N, d) from tokens int64 (B, N)."""
    return tokenizer.quantizer.indices_to_codes(tokens).mean(dim=0)


@torch.no_grad()
def decode_occluded(tokenizer, tokens, occluded, stand_in):
    """Poses (B, J, 3), metres, of tokens of which some are occluded.

    Occ has no code of its own, so that the decoder cannot read it. What an occluded token is
    worth without a denoiser is the mean code of its place: its expectation given nothing.

    Args:
        tokenizer: a trained `PoseTokenizer`.
        tokens: int64 (B, N), in [0, C); those that are occluded do not count.
        occluded: bool (B, N).
        stand_in: float (N, d), what an occluded token decodes as: `mean_codes` of training
            poses.
    """
    check_tensor("occluded", occluded, tuple(tokens.shape), "bool")
    codes = tokenizer.quantizer.indices_to_codes(tokens)
    check_tensor("stand_in", stand_in, tuple(codes.shape[1:]), "float")
    return tokenizer.decode_codes(torch.where(occluded[..., None], stand_in, codes))


def poses_of_code(tokens, place, code):
    """Rows, int64 (n,), of the poses whose token at `place` is `code`.

    Args:
        tokens: int64 (B, N).
        place: of the token, in [0, N).
        code: ≥ 0.

    Raises:
        ValueError: there is no such place.
    """
    check_range("place", torch.as_tensor(place), 0, tokens.shape[1] - 1)
    return (tokens[:, place] == code).nonzero().flatten()


def spread_mm(points):
    """Mean distance in mm of points (B, 3), metres, from their mean."""
    check_tensor("points", points, ("B", 3), "float")
    return MM_PER_M * (points - points.mean(dim=0)).norm(dim=-1).mean().item()
