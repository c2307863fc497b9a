"""Where training stops being stable, where it stops converging, where it is best.

Everything is read off the losses of runs at several learning rates, seed by seed. The
arrays of a cell are those of `zoo.gap.lr_runs.sweep`, [s, r], in any order of the
rates. An edge lies between two rates that were tried: its value is their geometric
mean, its resolution half their distance in log rate.
"""

from typing import NamedTuple

import numpy as np

Arrays = dict[str, np.ndarray]
EXPLODED = 10.0  # times the start: what the main job calls diverged
ROUNDING = 1e-10  # of the start, below which a float32 loss is rounding
FINE = 256  # rates in an octave, for losses that cost nothing


class Verdict(NamedTuple):
    """What became of every run, [s, r] each.

    Attributes:
        converged: ended finite, not above its start, and not dead.
        stable: converged, and never was `EXPLODED` times its start.
        dead: all train points have the same output, and no gradient moves it.
    """

    converged: np.ndarray
    stable: np.ndarray
    dead: np.ndarray


class Found(NamedTuple):
    """A rate for each seed, [s]; NaN where the rates that were tried do not show it.

    Attributes:
        rate: eta.
        resolution: half of the interval it lies in, in log rate.
    """

    rate: np.ndarray
    resolution: np.ndarray


def judge(arrays: Arrays) -> Verdict:
    """The rule of `zoo.gap.summary.diverged`, told apart.

    That one calls diverged what is not stable, but for dead networks.
    """
    start, peak, end = arrays["start"], arrays["peak"], arrays["train_loss"]
    dead = arrays["dead"].astype(bool)
    with np.errstate(invalid="ignore"):
        finite = np.isfinite(peak) & np.isfinite(end)
        converged = finite & (end <= start) & ~dead
        return Verdict(converged, converged & (peak <= EXPLODED * start), dead)


def stable_edge(arrays: Arrays) -> Found:
    """The largest rate below which every run was stable."""
    return _edges(arrays["rates"], judge(arrays).stable, _first_failure)


def converging_edge(arrays: Arrays) -> Found:
    """The largest rate at which a run converged, catapults included."""
    return _edges(arrays["rates"], judge(arrays).converged, _last_success)


def best(arrays: Arrays) -> Found:
    """The rate of the smallest final train loss of runs that were stable.

    The minimum of the parabola, in log loss over log rate, through the best run and its
    neighbours; where a neighbour was not stable, the best run's own rate. NaN at an
    end of the rates that were tried, and where the loss is rounding.
    """
    loss = np.where(judge(arrays).stable, arrays["train_loss"], np.inf)
    floor = ROUNDING * arrays["start"][:, 0]
    pairs = [
        minimum(*sorted_rates(rates, losses), low)
        for rates, losses, low in zip(arrays["rates"], loss, floor, strict=True)
    ]
    return Found(*np.array(pairs).T)


def best_linear(arrays: Arrays, steps: int) -> Found:
    """The best rate of the network linearized at its initialization, in closed form."""
    values = arrays["eigenvalues"]
    n = _points(arrays)
    critical = 2 * n / values.max(axis=1)
    shares = 2.0 ** (np.arange(-8 * FINE, 1) / FINE)
    rates = critical[:, None] * shares
    losses = linear_loss(values, arrays["coefficients"], rates, steps, n)
    places = np.argmin(losses, axis=1)[:, None]
    found = np.take_along_axis(rates, places, axis=1)[:, 0]
    return Found(found, np.full(len(found), np.log(2) / FINE))


def linear_loss(
    eigenvalues: np.ndarray,
    coefficients: np.ndarray,
    rates: np.ndarray,
    steps: int,
    n: int,
) -> np.ndarray:
    """Final train loss of the linearized network, exactly: [s, r].

        L = 1/(2n) sum_i c_i^2 (1 - eta lambda_i / n)^(2 steps)

    Args:
        eigenvalues: lambda_i of Theta_0, [s, n k].
        coefficients: c_i of f_0 - y in its eigenvectors, [s, n k].
        rates: eta, [s, r].
        steps: of gradient descent.
        n: train points.
    """
    with np.errstate(divide="ignore", over="ignore"):
        factor = np.abs(1 - rates[:, :, None] * eigenvalues[:, None] / n)
        decay = np.exp(2 * steps * np.log(factor))
        return np.einsum("si,sri->sr", coefficients**2, decay) / (2 * n)


def critical(arrays: Arrays) -> np.ndarray:
    """2 n / lambda_max of each seed's own kernel at initialization, [s]."""
    return 2 * _points(arrays) / arrays["eigenvalues"].max(axis=1)


def _points(arrays: Arrays) -> int:
    return int(arrays["n_train"])


def refined(arrays: Arrays, count: int) -> np.ndarray:
    """Rates to try next, [s, count]: inside the intervals that hold what is sought."""
    verdict = judge(arrays)
    loss = np.where(verdict.stable, arrays["train_loss"], np.inf)
    rows = []
    for i, rates in enumerate(arrays["rates"]):
        rate, stable = sorted_rates(rates, verdict.stable[i])
        _, converged = sorted_rates(rates, verdict.converged[i])
        _, losses = sorted_rates(rates, loss[i])
        intervals = [
            _between(rate, _first_failure(stable)),
            _between(rate, _last_success(converged)),
            _around(rate, int(np.argmin(losses))),
        ]
        rows.append(_placed(list(dict.fromkeys(filter(None, intervals))), rate, count))
    return np.array(rows)


def sorted_rates(
    rates: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Distinct rates in order, with the value of each; [r'], [r']."""
    rate, place = np.unique(rates, return_index=True)
    return rate, values[place]


def _first_failure(good: np.ndarray) -> int:
    """Place of the last success before any failure; -1 if the first one failed."""
    return int(np.argmin(good)) - 1 if not good.all() else len(good) - 1


def _last_success(good: np.ndarray) -> int:
    """Place of the last success; -1 if there is none."""
    return int(np.flatnonzero(good)[-1]) if good.any() else -1


def _edges(rates: np.ndarray, good: np.ndarray, place) -> Found:
    out = []
    for row, some in zip(rates, good, strict=True):
        rate, held = sorted_rates(row, some)
        ends = _between(rate, place(held))
        low, high = ends or (np.nan, np.nan)
        out.append((np.sqrt(low * high), np.log(high / low) / 2))
    return Found(*np.array(out).T)


def _between(rate: np.ndarray, i: int) -> tuple[float, float] | None:
    """The interval from a rate to the next; None where it is open."""
    inside = 0 <= i < len(rate) - 1
    return (float(rate[i]), float(rate[i + 1])) if inside else None


def _around(rate: np.ndarray, i: int) -> tuple[float, float] | None:
    inside = 0 < i < len(rate) - 1
    return (float(rate[i - 1]), float(rate[i + 1])) if inside else None


def _placed(intervals: list, rate: np.ndarray, count: int) -> np.ndarray:
    """`count` rates shared out to the intervals, evenly in log rate in each."""
    intervals = intervals or [(rate[0], rate[-1])]
    sizes = [len(part) for part in np.array_split(np.arange(count), len(intervals))]
    parts = [
        np.geomspace(low, high, size + 2)[1:-1]
        for (low, high), size in zip(intervals, sizes, strict=True)
    ]
    return np.concatenate(parts)


def minimum(rate: np.ndarray, loss: np.ndarray, floor: float) -> tuple[float, float]:
    """Rate of the smallest loss above a floor, and its resolution; see `best`.

    Args:
        rate: increasing, [r].
        loss: [r]; infinite where a run does not count.
        floor: a loss that is not above it is rounding, and has no best rate.
    """
    i = int(np.argmin(loss))
    ends = _around(rate, i)
    if ends is None or not floor < loss[i] < np.inf:
        return np.nan, np.nan
    x = np.log(rate[i - 1 : i + 2])
    resolution = (x[2] - x[0]) / 4
    if not np.isfinite(loss[i - 1 : i + 2]).all():
        return float(rate[i]), resolution
    y = np.log(loss[i - 1 : i + 2])
    (a, b), (u, v) = np.diff(x), np.diff(y)  # steps to either side
    top, bottom = v * a**2 + u * b**2, v * a - u * b
    shift = -top / (2 * bottom) if bottom > 0 else 0.0
    return float(np.exp(x[1] + shift)), resolution
