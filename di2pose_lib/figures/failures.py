"""A gallery of wrong poses: each picture with its true and its predicted skeleton.

All skeletons have one scale, which a bar tells, so that a large error looks large.
"""

import numpy as np
import plotly.graph_objects as go
import torch

from di2pose_lib.base.checks import check_tensor, require
from di2pose_lib.base.metrics import joint_errors_mm
from di2pose_lib.base.skeleton import JOINT_NAMES, NUM_JOINTS
from di2pose_lib.figures.look import INK, LEFT, MIDDLE, RIGHT, WIDTH, side_colour, squares, style
from di2pose_lib.figures.pictures import png_data_uri

# Pixels of the figure.
MARGIN, ABOVE, BELOW = 10, 86, 36  # sides; title and legend; bar
TITLE, GAP, FRINGE = 36, 14, 6  # over a case: two lines; between cases; round a skeleton
PICTURE_SHARE = 0.45  # height of a picture in widths of a case
MOST_ROWS = 64  # of an embedded picture, in pixels; larger ones are shrunk
COLOUR_STEP = 8  # of 256, to which its colours are rounded: that saves most of its bytes
BAR_M = 0.5  # what the bar stands for, metres

_SIDES = {"left": LEFT, "right": RIGHT, "trunk": MIDDLE}
_LEGEND = {"truth (its left dotted)": INK}
_LEGEND |= {f"predicted {side}": colour for side, colour in _SIDES.items()}
_VIEWS = "Beside each picture: from the front, and from the right (the camera is on the left)."

# Bones as lines from the trunk outwards; each bone has the side of the joint it ends in.
_CHAINS = {
    "left": ((0, 4, 5, 6), (8, 11, 12, 13)),
    "right": ((0, 1, 2, 3), (8, 14, 15, 16)),
    "trunk": ((0, 7, 8, 9, 10),),
}


def gallery_figure(images, pose_pred, pose, titles, title, columns=3):
    """Pictures, and beside each its skeletons from the front (x, y) and the side (z, y).

    True skeletons are dark, their left side dotted, predicted ones coloured by side; hovering
    over a predicted joint tells its name and its error. The pelves are laid on each other, as
    for MPJPE.

    Args:
        images: uint8 (n, 3, h, w), RGB.
        pose_pred: predicted joints, float (n, 17, 3), metres, camera frame.
        pose: true joints, likewise.
        titles: n strings, of one or two lines ("<br>" between) of some 30 letters.
        title: of the figure.
        columns: cases in a row.

    Raises:
        ValueError: shapes disagree, NaN, titles of another number, or so many columns that
            nothing fits beside the pictures.
    """
    sizes = check_tensor("images", images, ("n", 3, "h", "w"), "uint8")
    count = sizes["n"]
    case = (WIDTH - 2 * MARGIN - (columns - 1) * GAP) / columns
    height = round(PICTURE_SHARE * case)
    picture = height * sizes["w"] / sizes["h"]
    room = case - picture  # for both views
    shape = f"{sizes['h']} × {sizes['w']}"
    require(
        room > 10 * FRINGE,
        f"`columns` must leave room for skeletons beside images of {shape}; got {columns}",
    )
    corners = [
        (i % columns * (case + GAP), i // columns * (TITLE + height + GAP) + TITLE)
        for i in range(count)
    ]
    poses = torch.stack([pose, pose_pred]).detach().cpu().double()
    poses = poses - poses[:, :, :1]
    starts = np.array(corners) + [picture, 0]
    points, scale = _laid_out(poses.numpy(), starts, room, height)
    truth, predicted = points
    figure = go.Figure(
        [
            _picture(image, x, y, height)
            for image, (x, y) in zip(_small(images.cpu()), corners, strict=True)
        ]
    )
    for side in _SIDES:
        dash = "dot" if side == "left" else "solid"
        figure.add_trace(_bone_lines(truth, side, {"color": INK, "dash": dash}, f"truth {side}"))
    for side, colour in _SIDES.items():
        line = {"color": colour}
        figure.add_trace(_bone_lines(predicted, side, line, f"predicted {side}"))
    errors = joint_errors_mm(pose_pred, pose).cpu()
    for side, colour in _SIDES.items():
        figure.add_trace(_joint_marks(predicted, errors, colour, f"joints {side}"))
    bottom = corners[-1][1] + height
    figure.add_trace(_bar(scale, bottom + BELOW / 2))
    over = {"yref": "paper", "y": 1}  # the top of the first titles
    hidden = {"visible": False, "constrain": "domain", "fixedrange": True}
    figure.update_xaxes(range=[0, WIDTH - 2 * MARGIN], **hidden)
    figure.update_yaxes(range=[bottom + BELOW, 0], scaleanchor="x", **hidden)
    figure.update_layout(title={"x": MARGIN / WIDTH, "y": 1, "yanchor": "top", "pad": {"t": 10}})
    return style(
        figure,
        title,
        height=round(ABOVE + bottom + BELOW),
        annotations=[
            *(_text(text, x, y, "bottom") for text, (x, y) in zip(titles, corners, strict=True)),
            _text(squares(_LEGEND), 0, 0, "bottom", 13) | over | {"yshift": 24},
            _text(_VIEWS, 0, 0, "bottom") | over | {"yshift": 6},
            _text(f"{BAR_M} m", BAR_M * scale + 6, bottom + BELOW / 2, "middle"),
        ],
        margin={"l": MARGIN, "r": MARGIN, "t": ABOVE, "b": 0},
        showlegend=False,
        hovermode="closest",
    )


def _laid_out(poses, starts, width, height):
    """Points (2, n, view, J, xy), in pixels, of poses (2, n, J, 3), and pixels per metre.

    A case's two views stand side by side, with equal gaps, in the room of `width` and `height`
    whose top left corner is its row of `starts` (n, xy). The largest case fills its room.
    """
    views = np.stack([poses[..., [0, 1]], poses[..., [2, 1]]], axis=2)
    low, high = views.min(axis=(0, 3)), views.max(axis=(0, 3))  # (n, view, xy)
    wide, tall = np.moveaxis(np.maximum(high - low, 1e-3), -1, 0)  # (n, view), metres
    scale = (width - 3 * FRINGE) / wide.sum(axis=1).max()
    scale = min(scale, (height - 2 * FRINGE) / tall.max())
    gap = (width - scale * wide.sum(axis=1)) / 3
    lefts = np.stack([gap, 2 * gap + scale * wide[:, 0]], axis=1)
    tops = (height - scale * tall) / 2
    places = np.stack([lefts, tops], axis=-1) + starts[:, None]  # of the views' corners
    return (views - low[:, :, None]) * scale + places[:, :, None], float(scale)


def _pixels(values):
    return np.round(values, 1).astype(np.float32)


def _bone_lines(points, side, line, name):
    """Lines of a side's bones in points (n, view, J, xy), with a gap after each."""
    gap = np.full_like(points[:, :, :1], np.nan)
    parts = [part for chain in _CHAINS[side] for part in (points[:, :, list(chain)], gap)]
    x, y = _pixels(np.concatenate(parts, axis=2).reshape(-1, 2).T)
    line = {"width": 2, **line}
    return go.Scatter(x=x, y=y, mode="lines", line=line, hoverinfo="skip", name=name)


def _joint_marks(points, errors, colour, name):
    """Discs on a colour's joints of points (n, view, J, xy), that tell their errors (n, J)."""
    joints = [joint for joint in range(NUM_JOINTS) if side_colour(joint) == colour]
    x, y = _pixels(points[:, :, joints].reshape(-1, 2).T)
    cases = [[f"{JOINT_NAMES[j]}: {case[j]:.0f} mm" for j in joints] for case in errors.tolist()]
    return go.Scatter(
        x=x,
        y=y,
        mode="markers",
        marker={"size": 4, "color": colour},
        text=[text for case in cases for text in 2 * case],  # once for each view
        hovertemplate="%{text}<extra></extra>",
        name=name,
    )


def _bar(scale, y):
    """A bar of `BAR_M` at the left end of height y, in pixels."""
    line = {"color": INK, "width": 3}
    x = _pixels([0, BAR_M * scale])
    return go.Scatter(x=x, y=_pixels([y, y]), mode="lines", line=line, hoverinfo="skip", name="bar")


def _small(images):
    """Images of at most `MOST_ROWS` rows (blocks of pixels are averaged), in fewer colours."""
    blocks = -(-images.shape[2] // MOST_ROWS)
    images = torch.nn.functional.avg_pool2d(images.float(), blocks)
    return (images / COLOUR_STEP).round().mul(COLOUR_STEP).clamp(0, 255).to(torch.uint8)


def _picture(image, x, y, height):
    """The trace of an image, its top left corner at (x, y), `height` pixels high."""
    step = height / image.shape[1]
    place = {"x0": x + step / 2, "y0": y + step / 2, "dx": step, "dy": step}
    return go.Image(source=png_data_uri(image), hoverinfo="skip", **place)


def _text(text, x, y, anchor, size=12):
    place = {"x": x, "y": y, "xanchor": "left", "yanchor": anchor, "align": "left"}
    return {"text": text, "showarrow": False, "font": {"size": size}, **place}
