"""Implicit networks z = phi(W z + u): their equations, and their training, observed.

All points at once: z and u are [m, n]. Parameters are a plain dict of arrays, so that a
set-up can be broken where its paper's model would refuse it.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float, Shaped

from zoo.finite.train import train
from zoo.layers.roots import Method, fixed_point, rms
from zoo.theory.claims import Arrays, Axes, Curve, Figure

METHOD = Method("picard", max_steps=500)  # to a few roundings
Params = Mapping[str, jax.Array]
Map = Callable[[Params, jax.Array], jax.Array]


def root(
    phi: Callable[[jax.Array], jax.Array],
    W: Float[Array, "m m"],
    u: Float[Array, "m n"],
    method: Method = METHOD,
) -> jax.Array:
    """The z of z = phi(W z + u), [m, n], differentiable; NaN where none is found."""

    def step(arguments: tuple, z: jax.Array) -> jax.Array:
        W, u = arguments
        return phi(W @ z + u)

    found = fixed_point(step, method, (W, u), u, jax.lax.stop_gradient(rms(u)))
    return jnp.where(found.converged, found.value, jnp.nan)


def smallest_eigenvalue(features: Float[Array, "m n"]) -> jax.Array:
    """Of the Gram matrix of n columns."""
    return jnp.linalg.eigvalsh(features.T @ features)[0]


def operator_norm(W: Float[Array, "m m"]) -> jax.Array:
    """The largest singular value, from the eigenvalues of W^T W."""
    return jnp.sqrt(jnp.linalg.eigvalsh(W.T @ W)[-1])


def train_some(apply_fn: Map, trained: str, params: Params, x: jax.Array) -> jax.Array:
    """A network of which only the parameters named in `trained` feel a gradient."""
    held = {
        k: v if k in trained else jax.lax.stop_gradient(v) for k, v in params.items()
    }
    return apply_fn(held, x)


def descend(
    apply_fn: Map,
    observed: Callable[[Params, jax.Array], dict[str, jax.Array]],
    params: Params,
    x: Shaped[Array, "n d"],
    y: Float[Array, "n 1"],
    rate: Any,
    times: np.ndarray,
    trained: str,
) -> dict[str, jax.Array]:
    """Gradient descent on Phi = 1/2 sum_i (f(x_i) - y_i)^2.

    Args:
        apply_fn: (params, x) -> f, [n, 1].
        observed: (params, x) -> what else is recorded.
        params: at initialization; a key is one letter.
        x: points.
        y: targets.
        rate: eta.
        times: steps after which things are recorded, from 0.
        trained: keys of the parameters that move.

    Returns:
        [t] each: "loss" Phi, "gradient" |grad Phi|^2 of what is trained, and what is
        observed.
    """
    network = partial(train_some, apply_fn, trained)

    def loss(params: Params) -> jax.Array:
        return 0.5 * jnp.sum((network(params, x) - y) ** 2)

    def observe(params: Params, x: jax.Array) -> dict[str, jax.Array]:
        value, gradient = jax.value_and_grad(loss)(params)
        size = jnp.sum(jnp.stack([jnp.sum(leaf**2) for leaf in gradient.values()]))
        return {"loss": value, "gradient": size} | observed(params, x)

    steps = optax.sgd(len(y) * rate)  # `train` descends the mean over examples
    return train(network, params, x, y, steps, jnp.asarray(times), observe).outputs


def worst_excess(
    loss: Float[np.ndarray, "*s t"], rate: Any, times: np.ndarray
) -> np.ndarray:
    """max_t Phi(t) / ((1 - rate)^t Phi(0)) over the records after the first, [*s]."""
    log_bound = times * np.log1p(-np.asarray(rate))[..., None]
    return np.exp(np.log(loss / loss[..., :1]) - log_bound)[..., 1:].max(axis=-1)


def record_times(steps: int, count: int = 12) -> np.ndarray:
    """0, and steps at even distances in the logarithm."""
    return np.unique(np.append(0, np.geomspace(1, steps, count).astype(int)))


def sphere_points(key: jax.Array, n: int, d: int) -> jax.Array:
    """Uniform on the sphere of radius sqrt(d), [n, d]."""
    x = jax.random.normal(key, (n, d))
    return x * d**0.5 / jnp.linalg.norm(x, axis=1, keepdims=True)


def signs(key: jax.Array, n: int) -> jax.Array:
    """Random labels of -1 and 1, [n, 1]."""
    return jax.random.rademacher(key, (n, 1), jnp.zeros(()).dtype)


def bound_ratio(arrays: Arrays) -> np.ndarray:
    """max_t Phi(t) / ((1 - eta lambda_0 / 2)^t Phi(0)), [s, w]."""
    rate = arrays["rate"] * arrays["smallest"][..., 0] / 2
    return worst_excess(arrays["loss"], rate, arrays["times"])


def gradient_ratio(arrays: Arrays) -> np.ndarray:
    """max_t 2 lambda_min(G) Phi / |grad Phi|^2, [s, w]."""
    return (2 * arrays["smallest"] * arrays["loss"] / arrays["gradient"]).max(axis=-1)


def kept_share(arrays: Arrays) -> np.ndarray:
    """min_t lambda_min(G(t)) / lambda_0, [s, w]."""
    return (arrays["smallest"] / arrays["smallest"][..., :1]).min(axis=-1)


def training_figure(
    a: Arrays, letter: str, sizes: np.ndarray, caption: str, norm: str
) -> Figure:
    """Loss, norm and smallest eigenvalue along gradient descent, beside their bounds.

    Args:
        a: "loss", "norm" and "smallest" [s, w, t], "rate" [s, w], "times" [t].
        letter: of what is varied.
        sizes: its values [w]; the bound of the loss is drawn for the last.
        caption: first sentence.
        norm: what has to stay below 1.
    """
    times = a["times"][1:]

    def curves(values: np.ndarray) -> list[Curve]:
        return [
            Curve(f"{letter} = {size}", times, values[:, i, 1:])
            for i, size in enumerate(sizes)
        ]

    slowest = (a["rate"] * a["smallest"][..., 0] / 2)[:, -1, None]
    bound = (1 - slowest) ** times
    ones = np.ones(len(times))
    return Figure(
        "training",
        f"{caption} Left: the loss, below the bound of the linear rate. Middle: the "
        "norm that has to stay below 1. Right: the smallest eigenvalue of the Gram "
        "matrix, which has to stay above half of its first value.",
        [
            Axes(
                "loss",
                "step t",
                "Phi(t) / Phi(0)",
                [
                    *curves(a["loss"] / a["loss"][..., :1]),
                    Curve("(1 - eta lambda_0 / 2)^t", times, bound, "dashed", True),
                ],
            ),
            Axes(
                "well-posedness",
                "step t",
                norm,
                [*curves(a["norm"]), Curve("1", times, ones, "dashed", True)],
                log_y=False,
            ),
            Axes(
                "Gram matrix",
                "step t",
                "lambda_min(G(t)) / lambda_0",
                [
                    *curves(a["smallest"] / a["smallest"][..., :1]),
                    Curve("1/2", times, ones / 2, "dashed", True),
                ],
                log_y=False,
            ),
        ],
    )
