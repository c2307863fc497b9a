"""What a run over learning rates says: header, findings, tables."""

from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from zoo.gap.lr_transfer import Transfer
from zoo.report import tables
from zoo.report.series import half_width, numbers
from zoo.report.text import exponent, interval, number

NAMES = {"ntk": "NTK", "standard": "standard", "mup": "muP", "mean_field": "mean field"}
TITLES = {
    "critical": "critical, 2n / lambda_max",
    "critical_lee": "2n / (lambda_min + lambda_max)",
    "stable": "largest stable",
    "converging": "largest converging",
    "best": "best",
    "best_linear": "best of the linearization",
    "stable_ratio": "largest stable / critical",
    "converging_ratio": "largest converging / critical",
    "best_ratio": "best / critical",
    "best_to_linear": "best / best of the linearization",
}


def header(transfer: Transfer) -> str:
    """The settings that a number depends on, before it is measured."""
    c = transfer.config
    net = transfer.net(c.parameterizations[0], c.widths[0])
    return "\n".join(
        [
            f"{c.arch} on {c.dataset}: {c.n_train} train points, {c.n_test} test "
            f"points, {c.seeds} seeds, widths " + ", ".join(map(str, c.widths)),
            "loss L = 1/(2n) sum_i |f(x_i) - y_i|^2; full-batch gradient descent on "
            f"{getattr(net, 'trains', 'all parameters')}; parameterizations "
            + ", ".join(
                map(
                    _scaled,
                    c.parameterizations,
                    map(transfer.power, c.parameterizations),
                )
            ),
            f"learning rates: {c.grid_size} powers of 2^(1/{c.per_octave}), from "
            f"{2.0**-c.below:.3g} to {2.0**c.above:.3g} times critical (2n / "
            "lambda_max of the network's own train kernel at initialization, mean over "
            f"seeds), and {c.refinements} times as many between them",
            f"{c.steps} steps reach time t = {c.steps} * learning rate",
        ]
    )


def _scaled(name: str, power: int | None) -> str:
    scale = {None: "unknown", 0: "constant"}.get(power, f"m^{power}")
    return f"{name} (rate {scale} in the width m)"


def halves(metric: dict[str, Any]) -> np.ndarray:
    """Half of the 95 % interval of each mean, [w]."""
    return half_width(metric)


def mean_interval(metric: dict[str, Any], i: int) -> str:
    """The mean at a width with its interval: "1.47 [1.23, 1.71]"."""
    mean, half = numbers(metric["mean"])[i], half_width(metric)[i]
    if not np.isfinite(mean):
        return "-"
    if not np.isfinite(half):
        return f"{mean:.3g}"
    return f"{mean:.3g} [{mean - half:.3g}, {mean + half:.3g}]"


def sentences(summary: dict[str, Any]) -> list[str]:
    """One sentence per finding that the figures support."""
    out = []
    for name, part in summary["parameterizations"].items():
        out += [_law(summary, name, part, rate) for rate in ("critical", "stable")]
        out += [_law(summary, name, part, rate) for rate in ("converging", "best")]
        out += [_edge(summary, name, part)]
        out += _catapults(summary, name, part)
    return out


def _law(summary: dict[str, Any], name: str, part: dict, rate: str) -> str:
    """A rate's exponent beside the expected one, and what it is of the critical one."""
    found = part["metrics"][rate]
    title = f"{NAMES.get(name, name)}: {_what(rate)}"
    if interval(found["slope"]) == "-":
        return f"{title} has no exponent (no seed shows it at every width)."
    said = f"{title} varies as m^{interval(found['slope'])}"
    used = found["slope"]["seeds"]
    if used < summary["config"]["seeds"]:
        said += f" ({used} of {summary['config']['seeds']} seeds)"
    said += f"; {_expected(found)}"
    limit = part["limit_slope"]
    if rate == "critical" and limit is not None and np.isfinite(limit):
        said += f"; the infinite-width kernels at these widths: {limit:.3f}"
    if rate == "best" and part["best_of_median_slope"] is not None:
        said += (
            f"; that of the median loss over seeds: {part['best_of_median_slope']:.2f}"
        )
    return said + "."


def _what(rate: str) -> str:
    return {
        "critical": "the critical rate 2n / lambda_max",
        "stable": "the largest stable rate",
        "converging": "the largest rate that ends below its start",
        "best": "the best rate",
    }[rate]


def _expected(found: dict[str, Any]) -> str:
    """The expected exponent, and whether the interval holds it."""
    slope, status = found["expected"]["slope"], found["expected"]["status"]
    if slope is None:
        return "no prediction"
    low, high = numbers(found["slope"]["ci95"])
    if not np.isfinite(low):
        return f"{status}: {exponent(slope)}"
    inside = "inside" if low <= slope <= high else "outside"
    return f"{status}: {exponent(slope)}, {inside} the interval"


def _edge(summary: dict[str, Any], name: str, part: dict) -> str:
    """What stable, converging and best rates are of the critical one, at both ends."""
    said = []
    for i in dict.fromkeys((0, len(summary["widths"]) - 1)):
        of = [
            mean_interval(part["metrics"][f"{rate}_ratio"], i)
            for rate in ("stable", "converging", "best")
        ]
        said.append(f"{of[0]}, {of[1]} and {of[2]} at width {summary['widths'][i]}")
    return (
        f"{NAMES.get(name, name)}: the largest stable, the largest converging and the "
        f"best rate are, in critical ones, {'; '.join(said)}."
    )


def _catapults(summary: dict[str, Any], name: str, part: dict) -> list[str]:
    """Runs above the critical rate that end below their start, and runs that died."""
    counts = [part["counts"][str(m)] for m in summary["widths"]]
    total = {key: sum(c[key] for c in counts) for key in counts[0]}
    out = [
        f"{NAMES.get(name, name)}: {total['catapults']} of {total['above_critical']} "
        "runs above their critical rate end below their start (catapults), "
        f"{total['catapults_exploded']} of them after more than ten times it; "
        f"{total['diverged']} of {total['runs']} runs count as diverged."
    ]
    if total["dead"]:
        each = ", ".join(
            f"{c['dead']} at width {m}"
            for m, c in zip(summary["widths"], counts, strict=True)
            if c["dead"]
        )
        out.append(f"{NAMES.get(name, name)}: runs that died (one output): {each}.")
    return out


def rows(summary: dict[str, Any], part: dict) -> list[list[str]]:
    """The table of rates: title, a mean per width, exponent, expected."""
    return [
        [
            TITLES[name],
            *map(number, numbers(metric["mean"])),
            interval(metric["slope"]),
            exponent(metric["expected"]["slope"]),
        ]
        for name, metric in part["metrics"].items()
    ]


def table(summary: dict[str, Any]) -> str:
    """The tables of all parameterizations as text."""
    grid = Table(title="mean over seeds at each width, and exponent against width")
    for column in ("", *map(str, summary["widths"]), "exponent [95 %]", "expected"):
        grid.add_column(column, justify="left" if column == "" else "right")
    for name, part in summary["parameterizations"].items():
        grid.add_section()
        grid.add_row(f"[bold]{NAMES.get(name, name)}[/bold]")
        for row in rows(summary, part):
            grid.add_row(*row)
    console = Console(width=110)
    with console.capture() as capture:
        console.print(grid)
    return capture.get().rstrip()


def rate_table(summary: dict[str, Any], name: str, part: dict) -> str:
    """Rates of one parameterization against width, as HTML."""
    head = ["rate, width", *map(str, summary["widths"])]
    head += ["exponent [95 %]", "expected", "its source"]
    body = [
        [*row, metric["expected"]["source"]]
        for row, metric in zip(
            rows(summary, part), part["metrics"].values(), strict=True
        )
    ]
    none = ["-", "-", "of the median over seeds of the loss, catapults included"]
    medians = [number(v) for v in numbers(part["best_of_median"])]
    slope = number(float(numbers(part["best_of_median_slope"])), ".2f")
    body.append(["best of the median loss", *medians, slope, *none[1:]])
    limits = numbers(part["limit_critical"])
    if np.isfinite(limits).any():
        slope = number(float(numbers(part["limit_slope"])), ".3f")
        cells = [number(v) for v in limits]
        body.append(["critical, infinite width", *cells, slope, "-", "its kernel"])
    said = f"{NAMES.get(name, name)}: mean over seeds at each width."
    return tables.table(head, body, said, words=True)


def count_table(summary: dict[str, Any]) -> str:
    """What became of all runs, by parameterization and width, as HTML."""
    head = ["", "width", "runs", "diverged", "not converged", "dead", "above critical"]
    head += ["catapults", "through 10x the start", "stable in all seeds up to"]
    keys = ("runs", "diverged", "not_converged", "dead", "above_critical")
    keys += ("catapults", "catapults_exploded")
    body = [
        [NAMES.get(name, name), str(m)]
        + [str(part["counts"][str(m)][key]) for key in keys]
        + [number(numbers(part["stable_in_all_seeds"])[i])]
        for name, part in summary["parameterizations"].items()
        for i, m in enumerate(summary["widths"])
    ]
    said = (
        "Diverged: not finite, above the start at the end, ever ten times it, or "
        "dead. Catapults: above the critical rate, and below the start at the end."
    )
    return tables.table(head, body, said)


def opening(summary: dict[str, Any]) -> str:
    """What was measured, in one paragraph."""
    c = summary["config"]
    low, high = 2.0 ** -c["below"], 2.0 ** c["above"]
    settings = ", ".join(f"{k} {v}" for k, v in summary["network"].items())
    names = ", ".join(NAMES.get(n, n) for n in summary["parameterizations"])
    return (
        f"Architecture {c['arch']} ({settings or 'no hyper-parameters'}), trained: "
        f"{summary['trained']}, in the parameterizations {names}, at widths "
        f"{', '.join(map(str, summary['widths']))}, seeds per width: {c['seeds']}; "
        f"{c['n_train']} train and {c['n_test']} test points of {c['dataset']}. "
        f"{c['steps']} steps of full-batch gradient descent on L = {summary['loss']} "
        f"at {c['per_octave']} learning rates per octave, from {low:.3g} to "
        f"{high:.3g} times the critical rate 2n / lambda_max of the network's own "
        "train kernel at initialization, and as many again "
        f"{c['refinements']} times where edges and minima lie. Time t = learning rate "
        f"* steps. Measured on {summary['versions']['device']}."
    )
