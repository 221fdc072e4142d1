"""Random draws for a batch: from one generator, or from one for each row.

With a generator for each row, what a row draws depends on its own generator alone: not on
the other rows, nor on how rows are split into batches.
"""

import torch

from di2pose_lib.base.checks import require
from di2pose_lib.base.devices import moved


def check_generator(generator, num_rows):
    """Refuse all but a torch.Generator, or a sequence of one for each of `num_rows` rows."""
    if isinstance(generator, torch.Generator):
        return
    rows = isinstance(generator, (list, tuple)) and all(
        isinstance(one, torch.Generator) for one in generator
    )
    got = type(generator).__name__
    wanted = "a torch.Generator, or a list of one for each row"
    require(rows, f"`generator` must be {wanted}; got {got}")
    require(
        len(generator) == num_rows,
        f"`generator` must hold one generator for each of {num_rows} rows; got {len(generator)}",
    )


def uniform(shape, generator, dtype, device):
    """Draws in [0, 1) of `shape`, rows first, made where the generators are."""
    check_generator(generator, shape[0])
    if isinstance(generator, torch.Generator):
        at = {"generator": generator, "device": generator.device}
        return moved(torch.rand(shape, dtype=dtype, **at), device)
    rows = [
        torch.rand(shape[1:], dtype=dtype, generator=one, device=one.device) for one in generator
    ]
    return moved(torch.stack(rows), device)


def codes(num_codes, shape, generator, device):
    """Uniform int64 draws in [0, num_codes) of `shape`, rows first."""
    check_generator(generator, shape[0])
    if isinstance(generator, torch.Generator):
        at = {"generator": generator, "device": generator.device}
        return moved(torch.randint(num_codes, shape, **at), device)
    rows = [
        torch.randint(num_codes, shape[1:], generator=one, device=one.device) for one in generator
    ]
    return moved(torch.stack(rows), device)
