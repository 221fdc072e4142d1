"""CPU tensors that call themselves "cuda:0": what a GPU would refuse, without one.

Within `FakeCuda()`, `.to("cuda")`, `device="cuda"` and what is computed from such tensors give
tensors whose `.device` says cuda, though they lie in the CPU's memory. Of them a GPU's rules
hold: they do not mix with others (but for numbers, 0-d), take no draws from a CPU generator
and do not become numpy. The device is a mark on a tensor's storage, so views share it, and what
autograd computes gets it too.

It counts what costs time on a GPU: `kernels`, operations that compute (no views), and `waits`,
the names of those that wait for it (`.item()`, `.cpu()`, boolean indices …), copies to it
without `non_blocking` among them.
"""

import contextlib
from unittest import mock

import torch
from torch.multiprocessing.reductions import StorageWeakRef
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

CUDA = torch.device("cuda", 0)
# Sizes of what comes out depend on values, so that a GPU is waited for.
WAITING = {"_local_scalar_dense", "nonzero", "masked_select", "_unique2", "unique_dim", "bincount"}
WAITING |= {"equal", "unique_consecutive"}
ACROSS = {"copy_", "_to_copy"}  # may take two devices
HOST_READS = {"tolist", "numpy", "__array__", "__dlpack__"}
_plain_device = torch.Tensor.device.__get__


class FakeCuda:
    """A context in which there is one GPU, which is a fake.

    Attributes:
        kernels: operations on the GPU so far that are no views.
        waits: names of what waited for it so far.
    """

    def __init__(self):
        self.kernels, self.waits, self.marked, self.quiet = 0, [], {}, 0

    def __enter__(self):
        self.stack = contextlib.ExitStack()
        self.stack.enter_context(mock.patch("torch.cuda.is_available", lambda: True))
        self.stack.enter_context(mock.patch("torch.cuda.get_device_name", lambda: "fake"))
        self.stack.enter_context(mock.patch("torch.autocast", _CPUAutocast))
        self.stack.enter_context(_Functions(self))
        self.stack.enter_context(_Operations(self))
        return self

    def __exit__(self, *failure):
        return self.stack.__exit__(*failure)

    @contextlib.contextmanager
    def counted(self):
        """Within it, counting begins anew; the counts stay until the next time."""
        self.kernels, self.waits = 0, []
        yield self

    def holds(self, tensor):
        """Whether a tensor is on the GPU."""
        return tensor.untyped_storage()._cdata in self.marked

    def mark(self, tensor, here=True):
        storage = tensor.untyped_storage()
        if here:  # the weak reference keeps the number from being given to another storage
            self.marked.setdefault(storage._cdata, StorageWeakRef(storage))
        else:
            self.marked.pop(storage._cdata, None)
        return tensor

    @contextlib.contextmanager
    def silently(self):
        """Within it, operations are of this file."""
        self.quiet += 1
        try:
            yield
        finally:
            self.quiet -= 1


class _CPUAutocast(torch.amp.autocast_mode.autocast):
    def __init__(self, device_type, *arguments, **named):
        super().__init__("cpu", *arguments, **named)


class _Move(torch.autograd.Function):
    """A copy on the other device; its gradient comes back."""

    @staticmethod
    def forward(ctx, tensor, fake, there):
        ctx.fake, ctx.there = fake, not there
        with fake.silently():
            return fake.mark(tensor.clone(), there)

    @staticmethod
    def backward(ctx, grad):
        return _Move.apply(grad, ctx.fake, ctx.there), None, None


def _on_cuda(device):
    return device is not None and torch.device(device).type == "cuda"


class _Functions(TorchFunctionMode):
    """What Python asks of tensors: where they are, to go elsewhere, to be made there."""

    def __init__(self, fake):
        super().__init__()
        self.fake = fake

    def __torch_function__(self, function, types, arguments=(), named=None):
        fake, named = self.fake, dict(named or {})
        name = getattr(function, "__name__", "")
        if function == _plain_device:
            return CUDA if fake.holds(arguments[0]) else _plain_device(arguments[0])
        if function == torch.Tensor.is_cuda.__get__:
            return fake.holds(arguments[0])
        if function is torch.Tensor.to:
            return self._to(*arguments, **named)
        if function in (torch.Tensor.cpu, torch.Tensor.cuda):
            return self._to(arguments[0], torch.device(name))
        if name in HOST_READS and isinstance(arguments[0], torch.Tensor):
            if fake.holds(arguments[0]):
                if name != "tolist":
                    raise TypeError(f"can't convert cuda:0 device type tensor to {name}")
                fake.waits.append(name)
        elif name == "get_device" and fake.holds(arguments[0]):
            return 0
        device = named.get("device")
        if _on_cuda(device):
            made = function(*arguments, **{**named, "device": "cpu"})
            if named.get("generator") is not None:
                raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
            if name in ("tensor", "as_tensor"):
                fake.waits.append(f"{name} from the CPU")
            return fake.mark(made)
        return function(*arguments, **named)

    def _to(self, tensor, *arguments, **named):
        fake, there = self.fake, self.fake.holds(tensor)
        device = named.get("device")
        arguments = list(arguments)
        if arguments and isinstance(arguments[0], torch.Tensor):
            device = CUDA if fake.holds(arguments[0]) else torch.device("cpu")
        elif arguments and isinstance(arguments[0], (str, int, torch.device)):
            device = torch.device(arguments[0])
            arguments[0] = torch.device("cpu")
        if device is not None:
            there = _on_cuda(device)
        if "device" in named:
            named["device"] = torch.device("cpu")
        if there == fake.holds(tensor):
            return torch.Tensor.to(tensor, *arguments, **named)
        if not named.get("non_blocking"):
            fake.waits.append("to the CPU" if not there else "to the GPU")
        elif not there:
            raise RuntimeError("a copy to the CPU that is not waited for may be read too early")
        moved = _Move.apply(tensor, fake, there)
        return torch.Tensor.to(moved, *arguments, **named)


class _Operations(TorchDispatchMode):
    """What is computed, by autograd too: marks what comes out, refuses mixtures, counts."""

    def __init__(self, fake):
        super().__init__()
        self.fake = fake

    def __torch_dispatch__(self, function, types, arguments=(), named=None):
        fake, named = self.fake, named or {}
        name = function._schema.name.removeprefix("aten::")
        if fake.quiet:
            return function(*arguments, **named)
        tensors = [leaf for leaf in tree_leaves((arguments, named)) if torch.is_tensor(leaf)]
        here = [fake.holds(tensor) for tensor in tensors]
        if not any(here):
            return function(*arguments, **named)
        others = [t for t, own in zip(tensors, here, strict=True) if not own and t.dim() > 0]
        if others and name not in ACROSS:
            raise RuntimeError(
                f"Expected all tensors to be on the same device in {function}; got cuda:0 and cpu, "
                f"shape {tuple(others[0].shape)}"
            )
        if any(isinstance(leaf, torch.Generator) for leaf in tree_leaves((arguments, named))):
            raise RuntimeError("Expected a 'cuda' device type for generator but found 'cpu'")
        mask = name in ("index", "index_put", "index_put_", "_index_put_impl_") and any(
            index is not None and index.dtype == torch.bool for index in arguments[1]
        )
        if name in WAITING or mask:
            fake.waits.append(f"{name} by a mask" if mask else name)
        elif name == "copy_" and here[0] != here[-1] and not (arguments[2:] or (False,))[0]:
            fake.waits.append("copy_")
        result = function(*arguments, **named)
        if name == "copy_" and not here[0]:  # to the CPU
            return result
        if not function.is_view and name not in ("detach", "_unsafe_view", "empty_like"):
            fake.kernels += 1
        for leaf in tree_leaves(result):
            if torch.is_tensor(leaf):
                fake.mark(leaf)
        return result
