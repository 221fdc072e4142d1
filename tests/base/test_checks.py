"""Refusals name the argument, what was wanted and what was given."""

import pytest
import torch
from small import tokenizer_sizes

from di2pose_lib.base import metrics
from di2pose_lib.base.checks import check_pose, check_range, check_tensor, require
from di2pose_lib.evaluation import failures, plausibility, proper_scores
from di2pose_lib.tokens.tokenizer import PoseTokenizer


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


def test_of_no_values_no_range_can_be_said():
    with pytest.raises(ValueError, match=r"`x` must not be empty; got shape \(0, 3\)"):
        check_range("x", torch.zeros(0, 3), 0, 7)


def test_values_are_not_looked_at_where_that_is_asked_for():
    nan = torch.tensor([float("nan")])
    assert check_tensor("x", nan, ("B",), "float", values=False) == {"B": 1}
    with pytest.raises(ValueError, match="`x` must be floating point; got torch.int64"):
        check_tensor("x", nan.long(), ("B",), "float", values=False)


def test_require_says_its_message_and_only_when_it_must():
    require(True, "never")
    with pytest.raises(ValueError, match="^the message$"):
        require(False, "the message")


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_a_pose_in_millimetres_is_refused(dtype):
    pose = 0.5 * torch.randn(3, 17, 3, generator=torch.Generator().manual_seed(0)).to(dtype)
    assert check_pose("x", pose + 1000, ("B", "J", 3))["B"] == 3  # the root may be anywhere
    with pytest.raises(
        ValueError,
        match="^`x` must be in metres, its joints within 10 m of the root; got one at .* m$",
    ):
        check_pose("x", 1000 * pose, ("B", "J", 3))
    pose[:, 0] = 0
    pose[1, 5] = torch.tensor([6.0, 0.0, 8.0])
    check_pose("x", pose, ("B", "J", 3))
    pose[1, 5, 0] = 6.5
    with pytest.raises(ValueError, match="got one at 10.31 m$"):
        check_pose("x", pose, ("B", "J", 3))
    pose[1, 5, 0] = float("nan")
    with pytest.raises(ValueError, match="`x` must be finite; got NaN or infinity"):
        check_pose("x", pose, ("B", "J", 3))


def in_millimetres():
    """{name: a call with a pose in millimetres} of what takes poses in metres."""
    metres = 0.3 * torch.randn(4, 17, 3, generator=torch.Generator().manual_seed(0))
    wrong, seen = 1000 * metres, torch.ones(4, 17, dtype=torch.bool)
    tokenizer = PoseTokenizer(
        tokenizer_sizes(
            num_tokens=17,
            levels=(3, 3),
            width=8,
            decoder_width=8,
            local_joints=1,
            start_at_joints=False,
        )
    )
    calls = {"the tokenizer's tokens": lambda: tokenizer.encode(wrong)}
    calls["the tokenizer's training"] = lambda: tokenizer(wrong)
    for name, measure in {
        "MPJPE": metrics.mpjpe_mm,
        "PA-MPJPE": metrics.pa_mpjpe_mm,
        "joint errors": metrics.joint_errors_mm,
        "failures": lambda pose_pred, pose: failures.kinds_of(pose_pred, pose, seen),
    }.items():
        calls[f"{name} of the prediction"] = lambda measure=measure: measure(wrong, metres)
        calls[f"{name} of the truth"] = lambda measure=measure: measure(metres, wrong)
    samples = torch.stack([metres, metres], dim=1)
    calls["samples"] = lambda: proper_scores.energy_score_mm(1000 * samples, metres)
    calls["truth of samples"] = lambda: proper_scores.energy_score_mm(samples, wrong)
    calls["plausibility"] = lambda: plausibility.asymmetry_mm(wrong)
    return calls


@pytest.mark.parametrize(("name", "call"), in_millimetres().items())
def test_nothing_takes_millimetres_for_metres(name, call):
    with pytest.raises(ValueError, match="must be in metres, its joints within 10 m of the root"):
        call()
