"""The scoreboard of the theorems: tables, one page per paper, markdown."""

import dataclasses
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from scipy import stats

from zoo.gap import store
from zoo.gap.sweep import Arrays
from zoo.report import document, figures, scale, tables
from zoo.report.plots import GREY, LAMBDA, THETA, Line, Panel, Plot, minus
from zoo.report.tables import formula
from zoo.report.text import number
from zoo.report.typeset import marked
from zoo.theory import PAPERS
from zoo.theory.claims import TRUST, VERDICTS, Axes, Curve, Figure, Paper

COLUMNS = ("claim", "quantity", "predicted", "measured [99 %]", "seeds", "verdict")
OF_TEN = (
    "#0072b2",
    "#d55e00",
    "#009e73",
    "#cc79a7",
    "#56b4e9",
    "#e69f00",
)  # Okabe, Ito
PANEL = 3  # in a row of a figure
GREEK = {"lambda": LAMBDA, "Theta": THETA}


def opening(summary: dict[str, Any]) -> str:
    """How many claims have which verdict."""
    found = [row["verdict"] for row in summary["rows"]]
    counts = {verdict: found.count(verdict) for verdict in VERDICTS}
    said = ", ".join(
        f"{count} {'hold' if verdict == 'holds' else verdict}"
        for verdict, count in counts.items()
        if count
    )
    certain = sum(row["certain"] for row in summary["rows"])
    if certain:
        said += f". {certain} of those that hold do so by construction"
    return (
        f"{len(found)} claims at the {summary['scale']} size: {said}. Measured in "
        f"{summary['seconds'] / 60:.1f} minutes on {summary['machine']}."
    )


def caution(summary: dict[str, Any]) -> str:
    """What many intervals at once, and finite widths, do to verdicts."""
    exact = sum(row["exact"] for row in summary["rows"])
    return (
        f"{exact} rows predict a number. At 99 % about {exact / 100:.1f} of them would "
        "be called violated by chance were all of them true; and what is true of a "
        "limit alone is violated at any finite width, once seeds are many enough. A "
        "bound is judged by the mean over seeds; how many seeds are beyond it is said."
    )


def measured(row: Mapping[str, Any]) -> str:
    """The mean with its interval."""
    mean, (low, high) = row["mean"], row["ci99"]
    if mean is None or mean != mean:
        return "-"
    size = max(abs(low), abs(high), abs(mean)) if low == low else abs(mean)
    form = ".3f" if 0.01 <= size < 10 else ".3g"
    return f"{mean:{form}} [{number(low, form)}, {number(high, form)}]"


def verdict(row: Mapping[str, Any]) -> str:
    """With the reason, where there is one."""
    return row["verdict"] + (f": {row['why']}" if row["why"] else "")


def cells(row: Mapping[str, Any]) -> list[str]:
    """A row of the scoreboard, by `COLUMNS`."""
    seeds = str(row["seeds"]) + (f" ({row['lost']} lost)" if row["lost"] else "")
    return [
        row["claim"],
        row["quantity"],
        row["predicted"],
        measured(row),
        seeds,
        verdict(row),
    ]


def plots(paper: Paper, found: Mapping[str, Arrays | str]) -> list[tuple[Plot, str]]:
    """The figures of a paper as plots, each with its caption."""
    taken = {name: a for name, a in found.items() if not isinstance(a, str)}
    return [
        (_plot(paper.name, figure), figure.caption) for figure in paper.figures(taken)
    ]


def _plot(paper: str, figure: Figure) -> Plot:
    panels = [_panel(axes) for axes in figure.panels]
    name = f"{paper}_{figure.name}"
    return Plot(name, panels, [], min(len(panels), PANEL))


def _panel(axes: Axes) -> Panel:
    own = [curve for curve in axes.curves if not (curve.guide or curve.beside)]
    colours = dict(
        zip((curve.label for curve in own), _colours(len(own)), strict=False)
    )
    lines = [
        _line(curve, GREY if curve.guide else colours[curve.beside or curve.label])
        for curve in axes.curves
    ]
    every = np.concatenate([np.ravel(line.x) for line in lines])
    x = _whole_axis if _whole(every) and not axes.log_x else scale.linear_axis
    x = scale.positive_axis if axes.log_x else x
    place = x(_typeset(axes.x), every)
    if axes.names:
        marks = tuple((float(i), name) for i, name in enumerate(axes.names, 1))
        place = dataclasses.replace(place, ticks=marks)
    if axes.log_y:
        runaway = np.inf if axes.whole else scale.RUNAWAY
        y = scale.log_axis(_typeset(axes.y), [lines], runaway)
    else:
        reach = np.concatenate([_reach(line) for line in lines])
        y = scale.linear_axis(_typeset(axes.y), reach)
    return Panel(_typeset(axes.title), place, y, lines)


def _whole(values: np.ndarray) -> bool:
    """Whether they are few whole numbers, between which nothing is."""
    return len(np.unique(values)) <= 6 and bool(np.all(values % 1 == 0))


def _whole_axis(title: str, values: np.ndarray) -> scale.Axis:
    """A tick at each value."""
    marks = tuple((float(v), f"{v:.4g}") for v in np.unique(values))
    return dataclasses.replace(scale.linear_axis(title, values), ticks=marks)


def _typeset(text: str) -> str:
    """A formula as typed on a terminal, with the marks of `zoo.report.plots`.

    >>> _typeset("lambda_min(t)^1/2")
    '\N{GREEK SMALL LETTER LAMDA}_{min}(t)^{1/2}'
    """
    greek = re.compile(r"\b(lambda|Theta)(?![a-z])")
    return greek.sub(lambda found: GREEK[found[1]], marked(text))


def _colours(count: int) -> Sequence[str]:
    """Apart for a few curves, a scale for many."""
    if count <= len(OF_TEN):
        return OF_TEN
    shades = matplotlib.colormaps["viridis"](np.linspace(0.85, 0.0, count))
    return [matplotlib.colors.to_hex(shade) for shade in shades]


def _line(curve: Curve, colour: str) -> Line:
    """The mean over seeds with its 95 % interval, or the curve as it is."""
    x, y = np.asarray(curve.x, float), np.asarray(curve.y, float)
    half = None
    if y.ndim == 2:
        seeds = len(y)
        spread = np.std(y, axis=0, ddof=1) if seeds > 1 else np.full(y.shape[1], np.nan)
        half = stats.t.ppf(0.975, max(seeds - 1, 1)) * spread / np.sqrt(seeds)
        y = np.mean(y, axis=0)
    few = half is not None and len(x) <= 16 and not curve.guide
    return Line(
        x,
        y,
        minus(_typeset(curve.label)),
        colour,
        "dashed" if curve.guide and curve.dash == "solid" else curve.dash,
        "both" if few else "line",
        half if few else None,
        thin=curve.guide,
    )


def _reach(line: Line) -> np.ndarray:
    """All values that a linear axis has to show."""
    y = np.ravel(line.y)
    return y if line.half is None else np.concatenate([y - line.half, y + line.half])


def write(
    workdir: Path,
    papers: Sequence[Paper],
    summary: dict[str, Any],
    found: Mapping[str, Mapping[str, Arrays | str]],
) -> Path:
    """Writes the scoreboard, a page and figures per paper, and the same as markdown.

    Args:
        workdir: of the run.
        papers: those that were measured.
        summary: of `zoo.theory.score.summarize`.
        found: arrays by paper and measurement.

    Returns:
        the path of the scoreboard, `<workdir>/report.html`.
    """
    folder = workdir / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for paper in papers:
        shown = plots(paper, found[paper.name])
        for plot, _ in shown:
            figures.save(plot, folder)
        rows = [row for row in summary["rows"] if row["paper"] == paper.name]
        page = document.html(paper.title, _page(paper, summary, rows, shown))
        store.write_text(workdir / f"{paper.name}.html", page)
        store.write_text(
            workdir / f"{paper.name}.md", _markdown_page(paper, rows, shown)
        )
    parts = [f"<p>{opening(summary)}</p>", f"<p>{caution(summary)}</p>"]
    for paper in papers:
        rows = [row for row in summary["rows"] if row["paper"] == paper.name]
        link = f'<a href="{paper.name}.html">{escape(paper.title)}</a>'
        parts += [f"<h2>{link}</h2>", _table(rows)]
    parts += [_trust(), _facts(summary)]
    path = workdir / "report.html"
    store.write_text(path, document.html("The theorems, measured", parts))
    store.write_text(workdir / "theorems.md", markdown(papers, summary))
    return path


def _table(rows: list[dict[str, Any]]) -> str:
    body = [[*cells(row)] for row in rows]
    lines = ["<tr>" + "".join(f"<th>{head}</th>" for head in COLUMNS) + "</tr>"]
    for row, line in zip(rows, body, strict=True):
        claim = f"<b>{escape(line[0])}</b><br>{formula(row['statement'])}"
        marks = [claim, formula(line[1]), *map(escape, map(minus, line[2:5]))]
        marks.append(f"<b>{row['verdict']}</b> {formula(row['why'])}")
        lines.append("<tr>" + "".join(f"<td>{mark}</td>" for mark in marks) + "</tr>")
    return (
        '<div class="scroll"><table class="claims">'
        + "\n".join(lines)
        + "</table></div>"
    )


def _page(
    paper: Paper,
    summary: dict[str, Any],
    rows: list[dict[str, Any]],
    shown: list[tuple[Plot, str]],
) -> list[str]:
    """Set-up, claims, sources and figures of one paper."""
    setup = [f"<p>{formula(part)}</p>" for part in _paragraphs(paper.setup)]
    sources = [[row["claim"], TRUST[row["trust"]], row["source"]] for row in rows]
    parts = ["<h2>Set-up</h2>", *setup, "<h2>Claims</h2>", _table(rows)]
    parts.append(tables.table(["claim", "trust", "source"], sources, words=True))
    for place, (plot, caption) in enumerate(shown, 1):
        parts += [f"<h2>Figure {place}</h2>", document.figure(plot, formula(caption))]
    return [*parts, _facts(summary)]


def _paragraphs(text: str) -> list[str]:
    return [" ".join(part.split()) for part in text.strip().split("\n\n")]


def _trust() -> str:
    return tables.table(
        ["trust", "a prediction is"], [[*pair] for pair in TRUST.items()], words=True
    )


def _facts(summary: dict[str, Any]) -> str:
    rows = [["size", summary["scale"]], *map(list, summary["versions"].items())]
    return tables.table(["run", ""], rows)


def markdown(papers: Sequence[Paper], summary: dict[str, Any]) -> str:
    """The scoreboard for `docs/theorems.md`."""
    which = papers[0].name if len(papers) == 1 else "all"
    command = f"python -m experiments.theorems --paper={which}"
    command += f" --scale={summary['scale']}"
    versions = ", ".join(f"{k} {v}" for k, v in summary["versions"].items() if v)
    said = [f"`{command}`", "", opening(summary), "", caution(summary), ""]
    said += [f"({versions}.)", ""]
    for paper in papers:
        rows = [row for row in summary["rows"] if row["paper"] == paper.name]
        said += [f"## [{paper.title}](theorems/{paper.name}.md)", "", *_lines(rows), ""]
    return "\n".join(said)


def _lines(rows: list[dict[str, Any]]) -> list[str]:
    head = "| " + " | ".join(COLUMNS) + " |"
    rule = "|" + " --- |" * len(COLUMNS)
    body = ["| " + " | ".join(_cell(c) for c in cells(row)) + " |" for row in rows]
    return [head, rule, *body]


def _cell(text: str) -> str:
    for mark in "|*_":
        text = text.replace(mark, f"\\{mark}")
    return text


def _markdown_page(
    paper: Paper, rows: list[dict[str, Any]], shown: list[tuple[Plot, str]]
) -> str:
    """One paper for `docs/theorems/`."""
    parts = [f"# {paper.title}", "", _cell(paper.setup.strip()), "", *_lines(rows), ""]
    for row in rows:
        parts.append(
            f"- **{row['claim']}**: {_cell(row['statement'])} Source: "
            f"{_cell(row['source'])} ({TRUST[row['trust']]})."
        )
    for plot, caption in shown:
        parts += ["", f"![{plot.name}](figures/{plot.name}.svg)", "", _cell(caption)]
    return "\n".join(parts) + "\n"


def listing(papers: Sequence[Paper]) -> list[str]:
    """Every claim on one line: paper, quantity, prediction, trust."""
    return [
        f"{paper.name} {claim.name}: {claim.quantity}; predicted {claim.predicted}; "
        f"{TRUST[claim.trust]}"
        for paper in papers
        for claim in paper.claims
    ]


__all__ = ["PAPERS", "listing", "opening", "write"]
