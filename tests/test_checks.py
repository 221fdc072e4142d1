"""Refusals name the argument, what was wanted and what was given."""

import pytest
import torch

from di2pose_lib.checks import check_range, check_tensor, require


def test_a_tensor_that_fits_gives_its_letters():
    sizes = check_tensor("pose", torch.zeros(4, 17, 3), ("B", "J", 3), "float")
    assert sizes["B"] == 4
    assert sizes["J"] == 17


@pytest.mark.parametrize(
    ("tensor", "shape", "dtype", "sentence"),
    [
        (
            torch.zeros(4, 17),
            ("B", 17, 3),
            None,
            r"`x` must have shape \(B, 17, 3\); got \(4, 17\)",
        ),
        (torch.zeros(4, 16), ("B", 17), None, r"`x` must have shape \(B, 17\); got \(4, 16\)"),
        (torch.zeros(4, 3), ("N", "N"), None, r"`x` must have shape \(N, N\); got \(4, 3\)"),
        (torch.zeros(0, 3), ("B", 3), None, r"`x` must not be empty; got shape \(0, 3\)"),
        (torch.zeros(2).long(), ("B",), "float", "`x` must be floating point; got torch.int64"),
        (torch.zeros(2), ("B",), "int64", "`x` must be int64; got torch.float32"),
        (torch.zeros(2).int(), ("B",), "int64", "`x` must be int64; got torch.int32"),
        (torch.ones(2), ("B",), "bool", "`x` must be bool; got torch.float32"),
        (torch.tensor([0.0, float("nan")]), ("B",), "float", "`x` must be finite; got NaN"),
        (torch.tensor([-float("inf")]), ("B",), "float", "`x` must be finite; got NaN or infinity"),
    ],
)
def test_a_tensor_that_does_not_fit_is_refused(tensor, shape, dtype, sentence):
    with pytest.raises(ValueError, match=sentence):
        check_tensor("x", tensor, shape, dtype)


@pytest.mark.parametrize(("value", "kind"), [([1.0], "list"), (None, "NoneType"), (1.0, "float")])
def test_what_is_no_tensor_is_refused(value, kind):
    with pytest.raises(TypeError, match=f"`x` must be a torch.Tensor; got {kind}"):
        check_tensor("x", value, ("B",))


def test_a_range_includes_its_ends_and_names_the_worse_value():
    check_range("x", torch.tensor([0, 7]), 0, 7)
    with pytest.raises(ValueError, match=r"`x` must lie in \[0, 7\]; got 8"):
        check_range("x", torch.tensor([0, 8]), 0, 7)
    with pytest.raises(ValueError, match=r"`x` must lie in \[0, 7\]; got -1"):
        check_range("x", torch.tensor([-1, 3]), 0, 7)
    with pytest.raises(ValueError, match=r"`x` must lie in \[0, 1\]; got nan"):
        check_range("x", torch.tensor([0.5, float("nan")]), 0, 1)


def test_require_says_its_message_and_only_when_it_must():
    require(True, "never")
    with pytest.raises(ValueError, match="^the message$"):
        require(False, "the message")
