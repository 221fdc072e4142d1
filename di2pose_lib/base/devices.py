"""Copies from device to device that wait for no GPU without need."""


def moved(tensor, device):
    """`tensor` on `device`.

    To a GPU the copy is only begun: what is not in pinned memory has been read when this
    returns. A copy from a GPU is waited for, or it might be read before it has come.
    """
    return tensor.to(device, non_blocking=tensor.device.type == "cpu")
