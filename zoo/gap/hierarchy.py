"""The neural tangent hierarchy at initialization, and the drift that it predicts.

For each seed, with Theta = K2 the empirical NTK on the train points, all outputs, and
|.| the Frobenius norm:

    K2, K3, K4                root mean square over entries at initialization,
    velocity, acceleration    |d Theta/dt| and |d^2 Theta/dt^2| over |Theta| at t = 0,
    drift                     |Theta_t - Theta_0| / |Theta_0|, by gradient descent and
                              by gradient flow,
    error_first, error_second the flow's Theta_t minus its Taylor polynomial in t, over
                              |Theta_0|,
    error_p3, error_p4        the same minus the K2 of the hierarchy truncated at p,
    output_p2, .._p3, .._p4   root mean square of the flow's f minus the truncation's.

Times are those of the flow; descent is seen where one is a whole number of steps, and
tau = t lambda_max / n is time in units of the fastest mode (of the kernel that sets the
critical rate). Everything is float64: the third power of a small time is below the
rounding of float32. Where an activation has kinks the flow takes fixed steps.
"""

import itertools
from collections.abc import Callable
from functools import lru_cache, partial
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from zoo.descent.losses import LOSSES
from zoo.finite import hierarchy
from zoo.finite.train import train
from zoo.gap import sides, store
from zoo.gap.hierarchy_config import HierarchyConfig
from zoo.gap.hierarchy_summary import summarize
from zoo.gap.programs import initialize
from zoo.gap.run import Experiment, cell_name, hyper_parameters, trained
from zoo.gap.sweep import WHOLE, Cell, Report, Shard, measure_cells, versions
from zoo.infinite.precision import float64

# Times of the flow before the first step of gradient descent, as shares of it.
EARLY = (0.01, 0.03, 0.1, 0.3)
SHARED = ("times", "tau", "steps_taken")
Arrays = dict[str, np.ndarray]


def prepare(
    config: HierarchyConfig, data_dir: str | None = None, allow_divergence=False
) -> Experiment:
    """The main job's experiment on the same networks: data, limit, learning rates.

    Raises:
        ValueError: it refuses the configuration, examples interact so that there is no
            kernel, or the highest kernel does not fit.
    """
    experiment = Experiment(config.base(), data_dir, allow_divergence)
    if not experiment.has_kernel:
        raise ValueError(
            f"--arch={config.arch} has no tangent kernel, since its examples interact."
        )
    config.require_room(experiment.data.y_train.shape[1])
    return experiment


def flow_steps(experiment: Experiment) -> np.ndarray:
    """Times at which the flow is seen, in steps of gradient descent, [t]."""
    steps = experiment.times
    return np.concatenate([[0.0], np.multiply(EARLY, steps[1]), steps[1:]])


def fixed_steps(steps: np.ndarray) -> np.ndarray:
    """A grid through all of the steps, with gaps of at most one step, [g].

    >>> fixed_steps(np.array([0.0, 0.3, 1.0, 3.0])).tolist()
    [0.0, 0.3, 1.0, 2.0, 3.0]
    """
    parts = [
        np.linspace(a, b, int(np.ceil(b - a)), endpoint=False)
        for a, b in itertools.pairwise(steps)
    ]
    return np.concatenate([*parts, steps[-1:]])


def measure(
    config: HierarchyConfig, experiment: Experiment, width: int, seeds: np.ndarray
) -> Arrays:
    """The arrays of one cell; those that `SHARED` does not name have a seed axis."""
    eta = experiment.learning_rate(width)
    net, data = experiment.net(width), experiment.data
    steps = flow_steps(experiment)
    with float64():
        x, y = (jnp.asarray(a) for a in (data.x_train, data.y_train))
        x = x.astype(jnp.float64) if jnp.issubdtype(x.dtype, jnp.floating) else x
        y = y.astype(jnp.float64)
        times = jnp.asarray(eta * steps)
        whole = jnp.asarray(experiment.times)
        smooth = sides.facts(net, experiment.limit_kind, True).smooth
        grid = None if smooth else jnp.asarray(eta * fixed_steps(steps))
        networks = _networks(net, width, config.order)
        seen = networks(jnp.asarray(seeds), x, y, jnp.float64(eta), times, grid, whole)
        ahead = _truncations(seen["kernels"], seen["f"][:, 0], y, times)
        arrays = compare(seen, ahead, np.asarray(y), np.asarray(times))
    taken = np.where(np.isin(steps, experiment.times), steps, np.nan)
    return arrays | {
        "times": eta * steps,
        "tau": 2 * eta * steps / experiment.critical_rate(width),
        "steps_taken": taken,
        "seeds": np.asarray(seeds),
    }


@lru_cache(maxsize=64)
def _networks(net: nn.Module, width: int, order: int) -> Callable:
    """One program per width for what depends on the network."""
    return jax.jit(partial(_seen, net, width, order))


def _seen(net, width, order, seeds, x, y, eta, times, grid, steps) -> dict[str, Any]:
    """Kernels at initialization, their time derivatives, the flow and the descent."""
    network, targets = hierarchy.tangent(net, x), y.ravel()
    first = hierarchy.in_time(network.kernel, network, targets)
    second = hierarchy.in_time(first, network, targets)

    def apply_fn(params: Any, x: jax.Array) -> Any:
        return net.apply({"params": params}, x)

    def observe(params: Any, x: jax.Array) -> tuple[jax.Array, jax.Array]:
        return network.outputs(params), network.kernel(params)

    def one(seed: jax.Array) -> dict[str, Any]:
        drawn = initialize(net, width, seed, x)
        params = jax.tree.map(lambda a: a.astype(jnp.float64), drawn)
        f, theta = hierarchy.flow(network, params, targets, times, grid)
        sgd = optax.sgd(eta)
        descent = train(apply_fn, params, x, y, sgd, steps, observe).outputs
        return {
            "kernels": hierarchy.tangent_kernels(network, params, order),
            "first": first(params),
            "second": second(params),
            "f": f,
            "theta": theta,
            "descent": descent,
        }

    return jax.lax.map(one, seeds)


@jax.jit
def _truncations(kernels, f, y, times) -> dict[str, Any]:
    """Outputs and K2 of the hierarchy truncated at each level, "p2", "p3", ..."""

    def one(seed) -> dict[str, Any]:
        kernels, f = seed
        return {
            f"p{len(some) + 1}": hierarchy.truncated(some, f, y.ravel(), len(y), times)
            for some in (kernels[:i] for i in range(1, len(kernels) + 1))
        }

    return jax.lax.map(one, (kernels, f))


def compare(seen: dict, ahead: dict, y: np.ndarray, times: np.ndarray) -> Arrays:
    """The stored arrays from what was seen of the networks and what was predicted.

    Args:
        seen: see `_seen`.
        ahead: see `_truncations`.
        y: targets, [n, k].
        times: [t].
    """
    seen, ahead = jax.tree.map(np.asarray, (seen, ahead))
    theta, t = seen["theta"], times[:, None, None]
    start = theta[:, :1]
    size = _norm(start)
    linear = start + t * seen["first"][:, None]
    quadratic = linear + 0.5 * t**2 * seen["second"][:, None]
    kernels = {"first": linear, "second": quadratic}
    kernels |= {name: predicted[1] for name, predicted in ahead.items() if name != "p2"}
    out: Arrays = {
        f"K{kernel.ndim - 1}": _rms(kernel.reshape(len(kernel), -1))
        for kernel in seen["kernels"]
    }
    out["velocity"] = _norm(seen["first"]) / size[:, 0]
    out["acceleration"] = _norm(seen["second"]) / size[:, 0]
    f, moved = seen["descent"]
    early = np.full((len(f), len(EARLY)), np.nan)
    steps = {"drift": _norm(moved - start) / size}
    steps["loss"] = 0.5 * y.shape[1] * _rms(f - y.ravel()) ** 2
    for name, values in steps.items():  # at the times of the flow
        out[name] = np.concatenate([values[:, :1], early, values[:, 1:]], axis=1)
    out["drift_flow"] = _norm(theta - start) / size
    out["loss_flow"] = 0.5 * y.shape[1] * _rms(seen["f"] - y.ravel()) ** 2
    for name, kernel in kernels.items():
        out[f"drift_{name}"] = _norm(kernel - start) / size
        out[f"error_{name}"] = _norm(kernel - theta) / size
    for name, (f, _) in ahead.items():
        out[f"output_{name}"] = _rms(f - seen["f"])
    return out


def _norm(a: np.ndarray) -> np.ndarray:
    """Frobenius norm over the last two axes; of a truncation that grew, inf."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.sqrt(np.sum(np.square(a), axis=(-2, -1)))


def _rms(a: np.ndarray) -> np.ndarray:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.sqrt(np.mean(np.square(a), axis=-1))


def run(
    config: HierarchyConfig,
    experiment: Experiment,
    workdir: Path,
    report: Report,
    shard: Shard = WHOLE,
) -> tuple[dict[str, Any], dict[int, Arrays]]:
    """Measures what is missing in `workdir`, and summarizes.

    Args:
        config: what to measure.
        experiment: from `prepare`.
        workdir: opened by `zoo.gap.store.open_workdir`.
        report: called with a message and the share of the work that is done.
        shard: the cells that this process measures.

    Returns:
        the summary, also written to `summary.json`, and all seeds' arrays by width.
    """
    pairs = experiment.cells()
    cells = [
        Cell(
            f"{cell_name(config.arch, width)}-s{seeds[0]}-{seeds[-1]}",
            len(seeds) * ((config.depth or 2) * width**2 + 2**17),
            partial(measure, config, experiment, width, seeds),
        )
        for width, seeds in pairs
    ]
    found, seconds = measure_cells(cells, workdir, config.as_dict(), report, shard)
    parts: dict[int, list[Arrays]] = {}
    for (width, _), arrays in zip(pairs, found, strict=True):
        parts.setdefault(width, []).append(arrays)
    merged = {width: _merge(some) for width, some in parts.items()}
    facts = sides.facts(
        experiment.net(config.widths[0]), experiment.limit_kind, experiment.lazy_rate()
    )
    out = header(config, experiment) | summarize(merged, facts)
    out["seconds"] = seconds
    store.write_json(workdir / "summary.json", out)
    return out, merged


def _merge(parts: list[Arrays]) -> Arrays:
    return {
        name: parts[0][name]
        if name in SHARED
        else np.concatenate([part[name] for part in parts])
        for name in parts[0]
    }


def header(config: HierarchyConfig, experiment: Experiment) -> dict[str, Any]:
    """What the numbers depend on: data, loss, rates, versions."""
    net, widths = experiment.net(config.widths[0]), config.widths
    return {
        "schema": 1,
        "arch": config.arch,
        "dataset": config.dataset,
        "loss": LOSSES["mse"].formula,
        "trained": trained(net),
        "network": hyper_parameters(net),
        "outputs": experiment.data.y_train.shape[1],
        "edge": experiment.edge(),
        "learning_rates": [experiment.learning_rate(m) for m in widths],
        "critical_rates": [experiment.critical_rate(m) for m in widths],
        "widths": list(widths),
        "seeds": config.seeds,
        "limit": experiment.limit_kind._asdict(),
        "config": config.as_dict(),
        "versions": versions(),
    }
