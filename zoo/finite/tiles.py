"""Empirical NTKs that do not fit: by tiles, stored, over all devices."""

from typing import Any

import flax.linen as nn
import jax
import numpy as np

from zoo.finite.ntk import MAX_BYTES, empirical_ntk, plan_blocks
from zoo.tiles.fill import Report, stored_kernel
from zoo.tiles.source import Source
from zoo.tiles.stored import Place, Stored

CODE = ("finite/*.py",)  # that makes the kernel, for its key


def empirical_source(
    net: nn.Module,
    params: Any,
    x: Any,
    *,
    full: bool = False,
    variables: Any = None,
    max_bytes: int = MAX_BYTES,
) -> Source:
    """The empirical NTK of a Flax module at given parameters, for `zoo.tiles`.

    Args:
        net: a Flax Linen module that maps [n, ...] to [n, k].
        params: its parameters, the tree under "params".
        x: a batch of inputs; its shape is enough.
        full: all pairs of outputs, as rows and columns [n k], outputs fastest, instead
            of their mean.
        variables: other collections.
        max_bytes: as for `zoo.empirical_ntk`, on each device.
    """

    def tile(operands: Any, x1: jax.Array, x2: jax.Array | None) -> jax.Array:
        own, others = operands
        given: Any = {"full": full, "variables": others, "max_bytes": max_bytes}
        found: Any = empirical_ntk(net, own, x1, x2, **given)
        if not full:
            return found
        n1, n2, k, _ = found.shape
        return found.transpose(0, 2, 1, 3).reshape(n1 * k, n2 * k)

    everything = {**(variables or {}), "params": params}
    out: Any = jax.eval_shape(net.apply, everything, x[:1])
    kind = "empirical ntk, all outputs" if full else "empirical ntk"
    outputs = out.shape[1] if full else 1
    devices, dtype = tuple(jax.local_devices()), str(out.dtype)
    shared = (params, variables)
    return Source(tile, shared, kind, net, CODE, devices, outputs, dtype)


def empirical_side(net: nn.Module, params: Any, x: np.ndarray, **given: Any) -> int:
    """The most points of which a tile goes in one block; options of `plan_blocks`."""
    side = len(x)
    while side > 1:
        some = x[:side]
        if plan_blocks(net, params, some, some, **given)[:2] == (side, side):
            break
        side = -(-side // 2)
    return side


def empirical_tiles(
    net: nn.Module,
    params: Any,
    x1: Any,
    x2: Any = None,
    *,
    full: bool = False,
    variables: Any = None,
    max_bytes: int = MAX_BYTES,
    side: int | None = None,
    store: Place = None,
    max_memory: int | None = None,
    report: Report | None = None,
) -> Stored:
    """The empirical NTK of one or two sets of points in tiles.

    Args:
        net: as for `empirical_source`, like `params`, `full` and `variables`.
        params: see there.
        x1: inputs [n1, ...].
        x2: inputs [n2, ...]; None means `x1`, and half of the work.
        full: see there.
        variables: see there.
        max_bytes: predicted size of what is alive on a device, from which the side of a
            tile follows; see `zoo.finite.ntk.plan_blocks`.
        side: of a tile, instead.
        store: as for `zoo.tiles.fill.stored_kernel`, like the next two.
        max_memory: bytes that may be used.
        report: called with the number of finished tiles, and of all.

    Raises:
        ValueError: as `zoo.tiles.fill.stored_kernel`, and as `zoo.empirical_ntk`.
        TypeError: the module has no key; without a `store` it needs none.
    """
    given: Any = {"full": full, "variables": variables, "max_bytes": max_bytes}
    first = np.asarray(x1)
    return stored_kernel(
        empirical_source(net, params, first, **given),
        first,
        None if x2 is None else np.asarray(x2),
        store=store,
        side=side or empirical_side(net, params, first, **given),
        max_memory=max_memory,
        report=report,
    )
