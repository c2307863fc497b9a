"""Infinite-width kernels of a network.

Sigma is the NNGP kernel, the covariance of one output at initialization. Theta is the
NTK, sum over parameters of d f_c(x) / d theta  d f_c(x') / d theta, for one output c;
distinct outputs share no NTK in the limit: the full one is Theta (x) I_k.
"""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from zoo.infinite.precision import float64, kernel_numerics

Get = str | tuple[str, ...]


def kernel_fn(net: Any) -> Callable[..., Any]:
    """The analytic kernels of a network, with neural-tangents' calling convention.

    Computed in the dtype of the inputs; `kernel_matrix` gives float64 whatever JAX's
    x64 switch says.

    Args:
        net: a network of `zoo.models`, or anything with `layers()`.

    Returns:
        `kernel(x1, x2=None, get="ntk")` for inputs [n1, ...] and [n2, ...]: an array
        [n1, n2] where `get` is "nngp" or "ntk", and a named tuple of them where it is
        a tuple of these names.

    Raises:
        NotImplementedError: if a layer's limit has no known form; it names the layer.

    Example:
        >>> import jax.numpy as jnp, zoo
        >>> net = zoo.MLP(width=64, depth=1, activation="relu", sigma_w=2**0.5)
        >>> kernel = zoo.kernel_fn(net)
        >>> kernel(jnp.ones((1, 4)), get="nngp").shape
        (1, 1)
    """
    analytic = net.layers().limit()[2]

    def kernel(x1, x2=None, get: Get = "ntk"):
        with kernel_numerics():
            return analytic(x1, x2, get)

    return kernel


def kernel_matrix(
    net: Any, x1: np.ndarray, x2: np.ndarray | None = None, get: Get = "ntk"
) -> Any:
    """Kernels in float64, as NumPy arrays [n1, n2]; arguments as for `kernel_fn`."""
    kernel = kernel_fn(net)
    with float64():
        points = [None if x is None else np.asarray(x, np.float64) for x in (x1, x2)]
        out = jax.jit(kernel, static_argnames="get")(*points, get=get)
        return jax.tree.map(np.asarray, out)
