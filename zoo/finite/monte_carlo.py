"""Kernels of wide networks by sampling, with their standard error."""

from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from zoo.finite.ntk import empirical_ntk
from zoo.names import check_name


class Estimate(NamedTuple):
    """A kernel estimated from independent networks.

    Attributes:
        mean: over networks, [n1, n2].
        stderr: standard error of the mean, [n1, n2].
    """

    mean: np.ndarray
    stderr: np.ndarray


def monte_carlo_kernel_fn(
    net: nn.Module, key: jax.Array, n_samples: int, width: int | None = None
) -> Callable[..., Estimate]:
    """The mean kernels of randomly initialized networks of one width.

    They differ from the limit by the standard error, which falls as
    (n_samples * width)^-1/2 for the NTK, and by a bias of order 1 / width. Collections
    beside the parameters, such as batch_stats, are what initialization makes them.

    Args:
        net: a Flax Linen module; if it has a field `width`, that is replaced.
        key: a key of `jax.random`.
        n_samples: number of networks, at least 2.
        width: width of the networks; None keeps the network's own.

    Returns:
        `kernel(x1, x2=None, get="ntk")`, an `Estimate`; `get` is "ntk", the mean over
        outputs of the empirical NTK, or "nngp", that of f_c(x) f_c(x').

    Raises:
        ValueError: if n_samples < 2, which leaves no standard error; when called, if
            `get` is no kernel's name.

    Example:
        >>> import jax, jax.numpy as jnp, zoo
        >>> kernel = zoo.monte_carlo_kernel_fn(
        ...     zoo.MLP(width=64, sigma_w=1.0), jax.random.key(0), n_samples=4)
        >>> kernel(jnp.ones((3, 5))).mean.shape
        (3, 3)
    """
    if n_samples < 2:
        raise ValueError(
            f"n_samples={n_samples} leaves no standard error: at least 2 are needed."
        )
    if width is not None:
        net = net.clone(width=width)
    keys = jax.random.split(key, n_samples)

    def kernel(x1, x2=None, get: str = "ntk") -> Estimate:
        check_name("kernel", get, SAMPLES)
        with jax.default_matmul_precision("highest"):
            moments = _moments(net, get, keys, x1, x2)
        mean, squares = (np.asarray(a, np.float64) for a in moments)
        return Estimate(mean, np.sqrt(squares / (n_samples * (n_samples - 1))))

    return kernel


def _ntk(net: nn.Module, variables: dict, x1: jax.Array, x2: jax.Array | None):
    return empirical_ntk(net, variables["params"], x1, x2, variables=variables)


def _nngp(net: nn.Module, variables: dict, x1: jax.Array, x2: jax.Array | None):
    f1: Any = net.apply(variables, x1)
    f2: Any = f1 if x2 is None else net.apply(variables, x2)
    return f1 @ f2.T / f1.shape[-1]


SAMPLES = {"ntk": _ntk, "nngp": _nngp}


@partial(jax.jit, static_argnums=(0, 1))
def _moments(net: nn.Module, get: str, keys: jax.Array, x1: jax.Array, x2: Any):
    """Mean over networks, and sum of squared deviations from it (Welford 1962)."""

    def sample(key: jax.Array) -> Any:
        return SAMPLES[get](net, dict(net.init(key, x1[:1])), x1, x2)

    def add(state: tuple, key: jax.Array) -> tuple:
        count, mean, squares = state
        found = sample(key)
        off = found - mean
        squares = squares + off**2 * count / (count + 1)  # no rounding below 0
        return (count + 1, mean + off / (count + 1), squares), None

    spec = jax.eval_shape(sample, keys[0])
    zero = jnp.zeros(spec.shape, spec.dtype)
    count = jnp.zeros((), spec.dtype)
    (_, mean, squares), _ = jax.lax.scan(add, (count, zero, zero), keys)
    return mean, squares
