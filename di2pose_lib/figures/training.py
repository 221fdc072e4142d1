"""Figures of training: a history's curves, and what tokens and codes do."""

import numpy as np
import plotly.graph_objects as go
import torch

from di2pose_lib.base.checks import check_range, check_tensor
from di2pose_lib.base.skeleton import JOINT_NAMES, NUM_JOINTS
from di2pose_lib.figures.look import (
    ABOVE,
    DASHED,
    HIDDEN,
    INK,
    NARROW,
    PALETTE,
    float32,
    looks,
    steps_of,
    style,
)

# What becomes of a token, and its colours, which colour-blind readers tell apart too.
FATES = ("clean", "replaced", "Occ")
FATE_COLOURS = ("#0072B2", "#E69F00", "#555555")

SMALL = {"font": {"size": 12, "color": INK}}  # a note in a figure


def _styled(figure, title, x, y, height=400):
    figure.update_xaxes(automargin=True)
    figure.update_yaxes(automargin=True)
    return style(figure, title, x, y, NARROW, height, **ABOVE)


def history_figure(history, y, title, columns=("loss",), reference=None, log_y=False):
    """Curves of a training history over its steps.

    Args:
        history: list of {"step", "loss", …}, as `training.fit` returns it.
        y: title of the y axis, with its unit.
        title: of the figure.
        columns: those of the history's columns that are drawn, of one unit.
        reference: None or (label, value), a dashed horizontal line.
        log_y: whether the y axis is logarithmic.
    """
    steps = np.asarray([row["step"] for row in history], dtype=np.int32)
    figure = go.Figure()
    for name, colour in zip(columns, PALETTE, strict=False):
        figure.add_scatter(
            x=steps,
            y=float32([row[name] for row in history]),
            name=name,
            mode="lines+markers",
            line={"color": colour, "width": 2},
            marker={"size": 5},
            showlegend=len(columns) > 1,
            hovertemplate=f"step %{{x}}<br>{name} %{{y:.4f}}<extra></extra>",
        )
    if reference is not None:
        label, value = reference
        figure.add_hline(y=value, line=DASHED, annotation={"text": label, **SMALL})
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

    Raises:
        ValueError: a token out of range.
    """
    check_range("tokens", tokens, 0, num_codes - 1)
    counts = torch.bincount(tokens.flatten(), minlength=num_codes)
    order = counts.argsort(descending=True, stable=True)
    percent = 100 * counts[order].double() / counts.sum()
    figure = go.Figure(
        go.Bar(
            x=np.arange(1, num_codes + 1, dtype=np.int32),
            y=float32(percent),
            customdata=order.numpy().astype(np.int32),
            marker={"color": PALETTE[0], "line": {"width": 0}},
            hovertemplate="code %{customdata}: %{y:.2f} %<extra></extra>",
        )
    )
    figure.add_hline(y=100 / num_codes, line=DASHED, annotation={"text": "even use", **SMALL})
    figure.update_layout(bargap=0)
    return _styled(figure, title, "rank of the code", "share of all tokens, %")


def fates_figure(fates, steps=None):
    """What has become of each token of one pose, step by step.

    Args:
        fates: int64 (N, n), index into FATES: 0 clean, 1 replaced, 2 Occ.
        steps: n ints, the steps that the columns show; None: 0, 1, 2, …

    Raises:
        ValueError: a value outside [0, 2].
    """
    check_range("fates", fates, 0, len(FATES) - 1)
    figure = go.Figure(
        go.Heatmap(
            z=fates.numpy().astype(np.uint8),
            x=None if steps is None else [str(step) for step in steps],
            zmin=-0.5,
            zmax=len(FATES) - 0.5,
            colorscale=steps_of(FATE_COLOURS),
            colorbar={"tickvals": list(range(len(FATES))), "ticktext": list(FATES)},
            hovertemplate="step %{x}, token %{y}<extra></extra>",
        )
    )
    if steps is not None:
        figure.update_xaxes(type="category")
    figure.update_yaxes(autorange="reversed")
    return _styled(figure, "", "step s", "token of the pose")


def token_reach_figure(movement_mm, title):
    """How far each joint moves when one token changes: a map of tokens by joints.

    Args:
        movement_mm: mean movement of joint j when token n changes, float (N, 17), mm.
        title: of the figure.

    Raises:
        ValueError: another shape, or a value that is not finite.
    """
    sizes = check_tensor("movement_mm", movement_mm, ("N", NUM_JOINTS), "float")
    figure = go.Figure(
        go.Heatmap(
            z=float32(movement_mm),
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


def curve_figure(curves, times, title, label="MPJPE, mm"):
    """Error over the number of reverse steps, a line for each way to go them.

    The axis above the figure says how long these steps take in random order.

    Args:
        curves: DataFrame of errors in mm, a row for each number of steps, a column for each way.
        times: {pictures at once: {steps: ms per pose}}, as `step_choice.times_per_pose` gives
            them, with every number of steps of the curves.
        title: of the figure.
        label: of the axis of errors.

    Raises:
        ValueError: no curves, or more than colours.
    """
    figure = go.Figure()
    for way, values, colour in looks("curves", dict(curves.items())):
        figure.add_scatter(
            x=curves.index.tolist(),
            y=values.tolist(),
            name=way,
            mode="lines+markers",
            line={"color": colour},
            hovertemplate=f"{way}<br>%{{x}} steps: %{{y:.1f}} mm<extra></extra>",
        )
    steps = curves.index.tolist()
    _add_time_axis(figure, steps, times)
    figure.update_xaxes(type="log", tickvals=steps)
    figure.layout.xaxis.title.text = "steps of inference"
    legend = {"orientation": "h", "x": 0, "y": -0.25, "yanchor": "top"}
    margin = {"t": 125, "b": 100}
    layout = {"legend": legend, "margin": margin, "title_y": 0.96}
    return style(figure, title, y=label, width=NARROW, height=480, **layout)


def _add_time_axis(figure, steps, times):
    """Write ms per pose above the steps, a line for each number of pictures at once."""
    lines = [
        "<br>".join(f"{ms[count]:.{0 if ms[count] >= 10 else 1}f}" for ms in times.values())
        for count in steps
    ]
    rows = " / ".join(f"{batch} picture{'' if batch == 1 else 's at once'}" for batch in times)
    # an axis that has no line of its own is not drawn
    nothing = {"x": steps, "y": [None] * len(steps), **HIDDEN}
    figure.add_scatter(xaxis="x2", mode="markers", **nothing)
    figure.update_layout(
        xaxis2={
            "title": {"text": f"ms per pose in random order: {rows}"},
            "type": "log",
            "tickvals": steps,
            "ticktext": lines,
            "matches": "x",
            "overlaying": "x",
            "side": "top",
            "showgrid": False,
        }
    )
