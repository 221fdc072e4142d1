"""Figures of the ablations: errors over the steps of inference."""

import plotly.graph_objects as go

from di2pose_lib.checks import require
from di2pose_lib.figures import PALETTE, style

WIDTH, HEIGHT = 720, 400  # pixels


def curve_figure(curves, title, error="one_sample_mm", label="MPJPE, mm"):
    """Error over the number of reverse steps, a line for each way to go them.

    Args:
        curves: {way: {"steps": [...], error: [...]}}, errors in mm.
        title: of the figure.
        error: which error of the curves is drawn.
        label: of its axis.

    Raises:
        ValueError: no curves.
    """
    require(len(curves) > 0, "`curves` must hold at least one way; got none")
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
    figure.update_layout(legend={"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"})
    figure.update_layout(margin={"t": 80})
    return style(figure, title, WIDTH, HEIGHT)
