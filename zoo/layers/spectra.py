"""What the well-posedness of an equilibrium hangs on, at a root of finite width."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

PROBES = 8
POWER_STEPS = 100
Map = Callable[[jax.Array], jax.Array]


def mean_square(
    f: Map, z: Float[Array, "n ..."], probes: int = PROBES
) -> Float[Array, " n"]:
    """|J|_F^2 / m for the derivative J of f at each of n points, m its size.

    At large width this is chi_1, the square of J's spectral radius. Hutchinson's
    estimate: `probes` random signs, for a relative error of about (2 / (m probes))^1/2.
    """

    def of_one(key: jax.Array) -> jax.Array:
        signs = jax.random.rademacher(key, z.shape, z.dtype)
        _, moved = jax.jvp(f, (z,), (signs,))
        return jnp.mean(moved**2, axis=tuple(range(1, z.ndim)))

    keys = jax.random.split(jax.random.key(0), probes)
    return jnp.mean(jax.lax.map(of_one, keys), axis=0)


def largest_singular_value(f: Map, z: jax.Array) -> jax.Array:
    """That of the derivative of f at z, by power iteration: a bound from below.

    The error is below 1 % where other singular values stay 3 % apart, and where they do
    not of the size of their distance.
    """
    _, forward = jax.linearize(f, z)
    back = jax.linear_transpose(forward, z)

    def step(_: jax.Array, v: jax.Array) -> jax.Array:
        (v,) = back(forward(v))
        return v / jnp.linalg.norm(jnp.ravel(v))

    start = jax.random.normal(jax.random.key(0), z.shape, z.dtype)
    v = jax.lax.fori_loop(0, POWER_STEPS, step, start)
    return jnp.linalg.norm(jnp.ravel(forward(v))) / jnp.linalg.norm(jnp.ravel(v))
