"""Refusals: each public function names the argument, what it wanted and what it got."""

import numbers
import operator

import torch

FARTHEST_JOINT = 10  # metres from the root; nobody is that long, and millimetres are soon beyond


def require(condition, message):
    """Raise ``ValueError(message)`` unless ``condition`` holds."""
    if not condition:
        raise ValueError(message)


def as_integer(name, value, least=None):
    """`value` as a Python int; bools, floats and what is below `least` are refused."""
    try:
        require(not isinstance(value, bool), "")
        integer = operator.index(value)
    except (TypeError, ValueError):
        raise ValueError(f"`{name}` must be an integer; got {value!r}") from None
    enough = least is None or integer >= least
    require(enough, f"`{name}` must be at least {least}; got {integer}")
    return integer


def check_number(name, value, wanted, fits):
    """Refuse all but a number that `fits`, as the text `wanted` says; NaN fits nowhere."""
    is_number = isinstance(value, numbers.Real) and not isinstance(value, bool)
    require(is_number and fits(value), f"`{name}` must be a number {wanted}; got {value!r}")


def check_tensor(name, tensor, shape, dtype=None, values=True):
    """Refuse anything but a tensor of the wanted shape, kind and finite values.

    Args:
        name: the argument's name, for the message.
        tensor: what was given.
        shape: wanted sizes; a letter such as ``"B"`` stands for any size ≥ 1,
            the same wherever it recurs, and an ellipsis in front for any axes before the others.
        dtype: ``"float"``, ``"int64"``, ``"bool"``, ``"uint8"`` or None for any.
        values: whether to look for NaN and infinity, which waits for a GPU.

    Returns:
        dict from letter to size.

    Raises:
        TypeError: not a tensor.
        ValueError: another shape, kind, an empty axis, NaN or infinity.
    """
    if not isinstance(tensor, torch.Tensor):
        raise TypeError(f"`{name}` must be a torch.Tensor; got {type(tensor).__name__}")
    wanted = "(" + ", ".join("…" if size is ... else str(size) for size in shape)
    wanted += ",)" if len(shape) == 1 else ")"
    got = last = tuple(tensor.shape)
    if shape[:1] == (...,):
        shape = shape[1:]
        last = got[max(0, len(got) - len(shape)) :]
    sizes = {}
    fits = len(last) == len(shape) and all(
        actual == (sizes.setdefault(size, actual) if isinstance(size, str) else size)
        for size, actual in zip(shape, last, strict=True)
    )
    require(fits, f"`{name}` must have shape {wanted}; got {got}")
    require(tensor.numel() > 0, f"`{name}` must not be empty; got shape {got}")
    if dtype == "float":
        require(tensor.is_floating_point(), f"`{name}` must be floating point; got {tensor.dtype}")
        finite = not values or bool(torch.isfinite(tensor).all())
        require(finite, f"`{name}` must be finite; got NaN or infinity")
    elif dtype is not None:
        require(
            tensor.dtype == getattr(torch, dtype), f"`{name}` must be {dtype}; got {tensor.dtype}"
        )
    return sizes


def check_pose(name, pose, shape):
    """`check_tensor` of float joints (..., J, 3) in metres: none is far from the root, joint 0.

    Raises:
        ValueError: also for a joint over 10 m from the root, as where millimetres were given.
    """
    sizes = check_tensor(name, pose, shape, "float")
    check_metres(name, pose)
    return sizes


def check_metres(name, pose):
    """Refuse joints (..., J, 3) that are farther from the root, joint 0, than metres can be."""
    joints = pose.detach()
    farthest = (joints - joints[..., :1, :]).norm(dim=-1).amax().item()
    require(
        farthest <= FARTHEST_JOINT,
        f"`{name}` must be in metres, its joints within {FARTHEST_JOINT} m of the root; "
        f"got one at {farthest:.4g} m",
    )


def check_range(name, tensor, low, high):
    """Refuse values outside ``[low, high]`` (both included), and a tensor without any."""
    require(tensor.numel() > 0, f"`{name}` must not be empty; got shape {tuple(tensor.shape)}")
    smallest, largest = (end.item() for end in tensor.aminmax())
    got = smallest if smallest < low else largest
    require(low <= smallest and largest <= high, f"`{name}` must lie in [{low}, {high}]; got {got}")


def check_channels(name, tensor, channels):
    """Refuse anything but a tensor that has values, and so many channels last."""
    check_tensor(name, tensor, (..., channels))


def check_indices(name, tensor, count):
    """Refuse anything but an int64 tensor in [0, count), of any shape but an empty one."""
    check_tensor(name, tensor, (...,), "int64")
    check_range(name, tensor, 0, count - 1)
