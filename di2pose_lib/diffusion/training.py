"""Stage 05: train the denoiser on tokens and frozen image features (Alg. 1)."""

import torch

from di2pose_lib.base.devices import compute_in, moved
from di2pose_lib.base.progress import note
from di2pose_lib.base.seeding import generator_for
from di2pose_lib.base.training import fit
from di2pose_lib.diffusion.denoiser import Denoiser, DenoiserConfig
from di2pose_lib.diffusion.losses import diffusion_loss, elbo
from di2pose_lib.diffusion.schedule import OccludeReplaceSchedule
from di2pose_lib.diffusion.transitions import q_sample

ELBO_POSES = 96  # validation poses for the full bound: S denoiser calls each
DRAWS_BEFORE = 10  # of each step, before importance counts
DECAY = 0.9  # of the moving averages


def make_schedule(config):
    """The occlude-and-replace chain of a `Config`."""
    settings = config.diffusion
    return OccludeReplaceSchedule(
        config.tokenizer.sizes.num_codes,
        settings.num_steps,
        settings.final_occlude_rate,
        settings.final_replace_rate,
    )


def make_denoiser(config, condition_shape, code_table=None):
    """An untrained `Denoiser` of a `Config`'s sizes.

    Args:
        config: a `Config`.
        condition_shape: (tokens, width) of the image features.
        code_table: as for `Denoiser`; unused where `diffusion.start_from_codes` is false.
    """
    condition_tokens, condition_width = condition_shape
    settings, sizes = config.diffusion, config.tokenizer.sizes
    return Denoiser(
        DenoiserConfig(
            num_codes=sizes.num_codes,
            num_tokens=sizes.num_tokens,
            num_steps=settings.num_steps,
            condition_tokens=condition_tokens,
            condition_width=condition_width,
            width=settings.width,
            layers=settings.layers,
            heads=settings.heads,
        ),
        code_table if settings.start_from_codes else None,
    )


def compile_blocks(denoiser, **options):
    """Have a `Denoiser`'s blocks compiled at their first call; weights and names stay.

    Block by block: they are alike, so that the compiler works once, and the checks of the
    arguments, which look at values, stay outside. Where the compiler fails, as it does without
    a C compiler, a line on stderr says so and all blocks run as they are.

    Args:
        denoiser: a `Denoiser`, changed in place.
        options: of `torch.compile`.
    """
    failures = []
    for block in denoiser.blocks:
        block.forward = _compiled(block.forward, failures, options)


def _compiled(forward, failures, options):
    compiled = torch.compile(forward, **options)

    def run(*arguments):
        if not failures:
            try:
                return compiled(*arguments)
            except torch._dynamo.exc.TorchDynamoException as error:
                failures.append(error)
                cause = getattr(error, "inner_exception", error)
                reason = f"{type(cause).__name__}: {cause}".splitlines()[0]
                note(f"torch.compile failed, the denoiser's blocks run as they are: {reason}")
        return forward(*arguments)

    return run


class StepDraws:
    """Draws steps in [1, S], with the weights that leave the loss's mean what it is.

    The paper draws evenly (Alg. 1). "importance" is VQ-Diffusion's way: once every step has
    come more than `DRAWS_BEFORE` times, step s is drawn in proportion to √(H_s + 1e-10) +
    1e-4, H_s being a moving average of the squared loss of the poses drawn at s. Step 1, whose
    loss is of another kind, is drawn as step 2 is.

    Args:
        num_steps: S ≥ 1.
        way: one of `config.STEP_DRAWS`.

    Attributes:
        state: {name: tensor} for a training's checkpoint; changed in place.
    """

    def __init__(self, num_steps, way):
        self.num_steps, self.way = num_steps, way
        self.state = {
            "squares": torch.zeros(num_steps, dtype=torch.float64),
            "draws": torch.zeros(num_steps, dtype=torch.int64),
        }

    def probs(self):
        """Probability of each step 1 … S, float64 (S,)."""
        even = self.way == "uniform" or bool((self.state["draws"] <= DRAWS_BEFORE).any())
        size = torch.ones_like(self.state["squares"])
        if not even:
            size = (self.state["squares"] + 1e-10).sqrt() + 1e-4
            size[:1] = size[1:2].clone() if self.num_steps > 1 else size
        return size / size.sum()

    def draw(self, batch_size, generator):
        """Steps int64 (B,), and weights float64 (B,): 1 / (S · the step's probability)."""
        if self.way == "uniform":
            step = torch.randint(1, self.num_steps + 1, (batch_size,), generator=generator)
            return step, torch.ones(batch_size, dtype=torch.float64)
        probs = self.probs()
        index = torch.multinomial(probs, batch_size, replacement=True, generator=generator)
        return index + 1, 1 / (self.num_steps * probs[index])

    def update(self, step, loss):
        """Note the losses float (B,) of poses drawn at steps int64 (B,), one after the other."""
        squares, draws = self.state["squares"], self.state["draws"]
        for s, value in zip((step - 1).tolist(), loss.double().tolist(), strict=True):
            # VQ-Diffusion scatters a whole batch, of which one pose a step survives
            squares[s] = DECAY * squares[s] + (1 - DECAY) * value**2
            draws[s] += 1


def train_denoiser(
    denoiser, schedule, tokens, features, validation, settings, seed, checkpoint_folder
):
    """Train a `Denoiser` in place.

    Args:
        denoiser: on the device to train on; from then on it computes in the settings' precision.
        schedule: its chain.
        tokens: clean tokens of the training poses, int64 (n, N).
        features: `rows -> features` of the training images.
        validation: (tokens int64 (m, N), `rows -> features`) of other subjects.
        settings: a `DiffusionConfig`.
        seed, checkpoint_folder: as in `training.fit`.

    Returns:
        (history, report): losses on training batches; on validation, `vlb` and `aux` in
        nats per token with one step drawn for each pose, and the full bound in bits per
        pose on at most ELBO_POSES of them.
    """
    where = next(denoiser.parameters()).device
    if where.type == "cuda":  # on a CPU compiling costs more than it saves here
        compile_blocks(denoiser)
    compute_in(settings.precision, denoiser, "forward", "condition_memory")
    step_draws = StepDraws(schedule.num_steps, settings.step_draws)

    def losses(k_start, condition, step, weight, generator):
        k_s = q_sample(schedule, k_start, step, generator)
        logits = denoiser(*(moved(part, where) for part in (k_s, step, condition)))
        aux_weight = settings.aux_weight
        if settings.aux_by_step == "falling":  # VQ-Diffusion's factor
            aux_weight = aux_weight * (2 - step.double() / schedule.num_steps)
        return diffusion_loss(schedule, logits, k_start, k_s, step, aux_weight, weight)

    def loss_function(rows, generator):
        step, weight = step_draws.draw(len(rows), generator)
        result = losses(tokens[rows], features(rows), step, weight, generator)
        if settings.step_draws == "importance":
            step_draws.update(step, result.vlb_per_sample.cpu())
        return result.loss, {"vlb": result.vlb, "aux": result.aux}

    def validation_losses(k_start, condition, generator):
        step = torch.randint(1, schedule.num_steps + 1, (len(k_start),), generator=generator)
        return losses(k_start, condition, step, None, generator)

    history = fit(
        "denoiser",
        denoiser,
        loss_function,
        len(tokens),
        settings.optimizer,
        seed,
        checkpoint_folder,
        state=step_draws.state,
    )
    return history, _validate(denoiser, schedule, validation_losses, validation, settings, seed)


@torch.no_grad()
def _validate(denoiser, schedule, losses, validation, settings, seed):
    tokens, features = validation
    where = next(denoiser.parameters()).device
    generator = generator_for(seed, "denoiser", "validation")
    vlb = aux = 0.0
    for rows in torch.arange(len(tokens)).split(settings.optimizer.batch_size):
        result = losses(tokens[rows], features(rows), generator)
        vlb += result.vlb.item() * len(rows)
        aux += result.aux.item() * len(rows)
    bits = []
    some = torch.linspace(0, len(tokens) - 1, min(ELBO_POSES, len(tokens))).round().long()
    for rows in some.split(settings.optimizer.batch_size):
        memory = denoiser.condition_memory(features(rows).to(where))
        bits.append(elbo(denoiser, schedule, memory, tokens[rows].to(where), generator).bits)
    return {
        "validation_vlb_nats": vlb / len(tokens),
        "validation_aux_nats": aux / len(tokens),
        "validation_elbo_bits_per_pose": torch.cat(bits).mean().item(),
    }
