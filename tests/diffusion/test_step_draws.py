"""Steps for training: even, or by importance, with weights that keep the mean."""

import pytest
import torch

from di2pose_lib.diffusion.training import DECAY, DRAWS_BEFORE, StepDraws


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def warmed(num_steps=4, losses=(1.0, 2.0, 3.0, 4.0)):
    """Importance draws that have seen every step often enough, each with its own loss."""
    draws = StepDraws(num_steps, "importance")
    steps = torch.arange(1, num_steps + 1).repeat(200)
    draws.update(steps, torch.tensor(losses, dtype=torch.float64).repeat(200))
    return draws


def test_even_draws_are_those_of_randint_and_weigh_one():
    step, weight = StepDraws(100, "uniform").draw(64, seeded())
    assert torch.equal(step, torch.randint(1, 101, (64,), generator=seeded()))
    assert (weight == 1).all()


def test_importance_begins_evenly_until_every_step_has_come_often():
    draws = StepDraws(3, "importance")
    steps = torch.tensor([1, 2, 3]).repeat(DRAWS_BEFORE)
    draws.update(steps, torch.full((len(steps),), 5.0))
    draws.update(torch.tensor([1, 2]), torch.tensor([1.0, 9.0]))
    assert draws.probs().tolist() == [1 / 3] * 3  # step 3 came ten times only
    draws.update(torch.tensor([3]), torch.tensor([5.0]))
    first, second, third = draws.probs().tolist()
    assert first == second > third


def test_a_chain_of_one_step_draws_that_one():
    draws = StepDraws(1, "importance")
    draws.update(torch.ones(20, dtype=torch.int64), torch.ones(20))
    assert draws.draw(3, seeded())[0].tolist() == [1, 1, 1]


def test_then_a_step_is_drawn_in_proportion_to_the_size_of_its_loss():
    sizes = (
        torch.tensor([2.0, 2.0, 3.0, 4.0], dtype=torch.float64) + 1e-4
    )  # the first as the second
    torch.testing.assert_close(warmed().probs(), sizes / sizes.sum(), atol=1e-6, rtol=0)


def test_averages_move_pose_by_pose_by_hand():
    draws = StepDraws(2, "importance")
    draws.update(torch.tensor([2, 1, 2]), torch.tensor([3.0, 1.0, 2.0]))
    first = (1 - DECAY) * 9
    expected = [(1 - DECAY) * 1, DECAY * first + (1 - DECAY) * 4]
    assert draws.state["squares"].tolist() == pytest.approx(expected)
    assert draws.state["draws"].tolist() == [1, 2]


def test_weights_keep_the_mean_over_even_steps():
    draws = warmed()
    step, weight = draws.draw(200_000, seeded(1))
    values = torch.tensor([5.0, -1.0, 2.0, 10.0], dtype=torch.float64)
    assert abs((weight * values[step - 1]).mean() - values.mean()) < 0.03
    assert abs(weight.mean() - 1) < 0.01
    shares = torch.bincount(step - 1, minlength=4) / len(step)
    torch.testing.assert_close(shares.double(), draws.probs(), atol=5e-3, rtol=0)


def test_draws_depend_on_the_state_and_the_generator_alone():
    one, other = warmed(), StepDraws(4, "importance")
    for name, value in one.state.items():
        other.state[name].copy_(value)
    assert torch.equal(one.draw(50, seeded(2))[0], other.draw(50, seeded(2))[0])
