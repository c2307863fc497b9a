"""Allen-Zhu, Li & Song 2018: deep tau-ResNets, and the landscape along training.

Symbols: m width, L depth, tau the factor of a branch, F the objective.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float
from matfree import decomp, eig

from zoo.descent.losses import LOSSES
from zoo.finite.train import Objective, train
from zoo.theory.allenzhu2018_training import (
    CLASSES,
    DEPTHS,
    Build,
    build_network,
    problem,
)
from zoo.theory.runs import by_seed, sweep

MOMENTUM = 0.9
STEPS = 25  # lengths at which the objective is looked at, in each direction
NEAREST = 200  # the longest over the shortest: minima come closer along training


def residual_stack(
    h: Float[Array, "n m"],
    matrices: Float[Array, "l m m"],
    last: Float[Array, "m m"],
    tau: float,
) -> jax.Array:
    """h_l = relu(h_{l-1} + tau W_l h_{l-1}), and relu(W_L h_{L-1}) at the end."""

    def layer(h: jax.Array, matrix: jax.Array) -> tuple[jax.Array, None]:
        return jax.nn.relu(h + tau * (h @ matrix)), None

    return jax.nn.relu(jax.lax.scan(layer, h, matrices)[0] @ last)


def measure_growth(
    width: int,
    depths: tuple[int, ...],
    powers: tuple[float, ...],
    seeds: int,
    n: int,
    variance: float = 2.0,
) -> dict[str, np.ndarray]:
    """Norms of the last hidden layer of tau-ResNets at initialization.

    Args:
        width: m.
        depths: numbers L of matrices.
        powers: tau = L^-power.
        seeds: how many.
        n: points.
        variance: of all entries, times m.

    Returns:
        depths [L], powers [p]; square and worst [s, L, p]: the mean over points of
        |h_L|^2, and the largest | |h_L| - 1 |.
    """
    x = jnp.asarray(problem("resnet", n)[0])
    std = (variance / width) ** 0.5

    def at(depth: int) -> dict[str, np.ndarray]:
        def measure(key: jax.Array) -> dict[str, jax.Array]:
            keys = jax.random.split(key, depth + 1)
            first = std * jax.random.normal(keys[0], (x.shape[1], width))
            square = (width, width)
            W = jax.vmap(lambda key: std * jax.random.normal(key, square))(keys[1:])
            h = jax.nn.relu(x @ first)
            norms = jnp.stack(
                [
                    jnp.linalg.norm(
                        residual_stack(h, W[:-1], W[-1], depth**-power), axis=1
                    )
                    for power in powers
                ]
            )
            return {
                "square": jnp.mean(norms**2, axis=1),
                "worst": jnp.max(jnp.abs(norms - 1), axis=1),
            }

        return by_seed(measure, seeds, depth, together=1)

    plain = {"depths": np.asarray(depths), "powers": np.asarray(powers)}
    return plain | sweep(depths, at)


def lowest(
    product: Callable[[Any], Any], start: Any, steps: int
) -> tuple[jax.Array, Any]:
    """The smallest eigenvalue of a symmetric matrix and its vector, by Lanczos.

    Args:
        product: a vector, as a tree, -> the matrix times it.
        start: the first vector of the Krylov space.
        steps: its dimension.
    """
    solve = eig.eigh_partial(decomp.tridiag_sym(steps, custom_vjp=False))
    values, vectors = solve(product, start)
    return values[0], jax.tree.map(lambda v: v[0], vectors)


def measure_landscape(
    width: int,
    seeds: int,
    n: int,
    batch: int,
    epochs: tuple[int, ...],
    lanczos: int,
    reach: float,
    rate: float = 0.1,
    scale: float = 1.0,
    build: Build = build_network,
) -> dict[str, np.ndarray]:
    """The objective around iterates of SGD, along two directions.

    Args:
        width: m.
        seeds: how many.
        n: points.
        batch: of them in a step, drawn with replacement.
        epochs: after which the objective is looked at, from 0.
        lanczos: dimension of the Krylov space.
        reach: the longest step, over |W|.
        rate: the learning rate is `rate` k / (L m), with momentum 0.9.
        scale: of the trained matrices at initialization.
        build: the network.

    Returns:
        epochs [t], lengths [r]; value [s, t], the objective, the mean cross-entropy;
        curvature [s, t], the smallest eigenvalue of its Hessian; along [s, t, 2, r]:
        the objective at W - r |W| g / |g| for the gradient g, and at W +- r |W| v for
        the unit vector v of that eigenvalue, the lower one of the two signs.
    """
    x, y = map(jnp.asarray, problem("fc", n))
    net, depth = build("fc", width, CLASSES), DEPTHS["fc"]
    per, loss = n // batch, LOSSES["xent"]
    optimizer = optax.sgd(rate * CLASSES / (depth * width), momentum=MOMENTUM)
    lengths = jnp.append(0.0, jnp.geomspace(reach / NEAREST, reach, STEPS - 1))
    names = [f"dense_{i}" for i in range(depth + 2)]

    def apply(params: Any, x: jax.Array) -> Any:
        return net.apply({"params": params}, x)

    def look(params: Any, x: jax.Array) -> dict[str, jax.Array]:
        matrices = [params[name]["W"] for name in names]

        def value(W: Any) -> jax.Array:
            changed = [matrices[0], *W, matrices[-1]]
            tree = {n: {"W": w} for n, w in zip(names, changed, strict=True)}
            return loss.mean(apply(tree, x), y)

        W = matrices[1:-1]
        slope = jax.grad(value)(W)

        def hessian(v: Any) -> Any:
            return jax.jvp(jax.grad(value), (W,), (v,))[1]

        curvature, v = lowest(hessian, slope, lanczos)
        size = optax.tree.norm(W)

        def at(direction: Any) -> jax.Array:
            unit = size / optax.tree.norm(direction)
            return jax.lax.map(
                lambda r: value(
                    [w + r * unit * d for w, d in zip(W, direction, strict=True)]
                ),
                lengths,
            )

        down = at([-s for s in slope])
        bent = jnp.minimum(at(v), at([-a for a in v]))
        return {
            "value": value(W),
            "curvature": curvature,
            "along": jnp.stack([down, bent]),
        }

    def measure(key: jax.Array) -> dict[str, jax.Array]:
        draw, order = jax.random.split(key)
        params: Any = net.init(draw, x[:1])["params"]
        for name in names[1:-1]:
            params[name]["W"] = scale * params[name]["W"]
        rows = jax.random.randint(order, (max(epochs) * per, batch), 0, n)
        steps = jnp.asarray(epochs) * per
        goal = Objective(loss, rows)
        return train(apply, params, x, y, optimizer, steps, look, None, goal).outputs

    plain = {"epochs": np.asarray(epochs), "lengths": np.asarray(lengths)}
    return plain | by_seed(measure, seeds, width, together=1)


def extra_decrease(along: np.ndarray) -> np.ndarray:
    """The decrease along the curvature over that along the gradient.

    Args:
        along: as of `measure_landscape`.

    Returns:
        [s], at the length that is best along the gradient, the largest of all times.
    """
    drop = along[..., :1] - along
    best = drop[..., 0, 1:].argmax(axis=-1)[..., None] + 1
    down, bent = (np.take_along_axis(drop[..., i, :], best, -1) for i in (0, 1))
    return (bent / down)[..., 0].max(axis=1)
