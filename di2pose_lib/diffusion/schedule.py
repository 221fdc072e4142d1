"""How fast the occlude-and-replace chain occludes and replaces: its rates and matrices.

Between any two steps u < s the chain is again occlude-and-replace, so three numbers tell
all there is to know: a code stays with α + β, becomes any other given code with β and
becomes Occ with γ; Occ stays Occ. Rates are float64. The matrices that they stand for,
`M[i, j] = q(k_s = i | k_{s−1} = j)`, are for reading and testing; nothing else makes them.
"""

import copy
from typing import NamedTuple

import torch

from di2pose_lib.base.checks import as_integer, check_number, check_range, check_tensor, require
from di2pose_lib.base.devices import moved


class Rates(NamedTuple):
    """Keep, replace (per code) and occlude rates between two steps; α + C β + γ = 1."""

    alpha: torch.Tensor
    beta: torch.Tensor
    gamma: torch.Tensor


def rates_between(earlier, later):
    """Rates from step u to step s > u, of the cumulative ones at u and at s; exact."""
    seen_u, seen_s = 1 - earlier.gamma, 1 - later.gamma
    # u < S, so no divisor vanishes. β is (1 − α − γ) / C brought to one denominator: never
    # negative, and exactly 0 without replacement.
    beta = (later.beta * seen_u - earlier.beta * seen_s) / (seen_u * earlier.alpha)
    gamma = (later.gamma - earlier.gamma) / seen_u
    return Rates(later.alpha / earlier.alpha, beta, gamma)


class OccludeReplaceSchedule:
    """Rates of the forward chain, linear in s on the cumulative quantities.

    ᾱ_s falls from 1 to 0, γ̄_s rises from 0 to `final_occlude_rate` and C β̄_s from 0 to
    `final_replace_rate`. The end points are exact: the small offsets that VQ-Diffusion
    adds to keep logarithms finite also switch its replacements off, and are not needed.

    Args:
        num_codes: C ≥ 1. With C = 1 a replacement changes nothing.
        num_steps: S ≥ 1.
        final_occlude_rate: γ̄_S, the share of Occ at step S; 1 is occlude only.
        final_replace_rate: C β̄_S, the share of random codes at step S; 1 is replace only.

    Attributes:
        alpha, beta, gamma: rates of one step, float64 (S + 1,), index = step;
            index 0 is the identity (1, 0, 0).
        alpha_bar, beta_bar, gamma_bar: rates from step 0, float64 (S + 1,).

    Raises:
        ValueError: a size is not an integer ≥ 1, a rate is not a number in [0, 1],
            or the two final rates do not sum to 1.
    """

    def __init__(self, num_codes, num_steps, final_occlude_rate=0.9, final_replace_rate=0.1):
        self.num_codes = as_integer("num_codes", num_codes, least=1)
        self.num_steps = as_integer("num_steps", num_steps, least=1)
        rates = {"final_occlude_rate": final_occlude_rate, "final_replace_rate": final_replace_rate}
        for name, rate in rates.items():
            check_number(name, rate, "in [0, 1]", lambda x: 0 <= x <= 1)
        occlude, replace = map(float, rates.values())
        total = occlude + replace
        require(
            abs(total - 1) <= 1e-9,
            f"`final_occlude_rate` and `final_replace_rate` must sum to 1; got {total}",
        )
        self.final_occlude_rate, self.final_replace_rate = occlude / total, replace / total

        step = torch.arange(self.num_steps + 1)
        self.alpha_bar = (self.num_steps - step).double() / self.num_steps
        self.beta_bar = self.final_replace_rate * (step.double() / self.num_steps) / self.num_codes
        self.gamma_bar = self.final_occlude_rate * (step.double() / self.num_steps)
        one_step = self.stride_rates(step[:-1], step[1:])
        identity = (1.0, 0.0, 0.0)
        self.alpha, self.beta, self.gamma = (
            torch.cat([rate.new_tensor([first]), rate])
            for first, rate in zip(identity, one_step, strict=True)
        )

    def __repr__(self):
        return (
            f"OccludeReplaceSchedule(num_codes={self.num_codes}, num_steps={self.num_steps}, "
            f"final_occlude_rate={self.final_occlude_rate}, "
            f"final_replace_rate={self.final_replace_rate})"
        )

    def to(self, device):
        """The same schedule with its rates on `device`; saves a copy at each call there."""
        moved = copy.copy(self)
        for name in ("alpha", "beta", "gamma", "alpha_bar", "beta_bar", "gamma_bar"):
            setattr(moved, name, getattr(self, name).to(device))
        return moved

    def cumulative_rates(self, step):
        """Rates from step 0 to int64 steps in [0, S], of the steps' shape and device."""
        return Rates(
            self._at("alpha_bar", step), self._at("beta_bar", step), self._at("gamma_bar", step)
        )

    def stride_rates(self, prev_step, step):
        """Rates from step u = `prev_step` to step s = `step`, exact for any stride.

        Args:
            prev_step, step: int64, of one shape, 0 ≤ u < s ≤ S; `check_strides` makes them.

        Returns:
            Rates, float64, of the steps' shape and device.
        """
        return rates_between(self.cumulative_rates(prev_step), self.cumulative_rates(step))

    def check_steps(self, step, batch, device, name="step", low=1):
        """An int, or int64 (B,), in [low, S] as an int64 (B,) tensor on `device`.

        Raises:
            ValueError: another shape or dtype, or a step out of range.
        """
        if not isinstance(step, torch.Tensor):
            step = as_integer(name, step)
            wanted = f"[{low}, {self.num_steps}]"
            require(low <= step <= self.num_steps, f"`{name}` must lie in {wanted}; got {step}")
            return torch.full((batch,), step, device=device)
        check_tensor(name, step, (batch,), "int64")
        check_range(name, step, low, self.num_steps)
        return moved(step, device)

    def check_strides(self, step, prev_step, batch, device):
        """(`prev_step`, `step`) as int64 (B,) tensors on `device`; prev_step None is step − 1.

        Raises:
            ValueError: another shape or dtype, a step outside [1, S], or a prev_step
                outside [0, step).
        """
        step = self.check_steps(step, batch, device)
        if prev_step is None:
            return step - 1, step
        prev_step = self.check_steps(prev_step, batch, device, "prev_step", low=0)
        late = (prev_step >= step).nonzero()
        if len(late):
            first = late[0, 0]
            raise ValueError(
                f"`prev_step` must lie in [0, step); got {prev_step[first].item()} "
                f"at step {step[first].item()}"
            )
        return prev_step, step

    def _at(self, name, step):
        return moved(getattr(self, name), step.device)[step]


def transition_matrix(schedule, step, prev_step=None):
    """M_s of Eq. 6, or with `prev_step` the matrix from step u to step s. For small C.

    Args:
        schedule: OccludeReplaceSchedule.
        step: int s in [1, S].
        prev_step: int u in [0, step); None means step − 1.

    Returns:
        float64 (C + 1, C + 1), columns summing to 1; row and column C are Occ.

    Raises:
        ValueError: a step out of range or not an integer.
    """
    step = as_integer("step", step)
    prev_step = None if prev_step is None else as_integer("prev_step", prev_step)
    strides = schedule.check_strides(step, prev_step, 1, schedule.alpha.device)
    return _matrix(schedule.num_codes, schedule.stride_rates(*strides))


def cumulative_transition_matrix(schedule, step):
    """M̄_s of Eq. 7 in closed form: the matrix from step 0 to step s. For small C.

    Args:
        schedule: OccludeReplaceSchedule.
        step: int s in [0, S]; at 0 it is the identity.

    Returns:
        float64 (C + 1, C + 1), columns summing to 1.

    Raises:
        ValueError: a step out of range or not an integer.
    """
    step = schedule.check_steps(as_integer("step", step), 1, schedule.alpha.device, low=0)
    return _matrix(schedule.num_codes, schedule.cumulative_rates(step))


def _matrix(num_codes, rates):
    """Occlude-and-replace matrix (C + 1, C + 1) of rates (1,)."""
    size = num_codes + 1
    matrix = torch.zeros(size, size, dtype=torch.float64, device=rates.alpha.device)
    matrix[:num_codes, :num_codes] = rates.beta
    matrix.diagonal()[:num_codes] += rates.alpha
    matrix[num_codes, :num_codes] = rates.gamma
    matrix[num_codes, num_codes] = 1  # Occ absorbs
    return matrix
