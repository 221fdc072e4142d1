import numpy as np
import pytest
import torch

pytest.importorskip("plotly")

from di2pose_lib import figures
from di2pose_lib.base.skeleton import JOINT_NAMES
from di2pose_lib.figures.training import FATE_COLOURS, FATES

HISTORY = [
    {"step": 10, "loss": 4.0, "vlb": 0.5, "aux": 3.0},
    {"step": 20, "loss": 2.0, "vlb": 0.25, "aux": 2.0},
]
SERIES = {
    "clean": {"mean pose": (200.0, 190.0, 215.0), "Di2Pose": (90.0, 85.0, 99.0)},
    "occluders": {"mean pose": (201.0, 188.0, 216.0), "Di2Pose": (120.0, 101.0, 140.0)},
}


def every_figure():
    tokens = torch.arange(32).view(4, 8) % 6
    return {
        "history": figures.history_figure(HISTORY, "nats", "t", ("vlb", "aux"), ("log C", 1.8)),
        "code use": figures.code_use_figure(tokens, 6, "t"),
        "reach": figures.token_reach_figure(torch.rand(8, 17, generator=_seeded()), "t"),
        "fates": figures.fates_figure(torch.tensor([[0, 0, 2], [0, 1, 1]])),
        "bars": figures.interval_bars(SERIES, "MPJPE, mm", "t", ("half", 100.0)),
    }


def _seeded():
    return torch.Generator().manual_seed(0)


@pytest.mark.parametrize("name", list(every_figure()))
def test_a_figure_has_a_fixed_size_and_the_same_bytes_each_time(name):
    first, second = every_figure()[name], every_figure()[name]
    assert first.layout.width and first.layout.height
    assert first.to_json() == second.to_json()


@pytest.mark.parametrize("name", list(every_figure()))
def test_a_figure_carries_its_arrays_in_four_bytes_a_number_or_fewer(name):
    text = every_figure()[name].to_json()
    assert '"f8"' not in text and '"i8"' not in text
    assert len(text) < 12000


@pytest.mark.parametrize("name", ["history", "code use", "reach", "bars"])
def test_axes_that_measure_something_say_what(name):
    layout = every_figure()[name].layout
    assert layout.xaxis.title.text
    assert layout.yaxis.title.text or name == "bars"  # the categories speak for themselves


def test_history_draws_each_column_over_the_steps():
    figure = figures.history_figure(HISTORY, "nats", "t", ("vlb", "aux"))
    assert [trace.name for trace in figure.data] == ["vlb", "aux"]
    np.testing.assert_array_equal(figure.data[0].x, [10, 20])
    np.testing.assert_array_equal(figure.data[1].y, [3.0, 2.0])


def test_history_can_be_logarithmic_and_is_linear_otherwise():
    assert figures.history_figure(HISTORY, "mm", "t", log_y=True).layout.yaxis.type == "log"
    assert figures.history_figure(HISTORY, "mm", "t").layout.yaxis.type is None


def test_code_use_ranks_the_codes_and_adds_up_to_a_hundred_percent():
    figure = figures.code_use_figure(torch.tensor([[2, 2, 0], [2, 0, 1]]), 4, "t")
    np.testing.assert_allclose(figure.data[0].y, [50, 100 / 3, 50 / 3, 0], rtol=1e-6)
    np.testing.assert_array_equal(figure.data[0].customdata, [2, 0, 1, 3])


def test_hover_over_the_reach_of_tokens_names_the_joint():
    figure = every_figure()["reach"]
    assert list(figure.data[0].x) == list(JOINT_NAMES)
    assert "%{x}" in figure.data[0].hovertemplate


def test_each_fate_has_its_own_colour():
    fates = torch.tensor([[0, 1, 2]])
    trace = figures.fates_figure(fates, steps=[0, 25, 100]).data[0]
    assert list(trace.x) == ["0", "25", "100"]
    assert trace.z.dtype == np.uint8
    for value, colour in enumerate(FATE_COLOURS):
        place = (value - trace.zmin) / (trace.zmax - trace.zmin)
        below = [entry for entry in trace.colorscale if entry[0] <= place]
        assert below[-1][1] == colour
    assert tuple(trace.colorbar.ticktext) == FATES


def test_bars_reach_from_the_low_to_the_high_end_of_the_interval():
    figure = figures.interval_bars(SERIES, "MPJPE, mm", "t")
    clean = figure.data[0]
    np.testing.assert_allclose(clean.x - clean.error_x.arrayminus, [190, 85])
    np.testing.assert_allclose(clean.x + clean.error_x.array, [215, 99])


def test_the_first_category_stands_at_the_top():
    figure = figures.interval_bars(SERIES, "MPJPE, mm", "t")
    assert figure.layout.yaxis.categoryarray[0] == "mean pose"
    assert figure.layout.yaxis.autorange == "reversed"


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: figures.code_use_figure(torch.tensor([[4]]), 4, "t"), r"lie in \[0, 3\]; got 4"),
        (lambda: figures.token_reach_figure(torch.zeros(8, 16), "t"), "shape"),
        (
            lambda: figures.fates_figure(torch.tensor([[0, 3]])),
            r"`fates` .* \[0, 2\]; got 3",
        ),
        (lambda: figures.interval_bars({}, "mm", "t"), "`series` must hold 1 to 7 series; got 0"),
    ],
)
def test_bad_input_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()
