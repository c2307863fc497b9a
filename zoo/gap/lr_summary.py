"""From the losses of all runs to edges, best rates and their exponents."""

from typing import Any

import numpy as np

from zoo.gap import fit, lr_edges
from zoo.gap.lr_edges import Arrays, Found

# A network that is lazy moves as its linearization does, whose rates all scale as
# 2 n / lambda_max; the sources say which part of that is proven, and what is not lazy.
SCALES = {
    0: "NTK parameterization: Theta = O(1) in the width (Jacot et al. 2018; Lee et al. "
    "2019)",
    -1: "standard parameterization: Theta grows as the width (Lee et al. 2019, "
    "appendix F and figure S7)",
    1: "readout of scale 1 / width: Theta falls as 1 / width (Yang & Hu 2021)",
}
LAZY = (
    "; a lazy network moves as its linearization does (derived); one that is not yet "
    "lazy is stable above the critical rate"
)
MAXIMAL = "; Yang & Hu 2021: rates of that scale move features and outputs by O(1)"
CATAPULT = (
    "; the interval of catapults ends at a multiple of 2 n / lambda_max that does not "
    "depend on the width (Lewkowycz et al. 2020, for linear networks: 2)"
)
NOT_KNOWN = "no prediction: nothing says how rates of this network scale"
CONSTANT = "no power law: tends to a constant"
THEORY, HEURISTIC = "theory", "heuristic"
RATES = ("critical", "critical_lee", "stable", "converging", "best", "best_linear")
RATIOS = {
    "stable_ratio": ("stable", "critical"),
    "converging_ratio": ("converging", "critical"),
    "best_ratio": ("best", "critical"),
    "best_to_linear": ("best", "best_linear"),
}


def summarize(
    cells: dict[int, Arrays], steps: int, power: int | None
) -> dict[str, Any]:
    """One parameterization: metrics over widths, curves, counts.

    Args:
        cells: arrays of `Transfer.measure`, by width.
        steps: of gradient descent.
        power: of the width, that the rate follows; None if unknown.
    """
    widths = sorted(cells)
    found = {m: rates_of(cells[m], steps) for m in widths}
    metrics = {}
    for name in RATES:
        values = np.stack([found[m][name].rate for m in widths], axis=1)
        errors = np.stack([found[m][name].resolution for m in widths], axis=1)
        metrics[name] = metric(widths, values, errors) | {
            "expected": expected(name, power)
        }
    for name, (above, below) in RATIOS.items():
        values = np.stack(
            [found[m][above].rate / found[m][below].rate for m in widths], axis=1
        )
        silent = {"slope": None, "source": CONSTANT, "status": None}
        metrics[name] = metric(widths, values, np.zeros_like(values)) | {
            "expected": silent
        }
    limits = [float(cells[m]["limit_critical"]) for m in widths]
    shown = {m: curves(cells[m]) for m in widths}
    medians = [best_of_median(shown[m]) for m in widths]
    return {
        "rate_power": power,
        "metrics": metrics,
        "limit_critical": limits,
        "limit_slope": _slope(widths, limits),
        "stable_in_all_seeds": [float(np.min(found[m]["stable"].rate)) for m in widths],
        "resolution": {
            name: float(np.nanmax([found[m][name].resolution for m in widths]))
            if any(np.isfinite(found[m][name].resolution).any() for m in widths)
            else np.nan
            for name in ("stable", "converging", "best")
        },
        "best_of_median": medians,
        "best_of_median_slope": _slope(widths, medians),
        "curves": {str(m): shown[m] for m in widths},
        "counts": {str(m): counts(cells[m]) for m in widths},
    }


def rates_of(cell: Arrays, steps: int) -> dict[str, Found]:
    """All rates of a width, seed by seed."""
    values = cell["eigenvalues"]
    critical = lr_edges.critical(cell)
    exact = np.zeros_like(critical)
    both = critical * values.max(axis=1) / (values.max(axis=1) + values.min(axis=1))
    return {
        "critical": Found(critical, exact),
        "critical_lee": Found(both, exact),
        "stable": lr_edges.stable_edge(cell),
        "converging": lr_edges.converging_edge(cell),
        "best": lr_edges.best(cell),
        "best_linear": lr_edges.best_linear(cell, steps),
    }


def expected(name: str, power: int | None) -> dict[str, Any]:
    """The exponent of a rate, its source, and what kind of knowledge it is."""
    if power is None:
        return {"slope": None, "source": NOT_KNOWN, "status": None}
    source, status = SCALES[power], THEORY
    if name in ("stable", "best"):
        source += MAXIMAL if power == 1 else LAZY
        status = HEURISTIC if power == 1 else THEORY
    if name == "converging":
        source, status = source + CATAPULT, HEURISTIC
    return {"slope": float(power), "source": source, "status": status}


def metric(widths: list[int], values: np.ndarray, errors: np.ndarray) -> dict[str, Any]:
    """Means [w], standard errors [w], and the exponent of values [s, w].

    The interval of the exponent is Student's over seeds, and on either side what the
    resolution of the rates could move it by at worst.

    Args:
        widths: [w].
        values: rates, [s, w]; NaN where there is none.
        errors: their resolution in log rate, [s, w].
    """
    kept = [column[np.isfinite(column)] for column in values.T]
    some = [len(column) > 1 for column in kept]
    slope = fit.slope_fit(widths, values)
    whole = np.all(np.isfinite(values), axis=1)
    if whole.any() and len(widths) > 1:
        extra = slope_error(widths, errors[whole])
        low, high = slope["ci95"]
        slope["ci95"] = [low - extra, high + extra]
    return {
        "mean": [fit.t_interval(column)[0] for column in kept],
        "stderr": [
            np.std(column, ddof=1) / np.sqrt(len(column)) if several else np.nan
            for column, several in zip(kept, some, strict=True)
        ],
        "seeds": [len(column) for column in kept],
        "slope": slope,
        "local_slopes": fit.local_slopes(widths, values),
    }


def slope_error(widths: list[int], errors: np.ndarray) -> float:
    """The most that errors of log values [s, w] move the mean least-squares slope.

    >>> round(slope_error([1, 10], np.array([[0.1, 0.1]])) * float(np.log(10)), 6)
    0.2
    """
    x = np.log(np.asarray(widths, float))
    x = x - x.mean()
    return float(np.mean(errors @ np.abs(x)) / np.sum(x**2))


def _slope(widths: list[int], values: list[float]) -> float:
    """Log-log slope of numbers without error; NaN where there are none."""
    each = fit.slopes(widths, np.array([values]))
    return float(each[0]) if len(each) else np.nan


def curves(cell: Arrays) -> dict[str, Any]:
    """Losses over the grid of rates that all seeds share, [r] each.

    Medians over all seeds, a run that did not converge counting as infinite: null where
    half of the seeds or more did not.
    """
    grid = cell["grid"]
    shared = {k: v[:, : len(grid)] for k, v in cell.items() if k in RUNS}
    verdict = lr_edges.judge(shared)

    def median(name: str) -> np.ndarray:
        values = np.where(verdict.converged, shared[name], np.inf)
        return np.quantile(values, 0.5, axis=0, method="inverted_cdf")

    above = grid > lr_edges.critical(cell)[:, None]
    caught = verdict.converged & above
    return {
        "rates": grid,
        "start": float(np.median(shared["start"])),
        "train_loss": median("train_loss"),
        "test_loss": median("test_loss"),
        "diverged": np.sum(~verdict.stable, axis=0),
        "not_converged": np.sum(~verdict.converged, axis=0),
        "dead": np.sum(verdict.dead, axis=0),
        "catapults": np.sum(caught, axis=0),
    }


def best_of_median(curve: dict[str, Any]) -> float:
    """The best rate of the median over seeds of the final train loss; see `curves`.

    Runs that came back from above ten times their start count here.
    """
    floor = lr_edges.ROUNDING * curve["start"]
    return lr_edges.minimum(curve["rates"], curve["train_loss"], floor)[0]


RUNS = ("rates", "start", "peak", "train_loss", "test_loss", "dead")


def counts(cell: Arrays) -> dict[str, int]:
    """Runs of a width, those of the refinements included."""
    verdict = lr_edges.judge(cell)
    above = cell["rates"] > lr_edges.critical(cell)[:, None]
    caught = above & verdict.converged
    return {
        "runs": int(verdict.stable.size),
        "diverged": int(np.sum(~verdict.stable)),
        "not_converged": int(np.sum(~verdict.converged)),
        "dead": int(np.sum(verdict.dead)),
        "above_critical": int(np.sum(above)),
        "catapults": int(np.sum(caught)),
        "catapults_exploded": int(np.sum(caught & ~verdict.stable)),
    }
