"""What every benchmark measures with."""

import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp


def timed(measure: Callable) -> tuple[Any, float]:
    """The result of a call and its wall time in seconds."""
    start = time.perf_counter()
    found = jax.block_until_ready(measure())
    return found, time.perf_counter() - start


def matmul_rate(n: int = 2048, repeats: int = 5) -> float:
    """FLOP/s of a float32 matrix product, best of several."""
    a = jnp.ones((n, n), jnp.float32)
    product = jax.jit(lambda a: a @ a)
    times = [timed(lambda: product(a))[1] for _ in range(repeats + 1)]
    return 2 * n**3 / min(times[1:])
