"""The figures of the report for a paper: matplotlib, as SVG and PDF.

Writing a figure twice gives the same bytes.
"""

import re
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.lines import Line2D
from matplotlib.ticker import FixedLocator, NullLocator

from zoo.gap import store
from zoo.report.plots import PLOTS, Heat, Line, Panel, Plot
from zoo.report.scale import Axis
from zoo.report.series import Arrays

WIDTH = 7.0  # of a figure, inches
FIRST_ROW, LATER_ROW = 2.3, 1.5  # height of the only row, of each of several, inches
KEY_LETTERS = 125  # that fit in a row of the key
STYLE = {
    "font.family": "STIXGeneral",
    "mathtext.fontset": "stix",
    "font.size": 8.5,
    "axes.titlesize": 9,
    "axes.linewidth": 0.6,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "lines.linewidth": 1.2,
    "lines.markersize": 3.5,
    "legend.frameon": False,
    "legend.fontsize": 8,
    "legend.columnspacing": 1.5,
    "legend.handlelength": 1.8,
    "xtick.major.width": 0.6,
    "ytick.major.width": 0.6,
    "pdf.fonttype": 42,
    "svg.fonttype": "path",
    "svg.hashsalt": "zoo",
}
DASHES = {"solid": "-", "dashed": (0, (4, 2)), "dotted": (0, (1, 1.2))}
# Left out, so that bytes do not depend on when a figure is made.
METADATA = {"svg": {"Date": None}, "pdf": {"CreationDate": None}}


def write(workdir: Path, summary: dict[str, Any], cells: dict[int, Arrays]) -> None:
    """Writes `<workdir>/figures/NAME.{svg,pdf}` for every plot with something in it."""
    folder = workdir / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for make in PLOTS:
        plot = make(summary, cells)
        if plot.panels:
            save(plot, folder)


def save(plot: Plot, folder: Path) -> None:
    """Writes one figure as SVG and PDF."""
    with matplotlib.rc_context(STYLE):
        figure = draw(plot)
        for kind, metadata in METADATA.items():
            with store.atomic(folder / f"{plot.name}.{kind}") as file:
                figure.savefig(file, format=kind, metadata=metadata)


def draw(plot: Plot) -> Figure:
    """The figure: panels in rows, their common key above."""
    columns = plot.columns
    rows = len(plot.panels) // columns
    listed = max(sum(bool(line.label) for line in p.lines) for p in plot.panels)
    height = (FIRST_ROW if rows == 1 else LATER_ROW * rows) + 0.16 * (listed + 1)
    figure = Figure((WIDTH, height), layout="constrained")
    all_axes = figure.subplots(rows, columns, squeeze=False)
    for axes, panel in zip(all_axes.flat, plot.panels, strict=True):
        _draw_panel(axes, panel)
    if plot.key:
        handles = [_handle(line) for line in plot.key]
        letters = sum(len(line.label) + 8 for line in plot.key)
        across = -(-len(handles) // -(-letters // KEY_LETTERS))
        in_rows = [h for column in range(across) for h in handles[column::across]]
        figure.legend(handles=in_rows, loc="outside upper center", ncols=across)
    return figure


def _draw_panel(axes: Axes, panel: Panel) -> None:
    if panel.heat is not None:
        _draw_heat(axes, panel.heat)
    for line in panel.lines:
        _draw_line(axes, line)
    _set_axis(axes.xaxis, panel.x)
    _set_axis(axes.yaxis, panel.y)
    axes.set_xlim(panel.x.low, panel.x.high)
    axes.set_ylim(panel.y.low, panel.y.high)
    axes.grid(color="#e6e6e6", linewidth=0.4)
    axes.set_axisbelow(True)
    handles = [_handle(line) for line in panel.lines if line.label]
    if not handles:
        axes.set_title(_markup(panel.title), loc="left")
        return
    axes.legend(
        handles=handles,
        title=_markup(panel.title),
        alignment="left",
        loc="lower left",
        bbox_to_anchor=(-0.03, 1.0),
        borderpad=0.1,
        labelspacing=0.2,
        handlelength=0.8,
        title_fontsize=9,
    )


def _draw_heat(axes: Axes, heat: Heat) -> None:
    """Cells between the means of neighbouring centres, on logarithmic axes."""
    values = np.log10(np.asarray(heat.values, float))
    edges = [_edges(np.asarray(centres, float)) for centres in (heat.x, heat.y)]
    mesh = axes.pcolormesh(*edges, values, cmap="viridis", rasterized=False)
    middle, texts = np.mean(mesh.get_clim()), heat.texts()
    for (i, j), value in np.ndenumerate(values):
        if np.isfinite(value):
            colour = "white" if value < middle else "black"
            axes.annotate(
                texts[i][j],
                (heat.x[j], heat.y[i]),
                color=colour,
                size=6,
                ha="center",
                va="center",
            )


def _edges(centres: np.ndarray) -> np.ndarray:
    """Geometric means of neighbours, and as far beyond the ends."""
    steps = np.log(centres)
    if len(steps) == 1:
        return centres[0] * np.asarray([0.7, 1.4])
    inner = (steps[1:] + steps[:-1]) / 2
    ends = 2 * steps[0] - inner[0], 2 * steps[-1] - inner[-1]
    return np.exp(np.concatenate([ends[:1], inner, ends[1:]]))


def _draw_line(axes: Axes, line: Line) -> None:
    x, y = np.asarray(line.x, float), np.asarray(line.y, float)
    if line.half is not None:
        good = np.isfinite(line.half)
        axes.errorbar(
            x[good],
            y[good],
            np.asarray(line.half)[good],
            fmt="none",
            ecolor=line.colour,
            elinewidth=0.9,
            capsize=2,
            capthick=0.9,
        )
    axes.plot(x, y, **_look(line))


def _look(line: Line) -> dict[str, Any]:
    """Matplotlib's words for the style of a line."""
    return {
        "color": line.colour,
        "linestyle": "none" if line.draw == "markers" else DASHES[line.dash],
        "marker": "none" if line.draw == "line" else "o",
        "linewidth": 0.7 if line.thin else 1.2,
    }


def _handle(line: Line) -> Line2D:
    return Line2D([], [], label=_markup(line.label), **_look(line))


def _set_axis(axis: Any, wanted: Axis) -> None:
    """Scale, title and exactly the given ticks."""
    name = axis.axis_name
    getattr(axis.axes, f"set_{name}scale")("log" if wanted.log else "linear")
    axis.set_label_text(_markup(wanted.title))
    axis.set_major_locator(FixedLocator([value for value, _ in wanted.ticks]))
    axis.set_ticklabels([_markup(text) for _, text in wanted.ticks])
    axis.set_minor_locator(NullLocator())


def _markup(text: str) -> str:
    """Sub- and superscripts in matplotlib's mathtext."""
    return re.sub(r"([_^])\{(.*?)\}", r"$\1{\\mathrm{\2}}$", text)
