"""The network linearized at its initialization, trained by gradient descent.

Its outputs obey exactly, for the loss of `zoo.finite.train`,

    r_{t+1} = r_t - (eta / n) Theta r_t,    f_t = f_0 - (eta / n) Theta sum_{s<t} r_s,

with r the residual f - y on the train points and Theta the full empirical NTK at
initialization, all pairs of outputs included. No parameters move: the dynamics are
stepped in function space.
"""

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int


def linearized_outputs(
    theta: Float[Array, "k N k n"],
    f0: Float[Array, "N k"],
    y: Float[Array, "n k"],
    learning_rate: Float[Array, ""],
    times: Int[Array, " t"],
) -> Float[Array, "t N k"]:
    """Outputs of the linearized network at the recorded steps.

    Args:
        theta: empirical NTK of all N points with the first n (the train points).
        f0: outputs at initialization.
        y: targets of the first n points.
        learning_rate: eta.
        times: steps to record; increasing, from 0.
    """
    n = y.shape[0]
    rate = learning_rate / n
    matrix = theta[:, :n].reshape(y.size, y.size)  # [kn, kn]

    def step(_, state):
        r, total = state
        return r - rate * (matrix @ r), total + r

    def record(state, interval):
        start, stop = interval
        state = jax.lax.fori_loop(start, stop, step, state)
        return state, state[1]

    r0 = (f0[:n] - y).T.ravel()
    intervals = (jnp.concatenate([times[:1], times[:-1]]), times)
    with jax.default_matmul_precision("highest"):
        _, totals = jax.lax.scan(record, (r0, jnp.zeros_like(r0)), intervals)
        totals = totals.reshape(-1, *y.shape[::-1])  # [t, k, n]
        return f0[None] - rate * jnp.einsum("kalb,tlb->tak", theta, totals)


def top_eigenvalue(
    theta: Float[Array, "k n k n"], start: Float[Array, "n k"], tol: float = 1e-4
) -> Float[Array, ""]:
    """Largest eigenvalue of a kernel over train points, by power iteration.

    Stops when a step changes the Rayleigh quotient, which grows towards the
    eigenvalue from below, by less than `tol` relative, or after 200 steps.
    """
    matrix = theta.reshape(start.size, start.size)

    def step(state):
        v, new, _, i = state
        w = matrix @ v
        return w / jnp.linalg.norm(w), v @ w, new, i + 1

    def going(state):
        _, new, old, i = state
        return (i < 200) & (jnp.abs(new - old) > tol * jnp.abs(new))

    v = start.T.ravel() / jnp.linalg.norm(start)
    zero = jnp.zeros((), v.dtype)
    with jax.default_matmul_precision("highest"):
        first = step((v, zero, zero, 0))
        return jax.lax.while_loop(going, step, first)[1]
