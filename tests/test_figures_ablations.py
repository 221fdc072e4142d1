"""Figures of the ablations."""

import pytest

from di2pose_lib.figures_ablations import curve_figure

CURVES = {
    "uniform": {"steps": [1, 10, 100], "one_sample_mm": [3.0, 2.0, 1.0]},
    "cosine": {"steps": [1, 10, 100], "one_sample_mm": [3.0, 1.5, 1.2]},
}


def test_every_way_is_a_line_over_a_logarithm_of_steps():
    figure = curve_figure(CURVES, "a title")
    assert [line.name for line in figure.data] == list(CURVES)
    assert [list(line.y) for line in figure.data] == [c["one_sample_mm"] for c in CURVES.values()]
    assert len({line.line.color for line in figure.data}) == 2
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.yaxis.title.text == "MPJPE, mm"


def test_no_curves_are_refused():
    with pytest.raises(ValueError, match="`curves` must hold at least one way; got none"):
        curve_figure({}, "a title")
