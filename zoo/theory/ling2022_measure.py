"""The deep equilibrium network of `zoo.theory.ling2022`, and what is measured on it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from zoo.infinite.precision import float64
from zoo.theory.implicit import (
    Params,
    descend,
    operator_norm,
    record_times,
    root,
    signs,
    smallest_eigenvalue,
    sphere_points,
)
from zoo.theory.runs import by_seed, sweep

S = 0.08**0.5
NORM = 2 * 2**0.5 * S  # of W, in the limit


def draw(key: jax.Array, m: int, d: int, variance: float, s: float = S) -> dict:
    """W, U and a; `variance` is that of W in units of s^2 / m, 2 in the paper."""
    for_W, for_U, for_a = jax.random.split(key, 3)
    return {
        "W": jax.random.normal(for_W, (m, m)) * s * (variance / m) ** 0.5,
        "U": jax.random.normal(for_U, (m, d)) * (2 / d) ** 0.5,
        "a": jax.random.normal(for_a, (m,)) * m**-0.5,
    }


def equilibria(params: Params, x: Float[Array, "n d"]) -> jax.Array:
    """Z, [m, n]."""
    return root(jax.nn.relu, params["W"], params["U"] @ x.T)


def apply(params: Params, x: Float[Array, "n d"]) -> jax.Array:
    """f, [n, 1]."""
    return (params["a"] @ equilibria(params, x))[:, None]


def dual(c: jax.Array) -> jax.Array:
    """Q: twice the covariance of relu's of unit Gaussians with covariance c."""
    c = jnp.clip(c, -1.0, 1.0)
    return (jnp.sqrt(1 - c**2) + (jnp.pi - jnp.arccos(c)) * c) / jnp.pi


def limit_grams(x: Float[Array, "n d"], s: float, depth: int) -> jax.Array:
    """K^(1), ..., K^(depth), the limits of G^(l) / m; [depth, n, n].

    G^(l) is of z_l = relu(W z_{l-1} + U x), z_0 = 0; as inputs have norm sqrt(d), its
    pre-activations have the variance 2 q, q_l = s^2 q_{l-1} + 1.
    """
    same = x @ x.T / x.shape[1]

    def step(state: tuple, _: None) -> tuple:
        gram, q = state
        c, q = s**2 * gram + same, s**2 * q + 1.0
        gram = q * dual(c / q)
        return (gram, q), gram

    zero = jnp.zeros_like(same)
    return jax.lax.scan(step, (zero, jnp.zeros(())), None, length=depth)[1]


def measure_training(
    widths: tuple[int, ...],
    seeds: int,
    n: int,
    steps: int,
    share: float = 0.5,
    s: float = S,
    variance: float = 2.0,
    size: float = 1.0,
    trained: str = "WUa",
) -> dict[str, np.ndarray]:
    """Gradient descent: the loss, |W| and lambda_min(G) along it.

    Returns:
        widths [w], times [t]; loss, gradient, norm, smallest [s, w, t]; rate [s, w].
    """
    times = record_times(steps)

    def at(m: int) -> dict[str, np.ndarray]:
        rate = share / (n * m)

        def observed(params: Params, x: jax.Array) -> dict[str, jax.Array]:
            return {
                "norm": operator_norm(params["W"]),
                "smallest": smallest_eigenvalue(equilibria(params, x)),
            }

        def measure(key: jax.Array) -> dict[str, jax.Array]:
            for_x, for_y, for_w = jax.random.split(key, 3)
            x, y = sphere_points(for_x, n, n), size * signs(for_y, n)
            start = draw(for_w, m, n, variance, s)
            found = descend(apply, observed, start, x, y, rate, times, trained)
            return found | {"rate": jnp.asarray(rate)}

        return by_seed(measure, seeds, m, together=1)

    return {"widths": np.asarray(widths), "times": times} | sweep(widths, at)


def measure_gram(
    widths: tuple[int, ...],
    seeds: int,
    n: int,
    variance: float = 2.0,
    symmetric: bool = False,
) -> dict[str, np.ndarray]:
    """G at initialization beside its limit m K.

    Returns:
        widths [w]; error |G/m - K|_F / |K|_F, smallest lambda_min(G) / (m lambda*)
        [s, w].
    """

    def at(m: int) -> dict[str, np.ndarray]:
        def measure(key: jax.Array) -> dict[str, jax.Array]:
            for_x, for_w = jax.random.split(key)
            x, params = sphere_points(for_x, n, n), draw(for_w, m, n, variance)
            if symmetric:
                params["W"] = (params["W"] + params["W"].T) * 2**-0.5
            Z, K = equilibria(params, x), limit_grams(x, S, 40)[-1]
            return {
                "error": jnp.linalg.norm(Z.T @ Z / m - K) / jnp.linalg.norm(K),
                "smallest": smallest_eigenvalue(Z) / m / jnp.linalg.eigvalsh(K)[0],
            }

        return by_seed(measure, seeds, m, together=1)

    return {"widths": np.asarray(widths)} | sweep(widths, at)


def measure_width(
    sizes: tuple[int, ...],
    seeds: int,
    most: int,
    d: int | None = None,
    halvings: int = 12,
    variance: float = 2.0,
) -> dict[str, np.ndarray]:
    """The smallest width with lambda_0 >= m lambda* / 2, by bisection.

    A network of width m is the first m units of one of width `most` n, rescaled.

    Args:
        sizes: numbers of points n.
        seeds: how many.
        most: the largest width tried, in units of n.
        d: inputs; None is n.
        halvings: of the interval from 1 to `most` n.
        variance: of W.

    Returns:
        sizes [w]; width [s, w], NaN where the largest is too small.
    """

    def at(n: int) -> dict[str, np.ndarray]:
        largest = most * n

        def measure(key: jax.Array) -> dict[str, jax.Array]:
            for_x, for_w = jax.random.split(key)
            x = sphere_points(for_x, n, d or n)
            params = draw(for_w, largest, d or n, variance)
            asked = jnp.linalg.eigvalsh(limit_grams(x, S, 40)[-1])[0] / 2

            def enough(m: jax.Array) -> jax.Array:
                kept = (jnp.arange(float(largest)) < m).astype(x.dtype)
                W = params["W"] * kept[None] * jnp.sqrt(largest / m)
                Z = equilibria({"W": W, "U": kept[:, None] * params["U"]}, x)
                Z = kept[:, None] * Z
                return smallest_eigenvalue(Z) >= m * asked

            def halve(_: Any, ends: tuple) -> tuple:
                low, high = ends
                middle = (low + high) / 2
                good = enough(middle)
                return jnp.where(good, low, middle), jnp.where(good, middle, high)

            ends = (jnp.ones(()), jnp.full((), float(largest)))
            _, width = jax.lax.fori_loop(0, halvings, halve, ends)
            found = enough(jnp.full((), float(largest)))
            return {"width": jnp.where(found, width, jnp.nan)}

        return by_seed(measure, seeds, n, together=1)

    return {"sizes": np.asarray(sizes)} | sweep(sizes, at)


def measure_depth(
    width: int, seeds: int, n: int, depth: int, variance: float = 2.0, s: float = S
) -> dict[str, np.ndarray]:
    """What a network, and its limit, of depth l lack to the equilibrium.

    Returns:
        depths [l]; finite |G - G^(l)|_F / m and limit |K - K^(l)|_F [s, l]; norm |W|
        [s].
    """

    def measure(key: jax.Array) -> dict[str, jax.Array]:
        for_x, for_w = jax.random.split(key)
        x, params = sphere_points(for_x, n, n), draw(for_w, width, n, variance, s)
        u = params["U"] @ x.T

        def step(z: jax.Array, _: None) -> tuple[jax.Array, jax.Array]:
            z = jax.nn.relu(params["W"] @ z + u)
            return z, z.T @ z / width

        grams = jax.lax.scan(step, jnp.zeros_like(u), None, length=8 * depth)[1]
        limits = limit_grams(x, s * (variance / 2) ** 0.5, 8 * depth)
        errors = {
            name: jnp.linalg.norm(each[:depth] - each[-1], axis=(1, 2))
            for name, each in (("finite", grams), ("limit", limits))
        }
        return errors | {"norm": operator_norm(params["W"])}

    with float64():
        return {"depths": np.arange(1, depth + 1)} | by_seed(measure, seeds, width)


def factors(depths: np.ndarray, errors: Float[np.ndarray, "s l"]) -> np.ndarray:
    """By which the error falls from one depth to the next, in the least squares."""
    with np.errstate(divide="ignore", invalid="ignore"):
        logs = np.log(errors)
    logs = np.where(np.isfinite(logs), logs, np.nan)
    return np.exp(np.polyfit(depths, logs.T, 1)[0])
