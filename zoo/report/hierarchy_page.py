"""The report of the hierarchy: findings, figures and tables in one HTML file."""

import itertools
from pathlib import Path
from typing import Any

import numpy as np

from zoo.gap import store
from zoo.report import document, figures, hierarchy, tables
from zoo.report.series import Arrays, numbers
from zoo.report.tables import formula
from zoo.report.text import NO_EXPONENT, exponent, interval, number

TITLES = {
    "K2": "K2 at initialization, RMS",
    "K3": "K3 at initialization, RMS",
    "K4": "K4 at initialization, RMS",
    "velocity": "velocity of Theta at t = 0",
    "acceleration": "acceleration of Theta at t = 0",
    "drift": "drift of Theta, gradient descent",
    "drift_flow": "drift of Theta, gradient flow",
    "error_first": "error of Theta, first order in t",
    "error_second": "error of Theta, second order in t",
    "error_p3": "error of Theta, K3 frozen",
    "error_p4": "error of Theta, K4 frozen",
    "output_p2": "error of f, K2 frozen",
    "output_p3": "error of f, K3 frozen",
    "output_p4": "error of f, K4 frozen",
}
ORDERS = {
    "drift_flow": "drift of Theta",
    "first": "error, first order",
    "second": "error, second order",
    "p3": "error, K3 frozen",
    "p4": "error, K4 frozen",
}
NAMES = {"first": "first order", "second": "second order"} | {
    f"p{p}": f"the hierarchy with K{p} frozen" for p in (3, 4)
}
FINDINGS = ("K2", "K3", "K4", "drift", "error_p3", "error_p4", "output_p4")
SECTIONS = (
    (
        hierarchy.sizes,
        "The hierarchy against width",
        "Left: root mean square over the entries of each tangent kernel. Right: the "
        "network's K<sub>2</sub> by gradient flow minus that of the hierarchy whose "
        "K<sub>p</sub> is frozen, at the last time; p = 2 is the drift itself. Points: "
        "mean over seeds with the 95 % interval (Student's t); exponents are means of "
        "the slopes of seeds.",
    ),
    (
        hierarchy.drifts,
        "Drift of the kernel: predicted and measured",
        "Width times relative drift: equal in all panels where the drift falls as 1/m. "
        "Median over seeds; a prediction is drawn up to the time at which it exceeds "
        "the largest measured drift by half.",
    ),
    (
        hierarchy.errors,
        "What each prediction misses",
        "Relative Frobenius distance from the kernel of the network trained by "
        "gradient flow, median over seeds. The title of each panel gives the power of "
        "t that theory expects as t tends to 0; the guide has it, through the widest "
        "network.",
    ),
    (
        hierarchy.ratios,
        "Predicted over measured drift",
        "Median over seeds; a curve ends where it leaves the axis.",
    ),
    (
        hierarchy.outputs,
        "Outputs, and the motion of the kernel",
        "Left: the network's outputs by gradient flow minus those of a truncation, at "
        "the time at which they are farthest apart; p = 2 is the linearized network. "
        "Right: relative drift of the kernel after the last step of gradient descent, "
        "and its velocity at initialization, both over its norm there.",
    ),
)


def write(workdir: Path, summary: dict[str, Any], cells: dict[int, Arrays]) -> Path:
    """Writes `<workdir>/report.html` and `<workdir>/figures/`; returns the page's path.

    Args:
        workdir: of the run.
        summary: what `zoo.gap.hierarchy.run` returned.
        cells: arrays by width, likewise.
    """
    folder = workdir / "figures"
    folder.mkdir(parents=True, exist_ok=True)
    for make in hierarchy.PLOTS:
        figures.save(make(summary, cells), folder)
    path = workdir / "report.html"
    store.write_text(path, html(summary, cells))
    return path


def html(summary: dict[str, Any], cells: dict[int, Arrays]) -> str:
    """The whole page."""
    parts = [
        f"<p>{formula(' '.join(opening(summary)))}</p>",
        "<ul>",
        *(f"<li>{formula(sentence)}</li>" for sentence in sentences(summary)),
        "</ul>",
        f"<p>{document.USE}</p>",
    ]
    for place, (make, heading, caption) in enumerate(SECTIONS, 1):
        parts += [f"<h2>{place}. {heading}</h2>"]
        parts += [document.figure(make(summary, cells), caption)]
    last = len(SECTIONS)
    parts += [f"<h2>{last + 1}. Exponents</h2>", *_exponents(summary)]
    parts += [f"<h2>{last + 2}. Orders and ratios</h2>", *_orders(summary)]
    parts += [f"<h2>{last + 3}. Configuration</h2>", _facts(summary)]
    title = f"Neural tangent hierarchy: {summary['arch']} on {summary['dataset']}"
    return document.html(title, parts)


def opening(summary: dict[str, Any]) -> list[str]:
    """What was measured, in sentences; also the header on a terminal."""
    c = summary["config"]
    settings = ", ".join(f"{k} {v}" for k, v in summary["network"].items())
    rates, critical = summary["learning_rates"], summary["critical_rates"]
    shares = rates[0] / critical[0]
    reached = rates[0] * c["steps"]
    several = "" if len(set(rates)) == 1 else f" (at width {summary['widths'][0]})"
    return [
        f"{summary['arch']} ({settings}) on {summary['dataset']}: {c['n_train']} train "
        f"points, outputs: {summary['outputs']}, {summary['seeds']} seeds, widths "
        f"{', '.join(map(str, summary['widths']))}.",
        f"Loss L = {summary['loss']}; trained: {summary['trained']}.",
        f"Full-batch gradient descent at learning rate {rates[0]:.4g} = {shares:.2f} * "
        f"critical ({critical[0]:.4g} = 2n / lambda_max of the {summary['edge']}); "
        f"{c['steps']} steps reach time t = {reached:.4g}{several}, learning rate * "
        "steps; the same network follows gradient flow to the same times.",
        "K_r has an index for every pair of a train point and an output; all is exact "
        "differentiation in float64.",
    ]


def sentences(summary: dict[str, Any]) -> list[str]:
    """The findings, from the numbers."""
    out = [_finding(n, summary) for n in FINDINGS if n in summary["metrics"]]
    out += _order_sentence(summary)
    widest = str(summary["widths"][-1])
    for place in ("middle", "last"):
        said = [
            f"{number(found[place], '.4g')} by {NAMES[name]}"
            for name, found in summary["ratios"][widest].items()
        ]
        out.append(
            f"predicted over measured drift at m = {widest}, t lambda_max / n = "
            f"{summary[f'tau_{place}']:.3g}: {', '.join(said)}."
        )
    error = summary["step_error"][widest]
    if error is not None and np.isfinite(error):
        out.append(
            f"gradient descent ends {abs(error):.2%} "
            f"{'above' if error > 0 else 'below'} the drift of gradient flow at m = "
            f"{widest}: the error of its step size, of which no prediction knows."
        )
    for name in NAMES:
        lost = {m: c[name] for m, c in summary["lost"].items() if c.get(name)}
        if lost:
            said = ", ".join(f"{c} at width {m}" for m, c in lost.items())
            out.append(f"seeds in which {NAMES[name]} grows without bound: {said}.")
    for key, what in (
        ("unsolved", "seeds of which gradient flow was not solved"),
        ("diverged", "diverged seeds of gradient descent"),
    ):
        gone = {m: c for m, c in summary[key].items() if c}
        if gone:
            said = ", ".join(f"{c} at width {m}" for m, c in gone.items())
            out.append(f"{what}: {said}.")
    return out


def _finding(name: str, summary: dict[str, Any]) -> str:
    """One exponent beside theory's; says so where the interval excludes it."""
    metric = summary["metrics"][name]
    slope, expected = metric["slope"], metric["expected"]
    if interval(slope) == "-":
        return f"{TITLES[name]}: {NO_EXPONENT}."
    said = f"{TITLES[name]} goes as m^{interval(slope)}"
    if expected["slope"] is None:
        return f"{said}; no prediction."
    said += f"; {expected['status']}: {exponent(expected['slope'])}"
    low, high = slope["ci95"]
    pairs = metric["local_slopes"]
    outside = low is not None and not low <= expected["slope"] <= high
    if outside and len(pairs) > 1:
        a, b = pairs[-1]["widths"]
        said += (
            f", outside of the interval; between the two widest, {a} and {b}, it is "
            f"{interval(pairs[-1])}"
        )
    return f"{said}."


def _order_sentence(summary: dict[str, Any]) -> list[str]:
    """Powers of t at the widest network; kinks are met at random, and leave none."""
    said = [
        f"{ORDERS[name]} t^{number(found['value'], '.2f')} "
        f"(theory {exponent(found['expected'])})"
        for name, found in summary["orders"].items()
        if found["expected"] is not None and interval(found) != "-"
    ]
    if not said:
        return []
    return [f"as t tends to 0, at m = {summary['widths'][-1]}: {', '.join(said)}."]


def rows(summary: dict[str, Any]) -> list[list[str]]:
    """The table of exponents: title, a mean per width, slopes, expected."""
    return [
        [TITLES[name]]
        + [number(mean) for mean in numbers(metric["mean"])]
        + [interval(metric["slope"]), interval(metric["rms_slope"])]
        + [exponent(metric["expected"]["slope"])]
        for name, metric in summary["metrics"].items()
    ]


HEAD = ("exponent [95 %]", "of RMS over seeds", "expected")


def _exponents(summary: dict[str, Any]) -> list[str]:
    widths = list(map(str, summary["widths"]))
    metrics = summary["metrics"]
    sources = [
        [TITLES[name], exponent(e["slope"]), e["status"] or "-", e["source"]]
        for name, e in ((name, metric["expected"]) for name, metric in metrics.items())
    ]
    said = (
        "Mean over seeds at each width; exponent: mean of the slopes of seeds; and "
        "that of the root mean square over seeds, with the jackknife's interval. "
        "Velocity, acceleration, drift and errors of Theta are relative to its "
        "Frobenius norm at t = 0. Errors of Taylor polynomials at t lambda_max / n = "
        f"{summary['tau_middle']:.3g}, of truncations at {summary['tau_last']:.3g}, of "
        "outputs where largest."
    )
    pairs = [f"{a} to {b}" for a, b in itertools.pairwise(widths)]
    local = [
        [TITLES[name], *(interval(slope) for slope in metric["local_slopes"])]
        for name, metric in metrics.items()
    ]
    between = "Exponent between neighbouring widths [95 %]."
    return [
        f"<p>{formula(said)}</p>",
        tables.table(["width", *widths, *HEAD], rows(summary)),
        tables.table(["", "expected", "status", "source"], sources, words=True),
        tables.table(["width", *pairs], local, between),
    ]


def _orders(summary: dict[str, Any]) -> list[str]:
    powers = [
        [ORDERS[name], interval(found), exponent(found["expected"])]
        for name, found in summary["orders"].items()
    ]
    names = list(next(iter(summary["ratios"].values())))
    ratios = [
        [m, *(number(found[name][p]) for name in names for p in ("middle", "last"))]
        for m, found in summary["ratios"].items()
    ]
    times = [f"{summary[f'tau_{place}']:.3g}" for place in ("middle", "last")]
    head = [f"{NAMES[name]}, {t}" for name in names for t in times]
    widest = summary["widths"][-1]
    return [
        tables.table(
            ["as t tends to 0", "power of t [95 %]", "expected"],
            powers,
            f"At m = {widest}, between the first two times above rounding.",
        ),
        tables.table(
            ["width", *head],
            ratios,
            "Predicted over measured drift of the flow, mean over seeds, at two values "
            "of t lambda_max / n.",
        ),
    ]


def _facts(summary: dict[str, Any]) -> str:
    found = {
        "limit": f"{summary['limit']['kind']} {summary['limit']['why']}".strip(),
        "seconds": number(summary.get("seconds")),
    }
    parts = {"found": found, "configuration": summary["config"]}
    parts |= {"version": summary["versions"]}
    out = [
        tables.table([name, ""], [[key, _plain(v)] for key, v in values.items()])
        for name, values in parts.items()
    ]
    return '<div class="columns">' + "".join(out) + "</div>"


def _plain(value: Any) -> str:
    if isinstance(value, (list, tuple)):
        return ", ".join(map(str, value)) or "-"
    return "default" if value is None else str(value)
