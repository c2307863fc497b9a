"""What each figure of the report shows, as data that any plotting library can draw.

`zoo.report.figures` draws a `Plot` with matplotlib, `zoo.report.interactive` with
plotly. Texts use `_{...}` and `^{...}` for subscripts and superscripts.

Symbols: f network, f_lin its linearization, f_inf its infinite-width limit, m width,
Theta the kernel on the train points, lambda_i its eigenvalues.
"""

import dataclasses
from typing import Any

import numpy as np

from zoo.report import scale
from zoo.report.series import Arrays, half_width, numbers, seed_mean, width_colours
from zoo.report.text import exponent, interval

BLACK, GREY = "#222222", "#777777"
BLUE, RED, GREEN = "#0072b2", "#d55e00", "#009e73"  # Okabe & Ito
MINUS, INFINITY = "\N{MINUS SIGN}", "\N{INFINITY}"
CHI_1 = "\N{GREEK SMALL LETTER CHI}_{1}"
LAMBDA, THETA = "\N{GREEK SMALL LETTER LAMDA}", "\N{GREEK CAPITAL LETTER THETA}"
F_LIN, F_INF = "f_{lin}", f"f_{{{INFINITY}}}"
# Relative to the largest, eigenvalues of a float32 kernel below this are rounding.
ROUNDING = 1e-6
GAPS = {
    "gap_total": (f"total gap, f {MINUS} {F_INF}", BLUE),
    "gap_nonlinear": (f"nonlinear gap, f {MINUS} {F_LIN}", RED),
    "gap_kernel": (f"kernel gap, {F_LIN} {MINUS} {F_INF}", GREEN),
}
KERNELS = {
    "kernel_error_init": ("error at init", BLUE),
    "kernel_drift": ("drift by training", RED),
}
MOVEMENTS = {
    "weight_movement_first": ("first layer", BLUE),
    "weight_movement_hidden": ("hidden layers", RED),
    "weight_movement_last": ("last layer", GREEN),
}
SCORES = {
    "train_loss": "train loss",
    "test_loss": "test loss",
    "test_accuracy": "test accuracy",
}
NETWORKS = {
    "": ("network", "solid"),
    "_linear": ("linearized network", "dashed"),
    "_infinite": ("infinite network", "dotted"),
}


@dataclasses.dataclass(frozen=True, eq=False)
class Line:
    """Points in a panel, joined or not; a value that is not finite is a hole.

    Attributes:
        x: [p].
        y: [p].
        label: its text in a legend; none if empty.
        colour: "#rrggbb".
        dash: "solid", "dashed" or "dotted".
        draw: "line", "markers" or "both".
        half: half-widths of error bars, [p].
        thin: a guide, drawn thinner.
        group: lines of one group are shown and hidden together.
    """

    x: Any
    y: Any
    label: str = ""
    colour: str = BLACK
    dash: str = "solid"
    draw: str = "line"
    half: Any = None
    thin: bool = False
    group: str = ""


@dataclasses.dataclass(frozen=True, eq=False)
class Heat:
    """Positive numbers over a grid, coloured by their logarithm and written out.

    Attributes:
        x: centres of the columns, [c].
        y: centres of the rows, [r].
        values: [r, c]; what is not finite stays blank.
    """

    x: Any
    y: Any
    values: Any

    def texts(self) -> list[list[str]]:
        """The values as they are written, [r, c]."""
        return [
            [np.format_float_positional(v, 2, fractional=False, trim="-") for v in row]
            for row in np.asarray(self.values, float)
        ]


@dataclasses.dataclass(frozen=True, eq=False)
class Panel:
    """One pair of axes; labelled lines are listed above it, under its title."""

    title: str
    x: scale.Axis
    y: scale.Axis
    lines: list[Line]
    heat: Heat | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Plot:
    """Panels in rows of `columns`, and a key above them for what they share."""

    name: str
    panels: list[Panel]
    key: list[Line]
    columns: int


WIDTH_KEY = [
    Line([], [], "mean over seeds, 95 % interval", GREY, draw="markers"),
    Line([], [], "fit: exponent [95 % interval]", GREY),
    Line([], [], "expected exponent", GREY, "dashed", thin=True),
]


def gaps(summary: dict[str, Any], cells: dict[int, Arrays]) -> Plot:
    """The three gaps against width, with fits and the expected slopes."""
    found = _measured(summary, GAPS)
    lines = [power(summary, name, colour) for name, (_, colour) in found.items()]
    x = scale.width_axis("width m", summary["widths"])
    y = scale.log_axis("largest RMS gap on test points", lines)
    titles = [title for title, _ in found.values()]
    panels = _share(titles, x, y, lines)
    return Plot("gaps", panels, _drawn(WIDTH_KEY, panels), len(panels))


def kernels(summary: dict[str, Any], cells: dict[int, Arrays]) -> Plot:
    """Kernel error and drift, and movement of the weights, against width."""
    x = scale.width_axis("width m", summary["widths"])
    panels = []
    for title, symbol, metrics in (
        ("train kernel", THETA, KERNELS),
        ("weights", "W", MOVEMENTS),
    ):
        found = _measured(summary, metrics)
        if not found:
            continue
        lines = [
            line
            for name, (label, colour) in found.items()
            for line in power(summary, name, colour, label)
        ]
        y = scale.log_axis(f"relative change of {symbol} (Frobenius norm)", [lines])
        panels.append(Panel(title, x, y, lines))
    return Plot("kernels", panels, _drawn(WIDTH_KEY, panels), len(panels))


def training(summary: dict[str, Any], cells: dict[int, Arrays]) -> Plot:
    """The gaps against the training step, by width; exact steps beside the flow."""
    colours = width_colours(summary["widths"])
    found = _measured(summary, GAPS)
    groups = [
        [
            _series(cell, variant, colours[m], dash, f"m{m}")
            for variant, dash in ((name, "solid"), (f"{name}_flow", "dotted"))
            for m, cell in cells.items()
            if variant in cell
        ]
        for name in found
    ]
    x = _step_axis(summary)
    y = scale.log_axis("RMS gap on test points", groups)
    panels = _share([title for title, _ in found.values()], x, y, groups)
    flow = _drawn([Line([], [], "prediction as a flow", GREY, "dotted")], panels)
    steps = [Line([], [], "prediction in steps", GREY)] if flow else []
    return Plot("training", panels, _width_key(colours) + steps + flow, len(panels))


def losses(summary: dict[str, Any], cells: dict[int, Arrays]) -> Plot:
    """Losses, and the accuracy if there is one, of the three networks together.

    A row for each score, a column for each of at most four widths.
    """
    colours = width_colours(summary["widths"])
    some = np.unique(np.linspace(0, len(cells) - 1, 4).round().astype(int))
    widths = [list(cells)[i] for i in some]
    rows = [score for score in SCORES if score in cells[widths[0]]]
    panels: list[Panel] = []
    for score in rows:
        groups = [
            [
                _series(
                    cells[m],
                    score + suffix,
                    BLACK if suffix == "_infinite" else colours[m],
                    dash,
                    f"network{suffix}",
                )
                for suffix, (_, dash) in NETWORKS.items()
                if score + suffix in cells[m]
            ]
            for m in widths
        ]
        axis = scale.unit_axis if score == "test_accuracy" else scale.log_axis
        x = _step_axis(summary) if score == rows[-1] else _step_axis(summary, "")
        titles = [f"m = {m}" if score == rows[0] else "" for m in widths]
        panels += _share(titles, x, axis(SCORES[score], groups), groups)
    key = [
        Line([], [], name, BLACK if suffix == "_infinite" else GREY, dash)
        for suffix, (name, dash) in NETWORKS.items()
        if rows[0] + suffix in cells[widths[0]]
    ]
    return Plot("losses", panels, key, len(widths))


def spectra(summary: dict[str, Any], cells: dict[int, Arrays]) -> Plot:
    """Eigenvalues of finite and infinite train kernels, and their ratio, by rank."""
    colours = width_colours(summary["widths"])
    kernels = {m: c for m, c in cells.items() if "kernel_eigenvalues" in c}
    limits = {
        m: _spectrum(c["limit_eigenvalues"])
        for m, c in kernels.items()
        if "limit_eigenvalues" in c
    }
    values, ratios = [], []
    same = len({v.tobytes() for v in limits.values()}) == 1
    for m, cell in kernels.items():
        finite = _spectrum(np.mean(cell["kernel_eigenvalues"], axis=0, dtype=float))
        rank, style = np.arange(1, len(finite) + 1), {"group": f"m{m}"}
        values.append(Line(rank, finite, colour=colours[m], **style))
        if m in limits and len(limits[m]) == len(finite):
            ratio = finite / limits[m]
            ratios.append(Line(rank, ratio, colour=colours[m], **style))
    for m, limit in list(limits.items())[: 1 if same else None]:
        group = "limit" if same else f"m{m}"
        colour = BLACK if same else colours[m]
        rank = np.arange(1, len(limit) + 1)
        values.append(Line(rank, limit, colour=colour, dash="dashed", group=group))
    panels = []
    size = max((len(line.x) for line in values), default=1)
    x = scale.number_axis("rank i of the eigenvalue", size)
    if values:
        y = scale.log_axis(f"eigenvalue {LAMBDA}_{{i}} of {THETA}", [values])
        panels.append(Panel("spectrum of the train kernel", x, y, values))
    if ratios:
        ends = np.array([1, size])
        ratios.append(Line(ends, np.ones(2), dash="dashed", group="limit"))
        said = f"{LAMBDA}_{{i}}(m) / {LAMBDA}_{{i}}({INFINITY})"
        y = scale.log_axis(said, [ratios])
        panels.append(Panel("relative to infinite width", x, y, ratios))
    key = _width_key(colours)
    if limits:
        key.append(Line([], [], f"m = {INFINITY}", BLACK, "dashed", group="limit"))
    return Plot("spectra", panels, key, len(panels))


PLOTS = (gaps, training, losses, spectra, kernels)


def _measured(summary: dict[str, Any], metrics: dict[str, Any]) -> dict[str, Any]:
    """Those of the metrics that the run could measure."""
    found = summary["metrics"]
    return {name: m for name, m in metrics.items() if not found[name]["missing"]}


def _share(titles: list[str], x: Any, y: Any, groups: list) -> list[Panel]:
    """Panels in a row with the same axes; only the first says what y is."""
    bare = dataclasses.replace(y, title="")
    return [
        Panel(title, x, bare if i else y, lines)
        for i, (title, lines) in enumerate(zip(titles, groups, strict=True))
    ]


def _drawn(key: list[Line], panels: list[Panel]) -> list[Line]:
    """The entries of a key that look as some line of the panels."""

    def look(line: Line) -> tuple:
        return line.draw == "markers", line.dash, line.thin

    looks = {look(line) for panel in panels for line in panel.lines}
    return [line for line in key if look(line) in looks]


def power(summary, name: str, colour: str, label: str = "") -> list[Line]:
    """A metric against width: means with intervals, the fit, and the expected slope.

    The fit, whose slope is the mean of the slopes of seeds, passes through the centre
    of the means; the guide starts where theory holds best, at the widest network.
    """
    metric = summary["metrics"][name]
    m, mean = numbers(summary["widths"]), numbers(metric["mean"])
    slope = numbers(metric["slope"]["value"])
    expected = metric["expected"]["slope"]
    good = np.isfinite(mean) & (mean > 0)
    if not good.any():
        return []
    said = [interval(metric["slope"]) if np.isfinite(slope) else "no exponent"]
    said += (
        []
        if expected is None
        else [f"{metric['expected']['status']} {exponent(expected)}"]
    )
    text = minus((f"{label}: " if label else "") + "; ".join(said))
    style = {"colour": colour, "group": name}
    lines = [Line(m, mean, text, draw="markers", half=half_width(metric), **style)]
    if np.isfinite(slope):
        centre, level = np.mean(np.log(m[good])), np.mean(np.log(mean[good]))
        lines.append(Line(m, np.exp(level + slope * (np.log(m) - centre)), **style))
    if expected is not None and good.sum() > 1:
        last = np.flatnonzero(good)[-1]
        guide = mean[last] * (m / m[last]) ** expected
        lines.append(Line(m, guide, dash="dashed", thin=True, **style))
    return lines


def _series(cell: Arrays, name: str, colour: str, dash: str, group: str) -> Line:
    """A recorded series from step 1 on (a log axis has no step 0)."""
    y = seed_mean(cell, name)[cell["times"] > 0]
    x = cell["times"][cell["times"] > 0]
    draw = "both" if len(x) == 1 else "line"
    return Line(x, y, "", colour, dash, draw, group=group)


def _width_key(colours: dict[int, str]) -> list[Line]:
    return [Line([], [], f"m = {m}", c, group=f"m{m}") for m, c in colours.items()]


def _step_axis(summary: dict[str, Any], title: str = "training step") -> scale.Axis:
    return scale.number_axis(title, summary["steps"])


def _spectrum(values: np.ndarray) -> np.ndarray:
    """Eigenvalues, largest first; NaN where they are no more than rounding."""
    values = np.sort(values)[::-1].astype(np.float64)
    return np.where(values > ROUNDING * values[0], values, np.nan)


def minus(text: str) -> str:
    """With the sign of a number in place of hyphens."""
    return text.replace("-", MINUS)
