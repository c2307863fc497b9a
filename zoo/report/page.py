"""The report of a run: one HTML file that opens without a network."""

import json
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
import plotly.offline

from zoo.gap import store
from zoo.report import figures, interactive, plots, tables, text
from zoo.report.series import Arrays, read_cells
from zoo.report.tables import formula

STYLE = """
:root { color-scheme: light; }
body { max-width: 1000px; margin: 2.5rem auto; padding: 0 1.25rem; color: #222;
  background: #fff; font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto,
  "Liberation Sans", sans-serif; }
h1 { font-size: 1.7rem; line-height: 1.2; margin: 0 0 1rem; }
h2 { font-size: 1.2rem; margin: 2.6rem 0 .6rem; padding-top: .6rem;
  border-top: 1px solid #ddd; }
p, li { max-width: 46rem; }
figure { margin: 1rem 0 0; break-inside: avoid; }
figcaption { font-size: .9rem; color: #444; max-width: 54rem; margin-top: .3rem; }
.scroll { overflow-x: auto; margin: .8rem 0; }
table { border-collapse: collapse; font-size: .86rem;
  font-variant-numeric: tabular-nums; }
th, td { padding: .28rem .7rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid #e6e6e6; vertical-align: top; }
th { font-weight: 600; border-bottom: 1px solid #999; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
.words th:last-child, .words td:last-child { text-align: left; white-space: normal;
  min-width: 15rem; }
.columns { display: flex; flex-wrap: wrap; gap: 0 4rem; }
caption { text-align: left; color: #444; padding-bottom: .3rem; }
sub, sup { line-height: 0; }
@media print { body { margin: 0; max-width: none; font-size: 11pt; }
  .modebar { display: none; } h2 { break-after: avoid; } }
"""
# Nothing but this file: a browser refuses every request to anywhere.
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; script-src 'unsafe-inline'; "
    "img-src data: blob:"
)
OPTIONS = {"responsive": True, "displayModeBar": False}
SECTIONS = (
    (
        plots.gaps,
        "Gaps against width",
        "Each gap is the root mean square over test points and outputs, at the step of "
        "the trajectory where it is largest. Points: mean over seeds with the 95 % "
        "interval (Student's t). The exponent is the mean of the slopes of seeds.",
    ),
    (
        plots.training,
        "Gaps during training",
        "Mean over seeds that did not diverge; at step 0 all gaps are zero.",
    ),
    (
        plots.losses,
        "Losses",
        "The network, its linearization at initialization, and the infinite network "
        "from the same initial outputs, at up to four of the widths; mean over seeds "
        "that did not diverge.",
    ),
    (
        plots.spectra,
        "Spectra of the train kernels",
        "Empirical kernels at initialization, mean over outputs, then over seeds; "
        "eigenvalues below 1e-6 of the largest are rounding and not drawn.",
    ),
    (
        plots.kernels,
        "Kernels and weights",
        "Frobenius norms. Error at init: the full empirical kernel against the "
        "infinite one. Drift: the same kernel after training against before. Weights: "
        "after training against before, by layer. Lines as in section 1.",
    ),
)
# Said of lines that not every run has, by their dashes.
ALSO = {
    plots.gaps: {
        "dashed": "The dashed guide has the exponent that theory expects and starts at "
        "the widest network."
    },
    plots.training: {
        "dotted": "Solid: the prediction takes the same steps as the network. Dotted: "
        "the prediction is the gradient flow at time t = learning rate &times; step, "
        "as is common; it adds an error that comes from the step size and has nothing "
        "to do with width."
    },
}
NOTHING = "Not measured for this architecture; the list above says why."
USE = (
    "Drag to zoom, double-click to reset, click in a legend to hide. The same figures "
    "for print: <code>figures/</code>."
)


def write(workdir: Path, summary: dict[str, Any]) -> Path:
    """Writes `<workdir>/report.html` and `<workdir>/figures/`.

    Args:
        workdir: of a finished run, with its cells.
        summary: what `zoo.gap.run.run` returned, or `summary.json` read back.

    Returns:
        the path of the page.
    """
    cells = read_cells(workdir, summary)
    figures.write(workdir, summary, cells)
    path = workdir / "report.html"
    store.write_text(path, html(summary, cells))
    return path


def html(summary: dict[str, Any], cells: dict[int, Arrays]) -> str:
    """The whole page."""
    config = summary["config"]
    title = f"Lazy-regime gap: {config['arch']} on {config['dataset']}"
    parts = [
        f"<h1>{escape(title)}</h1>",
        f"<p>{opening(summary)}</p>",
        "<ul>",
        *(f"<li>{formula(sentence)}</li>" for sentence in text.sentences(summary)),
        "</ul>",
        f"<p>{USE}</p>",
    ]
    for number, (make, heading, caption) in enumerate(SECTIONS, 1):
        plot = make(summary, cells)
        dashes = {line.dash for line in plot.key}
        also = [said for dash, said in ALSO.get(make, {}).items() if dash in dashes]
        shown = (
            _figure(plot, " ".join([caption, *also]))
            if plot.panels
            else f"<p>{NOTHING}</p>"
        )
        parts += [f"<h2>{number}. {heading}</h2>", shown]
        if make is plots.losses:
            parts += [tables.final(summary)]
    parts += ["<h2>6. Exponents</h2>", tables.means(summary), tables.fits(summary)]
    parts += [
        "<h2>7. Configuration</h2>",
        tables.widths(summary),
        tables.facts(summary),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n"
        f'<script id="plotly">{plotly.offline.get_plotlyjs()}</script>\n'
        "</head>\n<body>\n" + "\n".join(parts) + "\n</body>\n</html>\n"
    )


def _figure(plot: plots.Plot, caption: str) -> str:
    """A plot with the script that draws it."""
    drawn = interactive.figure(plot).to_json().replace("</", "<\\/")
    return (
        f'<figure><div id="{plot.name}"></div>\n'
        f"<figcaption>{caption}</figcaption></figure>\n"
        f'<script>Plotly.newPlot("{plot.name}", {drawn[:-1]}, '
        f'"config": {json.dumps(OPTIONS)}}});</script>'
    )


def _times(summary: dict[str, Any]) -> str:
    """The time reached: one, or that of the narrowest to that of the widest network."""
    ends = summary["time_reached"][0], summary["time_reached"][-1]
    return " to ".join(dict.fromkeys(map(text.number, ends)))


def opening(summary: dict[str, Any]) -> str:
    """What was measured, in one paragraph."""
    c, limit = summary["config"], summary["limit"]
    settings = ", ".join(f"{k} {v}" for k, v in summary["network"].items())
    compared = "its linearization at initialization"
    if limit["kind"] != "none":
        compared += f" and the infinitely wide network (limit: {limit['kind']})"
    return formula(
        f"Architecture {c['arch']} ({settings or 'no hyper-parameters'}), trained: "
        f"{summary['trained']}, at widths "
        f"{', '.join(map(str, summary['widths']))}, seeds per width: "
        f"{summary['seeds']}; {c['n_train']} train and {c['n_test']} test points of "
        f"{summary['dataset']}. Each network is compared with {compared}, from the "
        "same initial outputs and over the same steps of full-batch gradient descent "
        f"on L = {summary['loss']}. {_rates(summary)} {summary['steps']} steps reach "
        f"time t = {_times(summary)} (learning rate * steps). "
        f"Measured on {summary['versions']['device']}."
    )


def _rates(summary: dict[str, Any]) -> str:
    """The learning rate, and what it is of the critical one."""
    rates, critical = summary["learning_rates"], summary["critical_rates"]
    widths = summary["widths"]
    if None in critical or not np.all(np.isfinite(critical)):
        return f"Learning rate {rates[0]:.3g}; there is no kernel to judge it by."
    shares = [f"{r / c:.3g}" for r, c in zip(rates, critical, strict=True)]
    share = " to ".join(dict.fromkeys([shares[0], shares[-1]]))
    said = f"{rates[0]:.3g} = {share} * critical ({critical[0]:.3g})"
    if len(set(rates)) > 1 or len(set(critical)) > 1:
        said = (
            f"{rates[0]:.3g} at m = {widths[0]} to {rates[-1]:.3g} at m = "
            f"{widths[-1]}, which is {share} * critical (section 7)"
        )
    return (
        f"Learning rate {said}, where critical is 2n / lambda_max of the "
        f"{summary['edge']}."
    )
