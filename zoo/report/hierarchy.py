"""The figures of the neural tangent hierarchy: sizes, errors, drift against time."""

from typing import Any

import numpy as np

from zoo.gap.hierarchy_summary import GROWN, ROUNDING
from zoo.report import scale
from zoo.report.plots import (
    BLACK,
    BLUE,
    GREEN,
    GREY,
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

ORANGE, PINK = "#e69f00", "#cc79a7"
TAU = f"time t {LAMBDA}_{{max}} / n"
KERNELS = {"K2": ("K_{2}", GREY), "K3": ("K_{3}", BLUE), "K4": ("K_{4}", RED)}
TRUNCATED = {
    "drift_flow": ("p = 2", GREY),
    "error_p3": ("p = 3", BLUE),
    "error_p4": ("p = 4", RED),
}
OUTPUTS = {
    "output_p2": ("p = 2", GREY),
    "output_p3": ("p = 3", BLUE),
    "output_p4": ("p = 4", RED),
}
PREDICTIONS = {
    "first": ("first order", ORANGE, "dashed"),
    "second": ("second order", PINK, "dashed"),
    "p3": ("hierarchy, p = 3", BLUE, "solid"),
    "p4": ("hierarchy, p = 4", RED, "solid"),
}
# A Taylor polynomial is drawn up to this many times the largest measured drift, ...
LEAVES = 1.5
PANELS = 3  # ... at so many of the widths, ...
FROM = 0.05  # ... from this t lambda_max / n on: before, all of them agree.


def sizes(summary: dict[str, Any], cells: dict[int, Arrays]) -> Plot:
    """K2, K3 and K4 at initialization, and errors of the truncations, against width."""
    x = scale.width_axis("width m", summary["widths"])
    panels = []
    for title, metrics, said in (
        ("tangent kernels at initialization", KERNELS, "RMS over entries"),
        (
            f"truncation at level p: error of {THETA}_{{t}}",
            TRUNCATED,
            f"error / |{THETA}_{{0}}|, last time",
        ),
    ):
        lines = _powers(summary, metrics)
        panels.append(Panel(title, x, scale.log_axis(said, [lines]), lines))
    return Plot("sizes", panels, WIDTH_KEY, 2)


def drifts(summary: dict[str, Any], cells: dict[int, Arrays]) -> Plot:
    """Width times drift against time, predicted and measured, at some widths."""
    widths = list(cells)
    count = min(PANELS, len(widths))
    some = np.unique(np.linspace(0, len(widths) - 1, count).round().astype(int))
    groups = [_drift(widths[i], cells[widths[i]]) for i in some]
    titles = [f"m = {widths[i]}" for i in some]
    said = f"m |{THETA}_{{t}} {MINUS} {THETA}_{{0}}| / |{THETA}_{{0}}|"
    y = _linear_axis(said, groups)
    key = [
        Line([], [], "gradient flow", BLACK, group="flow"),
        Line([], [], "gradient descent", BLACK, draw="markers", group="descent"),
    ]
    key += [
        Line([], [], label, colour, dash, group=name)
        for name, (label, colour, dash) in _predicted(cells).items()
    ]
    panels = _row(titles, cells, y, groups, FROM)
    return Plot("drift", panels, key, len(groups))


def errors(summary: dict[str, Any], cells: dict[int, Arrays]) -> Plot:
    """Distance of each prediction from the flow's kernel against time, by width."""
    colours, groups, titles = width_colours(summary["widths"]), [], []
    for name, (label, _, _) in _predicted(cells).items():
        lines = [
            Line(
                cell["tau"],
                np.where(median(cell, f"error_{name}") > ROUNDING, 1, np.nan)
                * median(cell, f"error_{name}"),
                colour=colours[m],
                group=f"m{m}",
            )
            for m, cell in cells.items()
        ]
        slope = summary["orders"][name]["expected"]
        slope = None if slope is None else int(slope)
        groups.append(lines if slope is None else [*lines, *_guide(lines[-1], slope)])
        titles.append(label if slope is None else f"{label}: t^{{{slope}}}")
    measured = f"|{THETA}_{{pred}} {MINUS} {THETA}_{{t}}| / |{THETA}_{{0}}|"
    y = scale.Axis(measured, *ERRORS, scale.log_ticks(*ERRORS))
    key = _width_key(colours)
    if any(line.thin for lines in groups for line in lines):
        key.append(Line([], [], "power of t", GREY, "dashed", thin=True))
    return Plot("errors", _row(titles, cells, y, groups), key, len(groups))


def ratios(summary: dict[str, Any], cells: dict[int, Arrays]) -> Plot:
    """Predicted over measured drift against time, by width."""
    colours, groups, titles = width_colours(summary["widths"]), [], []
    for name, (label, _, _) in _predicted(cells).items():
        groups.append(
            [
                Line(
                    cell["tau"],
                    _inside(_ratio(cell, name)),
                    colour=colours[m],
                    group=f"m{m}",
                )
                for m, cell in cells.items()
            ]
        )
        titles.append(label)
    marks = (0.6, 0.8, 1.0, 1.2, 1.4)
    ticks = tuple((v, f"{v:g}") for v in marks)
    y = scale.Axis("predicted / measured drift", *RATIOS, ticks, log=False)
    plot = _row(titles, cells, y, groups)
    return Plot("ratios", plot, _width_key(colours), len(groups))


def outputs(summary: dict[str, Any], cells: dict[int, Arrays]) -> Plot:
    """Errors of the truncations' outputs, and the drift by descent, against width."""
    x = scale.width_axis("width m", summary["widths"])
    moving = {
        "drift": ("drift, descent", BLACK),
        "velocity": (f"|d{THETA}/dt|, t = 0", GREEN),
    }
    panels = []
    for title, metrics, said in (
        ("truncation at level p: outputs", OUTPUTS, "largest RMS error, train points"),
        (f"motion of {THETA}", moving, f"relative to |{THETA}_{{0}}|"),
    ):
        lines = _powers(summary, metrics)
        panels.append(Panel(title, x, scale.log_axis(said, [lines]), lines))
    return Plot("outputs", panels, WIDTH_KEY, 2)


PLOTS = (sizes, drifts, errors, ratios, outputs)
MINUS = "\N{MINUS SIGN}"
RATIOS, ERRORS = (0.5, 1.5), (ROUNDING, 3.0)  # of the axes


def median(cell: Arrays, name: str) -> np.ndarray:
    """Median over seeds of a recorded series, [t]; NaN where it is no number."""
    known = cell[name] < GROWN  # False of what is no number
    value = np.median(np.where(known, cell[name], np.inf), axis=0)
    return np.where(np.isfinite(value), value, np.nan)


def _powers(summary: dict[str, Any], metrics: dict[str, Any]) -> list[Line]:
    found = {k: v for k, v in metrics.items() if k in summary["metrics"]}
    return [
        line
        for name, (label, colour) in found.items()
        for line in power(summary, name, colour, label)
    ]


def _predicted(cells: dict[int, Arrays]) -> dict[str, tuple[str, str, str]]:
    some = next(iter(cells.values()))
    return {k: v for k, v in PREDICTIONS.items() if f"drift_{k}" in some}


def _drift(m: int, cell: Arrays) -> list[Line]:
    """Lines of one width."""
    tau, flow = cell["tau"], median(cell, "drift_flow")
    lines = []
    for name, (_, colour, dash) in _predicted({0: cell}).items():
        y = median(cell, f"drift_{name}")
        inside = y < LEAVES * np.nanmax(flow)
        y = np.where(np.cumprod(inside), m * y, np.nan)
        lines.append(Line(tau, y, "", colour, dash, group=name))
    taken = np.isfinite(cell["steps_taken"]) & (tau > 0)
    descent = m * median(cell, "drift")[taken]
    return [
        *lines,
        Line(tau, m * flow, "", BLACK, group="flow"),
        Line(tau[taken], descent, "", BLACK, draw="markers", group="descent"),
    ]


def _ratio(cell: Arrays, name: str) -> np.ndarray:
    """Median over seeds of predicted over measured drift."""
    drift = cell[f"drift_{name}"]
    drift = np.where(drift < GROWN, drift, np.inf)
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = drift / cell["drift_flow"]
    return median({"ratio": ratio}, "ratio")


def _inside(y: np.ndarray) -> np.ndarray:
    """Up to where it leaves the axis of ratios for the first time."""
    low, high = RATIOS
    out = np.flatnonzero((y < low) | (y > high))
    return np.where(np.arange(len(y)) < (out[0] if len(out) else len(y)), y, np.nan)


def _guide(line: Line, slope: int) -> list[Line]:
    """A power of t through the first point above rounding, up to t = n / lambda_max."""
    x, y = np.asarray(line.x), np.asarray(line.y)
    good = np.flatnonzero(np.isfinite(y) & (y > 0))
    if not len(good):
        return []
    ends = np.array([x[good[0]], 1.0])
    through = y[good[0]] * (ends / ends[0]) ** slope
    return [Line(ends, through, "", GREY, "dashed", thin=True)]


def _linear_axis(title: str, groups: list[list[Line]]) -> scale.Axis:
    """From 0 to the largest value, with 3 to 6 ticks."""
    values = np.concatenate([np.ravel(line.y) for lines in groups for line in lines])
    values = values[np.isfinite(values)]
    high = 1.05 * float(np.max(values)) if len(values) and np.any(values > 0) else 1.0
    power = 10.0 ** np.floor(np.log10(high / 3))
    step = power * max(s for s in (1, 2, 3) if s * power <= high / 3)
    ticks = [float(step * i) for i in range(int(high / step) + 1)]
    return scale.Axis(title, 0.0, high, tuple((v, f"{v:.3g}") for v in ticks), False)


def _row(
    titles: list[str],
    cells: dict[int, Arrays],
    y: scale.Axis,
    groups: list[list[Line]],
    start: float = 0.0,
) -> list[Panel]:
    """Panels with one time axis from `start` on; only the first says what y is."""
    tau = next(iter(cells.values()))["tau"]
    low, high = max(float(tau[1]), start) / 1.3, float(tau[-1]) * 1.3
    x = scale.Axis(TAU, low, high, _decades(low, high))
    bare = scale.Axis("", y.low, y.high, y.ticks, y.log)
    return [
        Panel(title, x, bare if i else y, [_positive(line) for line in lines])
        for i, (title, lines) in enumerate(zip(titles, groups, strict=True))
    ]


def _decades(low: float, high: float) -> tuple[tuple[float, str], ...]:
    """A tick at every other power of ten, as the panels are narrow."""
    powers = np.arange(np.ceil(np.log10(low)), np.floor(np.log10(high)) + 1)
    kept = powers[::-1][::2][::-1] if len(powers) > 3 else powers
    return tuple((float(10.0**p), scale.label(float(10.0**p))) for p in kept)


def _positive(line: Line) -> Line:
    """Without t = 0, which a log axis does not have."""
    x, y = np.asarray(line.x), np.asarray(line.y)
    late = x > 0
    look = {"dash": line.dash, "draw": line.draw, "thin": line.thin}
    return Line(x[late], y[late], "", line.colour, group=line.group, **look)


def _width_key(colours: dict[int, str]) -> list[Line]:
    return [Line([], [], f"m = {m}", c, group=f"m{m}") for m, c in colours.items()]
