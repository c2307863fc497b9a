"""Equilibria beside their limits: deviation of the kernel, and steps of the solvers."""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zoo.finite.ntk import empirical_ntk
from zoo.infinite.kernels import kernel_matrix
from zoo.infinite.precision import float64
from zoo.layers import Equilibrium, Layer, Serial, input_kernel, walk
from zoo.layers.kernel_roots import (
    apply_cell,
    largest_chi,
    pair_covariances,
    point_variances,
)
from zoo.models.base import Architecture
from zoo.models.deq_base import EquilibriumNetwork

MOST_STEPS = 100_000


class Steps(NamedTuple):
    """How many steps an equilibrium takes, of infinite and of finite width.

    Attributes:
        chi1: the largest over the inputs, in the limit.
        newton: of covariances, to step / (1 - chi_1) <= 1e-12.
        plain: applications of the covariances' map, to the same accuracy.
        finite: of a solver at finite width, mean over inputs and seeds.
        lost: number of inputs, over all seeds, for which it found nothing.
    """

    chi1: float
    newton: int
    plain: int
    finite: dict[str, float]
    lost: dict[str, int]


# From about here on some networks of a width below 4096 have no equilibrium.
NARROW_EDGE = 0.7


def limit_chi(net: nn.Module, x: np.ndarray) -> float | None:
    """The largest chi_1 over points, in the limit; None where there is none.

    That is of a network that begins with an equilibrium, and has an analytic kernel.
    """
    root = _first(net)
    if not isinstance(root, Equilibrium) or net.limit().kind != "numeric":
        return None
    mixes = any(layer.mixes_positions for layer in walk(net.layers()))

    def one(x: jax.Array) -> jax.Array:
        u = root.inject.limit(input_kernel(x[None], None, not mixes))
        return point_variances(root.cell, u, u.cov1).chi1[0]

    with float64():
        points = np.asarray(x, np.float64)
        return float(jnp.max(jax.jit(lambda x: jax.lax.map(one, x))(points)))


def _first(net: nn.Module) -> Layer | None:
    """The layer that a network begins with."""
    layers = net.layers() if isinstance(net, Architecture) else None
    return layers.layers[0] if isinstance(layers, Serial) else layers


def deviations(
    net: EquilibriumNetwork, x: np.ndarray, widths: tuple[int, ...], seeds: int
) -> np.ndarray:
    """|Theta - Theta_inf|_F / |Theta_inf|_F at initialization, [seeds, widths].

    NaN where a seed has no equilibrium at an input.
    """
    limit, points = kernel_matrix(net, x), jnp.asarray(x, jnp.float32)
    out = []
    for width in widths:
        sized = net.clone(width=width)

        def one(seed: jax.Array, net: EquilibriumNetwork = sized) -> jax.Array:
            key = jax.random.fold_in(jax.random.key(seed), net.width)
            params = net.init(key, points)["params"]
            return jnp.asarray(empirical_ntk(net, params, points))

        theta = jax.jit(lambda s, one=one: jax.lax.map(one, s))(jnp.arange(seeds))
        off = np.asarray(theta, np.float64) - limit
        out.append(np.linalg.norm(off, axis=(1, 2)) / np.linalg.norm(limit))
    return np.stack(out, axis=1)


def count_steps(
    net: EquilibriumNetwork, x: np.ndarray, solvers: tuple[str, ...], seeds: int
) -> Steps:
    """Steps to the equilibrium of a network that begins with it."""
    root = _first(net)
    if not isinstance(root, Equilibrium):
        raise ValueError(f"{type(net).__name__} does not begin with an equilibrium.")
    with float64():
        chi1, newton, plain = jax.jit(_of_covariances, static_argnums=0)(
            root, np.asarray(x, np.float64)
        )
    finite, lost = {}, {}
    points = jnp.asarray(x, jnp.float32)
    for solver in solvers:
        sized = net.clone(solver=solver)

        def one(seed: jax.Array, net: EquilibriumNetwork = sized) -> dict:
            params = net.init(jax.random.key(seed), points)["params"]
            _, said = net.apply({"params": params}, points, mutable=["equilibrium"])
            (found,) = said["equilibrium"].values()
            return found

        found = jax.jit(lambda s, one=one: jax.lax.map(one, s))(jnp.arange(seeds))
        steps, gone = np.asarray(found["steps"]), np.asarray(found["lost"])
        finite[solver] = float(steps[~gone].mean()) if not gone.all() else np.nan
        lost[solver] = int(gone.sum())
    return Steps(float(chi1), int(newton), int(plain), finite, lost)


def _of_covariances(root: Equilibrium, x: jax.Array) -> tuple[jax.Array, ...]:
    """chi_1, and the steps of Newton's and of plain iteration."""
    u = root.inject.limit(input_kernel(x, None, True))
    own = point_variances(root.cell, u, u.cov1)
    k, chi = u.replace(cov1=own.value), jnp.max(own.chi1)
    newton = pair_covariances(root.cell, u, k, largest_chi(own, own)).steps

    def apply(nngp: jax.Array) -> jax.Array:
        return apply_cell(root.cell, k.replace(nngp=nngp)).nngp + u.nngp

    def going(state: tuple) -> jax.Array:
        _, change, steps = state
        return (change > 1e-12 * (1 - chi)) & (steps < MOST_STEPS)

    def advance(state: tuple) -> tuple:
        nngp, _, steps = state
        new = apply(nngp)
        return new, jnp.max(jnp.abs(new - nngp)) / jnp.max(jnp.abs(new)), steps + 1

    start = (u.nngp, jnp.asarray(jnp.inf, x.dtype), 0)
    _, _, plain = jax.lax.while_loop(going, advance, start)
    return chi, jnp.maximum(newton, jnp.max(own.steps)), plain
