"""The steps that training poses are noised to: each as often, or hard ones more often."""

import torch

from di2pose_lib.base.checks import check_range, check_tensor, require
from di2pose_lib.base.config import STEP_DRAWS

DRAWS_BEFORE = 10  # of each step, before importance counts
DECAY = 0.9  # of the moving averages


class StepDraws:
    """Draws steps in [1, S], with the weights that leave the loss's mean what it is.

    The paper draws evenly (Alg. 1). "importance" is VQ-Diffusion's way: once every step has
    come more than `DRAWS_BEFORE` times, step s is drawn in proportion to √(H_s + 1e-10) +
    1e-4, H_s being a moving average of the squared loss of the poses drawn at s. Step 1, whose
    loss is of another kind, is drawn as step 2 is.

    Args:
        num_steps: S ≥ 1.
        way: one of config.STEP_DRAWS.

    Attributes:
        state: {name: tensor} for a training's checkpoint; changed in place.
    """

    def __init__(self, num_steps, way):
        require(num_steps >= 1, f"`num_steps` must be at least 1; got {num_steps}")
        require(way in STEP_DRAWS, f"`way` must be one of {', '.join(STEP_DRAWS)}; got {way!r}")
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
        check_tensor("step", step, ("B",), "int64")
        check_tensor("loss", loss, (len(step),), "float")
        check_range("step", step, 1, self.num_steps)
        squares, draws = self.state["squares"], self.state["draws"]
        for s, value in zip((step - 1).tolist(), loss.double().tolist(), strict=True):
            # VQ-Diffusion scatters a whole batch, of which one pose a step survives
            squares[s] = DECAY * squares[s] + (1 - DECAY) * value**2
            draws[s] += 1
