"""Design matrices of modules whose result is linear in their parameters.

The zoo's layers bring their own, `Weights.design`; here are those of Flax's.
"""

from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from zoo.finite.calls import Call
from zoo.layers import Weights
from zoo.layers.linear import patches

Design = Callable[[jax.Array], jax.Array]


def design_of(call: Call) -> Design | None:
    """Maps the array of a call to [n, p, q], the result's derivative by the parameters.

    None where the module has no such matrix, or where nobody has written it down.
    """
    if isinstance(call.layer, Weights):
        return call.layer.design
    module: Any = call.module
    plain = len(call.args) + len(call.kwargs) == 1
    own = getattr(module, "param_dtype", None)  # NumPy: float64 == None
    if not plain or own is None or call.output.dtype != own:
        return None
    dtype = call.output.dtype
    if type(module) is nn.Embed:
        return lambda h: _flat(jax.nn.one_hot(h, module.num_embeddings, dtype=dtype))
    if call.input.dtype != dtype or module.dtype not in (None, dtype):
        return None
    rules: dict[Any, Any] = RULES
    rule = rules.get(type(module))
    return None if rule is None else rule(module, call)


def _with_bias(module: nn.Module, inputs: Design) -> Design:
    """[n, positions ..., q] -> [n, p, q], with a one for the bias."""

    def design(h: jax.Array) -> jax.Array:
        h = inputs(h)
        h = h.reshape(h.shape[0], -1, h.shape[-1])
        if not module.use_bias:
            return h
        return jnp.concatenate([h, jnp.ones((*h.shape[:2], 1), h.dtype)], axis=-1)

    return design


def _dense(module: nn.Dense, call: Call) -> Design | None:
    swapped = module.dot_general or module.dot_general_cls
    return None if swapped else _with_bias(module, lambda h: h)


def _dense_general(module: nn.DenseGeneral, call: Call) -> Design | None:
    """The last axes contracted, in their order, as in nn.attention."""
    axes = (module.axis,) if isinstance(module.axis, int) else tuple(module.axis)
    ndim = len(call.input.shape)
    last = tuple(range(ndim - len(axes), ndim))
    if (
        tuple(axis % ndim for axis in axes) != last
        or last[0] == 0
        or module.batch_dims
        or module.dot_general
        or module.dot_general_cls
    ):
        return None
    return _with_bias(module, lambda h: h.reshape(*h.shape[: last[0]], -1))


def _conv(module: nn.Conv, call: Call) -> Design | None:
    """Patches, of convolutions that need nothing but them."""
    size = module.kernel_size
    size = (size,) if isinstance(size, int) else tuple(size)
    if (
        module.padding not in ("SAME", "VALID")
        or module.feature_group_count != 1
        or module.input_dilation not in (None, 1)
        or module.mask is not None
        or module.conv_general_dilated
        or module.conv_general_dilated_cls
        or len(call.input.shape) != len(size) + 2
    ):
        return None

    def every_axis(value: Any) -> tuple[int, ...]:
        return (value or 1,) * len(size) if isinstance(value, int | None) else value

    strides, dilation = every_axis(module.strides), every_axis(module.kernel_dilation)
    return _with_bias(
        module, lambda h: patches(h, size, strides, module.padding, dilation)
    )


RULES = {nn.Dense: _dense, nn.DenseGeneral: _dense_general, nn.Conv: _conv}


def _flat(h: jax.Array) -> jax.Array:
    return h.reshape(h.shape[0], -1, h.shape[-1])
