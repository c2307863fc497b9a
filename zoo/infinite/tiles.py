"""Infinite-width kernels that do not fit: by tiles, stored, over all devices."""

from functools import partial
from typing import Any

import numpy as np

from zoo.infinite.kernels import kernel_fn, tile_side, widened
from zoo.infinite.precision import float64, float64_devices
from zoo.names import check_name
from zoo.tiles.fill import Report, stored_kernel
from zoo.tiles.source import Source
from zoo.tiles.stored import Place, Stored

TILE_BYTES = 2**25
# Files that make a kernel, for its key.
CODE = ("infinite/kernels.py", "infinite/convolved.py")
CODE += ("infinite/neural_tangents.py", "infinite/precision.py")


def kernel_source(net: Any, get: str = "ntk", dtype: str = "float64") -> Source:
    """The analytic kernel of a network, in float64, for `zoo.tiles`.

    Args:
        net: a network of `zoo.models` whose outputs share no kernel.
        get: "ntk" or "nngp".
        dtype: in which it is kept; "float32" takes half, and costs digits.

    Raises:
        NotImplementedError: as `zoo.kernel_fn`, or if outputs share the kernel.
    """
    check_name("dtype", dtype, ("float32", "float64"))
    kernel = kernel_fn(net)
    if net.mixes_outputs:
        raise NotImplementedError(
            f"{type(net).__name__}'s outputs share parts of its kernel, [n, n, k, k], "
            "which is not kept in tiles: see zoo.infinite.kernels.kernel_matrix."
        )
    net = net.limit_key()
    tile, devices = partial(_tile, kernel, get), float64_devices()
    return Source(tile, (), get, net, CODE, devices, dtype=dtype, numerics=float64)


def _tile(kernel: Any, get: str, operands: Any, x1: Any, x2: Any) -> Any:
    return kernel(x1, x2, get=get)


def kernel_tiles(
    net: Any,
    x1: np.ndarray,
    x2: np.ndarray | None = None,
    *,
    get: str = "ntk",
    dtype: str = "float64",
    max_bytes: int = TILE_BYTES,
    side: int | None = None,
    store: Place = None,
    max_memory: int | None = None,
    report: Report | None = None,
) -> Stored:
    """The kernel of one or two sets of points in tiles, about 4 n^2 bytes of one set.

    Args:
        net: as for `kernel_source`, like `get` and `dtype`.
        x1: inputs [n1, ...].
        x2: inputs [n2, ...]; None means `x1`.
        get: "ntk" or "nngp".
        dtype: of the tiles.
        max_bytes: size of one array of a tile, with all pairs of positions.
        side: of a tile, instead of what follows from `max_bytes`.
        store: as for `zoo.tiles.fill.stored_kernel`, like the next two.
        max_memory: bytes that may be used.
        report: called with the number of finished tiles, and of all.

    Raises:
        ValueError: as `zoo.tiles.fill.stored_kernel`, and as `zoo.kernel_fn`.
        TypeError: the network has no key; without a `store` it needs none.
    """
    source = kernel_source(net, get, dtype)
    first = np.asarray(x1, widened(x1))
    return stored_kernel(
        source,
        first,
        None if x2 is None else np.asarray(x2, widened(x2)),
        store=store,
        side=tile_side(net, first, max_bytes) if side is None else side,
        max_memory=max_memory,
        report=report,
    )
