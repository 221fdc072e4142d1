"""bfloat16 where it is asked for: in the products alone, and nowhere else."""

import pytest
import torch
from fake_cuda import FakeCuda
from torch import nn

from di2pose_lib.base.devices import compute_in


class Network(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 4)

    def forward(self, x):
        return self.layer(x)

    def once(self, x):
        return self.layer(x)


@pytest.fixture
def tf32():
    """TF32 as it was, afterwards."""
    before = torch.backends.cuda.matmul.allow_tf32
    yield lambda: torch.backends.cuda.matmul.allow_tf32
    torch.backends.cuda.matmul.allow_tf32 = before


def test_products_are_of_bfloat16_where_that_is_asked_for(tf32):
    x, before = torch.randn(3, 4), tf32()
    for precision, dtype in (("bfloat16", torch.bfloat16), ("float32", torch.float32)):
        network = Network()
        names = list(network.state_dict())
        assert compute_in(precision, network, "forward") is network
        assert network(x).dtype == dtype
        assert network.once(x).dtype == torch.float32, "a method that was not named"
        assert network.layer.weight.dtype == torch.float32
        assert list(network.state_dict()) == names
    assert tf32() == before, "on a CPU nothing else changes"


@pytest.mark.parametrize(("precision", "allowed"), [("float32", False), ("bfloat16", True)])
def test_on_a_gpu_bfloat16_allows_tf32_too_in_a_way_that_compilation_bears(
    precision, allowed, tf32
):
    torch.backends.cuda.matmul.allow_tf32 = False
    with FakeCuda():
        compute_in(precision, Network().to("cuda"), "forward")
    assert tf32() == allowed
    torch.get_float32_matmul_precision()  # raises where two ways of setting it were mixed
