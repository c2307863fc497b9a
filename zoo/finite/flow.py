"""Gradient flow of the network itself: training with the step size taken out."""

from collections.abc import Callable
from typing import Any, NamedTuple

import diffrax
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from zoo.finite.train import Objective

RELATIVE, ABSOLUTE, MOST_STEPS = 1e-4, 1e-7, 2**17


class Flow(NamedTuple):
    """A solution of the flow.

    Attributes:
        displacement: u = alpha (w - w_0) at the recorded times, leaves [t, ...]; NaN
            where the solver took too many steps.
        steps: of the solver.
    """

    displacement: Any
    steps: jax.Array


def gradient_flow(
    apply_fn: Callable[[Any, jax.Array], jax.Array],
    params: Any,
    x: Shaped[Array, "n ..."],
    y: Float[Array, "n k"],
    times: Float[Array, " t"],
    objective: Objective,
) -> Flow:
    """Solves dw/dt = -d/dw L(alpha (f - f_0)) / alpha^2, by Tsitouras' 5(4) pairs.

    The solver works on u = alpha (w - w_0), whose slope -J^T dL/dF is of order one at
    any alpha, so that its tolerance means the same in the lazy and the rich regime.

    Args:
        apply_fn: the network, (params, x) -> f.
        params: parameters at initialization.
        x: train points.
        y: their targets.
        times: at which it is recorded, increasing.
        objective: L, alpha and f_0 on the train points; no batches.
    """
    alpha = objective.alpha

    def slope(t: Any, u: Any, args: Any) -> Any:
        def loss(u: Any) -> jax.Array:
            f = apply_fn(place(params, u, alpha), x)
            return objective.loss.mean(objective.outputs(f), y)

        return jax.tree.map(jnp.negative, jax.grad(loss)(u))

    found = diffrax.diffeqsolve(
        diffrax.ODETerm(slope),
        diffrax.Tsit5(),
        t0=0.0,
        t1=times[-1],
        dt0=None,
        y0=jax.tree.map(jnp.zeros_like, params),
        saveat=diffrax.SaveAt(ts=times),
        stepsize_controller=diffrax.PIDController(RELATIVE, ABSOLUTE),
        max_steps=MOST_STEPS,
        throw=False,
    )
    good = found.result == diffrax.RESULTS.successful
    lost = jax.tree.map(lambda u: jnp.where(good, u, jnp.nan), found.ys)
    return Flow(lost, found.stats["num_steps"])


def place(params: Any, displacement: Any, alpha: Any) -> Any:
    """The parameters w = w_0 + u / alpha."""
    return jax.tree.map(lambda w, u: w + u / alpha, params, displacement)
