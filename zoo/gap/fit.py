"""Exponents over widths, with intervals.

A metric q measured at widths m for several seeds is read as q ~ m^slope. Every seed
gives one slope, by least squares in log q against log m; the value is their mean, and
the interval is Student's t over seeds. (A percentile bootstrap over 3 to 10 seeds
covers far less than it says.) A floor bends a plain power law, so a m^-b + c is
fitted too.
"""

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import optimize, stats

Widths = np.ndarray | Sequence[int]


def t_interval(samples: np.ndarray, level: float = 0.95) -> tuple[float, float, float]:
    """Mean and Student-t interval of independent samples [s]; NaN where undefined."""
    if len(samples) < 2:
        mean = float(samples[0]) if len(samples) else np.nan
        return mean, np.nan, np.nan
    mean = float(np.mean(samples))
    error = float(stats.sem(samples))
    half = error * float(stats.t.ppf((1 + level) / 2, len(samples) - 1))
    return mean, mean - half, mean + half


def slopes(widths: Widths, values: np.ndarray) -> np.ndarray:
    """Log-log slope of every seed that has a positive value at every width.

    Args:
        widths: [w].
        values: [s, w].

    Returns:
        [s'] with s' <= s.
    """
    whole = np.all(np.isfinite(values) & (values > 0), axis=1)
    if len(widths) < 2 or not whole.any():
        return np.zeros(0)
    return np.polyfit(np.log(widths), np.log(values[whole]).T, 1)[0]


def slope_fit(widths: Widths, values: np.ndarray) -> dict[str, Any]:
    """The exponent: value, 95 % interval, seeds used."""
    each = slopes(widths, values)
    value, low, high = t_interval(each)
    return {"value": value, "ci95": [low, high], "seeds": len(each)}


def local_slopes(widths: Widths, values: np.ndarray) -> list[dict[str, Any]]:
    """The exponent between each pair of neighbouring widths."""
    return [
        {"widths": [int(m) for m in widths[i : i + 2]]}
        | slope_fit(widths[i : i + 2], values[:, i : i + 2])
        for i in range(len(widths) - 1)
    ]


def floor_fit(widths: Widths, values: np.ndarray) -> dict[str, Any] | None:
    """Fits a m^-b + c, c >= 0, to the means over seeds, in relative error.

    Returns:
        a, b, c, and `error`, the root mean square relative residual; None with fewer
        than 4 widths, or no seed that has a positive value at each.
    """
    whole = np.all(np.isfinite(values) & (values > 0), axis=1)
    if len(widths) < 4 or not whole.any():
        return None
    m, q = np.asarray(widths, float), np.mean(values[whole], axis=0)

    def residual(p: np.ndarray) -> np.ndarray:
        return (np.exp(p[0]) * (m / m[0]) ** -p[1] + p[2] * q[-1]) / q - 1.0

    start = [np.log(q[0]), 0.5, 0.1]
    bounds = ([-np.inf, 0.0, 0.0], [np.inf, 4.0, 1.0])
    fit = optimize.least_squares(residual, start, bounds=bounds)
    error = float(np.sqrt(np.mean(fit.fun**2)))
    a = float(np.exp(fit.x[0]) * m[0] ** fit.x[1])
    return {"a": a, "b": float(fit.x[1]), "c": float(fit.x[2] * q[-1]), "error": error}
