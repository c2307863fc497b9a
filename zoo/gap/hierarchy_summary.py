"""From the arrays of the hierarchy's cells to exponents, orders in time and counts."""

from typing import Any

import numpy as np

from zoo.gap import fit
from zoo.gap.expected import HEURISTIC, KINKED, THEORY, Facts

Arrays = dict[str, np.ndarray]

# Metrics of one number per seed, and the time at which a recorded series enters.
INITIAL = ("K2", "K3", "K4", "velocity", "acceleration")
MIDDLE = ("error_first", "error_second")
LAST = ("drift", "drift_flow", "error_p3", "error_p4")
LARGEST = ("output_p2", "output_p3", "output_p4")
PREDICTIONS = ("first", "second", "p3", "p4")
# Relative differences below this, at any time past the first steps, are the solver's;
# those below the other one are rounding of float64.
SOLVER, ROUNDING = 1e-8, 1e-12
# A prediction this many times larger than the kernel at its start has been lost.
GROWN = 1e6

CLT = "the kernel has a limit"
ODD = (
    "derived from the sign symmetry of the readout and a mean over m units, for one "
    "wide layer; with more, power counting as conjectured by Dyer & Gur-Ari 2020 (the "
    "bound of Huang & Yau 2020 for level r, m^-(r/2-1), would be -1/2; both recalled, "
    "not read again)"
)
EVEN = "a mean over m units, as the bound m^-(r/2-1) of Huang & Yau 2020 at r = 4"
MOVES = "d Theta/dt = -(1/n) K3 (f - y), and K3 and K4 both fall as m^-1"
FROZEN_3 = "K3 moves by K4, which is of its own size m^-1: freezing it gains no power"
FROZEN_4 = "K4 moves by K5, of size m^-2 by the same counting as K3"
LINEAR = "the linearized network; from the drift of its kernel"
EVERYWHERE = (
    "the same counting, of derivatives that exist almost everywhere: kinks are not seen"
)
SILENT = (
    "no prediction: the counting is for smooth activations in the NTK "
    "parameterization at a stable learning rate with a lazy limit"
)
EXPECTED = {
    "K2": (0.0, CLT, THEORY),
    "K3": (-1.0, ODD, THEORY),
    "K4": (-1.0, EVEN, THEORY),
    "velocity": (-1.0, MOVES, THEORY),
    "acceleration": (-1.0, MOVES, THEORY),
    "drift": (-1.0, MOVES, HEURISTIC),
    "drift_flow": (-1.0, MOVES, HEURISTIC),
    "error_first": (-1.0, MOVES, HEURISTIC),
    "error_second": (-1.0, MOVES, HEURISTIC),
    "error_p3": (-1.0, FROZEN_3, HEURISTIC),
    "error_p4": (-2.0, FROZEN_4, HEURISTIC),
    "output_p2": (-1.0, LINEAR, HEURISTIC),
    "output_p3": (-1.0, FROZEN_3, HEURISTIC),
    "output_p4": (-2.0, FROZEN_4, HEURISTIC),
}
# Power of t of what a prediction of the kernel misses: the first derivative in time
# that is not that of the flow. K5, the first that p = 4 lacks, enters the third.
ORDERS = {"drift_flow": 1.0, "first": 2.0, "second": 3.0, "p3": 2.0, "p4": 3.0}


def expectation(metric: str, facts: Facts) -> dict[str, Any]:
    """The exponent expected of a metric against width, or None, with its source."""
    lazy = facts.lazy_rate and facts.limit.kind != "none"
    slope, source, status = None, SILENT, None
    if lazy and facts.standard is False and facts.smooth:
        slope, source, status = EXPECTED[metric]
        if not facts.shallow and metric != "K2":
            status = HEURISTIC
    elif lazy and facts.standard is False and metric in INITIAL:
        slope, source, status = EXPECTED[metric][0], EVERYWHERE, HEURISTIC
    elif lazy and facts.standard is False:
        slope, source, status = -0.75, KINKED, HEURISTIC
    return {"slope": slope, "source": source, "status": status}


def middle(cell: Arrays) -> int:
    """The recorded time closest to n / lambda_max, at which the top mode has moved."""
    late = np.maximum(cell["tau"], 1e-30)
    return int(np.argmin(np.abs(np.log(late))))


def diverged(cell: Arrays) -> np.ndarray:
    """Seeds whose descent diverged, [s]: by the rule of `zoo.gap.summary`."""
    loss = cell["loss"][:, np.isfinite(cell["steps_taken"])]
    with np.errstate(invalid="ignore"):
        grown = (np.max(loss, axis=1) > 10 * loss[:, 0]) | ~(loss[:, -1] <= loss[:, 0])
    return ~np.all(np.isfinite(loss), axis=1) | grown


def seed_metrics(cell: Arrays) -> Arrays:
    """One number per seed and metric, [s]; NaN where it diverged or is no number."""
    places = dict.fromkeys(MIDDLE, middle(cell)) | dict.fromkeys(LAST, -1)
    found = {name: cell[name] for name in INITIAL if name in cell}
    values = {name: cell[name][:, i] for name, i in places.items() if name in cell}
    values |= {name: np.max(cell[name], axis=1) for name in LARGEST if name in cell}
    for name, value in values.items():
        found[name] = np.where((value < SOLVER) | (value > GROWN), np.nan, value)
    found["drift"] = np.where(diverged(cell), np.nan, found["drift"])
    return {k: np.where(np.isfinite(v), v, np.nan) for k, v in found.items()}


def order(cell: Arrays, name: str) -> dict[str, Any]:
    """The power of t with which a series leaves zero: mean over seeds, 95 % interval.

    Between the first two neighbouring times at which a seed's series is above rounding.
    """
    each = []
    for values in cell[name]:
        with np.errstate(invalid="ignore"):
            seen = np.isfinite(values) & (values > ROUNDING)
        pairs = np.flatnonzero(seen[:-1] & seen[1:])
        if len(pairs):
            i, t = pairs[0], cell["times"]
            each.append(np.log(values[i + 1] / values[i]) / np.log(t[i + 1] / t[i]))
    value, low, high = fit.t_interval(np.asarray(each))
    return {"value": value, "ci95": [low, high], "seeds": len(each)}


def rms_slope(widths: Any, values: np.ndarray) -> dict[str, Any]:
    """Slope of the root mean square over seeds; the interval is the jackknife's.

    Args:
        widths: [w].
        values: [s, w].
    """
    whole = values[np.all(np.isfinite(values) & (values > 0), axis=1)]
    count = len(whole)
    if count < 3 or len(widths) < 2:
        return {"value": np.nan, "ci95": [np.nan, np.nan], "seeds": count}

    def slope(rows: np.ndarray) -> float:
        return float(fit.slopes(widths, np.sqrt(np.mean(rows**2, 0))[None])[0])

    full = slope(whole)
    without = np.array([slope(np.delete(whole, i, axis=0)) for i in range(count)])
    # Pseudo-values, whose mean and standard error are the jackknife's.
    _, low, high = fit.t_interval(count * full - (count - 1) * without)
    half = (high - low) / 2
    return {"value": full, "ci95": [full - half, full + half], "seeds": count}


def _ratios(cell: Arrays) -> dict[str, dict[str, float]]:
    """Predicted over measured drift of the flow, mean over seeds, at two times.

    Seeds whose prediction grew without bound are left out; `_lost` counts them.
    """
    out: dict[str, dict[str, float]] = {}
    for name in (p for p in PREDICTIONS if f"drift_{p}" in cell):
        drift = cell[f"drift_{name}"]
        drift = np.where(drift < GROWN, drift, np.nan)
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = drift / cell["drift_flow"]
        picked = {"middle": ratio[:, middle(cell)], "last": ratio[:, -1]}
        out[name] = {
            place: float(np.mean(v[np.isfinite(v)])) if np.isfinite(v).any() else np.nan
            for place, v in picked.items()
        }
    return out


def _lost(cell: Arrays) -> dict[str, int]:
    """Seeds whose flow was solved, but of which a prediction grew without bound."""
    solved = np.isfinite(cell["drift_flow"][:, -1])
    return {
        name: int(np.sum(solved & ~(cell[f"error_{name}"][:, -1] < GROWN)))
        for name in PREDICTIONS
        if f"error_{name}" in cell
    }


def summarize(cells: dict[int, Arrays], facts: Facts) -> dict[str, Any]:
    """Exponents, orders in time, ratios of predicted to measured drift, and counts.

    Args:
        cells: arrays of all seeds, by width.
        facts: what the expected exponents depend on.
    """
    widths = sorted(cells)
    seeds = {m: seed_metrics(cells[m]) for m in widths}
    metrics = {}
    for name in seeds[widths[0]]:
        values = np.stack([seeds[m][name] for m in widths], axis=1)
        metrics[name] = _metric(widths, values) | {"expected": expectation(name, facts)}
    widest = cells[widths[-1]]
    return {
        "metrics": metrics,
        "orders": {
            name: order(widest, name if name == "drift_flow" else f"error_{name}")
            | {"expected": power if facts.smooth else None}
            for name, power in ORDERS.items()
            if name == "drift_flow" or f"error_{name}" in widest
        },
        "ratios": {str(m): _ratios(cells[m]) for m in widths},
        "tau_middle": float(widest["tau"][middle(widest)]),
        "tau_last": float(widest["tau"][-1]),
        "times": {str(m): cells[m]["times"] for m in widths},
        "diverged": {str(m): int(np.sum(diverged(cells[m]))) for m in widths},
        "unsolved": {
            str(m): int(np.sum(~np.isfinite(cells[m]["drift_flow"][:, -1])))
            for m in widths
        },
        "lost": {str(m): _lost(cells[m]) for m in widths},
        "step_error": {str(m): _step_error(cells[m]) for m in widths},
    }


def _step_error(cell: Arrays) -> float:
    """Drift by descent over drift by flow, minus 1, at the end; mean over seeds."""
    ratio = cell["drift"][:, -1] / cell["drift_flow"][:, -1] - 1
    ratio = ratio[np.isfinite(ratio)]
    return float(np.mean(ratio)) if len(ratio) else np.nan


def _metric(widths: list[int], values: np.ndarray) -> dict[str, Any]:
    """Means [w], standard errors [w] and exponents of values [s, w]."""
    kept = [column[np.isfinite(column)] for column in values.T]
    return {
        "mean": [fit.t_interval(v)[0] for v in kept],
        "stderr": [
            np.std(v, ddof=1) / np.sqrt(len(v)) if len(v) > 1 else np.nan for v in kept
        ],
        "seeds": [len(v) for v in kept],
        "slope": fit.slope_fit(widths, values),
        "rms_slope": rms_slope(widths, values),
        "local_slopes": fit.local_slopes(widths, values),
    }
