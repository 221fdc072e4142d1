"""Figures and tables of training and evaluation: curves, code use, errors with intervals.

Plotly figures in the look of `figures`: fixed size, small, the same bytes each time.
Tables are Markdown text.
"""

import numpy as np
import plotly.graph_objects as go
import torch

from di2pose_lib.base.checks import check_range, check_tensor, require
from di2pose_lib.base.skeleton import JOINT_NAMES, NUM_JOINTS
from di2pose_lib.figures.poses import GRID, INK, PALETTE, style

WIDTH, HEIGHT = 720, 400  # pixels
MARGIN = {"l": 70, "r": 30, "t": 80, "b": 60}
SMALL = {"font": {"size": 12, "color": INK}}  # a note in a figure


def _styled(figure, title, x, y, height=HEIGHT):
    """The common look, titles on both axes, and the legend between title and axes."""
    legend = {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"}
    figure.update_layout(margin=MARGIN, legend=legend)
    figure.update_xaxes(title_text=x, automargin=True)
    figure.update_yaxes(title_text=y, automargin=True)
    return style(figure, title, WIDTH, height)


def _float32(values):
    return np.asarray(values, dtype=np.float32)


def history_figure(history, y, title, columns=("loss",), reference=None, log_y=False):
    """Curves of a training history over its steps.

    Args:
        history: list of {"step", "loss", …}, as `training.fit` returns it.
        y: title of the y axis, with its unit.
        title: of the figure.
        columns: those of the history's columns that are drawn, of one unit.
        reference: None or (label, value), a dashed horizontal line.
        log_y: whether the y axis is logarithmic.

    Returns:
        plotly Figure.

    Raises:
        ValueError: an empty history, or a column that it lacks.
    """
    require(len(history) > 0, "`history` must have at least one row; got 0")
    missing = [name for name in ("step", *columns) if name not in history[0]]
    require(not missing, f"`columns` must be in {sorted(history[0])}; got {missing}")
    steps = np.asarray([row["step"] for row in history], dtype=np.int32)
    figure = go.Figure()
    for name, colour in zip(columns, PALETTE, strict=False):
        figure.add_scatter(
            x=steps,
            y=_float32([row[name] for row in history]),
            name=name,
            mode="lines+markers",
            line={"color": colour, "width": 2},
            marker={"size": 5},
            showlegend=len(columns) > 1,
            hovertemplate=f"step %{{x}}<br>{name} %{{y:.4f}}<extra></extra>",
        )
    if reference is not None:
        label, value = reference
        figure.add_hline(
            y=value,
            line={"color": INK, "dash": "dash", "width": 1},
            annotation={"text": label, **SMALL},
        )
    figure = _styled(figure, title, "training step", y)
    if log_y:
        figure.update_yaxes(type="log")
    return figure


def code_use_figure(tokens, num_codes, title):
    """How often each code occurs, the most frequent first, beside even use.

    Args:
        tokens: int64 (n, N), in [0, C).
        num_codes: C.
        title: of the figure.

    Returns:
        plotly Figure.

    Raises:
        ValueError: another shape, or a token out of range.
    """
    check_tensor("tokens", tokens, ("n", "N"), "int64")
    check_range("tokens", tokens, 0, num_codes - 1)
    counts = torch.bincount(tokens.flatten(), minlength=num_codes)
    order = counts.argsort(descending=True, stable=True)
    percent = 100 * counts[order].double() / counts.sum()
    figure = go.Figure(
        go.Bar(
            x=np.arange(1, num_codes + 1, dtype=np.int32),
            y=_float32(percent),
            customdata=order.numpy().astype(np.int32),
            marker={"color": PALETTE[0], "line": {"width": 0}},
            hovertemplate="code %{customdata}: %{y:.2f} %<extra></extra>",
        )
    )
    figure.add_hline(
        y=100 / num_codes,
        line={"color": INK, "dash": "dash", "width": 1},
        annotation={"text": "even use", **SMALL},
    )
    figure.update_layout(bargap=0)
    return _styled(figure, title, "rank of the code", "share of all tokens, %")


def token_reach_figure(movement_mm, title):
    """How far each joint moves when one token changes: a map of tokens by joints.

    Args:
        movement_mm: mean movement of joint j when token n changes, float (N, 17), mm.
        title: of the figure.

    Returns:
        plotly Figure.

    Raises:
        ValueError: another shape, or a value that is not finite.
    """
    sizes = check_tensor("movement_mm", movement_mm, ("N", NUM_JOINTS), "float")
    figure = go.Figure(
        go.Heatmap(
            z=_float32(movement_mm),
            x=list(JOINT_NAMES),
            y=np.arange(sizes["N"], dtype=np.int32),
            colorscale="Cividis",
            zmin=0,
            colorbar={"title": {"text": "mm"}},
            hovertemplate="token %{y}<br>%{x}: %{z:.1f} mm<extra></extra>",
        )
    )
    figure = _styled(figure, title, "joint", "token", height=480)
    figure.update_xaxes(tickangle=-45, title_standoff=20, showgrid=False)
    return figure.update_yaxes(showgrid=False)


def chain_figure(k_start, k_s, num_codes, title):
    """What the forward chain did to one pose's tokens: kept, replaced or occluded.

    Args:
        k_start: clean tokens, int64 (N,), in [0, C).
        k_s: {step: tokens at that step, int64 (N,), in [0, C]}; C is Occ.
        num_codes: C.
        title: of the figure.

    Returns:
        plotly Figure, a row for each step.

    Raises:
        ValueError: no step, another shape, or a token out of range.
    """
    sizes = check_tensor("k_start", k_start, ("N",), "int64")
    check_range("k_start", k_start, 0, num_codes - 1)
    require(len(k_s) > 0, "`k_s` must hold at least one step; got none")
    for tokens in k_s.values():
        check_tensor("k_s", tokens, (sizes["N"],), "int64")
        check_range("k_s", tokens, 0, num_codes)
    rows = torch.stack(list(k_s.values()))
    # 0 kept, 1 replaced by another code, 2 occluded
    state = (rows != k_start).int() + (rows == num_codes).int()
    shown = rows.tolist()
    text = [["Occ" if token == num_codes else str(token) for token in row] for row in shown]
    colours = (PALETTE[5], PALETTE[1], GRID)
    figure = go.Figure(
        go.Heatmap(
            z=state.numpy().astype(np.uint8),
            x=np.arange(sizes["N"], dtype=np.int32),
            y=[f"step {step}" for step in k_s],
            text=text,
            texttemplate="%{text}" if sizes["N"] <= 20 else None,
            textfont={"size": 10},
            colorscale=[[(i + j) / 3, c] for i, c in enumerate(colours) for j in (0, 1)],
            zmin=0,
            zmax=2,
            xgap=1,
            ygap=3,
            showscale=False,
            hovertemplate="%{y}, token %{x}: %{text}<extra></extra>",
        )
    )
    for name, colour in zip(("kept", "replaced", "occluded"), colours, strict=True):
        figure.add_scatter(  # for the legend alone
            x=[None],
            y=[None],
            mode="markers",
            marker={"color": colour, "size": 12, "symbol": "square"},
            name=name,
        )
    figure = _styled(figure, title, "token", "", height=150 + 36 * len(k_s))
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return figure.update_xaxes(showgrid=False)


def interval_bars(series, x, title, reference=None):
    """Horizontal bars with 95 % intervals, one colour for each series.

    Args:
        series: {name: {category: (mean, low, high)}}; categories are drawn from the
            top in the order in which they first occur.
        x: title of the axis of values, with its unit.
        title: of the figure.
        reference: None or (label, value), a dashed vertical line.

    Returns:
        plotly Figure.

    Raises:
        ValueError: nothing to draw, NaN, or an interval whose ends are swapped.
    """
    categories = list(dict.fromkeys(name for bars in series.values() for name in bars))
    require(len(categories) > 0, "`series` must hold at least one bar; got none")
    figure = go.Figure()
    for (name, bars), colour in zip(series.items(), PALETTE, strict=False):
        for category, (mean, low, high) in bars.items():
            require(
                low <= high and mean == mean,
                f"`series` must have low ≤ high; got {mean} [{low}, {high}] for {category}",
            )
        mean, low, high = _float32(list(bars.values())).T
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
        figure.add_scatter(
            x=_float32([value, value]),
            y=[categories[0], categories[-1]],
            name=label,
            mode="lines",
            line={"color": INK, "dash": "dash", "width": 1},
            hoverinfo="skip",
            showlegend=True,
        )
    bar_height = 10 + 14 * len(series)
    figure = _styled(figure, title, x, "", height=140 + bar_height * len(categories))
    figure.update_xaxes(rangemode="tozero")
    return figure.update_yaxes(categoryarray=categories, autorange="reversed")


def row_interval(row):
    """(mean, low, high) of a row of evaluation.json, for `interval_bars`."""
    return row["mean"], row["ci95_low"], row["ci95_high"]


def shown_interval(row):
    """A row of evaluation.json as text: "101.2 [95.0, 107.9]"."""
    return "{:.1f} [{:.1f}, {:.1f}]".format(*row_interval(row))


def markdown_table(columns, rows):
    """A Markdown table; the first column is flush left, the others right.

    Args:
        columns: column titles.
        rows: lists of cells, as many as columns; floats are shown with one digit.

    Returns:
        str.

    Raises:
        ValueError: no columns, or a row of another length.
    """
    require(len(columns) > 0, "`columns` must name at least one column; got none")
    lines = [list(columns), [":--", *["--:"] * (len(columns) - 1)]]
    for row in rows:
        require(
            len(row) == len(columns), f"rows must have {len(columns)} cells; got {len(row)}: {row}"
        )
        cells = [f"{cell:.1f}" if isinstance(cell, float) else str(cell) for cell in row]
        lines.append([cell.replace("|", "\\|") for cell in cells])
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)
