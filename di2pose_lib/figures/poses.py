"""Figures of poses in 3D, one or many, still or as a film.

Poses are given in the camera frame (x right, y down, z forward, metres) and drawn upright:
across the page x, into the page z, up the page −y.
"""

import numpy as np
import plotly.graph_objects as go
import torch

from di2pose_lib.base.checks import check_range, check_tensor, require
from di2pose_lib.base.skeleton import BONES, JOINT_NAMES, NUM_JOINTS
from di2pose_lib.figures.look import (
    INSIDE,
    LEFT,
    MIDDLE,
    RIGHT,
    bone_lines,
    controls,
    looks,
    side_colour,
    squares,
    steps_of,
    style,
)

MAX_FRAMES = 20  # of a film: each frame is stored whole
DASHES = ("solid", "dash", "dot", "longdash")  # first, second, … pose of a figure

# A token in a film, see `token_states`: what it shows now, beside what it ends as.
TOKEN_STATES = ("occluded", "another code", "its final code")
_STATE_COLOURS = ("#333333", "#E69F00", "#9FD8C4")

JOINT_COLOURS = [side_colour(joint) for joint in range(NUM_JOINTS)]
SIDE_BONES = {
    colour: [bone for bone in BONES if side_colour(bone[1]) == colour]
    for colour in (LEFT, RIGHT, MIDDLE)
}


def _upright(poses):
    """Float32 array (H, J, 3) of plot axes from poses (J, 3) or (H, J, 3), camera frame."""
    poses = poses[None] if isinstance(poses, torch.Tensor) and poses.ndim == 2 else poses
    check_tensor("poses", poses, ("H", NUM_JOINTS, 3), "float")
    poses = poses.detach().cpu().float()
    return torch.stack([poses[..., 0], poses[..., 2], -poses[..., 1]], dim=-1).numpy()


def _skeletons(points, label, dash):
    """Traces of upright points (H, J, 3): three of bones (left, right, trunk), one of joints."""
    many = len(points) > 1
    look = {"opacity": max(0.25, len(points) ** -0.5) if many else 1.0, "legendgroup": label}
    traces = []
    for colour, bones in SIDE_BONES.items():
        x, y, z = bone_lines(points, bones)
        line = {"color": colour, "width": 3 if many else 6, "dash": dash}
        legend = {"name": label, "showlegend": colour == MIDDLE}
        lines = {"mode": "lines", "line": line, "hoverinfo": "skip", **legend, **look}
        traces.append(go.Scatter3d(x=x, y=y, z=z, **lines))
    x, y, z = points.reshape(-1, 3).T
    numbers = [f" {i + 1}" if many else "" for i in range(len(points))]
    joints = go.Scatter3d(
        x=x,
        y=y,
        z=z,
        mode="markers",
        marker={"size": 2.5 if many else 4, "color": JOINT_COLOURS * len(points)},
        text=[f"{joint}, {label}{number}" for number in numbers for joint in JOINT_NAMES],
        hovertemplate="%{text}<br>x %{x:.3f} m, y %{customdata:.3f} m, z %{y:.3f} m<extra></extra>",
        customdata=-z,
        showlegend=False,
        **look,
    )
    return [*traces, joints]


def scene_of(points, titles, eye):
    """Layout of a 3D scene of equal aspect that holds points (n, 3), with its axis titles."""
    low, high = points.min(axis=0), points.max(axis=0)
    middle, extent = (low + high) / 2, np.maximum(high - low, 0.45 * (high - low).max()) * 1.08
    scene = {"aspectmode": "manual", "camera": {"eye": eye, "center": {"x": 0, "y": 0, "z": -0.13}}}
    # a tall box may fill the height; the corners of a cube need room
    ratio = 1.12 * extent / (0.5 * extent.max() + 0.35 * np.linalg.norm(extent))
    for axis, title, centre, size in zip("xyz", titles, middle, extent, strict=True):
        limits = [round(float(centre - size / 2), 3), round(float(centre + size / 2), 3)]
        scene[f"{axis}axis"] = {"title": {"text": title}, "range": limits, "nticks": 6}
    scene["aspectratio"] = {axis: round(float(r), 3) for axis, r in zip("xyz", ratio, strict=True)}
    return scene


_POSE_TITLES = ("x, right (m)", "z, away (m)", "−y, up (m)")
_POSE_EYE = {"x": 0.8, "y": -1.75, "z": 0.35}  # behind the camera, to its right and above


def _legend_line(names, y):
    """One line of text that names colours, at the left end of the figure's height y in [0, 1]."""
    place = {"xref": "paper", "yref": "paper", "x": 0.01, "y": y}
    anchor = {"xanchor": "left", "yanchor": "bottom", "showarrow": False}
    return {"text": squares(names), **place, **anchor}


def _scene(points):
    """`scene_of` all of these upright points, arrays (H, J, 3)."""
    everything = np.concatenate([each.reshape(-1, 3) for each in points])
    return scene_of(everything, _POSE_TITLES, _POSE_EYE)


_SIDE_LEGEND = _legend_line({"left": LEFT, "right": RIGHT}, 1.0)


def pose_figure(poses, title):
    """Skeletons in 3D that can be turned; the first is solid, the next dashed, dotted, …

    Args:
        poses: {label: float (J, 3) or (H, J, 3)}, camera frame, metres; H poses under one
            label are drawn thin and translucent.
        title: of the figure.

    Raises:
        ValueError: no poses, more than four labels, wrong shapes or NaN.
    """
    points = {label: _upright(pose) for label, pose in poses.items()}
    figure = go.Figure()
    for label, pose, dash in looks("poses", points, DASHES):
        figure.add_traces(_skeletons(pose, label, dash if len(pose) == 1 else "solid"))
    scene = _scene(points.values())
    margin = {"l": 0, "r": 0, "t": 70, "b": 0}
    layout = {"scene": scene, "annotations": [_SIDE_LEGEND], "margin": margin, **INSIDE}
    return style(figure, title, height=560, **layout)


def token_states(k_s, k_final, num_codes):
    """Place in `TOKEN_STATES` of each token, uint8 (N,), of a chain that ends in `k_final`.

    Args:
        k_s: tokens now, int64 (N,), in [0, C]; C is Occ.
        k_final: tokens at step 0, int64 (N,), in [0, C).
        num_codes: C.
    """
    sizes = check_tensor("k_s", k_s, ("N",), "int64")
    check_tensor("k_final", k_final, (sizes["N"],), "int64")
    check_range("k_s", k_s, 0, num_codes)
    check_range("k_final", k_final, 0, num_codes - 1)
    states = torch.where(k_s == k_final, 2, 1)
    return torch.where(k_s == num_codes, 0, states).to(torch.uint8)


def _token_strip(states):
    """A one-row heatmap of token states uint8 (N,)."""
    names = [TOKEN_STATES[state] for state in states.tolist()]
    return go.Heatmap(
        z=states.cpu().numpy()[None],
        zmin=-0.5,
        zmax=2.5,
        colorscale=steps_of(_STATE_COLOURS),
        showscale=False,
        xgap=1,
        text=[names],
        hovertemplate="token %{x}: %{text}<extra></extra>",
    )


def film_figure(frames, title, truth=None):
    """A film of poses with a slider and a play button, at most `MAX_FRAMES` frames.

    Args:
        frames: list of (name, poses (H, J, 3)) or (name, poses, states uint8 (N,)), the
            states as `token_states` gives them; all of one H, and of one N.
        title: of the figure.
        truth: pose (J, 3) that stays in the picture, dotted, or None.

    Raises:
        ValueError: no frames or too many, wrong shapes, states in some frames only.
    """
    require(
        1 <= len(frames) <= MAX_FRAMES,
        f"`frames` must hold 1 to {MAX_FRAMES} frames; got {len(frames)}",
    )
    require(len({len(frame) for frame in frames}) == 1, "`frames` must all have states, or none")
    points = [_upright(frame[1]) for frame in frames]
    with_states = len(frames[0]) == 3
    figure = go.Figure()
    still = [] if truth is None else [_upright(truth)]
    for pose in still:
        figure.add_traces(_skeletons(pose, "truth", "dot"))
    fixed = len(figure.data)
    film = [
        [*_skeletons(poses, "estimate", "solid"), *map(_token_strip, states)]
        for poses, (_, _, *states) in zip(points, frames, strict=True)
    ]
    figure.add_traces(film[0])
    changing = list(range(fixed, len(figure.data)))
    figure.frames = [
        go.Frame(data=traces, traces=changing, name=frame[0])
        for traces, frame in zip(film, frames, strict=True)
    ]
    scene, legends = _scene([*points, *still]), [_SIDE_LEGEND]
    if with_states:
        legends.append(_legend_line(dict(zip(TOKEN_STATES, _STATE_COLOURS, strict=True)), 0.065))
        scene["domain"] = {"x": [0, 1], "y": [0.15, 1]}
        figure.update_xaxes(title={"text": "token (number)", "standoff": 4}, ticks="")
        figure.update_yaxes(visible=False, domain=[0.0, 0.06])
    margin = {"l": 30, "r": 30, "t": 70, "b": 140}
    layout = {"scene": scene, "annotations": legends, "margin": margin, **INSIDE}
    layout |= controls([name for name, *_ in frames], -0.06)
    return style(figure, title, height=720, **layout)
