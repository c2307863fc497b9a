"""A page of a report: one HTML file that opens without a network."""

import json
from html import escape
from pathlib import Path

import plotly.offline

from zoo.gap import store
from zoo.report import figures, interactive, plots

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
.claims :is(th, td):is(:nth-child(-n+2), :last-child) { text-align: left;
  white-space: normal; min-width: 9rem; }
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
USE = (
    "Drag to zoom, double-click to reset, click in a legend to hide. The same figures "
    "for print: <code>figures/</code>."
)


def html(title: str, parts: list[str]) -> str:
    """A whole page.

    Args:
        title: plain text, also its heading.
        parts: HTML, one after the other.
    """
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{POLICY}">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f"<title>{escape(title)}</title>\n<style>{STYLE}</style>\n"
        f'<script id="plotly">{plotly.offline.get_plotlyjs()}</script>\n'
        f"</head>\n<body>\n<h1>{escape(title)}</h1>\n"
        + "\n".join(parts)
        + "\n</body>\n</html>\n"
    )


def write(workdir: Path, title: str, parts: list[str], shown: list[plots.Plot]) -> Path:
    """Writes `<workdir>/report.html`, and every plot into `<workdir>/figures/`.

    Returns:
        the path of the page.
    """
    folder = workdir / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for plot in shown:
        figures.save(plot, folder)
    path = workdir / "report.html"
    store.write_text(path, html(title, parts))
    return path


def figure(plot: plots.Plot, caption: str) -> str:
    """A plot with the script that draws it.

    Args:
        plot: what it shows; its name is that of the element.
        caption: HTML.
    """
    drawn = interactive.figure(plot).to_json().replace("</", "<\\/")
    return (
        f'<figure><div id="{plot.name}"></div>\n'
        f"<figcaption>{caption}</figcaption></figure>\n"
        f'<script>Plotly.newPlot("{plot.name}", {drawn[:-1]}, '
        f'"config": {json.dumps(OPTIONS)}}});</script>'
    )
