"""What every benchmark measures with."""

import math
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


def flops(function: Callable, *args: Any) -> int:
    """Operations of its matrix products and convolutions."""
    return _flops(jax.make_jaxpr(function)(*args).jaxpr)


def _flops(jaxpr: Any) -> int:
    total = 0
    for eqn in jaxpr.eqns:
        shapes = [v.aval.shape for v in (*eqn.invars, *eqn.outvars)]
        if eqn.primitive.name == "dot_general":
            ((axes, _), _) = eqn.params["dimension_numbers"]
            contracted = [shapes[0][axis] for axis in axes]
            total += 2 * math.prod(shapes[-1]) * math.prod(contracted)
        elif eqn.primitive.name == "conv_general_dilated":
            outputs = shapes[1][eqn.params["dimension_numbers"].rhs_spec[0]]
            total += 2 * math.prod(shapes[-1]) * math.prod(shapes[1]) // outputs
        inner = sum(map(_flops, _inside(eqn.params.values())))
        total += eqn.params.get("length", 1) * inner
    return total


def _inside(params: Any) -> list:
    """The programs among the parameters of an operation."""
    found = []
    for value in params:
        if isinstance(value, tuple | list):
            found += _inside(value)
        elif hasattr(value, "eqns") or hasattr(value, "jaxpr"):
            found.append(getattr(value, "jaxpr", value))
    return found
