"""Modules whose numbers stay float32, whatever the network around them is cast to."""

from torch import nn


class Float32Buffers(nn.Module):
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
