"""Figures of a data set: where the cameras stand, and a number for each joint."""

import numpy as np
import plotly.graph_objects as go

from di2pose_lib.base.checks import check_tensor, require
from di2pose_lib.base.skeleton import JOINT_NAMES, NUM_JOINTS
from di2pose_lib.figures.look import HIDDEN, INK, INSIDE, PALETTE, bone_lines, looks, style
from di2pose_lib.figures.poses import SIDE_BONES, scene_of

_SYMBOLS = ("circle", "square", "diamond", "cross")


def camera_figure(positions, joints, title):
    """Cameras and a person in the world frame (z up, metres), each camera with its line of sight.

    Args:
        positions: {label: float (n, 3)}, camera centres, metres.
        joints: a person, float (17, 3), world frame, metres; the cameras look at its pelvis.
        title: of the figure.

    Raises:
        ValueError: no cameras, more than four labels, wrong shapes or NaN.
    """
    check_tensor("joints", joints, (NUM_JOINTS, 3), "float")
    joints = joints.cpu().float().numpy()
    figure = go.Figure()
    for colour, bones in SIDE_BONES.items():
        x, y, z = bone_lines(joints[None], bones)
        line = {"color": colour, "width": 5}
        figure.add_scatter3d(x=x, y=y, z=z, mode="lines", line=line, **HIDDEN)
    everything = [joints]
    kinds = list(zip(PALETTE[2:], _SYMBOLS, strict=False))
    for label, centres, (colour, symbol) in looks("positions", positions, kinds):
        check_tensor("positions", centres, ("n", 3), "float")
        centres = centres.cpu().float().numpy()
        everything.append(centres)
        gap = np.full_like(centres, np.nan)
        pelvis = np.broadcast_to(joints[:1], centres.shape)
        x, y, z = np.stack([centres, pelvis, gap], axis=1).reshape(-1, 3).T
        figure.add_scatter3d(
            x=x,
            y=y,
            z=z,
            mode="lines+markers",
            marker={"symbol": symbol, "size": [6, 0, 0] * len(centres), "color": colour},
            line={"color": colour, "width": 2},
            name=label,
            hovertemplate=label + "<br>x %{x:.2f} m, y %{y:.2f} m, z %{z:.2f} m<extra></extra>",
        )
    titles = ("world x (m)", "world y (m)", "world z, up (m)")
    eye = {"x": 0.55, "y": -1.2, "z": 0.75}
    scene = scene_of(np.concatenate(everything), titles, eye)
    margin = {"l": 0, "r": 0, "t": 50, "b": 0}
    return style(figure, title, height=520, scene=scene, margin=margin, **INSIDE)


def joint_bars_figure(series, title, y_title):
    """One bar a joint for each series, with the names of the 17 joints below.

    Args:
        series: {label: float (17,)}; NaN leaves a bar out.
        title: of the figure.
        y_title: of the vertical axis, with its unit.

    Raises:
        ValueError: no series, or one without a value for each joint.
    """
    figure = go.Figure()
    drawn = np.zeros(NUM_JOINTS)
    for label, values, colour in looks("series", series, PALETTE[2:]):
        values = np.asarray(values, dtype=np.float32)
        require(
            values.shape == (NUM_JOINTS,),
            f"`series` must hold {NUM_JOINTS} values for {label}; got shape {values.shape}",
        )
        drawn += np.isfinite(values)
        figure.add_bar(
            x=list(JOINT_NAMES),
            y=values,
            name=label,
            marker_color=colour,
            hovertemplate="%{x}, " + label + ": %{y:.2f}<extra></extra>",
        )
    figure.update_xaxes(tickangle=-40, tickfont={"color": INK})
    figure.update_yaxes(rangemode="tozero")
    return style(
        figure,
        title,
        "joint",
        y_title,
        height=430,
        barmode="group" if drawn.max() > 1 else "overlay",  # side by side where they must
        legend={"orientation": "h", "y": 1.08, "x": 0},
        margin={"b": 105},
    )
