"""The report of widths and output scales: from the lazy to the rich regime."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from zoo.gap.scale_laws import HALF, LAZY, LEAVES
from zoo.report import document, scale, tables, text
from zoo.report.plots import (
    BLUE,
    F_LIN,
    GREEN,
    GREY,
    MINUS,
    RED,
    Heat,
    Line,
    Panel,
    Plot,
)
from zoo.report.series import numbers, width_colours

ALPHA, ROOT = "\N{GREEK SMALL LETTER ALPHA}", "\N{SQUARE ROOT}m"
NORMS = {
    "gap": (f"gap F {MINUS} {F_LIN}", BLUE, -1),
    "movement": (f"|w {MINUS} w_{{0}}| / |w_{{0}}|", GREEN, -1),
    "movement_gap": (f"|w {MINUS} w_{{lin}}| / |w_{{0}}|", RED, -2),
}


def heat(summary: dict[str, Any]) -> Plot:
    """Drift and gap over width and scale."""
    widths = summary["widths"]
    x = dataclasses.replace(
        scale.width_axis("width m", widths),
        low=widths[0] / 1.41,
        high=widths[-1] * 1.41,
    )
    y = _log(f"scale {ALPHA}", summary["alphas"], room=0.5)
    panels = []
    for name, title in (("kernel_drift", "kernel drift"), ("gap", NORMS["gap"][0])):
        values = numbers(summary["means"][name]).T
        grid = Heat(widths, summary["alphas"], values)
        panels.append(Panel(title, x, y, [], grid))
    return Plot("heat", panels, [], 2)


def collapse(summary: dict[str, Any]) -> Plot:
    """Drift against the scale, and against the scale times the root of the width."""
    colours, alphas = width_colours(summary["widths"]), numbers(summary["alphas"])
    drift = numbers(summary["means"]["kernel_drift"])
    groups: list[list[Line]] = [[], []]
    for (m, colour), row in zip(colours.items(), drift, strict=True):
        for lines, x in zip(groups, (alphas, alphas * np.sqrt(m)), strict=True):
            lines.append(Line(x, row, "", colour, draw="both", group=f"m{m}"))
    y = scale.log_axis("kernel drift", groups)
    panels = [
        Panel("", _log(name, np.concatenate([line.x for line in lines])), y, lines)
        for name, lines in zip((ALPHA, f"{ALPHA} {ROOT}"), groups, strict=True)
    ]
    key = [Line([], [], f"m = {m}", c, group=f"m{m}") for m, c in colours.items()]
    return Plot("collapse", panels, key, 2)


def norms(summary: dict[str, Any]) -> Plot:
    """Gap and movement against the scale, at the widest network; and times."""
    alphas, lines = numbers(summary["alphas"]), []
    for name, (label, colour, power) in NORMS.items():
        values = numbers(summary["means"][name])[-1]
        lines.append(Line(alphas, values, label, colour, draw="both"))
        guide = values[-1] * (alphas / alphas[-1]) ** power
        lines.append(Line(alphas, guide, "", colour, "dashed", thin=True))
    colours, times = width_colours(summary["widths"]), []
    for (m, colour), row in zip(colours.items(), summary["leaving_time"], strict=True):
        x = alphas * np.sqrt(m)
        seen = np.isfinite(numbers(row))
        times.append(Line(x[seen], numbers(row)[seen], "", colour, draw="both"))
    ends = np.sort(np.concatenate([line.x for line in times]))
    if len(ends):
        ratio = np.median(np.concatenate([line.y / line.x for line in times]))
        times.append(Line(ends, ratio * ends, "", GREY, "dashed", thin=True))
    said = f"width {summary['widths'][-1]}"
    panels = [
        Panel(said, _log(ALPHA, alphas), scale.log_axis("", [lines]), lines),
        Panel(
            f"F leaves {F_LIN} by {LEAVES:g}",
            _log(f"{ALPHA} {ROOT}", ends if len(ends) else alphas),
            scale.log_axis("time t_{1}", [times]),
            times,
        ),
    ]
    key = [Line([], [], "expected exponent", GREY, "dashed", thin=True)]
    key += [Line([], [], f"m = {m}", c) for m, c in colours.items()]
    return Plot("norms", panels, key, 2)


def _log(title: str, values: Any, room: float = 0.1) -> scale.Axis:
    """A logarithmic axis around values; `room` in factors of 2 beyond the ends."""
    values = numbers(values)
    low, high = values.min() / 2**room, values.max() * 2**room
    return scale.Axis(title, low, high, scale.log_ticks(low, high))


SECTIONS = (
    (
        heat,
        "Width and scale",
        "Kernel drift |&Theta;<sub>T</sub> &minus; &Theta;<sub>0</sub>| / "
        "|&Theta;<sub>0</sub>|, and the largest root mean square of F &minus; "
        "F<sub>lin</sub> over test points and outputs; means over seeds.",
    ),
    (
        collapse,
        "Collapse",
        "The same drift against the scale, and against the scale times the root of the "
        "width, where curves of all widths are one if nothing else matters.",
    ),
    (
        norms,
        "Laws of the scale, and when the dynamics stop being linear",
        f"Left: at the widest network. Right: the time at which |F &minus; "
        f"F<sub>lin</sub>| is {LEAVES:g} of |F<sub>lin</sub>| over all points, where "
        "all seeds get there.",
    ),
)


def sentences(summary: dict[str, Any]) -> list[str]:
    """One sentence per law, and what was lost."""
    out = []
    for law in summary["laws"]:
        said = "theory: no prediction"
        if law["expected"] is not None:
            said = f"{law['status']}: {text.exponent(law['expected'])}"
        slope = text.interval(law["slope"])
        out.append(f"{law['quantity']} against {law['against']}: {slope}; {said}.")
    for width, count in summary["lost"].items():
        if count:
            out.append(f"{count} flows at width {width} took too many steps.")
    return out


def table(summary: dict[str, Any]) -> str:
    """Every law with its source."""
    rows = [
        [
            law["quantity"],
            law["against"],
            text.interval(law["slope"]),
            str(law["slope"]["seeds"]),
            text.exponent(law["expected"]),
            law["source"],
        ]
        for law in summary["laws"]
    ]
    head = ["quantity", "against", "exponent [95 %]", "seeds", "expected", "source"]
    return tables.table(
        head, rows, "Exponents: mean of the slopes of seeds.", words=True
    )


def write(workdir: Path, summary: dict[str, Any]) -> Path:
    """Writes `<workdir>/report.html` and `<workdir>/figures/`."""
    config = summary["config"]
    title = f"Lazy to rich: {config['arch']} on {config['dataset']}"
    settings = ", ".join(f"{k} {v}" for k, v in summary["network"].items())
    opening = (
        f"Architecture {config['arch']} ({settings}), trained: {summary['trained']}; "
        f"{config['n_train']} train and {config['n_test']} test points of "
        f"{config['dataset']}, {config['seeds']} seeds per width. F = alpha (f - f_0) "
        f"follows the gradient flow of L(F) / alpha^2, L = {summary['loss']}, to time "
        f"t = {text.number(summary['times'][-1])}, and F_lin, which alpha does not "
        f"enter, that of the linearization. Lazy fits use alpha >= "
        f"{LAZY:g}; the crossover alpha* is where the drift is {HALF:g}. Measured on "
        f"{summary['versions']['device']} in {text.number(summary['seconds'])} s."
    )
    parts = [f"<p>{tables.formula(opening)}</p>", "<ul>"]
    parts += [f"<li>{tables.formula(said)}</li>" for said in sentences(summary)]
    parts += ["</ul>", f"<p>{document.USE}</p>"]
    shown = []
    for number, (make, heading, caption) in enumerate(SECTIONS, 1):
        shown.append(make(summary))
        figure = document.figure(shown[-1], caption)
        parts += [f"<h2>{number}. {heading}</h2>", figure]
    parts += ["<h2>4. Exponents</h2>", table(summary)]
    return document.write(workdir, title, parts, shown)
