"""The gallery of wrong poses: one scale, what hover tells, its size, its refusals."""

import base64
import io
import math

import numpy as np
import pytest
import torch
from PIL import Image

pytest.importorskip("plotly")

from di2pose_lib.base.skeleton import BONES, JOINT_NAMES, bone_lengths
from di2pose_lib.figures.failures import BAR_M, MOST_ROWS, gallery_figure
from di2pose_lib.figures.look import INK, LEFT, MIDDLE, RIGHT


def cases(count=12, size=(64, 48)):
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(256, (count, 3, *size), generator=generator).to(torch.uint8)
    pose = 0.5 * torch.randn(count, 17, 3, generator=generator)
    pose_pred = pose + 0.2 * torch.randn(pose.shape, generator=generator)
    return images, pose_pred, pose, [f"Case {i}: 10 mm<br>kind" for i in range(count)]


def figure_of(count=12, columns=3, size=(64, 48)):
    return gallery_figure(*cases(count, size), "Worst", columns)


def named(figure):
    return {trace.name: trace for trace in figure.data if trace.type == "scatter"}


def scale(figure):
    """Pixels per metre, by the bar."""
    bar = named(figure)["bar"]
    return (bar.x[1] - bar.x[0]) / BAR_M


def marked(figure, count):
    """Predicted joints {name: (count, 2 views, xy)}, by what hover tells."""
    marks = {}
    for side in ("left", "right", "trunk"):
        trace = named(figure)[f"joints {side}"]
        for text, x, y in zip(trace.text, trace.x, trace.y, strict=True):
            marks.setdefault(text.split(":")[0], []).append((x, y))
    return {name: np.array(points).reshape(count, 2, 2) for name, points in marks.items()}


def test_the_figure_has_a_fixed_size_and_the_same_few_bytes_each_time():
    first, second = figure_of(), figure_of()
    text = first.to_json()
    assert text == second.to_json()
    assert len(text) < 145_000  # of noise, which no compression helps; pictures take far less
    assert '"f8"' not in text and '"i8"' not in text
    plain = cases()
    grey = gallery_figure(torch.full_like(plain[0], 128), *plain[1:], "Worst")
    assert len(grey.to_json()) < 45_000
    assert (first.layout.width, first.layout.title.text) == (900, "Worst")
    assert figure_of(4, columns=4).layout.height < figure_of(4, columns=3).layout.height


def test_axes_are_equal_without_ticks_and_one_unit_is_one_pixel():
    layout = figure_of().layout
    assert not layout.xaxis.visible and not layout.yaxis.visible
    assert layout.yaxis.scaleanchor == "x"
    margin = layout.margin
    assert layout.xaxis.range[1] == layout.width - margin.l - margin.r
    assert abs(layout.yaxis.range[0] - (layout.height - margin.t - margin.b)) <= 0.5


def test_the_legend_names_every_colour_and_the_titles_stand_over_their_pictures():
    figure = figure_of(5)
    texts = [a.text for a in figure.layout.annotations]
    for colour in (INK, LEFT, RIGHT, MIDDLE):
        assert any(colour in text for text in texts)
    assert f"{BAR_M} m" in texts
    pictures = [trace for trace in figure.data if trace.type == "image"]
    titles = figure.layout.annotations[:5]
    assert [a.text for a in titles] == cases(5)[3]
    for picture, above in zip(pictures, titles, strict=True):
        assert above.x == pytest.approx(picture.x0 - picture.dx / 2)
        assert above.y == pytest.approx(picture.y0 - picture.dy / 2)
        assert picture.dx == picture.dy


def test_both_views_show_the_prediction_in_the_scale_of_the_bar():
    _, pose_pred, _, _ = cases(7)
    figure = figure_of(7)
    points = marked(figure, 7)
    for name, places in points.items():
        joint = pose_pred[:, JOINT_NAMES.index(name)] - pose_pred[:, 0]
        away = (places - points["pelvis"]) / scale(figure)
        np.testing.assert_allclose(away[:, 0], joint[:, [0, 1]], atol=0.2 / scale(figure))
        np.testing.assert_allclose(away[:, 1], joint[:, [2, 1]], atol=0.2 / scale(figure))


def test_true_and_predicted_pelves_coincide_and_bones_have_their_lengths():
    _, _, pose, _ = cases(3)
    figure = figure_of(3)
    pelvis = marked(figure, 3)["pelvis"].reshape(-1, 2)
    drawn = {}
    for side in ("left", "right", "trunk"):
        for kind in ("truth", "predicted"):
            trace = named(figure)[f"{kind} {side}"]
            xy = np.stack([trace.x, trace.y], axis=1).reshape(6, -1, 2)
            np.testing.assert_allclose(xy[:, 0], pelvis, atol=0.2)
            steps = np.linalg.norm(np.diff(xy, axis=1), axis=-1)
            drawn[kind] = drawn.get(kind, 0) + np.isfinite(steps).sum(axis=1)
            if kind == "truth":
                drawn.setdefault("length", []).append(np.nansum(steps, axis=1))
    assert (drawn["truth"] == len(BONES)).all() and (drawn["predicted"] == len(BONES)).all()
    parents, children = (list(ends) for ends in zip(*BONES, strict=True))
    bones = (pose[:, children] - pose[:, parents]).numpy()
    views = [np.linalg.norm(bones[..., axes], axis=-1).sum(axis=1) for axes in ([0, 1], [2, 1])]
    wanted = np.stack(views, axis=1).reshape(-1) * scale(figure)
    np.testing.assert_allclose(sum(drawn["length"]), wanted, rtol=0.01)
    assert (bone_lengths(pose).sum(dim=1).numpy() > views[0]).all()


def test_skeletons_stay_beside_their_picture_and_do_not_touch_each_other():
    figure = figure_of(12, columns=4)
    points = np.stack(list(marked(figure, 12).values()), axis=2)  # (case, view, joint, xy)
    pictures = [trace for trace in figure.data if trace.type == "image"]
    for i, picture in enumerate(pictures):
        right = picture.x0 - picture.dx / 2 + 48 * picture.dx
        top = picture.y0 - picture.dy / 2
        end = figure.layout.xaxis.range[1] if i % 4 == 3 else pictures[i + 1].x0 - picture.dx / 2
        front, side = points[i, :, :, 0]
        assert right < front.min() and front.max() < side.min() and side.max() < end
        assert points[i, ..., 1].min() > top
        assert points[i, ..., 1].max() < top + 64 * picture.dy


def test_hover_tells_each_joint_and_its_error():
    images, _, pose, titles = cases(2)
    pose_pred = pose.clone()
    pose_pred[1, JOINT_NAMES.index("left wrist")] += torch.tensor([0.03, 0.0, 0.04])
    pose_pred += 1.0  # the pelves are laid on each other
    figure = gallery_figure(images, pose_pred, pose, titles, "Worst")
    traces = named(figure)
    texts = [text for side in ("left", "right", "trunk") for text in traces[f"joints {side}"].text]
    assert len(texts) == 2 * 2 * 17
    assert texts.count("left wrist: 50 mm") == 2 == texts.count("left wrist: 0 mm")
    assert sum(text.endswith(": 0 mm") for text in texts) == 2 * 2 * 17 - 2
    assert all(traces[f"truth {side}"].hoverinfo == "skip" for side in ("left", "right", "trunk"))


def test_sides_have_their_colours_and_the_truth_is_dark_with_its_left_dotted():
    traces = named(figure_of(1))
    for side, colour in {"left": LEFT, "right": RIGHT, "trunk": MIDDLE}.items():
        assert traces[f"predicted {side}"].line.color == colour
        assert traces[f"joints {side}"].marker.color == colour
        assert traces[f"truth {side}"].line.color == INK
        assert traces[f"truth {side}"].line.dash == ("dot" if side == "left" else "solid")
        joints = {text.split(":")[0].split()[0] for text in traces[f"joints {side}"].text}
        assert joints == (
            {side} if side != "trunk" else {"pelvis", "spine", "thorax", "nose", "head"}
        )


def png_size(picture):
    data = base64.b64decode(picture.source.split(",")[1])
    return Image.open(io.BytesIO(data)).size  # width, height


def test_large_pictures_are_embedded_small_and_drawn_as_large_as_small_ones():
    small = [trace for trace in figure_of(2).data if trace.type == "image"]
    large = [trace for trace in figure_of(2, size=(256, 192)).data if trace.type == "image"]
    assert [png_size(p) for p in small] == [png_size(p) for p in large] == [(48, MOST_ROWS)] * 2
    assert [p.dx for p in small] == [p.dx for p in large]
    wide = [trace for trace in figure_of(1, size=(48, 64)).data if trace.type == "image"]
    assert png_size(wide[0]) == (64, 48)


def test_one_case_and_poses_that_are_points_are_drawn():
    images, pose_pred, pose, titles = cases(1)
    figure = gallery_figure(images, 0 * pose_pred, 0 * pose, titles, "Worst", 4)
    assert math.isfinite(scale(figure)) and np.isfinite(named(figure)["joints left"].x).all()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"images": cases(2)[0].float()}, "`images` must be uint8"),
        ({"pose": cases(2)[2] * math.inf}, "`pose` must be finite"),
        ({"columns": 9}, "`columns` must leave room for skeletons beside images of 64 × 48; got 9"),
    ],
)
def test_other_shapes_titles_and_columns_are_refused(change, message):
    images, pose_pred, pose, titles = cases(2)
    plain = {"images": images, "pose_pred": pose_pred, "pose": pose, "titles": titles}
    with pytest.raises(ValueError, match=message):
        gallery_figure(**{**plain, "title": "Worst", **change})
