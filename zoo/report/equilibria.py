"""The figures of equilibria: deviation and gap against width, steps against chi_1."""

from typing import Any

import numpy as np

from zoo.gap import fit
from zoo.gap.equilibria import Steps
from zoo.report import scale
from zoo.report.plots import (
    BLUE,
    CHI_1,
    GREEN,
    GREY,
    INFINITY,
    RED,
    THETA,
    WIDTH_KEY,
    Line,
    Panel,
    Plot,
    minus,
    power,
)
from zoo.report.text import exponent, interval

COLOURS = (BLUE, RED, GREEN, "#cc79a7", "#e69f00")


def deviation(widths: list[int], errors: dict[str, np.ndarray]) -> Plot:
    """Relative distance of the kernel at initialization from its limit.

    Args:
        widths: [w].
        errors: by network, [seeds, w].
    """
    lines = []
    for (name, values), colour in zip(errors.items(), COLOURS, strict=False):
        kept = values[np.all(np.isfinite(values), axis=1)]
        slope = fit.slope_fit(widths, kept)
        intervals = np.array([fit.t_interval(column) for column in kept.T])
        mean, half = intervals[:, 0], intervals[:, 2] - intervals[:, 0]
        said = minus(f"{_named(name)}: {interval(slope)}")
        if len(kept) < len(values):
            said += f" ({len(kept)} of {len(values)} seeds)"
        guide = mean[-1] * (np.asarray(widths) / widths[-1]) ** -0.5
        lines += [
            Line(widths, mean, said, colour, draw="both", half=half),
            Line(widths, guide, "", colour, "dashed", thin=True),
        ]
    x = scale.width_axis("width m", widths)
    limit = f"{THETA}_{{{INFINITY}}}"
    y = scale.log_axis(minus(f"|{THETA} - {limit}| / |{limit}|"), [lines])
    power_law = minus(exponent(-0.5))
    title = f"empirical NTK at initialization; dashed: theory {power_law}"
    return Plot("deviation", [Panel(title, x, y, lines)], [], 1)


def gaps(summaries: dict[str, dict[str, Any]]) -> Plot:
    """The gaps of several networks beside each other, one panel per gap."""
    titles = {
        "gap_total": "total gap",
        "gap_nonlinear": "nonlinear gap",
        "gap_kernel": "kernel gap",
    }
    first = next(iter(summaries.values()))
    groups = [
        [
            line
            for (name, summary), colour in zip(summaries.items(), COLOURS, strict=False)
            for line in power(summary, gap, colour)
        ]
        for gap in titles
    ]
    x = scale.width_axis("width m", first["widths"])
    y = scale.log_axis("largest RMS gap on test points", groups)
    panels = [
        Panel(title, x, y, lines)
        for title, lines in zip(titles.values(), groups, strict=True)
    ]
    names = [
        Line([], [], name, colour, draw="both")
        for name, colour in zip(summaries, COLOURS, strict=False)
    ]
    return Plot("gaps", panels, [*names, *WIDTH_KEY], len(panels))


def steps(found: list[Steps], width: int) -> Plot:
    """Steps to the equilibrium against chi_1, of kernels and of finite networks."""
    chi = [each.chi1 for each in found]
    lines = [
        Line(
            chi, [e.plain for e in found], "limit, plain iteration", BLUE, draw="both"
        ),
        Line(chi, [e.newton for e in found], "limit, Newton", GREEN, draw="both"),
    ]
    for solver, colour in zip(found[0].finite, (RED, GREY), strict=False):
        counted = [e.finite[solver] for e in found]
        label = f"network of width {width}, {solver}"
        lines.append(Line(chi, counted, label, colour, draw="both"))
    x = scale.unit_axis(CHI_1, [])
    y = scale.log_axis("steps", [lines])
    title = "steps to the equilibrium (of a limit, to 1e-12; of a network, in float32)"
    return Plot("steps", [Panel(title, x, y, lines)], [], 1)


def _named(text: str) -> str:
    return text.replace("chi_1", CHI_1)
