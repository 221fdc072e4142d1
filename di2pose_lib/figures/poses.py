"""Figures of poses, images and cameras in plotly: fixed size, small, the same bytes each time.

The left side of a body is blue and its right side vermillion in every figure, the trunk
grey (Okabe and Ito's palette, which colour-blind readers tell apart). Poses are given in
the camera frame (x right, y down, z forward, metres) and drawn upright: across the page
x, into the page z, up the page −y. No figure needs a live kernel.
"""

import base64
import io

import numpy as np
import plotly.graph_objects as go
import torch
from PIL import Image

from di2pose_lib.base.checks import check_range, check_tensor, require
from di2pose_lib.base.skeleton import BONES, JOINT_NAMES, NUM_JOINTS

LEFT, RIGHT, MIDDLE = "#0072B2", "#D55E00", "#5A5A5A"
PALETTE = (LEFT, RIGHT, "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#5A5A5A")
GRID, INK = "#D9D9D9", "#333333"
WIDTH = 900  # pixels, of most figures
MAX_FRAMES = 20  # of a film: each frame is stored whole
DASHES = ("solid", "dash", "dot", "longdash")  # first, second, … pose of a figure

# A token in a film, see `token_states`: what it shows now, beside what it ends as.
TOKEN_STATES = ("occluded", "another code", "its final code")
_STATE_COLOURS = ("#333333", "#E69F00", "#9FD8C4")

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


def style(figure, title, width=WIDTH, height=420):
    """Give a figure the common template, a title and a fixed size in pixels; returns it."""
    return figure.update_layout(template=TEMPLATE, title_text=title, width=width, height=height)


def png_data_uri(image):
    """The PNG file of an RGB image uint8 (3, H, W) as a data URI."""
    file = io.BytesIO()
    Image.fromarray(image.cpu().permute(1, 2, 0).numpy()).save(file, "PNG", optimize=True)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


def side_colour(joint):
    """Colour of a joint, and of the bone that ends in it."""
    return {"left": LEFT, "right": RIGHT}.get(JOINT_NAMES[joint].split()[0], MIDDLE)


_JOINT_COLOURS = [side_colour(joint) for joint in range(NUM_JOINTS)]
_SIDES = {
    colour: [bone for bone in BONES if side_colour(bone[1]) == colour]
    for colour in (LEFT, RIGHT, MIDDLE)
}


def _upright(poses):
    """Float32 array (H, J, 3) of plot axes from poses (J, 3) or (H, J, 3), camera frame."""
    poses = poses[None] if isinstance(poses, torch.Tensor) and poses.ndim == 2 else poses
    check_tensor("poses", poses, ("H", NUM_JOINTS, 3), "float")
    poses = poses.detach().cpu().float()
    return torch.stack([poses[..., 0], poses[..., 2], -poses[..., 1]], dim=-1).numpy()


def _bones(points, bones):
    """Polylines (axis, H × bones × 3) of points (H, J, n), NaN between one bone and the next."""
    ends = points[:, np.array(bones)]  # (H, bones, 2, n)
    gap = np.full_like(ends[:, :, :1], np.nan)
    return np.concatenate([ends, gap], axis=2).reshape(-1, points.shape[-1]).T


def _skeletons(points, label, dash, first=True):
    """Traces of upright points (H, J, 3): three of bones (left, right, trunk), one of joints."""
    many = len(points) > 1
    look = {"opacity": max(0.25, len(points) ** -0.5) if many else 1.0, "legendgroup": label}
    traces = []
    for colour, bones in _SIDES.items():
        x, y, z = _bones(points, bones)
        line = {"color": colour, "width": 3 if many else 6, "dash": dash}
        legend = {"name": label, "showlegend": first and colour == MIDDLE}
        lines = {"mode": "lines", "line": line, "hoverinfo": "skip", **legend, **look}
        traces.append(go.Scatter3d(x=x, y=y, z=z, **lines))
    x, y, z = points.reshape(-1, 3).T
    numbers = [f" {i + 1}" if many else "" for i in range(len(points))]
    joints = go.Scatter3d(
        x=x,
        y=y,
        z=z,
        mode="markers",
        marker={"size": 2.5 if many else 4, "color": _JOINT_COLOURS * len(points)},
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
    squares = (f"<span style='color:{colour}'>■</span> {name}" for name, colour in names.items())
    place = {"xref": "paper", "yref": "paper", "x": 0.01, "y": y}
    anchor = {"xanchor": "left", "yanchor": "bottom", "showarrow": False}
    return {"text": "   ".join(squares), **place, **anchor}


_SIDE_LEGEND = _legend_line({"left": LEFT, "right": RIGHT}, 1.0)


def pose_figure(poses, title, width=WIDTH, height=560):
    """Skeletons in 3D that can be turned; the first is solid, the next dashed, dotted, …

    Args:
        poses: {label: float (J, 3) or (H, J, 3)}, camera frame, metres; H poses under one
            label are drawn thin and translucent.
        title: of the figure.

    Raises:
        ValueError: no poses, more than four labels, wrong shapes or NaN.
    """
    require(1 <= len(poses) <= len(DASHES), f"`poses` must hold 1 to 4 labels; got {len(poses)}")
    points = {label: _upright(pose) for label, pose in poses.items()}
    figure = go.Figure()
    for dash, (label, own) in zip(DASHES, points.items(), strict=False):
        figure.add_traces(_skeletons(own, label, dash if len(own) == 1 else "solid"))
    everything = np.concatenate([own.reshape(-1, 3) for own in points.values()])
    figure.update_layout(
        scene=scene_of(everything, _POSE_TITLES, _POSE_EYE),
        annotations=[_SIDE_LEGEND],
        legend={"x": 0.99, "xanchor": "right", "y": 0.98},
        margin={"l": 0, "r": 0, "t": 70, "b": 0},
    )
    return style(figure, title, width, height)


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
    shares = [share for i in range(3) for share in (i / 3, (i + 1) / 3)]
    colours = [colour for colour in _STATE_COLOURS for _ in range(2)]
    names = [TOKEN_STATES[state] for state in states.tolist()]
    return go.Heatmap(
        z=states.cpu().numpy()[None],
        zmin=-0.5,
        zmax=2.5,
        colorscale=list(zip(shares, colours, strict=True)),
        showscale=False,
        xgap=1,
        text=[names],
        hovertemplate="token %{x}: %{text}<extra></extra>",
    )


def film_figure(frames, title, truth=None, width=WIDTH, height=720):
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
    require(len({p.shape for p in points}) == 1, "`frames` must all hold equally many poses")
    with_states = len(frames[0]) == 3
    figure = go.Figure()
    everything = list(points)
    if truth is not None:
        everything.append(_upright(truth))
        figure.add_traces(_skeletons(everything[-1], "truth", "dot"))
    fixed = len(figure.data)
    film = []
    for own, frame in zip(points, frames, strict=True):
        traces = _skeletons(own, "estimate", "solid")
        if with_states:
            check_tensor("states", frame[2], (len(frames[0][2]),), "uint8")
            traces.append(_token_strip(frame[2]))
        film.append(traces)
    figure.add_traces(film[0])
    changing = list(range(fixed, len(figure.data)))
    figure.frames = [
        go.Frame(data=traces, traces=changing, name=frame[0])
        for traces, frame in zip(film, frames, strict=True)
    ]
    scene = scene_of(
        np.concatenate([p.reshape(-1, 3) for p in everything]), _POSE_TITLES, _POSE_EYE
    )
    legends = [_SIDE_LEGEND]
    if with_states:
        legends.append(_legend_line(dict(zip(TOKEN_STATES, _STATE_COLOURS, strict=True)), 0.065))
        scene["domain"] = {"x": [0, 1], "y": [0.15, 1]}
        figure.update_xaxes(title={"text": "token (number)", "standoff": 4}, ticks="")
        figure.update_yaxes(visible=False, domain=[0.0, 0.06])
    figure.update_layout(
        scene=scene,
        annotations=legends,
        legend={"x": 0.99, "xanchor": "right", "y": 0.98},
        margin={"l": 30, "r": 30, "t": 70, "b": 140},
        sliders=[_slider([frame[0] for frame in frames])],
        updatemenus=[_play_button()],
    )
    return style(figure, title, width, height)


def _show(names, milliseconds):
    still = {"mode": "immediate", "transition": {"duration": 0}}
    return [names, {"frame": {"duration": milliseconds, "redraw": True}, **still}]


def _slider(names):
    steps = [{"label": name, "method": "animate", "args": _show([name], 0)} for name in names]
    return {
        "steps": steps,
        "active": 0,
        "x": 0.14,
        "len": 0.86,
        "y": -0.06,
        "yanchor": "top",
        "pad": {"t": 30},
        "currentvalue": {"prefix": "", "font": {"size": 14}},
        "ticklen": 4,
    }


def _play_button():
    return {
        "type": "buttons",
        "x": 0.0,
        "xanchor": "left",
        "y": -0.06,
        "yanchor": "top",
        "pad": {"t": 45},
        "showactive": False,
        "buttons": [{"label": "▶ Play", "method": "animate", "args": _show(None, 500)}],
    }


GUTTER = 3  # pixels of an image between two images of a mosaic


def image_figure(
    images,
    joints_2d=None,
    visible=None,
    titles=None,
    columns=6,
    *,
    covered=None,
    title="",
    width=WIDTH,
):
    """A mosaic of images, enlarged without smoothing, with their 2D joints on top.

    Args:
        images: uint8 (n, 3, H, W), RGB.
        joints_2d: float (n, 17, 2), pixels of each image; NaN throughout for an image
            that is shown without. None: all are.
        visible: bool (n, 17); visible joints are discs, the others circles. None: all are.
        titles: n strings above the images, or None.
        columns: images in a row.
        covered: bool (n, 17); joints behind an occluder or outside the image are crosses
            and only the self-occluded ones circles. None: no crosses.
        title: of the figure.
        width: of the figure in pixels; its height follows.

    Raises:
        ValueError: shapes disagree, NaN, or titles of another number.
    """
    sizes = check_tensor("images", images, ("n", 3, "H", "W"), "uint8")
    count, height, own_width = sizes["n"], sizes["H"], sizes["W"]
    require(columns >= 1, f"`columns` must be at least 1; got {columns}")
    require(
        titles is None or len(titles) == count,
        f"`titles` must be {count} strings; got {len(titles) if titles is not None else 0}",
    )
    columns = min(columns, count)
    rows = -(-count // columns)
    gap = max(GUTTER, round(0.14 * height) if titles else GUTTER)  # room for a title
    step_x, step_y = own_width + GUTTER, height + gap
    canvas = torch.full((3, rows * step_y, columns * step_x - GUTTER), 255, dtype=torch.uint8)
    corners = []
    for number, image in enumerate(images.cpu()):
        left, top = number % columns * step_x, number // columns * step_y + gap
        canvas[:, top : top + height, left : left + own_width] = image
        corners.append((left, top))
    figure = go.Figure(go.Image(source=png_data_uri(canvas), hoverinfo="skip"))
    if titles:
        figure.update_layout(
            annotations=[
                {"x": left - 0.5, "y": top - 0.5, "text": text, "showarrow": False}
                | {"xanchor": "left", "yanchor": "bottom", "font": {"size": 12}}
                for text, (left, top) in zip(titles, corners, strict=True)
            ]
        )
    if joints_2d is not None:
        figure.add_traces(_joints_2d(joints_2d, visible, covered, corners))
    scale = (width - 20) / canvas.shape[2]
    hidden = {"visible": False, "constrain": "domain"}
    figure.update_xaxes(range=[-0.5, canvas.shape[2] - 0.5], **hidden)
    figure.update_yaxes(range=[canvas.shape[1] - 0.5, -0.5], scaleanchor="x", **hidden)
    top = 40 if title else 5
    below = 40 if joints_2d is not None else 5
    figure.update_layout(
        legend={"orientation": "h", "y": 0, "yanchor": "top", "x": 0},
        margin={"l": 10, "r": 10, "t": top, "b": below},
    )
    return style(figure, title, width, round(scale * canvas.shape[1]) + top + below)


def _joints_2d(joints_2d, visible, covered, corners):
    """Traces of bones and joints in a mosaic, whose images have these top left corners."""
    shape = (len(corners), NUM_JOINTS)
    check_tensor("joints_2d", joints_2d, (*shape, 2))
    without = joints_2d.isnan().flatten(1).all(dim=1)
    check_tensor("joints_2d", joints_2d[~without], ("n", NUM_JOINTS, 2), "float")
    everywhere = torch.ones(shape, dtype=torch.bool)
    visible = everywhere if visible is None else visible
    covered = ~everywhere if covered is None else covered
    check_tensor("visible", visible, shape, "bool")
    check_tensor("covered", covered, shape, "bool")
    points = joints_2d.detach().cpu().float() + torch.tensor(corners).float()[:, None]
    points, visible, covered = points.numpy(), visible.cpu().numpy(), covered.cpu().numpy()
    traces = []
    for colour, bones in _SIDES.items():
        x, y = _bones(points, bones)
        line = {"color": colour, "width": 1.5}
        lines = {"mode": "lines", "line": line, "opacity": 0.7, "hoverinfo": "skip"}
        traces.append(go.Scatter(x=x, y=y, showlegend=False, **lines))
    kinds = {
        "visible": ("circle", visible),
        "behind the own body": ("circle-open", ~visible & ~covered),
        "covered": ("x", covered),
    }
    for name, (symbol, chosen) in kinds.items():
        image, joint = np.nonzero(chosen & np.isfinite(points[..., 0]))
        if len(joint) == 0:
            continue
        x, y = points[image, joint].T
        marker = {
            "symbol": symbol,
            "size": 7,
            "color": [_JOINT_COLOURS[j] for j in joint],
            "line": {"width": 2 if symbol == "circle-open" else 1},
        }
        if symbol != "circle-open":
            marker["line"]["color"] = "#FFFFFF"
        text = [f"{JOINT_NAMES[j]}, {name}" for j in joint]
        hover = {"text": text, "hovertemplate": "%{text}<extra></extra>"}
        traces.append(go.Scatter(x=x, y=y, mode="markers", marker=marker, name=name, **hover))
    return traces
