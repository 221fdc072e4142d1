"""Figures of pictures: a mosaic with 2D joints on top."""

import base64
import io

import numpy as np
import plotly.graph_objects as go
import torch
from PIL import Image

from di2pose_lib.base.checks import check_tensor
from di2pose_lib.base.skeleton import JOINT_NAMES, NUM_JOINTS
from di2pose_lib.figures.look import WIDTH, bone_lines, style
from di2pose_lib.figures.poses import JOINT_COLOURS, SIDE_BONES

GUTTER = 3  # pixels of an image between two images of a mosaic


def png_data_uri(image):
    """The PNG file of an RGB image uint8 (3, H, W) as a data URI."""
    file = io.BytesIO()
    Image.fromarray(image.cpu().permute(1, 2, 0).numpy()).save(file, "PNG", compress_level=9)
    return "data:image/png;base64," + base64.b64encode(file.getvalue()).decode()


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
    check_tensor("images", images, ("n", 3, "H", "W"), "uint8")
    count, _, height, image_width = images.shape
    columns = min(columns, count)
    rows = -(-count // columns)
    gap = max(GUTTER, round(0.14 * height) if titles else GUTTER)  # room for a title
    step_x, step_y = image_width + GUTTER, height + gap
    canvas = torch.full((3, rows * step_y, columns * step_x - GUTTER), 255, dtype=torch.uint8)
    corners = []
    for number, image in enumerate(images.cpu()):
        left, top = number % columns * step_x, number // columns * step_y + gap
        canvas[:, top : top + height, left : left + image_width] = image
        corners.append((left, top))
    figure = go.Figure(go.Image(source=png_data_uri(canvas), hoverinfo="skip"))
    notes = [
        {"x": left - 0.5, "y": top - 0.5, "text": text, "showarrow": False}
        | {"xanchor": "left", "yanchor": "bottom", "font": {"size": 12}}
        for text, (left, top) in zip(titles or [], corners if titles else [], strict=True)
    ]
    if joints_2d is not None:
        figure.add_traces(_joints_2d(joints_2d, visible, covered, corners))
    scale = (width - 20) / canvas.shape[2]
    hidden = {"visible": False, "constrain": "domain"}
    figure.update_xaxes(range=[-0.5, canvas.shape[2] - 0.5], **hidden)
    figure.update_yaxes(range=[canvas.shape[1] - 0.5, -0.5], scaleanchor="x", **hidden)
    top, below = 40 if title else 5, 40 if joints_2d is not None else 5
    return style(
        figure,
        title,
        width=width,
        height=round(scale * canvas.shape[1]) + top + below,
        annotations=notes,
        legend={"orientation": "h", "y": 0, "yanchor": "top", "x": 0},
        margin={"l": 10, "r": 10, "t": top, "b": below},
    )


def _joints_2d(joints_2d, visible, covered, corners):
    """Traces of bones and joints in a mosaic, whose images have these top left corners."""
    shape = (len(corners), NUM_JOINTS)
    check_tensor("joints_2d", joints_2d, (*shape, 2))
    without = joints_2d.isnan().flatten(1).all(dim=1)
    check_tensor("joints_2d", joints_2d[~without], ("n", NUM_JOINTS, 2), "float")
    everywhere = torch.ones(shape, dtype=torch.bool)
    visible = everywhere if visible is None else visible
    covered = ~everywhere if covered is None else covered
    points = joints_2d.detach().cpu().float() + torch.tensor(corners).float()[:, None]
    points, visible, covered = points.numpy(), visible.cpu().numpy(), covered.cpu().numpy()
    traces = []
    for colour, bones in SIDE_BONES.items():
        x, y = bone_lines(points, bones)
        line = {"color": colour, "width": 1.5}
        lines = {"mode": "lines", "line": line, "opacity": 0.7, "hoverinfo": "skip"}
        traces.append(go.Scatter(x=x, y=y, showlegend=False, **lines))
    kinds = {
        "visible": ("circle", visible),
        "behind the body": ("circle-open", ~visible & ~covered),
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
            "color": [JOINT_COLOURS[j] for j in joint],
            "line": {"width": 2 if symbol == "circle-open" else 1},
        }
        if symbol != "circle-open":
            marker["line"]["color"] = "#FFFFFF"
        text = [f"{JOINT_NAMES[j]}, {name}" for j in joint]
        hover = {"text": text, "hovertemplate": "%{text}<extra></extra>"}
        traces.append(go.Scatter(x=x, y=y, mode="markers", marker=marker, name=name, **hover))
    return traces
