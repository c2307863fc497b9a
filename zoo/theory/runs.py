"""Measuring seed by seed: one compiled program for all seeds of a size."""

from collections.abc import Callable, Iterable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def by_seed(
    measure: Callable[[jax.Array], dict[str, Any]],
    seeds: int,
    salt: int = 0,
    together: int | None = None,
) -> dict[str, np.ndarray]:
    """What `measure` finds for each of some seeds, traced and compiled once.

    Args:
        measure: a seed's random key -> arrays by name.
        seeds: how many.
        salt: folded into the keys, so that sizes (widths, say) draw apart.
        together: seeds that run at once, in one batch; None for all.

    Returns:
        arrays with seeds on the first axis.
    """
    keys = jax.vmap(lambda seed: jax.random.fold_in(jax.random.key(seed), salt))(
        jnp.arange(seeds)
    )
    with jax.default_matmul_precision("highest"):
        found = jax.jit(
            lambda keys: jax.lax.map(measure, keys, batch_size=together or seeds)
        )(keys)
    return {name: np.asarray(array) for name, array in found.items()}


def sweep(
    values: Iterable[Any], measure: Callable[[Any], dict[str, np.ndarray]]
) -> dict[str, np.ndarray]:
    """What `measure` finds at each value, stacked on the axis after the seeds."""
    found = [measure(value) for value in values]
    return {name: np.stack([f[name] for f in found], axis=1) for name in found[0]}
