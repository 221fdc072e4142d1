"""Which position of a patch is the worst: the full grid, or from coarse to fine.

A search asks a callable for the errors of positions, float64 (n, M) for M metrics, and returns
a table float64 (positions, M) with −∞ where it has not looked. Each metric has its own worst
position, its row's arg-max. The coarse search may miss it; `agreement` says how often and by
how much, from tables of full grids alone: no prediction is made anew.
"""

from typing import NamedTuple

import torch

from di2pose_lib.base.checks import check_tensor, require

FULL, COARSE_TO_FINE = "full grid", "coarse to fine"

COARSE_STEP = 3  # every third row and column first, and the last ones
BEST = 6  # positions of each metric around which the grid is then searched


class Agreement(NamedTuple):
    """The coarse search against the full grid, for one metric."""

    same_position: float
    """Share of images with the same worst position."""
    lost_mm: float
    """Mean of the full grid's worst error minus the one found, mm, ≥ 0."""
    largest_lost_mm: float
    looked_at: float
    """Mean share of the grid's positions that the coarse search asks for."""
    num_images: int


def full_search(errors_of, grid):
    """The table of all positions of a `PatchGrid`."""
    return errors_of(list(range(grid.num_positions)))


def coarse_positions(grid):
    """Positions of the coarse sub-grid, ascending."""
    rows, columns = (
        sorted({*range(0, count, COARSE_STEP), count - 1}) for count in (grid.rows, grid.columns)
    )
    return [row * grid.columns + column for row in rows for column in columns]


def coarse_to_fine(errors_of, grid):
    """The table of the coarse sub-grid and of what lies around its worst few positions.

    Around each metric's `BEST` worst positions all are looked at that are nearer than
    `COARSE_STEP` rows and columns: what the coarse grid left out there.
    """
    coarse = coarse_positions(grid)
    errors = errors_of(coarse)
    table = torch.full((grid.num_positions, errors.shape[1]), -torch.inf, dtype=torch.float64)
    table[coarse] = errors
    worst = errors.topk(min(BEST, len(coarse)), dim=0).indices.flatten().tolist()
    near = {p for index in worst for p in _around(coarse[index], grid)}
    fine = sorted(near - set(coarse))
    if fine:
        table[fine] = errors_of(fine)
    return table


def _around(position, grid):
    """Positions nearer than `COARSE_STEP` rows and columns."""
    row, column = divmod(position, grid.columns)
    reach = COARSE_STEP - 1
    for r in range(max(0, row - reach), min(grid.rows, row + reach + 1)):
        for c in range(max(0, column - reach), min(grid.columns, column + reach + 1)):
            yield r * grid.columns + c


def most_positions(search, grid, num_metrics):
    """An upper bound on the positions that a search asks for."""
    if search == FULL:
        return grid.num_positions
    around = BEST * num_metrics * ((2 * COARSE_STEP - 1) ** 2 - 1)
    return min(grid.num_positions, len(coarse_positions(grid)) + around)


SEARCHES = {FULL: full_search, COARSE_TO_FINE: coarse_to_fine}


def agreement(tables, grid):
    """How the coarse search would have done on images whose full table is known.

    Args:
        tables: float64 (n, positions, M), mm, of full searches; −∞ where no joint is left.
        grid: their `PatchGrid`.

    Returns:
        a list of M `Agreement`s.
    """
    sizes = check_tensor("tables", tables, ("n", grid.num_positions, "M"))
    require(
        bool((tables.amax(dim=1) > -torch.inf).all()),
        "`tables` must hold a finite error of every image and metric",
    )
    coarse = torch.stack([coarse_to_fine(table.__getitem__, grid) for table in tables])
    looked = (coarse > -torch.inf).any(dim=2).double().mean().item()
    lost = tables.amax(dim=1) - coarse.amax(dim=1)  # (n, M)
    same = (tables.argmax(dim=1) == coarse.argmax(dim=1)).double().mean(dim=0)
    return [
        Agreement(
            same[m].item(), lost[:, m].mean().item(), lost[:, m].max().item(), looked, sizes["n"]
        )
        for m in range(sizes["M"])
    ]
