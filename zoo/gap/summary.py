"""From the arrays of all cells to one table: means, errors, exponents."""

from typing import Any

import numpy as np

from zoo.gap import fit
from zoo.gap.expected import Facts, expected_slope, missing
from zoo.models.deq_base import Condition

# Metrics with one value per seed: name -> (array of a cell, networks that it needs).
# Those recorded at every step enter by their largest value, or by their last.
LARGEST = {
    "gap_total": ("f", "f_inf"),
    "gap_nonlinear": ("f", "f_lin"),
    "gap_kernel": ("f_lin", "f_inf"),
    "gap_total_flow": ("f",),
    "gap_kernel_flow": ("f_lin",),
}
LAST = {
    "train_loss": "train_loss_final",
    "test_loss": "test_loss_final",
    "test_accuracy": "test_accuracy_final",
}
NETWORKS = {"f": "", "f_lin": "_linear", "f_inf": "_infinite", "f_flow": "_flow"}
SCALARS = {
    "kernel_error_init": (),
    "kernel_error_init_mean": (),
    "kernel_drift": ("f",),
    "kernel_drift_mean": ("f",),
    "weight_movement_first": ("f",),
    "weight_movement_hidden": ("f",),
    "weight_movement_last": ("f",),
    "critical_rate": (),
}
Arrays = dict[str, np.ndarray]


# Differences of float32 outputs or kernels below this share of their size are rounding.
ROUNDING = 1e-5
INTERVAL = 1.959964  # standard deviations on either side of a Gaussian's 95 %


def diverged(arrays: Arrays) -> dict[str, np.ndarray]:
    """Which seeds of a cell diverged, [s] each, for every network that was measured.

    A network diverged if an output is not finite, if its train loss ends above where
    it began, or if it ever was ten times that (relu networks can blow up and die).
    """
    out = {}
    for network, suffix in NETWORKS.items():
        if f"train_loss{suffix}" not in arrays:
            continue
        loss = arrays[f"train_loss{suffix}"]
        finite = np.all(np.isfinite(loss), axis=1)
        with np.errstate(invalid="ignore"):
            exploded = np.max(loss, axis=1) > 10 * loss[:, 0]
        out[network] = ~finite | exploded | ~(loss[:, -1] <= loss[:, 0])
    return out


def equilibria(arrays: Arrays, condition: Condition | None) -> dict[str, Any]:
    """Of a cell's equilibria: seeds that lost one, most steps, largest residual.

    And chi_1 and the largest singular value, at the start and along training, with the
    number of seeds in which the network's condition held at every recorded step.
    """
    if "equilibrium_lost" not in arrays:
        return {}
    lost = np.any(arrays["equilibrium_lost"], axis=1)
    found: dict[str, Any] = {
        "lost": int(np.sum(lost)),
        "steps": int(np.max(arrays["equilibrium_steps"])),
        "residual": _largest(arrays["equilibrium_residual"]),
    }
    for name in ("chi1", "norm"):
        values = arrays[f"equilibrium_{name}"]
        found[name] = _largest(values)
        found[f"{name}_init"] = _largest(values[:, 0])
    if condition is not None and condition.quantity:
        below = arrays[f"equilibrium_{condition.quantity}"] < condition.bound
        found["condition"] = {
            **condition._asdict(),
            "held_init": int(np.sum(below[:, 0])),
            "held": int(np.sum(np.all(below, axis=1))),
        }
    return found


def _largest(values: np.ndarray) -> float:
    """Of those that are finite: weights that diverged have none."""
    return float(np.max(values, where=np.isfinite(values), initial=0.0))


def seed_metrics(arrays: Arrays) -> Arrays:
    """One number per seed and metric, [s].

    NaN where a network that it uses diverged, or where it was not measured.
    """
    gone = diverged(arrays)
    values, needs = {}, {}
    f = arrays["outputs"].astype(np.float64)
    with np.errstate(over="ignore", invalid="ignore"):
        scale = np.sqrt(np.max(np.mean(f**2, axis=(2, 3)), axis=1))
    # alpha (f - f_0) holds the rounding of alpha f, unlike its linearization.
    amplified = np.maximum(scale, arrays.get("output_size", 0.0))
    unmeasured = np.full(len(f), np.nan)
    for name, networks in LARGEST.items():
        values[name], needs[name] = unmeasured, ()
        if name in arrays:
            size = amplified if "f" in networks else scale
            values[name] = _above_rounding(np.max(arrays[name], axis=1), size)
            needs[name] = networks
    for name, final in LAST.items():
        for network, suffix in NETWORKS.items():
            if name + suffix in arrays:
                values[final + suffix] = arrays[name + suffix][:, -1]
                needs[final + suffix] = (network,)
    for name, networks in SCALARS.items():
        value = arrays.get(name, unmeasured)
        values[name], needs[name] = _above_rounding(value, 1.0), networks
    for name, networks in needs.items():
        lost = np.any([gone[network] for network in networks], axis=0)
        value = np.where(lost, np.nan, values[name].astype(np.float64))
        values[name] = np.where(np.isfinite(value), value, np.nan)
    return values


def _above_rounding(values: np.ndarray, scale: np.ndarray | float) -> np.ndarray:
    """Values of all seeds; NaN if one is no more than float32 rounding of its scale.

    Of all, since the mean over those that are left would be too large.
    """
    rounded = np.any(values < ROUNDING * scale)
    return np.full(values.shape, np.nan) if rounded else values


def summarize(cells: dict[int, Arrays], facts: Facts) -> dict[str, Any]:
    """Metrics over widths and the count of divergence.

    Args:
        cells: arrays of all seeds, by width.
        facts: what the expected exponents depend on.
    """
    widths = sorted(cells)
    seeds = {m: seed_metrics(cells[m]) for m in cells}
    gone = {m: diverged(cells[m]) for m in cells}
    metrics = {
        name: _metric(widths, np.stack([seeds[m][name] for m in widths], axis=1))
        | {"expected": expected_slope(name, facts), "missing": missing(name, facts)}
        for name in seeds[widths[0]]
    }
    if all("ensemble_mean" in cell for cell in cells.values()):
        metrics |= _ensemble_metrics(widths, cells)
    said = {str(m): equilibria(cells[m], facts.condition) for m in widths}
    return {"metrics": metrics, "equilibria": said} | {
        key: {str(m): int(np.sum(gone[m].get(network, 0))) for m in widths}
        for key, network in DIVERGED.items()
    }


DIVERGED = {"diverged": "f", "diverged_linear": "f_lin", "diverged_infinite": "f_inf"}


def _metric(widths: list[int], values: np.ndarray) -> dict[str, Any]:
    """Means [w], standard errors [w] and fits of values [s, w]."""
    count = np.sum(np.isfinite(values), axis=0)
    mean = [fit.t_interval(v[np.isfinite(v)])[0] for v in values.T]
    error = [
        np.std(v[np.isfinite(v)], ddof=1) / np.sqrt(c) if c > 1 else np.nan
        for v, c in zip(values.T, count, strict=True)
    ]
    return {
        "mean": mean,
        "stderr": error,
        "seeds": count.tolist(),
        "slope": fit.slope_fit(widths, values),
        "local_slopes": fit.local_slopes(widths, values),
        "floor_fit": fit.floor_fit(widths, values),
    }


def _ensemble_metrics(widths: list[int], cells: dict[int, Arrays]) -> dict[str, Any]:
    """The seeds as one ensemble beside the Gaussian process of the limit.

    At the last step, on test points. `ensemble_mean_error`: RMS of mean over seeds of f
    minus the process's mean, in units of the standard error that the process implies
    (1 if seeds were its draws). `ensemble_variance_ratio`: variance over seeds over the
    process's variance, both averaged over points and outputs. `ensemble_coverage`:
    share of outputs inside the process's own 95 % intervals, with its standard error
    over seeds (outputs of one seed depend on each other).
    """
    errors, ratios, shares, spreads = [], [], [], []
    for m in widths:
        cell = cells[m]
        kept = ~diverged(cell)["f"]
        n = cell["outputs"].shape[2] - cell["n_test"]
        f = cell["outputs"][kept][:, -1, n:].astype(np.float64)
        mean, variance = cell["ensemble_mean"][n:], cell["ensemble_variance"][n:]
        if len(f) < 2:
            for values in (errors, ratios, shares, spreads):
                values.append(np.nan)
            continue
        scale = np.sqrt(np.mean(variance) / len(f))
        errors.append(np.sqrt(np.mean((f.mean(0) - mean) ** 2)) / scale)
        ratios.append(np.mean(f.var(0, ddof=1)) / np.mean(variance))
        inside = np.abs(f - mean) < INTERVAL * np.sqrt(variance)
        each = np.mean(inside, axis=(1, 2))
        shares.append(np.mean(each))
        spreads.append(np.std(each, ddof=1) / np.sqrt(len(each)))
    nothing = [np.nan] * len(widths)
    return {
        "ensemble_mean_error": _alone(errors, nothing, "tends to 1"),
        "ensemble_variance_ratio": _alone(ratios, nothing, "tends to 1"),
        "ensemble_coverage": _alone(shares, spreads, "tends to 0.95"),
    }


def _alone(means: list, errors: list, said: str) -> dict[str, Any]:
    """A metric of all seeds together, which has no exponent."""
    return {
        "mean": means,
        "stderr": errors,
        "slope": {"value": np.nan, "ci95": [np.nan, np.nan], "seeds": 0},
        "local_slopes": [],
        "floor_fit": None,
        "expected": {"slope": None, "source": f"{said}; no power law", "status": None},
        "missing": "",
    }
