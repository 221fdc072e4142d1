import subprocess
import sys

import numpy as np
import pytest
import torch

pytest.importorskip("plotly")

from di2pose_lib.base.skeleton import BONES
from di2pose_lib.diffusion import OccludeReplaceSchedule, transition_matrix
from di2pose_lib.figures.chain import (
    joint_law_figure,
    matrices_figure,
    pose_film_figure,
    schedule_figure,
    shares_figure,
    terms_figure,
    waiting_figure,
)
from di2pose_lib.figures.training import FATE_COLOURS

CHAIN = OccludeReplaceSchedule(4, 10, final_occlude_rate=0.8, final_replace_rate=0.2)
SHARES = torch.tensor([[1.0, 0.0, 0.0]] * 5 + [[0.5, 0.1, 0.4]] * 2, dtype=torch.float64)
JOINTS = torch.arange(68, dtype=torch.float64).reshape(2, 17, 2) / 68
BONE_FATES = torch.zeros(2, 16, dtype=torch.int64)
BONE_FATES[1, 3], BONE_FATES[1, 5] = 1, 2
SHOWN = {"exact": [0.01, 0.1], "one step": [0.01, 0.7]}


def figures():
    return {
        "schedule": schedule_figure(CHAIN),
        "matrices": matrices_figure({"a": transition_matrix(CHAIN, 1)}),
        "shares": shares_figure(SHARES, SHARES),
        "film": pose_film_figure({"a": (JOINTS, BONE_FATES), "b": (JOINTS, BONE_FATES)}, [0, 9]),
        "terms": terms_figure([0.2, 0.1, 0.0]),
        "joint law": joint_law_figure([1, 2], {"a": [0.4, 0.2], "b": [0.4, 0.1]}),
        "waiting": waiting_figure([100, 10], SHOWN, [0.009, 0.09]),
    }


def test_every_figure_has_axis_titles_and_a_fixed_size():
    for name, figure in figures().items():
        layout = figure.layout
        assert layout.width and layout.height, name
        assert layout.xaxis.title.text and layout.yaxis.title.text, name


def test_the_same_input_gives_the_same_bytes():
    first, second = figures(), figures()
    for name, figure in first.items():
        assert figure.to_json() == second[name].to_json(), name


def test_the_schedule_is_drawn_cumulatively_on_the_left_and_step_by_step_on_the_right():
    keep, replace, occlude, *one_step = schedule_figure(CHAIN).data
    np.testing.assert_allclose(keep.y, 1 - np.arange(11) / 10)
    np.testing.assert_allclose(replace.y, 0.2 * np.arange(11) / 10)  # summed over the codes
    np.testing.assert_allclose(occlude.y, 0.8 * np.arange(11) / 10)
    # at the last step nothing is kept, and the three still share 1 between them
    assert one_step[0].y[-1] == 0 and list(one_step[0].x) == list(range(1, 11))
    np.testing.assert_allclose(sum(trace.y for trace in one_step), np.ones(10))


def test_a_matrix_is_drawn_with_its_entries_and_with_occ_last():
    matrix = transition_matrix(CHAIN, 3)
    trace = matrices_figure({"M": matrix}).data[0]
    np.testing.assert_array_equal(trace.z, matrix.numpy())
    assert trace.x[-1] == "Occ" and trace.text[4][4] == "1.000"
    assert trace.text[4][0] == f"{CHAIN.gamma[3]:.3f}"


def test_drawn_shares_are_points_on_every_fifth_step_over_their_closed_form():
    measured = SHARES + torch.tensor([0.01, -0.01, 0.0])
    line, points = shares_figure(SHARES, measured).data[:2]
    np.testing.assert_array_equal(line.y, SHARES[:, 0].numpy())
    assert list(points.x) == [0, 5] and points.mode == "markers"
    np.testing.assert_allclose(points.y, [1.01, 0.51])


def test_matrices_say_what_their_rows_and_columns_stand_for():
    layout = matrices_figure({"a": torch.eye(2)}, x_title="seen", y_title="before").layout
    assert (layout.xaxis.title.text, layout.yaxis.title.text) == ("seen", "before")


def test_each_frame_of_the_film_draws_every_bone_once_in_the_colour_of_its_fate():
    figure = figures()["film"]
    assert [frame.name for frame in figure.frames] == ["step 0", "step 9"]
    assert [step.label for step in figure.layout.sliders[0].steps] == ["step 0", "step 9"]
    for traces in (figure.frames[1].data[:3], figure.frames[1].data[3:]):  # two panels
        drawn = [np.isfinite(trace.x).sum() // 2 for trace in traces]
        assert drawn == [14, 1, 1]
        assert tuple(trace.line.color for trace in traces) == FATE_COLOURS
        for trace, bone in ((traces[1], BONES[3]), (traces[2], BONES[5])):
            ends = np.stack([trace.x, trace.y], axis=-1)[1:3]
            np.testing.assert_array_equal(ends, JOINTS[1, list(bone)].numpy())
        assert traces[2].line.dash == "dot"
    assert [len(trace.x) for trace in figure.data] == 2 * [49, 1, 1]  # it starts clean


def test_shares_that_wait_are_bars_and_the_expected_ones_are_marks_over_them():
    exact, one_step, expected = figures()["waiting"].data
    assert list(exact.x) == list(expected.x) == ["100", "10"]
    assert list(one_step.y) == [0.01, 0.7] and list(expected.y) == [0.009, 0.09]
    assert (exact.type, expected.type) == ("bar", "scatter")


def test_terms_are_bars_from_step_one():
    (bars,) = terms_figure([0.2, 0.1, 0.0]).data
    assert bars.x == ("1", "2", "3") and bars.y == (0.2, 0.1, 0.0)


def test_each_chain_has_its_line_and_the_last_falls_with_the_number_of_steps():
    one, other, guide = joint_law_figure([2, 4, 8], {"a": [0.4, 0.3, 0.2], "b": [0.2] * 3}).data
    assert (one.name, one.y) == ("a", (0.4, 0.3, 0.2)) and other.name == "b"
    assert guide.x == (2, 4, 8) and guide.y == pytest.approx((0.4, 0.2, 0.1))


def test_the_chain_itself_needs_no_plotly():
    modules = "di2pose_lib.diffusion.losses, di2pose_lib.diffusion.sampler"
    code = f"import sys, {modules}; sys.exit('plotly' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
