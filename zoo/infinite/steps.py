"""What training does in the limit of infinite width, for any loss, step by step.

    f_{t+1} = f_t - eta Theta(., X) dL/df(X),

and likewise with momentum and on minibatches, is exact at any learning rate (see
`zoo.descent.function_space`). One compiled program around all steps, in float64; or, of
a kernel that is stored, a product with its tiles for each step.
"""

from collections.abc import Callable
from functools import partial
from typing import Any

import diffrax
import jax
import jax.numpy as jnp
import numpy as np

from zoo.descent.function_space import coefficients, descend, loss_gradient
from zoo.descent.losses import Loss
from zoo.descent.optimizers import Optimizer
from zoo.infinite.precision import float64
from zoo.infinite.products import change
from zoo.tiles.sharded import Tiles
from zoo.tiles.stored import Stored

FLOW_TOLERANCE = 1e-9


def exact_steps(
    theta: np.ndarray | Tiles | Stored,
    f0: np.ndarray,
    y: np.ndarray,
    loss: Loss,
    optimizer: Optimizer,
    learning_rate: float,
    times: np.ndarray,
    batches: np.ndarray | None = None,
    rest: np.ndarray | Stored | None = None,
) -> np.ndarray:
    """Outputs of a network trained from its own f_0.

    Args:
        theta: NTK of all N points with the n train points, [N, n], train points first;
            where outputs share it, of all pairs of both, [N k, n k], outputs fastest.
            Or the train kernel in tiles, in the memory of devices or in a store, and
            that of the other points in `rest`.
        f0: outputs at initialization on all points, [..., N, k].
        y: targets [n, k].
        loss: L, the mean over examples.
        optimizer: with steps linear in gradients.
        learning_rate: eta.
        times: steps to predict, increasing from 0, [t].
        batches: examples of every step, [steps, b], or those of every network of `f0`,
            [..., steps, b]; None is all of them.
        rest: beside tiles: NTK of the other points with the train points, [N - n, n],
            or stored.

    Returns:
        [..., t, N, k] in float64.

    Raises:
        ValueError: the optimizer's steps are not linear in gradients, times are not
            whole and increasing, or batches do not reach the last of them, or hold what
            is no train point.
    """
    _check(np.asarray(times), batches, len(y))
    if not optimizer.linear:
        raise ValueError(
            f"{optimizer.name} has no limit: its steps are not linear in gradients, "
            "and no function of the kernel."
        )
    flat = _flat(f0)
    with float64():
        order = None if batches is None else _orders(batches, flat.shape[0])
        rate, steps = jnp.asarray(learning_rate, jnp.float64), jnp.asarray(times)
        known = (flat[:, : len(y)], jnp.asarray(y, jnp.float64), rate, steps, order)
        if isinstance(theta, Stored):
            found = _streamed(loss, optimizer, theta, *known)
        else:
            kernel = theta if isinstance(theta, Tiles) else jnp.asarray(theta)
            found = _coefficients(loss, optimizer, kernel, *known)
    return _outputs(theta, rest, flat, np.asarray(found)).reshape(
        *f0.shape[:-2], len(times), *f0.shape[-2:]
    )


def gradient_flow(
    theta: np.ndarray,
    f0: np.ndarray,
    y: np.ndarray,
    loss: Loss,
    times: np.ndarray,
) -> np.ndarray:
    """The same in continuous time, df/dt = -Theta(., X) dL/df(X), by Tsitouras' method.

    Args:
        theta: as for `exact_steps`, no tiles.
        f0: outputs at initialization on all points, [..., N, k].
        y: targets [n, k].
        loss: L, with a continuous gradient.
        times: time t = eta * steps, increasing from 0, [t].

    Returns:
        [..., t, N, k] in float64; NaN where the solver gave up.
    """
    flat = _flat(f0)
    with float64():
        targets, at = (jnp.asarray(a, jnp.float64) for a in (y, times))
        found = _flow(loss, jnp.asarray(theta), flat[:, : len(y)], targets, at)
    return _outputs(theta, None, flat, np.asarray(found)).reshape(
        *f0.shape[:-2], len(times), *f0.shape[-2:]
    )


def _check(times: np.ndarray, batches: np.ndarray | None, n: int) -> None:
    whole = np.all(times == np.floor(times)) and np.all(np.diff(times) >= 0)
    if not whole or np.any(times < 0):
        raise ValueError(f"times have to be whole, from 0 and increasing, got {times}.")
    if batches is None:
        return
    if batches.shape[-2] < times[-1]:
        raise ValueError(
            f"batches of {batches.shape[-2]} steps do not reach step {times[-1]}."
        )
    if np.min(batches) < 0 or np.max(batches) >= n:
        raise ValueError(
            f"batches hold examples {np.min(batches)} to {np.max(batches)} of n={n}."
        )


def _flat(f0: np.ndarray) -> np.ndarray:
    """Networks as one axis, [s, N, k] in float64."""
    return np.asarray(f0, np.float64).reshape(-1, *f0.shape[-2:])


def _orders(batches: np.ndarray, networks: int) -> jax.Array:
    """[s, steps, b]."""
    shape = (networks, *batches.shape[-2:])
    if batches.ndim > 2:
        return jnp.asarray(batches.reshape(shape))
    return jnp.broadcast_to(jnp.asarray(batches)[None], shape)


def _product(kernel: Any, n: int) -> Callable[[Any], Any]:
    """The map c -> Theta(X, X) c, [n, k] -> [n, k]."""
    rows = kernel.shape[1]
    if isinstance(kernel, (Tiles, Stored)):
        block = kernel.product
    else:
        block = kernel[:rows].__matmul__
    if rows == n:
        return block
    return lambda c: block(c.reshape(rows, -1)).reshape(c.shape)


@partial(jax.jit, static_argnames=("loss", "optimizer"))
def _coefficients(loss, optimizer, kernel, f0, y, rate, times, batches):
    """Coefficients of every network, [s, t, n, k]."""
    product = _product(kernel, len(y))

    def one(f0: jax.Array, batches: Any) -> jax.Array:
        steps = optimizer.transformation(rate)
        return coefficients(product, f0, y, loss, steps, times, batches)

    return jax.vmap(one, in_axes=(0, None if batches is None else 0))(f0, batches)


def _streamed(loss, optimizer, kernel, f0, y, rate, times, batches):
    """The same, a pass over the stored tiles for each step of all networks."""
    steps = optimizer.transformation(rate)

    @jax.jit
    def advance(i: Any, state: Any, change: jax.Array) -> Any:
        def one(f: jax.Array, own: Any, order: Any) -> Any:
            return descend(steps, own, loss_gradient(loss, f, y, i, order))

        axes = (0, 0, None if batches is None else 0)
        return jax.vmap(one, in_axes=axes)(f0 - change, state, batches)

    state = jax.vmap(lambda c: (c, steps.init(c)))(jnp.zeros_like(f0))
    found = []
    for i in range(int(times[-1]) + 1):
        found += [np.asarray(state[0])] * int(np.sum(times == i))
        if i < times[-1]:
            state = advance(i, state, change(kernel, np.asarray(state[0])))
    return np.stack(found, axis=1)


@partial(jax.jit, static_argnames="loss")
def _flow(loss, kernel, f0, y, times):
    """Coefficients of every network at the given times, [s, t, n, k]."""
    product, n = _product(kernel, len(y)), len(y)

    def one(f0: jax.Array) -> jax.Array:
        def slope(t: Any, c: jax.Array, args: Any) -> jax.Array:
            return loss.gradient(f0 - product(c), y) / n

        found = diffrax.diffeqsolve(
            diffrax.ODETerm(slope),
            diffrax.Tsit5(),
            t0=0.0,
            t1=times[-1],
            dt0=None,
            y0=jnp.zeros_like(f0),
            saveat=diffrax.SaveAt(ts=times),
            stepsize_controller=diffrax.PIDController(FLOW_TOLERANCE, FLOW_TOLERANCE),
            max_steps=2**20,
            throw=False,
        )
        good = found.result == diffrax.RESULTS.successful
        return jnp.where(good, found.ys, jnp.nan)

    return jax.vmap(one)(f0)


def _outputs(theta: Any, rest: Any, f0: np.ndarray, c: np.ndarray) -> np.ndarray:
    """f_0 - Theta(., X) c of all points, [s, t, N, k]."""
    s, t, _, k = c.shape
    if isinstance(theta, (Tiles, Stored)):
        moved = change(theta, c)
        if rest is not None:
            moved = np.concatenate([moved, change(rest, c)], axis=2)
    else:
        rows = c.reshape(s, t, theta.shape[1], -1)
        with np.errstate(over="ignore", invalid="ignore"):
            moved = (theta @ rows).reshape(s, t, -1, k)
    return f0[:, None, : moved.shape[2]] - moved
