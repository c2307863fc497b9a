"""The figures of kernels along training: distance, velocity, alignment, machines.

A column for each parameterization, a line for each width, the mean over seeds that did
not diverge. `Results` are the arrays of `zoo.gap.kernel_evolution.run`.
"""

import dataclasses
from collections.abc import Callable
from typing import Any

import numpy as np

from zoo.gap.kernel_machine import SMALLEST
from zoo.gap.kernel_summary import seed_mean
from zoo.report import scale
from zoo.report.plots import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
    INFINITY,
    LAMBDA,
    RED,
    THETA,
    WIDTH_KEY,
    Line,
    Panel,
    Plot,
    power,
)
from zoo.report.series import Arrays, width_colours

Results = dict[str, dict[int, Arrays]]
NAMES = {"ntk": "NTK parameterization", "mup": "muP", "own": ""}
LIMIT = f"{THETA}_{{{INFINITY}}}"
MOVED = {
    "distance_full": ("S, all pairs of outputs", BLUE),
    "distance": ("S, mean over outputs", GREEN),
    "drift_full": ("drift, all pairs of outputs", RED),
}
MOVED_MEAN = {
    "distance": ("S", BLUE),
    "drift": ("drift", RED),
}


@dataclasses.dataclass(frozen=True)
class Row:
    """A row of panels.

    Attributes:
        title: of its y axis.
        arrays: name of an array and the dash in which it is drawn.
        axis: makes the y axis from a title and groups of lines.
        limit: key of `limit_machine` that is drawn as a level; "" for none.
    """

    title: str
    arrays: tuple[tuple[str, str], ...]
    axis: Callable[[str, Any], scale.Axis] = scale.log_axis
    limit: str = ""


def name_of(parameterization: str) -> str:
    """A parameterization as a title names it."""
    return NAMES.get(parameterization, f"{parameterization} parameterization")


def distances(summary: dict[str, Any], results: Results) -> Plot:
    """S from the start, and to the end, against the training step."""
    rows = (
        Row("S from the start", (("distance_start", "solid"),)),
        Row("S to the end", (("distance_end", "solid"),)),
    )
    return _rows("distance", rows, summary, results, [])


def velocities(summary: dict[str, Any], results: Results) -> Plot:
    """S and the angle between neighbouring records, over the time between them."""
    rows = (
        Row("velocity, S / dt", (("velocity", "solid"),)),
        Row("angle / dt", (("angular_velocity", "solid"),)),
    )
    return _rows("velocity", rows, summary, results, [])


def alignments(summary: dict[str, Any], results: Results) -> Plot:
    """Alignment of the train kernel with the labels' kernel."""
    rows = (
        Row("centred", (("alignment_centred", "solid"),), _near, "alignment_centred"),
        Row("not centred", (("alignment", "solid"),), _near, "alignment"),
    )
    return _rows("alignment", rows, summary, results, _limit_key(summary))


def eigenvalues(summary: dict[str, Any], results: Results) -> Plot:
    """The smallest and the largest eigenvalue, and the effective rank."""
    rows = (
        Row(f"{LAMBDA}_{{min}}", (("lambda_min", "solid"),)),
        Row(f"{LAMBDA}_{{max}}", (("lambda_max", "solid"),)),
        Row("effective rank", (("effective_rank", "solid"),)),
    )
    return _rows("eigenvalues", rows, summary, results, [])


def machines(summary: dict[str, Any], results: Results) -> Plot:
    """Test error of the kernel machine on K_t beside the network at the same step."""
    pairs = {
        score: ((f"machine_{score}", "solid"), (f"network_{score}", "dashed"))
        for score in ("loss", "accuracy")
    }
    rows = [Row("test loss", pairs["loss"], limit="loss")]
    first = next(iter(next(iter(results.values())).values()))
    if "machine_accuracy" in first:
        rows.append(Row("test accuracy", pairs["accuracy"], _near, "accuracy"))
    key = [
        Line([], [], "machine on K_{t}", GREY),
        Line([], [], "network at t", GREY, "dashed"),
    ]
    return _rows("machine", tuple(rows), summary, results, key + _limit_key(summary))


def spectra(summary: dict[str, Any], results: Results) -> Plot:
    """Eigenvalues of the train kernels by rank, at the start and at the end."""
    colours = width_colours(summary["widths"])
    limit = (summary["limit_machine"] or {}).get("eigenvalues")
    groups = []
    for cells in results.values():
        lines = []
        for m, cell in cells.items():
            values = seed_mean(cell, "eigenvalues")
            for record, dash in ((0, "dashed"), (-1, "solid")):
                y = _above_rounding(values[record])
                rank = np.arange(1, len(y) + 1)
                lines.append(Line(rank, y, "", colours[m], dash, group=f"m{m}"))
        if limit is not None:
            y = _above_rounding(np.asarray(limit))
            rank = np.arange(1, len(y) + 1)
            lines.append(Line(rank, y, "", BLACK, "dotted", group="limit"))
        groups.append(lines)
    size = max(len(line.x) for lines in groups for line in lines)
    x = scale.number_axis("rank i of the eigenvalue", size)
    y = scale.log_axis(f"{LAMBDA}_{{i}} of K_{{t}}", groups)
    panels = [
        Panel(name_of(name), x, y if i == 0 else _bare(y), lines)
        for i, (name, lines) in enumerate(zip(results, groups, strict=True))
    ]
    key = _width_key(colours)
    key += [Line([], [], "start", GREY, "dashed"), Line([], [], "end", GREY)]
    return Plot("spectra", panels, key + _limit_key(summary), len(panels))


def widths(summary: dict[str, Any], results: Results) -> Plot:
    """How far kernels are moved by the whole of training, against width."""
    groups = []
    for name in results:
        found = {"widths": summary["widths"], **summary["results"][name]}
        shown = MOVED if "distance_full" in found["metrics"] else MOVED_MEAN
        groups.append(
            [
                line
                for metric, (label, colour) in shown.items()
                for line in power(found, metric, colour, label)
            ]
        )
    x = scale.width_axis("width m", summary["widths"])
    y = scale.log_axis("S and drift, from start to end", groups)
    panels = [
        Panel(name_of(name), x, y if i == 0 else _bare(y), lines)
        for i, (name, lines) in enumerate(zip(results, groups, strict=True))
    ]
    return Plot("widths", panels, WIDTH_KEY, len(panels))


PLOTS = (widths, distances, velocities, alignments, eigenvalues, machines, spectra)


def _rows(
    plot: str, rows: tuple[Row, ...], summary: Any, results: Results, key: list[Line]
) -> Plot:
    """Rows of panels against the training step, with one y axis to a row."""
    colours = width_colours(summary["widths"])
    panels = []
    for number, row in enumerate(rows):
        groups = [_series(row, cells, colours) for cells in results.values()]
        level = (summary["limit_machine"] or {}).get(row.limit)
        if level is not None:
            ends = np.array([1.0, summary["steps"]])
            limit = Line(ends, [level] * 2, "", BLACK, "dotted", group="limit")
            groups = [[*lines, limit] for lines in groups]
        last = number == len(rows) - 1
        x = scale.number_axis("training step" if last else "", summary["steps"])
        y = row.axis(row.title, groups)
        panels += [
            Panel(name_of(name) if number == 0 else "", x, _bare(y) if i else y, lines)
            for i, (name, lines) in enumerate(zip(results, groups, strict=True))
        ]
    return Plot(plot, panels, _width_key(colours) + key, len(results))


def _series(row: Row, cells: dict[int, Arrays], colours: dict[int, str]) -> list[Line]:
    """A line for each array and width, from step 1 on (a log axis has no step 0)."""
    lines = []
    for array, dash in row.arrays:
        for m, cell in cells.items():
            steps, y = cell["times"], seed_mean(cell, array)
            steps = steps[-len(y) :]  # a velocity stands at the later of its records
            if array.startswith("distance"):
                y = np.where(y > SMALLEST, y, np.nan)
            shown = steps > 0
            draw = "both" if shown.sum() == 1 else "line"
            lines.append(
                Line(steps[shown], y[shown], "", colours[m], dash, draw, group=f"m{m}")
            )
    return lines


def _near(title: str, groups: Any) -> scale.Axis:
    """Linear, around all values, for shares that are far from 0 or from 1."""
    values = np.concatenate([np.asarray(a.y, float) for g in groups for a in g])
    values = values[np.isfinite(values)]
    low, high = (values.min(), values.max()) if len(values) else (0.0, 1.0)
    step = next(s for s in (0.01, 0.02, 0.05, 0.1, 0.2, 0.5) if (high - low) / s <= 5)
    low, high = np.floor(low / step), np.ceil(high / step + 1e-9)
    ticks = [float(step * i) for i in range(int(low), int(max(high, low + 1)) + 1)]
    marks = tuple((tick, f"{tick:.4g}") for tick in ticks)
    return scale.Axis(title, ticks[0], ticks[-1], marks, log=False)


def _bare(axis: scale.Axis) -> scale.Axis:
    return dataclasses.replace(axis, title="")


def _above_rounding(values: np.ndarray) -> np.ndarray:
    """Eigenvalues, largest first; NaN where they are no more than rounding."""
    values = np.sort(values)[::-1].astype(np.float64)
    floor = len(values) * np.finfo(np.float32).eps
    return np.where(values > floor * values[0], values, np.nan)


def _width_key(colours: dict[int, str]) -> list[Line]:
    return [Line([], [], f"m = {m}", c, group=f"m{m}") for m, c in colours.items()]


def _limit_key(summary: dict[str, Any]) -> list[Line]:
    if summary["limit_machine"] is None:
        return []
    return [Line([], [], LIMIT, BLACK, "dotted", group="limit")]
