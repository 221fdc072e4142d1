"""Figures of the occlude-and-replace chain: its rates, its matrices, what it does to tokens."""

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from di2pose_lib.base.skeleton import BONES
from di2pose_lib.figures.look import bone_lines, controls, looks, style
from di2pose_lib.figures.training import FATE_COLOURS, FATES


def _styled(figure, x, y, height=400, **layout):
    """The common look without a title; `y` stands beside the first of several panels."""
    figure.update_yaxes(title_text=y, col=1 if "xaxis2" in figure.layout else None)
    layout = {"margin": {"l": 70, "r": 20, "t": 50, "b": 60}, **layout}
    return style(figure, "", x, width=820, height=height, **layout)


def schedule_figure(schedule):
    """Keep, replace and occlude rates against the step: cumulative (left), of one step (right).

    Args:
        schedule: OccludeReplaceSchedule. Replace rates are drawn summed over its C codes.
    """
    steps = np.arange(schedule.num_steps + 1)
    figure = make_subplots(
        cols=2,
        subplot_titles=("cumulative, from step 0 to s", "of one step, from s − 1 to s"),
        horizontal_spacing=0.1,
    )
    for column, (bar, first) in enumerate((("_bar", 0), ("", 1)), start=1):
        rates = (
            getattr(schedule, f"alpha{bar}"),
            schedule.num_codes * getattr(schedule, f"beta{bar}"),
            getattr(schedule, f"gamma{bar}"),
        )
        names = ("keep α", "replace C·β", "occlude γ")
        for rate, name, colour in zip(rates, names, FATE_COLOURS, strict=True):
            figure.add_scatter(
                x=steps[first:],
                y=rate.numpy()[first:],
                name=name,
                legendgroup=name,
                showlegend=column == 1,
                line_color=colour,
                col=column,
                row=1,
            )
    figure.update_xaxes(range=[-0.02 * schedule.num_steps, 1.02 * schedule.num_steps])
    figure.update_yaxes(range=[-0.02, 1.02])
    return _styled(figure, "step s", "probability")


def matrices_figure(matrices, x_title="from: token before", y_title="to: token after"):
    """Small transition matrices side by side, every entry written out.

    Args:
        matrices: dict from title to float (C + 1, C + 1); row and column C are Occ.
        x_title, y_title: what the columns and the rows stand for.
    """
    size = len(next(iter(matrices.values())))
    states = [str(code) for code in range(size - 1)] + ["Occ"]
    figure = make_subplots(
        cols=len(matrices), subplot_titles=tuple(matrices), horizontal_spacing=0.06
    )
    for column, matrix in enumerate(matrices.values(), start=1):
        figure.add_heatmap(
            x=states,
            y=states,
            z=matrix.numpy(),
            text=np.array([[f"{entry:.3f}" for entry in row] for row in matrix.tolist()]),
            texttemplate="%{text}",
            coloraxis="coloraxis",
            col=column,
            row=1,
        )
    figure.update_xaxes(type="category", constrain="domain")
    figure.update_yaxes(type="category", autorange="reversed")
    colours = {"colorscale": "Blues", "cmin": 0, "cmax": 1}
    colours["colorbar"] = {"title": {"text": "probability"}}
    return _styled(figure, x_title, y_title, height=340, coloraxis=colours)


def shares_figure(expected, measured):
    """Shares of clean, replaced and occluded tokens against the step.

    Args:
        expected: float (S + 1, 3), in the order of FATES: drawn as lines.
        measured: float (S + 1, 3): drawn as points, every fifth step.
    """
    steps = np.arange(len(expected))
    figure = go.Figure()
    for column, (fate, colour) in enumerate(zip(FATES, FATE_COLOURS, strict=True)):
        figure.add_scatter(
            x=steps, y=expected[:, column].numpy(), name=f"{fate}, closed form", line_color=colour
        )
        figure.add_scatter(
            x=steps[::5],
            y=measured[::5, column].numpy(),
            name=f"{fate}, drawn",
            mode="markers",
            marker={"color": colour, "size": 8, "symbol": "circle-open"},
        )
    last = len(expected) - 1
    figure.update_xaxes(range=[-0.02 * last, 1.02 * last])
    figure.update_yaxes(range=[-0.02, 1.02])
    return _styled(figure, "step s", "share of tokens")


def pose_film_figure(films, steps):
    """What the chain does to a stick figure, one chain beside the other, with a slider.

    A bone that is clean is drawn solid and thick, a replaced one in its new direction, and
    one that is Occ thin and dotted.

    Args:
        films: dict from title to (joints, fates): float (F, 17, 2), metres, x right and
            y up; int64 (F, 16), index into FATES, in the order of `skeleton.BONES`.
        steps: F ints, the steps that the frames show.
    """
    figure = make_subplots(
        cols=len(films), subplot_titles=tuple(films), horizontal_spacing=0.03, shared_yaxes=True
    )
    frames = [
        [
            _bones_of_one_fate(joints[frame].numpy(), fates[frame].numpy(), fate)
            for joints, fates in films.values()
            for fate in range(len(FATES))
        ]
        for frame in range(len(steps))
    ]
    for place, trace in enumerate(frames[0]):
        column = place // len(FATES) + 1
        figure.add_trace(go.Scatter(trace).update(showlegend=column == 1), row=1, col=column)
    names = [f"step {step}" for step in steps]
    figure.frames = [go.Frame(data=f, name=n) for f, n in zip(frames, names, strict=True)]
    everything = np.concatenate([joints.numpy().reshape(-1, 2) for joints, _ in films.values()])
    low, high = everything.min(axis=0) - 0.1, everything.max(axis=0) + 0.1
    figure.update_xaxes(range=[low[0], high[0]], constrain="domain")
    figure.update_yaxes(range=[low[1], high[1]], scaleanchor="x", constrain="domain")
    return _styled(
        figure,
        "x (m)",
        "y (m)",
        height=500,
        margin={"l": 70, "r": 20, "t": 90, "b": 150},
        legend={"orientation": "h", "x": 0, "y": 1.14, "yanchor": "bottom"},
        **controls(names, -0.14),
    )


def _bones_of_one_fate(joints, fates, fate):
    """Trace of the bones of joints (17, 2) whose token has one fate; a gap between any two."""
    lines = bone_lines(joints[None], np.array(BONES)[fates == fate])
    # one gap in front keeps a fate without bones in the legend
    x, y = np.concatenate([np.full((2, 1), np.nan), lines], axis=1)
    width, dash = [(5, "solid"), (4, "solid"), (2, "dot")][fate]
    return {
        "x": x,
        "y": y,
        "mode": "lines",
        "name": FATES[fate],
        "line": {"color": FATE_COLOURS[fate], "width": width, "dash": dash},
    }


def terms_figure(terms):
    """The bound's terms, step by step.

    Args:
        terms: list of floats, nats ≥ 0; the first is that of step 1.
    """
    text = [f"{term:.3f}" for term in terms]
    x = [str(step) for step in range(1, len(terms) + 1)]
    figure = go.Figure(go.Bar(x=x, y=terms, text=text, marker_color=FATE_COLOURS[0]))
    figure.update_xaxes(type="category")
    return _styled(figure, "step s", "term of the bound, nats")


def joint_law_figure(counts, distances):
    """How far a chain's pairs of tokens are from their joint law, by its number of steps.

    Both axes are logarithmic; the dotted line falls as 1 / steps from the first chain's start.

    Args:
        counts: list of ints, numbers of steps.
        distances: dict from chain to list of floats > 0, total variation, one for each count.
    """
    figure = go.Figure()
    for name, values, colour in looks("distances", distances, FATE_COLOURS):
        figure.add_scatter(x=counts, y=values, name=name, mode="lines+markers", line_color=colour)
    first = next(iter(distances.values()))[0]
    figure.add_scatter(
        x=counts,
        y=[first * counts[0] / count for count in counts],
        name="∝ 1 / steps",
        mode="lines",
        line={"color": "#999999", "dash": "dot"},
    )
    figure.update_xaxes(type="log", tickvals=counts)
    ticks = [digit / 10**k for k in range(5) for digit in (1, 2, 5)]
    figure.update_yaxes(type="log", tickvals=ticks)
    return _styled(figure, "reverse steps", "total variation to the joint law")


def waiting_figure(calls, shares, expected):
    """Share of tokens still Occ when the last call of the denoiser comes, by number of calls.

    Args:
        calls: list of ints, numbers of calls.
        shares: dict from sampler to list of floats, one for each number of calls: bars.
        expected: list of floats, the chain's own share at the step of the last call: marks.
    """
    x = [str(count) for count in calls]
    figure = go.Figure()
    for name, values, colour in looks("shares", shares, FATE_COLOURS):
        text = [f"{value:.1%}" for value in values]
        figure.add_bar(
            x=x, y=values, name=name, marker_color=colour, text=text, textposition="outside"
        )
    figure.add_scatter(
        x=x,
        y=expected,
        name="expected: γ̄ at the last call",
        mode="markers",
        marker={"color": "#000000", "size": 60, "symbol": "line-ew-open", "line_width": 3},
    )
    figure.update_xaxes(type="category")
    figure.update_yaxes(range=[0, 1])
    return _styled(figure, "calls of the denoiser", "share of tokens still Occ")
