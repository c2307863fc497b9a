"""Terjek & Gonzalez-Sanchez 2022, at initialization: the smallest eigenvalue."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from zoo.data import load
from zoo.finite.ntk import ntk_by_output
from zoo.infinite.kernels import kernel_matrix
from zoo.infinite.precision import float64
from zoo.models import MLP
from zoo.theory.claims import Arrays
from zoo.theory.runs import by_seed, sweep

DIMENSION = 10  # of the points of `sphere`
SIGMA_W, SIGMA_B = 1.5, 0.1


def network(
    width: int,
    depth: int = 2,
    activation: str = "erf",
    sigma_w: float = SIGMA_W,
    parameterization: str = "ntk",
    train_layers: str = "all",
) -> MLP:
    """The function of `zoo.models.TerjekMLP`, in any parameterization."""
    return MLP(
        width,
        depth,
        1,
        activation,
        sigma_w,
        SIGMA_B,
        parameterization,
        train_layers=train_layers,
    )


def grouped(values: np.ndarray, size: int) -> np.ndarray:
    """Seeds [s, ...] in groups [g, size, ...]; those left over are left out."""
    groups = len(values) // size
    return values[: groups * size].reshape(groups, size, *values.shape[1:])


def tangent_kernel(net: Any, params: Any, x: jax.Array) -> Float[Array, "n n"]:
    """Theta of a network with one output."""
    return ntk_by_output(net, params, x)[0, :, 0]


def points(key: jax.Array, n: int, tail: Any = 0.0) -> Float[Array, "n d"]:
    """Random directions times sqrt(d) r, log r ~ N(0, tail^2) but for mean r^2 = 1."""
    for_directions, for_radii = jax.random.split(key)
    x = jax.random.normal(for_directions, (n, DIMENSION))
    x = x / jnp.linalg.norm(x, axis=1, keepdims=True)
    r = jnp.exp(tail * jax.random.normal(for_radii, (n, 1)))
    return DIMENSION**0.5 * x * r / jnp.sqrt(jnp.mean(r**2))


def measure_spectrum(
    widths: Sequence[int],
    seeds: int,
    n: int,
    depth: int = 2,
    activation: str = "erf",
    **options: Any,
) -> dict[str, np.ndarray]:
    """Extreme eigenvalues of Theta_0 on n points of the sphere.

    Args:
        widths: m.
        seeds: initializations.
        n: points.
        depth: of the network and of its limit.
        activation: of both.
        options: of the network, not of its limit.

    Returns:
        widths [w]; low, high [s, w]: eigenvalues; distance [s, w]: of Theta_0 from the
        limit, relative; limit_low, limit_high: eigenvalues of the limit.
    """
    x = load("sphere", n, 1).x_train.astype(float)
    limit = kernel_matrix(network(1, depth, activation), x)
    values = np.linalg.eigvalsh(limit)

    def at(width: int) -> dict[str, np.ndarray]:
        net = network(width, depth, activation, **options)

        def measure(key: jax.Array) -> dict[str, jax.Array]:
            inputs, theta_inf = jnp.asarray(x), jnp.asarray(limit)
            theta = tangent_kernel(net, net.init(key, inputs)["params"], inputs)
            found = jnp.linalg.eigvalsh(theta)
            error = jnp.linalg.norm(theta - theta_inf) / jnp.linalg.norm(theta_inf)
            return {"low": found[0], "high": found[-1], "distance": error}

        with float64():
            return by_seed(measure, seeds, width, together=1)

    sizes = {"limit_low": values[0], "limit_high": values[-1]}
    found = sweep(widths, at)
    return {"widths": np.asarray(widths)} | sizes | found


GROUP = 8  # seeds whose spread is one number


def spread(arrays: Arrays) -> np.ndarray:
    """Standard deviation of lambda_min(Theta_0) over the seeds of a group [g, w]."""
    return grouped(arrays["low"], GROUP).std(axis=1, ddof=1)


def distance(arrays: Arrays) -> np.ndarray:
    """Root mean square of lambda_min(Theta_0) - lambda_min(Theta_inf) [g, w]."""
    apart = grouped(arrays["low"], GROUP) - arrays["limit_low"]
    return np.sqrt(np.mean(apart**2, axis=1))
