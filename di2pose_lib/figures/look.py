"""What all figures share: colours, the template, titles, legends, and a film's controls.

The left side of a body is blue and its right side vermillion in every figure, the trunk
grey (Okabe and Ito's palette, which colour-blind readers tell apart). A figure has a fixed
size, is small, has the same bytes each time, and needs no live kernel.
"""

import numpy as np
import plotly.graph_objects as go

from di2pose_lib.base.checks import require
from di2pose_lib.base.skeleton import JOINT_NAMES

LEFT, RIGHT, MIDDLE = "#0072B2", "#D55E00", "#5A5A5A"
PALETTE = (LEFT, RIGHT, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5A5A5A")
GRID, INK = "#D9D9D9", "#333333"
WIDTH, NARROW = 900, 720  # pixels
DASHED = {"color": INK, "dash": "dash", "width": 1}  # a line to compare with
HIDDEN = {"showlegend": False, "hoverinfo": "skip"}

_AXIS = {"gridcolor": GRID, "zerolinecolor": GRID, "linecolor": INK, "ticks": "outside"}
_AXIS_3D = {"backgroundcolor": "#FFFFFF", "gridcolor": GRID, "zerolinecolor": GRID}
TEMPLATE = go.layout.Template(
    layout={
        "colorway": PALETTE,
        "font": {"family": "Arial, Helvetica, sans-serif", "size": 13, "color": INK},
        "paper_bgcolor": "#FFFFFF",
        "plot_bgcolor": "#FFFFFF",
        "hoverlabel": {"align": "left"},
        "xaxis": _AXIS,
        "yaxis": _AXIS,
        "scene": {f"{axis}axis": _AXIS_3D for axis in "xyz"},
        "title": {"x": 0.02, "xanchor": "left", "font": {"size": 16}},
        "margin": {"l": 70, "r": 20, "t": 60, "b": 60},
    }
)

# Places of a legend, each with the margins that it needs. Below the axis is room for long names,
# which would run into the title.
ABOVE = {
    "legend": {"orientation": "h", "x": 0, "y": 1.0, "yanchor": "bottom"},
    "margin": {"l": 70, "r": 30, "t": 80, "b": 60},
}
BELOW = {
    "legend": {"orientation": "h", "x": 0, "y": -0.22, "yanchor": "top"},
    "margin": {"l": 70, "r": 30, "t": 50, "b": 150},
}
INSIDE = {"legend": {"x": 0.99, "xanchor": "right", "y": 0.98}}


def style(figure, title, x=None, y=None, width=WIDTH, height=420, **layout):
    """Give a figure the common template, titles and a fixed size in pixels; returns it.

    Args:
        figure: changed in place.
        title: of the figure.
        x, y: titles of all its axes with their units; None leaves them as they are.
        width, height: pixels.
        layout: what else plotly's layout shall hold, such as `ABOVE`.
    """
    if x is not None:
        figure.update_xaxes(title_text=x)
    if y is not None:
        figure.update_yaxes(title_text=y)
    size = {"width": width, "height": height}
    return figure.update_layout(template=TEMPLATE, title_text=title, **size, **layout)


def float32(values):
    """Numbers as four bytes each, which is how a figure stays small."""
    return np.asarray(values, dtype=np.float32)


def looks(name, series, kinds=PALETTE):
    """(label, values, look) of each of `series`, a dict; no two of a figure look alike.

    Raises:
        ValueError: nothing to draw, or more than there are `kinds`; `name` names the argument.
    """
    most = len(kinds)
    require(1 <= len(series) <= most, f"`{name}` must hold 1 to {most} series; got {len(series)}")
    return [(*item, kind) for item, kind in zip(series.items(), kinds, strict=False)]


def side_colour(joint):
    """Colour of a joint, and of the bone that ends in it."""
    return {"left": LEFT, "right": RIGHT}.get(JOINT_NAMES[joint].split()[0], MIDDLE)


def bone_lines(points, bones):
    """Polylines (axis, n × bones × 3) of points (n, J, axis), NaN between one bone and the next."""
    ends = points[:, np.asarray(bones)]  # (n, bones, 2, axis)
    gap = np.full_like(ends[:, :, :1], np.nan)
    return np.concatenate([ends, gap], axis=2).reshape(-1, points.shape[-1]).T


def squares(colours):
    """One line of text that names colours, {name: colour}."""
    return "   ".join(f"<span style='color:{c}'>■</span> {name}" for name, c in colours.items())


def steps_of(colours):
    """A heatmap's colour scale with one even step for each colour."""
    count = len(colours)
    return [[(i + j) / count, colour] for i, colour in enumerate(colours) for j in (0, 1)]


def controls(names, y):
    """Layout of a film's slider and play button, their top at the figure's height y in [0, 1]."""

    def show(frames, milliseconds):
        still = {"mode": "immediate", "transition": {"duration": 0}}
        return [frames, {"frame": {"duration": milliseconds, "redraw": True}, **still}]

    slider = {
        "steps": [{"label": n, "method": "animate", "args": show([n], 0)} for n in names],
        "active": 0,
        "x": 0.14,
        "len": 0.86,
        "y": y,
        "yanchor": "top",
        "pad": {"t": 30},
        "currentvalue": {"prefix": "", "font": {"size": 14}},
        "ticklen": 4,
    }
    play = {
        "type": "buttons",
        "x": 0.0,
        "xanchor": "left",
        "y": y,
        "yanchor": "top",
        "pad": {"t": 45},
        "showactive": False,
        "buttons": [{"label": "▶ Play", "method": "animate", "args": show(None, 500)}],
    }
    return {"sliders": [slider], "updatemenus": [play]}
