"""Figures: what is drawn where, in which colour, of what size, and what is refused."""

import base64
import io
import json

import numpy as np
import pytest
import torch
from PIL import Image

from di2pose_lib import figures
from di2pose_lib.base.skeleton import BONES, FLIP_PAIRS, JOINT_NAMES, NUM_JOINTS
from di2pose_lib.figures import look
from di2pose_lib.figures.pictures import GUTTER
from di2pose_lib.figures.poses import TOKEN_STATES


def generator():
    return torch.Generator().manual_seed(0)


def some_poses(*shape):
    return torch.randn(*shape, NUM_JOINTS, 3, generator=generator())


def some_images(count, height=8, width=6):
    return torch.randint(0, 256, (count, 3, height, width), generator=generator()).to(torch.uint8)


def markers(figure):
    return [trace for trace in figure.data if getattr(trace, "mode", "") == "markers"]


def lines(figure, colour):
    return [t for t in figure.data if t.mode == "lines" and t.line.color == colour]


def mosaic(figure):
    """Pixels (H, W, 3) of the figure's image."""
    data = base64.b64decode(figure.data[0].source.split(",")[1])
    return np.asarray(Image.open(io.BytesIO(data)))


def test_the_two_sides_of_a_body_have_different_colours_and_the_trunk_a_third():
    for pair in FLIP_PAIRS:
        colours = {JOINT_NAMES[j].split()[0]: look.side_colour(j) for j in pair}
        assert colours == {"left": look.LEFT, "right": look.RIGHT}
    assert len({look.LEFT, look.RIGHT, look.MIDDLE}) == 3
    assert {look.side_colour(j) for j in (0, 7, 8, 9, 10)} == {look.MIDDLE}


def test_a_pose_is_drawn_upright_with_x_across_and_depth_into_the_page():
    pose = torch.zeros(NUM_JOINTS, 3)
    pose[10] = torch.tensor([0.1, -0.7, 0.3])  # the head: right of, above and behind the pelvis
    (joints,) = markers(figures.pose_figure({"pose": pose}, "a title"))
    head = [joints.x[10], joints.y[10], joints.z[10]]
    assert np.allclose(head, [0.1, 0.3, 0.7])
    assert joints.text[10].startswith("head")


def test_a_pose_figure_draws_each_bone_once_in_its_side_s_colour():
    pose = some_poses()
    figure = figures.pose_figure({"pose": pose}, "a title")
    drawn = set()
    for colour in (look.LEFT, look.RIGHT, look.MIDDLE):
        (trace,) = lines(figure, colour)
        ends = np.stack([trace.x, -np.asarray(trace.z), trace.y], axis=-1).reshape(-1, 3, 3)
        assert np.isnan(ends[:, 2]).all()  # one bone is not joined to the next
        for start, end, _ in ends:
            bone = [int(np.argmin(np.abs(pose.numpy() - point).sum(-1))) for point in (start, end)]
            assert look.side_colour(bone[1]) == colour
            drawn.add(tuple(bone))
    assert drawn == set(BONES)


def test_hypotheses_share_the_traces_of_one_pose():
    one = figures.pose_figure({"pose": some_poses()}, "")
    many = figures.pose_figure({"poses": some_poses(5)}, "")
    assert len(many.data) == len(one.data)
    assert len(markers(many)[0].x) == 5 * NUM_JOINTS
    assert markers(many)[0].text[NUM_JOINTS] == "pelvis, poses 2"
    assert markers(many)[0].opacity < markers(one)[0].opacity == 1


def test_one_metre_is_equally_long_on_all_axes_and_every_joint_lies_inside():
    pose = some_poses() * torch.tensor([0.2, 1.0, 0.3])
    scene = figures.pose_figure({"pose": pose}, "").layout.scene
    upright = torch.stack([pose[:, 0], pose[:, 2], -pose[:, 1]], dim=-1)
    scales = []
    for number, axis in enumerate("xyz"):
        low, high = scene[f"{axis}axis"].range
        assert low < upright[:, number].min() and upright[:, number].max() < high
        scales.append(scene.aspectratio[axis] / (high - low))
    assert np.allclose(scales, scales[0], rtol=2e-3)
    assert "(m)" in scene.xaxis.title.text


def test_figures_are_the_same_bytes_twice_of_fixed_size_and_small():
    def make():
        states = torch.zeros(100, dtype=torch.uint8)
        frames = [(f"step {i}", some_poses(4), states) for i in range(figures.MAX_FRAMES)]
        ring = {"train": some_poses()[:4] + 3}
        return [
            (figures.pose_figure({"truth": some_poses(), "16": some_poses(16)}, "t"), 60_000),
            (figures.film_figure(frames, "t", truth=some_poses()), 400_000),
            (figures.image_figure(some_images(4), some_poses(4)[..., :2]), 20_000),
            (figures.camera_figure(ring, some_poses(), "t"), 20_000),
            (figures.joint_bars_figure({"a": torch.arange(17.0)}, "t", "mm"), 20_000),
        ]

    for (figure, limit), (again, _) in zip(make(), make(), strict=True):
        assert figure.to_json() == again.to_json()
        assert len(figure.to_json()) < limit
        assert figure.layout.width and figure.layout.height
        assert "float64" not in figure.to_json() and '"f8"' not in figure.to_json()


def test_a_mosaic_shows_each_image_unchanged_at_its_place():
    images = some_images(5)
    figure = figures.image_figure(images, columns=3)
    pixels = mosaic(figure)
    gutter = GUTTER
    assert pixels.shape == (2 * (8 + gutter), 3 * (6 + gutter) - gutter, 3)
    for number, image in enumerate(images):
        left, top = number % 3 * (6 + gutter), number // 3 * (8 + gutter) + gutter
        tile = pixels[top : top + 8, left : left + 6]
        assert np.array_equal(tile, image.permute(1, 2, 0).numpy())


def test_joints_lie_on_their_image_and_tell_how_they_are_seen():
    images, joints = some_images(3), torch.full((3, NUM_JOINTS, 2), 2.0)
    joints[2, 16] = torch.tensor([5.0, 1.0])
    visible = torch.ones(3, NUM_JOINTS, dtype=torch.bool)
    covered = torch.zeros(3, NUM_JOINTS, dtype=torch.bool)
    visible[2, 16] = visible[0, 3] = False
    covered[2, 16] = True
    shown = figures.image_figure(images, joints, visible, columns=2, covered=covered)
    discs, circles, crosses = markers(shown)
    assert [len(t.x) for t in (discs, circles, crosses)] == [3 * NUM_JOINTS - 2, 1, 1]
    assert circles.text == ("right ankle, behind the body",)
    assert crosses.text == ("right wrist, covered",)
    gutter = GUTTER  # image 2 is the first of the second row
    assert (crosses.x[0], crosses.y[0]) == (5.0, 1.0 + (8 + gutter) + gutter)
    assert crosses.marker.color == (look.RIGHT,)


def test_an_image_whose_joints_are_nan_is_shown_without_joints():
    joints = torch.ones(2, NUM_JOINTS, 2)
    joints[0] = torch.nan
    shown = figures.image_figure(some_images(2), joints, columns=2)
    (discs,) = markers(shown)
    assert len(discs.x) == NUM_JOINTS and (discs.x > 6).all()  # all on the second image
    joints[1, 3, 0] = torch.nan
    with pytest.raises(ValueError, match="`joints_2d` must be finite"):
        figures.image_figure(some_images(2), joints)


def test_a_mosaic_puts_a_title_above_each_image():
    titles = ["one", "two", "three"]
    shown = figures.image_figure(some_images(3), titles=titles, columns=2)
    assert [note.text for note in shown.layout.annotations] == titles
    places = [(note.x, note.y) for note in shown.layout.annotations]
    assert len(set(places)) == 3 and places[0][1] == places[1][1] < places[2][1]


def test_token_states_tell_occluded_wrong_and_final_codes_apart():
    k_s, k_final = torch.tensor([7, 3, 4]), torch.tensor([1, 3, 2])
    states = figures.token_states(k_s, k_final, num_codes=7)
    assert [TOKEN_STATES[s] for s in states] == [
        "occluded",
        "its final code",
        "another code",
    ]


def test_a_film_has_a_frame_and_a_slider_step_for_each_estimate_and_keeps_the_truth():
    states = torch.tensor([0, 1, 2], dtype=torch.uint8)
    truth = some_poses()
    frames = [(f"step {i}", some_poses(2) * i, states) for i in (3, 2, 1)]
    film = figures.film_figure(frames, "a title", truth=truth)
    assert [frame.name for frame in film.frames] == ["step 3", "step 2", "step 1"]
    (slider,) = film.layout.sliders
    assert [list(step.args[0]) for step in slider.steps] == [["step 3"], ["step 2"], ["step 1"]]
    changing = film.frames[0].traces
    fixed = [trace for i, trace in enumerate(film.data) if i not in changing]
    assert np.allclose(fixed[-1].x, truth[:, 0])
    for number, (_, poses, _) in enumerate(frames):
        joints = next(t for t in film.frames[number].data if t.mode == "markers")
        assert np.allclose(joints.x, poses[..., 0].flatten())
        assert film.frames[number].data[-1].z.tolist() == [[0, 1, 2]]
    assert [b.label for b in film.layout.updatemenus[0].buttons] == ["▶ Play"]
    strip = film.frames[0].data[-1]
    colours = [strip.colorscale[2 * state][1] for state in range(3)]
    legend = film.layout.annotations[1].text
    shown = [
        f"<span style='color:{c}'>■</span> {name}"
        for c, name in zip(colours, TOKEN_STATES, strict=True)
    ]
    assert legend.split("   ") == shown


def test_every_figure_is_plain_json_without_a_kernel():
    film = figures.film_figure([("a", some_poses()[None])], "t")
    assert set(json.loads(film.to_json())) == {"data", "layout", "frames"}


def test_cameras_and_their_lines_of_sight_end_at_the_pelvis():
    joints, centres = some_poses(), some_poses()[:2] + 4
    figure = figures.camera_figure({"train": centres}, joints, "t")
    trace = figure.data[-1]
    sight = np.stack([trace.x, trace.y, trace.z], axis=-1).reshape(2, 3, 3)
    assert np.allclose(sight[:, 0], centres)
    assert np.allclose(sight[:, 1], joints[0])


def test_bars_stand_over_the_names_of_the_joints():
    figure = figures.joint_bars_figure({"spread": torch.arange(17.0)}, "t", "spread (mm)")
    assert tuple(figure.data[0].x) == JOINT_NAMES
    assert np.allclose(figure.data[0].y, np.arange(17))
    assert figure.layout.yaxis.title.text == "spread (mm)"


def test_bars_of_two_series_stand_side_by_side_unless_each_joint_has_only_one():
    values = torch.arange(17.0)
    some = torch.where(values < 5, values, torch.nan)
    others = torch.where(values < 5, torch.nan, values)
    beside = figures.joint_bars_figure({"a": values, "b": some}, "t", "mm")
    instead = figures.joint_bars_figure({"a": others, "b": some}, "t", "mm")
    assert (beside.layout.barmode, instead.layout.barmode) == ("group", "overlay")


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: figures.pose_figure({}, "t"), "`poses` must hold 1 to 4 series; got 0"),
        (lambda: figures.pose_figure({"a": torch.zeros(16, 3)}, "t"), r"shape \(H, 17, 3\)"),
        (lambda: figures.pose_figure({"a": some_poses() / 0}, "t"), "finite"),
        (lambda: figures.film_figure([], "t"), "1 to 20 frames; got 0"),
        (lambda: figures.film_figure([("a", some_poses(1))] * 21, "t"), "got 21"),
        (
            lambda: figures.film_figure(
                [("a", some_poses(1)), ("b", some_poses(1), torch.zeros(3).byte())], "t"
            ),
            "all have states, or none",
        ),
        (lambda: figures.token_states(torch.tensor([8]), torch.tensor([1]), 7), "`k_s`.*got 8"),
        (lambda: figures.token_states(torch.tensor([7]), torch.tensor([7]), 7), "`k_final`.*got 7"),
        (lambda: figures.image_figure(some_images(2).float()), "`images` must be uint8"),
        (lambda: figures.image_figure(some_images(2), some_poses(3)[..., :2]), r"\(2, 17, 2\)"),
        (lambda: figures.camera_figure({}, some_poses(), "t"), "1 to 4 series; got 0"),
        (lambda: figures.joint_bars_figure({}, "t", "mm"), "1 to 5 series; got 0"),
        (lambda: figures.joint_bars_figure({"a": torch.zeros(3)}, "t", "mm"), "17 values"),
    ],
)
def test_wrong_input_is_refused_in_one_sentence(call, message):
    with pytest.raises(ValueError, match=message):
        call()
