"""Infinite-width kernels of a network.

Sigma is the NNGP kernel, the covariance of one output at initialization. Theta is the
NTK, sum over parameters of d f_c(x) / d theta  d f_c(x') / d theta, for one output c;
distinct outputs share no NTK in the limit: the full one is Theta (x) I_k.
"""

import math
from collections import namedtuple
from collections.abc import Callable
from functools import partial
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np

from zoo.infinite.precision import float64, kernel_numerics
from zoo.layers import walk
from zoo.names import check_name
from zoo.tiles.grid import block, even_side

Get = str | tuple[str, ...]
KERNELS = ("nngp", "ntk")
MAX_BYTES = 2**27
INSTEAD = {
    "monte carlo": "zoo.monte_carlo_kernel_fn(net, key, n_samples) estimates it",
    "none": "zoo.empirical_ntk(net, params, x) is the kernel at finite width",
}


def kernel_fn(net: Any) -> Callable[..., Any]:
    """The analytic kernels of a network, with neural-tangents' calling convention.

    Computed in the dtype of the inputs; `kernel_matrix` gives float64 whatever JAX's
    x64 switch says.

    Args:
        net: a network of `zoo.models`.

    Returns:
        `kernel(x1, x2=None, get="ntk")` for inputs [n1, ...] and [n2, ...]: an array
        [n1, n2] where `get` is "nngp" or "ntk", and a named tuple of them where it is
        a tuple of these names.

    Raises:
        NotImplementedError: if the limit does not exist or has no known form: it names
            the layer and the reason, and says what to call instead.
        TypeError: if it is no network of `zoo.models`, which alone know their limits.
        ValueError: when called, if `get` is no kernel's name.

    Example:
        >>> import jax.numpy as jnp, zoo
        >>> net = zoo.MLP(width=64, depth=1, activation="relu", sigma_w=2**0.5)
        >>> kernel = zoo.kernel_fn(net)
        >>> kernel(jnp.ones((1, 4)), get="nngp").shape
        (1, 1)
    """
    if not hasattr(net, "kernels"):
        raise TypeError(
            f"{type(net).__name__} is no network of zoo.models, and nothing states its "
            "infinite-width limit: sample it with zoo.monte_carlo_kernel_fn(net, key, "
            "n_samples)."
        )
    kind, why = net.limit()
    if kind in INSTEAD:
        raise NotImplementedError(
            f"{type(net).__name__} has no infinite-width kernel in closed form. {why}; "
            f"{INSTEAD[kind]}."
        )

    def kernel(x1, x2=None, get: Get = "ntk"):
        for name in (get,) if isinstance(get, str) else get:
            check_name("kernel", name, KERNELS)
        with kernel_numerics():
            points = [None if x is None else jnp.asarray(x) for x in (x1, x2)]
            found = net.kernels(*points)
        if isinstance(get, str):
            return getattr(found, get)
        asked = cast(Any, namedtuple)("Kernels", get)
        return asked(*(getattr(found, name) for name in get))

    return kernel


def kernel_matrix(
    net: Any,
    x1: np.ndarray,
    x2: np.ndarray | None = None,
    get: Get = "ntk",
    max_bytes: int = MAX_BYTES,
) -> Any:
    """Kernels in float64, as NumPy arrays [n1, n2].

    They are computed in square tiles, of one set of points with itself once for both
    halves. About a dozen arrays of a tile's size are alive at a time.

    Args:
        net: a network of `zoo.models`.
        x1: inputs [n1, ...].
        x2: inputs [n2, ...]; None means `x1`.
        get: "nngp", "ntk" or a tuple of them, as for `kernel_fn`.
        max_bytes: size of one array of a tile, with all pairs of positions; a tile of
            one pair of points is tried in any case.

    Raises:
        ValueError: if an entry is not finite; and as `kernel_fn`.
    """
    kernel = kernel_fn(net)
    with float64():
        first = np.asarray(x1, widened(x1))
        second = None if x2 is None else np.asarray(x2, widened(x2))
        compiled = jax.jit(kernel, static_argnames="get")
        side = tile_side(net, first, max_bytes)
        found = _tiled(partial(compiled, get=get), first, second, side)
    if not all(np.all(np.isfinite(a)) for a in jax.tree.leaves(found)):
        _ask(kernel, [first, second])
        why = net.limit().why
        raise ValueError(
            f"the kernel of {type(net).__name__} has entries that are not finite: the "
            f"inputs are, or a variance is too large{f' ({why})' if why else ''}."
        )
    return found


def tile_side(net: Any, x: np.ndarray, max_bytes: int) -> int:
    """Points along a side of a tile."""
    mixes = any(layer.mixes_positions for layer in walk(net.layers()))
    positions = math.prod(x.shape[1:-1]) ** (2 if mixes else 1)
    return max(1, math.isqrt(max_bytes // (8 * positions)))


def _tiled(kernel: Callable, x1: Any, x2: Any, side: int) -> Any:
    """The kernel's arrays, put together from tiles of equal size."""
    left = cut(x1, side)
    right = left if x2 is None else cut(x2, side)
    sizes = (len(x1), len(x1) if x2 is None else len(x2))
    whole = None
    for i, (start1, some1) in enumerate(left):
        for j, (start2, some2) in enumerate(right):
            if x2 is None and j < i:
                continue
            out = kernel(some1, None if x2 is None and i == j else some2)
            if whole is None:
                whole = jax.tree.map(lambda a: np.empty((*sizes, *a.shape[2:])), out)
            rows = slice(start1, min(start1 + len(some1), sizes[0]))
            columns = slice(start2, min(start2 + len(some2), sizes[1]))
            leaves = zip(jax.tree.leaves(whole), jax.tree.leaves(out), strict=True)
            for to, tile in leaves:
                kept = to[rows, columns]
                kept[:] = np.asarray(tile)[: kept.shape[0], : kept.shape[1]]
                if x2 is None and i != j:  # outputs change places with their points
                    axes = (1, 0, *range(2, kept.ndim)[::-1])
                    to[columns, rows] = kept.transpose(axes)
    return whole


def cut(x: np.ndarray, side: int) -> list[tuple[int, np.ndarray]]:
    """Tiles of equal size and where they start; the last point fills the last one."""
    size = even_side(len(x), side)
    count = max(1, -(-len(x) // max(1, size)))
    return [(i * size, block(x, i, size)) for i in range(count)]


def _ask(kernel: Callable, points: list) -> None:
    """Has a layer say why, which it cannot while it is traced; point by point."""
    with float64():
        for x in points:
            for each in () if x is None else x[:, None]:
                kernel(each)


def widened(x: np.ndarray) -> Any:
    """float64 for coordinates; whole numbers, as of nodes, stay what they are."""
    return np.float64 if np.issubdtype(np.asarray(x).dtype, np.floating) else None
