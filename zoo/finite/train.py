"""Gradient descent on the network itself.

The loss is the mean over points of half the squared distance,

    L(f) = 1/(2n) sum_i |f(x_i) - y_i|^2        (sum over outputs, mean over points),

so that in function space a step of rate eta is f <- f - (eta / n) Theta (f - y), and
time is t = eta * steps.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Shaped


class Trajectory(NamedTuple):
    """Training seen from outside.

    Attributes:
        outputs: f at the recorded steps on all points, [t, N, k]; or what is observed.
        params: parameters after the last recorded step.
    """

    outputs: Any
    params: Any


def mse(f: Float[Array, "n k"], y: Float[Array, "n k"]) -> Float[Array, ""]:
    """Mean over points of half the squared distance; see the module's docstring."""
    return 0.5 * jnp.mean(jnp.sum((f - y) ** 2, axis=-1))


def train(
    apply_fn: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    x: Shaped[Array, "N ..."],
    y: Float[Array, "n k"],
    optimizer: optax.GradientTransformation,
    times: Int[Array, " t"],
    observe: Callable[[Any, jax.Array], Any] | None = None,
    warm: Callable[[Any, jax.Array, Any], tuple[jax.Array, Any]] | None = None,
) -> Trajectory:
    """Full-batch training of all trained parameters, recorded at given steps.

    One traced program for any number of steps: a scan over the records around a loop
    over the steps between two of them.

    Args:
        apply_fn: the network, (params, x) -> f.
        params: parameters at initialization.
        x: points [N, ...]; the first n are trained on, all are recorded.
        y: targets of the first n points.
        optimizer: an optax optimizer.
        times: steps after which outputs are recorded; increasing, from 0.
        observe: (params, x) -> what is recorded instead, a tree of arrays.
        warm: (params, x, carried) -> (f, carried), a network that starts each step's
            searches from what the step before has found; {} is nothing found yet.

    Returns:
        the `Trajectory`.
    """
    x_train = x[: y.shape[0]]
    network = warm or (lambda params, x, carried: (apply_fn(params, x), carried))

    def loss(params: Any, carried: Any) -> tuple[jax.Array, Any]:
        f, carried = network(params, x_train, carried)
        return mse(f, y), carried

    def step(_, state):
        params, memory, carried = state
        gradient, carried = jax.grad(loss, has_aux=True)(params, carried)
        updates, memory = optimizer.update(gradient, memory, params)
        return optax.apply_updates(params, updates), memory, carried

    def record(state, interval):
        start, stop = interval
        state = jax.lax.fori_loop(start, stop, step, state)
        return state, (observe or apply_fn)(state[0], x)

    intervals = (jnp.concatenate([times[:1], times[:-1]]), times)
    carried = network(params, x_train, {})[1]
    start = (params, optimizer.init(params), carried)
    (params, *_), outputs = jax.lax.scan(record, start, intervals)
    return Trajectory(outputs, params)
