"""What width and output scale do to gaps, drift and times, beside theory."""

from typing import Any, NamedTuple

import numpy as np

from zoo.gap import fit
from zoo.gap.expected import HEURISTIC, THEORY

Arrays = dict[str, np.ndarray]
LAZY = 1.0  # scales from here on are fitted as lazy ones
HALF = 0.5  # kernel drift at the crossover; share of the loss at which data is fitted
LEAVES = (
    0.1  # deviation from the linear dynamics, over their size, at which f leaves them
)
CHIZAT = "Chizat, Oyallon & Bach 2019, Theorem 2.3, fixed time"
GEIGER = "Geiger et al. 2020, observed and argued from dimensions"
ODD = (
    "derived: the first-order term is the third tangent kernel over alpha, which is of "
    "order 1/m by the sign symmetry of readout weights"
)
CLT = "F is a function of the kernel, whose fluctuations are of order m^-1/2"
SAME = "derived: in the linear regime F does not depend on alpha or width"


class Law(NamedTuple):
    """An exponent, measured and expected.

    Attributes:
        quantity: what varies.
        against: with what, and where.
        slope: value, 95 % interval, seeds.
        expected: the exponent; None where theory is silent.
        source: of the expectation.
        status: "theory", "heuristic" or None.
    """

    quantity: str
    against: str
    slope: dict[str, Any]
    expected: float | None
    source: str
    status: str | None


def laws(cells: dict[int, Arrays], alphas: np.ndarray) -> list[Law]:
    """All exponents, of cells [s, a, ...] by width."""
    widths = sorted(cells)
    widest, last = cells[widths[-1]], alphas[-1]
    lazy = alphas >= LAZY
    out = []
    where = f"alpha at width {widths[-1]}, alpha >= {LAZY:g}"
    for name, quantity, expected, source, status in (
        ("gap", "gap |F - F_lin|", -1.0, CHIZAT, THEORY),
        ("movement", "movement |w - w_0|", -1.0, CHIZAT, THEORY),
        ("movement_gap", "|w - w_lin|", -2.0, CHIZAT, THEORY),
        ("kernel_drift", "kernel drift", -1.0, GEIGER, HEURISTIC),
    ):
        slope = fit.slope_fit(*seen(alphas[lazy], widest[name][:, lazy]))
        out.append(Law(quantity, where, slope, expected, source, status))
    where = f"width at alpha = {last:g}"
    for name, quantity in (
        ("gap", "gap |F - F_lin|"),
        ("kernel_drift", "kernel drift"),
    ):
        values = np.stack([cells[m][name][:, -1] for m in widths], axis=1)
        slope = fit.slope_fit(*seen(np.asarray(widths), values))
        out.append(Law(quantity, where, slope, -1.0, ODD, HEURISTIC))
    stars = np.stack([crossover(cells[m]["kernel_drift"], alphas) for m in widths], 1)
    slope = fit.slope_fit(widths, stars)
    said = f"crossover alpha*, drift = {HALF:g}"
    out.append(Law(said, "width", slope, -0.5, GEIGER, HEURISTIC))
    for place, status in ((-1, THEORY), (0, HEURISTIC)):
        ends = [cells[m]["end"][:, place] for m in widths]
        source = CLT if place else GEIGER
        where = f"width at alpha = {alphas[place]:g}"
        slope = variance_slope(widths, ends)
        out.append(Law("variance of F over seeds", where, slope, -1.0, source, status))
    slope = leaving_slope(cells, alphas)
    said = f"time t_1 at which F leaves F_lin by {LEAVES:g}"
    out.append(Law(said, "alpha sqrt(m), all", slope, 1.0, GEIGER, HEURISTIC))
    times = widest["times"]
    fitted = first_time(1 - widest["train_loss"] / loss_at_start(widest), times, HALF)
    slope = fit.slope_fit(alphas[lazy], fitted[:, lazy])
    where = f"alpha at width {widths[-1]}, alpha >= {LAZY:g}"
    out.append(Law("time to half of the loss", where, slope, 0.0, SAME, THEORY))
    return out


def seen(x: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Where every seed has a value above rounding, x and values [s, x]."""
    good = np.all(np.isfinite(values), axis=0)
    return x[good], values[:, good]


def loss_at_start(cell: Arrays) -> np.ndarray:
    """The loss of F = 0, [s, a, 1]: that at the first recorded time, to 1e-4 of it."""
    return cell["train_loss"][..., :1]


def crossover(drift: np.ndarray, alphas: np.ndarray) -> np.ndarray:
    """The largest scale at which the drift is `HALF`, [s]; NaN if it never is.

    Args:
        drift: [s, a].
        alphas: [a], increasing.
    """
    out = np.full(len(drift), np.nan)
    for i, row in enumerate(np.log(drift / HALF)):
        above = np.flatnonzero(row > 0)
        if len(above) and above[-1] + 1 < len(row):
            j = above[-1]
            share = row[j] / (row[j] - row[j + 1])
            out[i] = alphas[j] * (alphas[j + 1] / alphas[j]) ** share
    return out


def first_time(values: np.ndarray, times: np.ndarray, level: float) -> np.ndarray:
    """When values [..., t] first exceed a level, between records; NaN if never."""
    flat = values.reshape(-1, values.shape[-1])
    out = np.full(len(flat), np.nan)
    for i, row in enumerate(flat):
        over = np.flatnonzero(row > level)
        if len(over) and over[0] > 0:
            j = over[0]
            share = (level - row[j - 1]) / (row[j] - row[j - 1])
            out[i] = times[j - 1] * (times[j] / times[j - 1]) ** share
    return out.reshape(values.shape[:-1])


def leaving_times(cell: Arrays) -> np.ndarray:
    """t_1 of every seed and scale, [s, a]."""
    return first_time(cell["deviation"], cell["times"], LEAVES)


def leaving_slope(cells: dict[int, Arrays], alphas: np.ndarray) -> dict[str, Any]:
    """Exponent of t_1 against alpha sqrt(m), over all that leave before half the fit.

    Past that the residual that drives the dynamics has gone, and t_1 is no power.
    """
    m = np.asarray(sorted(cells))
    t1 = np.stack([leaving_times(cells[w]) for w in m], axis=1)  # [s, w, a]
    fit_time = np.stack(
        [
            first_time(
                1 - cells[w]["train_loss"] / loss_at_start(cells[w]),
                cells[w]["times"],
                HALF,
            )
            for w in m
        ],
        axis=1,
    )
    scale = np.log(np.sqrt(m)[:, None] * alphas[None])
    slopes = []
    for times, fitted in zip(t1, fit_time, strict=True):
        early = np.isfinite(times) & (times < fitted)
        if early.sum() >= 3:
            slopes.append(np.polyfit(scale[early], np.log(times[early]), 1)[0])
    value, low, high = fit.t_interval(np.asarray(slopes))
    return {"value": value, "ci95": [low, high], "seeds": len(slopes)}


def variance_slope(widths: list[int], ends: list[np.ndarray]) -> dict[str, Any]:
    """Exponent of the variance over seeds against width, by the jackknife over seeds.

    Args:
        widths: [w].
        ends: outputs of every width, [s, N, k].
    """
    ends = [end[np.all(np.isfinite(end), axis=(1, 2))] for end in ends]
    seeds = min(map(len, ends))
    nothing = {"value": np.nan, "ci95": [np.nan, np.nan], "seeds": seeds}
    if seeds < 3 or len(widths) < 2:
        return nothing

    def slope(without: int | None) -> float:
        kept = [i for i in range(seeds) if i != without]
        spread = [np.mean(np.var(end[:seeds][kept], axis=0, ddof=1)) for end in ends]
        return float(np.polyfit(np.log(widths), np.log(spread), 1)[0])

    whole = slope(None)
    pseudo = [seeds * whole - (seeds - 1) * slope(i) for i in range(seeds)]
    _, low, high = fit.t_interval(np.asarray(pseudo))
    middle = (low + high) / 2
    return nothing | {
        "value": whole,
        "ci95": [low - middle + whole, high - middle + whole],
    }


def summarize(cells: dict[int, Arrays], alphas: np.ndarray) -> dict[str, Any]:
    """Laws, and means over seeds of what the figures show."""
    widths = sorted(cells)
    means = {
        name: np.stack([np.mean(cells[m][name], axis=0) for m in widths])
        for name in ("gap", "kernel_drift", "movement", "movement_gap")
    }
    with np.errstate(invalid="ignore"):
        leave = [_mean(leaving_times(cells[m])) for m in widths]
    lost = {str(m): int(np.sum(~np.isfinite(cells[m]["kernel_drift"]))) for m in widths}
    return {
        "laws": [law._asdict() for law in laws(cells, alphas)],
        "means": means,
        "leaving_time": leave,
        "lost": lost,
        "solver_steps": {str(m): int(cells[m]["solver_steps"].max()) for m in widths},
        "losses": {str(m): np.mean(cells[m]["train_loss"], axis=0) for m in widths},
        "times": cells[widths[0]]["times"],
    }


def _mean(values: np.ndarray) -> np.ndarray:
    """Over the seeds, where all of them have a value; NaN elsewhere."""
    return np.mean(values, axis=0)
