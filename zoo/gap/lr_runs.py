"""Many runs in one program: all seeds of a width, each at learning rates of its own.

Training is full-batch gradient descent on L = 1/(2n) sum_i |f(x_i) - y_i|^2.
"""

from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zoo.data import Dataset
from zoo.descent.losses import LOSSES
from zoo.finite.ntk import ntk_by_output
from zoo.gap.cell import points
from zoo.gap.programs import initialize, seeds_at_once
from zoo.gap.sweep import Arrays

square = LOSSES["mse"].mean


def runs_at_once(
    net: nn.Module, data: Dataset, runs: int, most: int, memory_bytes: float
) -> int:
    """The largest divisor of `runs` that is at most `most` and fits the memory."""
    fits = seeds_at_once(net, *points(data), runs, memory_bytes)
    return max(b for b in range(1, min(most, fits) + 1) if runs % b == 0)


def initial(options: tuple, seeds: np.ndarray, rates: int, data: Dataset) -> Arrays:
    """Spectrum of each seed's train kernel at initialization.

    Returns:
        "eigenvalues" of Theta_0, ascending, [s, n k], and the "coefficients" of
        f_0 - y in its eigenvectors, [s, n k]; both in float64.
    """
    arguments = _arguments(seeds, np.zeros((len(seeds), rates)), data)
    kernels, _ = _compiled(options, _shapes(arguments))
    theta, residual = kernels(arguments[0], *arguments[2:])
    theta, residual = np.asarray(theta, np.float64), np.asarray(residual, np.float64)
    values, vectors = np.full_like(residual, np.nan), np.full_like(theta, np.nan)
    good = np.all(np.isfinite(theta), axis=(1, 2))
    values[good], vectors[good] = np.linalg.eigh(theta[good])
    coefficients = np.einsum("sij,si->sj", vectors, residual)
    return {"eigenvalues": values, "coefficients": coefficients}


def sweep(
    options: tuple, seeds: np.ndarray, rates: np.ndarray, data: Dataset
) -> Arrays:
    """Trains every seed at each of its rates.

    Args:
        options: (net, width, steps, together, ntk_bytes): the network, its width,
            which enters the key of the initialization, the steps of gradient descent,
            the runs that train at once (a divisor of s r), and the bytes that an
            empirical NTK may hold at a time.
        seeds: [s].
        rates: eta of each seed, [s, r].
        data: train and test points.

    Returns:
        [s, r] each: the "rates"; "start", "peak" (the largest at any step; NaN if one
        was) and "train_loss" (the last) of the train loss; "test_loss", the last one;
        and "dead": whether the outputs do not depend on the train point any more.
    """
    arguments = _arguments(seeds, rates, data)
    _, program = _compiled(options, _shapes(arguments))
    found = program(*arguments)
    return {"rates": rates} | {k: np.asarray(v, np.float64) for k, v in found.items()}


def _arguments(seeds: np.ndarray, rates: np.ndarray, data: Dataset) -> tuple:
    x, y = points(data)
    rates = np.asarray(rates, np.float32)
    return jnp.asarray(seeds), jnp.asarray(rates), x, y, jnp.asarray(data.y_test)


def _shapes(arguments: tuple) -> tuple:
    return tuple((a.shape, a.dtype) for a in arguments)


@lru_cache(maxsize=64)
def _compiled(options: tuple, shapes: tuple) -> tuple:
    """The programs of the kernels and of the runs, compiled side by side."""
    net, width, steps, together, ntk_bytes = options
    seeds, rates, x, y, y_test = [jax.ShapeDtypeStruct(*shape) for shape in shapes]
    kernels = jax.jit(partial(_kernels, net, width, ntk_bytes))
    runs = jax.jit(partial(_runs, net, width, steps, together))
    with jax.default_matmul_precision("highest"):  # TF32 would move edges
        lowered = (
            kernels.lower(seeds, x, y, y_test),
            runs.lower(seeds, rates, x, y, y_test),
        )
    with ThreadPoolExecutor(len(lowered)) as pool:
        return tuple(pool.map(lambda program: program.compile(), lowered))


def _kernels(net, width, ntk_bytes, seeds, x, y, y_test):
    """Theta_0 [s, k n, k n] and f_0 - y [s, k n] on the train points."""
    n, k = y.shape

    def one(seed: jax.Array) -> tuple[jax.Array, jax.Array]:
        params = initialize(net, width, seed, x)
        theta = ntk_by_output(net, params, x[:n], max_bytes=ntk_bytes)
        residual = _apply(net, params, x[:n]) - y
        return theta.reshape(k * n, k * n), residual.T.ravel()

    return jax.lax.map(one, seeds)


def _apply(net: nn.Module, params: Any, x: jax.Array) -> jax.Array:
    f: Any = net.apply({"params": params}, x)
    return f


def _runs(net, width, steps, together, seeds, rates, x, y, y_test):
    """All seeds at all their rates, `together` runs at a time."""
    n = len(y)
    start = jax.lax.map(lambda seed: initialize(net, width, seed, x), seeds)

    def loss(params: Any) -> jax.Array:
        return square(_apply(net, params, x[:n]), y)

    def one(run: tuple[jax.Array, jax.Array]) -> dict[str, jax.Array]:
        place, rate = run
        params = jax.tree.map(lambda leaf: leaf[place], start)

        def step(_, state):
            params, peak = state
            value, gradient = jax.value_and_grad(loss)(params)
            params = jax.tree.map(lambda p, g: p - rate * g, params, gradient)
            return params, jnp.maximum(peak, value)

        first = loss(params)
        params, peak = jax.lax.fori_loop(0, steps, step, (params, first))
        f = _apply(net, params, x)
        last = square(f[:n], y)
        return {
            "start": first,
            "peak": jnp.maximum(peak, last),
            "train_loss": last,
            "test_loss": square(f[n:], y_test),
            "dead": jnp.all(f[:n] == f[:1]),
        }

    places = jnp.repeat(jnp.arange(len(seeds)), rates.shape[1])
    found = jax.lax.map(one, (places, rates.ravel()), batch_size=together)
    return {name: value.reshape(rates.shape) for name, value in found.items()}
