"""Figures of the ablations: errors over the steps of inference and over their time."""

import plotly.graph_objects as go

from di2pose_lib.base.checks import require
from di2pose_lib.figures.poses import PALETTE, style

WIDTH, HEIGHT = 720, 480  # pixels


def curve_figure(curves, times, title, error="one_sample_mm", label="MPJPE, mm"):
    """Error over the number of reverse steps, a line for each way to go them.

    The axis above the figure says how long these steps take in random order.

    Args:
        curves: {way: {"steps": [...], error: [...]}}, errors in mm.
        times: {pictures at once: {steps: ms per pose}}, as `step_choice.times_per_pose` gives
            them, with every number of steps of the curves.
        title: of the figure.
        error: which error of the curves is drawn.
        label: of its axis.

    Raises:
        ValueError: no curves, no times, or steps without one.
    """
    require(len(curves) > 0, "`curves` must hold at least one way; got none")
    require(len(times) > 0, "`times` must hold at least one number of pictures; got none")
    figure = go.Figure()
    for (way, curve), colour in zip(curves.items(), PALETTE, strict=False):
        figure.add_scatter(
            x=curve["steps"],
            y=curve[error],
            name=way,
            mode="lines+markers",
            line={"color": colour},
            hovertemplate=f"{way}<br>%{{x}} steps: %{{y:.1f}} mm<extra></extra>",
        )
    steps = next(iter(curves.values()))["steps"]
    figure.update_xaxes(title_text="steps of inference", type="log", tickvals=steps)
    figure.update_yaxes(title_text=label)
    _add_time_axis(figure, steps, times)
    figure.update_layout(legend={"orientation": "h", "x": 0, "y": -0.25, "yanchor": "top"})
    figure.update_layout(margin={"t": 125, "b": 100}, title_y=0.96)
    return style(figure, title, WIDTH, HEIGHT)


def _add_time_axis(figure, steps, times):
    """Write ms per pose above the steps, a line for each number of pictures at once."""
    for count in steps:
        lacking = [batch for batch, own in times.items() if count not in own]
        require(not lacking, f"`times` must hold {count} steps; those of {lacking} do not")
    lines = [
        "<br>".join(f"{own[count]:.{0 if own[count] >= 10 else 1}f}" for own in times.values())
        for count in steps
    ]
    rows = " / ".join(f"{batch} picture{'' if batch == 1 else 's at once'}" for batch in times)
    # an axis that has no line of its own is not drawn
    nothing = {"x": steps, "y": [None] * len(steps), "showlegend": False, "hoverinfo": "skip"}
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
