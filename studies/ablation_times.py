"""How long will the missing runs take? Time a few steps of each training, and multiply."""

import time

import torch

from di2pose_lib.base.files import is_there
from di2pose_lib.base.skeleton import NUM_JOINTS
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


def _encoder_step(run):
    config = run.config
    encoder = ImageEncoder(config.encoder, config.data.image_size)
    head = HeatmapHead(encoder.width, encoder.grid)
    batch = (config.encoder.optimizer.batch_size, 3, *config.data.image_size)
    images = torch.zeros(batch, dtype=torch.uint8)
    return lambda: head(encoder(images)).square().mean().backward()


def _tokenizer_step(run):
    config = run.config.tokenizer
    pose = torch.zeros(config.optimizer.batch_size, NUM_JOINTS, 3)
    if run.design is None:
        tokenizer = PoseTokenizer(config.sizes)
        return lambda: tokenizer(pose).abs().mean().backward()
    designed = DesignedTokenizer(run.design).train()
    return lambda: pct_loss(designed, pose, PCTLoss(), torch.Generator())[0].backward()


def _denoiser_step(run, is_training=True):
    config, schedule = run.config, make_schedule(run.config)
    batch, patch = config.diffusion.optimizer.batch_size, config.encoder.patch_size
    patches = config.data.image_height // patch * (config.data.image_width // patch)
    denoiser = make_denoiser(config, (patches, config.encoder.width))
    k_start = torch.zeros(batch, config.tokenizer.sizes.num_tokens, dtype=torch.int64)
    step = torch.full((batch,), schedule.num_steps)
    features = torch.zeros(batch, patches, config.encoder.width)

    def train():
        logits = denoiser(k_start, step, features)
        diffusion_loss(schedule, logits, k_start, k_start, step // 2).loss.backward()

    @torch.no_grad()
    def call():
        denoiser(k_start, step, features).softmax(dim=-1)

    return train if is_training else call


def _denoiser_call(run):
    return _denoiser_step(run, is_training=False)


TRAININGS = {  # stage: a step of it, and its section of the parameters
    "pose_tokenizer": (_tokenizer_step, "tokenizer"),
    "image_encoder": (_encoder_step, "encoder"),
    "diffusion_training": (_denoiser_step, "diffusion"),
}


def _seconds(step):
    step()
    started = time.perf_counter()
    for _ in range(PROBES):
        step()
    return (time.perf_counter() - started) / PROBES


def _work(run, missing):
    """(step, how often) of what a run does, `missing` among the stages that it needs."""
    config, poses = run.config, 0  # through the denoiser, once for each step
    for stage, (step, section) in TRAININGS.items():
        if stage in missing:
            optimizer = getattr(config, section).optimizer
            yield step, num_training_steps(config.data.num_train_images, optimizer)
    if "diffusion_training" in missing:  # the full bound on validation
        poses += ELBO_POSES * config.diffusion.num_steps
    if run.kind == ablations.STEPS:
        poses += len(SPLITS) * IMAGES * SAMPLES * len(WAYS) * sum(COUNTS)
    if run.kind == ablations.DENOISER:
        images = config.data.test_sequences * config.data.test_frames_per_sequence
        samples = config.evaluation.num_hypotheses + 1  # the arg-max is drawn by itself
        steps = samples * config.evaluation.num_inference_steps
        poses += len(OCCLUSIONS) * images * steps
    if poses:
        yield _denoiser_call, poses / config.diffusion.optimizer.batch_size


def predicted_seconds(runs):
    """For `Run`s that share what they can, with what is in the store already."""
    seconds, times, stored = 0.0, {}, set()
    for run in runs:
        needed = ["data_preparation", *TRAININGS]
        needed = needed[:2] if run.kind == ablations.TOKENIZER else needed
        missing = set() if run.design is None else {needed.pop()}  # a tokenizer of no other run
        for stage in needed:
            if run.stored(stage) not in stored and not is_there(run.stored(stage), folder=True):
                missing.add(stage)
            stored.add(run.stored(stage))
        key = (run.config.tokenizer.sizes, run.config.diffusion.num_steps, run.design)
        for step, count in _work(run, missing):
            if (step, key) not in times:
                times[step, key] = _seconds(step(run))
            seconds += count * times[step, key]
        if "data_preparation" in missing:
            seconds += run.config.data.num_train_images * SECONDS_PER_IMAGE
    return seconds
