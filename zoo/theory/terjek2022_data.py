"""Terjek & Gonzalez-Sanchez 2022: what the data and the activation do to Theta_0."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from numpy.polynomial.hermite_e import hermegauss, hermevander
from scipy.special import gammaln

from zoo.finite.train import train
from zoo.infinite.kernels import kernel_fn
from zoo.infinite.precision import float64
from zoo.layers import ACTIVATIONS
from zoo.theory.claims import Arrays
from zoo.theory.runs import by_seed
from zoo.theory.terjek2022_init import (
    DIMENSION,
    SIGMA_B,
    SIGMA_W,
    network,
    points,
    tangent_kernel,
)

SMOOTH = ("erf", "tanh", "gelu", "sin", "softplus")
DEGREES, NODES = 24, 200
FOLDS = 3.0  # time constants of the slowest residual


def lowest(net: Any, key: jax.Array, x: jax.Array) -> jax.Array:
    """lambda_min of Theta_0."""
    return jnp.linalg.eigvalsh(tangent_kernel(net, net.init(key, x)["params"], x))[0]


def measure_dependence(
    width: int,
    seeds: int,
    counts: Sequence[int],
    depths: Sequence[int],
    activations: Sequence[str] = SMOOTH,
    growth: float = 0.0,
    **options: Any,
) -> dict[str, np.ndarray]:
    """lambda_min(Theta_0) against points, depth and activation, beside lower bounds.

    Args:
        width: m.
        seeds: draws of the points and of the network.
        counts: numbers of points, increasing; each set holds the one before.
        depths: numbers of hidden layers, consecutive and from 2 on.
        activations: of a network of one hidden layer, on the fewest points.
        growth: n points have norms times n^growth.
        options: of the networks, not of their limits.

    Returns:
        counts, depths; by_count [s, n], by_depth and depth_bound [s, L], by_activation
        and activation_bound [s, a].
    """
    squares = jnp.stack([jnp.asarray(hermite_squares(name)) for name in activations])

    def measure(key: jax.Array) -> dict[str, jax.Array]:
        for_points, key = jax.random.split(key)
        x = points(for_points, counts[-1])
        few, found = x[: counts[0]], {}
        deep = network(width, **options)
        found["by_count"] = jnp.stack(
            [lowest(deep, key, x[:n] * float(n) ** growth) for n in counts]
        )
        found["by_depth"] = jnp.stack(
            [lowest(network(width, depth, **options), key, few) for depth in depths]
        )
        found["depth_bound"] = jnp.stack([schur_bound(depth, few) for depth in depths])
        found["by_activation"] = jnp.stack(
            [lowest(network(width, 1, phi, **options), key, few) for phi in activations]
        )
        found["activation_bound"] = jnp.max(squares * lowest_powers(few), axis=1)
        return found

    with float64():
        found = by_seed(measure, seeds, width, together=1)
    return {"counts": np.asarray(counts), "depths": np.asarray(depths)} | found


def schur_bound(depth: int, x: Float[Array, "n d"]) -> jax.Array:
    """lambda_min(Theta_{L-1}) min_i sigma_w^2 K'_L(x_i, x_i), at most that of Theta_L.

    For Theta_L = K_L + sigma_w^2 K'_L o Theta_{L-1}, by Schur's product theorem.
    """
    before = kernel_fn(network(1, depth - 1))(x, get="ntk")
    after = kernel_fn(network(1, depth))(x, get=("nngp", "ntk"))
    gain = jnp.diag(after.ntk - after.nngp) / jnp.diag(before)
    return jnp.linalg.eigvalsh(before)[0] * jnp.min(gain)


def hermite_squares(activation: str) -> np.ndarray:
    """sigma_w^2 (1 + k) a_k^2 for phi(sqrt(q) z) = sum_k a_k he_k(z), [k].

    he_k is of norm 1 for z ~ N(0, 1), and q = sigma_w^2 + sigma_b^2. With rho_ij the
    correlations of the pre-activations, powers taken entry by entry, one hidden layer
    on the sphere has Theta = sigma_b^2 + sum_k sigma_w^2 (1 + k) a_k^2 rho^k.
    """
    nodes, weights = hermegauss(NODES)
    q = SIGMA_W**2 + SIGMA_B**2
    with float64():
        values = np.asarray(ACTIVATIONS[activation].fn(jnp.asarray(q**0.5 * nodes)))
    norms = np.exp(gammaln(np.arange(DEGREES) + 1) / 2)
    basis = hermevander(nodes, DEGREES - 1) / norms
    a = (weights * values) @ basis / np.sqrt(2 * np.pi)
    return SIGMA_W**2 * (1 + np.arange(DEGREES)) * a**2


def lowest_powers(x: Float[Array, "n d"]) -> jax.Array:
    """lambda_min of rho^k, [k]."""
    rho = (SIGMA_W**2 * x @ x.T / DIMENSION + SIGMA_B**2) / (SIGMA_W**2 + SIGMA_B**2)
    powers = rho[None] ** jnp.arange(DEGREES)[:, None, None]
    return jnp.maximum(jnp.linalg.eigvalsh(powers)[:, 0], 0.0)


def measure_moments(
    width: int,
    seeds: int,
    n: int,
    steps: int,
    tails: Sequence[float],
    depths: Sequence[int] = (1, 2, 3),
    activation: str = "gelu",
) -> dict[str, np.ndarray]:
    """Heavy-tailed norms against the sphere, at equal second moments.

    Args:
        width: m.
        seeds: draws of the points and of the network.
        n: points.
        steps: of gradient descent at half of the critical rate, at most; it ends when
            the slowest residual of the linearized network is e^-3 of its start.
        tails: standard deviations of log |x|; 0 is the sphere.
        depths: of the networks.
        activation: of the networks.

    Returns:
        depths, tails; of each seed, depth and tail [s, L, r]: share, lambda_min over
        the mean of the diagonal; start, |Theta_0 - Theta_inf|_2 / lambda_min of
        Theta_inf; drift, |Theta_T - Theta_0|_2 / lambda_min of Theta_0; and fourth
        [s, r], mean |x|^4 / (mean |x|^2)^2.
    """

    def one(depth: int, key: jax.Array, x: jax.Array) -> dict[str, jax.Array]:
        net = network(width, depth, activation)
        for_net, for_labels = jax.random.split(key)

        def apply(params: Any, x: jax.Array) -> Any:
            return net.apply({"params": params}, x)

        params = net.init(for_net, x)["params"]
        y = jax.random.rademacher(for_labels, (n, 1), x.dtype)
        theta, limit = tangent_kernel(net, params, x), kernel_fn(net)(x)
        values = jnp.linalg.eigvalsh(theta)
        last = jnp.minimum(FOLDS * values[-1] / values[0], steps)
        times, step = jnp.ceil(last)[None].astype(int), optax.sgd(n / values[-1])
        end = train(apply, params, x, y, step, times).params
        drift = tangent_kernel(net, end, x) - theta
        low = jnp.linalg.eigvalsh(limit)[0]
        return {
            "share": values[0] * n / jnp.sum(values),
            "start": jnp.linalg.norm(theta - limit, 2) / low,
            "drift": jnp.linalg.norm(drift, 2) / values[0],
        }

    def at(pair: tuple[jax.Array, jax.Array]) -> tuple[dict, jax.Array]:
        key, tail = pair
        for_points, for_run = jax.random.split(key)
        x = points(for_points, n, tail)
        each = [one(depth, for_run, x) for depth in depths]
        fourth = jnp.mean(jnp.sum(x**2, 1) ** 2) / DIMENSION**2
        return jax.tree.map(lambda *a: jnp.stack(a), *each), fourth

    def measure(key: jax.Array) -> dict[str, jax.Array]:
        keys = jax.random.split(key, len(tails))
        found, fourth = jax.lax.map(at, (keys, jnp.asarray(tails)))
        return {name: each.T for name, each in found.items()} | {"fourth": fourth}

    with float64():
        found = by_seed(measure, seeds, width, together=1)
    return {"depths": np.asarray(depths), "tails": np.asarray(tails)} | found


def log_ratio(arrays: Arrays, name: str) -> np.ndarray:
    """Log of the heaviest tail's value over the sphere's [s, L]."""
    return np.log(arrays[name][..., -1] / arrays[name][..., 0])
