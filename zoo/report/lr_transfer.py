"""The report of learning rates against width: figures, page, what it says in words.

Symbols: eta learning rate, m width, Theta_0 the kernel on the train points at
initialization, n train points; critical is 2 n / lambda_max(Theta_0).
"""

import dataclasses
import math
from pathlib import Path
from typing import Any

import numpy as np

from zoo.gap import store
from zoo.report import document, figures, lr_text, scale, tables
from zoo.report.lr_text import NAMES
from zoo.report.plots import (
    BLUE,
    GREEN,
    GREY,
    RED,
    WIDTH_KEY,
    Line,
    Panel,
    Plot,
    minus,
    power,
)
from zoo.report.series import numbers, width_colours

ETA = "\N{GREEK SMALL LETTER ETA}"
LAMBDA = "\N{GREEK SMALL LETTER LAMDA}"
COLOURS = {"critical": GREY, "stable": BLUE, "converging": RED, "best": GREEN}
PANELS = {
    "stable_ratio": "largest stable rate",
    "converging_ratio": "largest converging rate",
    "best_ratio": "best rate",
}
MARKS = ("solid", "dashed", "dotted")
PALETTE = (BLUE, RED, GREEN, "#cc79a7", "#e69f00")
OVER_CRITICAL = f"{ETA} / (2n / {LAMBDA}_{{max}})"


def curves(summary: dict[str, Any]) -> Plot:
    """Final train loss against eta, a panel for each parameterization."""
    return _losses_plot(summary, "lr_curves", ("train_loss",), False)


def collapse(summary: dict[str, Any]) -> Plot:
    """Final train and test loss against eta / critical, a row each."""
    return _losses_plot(summary, "lr_collapse", ("train_loss", "test_loss"), True)


def _losses_plot(summary, plot: str, scores: tuple[str, ...], over: bool) -> Plot:
    colours = width_colours(summary["widths"])
    parts = summary["parameterizations"]
    panels: list[Panel] = []
    for score in scores:
        groups = [
            _losses(summary, part, score, over, colours) for part in parts.values()
        ]
        y = scale.log_axis(f"final {score.replace('_', ' ')}", groups)
        for i, (name, lines) in enumerate(zip(parts, groups, strict=True)):
            marks = _marks(summary, parts[name], y, over, colours)
            x = _ratio_axis(lines) if over else _rate_axis(lines)
            panels.append(
                Panel(
                    NAMES.get(name, name) if score == scores[0] else "",
                    x if score == scores[-1] else dataclasses.replace(x, title=""),
                    dataclasses.replace(y, title="") if i else y,
                    [*marks, *lines],
                )
            )
    key = [Line([], [], f"m = {m}", c, group=f"m{m}") for m, c in colours.items()]
    key += [Line([], [], "critical rate", GREY, "dashed", thin=True)]
    if over:
        key += [Line([], [], "twice critical", GREY, "dotted", thin=True)]
    return Plot(plot, panels, key, len(parts))


def _losses(summary, part, score: str, over: bool, colours) -> list[Line]:
    """One line per width."""
    critical = numbers(part["metrics"]["critical"]["mean"])
    lines = []
    for m, edge in zip(summary["widths"], critical, strict=True):
        curve = part["curves"][str(m)]
        rates = numbers(curve["rates"]) / (edge if over else 1.0)
        style = {"colour": colours[m], "group": f"m{m}"}
        lines.append(Line(rates, numbers(curve[score]), **style))
    return lines


def _marks(summary, part, y: scale.Axis, over: bool, colours) -> list[Line]:
    """Vertical lines: at 1 and 2 of the critical rate, or at each width's own."""
    ends = [y.low, y.high]
    if over:
        return [
            Line([1.0, 1.0], ends, "", GREY, "dashed", thin=True),
            Line([2.0, 2.0], ends, "", GREY, "dotted", thin=True),
        ]
    critical = numbers(part["metrics"]["critical"]["mean"])
    return [
        Line([c, c], ends, "", colours[m], "dashed", thin=True, group=f"m{m}")
        for m, c in zip(summary["widths"], critical, strict=True)
    ]


def _span(lines: list[Line]) -> tuple[float, float]:
    """From the first to the last rate of which a loss is drawn."""
    x = np.concatenate([np.asarray(line.x)[np.isfinite(line.y)] for line in lines])
    if not len(x):
        x = np.concatenate([np.asarray(line.x) for line in lines])
    return float(x.min()) / 1.2, float(x.max()) * 1.2


def _rate_axis(lines: list[Line]) -> scale.Axis:
    """Of more than two decades, powers of ten alone have room at the ticks."""
    low, high = _span(lines)
    ticks = scale.log_ticks(low, high)
    if high > 150 * low:
        ticks = tuple(t for t in ticks if math.log10(t[0]).is_integer())
    return scale.Axis(f"learning rate {ETA}", low, high, ticks)


def _ratio_axis(lines: list[Line]) -> scale.Axis:
    """Powers of 2 as ticks."""
    low, high = _span(lines)
    powers = range(math.ceil(math.log2(low)), math.floor(math.log2(high)) + 1)
    every = -(-len(powers) // 8)
    ticks = tuple(
        (2.0**p, f"{2**p}" if p >= 0 else f"1/{2**-p}")
        for p in powers
        if p % every == 0
    )
    return scale.Axis(OVER_CRITICAL, low, high, ticks)


def rates(summary: dict[str, Any]) -> Plot:
    """Critical, largest stable, largest converging and best rate against width."""
    x = scale.width_axis("width m", summary["widths"])
    panels = []
    for name, part in summary["parameterizations"].items():
        whole = {"widths": summary["widths"], "metrics": part["metrics"]}
        lines = [
            dataclasses.replace(line, label=line.label.partition(";")[0])
            for rate, colour in COLOURS.items()
            for line in power(whole, rate, colour, rate)
        ]
        title = f"learning rate {ETA}" if not panels else ""
        y = scale.log_axis(title, [lines])
        heading = NAMES.get(name, name)
        if part["rate_power"] is not None:
            heading += minus(f": expected {part['rate_power']}")
        panels.append(Panel(heading, x, y, lines))
    return Plot("lr_rates", panels, WIDTH_KEY, len(panels))


def ratios(summary: dict[str, Any]) -> Plot:
    """Largest stable, largest converging, best rate over each seed's critical one."""
    widths = summary["widths"]
    x = scale.width_axis("width m", widths)
    styles = list(zip(PALETTE, MARKS + MARKS, strict=False))
    parts = list(summary["parameterizations"].items())
    panels, key = [], []
    for ratio, title in PANELS.items():
        lines = [
            Line(
                widths,
                numbers(part["metrics"][ratio]["mean"]),
                "",
                styles[i][0],
                styles[i][1],
                draw="both",
                half=lr_text.halves(part["metrics"][ratio]),
                group=name,
            )
            for i, (name, part) in enumerate(parts)
        ]
        y = scale.log_axis(f"over 2n / {LAMBDA}_{{max}}" if not panels else "", [lines])
        lines.append(Line(widths, np.ones(len(widths)), "", GREY, thin=True))
        panels.append(Panel(title, x, y, lines))
    key = [
        Line([], [], NAMES.get(name, name), *styles[i], draw="both", group=name)
        for i, (name, _) in enumerate(parts)
    ]
    key += [Line([], [], "critical rate", GREY, thin=True)]
    return Plot("lr_ratios", panels, key, len(panels))


SECTIONS = (
    (
        curves,
        "Final loss against the learning rate",
        "After the same number of steps; medians over seeds, a run that is not finite, "
        "ends above its start or is dead counting as infinite. Dashed: each width's "
        "critical rate 2n / &lambda;<sub>max</sub>, mean over seeds.",
    ),
    (
        collapse,
        "The same over the critical rate",
        "Rates over each width's critical one; below, the test loss. Dotted: twice "
        "that, where catapults of linear networks end.",
    ),
    (
        rates,
        "Rates against width",
        "Stable: never ten times the start, and not above it at the end. Converging: "
        "ends below the start, however large the loss was in between. Best: smallest "
        "final train loss of stable runs. Intervals of exponents are Student's t over "
        "seeds, widened by the resolution of the rates. The guide is the exponent that "
        "theory expects, from the widest network.",
    ),
    (
        ratios,
        "Rates over the critical one",
        "Each seed's rate over its own 2n / &lambda;<sub>max</sub> at initialization; "
        "mean and 95 % interval.",
    ),
)


def write(workdir: Path, summary: dict[str, Any]) -> Path:
    """Writes `<workdir>/report.html` and `<workdir>/figures/`; returns the page's path.

    Args:
        workdir: of the run.
        summary: of `zoo.gap.lr_transfer.run`, or `summary.json` read back.
    """
    folder = workdir / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for make, _, _ in SECTIONS:
        figures.save(make(summary), folder)
    path = workdir / "report.html"
    store.write_text(path, html(summary))
    return path


def html(summary: dict[str, Any]) -> str:
    """The whole page."""
    config = summary["config"]
    said = [f"<li>{tables.formula(s)}</li>" for s in lr_text.sentences(summary)]
    parts = [f"<p>{tables.formula(lr_text.opening(summary))}</p>"]
    parts += ["<ul>", *said, "</ul>", f"<p>{document.USE}</p>"]
    for number, (make, heading, caption) in enumerate(SECTIONS, 1):
        parts += [f"<h2>{number}. {heading}</h2>"]
        parts += [document.figure(make(summary), caption)]
    parts += ["<h2>5. Tables</h2>"]
    for name, part in summary["parameterizations"].items():
        parts += [lr_text.rate_table(summary, name, part)]
    parts += [lr_text.count_table(summary), "<h2>6. Configuration</h2>"]
    facts = config | summary["versions"] | {"seconds": f"{summary['seconds']:.3g}"}
    rows = [[key, _plain(value)] for key, value in facts.items()]
    parts += [tables.table(["configuration", ""], rows)]
    title = f"Learning rates against width: {config['arch']} on {config['dataset']}"
    return document.html(title, parts)


def _plain(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "none"
    return "default" if value is None else str(value)
