"""The report of a run: one HTML file that opens without a network."""

from pathlib import Path
from typing import Any

import numpy as np

from zoo.gap import store
from zoo.report import document, figures, plots, tables, text
from zoo.report.series import Arrays, read_cells
from zoo.report.tables import formula

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
        f"<p>{opening(summary)}</p>",
        "<ul>",
        *(f"<li>{formula(sentence)}</li>" for sentence in text.sentences(summary)),
        "</ul>",
        f"<p>{document.USE}</p>",
    ]
    for number, (make, heading, caption) in enumerate(SECTIONS, 1):
        plot = make(summary, cells)
        dashes = {line.dash for line in plot.key}
        also = [said for dash, said in ALSO.get(make, {}).items() if dash in dashes]
        shown = (
            document.figure(plot, " ".join([caption, *also]))
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
    return document.html(title, parts)


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
        f"same initial outputs and over the same steps of {summary['method']} "
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
