"""Figures of the occlude-and-replace chain: its rates, its matrices, what it does to tokens.

Each function returns a plotly figure of fixed size, the same for the same input. Only
modules of figures import plotly, so the library's core runs without it.
"""

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from di2pose_lib.base.checks import check_range, check_tensor, require
from di2pose_lib.base.skeleton import BONES, NUM_JOINTS

FATES = ("clean", "replaced", "Occ")
COLOURS = ("#0072B2", "#E69F00", "#555555")  # told apart by colour-blind readers too
LAYOUT = {
    "template": "plotly_white",
    "width": 820,
    "height": 400,
    "margin": {"l": 70, "r": 20, "t": 50, "b": 60},
}


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
        for rate, name, colour in zip(rates, names, COLOURS, strict=True):
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
    figure.update_xaxes(title_text="step s")
    figure.update_xaxes(range=[-0.02 * schedule.num_steps, 1.02 * schedule.num_steps])
    figure.update_yaxes(range=[-0.02, 1.02])
    figure.update_yaxes(title_text="probability", col=1)
    return figure.update_layout(LAYOUT)


def matrices_figure(matrices, x_title="from: token before", y_title="to: token after"):
    """Small transition matrices side by side, every entry written out.

    Args:
        matrices: dict from title to float (C + 1, C + 1); row and column C are Occ.
        x_title, y_title: what the columns and the rows stand for.

    Raises:
        ValueError: no matrices, or one that is not of the first's size.
    """
    require(len(matrices) > 0, "`matrices` must not be empty")
    size = len(next(iter(matrices.values())))
    states = [str(code) for code in range(size - 1)] + ["Occ"]
    figure = make_subplots(
        cols=len(matrices), subplot_titles=tuple(matrices), horizontal_spacing=0.06
    )
    for column, (title, matrix) in enumerate(matrices.items(), start=1):
        check_tensor(f"matrices[{title!r}]", matrix, (size, size), "float")
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
    figure.update_xaxes(title_text=x_title, type="category", constrain="domain")
    figure.update_yaxes(type="category", autorange="reversed")
    figure.update_yaxes(title_text=y_title, col=1)
    figure.update_layout(LAYOUT)
    return figure.update_layout(
        height=340,
        coloraxis={
            "colorscale": "Blues",
            "cmin": 0,
            "cmax": 1,
            "colorbar": {"title": {"text": "probability"}},
        },
    )


def fates_figure(fates):
    """What has become of each token of one pose, step by step.

    Args:
        fates: int64 (N, S + 1), index into FATES: 0 clean, 1 replaced, 2 Occ.

    Raises:
        ValueError: another shape or dtype, or a value outside [0, 2].
    """
    check_tensor("fates", fates, ("N", "S + 1"), "int64")
    check_range("fates", fates, 0, len(FATES) - 1)
    edges = np.arange(len(FATES) + 1) / len(FATES)
    figure = go.Figure(
        go.Heatmap(
            z=fates.numpy().astype(np.uint8),
            zmin=-0.5,
            zmax=len(FATES) - 0.5,
            colorscale=[
                [edge, colour]
                for low, high, colour in zip(edges[:-1], edges[1:], COLOURS, strict=True)
                for edge in (low, high)
            ],
            colorbar={"tickvals": list(range(len(FATES))), "ticktext": list(FATES)},
            hovertemplate="step %{x}, token %{y}<extra></extra>",
        )
    )
    figure.update_xaxes(title_text="step s")
    figure.update_yaxes(title_text="token of the pose", autorange="reversed")
    return figure.update_layout(LAYOUT)


def shares_figure(expected, measured):
    """Shares of clean, replaced and occluded tokens against the step.

    Args:
        expected: float (S + 1, 3), in the order of FATES: drawn as lines.
        measured: float (S + 1, 3): drawn as points, every fifth step.

    Raises:
        ValueError: another shape or dtype, or the two differ in shape.
    """
    check_tensor("expected", expected, ("S + 1", len(FATES)), "float")
    check_tensor("measured", measured, tuple(expected.shape), "float")
    steps = np.arange(len(expected))
    figure = go.Figure()
    for column, (fate, colour) in enumerate(zip(FATES, COLOURS, strict=True)):
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
    figure.update_xaxes(title_text="step s", range=[-0.02 * last, 1.02 * last])
    figure.update_yaxes(title_text="share of tokens", range=[-0.02, 1.02])
    return figure.update_layout(LAYOUT)


def pose_film_figure(films, steps):
    """What the chain does to a stick figure, one chain beside the other, with a slider.

    A bone that is clean is drawn solid and thick, a replaced one in its new direction, and
    one that is Occ thin and dotted.

    Args:
        films: dict from title to (joints, fates): float (F, 17, 2), metres, x right and
            y up; int64 (F, 16), index into FATES, in the order of `skeleton.BONES`.
        steps: F ints, the steps that the frames show.

    Raises:
        ValueError: no films, or one of another shape, dtype or range.
    """
    require(len(films) > 0, "`films` must not be empty")
    for title, (joints, fates) in films.items():
        check_tensor(f"films[{title!r}] joints", joints, (len(steps), NUM_JOINTS, 2), "float")
        check_tensor(f"films[{title!r}] fates", fates, (len(steps), len(BONES)), "int64")
        check_range(f"films[{title!r}] fates", fates, 0, len(FATES) - 1)
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
    figure.update_xaxes(title_text="x (m)", range=[low[0], high[0]], constrain="domain")
    figure.update_yaxes(range=[low[1], high[1]], scaleanchor="x", constrain="domain")
    figure.update_yaxes(title_text="y (m)", col=1)
    figure.update_layout(LAYOUT)
    return figure.update_layout(
        height=500,
        margin={"l": 70, "r": 20, "t": 90, "b": 150},
        legend={"orientation": "h", "x": 0, "y": 1.14, "yanchor": "bottom"},
        sliders=[{"steps": [_show(name) for name in names], "x": 0.12, "len": 0.88, "y": -0.16}],
        updatemenus=[
            {
                "type": "buttons",
                "x": 0,
                "xanchor": "left",
                "y": -0.22,
                "yanchor": "top",
                "buttons": [{**_show(None, milliseconds=400), "label": "▶ Play"}],
            }
        ],
    )


def _bones_of_one_fate(joints, fates, fate):
    """Trace of the bones of joints (17, 2) whose token has one fate; a gap between any two."""
    ends = joints[np.array(BONES)[fates == fate]]  # (n, 2, 2)
    gaps = np.full_like(ends[:, :1], np.nan)
    lines = np.concatenate([ends, gaps], axis=1).reshape(-1, 2)
    # one gap in front keeps a fate without bones in the legend
    x, y = np.concatenate([np.full((1, 2), np.nan), lines]).T
    width, dash = [(5, "solid"), (4, "solid"), (2, "dot")][fate]
    return {
        "x": x,
        "y": y,
        "mode": "lines",
        "name": FATES[fate],
        "line": {"color": COLOURS[fate], "width": width, "dash": dash},
    }


def _show(name, milliseconds=0):
    """A control that shows one frame, or with None plays all."""
    timing = {"frame": {"duration": milliseconds, "redraw": False}, "transition": {"duration": 0}}
    names = None if name is None else [name]
    return {"label": name, "method": "animate", "args": [names, {"mode": "immediate", **timing}]}


def terms_figure(terms):
    """The bound's terms, step by step.

    Args:
        terms: list of floats, nats ≥ 0; the first is that of step 1.

    Raises:
        ValueError: no terms, or a negative one.
    """
    fits = len(terms) > 0 and all(term >= 0 for term in terms)
    require(fits, f"`terms` must be at least one number ≥ 0; got {terms}")
    text = [f"{term:.3f}" for term in terms]
    x = [str(step) for step in range(1, len(terms) + 1)]
    figure = go.Figure(go.Bar(x=x, y=terms, text=text, marker_color=COLOURS[0]))
    figure.update_xaxes(title_text="step s", type="category")
    figure.update_yaxes(title_text="term of the bound, nats")
    return figure.update_layout(LAYOUT)


def joint_law_figure(counts, distances):
    """How far a chain's pairs of tokens are from their joint law, by its number of steps.

    Both axes are logarithmic; the dotted line falls as 1 / steps from the first chain's start.

    Args:
        counts: list of ints, numbers of steps.
        distances: dict from chain to list of floats > 0, total variation, one for each count.

    Raises:
        ValueError: no chain, lists of different lengths, or a distance outside (0, 1].
    """
    require(len(distances) > 0, "`distances` must hold at least one chain; got none")
    figure = go.Figure()
    for (name, values), colour in zip(distances.items(), COLOURS, strict=False):
        require(
            len(values) == len(counts) and all(0 < value <= 1 for value in values),
            f"distances of `{name}` must be {len(counts)} numbers in (0, 1]; got {values}",
        )
        figure.add_scatter(x=counts, y=values, name=name, mode="lines+markers", line_color=colour)
    first = next(iter(distances.values()))[0]
    figure.add_scatter(
        x=counts,
        y=[first * counts[0] / count for count in counts],
        name="∝ 1 / steps",
        mode="lines",
        line={"color": "#999999", "dash": "dot"},
    )
    figure.update_xaxes(title_text="reverse steps", type="log", tickvals=counts)
    figure.update_yaxes(title_text="total variation to the joint law", type="log")
    figure.update_yaxes(tickvals=[digit / 10**k for k in range(5) for digit in (1, 2, 5)])
    return figure.update_layout(LAYOUT)


def waiting_figure(calls, shares, expected):
    """Share of tokens still Occ when the last call of the denoiser comes, by number of calls.

    Args:
        calls: list of ints, numbers of calls.
        shares: dict from sampler to list of floats, one for each number of calls: bars.
        expected: list of floats, the chain's own share at the step of the last call: marks.

    Raises:
        ValueError: lists of different lengths, or a share outside [0, 1].
    """
    x = [str(count) for count in calls]
    colours = (COLOURS[0], COLOURS[1])
    figure = go.Figure()
    for name, values in {**shares, "expected": expected}.items():
        require(
            len(values) == len(calls) and all(0 <= value <= 1 for value in values),
            f"shares of `{name}` must be {len(calls)} numbers in [0, 1]; got {values}",
        )
    for (name, values), colour in zip(shares.items(), colours, strict=True):
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
    figure.update_xaxes(title_text="calls of the denoiser", type="category")
    figure.update_yaxes(title_text="share of tokens still Occ", range=[0, 1])
    return figure.update_layout(LAYOUT)
