"""Draws from one generator, and from one for each row."""

import pytest
import torch

from di2pose_lib.diffusion import OccludeReplaceSchedule, q_sample, sample
from di2pose_lib.diffusion.transitions import uniform, uniform_codes


def generators(*seeds):
    return [torch.Generator().manual_seed(seed) for seed in seeds]


def test_rows_draw_from_their_own_generators_in_whatever_company():
    whole = uniform((3, 4), generators(5, 6, 7), torch.float64, "cpu")
    alone = uniform((1, 4), generators(6), torch.float64, "cpu")
    assert torch.equal(whole[1:2], alone)
    assert torch.equal(alone[0], torch.rand(4, dtype=torch.float64, generator=generators(6)[0]))
    whole = uniform_codes(9, (3, 4), generators(5, 6, 7), "cpu")
    assert torch.equal(whole[2], torch.randint(9, (4,), generator=generators(7)[0]))


def test_one_generator_draws_for_all():
    (one,) = generators(5)
    expected = torch.rand((3, 4), generator=generators(5)[0])
    assert torch.equal(uniform((3, 4), one, torch.float32, "cpu"), expected)
    assert uniform_codes(9, (3, 4), one, "cpu").max() < 9


def test_samples_do_not_depend_on_how_rows_are_split():
    schedule = OccludeReplaceSchedule(7, 12)
    table = torch.randn(8, 7, generator=torch.Generator().manual_seed(0))

    def denoiser(k_s, step, condition):
        return table[k_s] + condition[:, None]

    condition = torch.randn(6, 7, generator=torch.Generator().manual_seed(1))
    whole = sample(denoiser, schedule, condition, 5, 6, generators(*range(6)))
    parts = [
        sample(denoiser, schedule, condition[rows], 5, 6, generators(*rows))
        for rows in ([0, 1], [2, 3, 4], [5])
    ]
    assert torch.equal(whole, torch.cat(parts))
    assert len(set(map(tuple, whole.tolist()))) > 1


def test_what_is_no_generator_or_not_one_for_each_row_is_refused():
    schedule, k_start = OccludeReplaceSchedule(7, 12), torch.zeros(3, 4, dtype=torch.int64)
    sentence = "`generator` must be a torch.Generator, or a list of one for each row; got "
    with pytest.raises(ValueError, match=sentence + "int"):
        q_sample(schedule, k_start, 3, 7)
    with pytest.raises(ValueError, match=sentence + "list"):
        q_sample(schedule, k_start, 3, [7, 8, 9])
    sentence = "`generator` must hold one generator for each of 3 rows; got 2"
    with pytest.raises(ValueError, match=sentence):
        q_sample(schedule, k_start, 3, generators(1, 2))
