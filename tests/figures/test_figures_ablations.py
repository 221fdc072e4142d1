"""Figures of the ablations."""

import pandas as pd
import pytest

from di2pose_lib.figures import curve_figure

CURVES = pd.DataFrame({"uniform": [3.0, 2.0, 1.0], "cosine": [3.0, 1.5, 1.2]}, index=[1, 10, 100])
TIMES = {1: {1: 5.69, 10: 14.0, 100: 279.4}, 64: {1: 2.03, 10: 5.24, 100: 108.0}}


def test_every_way_is_a_line_over_a_logarithm_of_steps():
    figure = curve_figure(CURVES, TIMES, "a title")
    lines = [line for line in figure.data if line.name]
    assert [line.name for line in lines] == list(CURVES)
    assert [list(line.y) for line in lines] == [CURVES[way].tolist() for way in CURVES]
    assert len({line.line.color for line in lines}) == 2
    assert figure.layout.xaxis.type == "log"
    assert figure.layout.yaxis.title.text == "MPJPE, mm"


def test_the_axis_above_says_how_long_the_steps_take():
    figure = curve_figure(CURVES, TIMES, "a title")
    above = figure.layout.xaxis2
    assert (above.side, above.type, above.matches) == ("top", "log", "x")
    assert above.tickvals == figure.layout.xaxis.tickvals == (1, 10, 100)
    assert above.ticktext == ("5.7<br>2.0", "14<br>5.2", "279<br>108")
    assert above.title.text == "ms per pose in random order: 1 picture / 64 pictures at once"
    assert [line.xaxis for line in figure.data if not line.name] == ["x2"]  # else it is not drawn


def test_no_curves_are_refused():
    with pytest.raises(ValueError, match="`curves` must hold 1 to 7 series; got 0"):
        curve_figure(pd.DataFrame(), TIMES, "a title")
