"""Gradient descent on the network itself.

With F = alpha (f - f_0), or F = f, what falls is L(F) / alpha^2, L the mean of a loss
over examples (Chizat, Oyallon & Bach 2019): to first order a step of rate eta moves F
by -eta Theta dL/dF whatever alpha is, and time is t = eta * steps.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float, Int, Shaped

from zoo.descent.losses import LOSSES, Loss


class Objective(NamedTuple):
    """What is minimized, and on which examples a step looks.

    Attributes:
        loss: L, of the outputs F = alpha (f - origin).
        batches: examples of every step, [steps, b]; None is all of them.
        alpha: scale of the outputs; the loss is L(F) / alpha^2.
        origin: outputs that are subtracted at all points, [N, k]; None is 0.
    """

    loss: Loss = LOSSES["mse"]
    batches: Int[Array, "steps b"] | None = None
    alpha: Any = 1.0
    origin: Float[Array, "N k"] | None = None

    def outputs(self, f: Float[Array, "*t N k"]) -> jax.Array:
        """F, from the network's f at all points."""
        origin = 0.0 if self.origin is None else self.origin[(None,) * (f.ndim - 2)]
        return self.alpha * (f - origin)


class Trajectory(NamedTuple):
    """Training seen from outside.

    Attributes:
        outputs: f at the recorded steps on all points, [t, N, k]; or what is observed.
        params: parameters after the last recorded step.
    """

    outputs: Any
    params: Any


class Descent(NamedTuple):
    """Training in pieces, of which any number make a whole.

    Attributes:
        start: parameters -> state; a state begins with the parameters.
        steps: (state, first, last) -> state, by the steps first, ..., last - 1.
    """

    start: Callable[[Any], Any]
    steps: Callable[[Any, Any, Any], Any]


def train(
    apply_fn: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    x: Shaped[Array, "N ..."],
    y: Float[Array, "n k"],
    optimizer: optax.GradientTransformation,
    times: Int[Array, " t"],
    observe: Callable[[Any, jax.Array], Any] | None = None,
    warm: Callable[[Any, jax.Array, Any], tuple[jax.Array, Any]] | None = None,
    objective: Objective | None = None,
) -> Trajectory:
    """Training of all trained parameters, recorded at given steps.

    One traced program for any number of steps: a scan over the records around a loop
    over the steps between two of them.

    Args:
        apply_fn: the network, (params, x) -> f.
        params: parameters at initialization.
        x: points [N, ...]; the first n are trained on, all are recorded.
        y: targets of the first n points.
        optimizer: an optax optimizer.
        times: steps after which outputs are recorded; increasing.
        observe: (params, x) -> what is recorded instead, a tree of arrays.
        warm: as `descent` takes it.
        objective: None is the mean square of f itself, on all examples.

    Returns:
        the `Trajectory`.
    """
    start, steps = descent(apply_fn, x, y, optimizer, warm, objective)

    def record(state, interval):
        state = steps(state, *interval)
        return state, (observe or apply_fn)(state[0], x)

    intervals = (jnp.concatenate([jnp.zeros_like(times[:1]), times[:-1]]), times)
    (params, *_), outputs = jax.lax.scan(record, start(params), intervals)
    return Trajectory(outputs, params)


def descent(
    apply_fn: Callable[[Any, jax.Array], jax.Array],
    x: Shaped[Array, "N ..."],
    y: Float[Array, "n k"],
    optimizer: optax.GradientTransformation,
    warm: Callable[[Any, jax.Array, Any], tuple[jax.Array, Any]] | None = None,
    objective: Objective | None = None,
) -> Descent:
    """Training without records.

    Args:
        apply_fn: the network, (params, x) -> f.
        x: points [N, ...]; the first n are trained on.
        y: their targets.
        optimizer: an optax optimizer.
        warm: (params, x, carried) -> (f, carried), a network that starts each step's
            searches from what the step before has found; {} is nothing found yet. Each
            step has to see all examples.
        objective: None is the mean square of f itself, on all examples.
    """
    objective = objective or Objective()
    if warm is not None and objective.batches is not None:
        raise ValueError("a search that starts from the last one sees all examples.")
    n, batches, origin = len(y), objective.batches, objective.origin
    network = warm or (lambda params, x, carried: (apply_fn(params, x), carried))

    def loss(params: Any, carried: Any, rows: Any) -> tuple[jax.Array, Any]:
        f, carried = network(params, x[rows], carried)
        F = objective._replace(origin=None if origin is None else origin[rows])
        value = objective.loss.mean(F.outputs(f), y[rows])
        return value / objective.alpha**2, carried

    def step(i, state):
        params, memory, carried = state
        rows = slice(n) if batches is None else batches[i]
        gradient, carried = jax.grad(loss, has_aux=True)(params, carried, rows)
        updates, memory = optimizer.update(gradient, memory, params)
        return optax.apply_updates(params, updates), memory, carried

    def start(params: Any) -> tuple:
        return params, optimizer.init(params), network(params, x[:n], {})[1]

    def steps(state: Any, first: Any, last: Any) -> Any:
        return jax.lax.fori_loop(first, last, step, state)

    return Descent(start, steps)
