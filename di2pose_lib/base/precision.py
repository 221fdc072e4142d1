"""The arithmetic of a network: its weights stay float32, its products may be bfloat16's."""

import functools

import torch


def compute_in(precision, network, *methods):
    """Have a network's methods compute as `precision` says from now on.

    Args:
        precision: "bfloat16": under autocast, and on a GPU what autocast leaves in float32 is
            multiplied as TF32 in this process. Anything else: the network stays as it is.
        network: a module, changed in place; its state_dict stays.
        methods: their names.

    Returns:
        `network`.
    """
    if precision != "bfloat16":
        return network
    for name in methods:
        setattr(network, name, _in_bfloat16(network, getattr(network, name)))
    if next(network.parameters()).device.type == "cuda":
        # torch.compile, of torch 2.9 to 2.15 at least, fails after the newer `fp32_precision`.
        torch.backends.cuda.matmul.allow_tf32 = True
    return network


def _in_bfloat16(network, method):
    @functools.wraps(method)
    def run(*arguments, **named):
        with torch.autocast(next(network.parameters()).device.type, torch.bfloat16):
            return method(*arguments, **named)

    return run
