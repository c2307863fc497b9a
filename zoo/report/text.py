"""What a run says on a terminal: its settings, its table, its findings."""

from fractions import Fraction
from typing import Any

from rich.console import Console
from rich.table import Table

from zoo.gap.equilibria import NARROW_EDGE
from zoo.gap.run import trained

TITLES = {
    "kernel_error_init": "kernel error at init",
    "kernel_drift": "kernel drift",
    "gap_nonlinear": "nonlinear gap",
    "gap_kernel": "kernel gap",
    "gap_total": "total gap",
    "gap_total_flow": "total gap, flow",
    "gap_kernel_flow": "kernel gap, flow",
    "weight_movement_first": "movement, first layer",
    "weight_movement_hidden": "movement, hidden layers",
    "weight_movement_last": "movement, last layer",
}
NO_EXPONENT = (
    "no exponent (it needs two widths, and a seed above rounding at each of them)"
)
FINDINGS = (
    "kernel_error_init",
    "kernel_drift",
    "gap_nonlinear",
    "gap_kernel",
    "gap_total",
)

DIVERGED = {
    "network": "diverged",
    "linearization": "diverged_linear",
    "infinite-width prediction": "diverged_infinite",
}


def number(value: float | None, form: str = ".3g") -> str:
    """A number, or a dash where there is none."""
    return "-" if value is None or value != value else format(value, form)


def interval(slope: dict[str, Any]) -> str:
    """An exponent with its interval: "-0.49 [-0.55, -0.43]"."""
    low, high = slope["ci95"]
    if slope["value"] is None or slope["value"] != slope["value"]:
        return "-"
    if low is None or low != low:
        return number(slope["value"], ".2f")
    return f"{slope['value']:.2f} [{low:.2f}, {high:.2f}]"


def exponent(value: float | None) -> str:
    """An expected exponent as a fraction: -0.5 -> "-1/2"."""
    return "-" if value is None else str(Fraction(value).limit_denominator(12))


def header(experiment: Any) -> str:
    """The settings that a number depends on, before it is measured."""
    config = experiment.config
    widths = [m for m in config.widths if m not in experiment.too_wide]
    rates = [experiment.learning_rate(m) for m in widths]
    critical = [experiment.critical_rate(m) for m in widths]
    lines = [
        f"{config.arch} on {config.dataset}: {config.n_train} train points, "
        f"{config.n_test} test points, {config.seeds} seeds, widths "
        + ", ".join(map(str, config.widths)),
        f"loss L = {experiment.training.what}; {experiment.training.how}, on "
        + trained(experiment.net(config.widths[0])),
        f"infinite-width limit: {experiment.limit_kind.kind}"
        + (f" ({experiment.limit_kind.why})" if experiment.limit_kind.why else ""),
    ]
    if experiment.chi1 is not None:
        near = f"; above {NARROW_EDGE} some networks of widths below 4096 have none"
        lines.append(
            f"equilibrium of chi_1 = {experiment.chi1:.3g} in the limit (it needs < 1)"
            + (near if experiment.chi1 > NARROW_EDGE else "")
        )
    for rate, edge, width in zip(rates, critical, widths, strict=True):
        lines.append(
            f"learning rate {rate:.4g} = {rate / edge:.2f} x critical "
            f"({edge:.4g} = {experiment.rule()}); "
            f"{config.steps} steps reach time "
            f"t = {experiment.training.time(rate, config.steps):.4g}"
            + ("" if len(set(rates)) == 1 else f" (width {width})")
        )
        if len(set(rates)) == 1:
            break
    return "\n".join(lines)


def rows(summary: dict[str, Any]) -> list[list[str]]:
    """The table of exponents: title, a mean per width, measured, expected."""
    return [
        [TITLES[name]]
        + [number(mean) for mean in metric["mean"]]
        + [interval(metric["slope"]), exponent(metric["expected"]["slope"])]
        for name, metric in summary["metrics"].items()
        if name in TITLES and not metric["missing"]
    ]


def table(summary: dict[str, Any]) -> str:
    """The table of exponents as text."""
    grid = Table(title="mean over seeds at each width, and exponent against width")
    for column in ("", *map(str, summary["widths"]), "exponent [95 %]", "expected"):
        grid.add_column(column, justify="left" if column == "" else "right")
    for row in rows(summary):
        grid.add_row(*row)
    console = Console(width=110)
    with console.capture() as capture:
        console.print(grid)
    return capture.get().rstrip()


def sentences(summary: dict[str, Any]) -> list[str]:
    """One sentence per finding that the figures support."""
    out, unmeasured = [], {}
    for name in FINDINGS:
        why = summary["metrics"][name]["missing"]
        if why:
            unmeasured.setdefault(why, []).append(TITLES[name])
        else:
            out.append(_finding(name, summary))
    for why, titles in unmeasured.items():
        out.append(f"not measured: {', '.join(titles)}; {why}.")
    for width, found in summary["equilibria"].items():
        if found.get("lost"):
            out.append(
                f"no equilibrium in {found['lost']} of {summary['seeds']} seeds at "
                f"width {width}, after {found['steps']} steps of the solver: its "
                "outputs are not numbers, and count as diverged."
            )
    out += _conditions(summary)
    for network, key in DIVERGED.items():
        lost = {m: count for m, count in summary[key].items() if count}
        if lost:
            counts = ", ".join(f"{c} at width {m}" for m, c in lost.items())
            out.append(f"diverged seeds of the {network}: {counts}.")
    return out


CONDITIONS = {"chi1": "chi_1", "norm": "the norm of the cell's weights"}


def _conditions(summary: dict[str, Any]) -> list[str]:
    """Whether the condition of an equilibrium held along training, over all widths."""
    found = {m: e for m, e in summary["equilibria"].items() if e.get("condition")}
    if not found:
        return []
    first = next(iter(found.values()))["condition"]
    name, bound = CONDITIONS[first["quantity"]], first["bound"]
    largest = max(e[first["quantity"]] for e in found.values())
    broken = {
        m: summary["seeds"] - e["condition"]["held"]
        for m, e in found.items()
        if e["condition"]["held"] < summary["seeds"]
    }
    said = f"equilibria are well posed if {name} < {bound:.3g}: "
    if not broken:
        return [f"{said}it held in every seed, at most {largest:.3g} along training."]
    counts = ", ".join(f"{count} seeds at width {m}" for m, count in broken.items())
    return [f"{said}it did not hold in {counts}, up to {largest:.3g}."]


def _finding(name: str, summary: dict[str, Any]) -> str:
    """One finding; it "falls" only where the interval lies below zero."""
    title, metric = TITLES[name], summary["metrics"][name]
    slope, expected = metric["slope"], metric["expected"]
    if interval(slope) == "-":
        return f"{title}: {NO_EXPONENT}."
    edge = slope["ci95"][1]
    verb = "falls" if edge is not None and edge < 0 else "varies"
    used = slope["seeds"]
    some = "" if used == summary["seeds"] else f" ({used} of {summary['seeds']} seeds)"
    said = "theory: no prediction"
    if expected["slope"] is not None:
        said = f"{expected['status']}: {exponent(expected['slope'])}"
    return f"{title} {verb} as m^{interval(slope)}{some}; {said}."
