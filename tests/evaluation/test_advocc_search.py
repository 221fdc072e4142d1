"""Full grid and coarse-to-fine on error maps whose maximum is planted."""

import pytest
import torch

from di2pose_lib.evaluation import advocc_search
from di2pose_lib.evaluation.advocc_search import (
    BEST,
    COARSE_STEP,
    COARSE_TO_FINE,
    FULL,
    agreement,
    coarse_positions,
    coarse_to_fine,
    full_search,
    most_positions,
)
from di2pose_lib.evaluation.patch_grid import patch_grid

GRID = patch_grid(40, (64, 48))  # 28 × 20


def hill(row, column, height=100.0, width=30.0):
    """A smooth map float64 (positions,) with its peak there."""
    rows = torch.arange(GRID.rows, dtype=torch.float64)[:, None]
    columns = torch.arange(GRID.columns, dtype=torch.float64)
    return (height * torch.exp(-((rows - row) ** 2 + (columns - column) ** 2) / width)).flatten()


class Errors:
    """A map as a callable; notes what was asked for."""

    def __init__(self, *maps):
        self.table, self.asked = torch.stack(maps, dim=1), []

    def __call__(self, positions):
        self.asked += positions
        return self.table[positions]


def test_the_coarse_sub_grid_has_every_third_row_and_column_and_the_last_ones():
    positions = coarse_positions(GRID)
    assert positions == sorted(positions)
    rows = {p // GRID.columns for p in positions}
    columns = {p % GRID.columns for p in positions}
    assert rows == {*range(0, 28, COARSE_STEP), 27}
    assert columns == {*range(0, 20, COARSE_STEP), 19}
    assert len(positions) == len(rows) * len(columns)


def test_the_full_search_asks_for_every_position_once():
    errors = Errors(hill(3, 4), hill(20, 11))
    assert torch.equal(full_search(errors, GRID), errors.table)
    assert errors.asked == list(range(GRID.num_positions))


@pytest.mark.parametrize("peak", [(0, 0), (1, 1), (13, 7), (14, 8), (26, 18), (27, 19), (5, 0)])
def test_coarse_to_fine_finds_a_planted_peak_of_each_metric(peak):
    other = (27 - peak[0], 19 - peak[1])
    errors = Errors(hill(*peak), hill(*other))
    table = coarse_to_fine(errors, GRID)
    found = [divmod(p, GRID.columns) for p in table.argmax(dim=0).tolist()]
    assert found == [peak, other]
    assert len(errors.asked) == len(set(errors.asked)) < GRID.num_positions
    looked = table[:, 0] > -torch.inf
    assert sorted(errors.asked) == looked.nonzero().flatten().tolist()
    assert torch.equal(table[looked], errors.table[looked])


def test_around_the_worst_positions_everything_is_looked_at():
    peak = 13 * GRID.columns + 7
    table = coarse_to_fine(Errors(hill(12, 6)), GRID)
    assert 12 * GRID.columns + 6 in coarse_positions(GRID)
    for row in range(10, 15):
        for column in range(4, 9):
            assert table[row * GRID.columns + column] > -torch.inf
    assert table[peak] > -torch.inf


def test_the_number_of_positions_never_exceeds_what_the_cost_counts():
    draw = torch.Generator().manual_seed(0)
    for trial in range(20):
        maps = torch.rand(2, GRID.num_positions, generator=draw, dtype=torch.float64)
        errors = Errors(*maps)
        coarse_to_fine(errors, GRID)
        assert len(errors.asked) <= most_positions(COARSE_TO_FINE, GRID, 2), trial
    assert most_positions(FULL, GRID, 2) == 560
    assert most_positions(COARSE_TO_FINE, GRID, 1) == 10 * 8 + BEST * 24
    assert most_positions(COARSE_TO_FINE, GRID, 9) == 560  # never more than there are


def test_a_small_grid_and_positions_without_a_joint_are_no_trouble():
    small = patch_grid(80, (16, 12))
    assert small.num_positions < 120
    table = torch.full((small.num_positions, 2), -torch.inf, dtype=torch.float64)
    table[3] = 5.0
    found = coarse_to_fine(table.__getitem__, small)
    assert found.argmax(dim=0).tolist() == [3, 3]


def test_agreement_counts_what_the_coarse_search_misses():
    smooth, needle = hill(13, 7), hill(13, 7)
    far = 1 * GRID.columns + 1  # off the coarse sub-grid, and far from the hill
    assert far not in coarse_positions(GRID)
    needle[far] = 140.0
    tables = torch.stack([smooth, needle, hill(6, 6), needle]).unsqueeze(2)
    (found,) = agreement(tables, GRID)
    assert found.same_position == 0.5
    assert found.lost_mm == pytest.approx((40 + 40) / 4)  # the hill's 100 in place of 140
    assert found.largest_lost_mm == pytest.approx(40)
    assert found.num_images == 4
    asked = Errors(smooth)
    coarse_to_fine(asked, GRID)
    assert 0 < found.looked_at < 1
    assert agreement(tables[:1], GRID)[0].looked_at == len(asked.asked) / GRID.num_positions


def test_a_coarse_search_that_looks_everywhere_agrees(monkeypatch):
    monkeypatch.setattr(advocc_search, "COARSE_STEP", 1)
    draw = torch.Generator().manual_seed(1)
    tables = torch.rand(3, GRID.num_positions, 2, generator=draw, dtype=torch.float64)
    for found in agreement(tables, GRID):
        assert (found.same_position, found.lost_mm, found.looked_at) == (1.0, 0.0, 1.0)


def test_tables_without_a_finite_error_are_refused():
    tables = torch.full((1, GRID.num_positions, 1), -torch.inf, dtype=torch.float64)
    with pytest.raises(ValueError, match="`tables` must hold a finite error of every image"):
        agreement(tables, GRID)
