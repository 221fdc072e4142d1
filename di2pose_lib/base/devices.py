"""Where networks run, and in which arithmetic: weights stay float32, products may be bfloat16's."""

import functools

import torch


def default_device():
    """The GPU where there is one, else the CPU."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def moved(tensor, device):
    """`tensor` on `device`.

    To a GPU the copy is only begun: what is not in pinned memory has been read when this
    returns. A copy from a GPU is waited for, or it might be read before it has come.
    """
    return tensor.to(device, non_blocking=tensor.device.type == "cpu")


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


class Float32Buffers(torch.nn.Module):
    """Its own buffers move with the module from device to device, but keep their dtype.

    `.half()`, `.bfloat16()` and `.to(dtype)` of a network that holds it leave them alone: a
    quantizer with rounded levels gives other codes.
    """

    def _apply(self, fn, recurse=True):
        before = dict(self._buffers)
        super()._apply(fn, recurse)
        for name, buffer in before.items():
            if self._buffers[name].dtype != buffer.dtype:
                self._buffers[name] = buffer.to(self._buffers[name].device)
        return self
