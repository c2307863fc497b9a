"""From the kernels' arrays over widths to means, exponents, and what they may tell."""

from typing import Any

import numpy as np

from zoo.gap import fit, sides
from zoo.gap.expected import HEURISTIC, expected_slope
from zoo.gap.kernel_machine import SMALLEST, angle
from zoo.gap.run import Experiment
from zoo.gap.summary import diverged
from zoo.models import Limit

Arrays = dict[str, np.ndarray]
# One number per seed: name -> (array of a cell, how it is taken from the records).
ENDS = (
    "alignment",
    "alignment_centred",
    "lambda_min",
    "lambda_max",
    "effective_rank",
    "top_share",
    "machine_loss",
    "machine_accuracy",
    "onwards_loss",
    "onwards_accuracy",
    "network_loss",
    "network_accuracy",
)
MOVED = {
    "distance": ("distance_start", "last"),
    "distance_full": ("distance_full", "only"),
    "drift": ("drift", "last"),
    "drift_full": ("drift_full", "only"),
    "velocity": ("velocity", "largest"),
    "angular_velocity": ("angular_velocity", "largest"),
    "angular_velocity_last": ("angular_velocity", "last"),
}
TAKEN = {
    "last": lambda value: value[:, -1],
    "largest": lambda value: np.max(np.nan_to_num(value), axis=1),
    "only": lambda value: value,
}
SECOND_ORDER = ("distance", "distance_full", "velocity")
TWICE = (
    "S is at most 1 - sqrt(1 - drift^2), about drift^2 / 2 (derived), so twice the "
    "exponent of the drift: "
)
FEATURES = (
    "features, and with them the kernel, move at any width (Yang & Hu 2021); their "
    "movement tends to a constant, from above as the outputs at the start vanish"
)
SYMMETRIC = (
    "none at the start: the kernel's first derivative in time is odd in the readout, "
    "whose law is symmetric, and vanishes with width; later ones do not (derived)"
)
STILL = "no layer whose kernel could move is trained: S is 0"


def seed_metrics(arrays: Arrays) -> Arrays:
    """One number per seed, [s]; NaN of diverged seeds, and of rounding.

    Of `ENDS` the values at the first and the last record, `NAME_start` and `NAME_end`;
    kernels count as moved from a chord sqrt(2 S) of 1e-5 on.
    """
    gone = diverged(arrays)["f"]
    found = {}
    for name, (array, how) in MOVED.items():
        if array in arrays:
            found[name] = TAKEN[how](arrays[array])
    for name in ENDS:
        if name in arrays:
            found[f"{name}_start"] = arrays[name][:, 0]
            found[f"{name}_end"] = arrays[name][:, -1]
    moved = np.max(np.nan_to_num(arrays["distance_start"]), axis=1) > SMALLEST
    for name, value in found.items():
        lost = gone | (~moved if name in MOVED else False)
        found[name] = np.where(lost, np.nan, value.astype(np.float64))
    return found


def summarize(cells: dict[int, Arrays], job: Experiment) -> dict[str, Any]:
    """Metrics over widths, counts of divergence, and when kernel machines catch up.

    Args:
        cells: arrays of all seeds of one parameterization, by width.
        job: its experiment, on which the expected exponents depend.
    """
    widths = sorted(cells)
    seeds = {m: seed_metrics(cells[m]) for m in widths}
    known = (job.net(widths[0]), job.limit_kind, job.lazy_rate())
    metrics = {
        name: _metric(widths, np.stack([seeds[m][name] for m in widths], axis=1))
        | {"expected": expected(name, *known), "missing": ""}
        for name in seeds[widths[0]]
    }
    return {
        "metrics": metrics,
        "diverged": {str(m): int(np.sum(diverged(cells[m])["f"])) for m in widths},
        "catches_up": {str(m): catches_up(cells[m]) for m in widths},
        "half_way": {str(m): half_way(cells[m]) for m in widths},
    }


def _metric(widths: list[int], values: np.ndarray) -> dict[str, Any]:
    """Means [w], standard errors [w] and exponents of values [s, w]."""
    kept = [v[np.isfinite(v)] for v in values.T]
    return {
        "mean": [fit.t_interval(v)[0] for v in kept],
        "stderr": [
            np.std(v, ddof=1) / np.sqrt(len(v)) if len(v) > 1 else np.nan for v in kept
        ],
        "seeds": [len(v) for v in kept],
        "slope": fit.slope_fit(widths, values),
        "local_slopes": fit.local_slopes(widths, values),
        "floor_fit": fit.floor_fit(widths, values),
    }


def expected(name: str, net: Any, limit: Limit, lazy_rate: bool) -> dict[str, Any]:
    """The exponent expected of a metric: number or None, its source, its status.

    Nothing here is a theorem of the kernel distance: what is expected of S follows from
    what is expected of the drift, and is heuristic.

    Args:
        name: of a metric.
        net: a network of the family.
        limit: what stands for its infinite-width limit.
        lazy_rate: as of `zoo.gap.run.Experiment`.
    """
    if name not in MOVED:
        said = "no power law of its own"
        return {"slope": None, "source": said, "status": None}
    exponents = getattr(net, "exponents", None)
    if exponents is not None and exponents.hidden_change == 0 and lazy_rate:
        if "velocity" in name:
            return {"slope": None, "source": SYMMETRIC, "status": None}
        return {"slope": 0.0, "source": FEATURES, "status": HEURISTIC}
    if exponents is not None and exponents.hidden_change is None:
        return {"slope": None, "source": STILL, "status": None}
    facts = sides.facts(net, limit, lazy_rate)
    drift = expected_slope("kernel_drift", facts)
    if name not in SECOND_ORDER or drift["slope"] is None:
        return drift
    twice, source = 2 * drift["slope"], TWICE + drift["source"]
    return {"slope": twice, "source": source, "status": HEURISTIC}


def seed_mean(cell: Arrays, name: str) -> np.ndarray:
    """Mean of a recorded array over the seeds that are measured and did not diverge."""
    kept = cell[name][~diverged(cell)["f"]].astype(np.float64)
    good = np.isfinite(kept)
    total = np.sum(np.where(good, kept, 0.0), axis=0)
    count = np.sum(good, axis=0)
    return np.divide(total, count, np.full(total.shape, np.nan), where=count > 0)


def catches_up(cell: Arrays) -> dict[str, int | None]:
    """First recorded step whose kernel machine is as good as the trained network.

    By the means over seeds, `loss` and, of classes, `accuracy`; None if it never is.
    """
    found: dict[str, int | None] = {}
    for score, sign in (("loss", 1), ("accuracy", -1)):
        if f"machine_{score}" in cell:
            machine = sign * seed_mean(cell, f"machine_{score}")
            own = sign * seed_mean(cell, f"network_{score}")[-1]
            good = np.flatnonzero(machine <= own)
            found[score] = int(cell["times"][good[0]]) if len(good) else None
    return found


def half_way(cell: Arrays) -> int | None:
    """First recorded step at which half of the final angle from the start is made."""
    turned = angle(seed_mean(cell, "distance_start"))
    good = np.flatnonzero(turned >= 0.5 * turned[-1])
    return int(cell["times"][good[0]]) if len(good) and turned[-1] > 0 else None
