"""Terjek & Gonzalez-Sanchez 2022, along training: rates, solutions, laziness."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from zoo.data import load
from zoo.finite.train import train
from zoo.gap import lr_edges, lr_runs
from zoo.infinite.kernels import kernel_matrix
from zoo.infinite.precision import float64
from zoo.theory.claims import Arrays
from zoo.theory.runs import by_seed, sweep
from zoo.theory.terjek2022_init import grouped, network, tangent_kernel

RECORDS = 32


def tree_norm(tree: Any) -> jax.Array:
    """Euclidean norm of all leaves together."""
    return jnp.sqrt(sum(jnp.sum(leaf**2) for leaf in jax.tree.leaves(tree)))


def measure_training(
    widths: Sequence[int],
    seeds: int,
    n: int,
    steps: int,
    share: float = 0.5,
    depth: int = 2,
    **options: Any,
) -> dict[str, np.ndarray]:
    """Gradient descent beside its linearization, both from Theta_0.

    Args:
        widths: m.
        seeds: initializations.
        n: points of the sphere.
        steps: of gradient descent.
        share: eta lambda_max(Theta_0) / (2 n).
        depth: of the network and of its limit.
        options: of the network.

    Returns:
        widths [w], times [t]; of each seed and width [s, w, t]: loss, over that at the
        start; allowed, (1 - eta lambda_min / (2 n))^t; lazy, |f - f_lin| / |f_0 - y|;
        low, lambda_min(Theta_t) / lambda_min(Theta_0); drift, |Theta_t - Theta_0| /
        |Theta_0|; moved, |theta_t - theta_0|; and [s, w]: decay, -2 log(1 - eta
        lambda_min / n); least, the norm of the minimum-norm solution theta_lin of the
        linearized network; off, |theta_T - theta_lin|; radius, 4 lambda_max^1/2
        |f_0 - y| / lambda_min. limit_decay is the decay at infinite width.
    """
    data = load("sphere", n, 1)
    times = np.unique(np.linspace(0, steps, RECORDS).astype(int))

    def at(width: int) -> dict[str, np.ndarray]:
        net = network(width, depth, **options)

        def apply(params: Any, x: jax.Array) -> Any:
            return net.apply({"params": params}, x)

        def measure(key: jax.Array) -> dict[str, jax.Array]:
            x = jnp.asarray(data.x_train, float)
            y = jnp.asarray(data.y_train, float)
            params = net.init(key, x)["params"]
            f0, pull = jax.vjp(lambda p: apply(p, x), params)
            theta = tangent_kernel(net, params, x)
            values, vectors = jnp.linalg.eigh(theta)
            rate = share * 2 * n / values[-1]
            residual = vectors.T @ (f0 - y)[:, 0]
            factors = (1 - rate * values / n) ** jnp.asarray(times)[:, None]
            linear = y[:, 0] + (factors * residual) @ vectors.T
            step = pull((vectors @ (-residual / values))[:, None])[0]

            def observe(params: Any, x: jax.Array) -> tuple:
                away = jax.tree.map(jnp.subtract, params, now)
                kernel = tangent_kernel(net, params, x)
                lowest = jnp.linalg.eigvalsh(kernel)[0]
                change = jnp.linalg.norm(kernel - theta) / jnp.linalg.norm(theta)
                return apply(params, x)[:, 0], tree_norm(away), lowest, change

            now = params
            (f, moved, low, drift), end = train(
                apply, params, x, y, optax.sgd(rate), jnp.asarray(times), observe
            )
            size = jnp.linalg.norm(residual)
            off = jax.tree.map(lambda a, b, c: a - b - c, end, params, step)
            return {
                "loss": jnp.sum((f - y[:, 0]) ** 2, axis=1) / size**2,
                "allowed": (1 - rate * values[0] / (2 * n)) ** jnp.asarray(times),
                "lazy": jnp.linalg.norm(f - linear, axis=1) / size,
                "low": low / values[0],
                "drift": drift,
                "moved": moved,
                "decay": -2 * jnp.log(jnp.abs(1 - rate * values[0] / n)),
                "least": tree_norm(step),
                "off": tree_norm(off),
                "radius": 4 * jnp.sqrt(values[-1]) * size / values[0],
            }

        with float64():
            return by_seed(measure, seeds, width, together=1)

    limit = np.linalg.eigvalsh(kernel_matrix(network(1, depth), data.x_train))
    decay = np.asarray(-2 * np.log(abs(1 - 2 * share * limit[0] / limit[-1])))
    where = {"widths": np.asarray(widths), "times": times, "limit_decay": decay}
    return where | sweep(widths, at)


def measure_rates(
    widths: Sequence[int], seeds: int, n: int, steps: int, **options: Any
) -> dict[str, np.ndarray]:
    """The largest rate at which the loss stays below its start, and the best one.

    Args:
        widths: m.
        seeds: initializations.
        n: points of the sphere.
        steps: of gradient descent, in float32.
        options: of the network.

    Returns:
        widths [w]; edge, best, critical (2 n / lambda_max of Theta_0) [s, w].
    """
    data, each = load("sphere", n, 1), np.arange(seeds)
    ladder = 2.0 ** (np.arange(-9, 9) / 6)

    def at(width: int) -> dict[str, np.ndarray]:
        setting = (network(width, **options), width, steps, len(ladder), 2**28)
        values = lr_runs.initial(setting, each, len(ladder), data)["eigenvalues"]
        critical = 2 * n / values[:, -1]
        runs = lr_runs.sweep(setting, each, critical[:, None] * ladder, data)
        best = lr_edges.best(runs).rate
        return {"edge": first_growth(runs), "best": best, "critical": critical}

    return {"widths": np.asarray(widths)} | sweep(widths, at)


def first_growth(runs: dict[str, np.ndarray]) -> np.ndarray:
    """Where the loss first exceeds its start, between two rates that were tried [s].

    NaN where it does at the smallest of them or at none.
    """
    grows = ~(runs["peak"] <= 1.001 * runs["start"])
    place = np.argmax(grows, axis=1)
    rates, row = runs["rates"], np.arange(len(place))
    between = np.sqrt(rates[row, place] * rates[row, np.maximum(place - 1, 0)])
    return np.where(place > 0, between, np.nan)


def late_rate(arrays: Arrays, most: float = 1e-8, least: float = 1e-24) -> np.ndarray:
    """-slope of the log loss where it is between two shares of its start, [s, w].

    NaN where fewer than two records are.
    """
    out = np.full(arrays["decay"].shape, np.nan)
    for place in np.ndindex(out.shape):
        loss = arrays["loss"][place]
        late = np.flatnonzero((loss < most) & (loss > least))
        if len(late) > 1:
            first, last = late[[0, -1]]
            fall = np.log(loss[first] / loss[last])
            out[place] = fall / (arrays["times"][last] - arrays["times"][first])
    return out


def excess(arrays: Arrays, group: int = 4) -> np.ndarray:
    """Root mean square of |theta_T - theta_0| / |theta_lin - theta_0| - 1 [g, w]."""
    apart = arrays["moved"][..., -1] / arrays["least"] - 1
    return np.sqrt(np.mean(grouped(apart, group) ** 2, axis=1))
