"""A refusal names the argument that is at fault, not one that a function passes it on as."""

import math

import pytest
import torch
from small import tokenizer_sizes

from di2pose_lib.base import metrics
from di2pose_lib.diffusion import inpainting, losses, sampler, transitions
from di2pose_lib.diffusion.denoiser import Denoiser, DenoiserConfig
from di2pose_lib.diffusion.schedule import OccludeReplaceSchedule
from di2pose_lib.evaluation.estimators import PoseModel
from di2pose_lib.tokens.fsq import FSQ
from di2pose_lib.tokens.tokenizer import PoseTokenizer, joint_shift
from di2pose_lib.tokens.vector_quantizer import VectorQuantizer

B, N, C, S = 2, 4, 9, 6


def calls():
    """{name: (function, arguments)} of the core's public functions; each goes through."""
    generator = torch.Generator().manual_seed(0)
    schedule = OccludeReplaceSchedule(C, S)
    k_start = torch.randint(C, (B, N), generator=generator)
    step = torch.tensor([2, 5])
    chain = {"schedule": schedule, "step": step}
    k_s = transitions.q_sample(schedule, k_start, step, generator)
    logits = torch.randn(B, N, C, generator=generator)
    pose = 0.3 * torch.randn(B, 17, 3, generator=generator)
    features = torch.randn(B, 3, 5, generator=generator)
    known = torch.zeros(B, 17, dtype=torch.bool)
    known[:, 3] = True
    tokenizer = PoseTokenizer(
        tokenizer_sizes(num_tokens=N, levels=(3, 3), width=8, decoder_width=8)
    ).requires_grad_(False)  # fmt: skip
    denoiser = Denoiser(DenoiserConfig(C, N, S, 3, 5, 8, 1, 1)).requires_grad_(False)
    model = PoseModel(denoiser, schedule, tokenizer, 3)
    fsq, codebook = FSQ([3, 3]), VectorQuantizer(C, 3, 0.9, 0.01)
    z, indices = torch.randn(5, 3, generator=generator), torch.arange(5)
    both, drawn_by = {"k_start": k_start, "k_s": k_s}, {"generator": generator}
    seeds = {"features": features, "seeds": [1, 2]}
    drawn = {"denoiser": denoiser, "schedule": schedule, "condition": features, **drawn_by}
    of_poses = {"pose_pred": pose, "pose": pose + 0.1}
    return {
        "q_probs": (transitions.q_probs, {**chain, "k_start": k_start}),
        "q_sample": (transitions.q_sample, {**chain, "k_start": k_start, **drawn_by}),
        "posterior_factors": (transitions.posterior_factors, {**chain, **both}),
        "q_posterior_probs": (
            transitions.q_posterior_probs,
            {**chain, **both, "prev_step": torch.tensor([0, 1])},
        ),
        "q_posterior_sample": (transitions.q_posterior_sample, {**chain, **both, **drawn_by}),
        "p_posterior_probs": (
            transitions.p_posterior_probs,
            {**chain, "k_start_probs": logits.softmax(-1), "k_s": k_s},
        ),
        "diffusion_loss": (
            losses.diffusion_loss,
            {**chain, "k_start_logits": logits, **both, "aux_weight": torch.ones(B)}
            | {"weight": torch.ones(B)},
        ),
        "elbo": (losses.elbo, {**drawn, "k_start": k_start}),
        "sample": (
            sampler.sample,
            {**drawn, "num_tokens": N, "num_inference_steps": 3, "known": k_start},
        ),
        "FSQ.quantize": (fsq.quantize, {"z": z[:, :2]}),
        "FSQ.nearest": (fsq.nearest, {"z": z[:, :2]}),
        "FSQ.codes_to_indices": (fsq.codes_to_indices, {"codes": fsq.quantize(z[:, :2])}),
        "FSQ.indices_to_codes": (fsq.indices_to_codes, {"indices": indices}),
        "VectorQuantizer.nearest": (codebook.nearest, {"z": z}),
        "VectorQuantizer.quantize": (codebook.quantize, {"z": z}),
        "VectorQuantizer.indices_to_codes": (codebook.indices_to_codes, {"indices": indices}),
        "tokenizer": (tokenizer, {"pose": pose}),
        "encode": (tokenizer.encode, {"pose": pose}),
        "encode_codes": (tokenizer.encode_codes, {"pose": pose}),
        "decode": (tokenizer.decode, {"indices": k_start}),
        "decode_codes": (tokenizer.decode_codes, {"codes": torch.zeros(B, N, 2)}),
        "tokenizer.soft_decode": (tokenizer.soft_decode, {"probs": logits.softmax(-1)}),
        "joint_shift": (joint_shift, {"features": torch.zeros(2, 17, 8), "local_joints": 3}),
        "condition_memory": (denoiser.condition_memory, {"condition": features}),
        "hypotheses": (model.hypotheses, {**seeds, "num_hypotheses": 2}),
        "soft_decode": (model.soft_decode, {"features": features}),
        "inpaint": (
            inpainting.inpaint,
            {"model": model, **seeds, "pose_known": pose, "known": known, "rounds": 1},
        ),
        "mpjpe_mm": (metrics.mpjpe_mm, of_poses),
        "pa_mpjpe_mm": (metrics.pa_mpjpe_mm, of_poses),
    }


def spoiled(tensor):
    """(what was done, the tensor) for everything that might be wrong with one."""
    yield "empty", tensor[:0]
    yield "0-d", tensor.flatten()[0]
    if tensor.is_floating_point():
        for value in (math.nan, math.inf, -math.inf):
            spoilt = tensor.clone()
            spoilt.view(-1)[1] = value
            yield str(value), spoilt
        yield "int64", tensor.long()
    else:
        yield "float32", tensor.float()
        yield "int32", tensor.int()
    if tensor.dtype == torch.int64:
        yield "too large", tensor + 100
        yield "too small", tensor - 100


@pytest.mark.parametrize("name", calls())
def test_what_is_refused_is_refused_by_its_own_name(name):
    function, arguments = calls()[name]
    function(**arguments)
    refused = []
    for argument, value in arguments.items():
        for what, given in spoiled(value) if isinstance(value, torch.Tensor) else ():
            try:
                function(**{**arguments, argument: given})
            except (ValueError, TypeError) as error:
                named = str(error).startswith(f"`{argument}` ")
                assert named, f"{argument}, {what}: {error}"
                refused.append(what)
    assert "empty" in refused
