"""Figures of uncertainty and of sweeps: calibration, spread against error, error by level.

Plotly figures in the look of `figures`: fixed size, small, the same bytes each time.
"""

import numpy as np
import plotly.graph_objects as go

from di2pose_lib.base.checks import require
from di2pose_lib.base.skeleton import JOINT_NAMES
from di2pose_lib.figures.poses import INK, LEFT, MIDDLE, PALETTE, RIGHT, side_colour, style

WIDTH, HEIGHT = 720, 480  # pixels
MARGIN = {"l": 70, "r": 30, "t": 50, "b": 150}
SYMBOLS = ("circle", "diamond-open", "square", "triangle-up-open")
BAND_OPACITY = 0.2  # of a 95 % band


def _styled(figure, title, x, y, width=WIDTH):
    # Below the axis: long names take several lines, which would run into the title.
    legend = {"orientation": "h", "x": 0, "y": -0.22, "yanchor": "top"}
    figure.update_layout(margin=MARGIN, legend=legend)
    figure.update_xaxes(title_text=x)
    figure.update_yaxes(title_text=y)
    return style(figure, title, width, HEIGHT)


def _float32(values):
    return np.asarray(values, dtype=np.float32)


def _check_intervals(name, means, lows, highs):
    for mean, low, high in zip(means, lows, highs, strict=True):
        require(
            low <= high and mean == mean,
            f"`{name}` must have low ≤ high; got {mean} [{low}, {high}]",
        )


def _translucent(colour):
    red, green, blue = (int(colour[place : place + 2], 16) for place in (1, 3, 5))
    return f"rgba({red}, {green}, {blue}, {BAND_OPACITY})"


def _line_with_band(figure, name, colour, x, mean, low, high, hover):
    """A line, and behind it the filled band from low to high; one entry of the legend."""
    x, mean, low, high = map(_float32, (x, mean, low, high))
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
        curves: {name: [(nominal, measured, low, high)]}, shares of 1, as
            `uncertainty.calibration_curve` gives them.
        title: of the figure.

    Raises:
        ValueError: no curves, more than colours, an empty one, or swapped ends.
    """
    _check_count("curves", curves)
    figure = go.Figure()
    figure.add_scatter(
        x=[0, 100],
        y=[0, 100],
        mode="lines",
        line={"color": INK, "dash": "dash", "width": 1},
        name="calibrated",
        hoverinfo="skip",
    )
    for (name, curve), colour in zip(curves.items(), PALETTE, strict=False):
        require(len(curve) > 0, f"`curves` must hold at least one level; got none for {name}")
        nominal, mean, low, high = (100 * np.asarray(column) for column in zip(*curve, strict=True))
        _check_intervals("curves", mean, low, high)
        hover = (
            f"{name}<br>nominal %{{x:.0f}} %: inside %{{y:.1f}} % "
            "[%{customdata[0]:.1f}, %{customdata[1]:.1f}]<extra></extra>"
        )
        _line_with_band(figure, name, colour, nominal, mean, low, high, hover)
    figure.update_xaxes(range=[0, 100])
    figure.update_yaxes(range=[0, 100])
    return _styled(
        figure, title, "nominal level of the region, %", "truths inside, %", width=HEIGHT + 60
    )


def _check_count(name, series):
    require(
        1 <= len(series) <= len(PALETTE),
        f"`{name}` must hold 1 to {len(PALETTE)} lines; got {len(series)}",
    )


def spread_error_figure(tables, title):
    """Spread of the samples against the error of their mean, a point for each joint.

    Points above the dashed line err more than their spread promises.

    Args:
        tables: {label: rows of `calibration.joint_table`}, at most four; each label has a
            symbol, each side of the body its colour.
        title: of the figure.

    Raises:
        ValueError: no tables, more than four, or an empty one.
    """
    require(
        1 <= len(tables) <= len(SYMBOLS),
        f"`tables` must hold 1 to {len(SYMBOLS)} labels; got {len(tables)}",
    )
    figure = go.Figure()
    ends = []
    for (label, table), symbol in zip(tables.items(), SYMBOLS, strict=False):
        require(len(table) > 0, f"`tables` must hold at least one joint; got none for {label}")
        colours = [side_colour(JOINT_NAMES.index(row["joint"])) for row in table]
        figure.add_scatter(
            x=_float32([row["rms_spread_mm"] for row in table]),
            y=_float32([row["rms_error_mm"] for row in table]),
            text=[row["joint"] for row in table],
            customdata=_float32([row["rms_error_if_calibrated_mm"] for row in table]),
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
    figure.add_scatter(
        x=_float32([0, furthest[0]]),
        y=_float32([0, furthest[1]]),
        mode="lines",
        line={"color": INK, "dash": "dash", "width": 1},
        name="calibrated",
        hoverinfo="skip",
    )
    squares = {"left": LEFT, "right": RIGHT, "trunk": MIDDLE}.items()
    sides = "   ".join(f"<span style='color:{colour}'>■</span> {name}" for name, colour in squares)
    place = {"xref": "paper", "yref": "paper", "x": 0.99, "y": 0.02, "showarrow": False}
    figure.add_annotation(text=sides, xanchor="right", yanchor="bottom", **place)
    figure.update_xaxes(rangemode="tozero")
    figure.update_yaxes(rangemode="tozero")
    return _styled(figure, title, "RMS spread of the samples, mm", "RMS error of their mean, mm")


def sweep_figure(rows, title, x, y="MPJPE, mm"):
    """Error by level, a line with its 95 % band for each method and estimator.

    Args:
        rows: result rows of one protocol, metric and choice of joints.
        title: of the figure.
        x: title of the axis of levels, as "share of the image masked".
        y: title of the other, with its unit.

    Raises:
        ValueError: no rows, rows of two protocols, metrics or choices of joints, a level
            twice in a line, too many lines, or swapped ends.
    """
    require(len(rows) > 0, "`rows` must hold at least one row; got none")
    for field in ("protocol", "metric", "joints"):
        found = sorted({row[field] for row in rows})
        require(len(found) == 1, f"`rows` must have one {field}; got {', '.join(found)}")
    one_method = len({row["method"] for row in rows}) == 1
    lines = {}
    for row in rows:
        name = row["estimator"] if one_method else f"{row['method']}, {row['estimator']}"
        line = lines.setdefault(name, {})
        require(
            row["level"] not in line, f"`rows` must hold a level once; got {row['level']} twice"
        )
        line[row["level"]] = (row["mean"], row["ci95_low"], row["ci95_high"])
    _check_count("rows", lines)
    figure = go.Figure()
    for (name, line), colour in zip(lines.items(), PALETTE, strict=False):
        levels = sorted(line)
        mean, low, high = zip(*(line[level] for level in levels), strict=True)
        _check_intervals("rows", mean, low, high)
        hover = (
            f"{name}<br>level %{{x:.3~g}}: %{{y:.1f}} "
            "[%{customdata[0]:.1f}, %{customdata[1]:.1f}]<extra></extra>"
        )
        _line_with_band(figure, name, colour, levels, mean, low, high, hover)
    return _styled(figure, title, x, y)
