"""Where networks run, and copies to it that wait for no GPU without need."""

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
