"""Figures of errors: with intervals, by level, and against what the model expects."""

import numpy as np
import plotly.graph_objects as go

from di2pose_lib.base.checks import require
from di2pose_lib.base.skeleton import JOINT_NAMES
from di2pose_lib.figures.look import (
    ABOVE,
    BELOW,
    DASHED,
    INK,
    LEFT,
    MIDDLE,
    NARROW,
    RIGHT,
    float32,
    looks,
    side_colour,
    squares,
    style,
)

SYMBOLS = ("circle", "diamond-open", "square", "triangle-up-open")
BAND_OPACITY = 0.2  # of a 95 % band


def _add_reference(figure, x, y, name="calibrated"):
    """A dashed line to compare with, in the legend."""
    line = {"mode": "lines", "line": DASHED, "hoverinfo": "skip", "showlegend": True}
    figure.add_scatter(x=float32(x), y=y, name=name, **line)


def interval_bars(series, x, title, reference=None):
    """Horizontal bars with 95 % intervals, one colour for each series.

    Args:
        series: {name: {category: (mean, low, high)}}; categories are drawn from the
            top in the order in which they first occur.
        x: title of the axis of values, with its unit.
        title: of the figure.
        reference: None or (label, value), a dashed vertical line.

    Raises:
        ValueError: no series, or more than colours.
    """
    categories = list(dict.fromkeys(name for bars in series.values() for name in bars))
    figure = go.Figure()
    for name, bars, colour in looks("series", series):
        mean, low, high = float32(list(bars.values())).T
        figure.add_bar(
            orientation="h",
            name=name,
            y=list(bars),
            x=mean,
            error_x={
                "array": high - mean,
                "arrayminus": mean - low,
                "color": INK,
                "thickness": 1.2,
                "width": 3,
            },
            customdata=np.stack([low, high], axis=1),
            marker={"color": colour},
            showlegend=len(series) > 1,
            hovertemplate=(
                f"%{{y}}<br>{name}: %{{x:.1f}} "
                "[%{customdata[0]:.1f}, %{customdata[1]:.1f}]<extra></extra>"
            ),
        )
    if reference is not None:
        label, value = reference
        _add_reference(figure, [value, value], [categories[0], categories[-1]], label)
    height = 140 + (10 + 14 * len(series)) * len(categories)
    figure.update_xaxes(rangemode="tozero", automargin=True)
    figure.update_yaxes(categoryarray=categories, autorange="reversed", automargin=True)
    return style(figure, title, x, "", NARROW, height, **ABOVE)


def _translucent(colour):
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {BAND_OPACITY})"


def _line_with_band(figure, name, colour, x, mean, low, high, hover):
    """A line, and behind it the filled band from low to high; one entry of the legend."""
    x, mean, low, high = map(float32, (x, mean, low, high))
    figure.add_scatter(
        x=np.concatenate([x, x[::-1]]),
        y=np.concatenate([high, low[::-1]]),
        fill="toself",
        fillcolor=_translucent(colour),
        line={"width": 0},
        mode="lines",
        hoverinfo="skip",
        legendgroup=name,
        name=f"{name}, 95 %",
        showlegend=False,
    )
    figure.add_scatter(
        x=x,
        y=mean,
        customdata=np.stack([low, high], axis=1),
        mode="lines+markers",
        line={"color": colour, "width": 2},
        marker={"size": 6},
        legendgroup=name,
        name=name,
        hovertemplate=hover,
    )


def calibration_figure(curves, title):
    """Nominal level of the regions against the share of truths inside, with 95 % bands.

    Below the diagonal the regions are too small: the model is over-confident.

    Args:
        curves: {name: [(nominal, measured, low, high)]}, shares of 1.
        title: of the figure.

    Raises:
        ValueError: no curves, or more than colours.
    """
    figure = go.Figure()
    _add_reference(figure, [0, 100], [0, 100])
    for name, curve, colour in looks("curves", curves):
        nominal, mean, low, high = (100 * np.asarray(column) for column in zip(*curve, strict=True))
        hover = (
            f"{name}<br>nominal %{{x:.0f}} %: inside %{{y:.1f}} % "
            "[%{customdata[0]:.1f}, %{customdata[1]:.1f}]<extra></extra>"
        )
        _line_with_band(figure, name, colour, nominal, mean, low, high, hover)
    figure.update_xaxes(range=[0, 100])
    figure.update_yaxes(range=[0, 100])
    axes = ("nominal level of the region, %", "truths inside, %")
    return style(figure, title, *axes, 540, 480, **BELOW)


def spread_error_figure(tables, title):
    """Spread of the samples against the error of their mean, a point for each joint.

    Points above the dashed line err more than their spread promises.

    Args:
        tables: {label: rows of `calibration.joint_table`}, at most four; each label has a
            symbol, each side of the body its colour.
        title: of the figure.

    Raises:
        ValueError: no tables, or more than four.
    """
    figure = go.Figure()
    ends = []
    for label, table, symbol in looks("tables", tables, SYMBOLS):
        colours = [side_colour(JOINT_NAMES.index(row["joint"])) for row in table]
        figure.add_scatter(
            x=float32([row["rms_spread_mm"] for row in table]),
            y=float32([row["rms_error_mm"] for row in table]),
            text=[row["joint"] for row in table],
            customdata=float32([row["rms_error_if_calibrated_mm"] for row in table]),
            mode="markers",
            marker={"symbol": symbol, "size": 10, "color": colours},
            name=label,
            hovertemplate=(
                f"%{{text}}, {label}<br>spread %{{x:.1f}} mm, error %{{y:.1f}} mm "
                "(calibrated: %{customdata:.1f} mm)<extra></extra>"
            ),
        )
        ends += [(row["rms_spread_mm"], row["rms_error_if_calibrated_mm"]) for row in table]
    furthest = max(ends)
    _add_reference(figure, [0, furthest[0]], float32([0, furthest[1]]))
    sides = squares({"left": LEFT, "right": RIGHT, "trunk": MIDDLE})
    place = {"xref": "paper", "yref": "paper", "x": 0.99, "y": 0.02, "showarrow": False}
    figure.add_annotation(text=sides, xanchor="right", yanchor="bottom", **place)
    figure.update_xaxes(rangemode="tozero")
    figure.update_yaxes(rangemode="tozero")
    axes = ("RMS spread of the samples, mm", "RMS error of their mean, mm")
    return style(figure, title, *axes, NARROW, 480, **BELOW)


def sweep_figure(lines, title, x, y="MPJPE, mm"):
    """Error by level, a line with its 95 % band for each method and estimator.

    Args:
        lines: DataFrame with method, estimator, level, mean, low and high, as
            `evaluation.intervals` gives it.
        title: of the figure.
        x: title of the axis of levels, as "share of the image masked".
        y: title of the other, with its unit.

    Raises:
        ValueError: no lines, a level twice in one, or too many.
    """
    require(len(lines) > 0, "`lines` must hold at least one; got none")
    twice = lines.duplicated(["method", "estimator", "level"])
    require(not twice.any(), f"`lines` must hold a level once; got {lines[twice].level.tolist()}")
    names = lines.method.astype(str) + ", " + lines.estimator.astype(str)
    names = lines.estimator if lines.method.nunique() == 1 else names
    each = {name: line.sort_values("level") for name, line in lines.groupby(names, sort=False)}
    figure = go.Figure()
    for name, line, colour in looks("lines", each):
        ends = (line[end].tolist() for end in ("mean", "low", "high"))
        hover = (
            f"{name}<br>level %{{x:.3~g}}: %{{y:.1f}} "
            "[%{customdata[0]:.1f}, %{customdata[1]:.1f}]<extra></extra>"
        )
        _line_with_band(figure, name, colour, line.level.tolist(), *ends, hover)
    return style(figure, title, x, y, NARROW, 480, **BELOW)
