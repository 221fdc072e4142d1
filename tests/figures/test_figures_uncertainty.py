"""Figures of uncertainty and sweeps: their data, their titles, their refusals."""

import numpy as np
import pandas as pd
import pytest

pytest.importorskip("plotly")

from di2pose_lib import figures
from di2pose_lib.figures.look import LEFT, MIDDLE, RIGHT

CURVES = {
    "visible": [(0.25, 0.2, 0.1, 0.3), (0.5, 0.4, 0.35, 0.5), (0.75, 0.6, 0.5, 0.7)],
    "occluded": [(0.25, 0.1, 0.05, 0.2), (0.5, 0.3, 0.2, 0.4), (0.75, 0.5, 0.4, 0.6)],
}


def joint(name, spread, error):
    return {
        "joint": name,
        "rms_spread_mm": spread,
        "rms_error_mm": error,
        "rms_error_if_calibrated_mm": 1.25 * spread,
    }


TABLES = {
    "visible": [joint("left wrist", 80.0, 120.0), joint("right knee", 40.0, 50.0)],
    "occluded": [joint("head", 20.0, 30.0)],
}


def row(level, estimator, mean, method="Di2Pose", **changes):
    interval = {"mean": mean, "low": mean - 3, "high": mean + 4}
    return {"method": method, "level": level, "estimator": estimator, **interval, **changes}


ROWS = [
    row(0.2, "one sample", 110.0),
    row(0.0, "one sample", 100.0),
    row(0.0, "mean of samples", 90.0),
    row(0.2, "mean of samples", 95.0),
]


def sweep(rows, title="t", x="x"):
    return figures.sweep_figure(pd.DataFrame(rows), title, x)


def every_figure():
    return {
        "calibration": figures.calibration_figure(CURVES, "t"),
        "spread": figures.spread_error_figure(TABLES, "t"),
        "sweep": sweep(ROWS, "t", "share of the image cropped"),
    }


def lines(figure):
    """{name: trace} of what the legend shows."""
    return {trace.name: trace for trace in figure.data if trace.showlegend is not False}


@pytest.mark.parametrize("name", list(every_figure()))
def test_a_figure_has_a_fixed_size_titles_and_the_same_bytes_each_time(name):
    first, second = every_figure()[name], every_figure()[name]
    assert first.layout.width and first.layout.height and first.layout.title.text == "t"
    assert first.layout.xaxis.title.text and first.layout.yaxis.title.text
    text = first.to_json()
    assert text == second.to_json() and len(text) < 12000
    assert '"f8"' not in text and '"i8"' not in text


def test_calibration_shows_the_diagonal_and_each_curve_in_per_cent():
    found = lines(every_figure()["calibration"])
    assert list(found) == ["calibrated", "visible", "occluded"]
    assert list(found["calibrated"].x) == list(found["calibrated"].y) == [0, 100]
    np.testing.assert_allclose(found["visible"].x, [25, 50, 75])
    np.testing.assert_allclose(found["occluded"].y, [10, 30, 50], rtol=1e-6)
    np.testing.assert_allclose(found["visible"].customdata[0], [10, 30], rtol=1e-6)
    layout = every_figure()["calibration"].layout
    assert layout.xaxis.title.text == "nominal level of the region, %"
    assert layout.yaxis.title.text == "truths inside, %"
    assert layout.xaxis.range == layout.yaxis.range == (0, 100)


@pytest.mark.parametrize(("name", "line"), [("calibration", "visible"), ("sweep", "one sample")])
def test_a_band_is_filled_from_the_upper_ends_to_the_lower(name, line):
    figure = every_figure()[name]
    (band,) = [trace for trace in figure.data if trace.name == f"{line}, 95 %"]
    drawn = lines(figure)[line]
    low, high = drawn.customdata.T
    np.testing.assert_allclose(band.y, [*high, *low[::-1]])
    np.testing.assert_allclose(band.x, [*drawn.x, *drawn.x[::-1]])
    assert band.fill == "toself" and band.legendgroup == line and band.hoverinfo == "skip"
    red, green, blue = (int(drawn.line.color[i : i + 2], 16) for i in (1, 3, 5))
    assert band.fillcolor == f"rgba({red}, {green}, {blue}, 0.2)"


def test_spread_against_error_has_a_point_for_each_joint_that_hover_names():
    found = lines(every_figure()["spread"])
    assert list(found) == ["visible", "occluded", "calibrated"]
    points = found["visible"]
    assert list(points.text) == ["left wrist", "right knee"]
    np.testing.assert_allclose(points.x, [80, 40])
    np.testing.assert_allclose(points.y, [120, 50])
    assert points.marker.color == (LEFT, RIGHT) and found["occluded"].marker.color == (MIDDLE,)
    assert "%{text}" in points.hovertemplate and " mm" in points.hovertemplate
    assert points.marker.symbol != found["occluded"].marker.symbol
    np.testing.assert_allclose(found["calibrated"].x, [0, 80])
    np.testing.assert_allclose(found["calibrated"].y, [0, 100])
    layout = every_figure()["spread"].layout
    assert layout.xaxis.title.text.endswith(", mm") and layout.yaxis.title.text.endswith(", mm")
    assert all(side in layout.annotations[0].text for side in ("left", "right", "trunk"))


def test_a_sweep_has_a_line_for_each_estimator_in_the_order_of_levels():
    figure = every_figure()["sweep"]
    found = lines(figure)
    assert list(found) == ["one sample", "mean of samples"]
    np.testing.assert_allclose(found["one sample"].x, [0, 0.2])
    np.testing.assert_allclose(found["one sample"].y, [100, 110])
    np.testing.assert_allclose(found["mean of samples"].customdata, [[87, 94], [92, 99]])
    assert found["one sample"].line.color != found["mean of samples"].line.color
    assert figure.layout.yaxis.title.text == "MPJPE, mm"


def test_a_sweep_of_two_methods_names_them():
    rows = [*ROWS, row(0.0, "one sample", 120.0, method="regression")]
    names = list(lines(sweep(rows)))
    assert names == [
        "Di2Pose, one sample",
        "Di2Pose, mean of samples",
        "regression, one sample",
    ]


def test_what_cannot_be_drawn_is_refused():
    with pytest.raises(ValueError, match="`curves` must hold 1 to 7 series; got 0"):
        figures.calibration_figure({}, "t")
    with pytest.raises(ValueError, match="`tables` must hold 1 to 4 series; got 5"):
        figures.spread_error_figure(dict.fromkeys("abcde", TABLES["visible"]), "t")
    with pytest.raises(ValueError, match="`lines` must hold a level once; got .0.2"):
        sweep([*ROWS, ROWS[0]])
    with pytest.raises(ValueError, match="`lines` must hold at least one; got none"):
        sweep([])
    with pytest.raises(ValueError, match="`lines` must hold 1 to 7 series; got 8"):
        sweep([row(0.0, name, 1.0) for name in "abcdefgh"])
