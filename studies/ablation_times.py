"""How long will the missing runs take? Time a few steps of each training, and multiply."""

import time

import torch

from di2pose_lib.base.files import is_there
from di2pose_lib.base.training import num_training_steps
from di2pose_lib.diffusion.losses import diffusion_loss
from di2pose_lib.diffusion.training import ELBO_POSES, make_denoiser, make_schedule
from di2pose_lib.encoder.image_encoder import HeatmapHead, ImageEncoder
from di2pose_lib.evaluation.pictures import SPLITS as OCCLUSIONS
from di2pose_lib.evaluation.step_curve import COUNTS, IMAGES, SAMPLES, SPLITS, WAYS
from di2pose_lib.tokens.designs import DesignedTokenizer
from di2pose_lib.tokens.pct import PCTLoss, pct_loss
from di2pose_lib.tokens.tokenizer import PoseTokenizer
from studies import ablations

PROBES = 3  # steps that are timed, after one that is not
SECONDS_PER_IMAGE = 2e-3  # rendered and encoded once; benchmarks/renderer.py measures the first


def _seconds(step):
    step()
    started = time.perf_counter()
    for _ in range(PROBES):
        step()
    return (time.perf_counter() - started) / PROBES


def _encoder_step(config):
    encoder = ImageEncoder(config.encoder, config.data.image_size)
    head = HeatmapHead(encoder.width, encoder.grid)
    batch = (config.encoder.optimizer.batch_size, 3, *config.data.image_size)
    images = torch.zeros(batch, dtype=torch.uint8)
    return _seconds(lambda: head(encoder(images)).square().mean().backward())


def _tokenizer_step(config):
    tokenizer = PoseTokenizer(config.tokenizer.sizes)
    pose = torch.zeros(config.tokenizer.optimizer.batch_size, config.tokenizer.sizes.num_joints, 3)
    return _seconds(lambda: tokenizer(pose).abs().mean().backward())


def _design_step(config, design):
    tokenizer = DesignedTokenizer(design).train()
    pose = torch.zeros(config.tokenizer.optimizer.batch_size, design.num_joints, 3)
    generator = torch.Generator()
    return _seconds(lambda: pct_loss(tokenizer, pose, PCTLoss(), generator)[0].backward())


def _denoiser(config):
    """(a denoiser, clean and noisy tokens, step, features) of one training batch."""
    batch, sizes = config.diffusion.optimizer.batch_size, config.tokenizer.sizes
    patch = config.encoder.patch_size
    patches = config.data.image_height // patch * (config.data.image_width // patch)
    schedule = make_schedule(config)
    k_start = torch.zeros(batch, sizes.num_tokens, dtype=torch.int64)
    step = torch.full((batch,), schedule.num_steps)
    features = torch.zeros(batch, patches, config.encoder.width)
    denoiser = make_denoiser(config, (patches, config.encoder.width))
    return schedule, denoiser, k_start, step, features


def _denoiser_step(config):
    schedule, denoiser, k_start, step, features = _denoiser(config)

    def train():
        logits = denoiser(k_start, step, features)
        diffusion_loss(schedule, logits, k_start, k_start, step // 2).loss.backward()

    return _seconds(train)


def _pose_seconds(config):
    """One call of the denoiser for one pose."""
    _, denoiser, k_start, step, features = _denoiser(config)
    with torch.no_grad():
        return _seconds(lambda: denoiser(k_start, step, features).softmax(dim=-1)) / len(k_start)


def predicted_seconds(runs):
    """For `Run`s that share what they can, with what is in the store already."""
    seconds, known, measured = 0.0, {}, set()

    def timed(name, probe, config):
        key = (name, config.tokenizer.sizes, config.diffusion.num_steps)
        if key not in known:
            known[key] = probe(config)
        return known[key]

    def needed(run, stage):
        """Whether nobody has made it, here or in a run before; asked once for each run."""
        shared = run.stored(stage)
        new = shared not in measured and not is_there(shared, folder=True)
        measured.add(shared)
        return new

    for run in runs:
        config, images = run.config, run.config.data.num_train_images
        if run.design is not None:
            steps = num_training_steps(images, config.tokenizer.optimizer)
            seconds += steps * _design_step(config, run.design)
        own = run.design is None
        trainings = [("pose_tokenizer", _tokenizer_step, config.tokenizer)] if own else []
        if run.kind != ablations.TOKENIZER:
            trainings.append(("image_encoder", _encoder_step, config.encoder))
            trainings.append(("diffusion_training", _denoiser_step, config.diffusion))
            if run.kind == ablations.STEPS:
                calls = len(SPLITS) * IMAGES * SAMPLES * len(WAYS) * sum(COUNTS)
                seconds += calls * timed("pose", _pose_seconds, config)
        if run.kind == ablations.DENOISER:
            tested = len(OCCLUSIONS) * config.data.test_sequences
            calls = tested * config.data.test_frames_per_sequence
            calls *= config.evaluation.num_hypotheses * config.evaluation.num_inference_steps
            seconds += calls * timed("pose", _pose_seconds, config)
        for stage, probe, section in trainings:
            if needed(run, stage):
                steps = num_training_steps(images, section.optimizer)
                seconds += steps * timed(stage, probe, config)
                if stage == "diffusion_training":  # the full bound on validation
                    calls = ELBO_POSES * config.diffusion.num_steps
                    seconds += calls * timed("pose", _pose_seconds, config)
        if needed(run, "data_preparation"):
            seconds += images * SECONDS_PER_IMAGE
    return seconds
