"""Training of a model that is linear in its parameters, seen from its outputs alone.

Its kernel Theta does not move, so that for any loss L and any optimizer whose steps are
linear in gradients the outputs on any points are, exactly and at any learning rate,

    f_t = f_0 - Theta(., X) c_t,

where the coefficients c, one for each output at each train point, take the optimizer's
steps with dL/df(X) in place of a gradient. No parameters are needed.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int

from zoo.descent.losses import Loss

Product = Callable[[jax.Array], jax.Array]


def coefficients(
    product: Product,
    f0: Float[Array, "n k"],
    y: Float[Array, "n k"],
    loss: Loss,
    optimizer: optax.GradientTransformation,
    times: Int[Array, " t"],
    batches: Int[Array, "steps b"] | None = None,
) -> Float[Array, "t n k"]:
    """The coefficients c after some numbers of steps.

    Args:
        product: c -> Theta(X, X) c on the train points, [n, k] -> [n, k].
        f0: outputs there at initialization.
        y: targets.
        loss: L is the mean over the examples of a step.
        optimizer: with steps linear in gradients.
        times: steps after which coefficients are recorded; increasing.
        batches: examples of every step; None is all of them.
    """

    def step(i, state):
        gradient = loss_gradient(loss, f0 - product(state[0]), y, i, batches)
        return descend(optimizer, state, gradient)

    def record(state, interval):
        start, stop = interval
        state = jax.lax.fori_loop(start, stop, step, state)
        return state, state[0]

    start = jnp.zeros_like(f0)
    intervals = (jnp.concatenate([jnp.zeros_like(times[:1]), times[:-1]]), times)
    _, found = jax.lax.scan(record, (start, optimizer.init(start)), intervals)
    return found


def descend(
    optimizer: optax.GradientTransformation, state: tuple, gradient: jax.Array
) -> Any:
    """One step from the state (c, the optimizer's own)."""
    c, memory = state
    updates, memory = optimizer.update(gradient, memory)
    return c - updates, memory


def loss_gradient(
    loss: Loss, f: jax.Array, y: jax.Array, step: jax.Array, batches: jax.Array | None
) -> jax.Array:
    """dL/df of a step, [n, k]; 0 at examples that it does not see."""
    if batches is None:
        return loss.gradient(f, y) / len(y)
    rows = batches[step]
    seen = loss.gradient(f[rows], y[rows]) / len(rows)
    return jnp.zeros_like(f).at[rows].add(seen)
