"""The tables of the report, as HTML."""

import itertools
import re
from html import escape
from typing import Any

import numpy as np

from zoo.report import plots, text
from zoo.report.series import numbers
from zoo.report.typeset import marked

MINUS = "&minus;"


def formula(plain: str) -> str:
    """Text with formulas as typed on a terminal, as HTML.

    >>> formula("sum_i y_i^2 falls as m^-1/2")
    '&Sigma;<sub>i</sub> y<sub>i</sub><sup>2</sup> falls as m<sup>&minus;1/2</sup>'
    """
    out = re.sub(r"_\{(.*?)\}", r"<sub>\1</sub>", escape(marked(plain)))
    out = re.sub(r"\^\{(.*?)\}", r"<sup>\1</sup>", out)
    out = re.sub(r"(?<![\w.])-(?=[\d.b])| - ", _minus, out)
    words = {"lambda": "&lambda;", "sum": "&Sigma;", " * ": " &times; "}
    return re.sub(r"\b(lambda|sum)\b(?=<)| \* ", lambda m: words[m[0]], out)


def _minus(found: re.Match) -> str:
    return found[0].replace("-", MINUS)


def table(
    head: list[str], rows: list[list[str]], caption: str = "", words: bool = False
) -> str:
    """Cells of text as an HTML table.

    Args:
        head: titles of the columns.
        rows: as many cells each.
        caption: stands above.
        words: whether the last column is text, which may wrap.
    """
    lines = [f"<caption>{formula(caption)}</caption>"] if caption else []
    for tag, cells in [("th", head)] + [("td", row) for row in rows]:
        shown = [_shown(cell) for cell in cells]
        if words:
            shown[-1] = formula(cells[-1])
        lines.append("<tr>" + "".join(f"<{tag}>{s}</{tag}>" for s in shown) + "</tr>")
    kind = ' class="words"' if words else ""
    return f'<div class="scroll"><table{kind}>' + "\n".join(lines) + "</table></div>"


def _shown(cell: str) -> str:
    return "&ndash;" if cell == "-" else re.sub(r"(?<!\w)-(?=\d)", MINUS, escape(cell))


def means(summary: dict[str, Any]) -> str:
    """Means at each width, exponent, and what theory expects."""
    head = [*map(str, summary["widths"]), "exponent [95 %]", "expected", "its source"]
    sources = {
        text.TITLES[name]: metric["expected"]["source"]
        for name, metric in summary["metrics"].items()
        if name in text.TITLES
    }
    rows = [[*row, sources[row[0]]] for row in text.rows(summary)]
    said = "Mean over seeds at each width; exponent against width."
    return table(["width", *head], rows, said, words=True)


def fits(summary: dict[str, Any]) -> str:
    """Exponents between neighbouring widths, and the fit with a floor."""
    pairs = [f"{a} to {b}" for a, b in itertools.pairwise(summary["widths"])]
    rows = []
    for name, metric in summary["metrics"].items():
        if name in text.TITLES:
            local = [text.interval(slope) for slope in metric["local_slopes"]]
            rows.append([text.TITLES[name], *local, *_floor(metric)])
    said = "Exponent between neighbouring widths [95 %]; fit with a floor, a m^-b + c."
    return table(["width", *pairs, "b", "floor c"], rows, said)


def _floor(metric: dict[str, Any]) -> list[str]:
    """The b and c of the fit; a floor that no mean can show is 0."""
    fit = metric["floor_fit"]
    if fit is None:
        return ["-", "-"]
    seen = fit["c"] > 1e-4 * np.nanmin(numbers(metric["mean"]))
    return [text.number(fit["b"], ".2f"), text.number(fit["c"]) if seen else "0"]


def final(summary: dict[str, Any]) -> str:
    """Losses and accuracy of the three networks at the last step."""
    rows = []
    for score, title in plots.SCORES.items():
        for suffix, (network, _) in plots.NETWORKS.items():
            metric = summary["metrics"].get(f"{score}_final{suffix}")
            if metric is not None:
                means = [text.number(v) for v in numbers(metric["mean"])]
                rows.append([f"{title}, {network}", *means])
    head = ["at the last step, width", *map(str, summary["widths"])]
    return table(head, rows)


def widths(summary: dict[str, Any]) -> str:
    """Rates, divergence and the ensemble, by width."""
    own, none = (
        summary["metrics"]["critical_rate"],
        {"mean": [None] * len(summary["widths"])},
    )
    spread = summary["metrics"].get("ensemble_variance_ratio", none)["mean"]
    covers = summary["metrics"].get("ensemble_coverage", none)["mean"]
    rows = []
    for i, m in enumerate(map(str, summary["widths"])):
        mean, error = text.number(own["mean"][i]), text.number(own["stderr"][i], ".2g")
        row = [m, text.number(summary["learning_rates"][i])]
        row += [text.number(summary["critical_rates"][i]), f"{mean} \u00b1 {error}"]
        row += [str(summary["diverged"].get(m, "-"))]
        row += [str(summary["diverged_linear"].get(m, "-"))]
        rows.append([*row, text.number(spread[i]), text.number(covers[i])])
    head = ["width", "learning rate", "critical rate", "critical, own kernels"]
    head += ["diverged", "linearization diverged", "variance / GP's", "coverage"]
    said = (
        "Critical rates are 2n / lambda_max, of own kernels with the standard error "
        "over seeds; diverged counts seeds. The last columns: the variance of trained "
        "outputs over seeds, over that of the infinite network's Gaussian process, and "
        "the share of test outputs inside its 95 % intervals."
    )
    return table(head, rows, said)


def facts(summary: dict[str, Any]) -> str:
    """Configuration, versions, and the infinite train kernel's spectrum."""
    spectrum, limit = summary["limit_spectrum"], summary["limit"]
    found = {"limit": f"{limit['kind']} {limit['why']}".strip()}
    if spectrum is not None:
        found |= {
            "infinite train kernel": f"rank {spectrum['rank']} of {spectrum['points']}",
            "its smallest eigenvalue": text.number(spectrum["smallest"]),
            "its largest eigenvalue": text.number(spectrum["largest"]),
        }
    if limit["relative_stderr"]:
        error = text.number(limit["relative_stderr"], ".2g")
        found["its relative standard error"] = error
    found["seconds"] = text.number(summary.get("seconds"))
    parts = {"found": found, "configuration": summary["config"]}
    parts |= {"version": summary["versions"]}
    out = []
    for name, values in parts.items():
        rows = [[key, _plain(value)] for key, value in values.items()]
        out.append(table([name, ""], rows))
    return '<div class="columns">' + "".join(out) + "</div>"


def _plain(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value))
    return "default" if value is None else str(value)
