"""Figures of the occlude-and-replace chain: its rates, its matrices, what it does to tokens.

Each function returns a plotly figure of fixed size, the same for the same input. Only
modules of figures import plotly, so the library's core runs without it.
"""

import numpy as np
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from di2pose_lib.checks import check_range, check_tensor, require

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


def matrices_figure(matrices):
    """Small transition matrices side by side, every entry written out.

    Args:
        matrices: dict from title to float (C + 1, C + 1); row and column C are Occ.

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
    figure.update_xaxes(title_text="from: token before", type="category", constrain="domain")
    figure.update_yaxes(type="category", autorange="reversed")
    figure.update_yaxes(title_text="to: token after", col=1)
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
