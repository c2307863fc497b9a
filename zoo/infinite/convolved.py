"""Covariances of a convolution's outputs at all pairs of positions."""

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax import lax


def convolved_covariance(
    lhs: Any,
    filter_shape: Sequence[int],
    strides: Sequence[int],
    padding: Any,
    batch_ndim: int,
) -> jax.Array | None:
    """Mean over the filter's places d of lhs[.., stride i + d, stride j + d, ..].

    In the place of neural-tangents' function of two-dimensional convolutions with
    diagonal filters: XLA's own convolution in float64 reads its padding from beside the
    array on CPUs, which where no memory is ends the process; and a sum of as many
    slices as the filter is wide is all that there is to do.

    Args:
        lhs: covariances [n1, (n2,) height, height, width, width, ...].
        filter_shape: along each spatial axis.
        strides: along each spatial axis.
        padding: of neural-tangents, named "VALID", "SAME" or "CIRCULAR".
        batch_ndim: number of the axes before the spatial ones.

    Returns:
        the same of the outputs, pairs of spatial axes in reverse order.
    """
    if lhs is None or lhs.ndim == 0:
        return lhs
    for i, (size, stride) in enumerate(zip(filter_shape, strides, strict=True)):
        axes = (batch_ndim + 2 * i, batch_ndim + 2 * i + 1)
        lhs = _padded(lhs, axes, size, stride, padding.name)
        count = (lhs.shape[axes[0]] - size) // stride + 1
        total = 0.0
        for d in range(size):
            part = lhs
            for axis in axes:
                part = lax.slice_in_dim(
                    part, d, d + stride * (count - 1) + 1, stride, axis
                )
            total = total + part
        lhs = total / size
    pairs = range(len(filter_shape))[::-1]
    order = [batch_ndim + 2 * i + j for i in pairs for j in (0, 1)]
    return jnp.transpose(lhs, (*range(batch_ndim), *order))


def _padded(lhs: Any, axes: tuple[int, int], size: int, stride: int, name: str) -> Any:
    """As the outputs' positions ask for, on both axes of a pair."""
    if name == "VALID":
        return lhs
    ((low, high),) = lax.padtype_to_pads([lhs.shape[axes[0]]], [size], [stride], "SAME")
    pads = [(low, high) if axis in axes else (0, 0) for axis in range(lhs.ndim)]
    return jnp.pad(lhs, pads, mode="wrap" if name == "CIRCULAR" else "constant")
