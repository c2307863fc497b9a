"""The empirical NTK of a network, module by module.

    Theta[x, x', c, c'] = sum_theta d f_c(x) / d theta  d f_c'(x') / d theta.

No Jacobian of all parameters is formed: `zoo.finite.factors` has the derivatives by
each module's parameters, `zoo.finite.gram` their products. Any Flax Linen module that
maps [n, ...] to [n, k] has such a kernel, if examples do not interact: f(x) may depend
on no other row of the batch.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from zoo.finite.blocks import Blocks, Range, blockwise, plan, sizes
from zoo.finite.calls import Path, cached, record
from zoo.finite.factors import factors, owned, sites
from zoo.finite.gram import Factor, contract

MAX_BYTES = 2**30


def empirical_ntk(
    net: nn.Module,
    params: Any,
    x1: jax.Array,
    x2: jax.Array | None = None,
    *,
    full: bool = False,
    max_bytes: int = MAX_BYTES,
    accumulate: str | None = None,
    variables: Any = None,
) -> jax.Array | np.ndarray:
    """The empirical NTK of a Flax module at given parameters.

    Args:
        net: a Flax Linen module that maps [n, ...] to [n, k].
        params: its parameters, the tree under "params".
        x1: inputs [n1, ...].
        x2: inputs [n2, ...]; None means `x1`, and half of the work.
        full: all pairs of outputs instead of their mean.
        max_bytes: predicted size of what is alive at a time, the result apart. Points,
            and outputs if need be, go in blocks that fit; see `plan_blocks`. A block of
            one output at one point is tried in any case.
        accumulate: "float64" multiplies derivatives, which stay of the network's own
            type, in float64. The result is then a NumPy array, unless the x64 switch
            of JAX is on, without which it cannot be done under `jit` or `vmap`.
        variables: other collections, such as {"batch_stats": ...}.

    Returns:
        [n1, n2], the mean over outputs c of Theta[:, :, c, c]; with `full=True`
        [n1, n2, k, k].

    Raises:
        ValueError: if an option is outside its range, if the network does not map
            [n, ...] to [n, k], or if a BatchNorm of it uses the batch's statistics.

    Example:
        >>> import jax, jax.numpy as jnp, zoo
        >>> net, x = zoo.MLP(width=32, depth=2, out=3), jnp.ones((4, 5))
        >>> params = net.init(jax.random.key(0), x)["params"]
        >>> zoo.empirical_ntk(net, params, x).shape
        (4, 4)
        >>> zoo.empirical_ntk(net, params, x, full=True).shape
        (4, 4, 3, 3)
    """
    double = _checked(accumulate, (params, x1, x2, variables))
    blocks = plan_blocks(
        net, params, x1, x2, full=full, max_bytes=max_bytes, variables=variables
    )
    everything = _collections(params, variables)
    theta = _kernel(net, everything, x1, x2, blocks, full, double)
    if double and not _x64():
        theta = np.asarray(theta)
    if full:
        return theta.transpose(1, 3, 0, 2)
    return theta / _outputs(net, everything, x1)


def _checked(accumulate: str | None, arrays: Any) -> bool:
    """Whether products are in float64."""
    if accumulate not in (None, "float64"):
        raise ValueError(
            f"accumulate has to be None or 'float64', got accumulate={accumulate!r}."
        )
    traced = any(isinstance(a, jax.core.Tracer) for a in jax.tree.leaves(arrays))
    if accumulate and traced and not _x64():
        raise ValueError(
            "accumulate='float64' under jit or vmap needs JAX's x64 switch, which is "
            "off: call empirical_ntk outside of them, or under jax.enable_x64(True)."
        )
    return accumulate is not None


def _x64() -> bool:
    config: Any = jax.config
    return config.jax_enable_x64


def _kernel(
    net: nn.Module,
    variables: dict,
    x1: jax.Array,
    x2: jax.Array | None,
    blocks: Blocks,
    full: bool,
    double: bool = False,
) -> jax.Array:
    """Theta, [k, n1, k, n2], or its sum over outputs, [n1, n2]."""
    x64 = _x64()
    points = (jnp.asarray(x1), jnp.asarray(x1 if x2 is None else x2))
    n1, n2, k = x1.shape[0], points[1].shape[0], _outputs(net, variables, x1)
    pairing = (*blocks, full)
    derive, whole = _programs(net)
    once = blocks == (n1, n2, k)
    if not double and once:
        return whole(variables, points[0], None if x2 is None else points[1], pairing)

    def derivatives(side: int, some: Range, outputs: Range) -> list[Factor]:
        with jax.enable_x64(x64):
            return derive(variables, points[side][slice(*some)], outputs, pairing, once)

    def product(left: list[Factor], right: list[Factor] | None) -> jax.Array:
        return jax.block_until_ready(_contract(left, right, full, double))

    with jax.enable_x64(double or x64):
        return blockwise(derivatives, product, blocks, (n1, n2, k), full, x2 is None)


@partial(jax.jit, static_argnames=("full", "double"))
def _contract(left: Any, right: Any, full: bool, double: bool) -> jax.Array:
    if double:
        left, right = jax.tree.map(lambda a: a.astype(jnp.float64), (left, right))
    with jax.default_matmul_precision("highest"):
        return contract(left, right, full)


@cached
def _programs(net: nn.Module) -> tuple[Callable, Callable]:
    """Derivatives at a batch, and the kernel of two batches in one program."""

    def derive(variables, x, outputs, pairing, once):
        with jax.default_matmul_precision("highest"):
            return factors(net, variables, x, outputs, pairing, once)

    def whole(variables, x1, x2, pairing):
        outputs = (0, _outputs(net, variables, x1))
        left = derive(variables, x1, outputs, pairing, True)
        right = None if x2 is None else derive(variables, x2, outputs, pairing, True)
        with jax.default_matmul_precision("highest"):
            return contract(left, right, pairing[-1])

    return (
        jax.jit(derive, static_argnames=("outputs", "pairing", "once")),
        jax.jit(whole, static_argnames="pairing"),
    )


def plan_blocks(
    net: nn.Module,
    params: Any,
    x1: Any,
    x2: Any = None,
    *,
    full: bool = False,
    max_bytes: int = MAX_BYTES,
    variables: Any = None,
) -> Blocks:
    """The blocks in which `empirical_ntk` goes: a function of shapes and `max_bytes`.

    Raises:
        ValueError: if `max_bytes` is not positive, or as `empirical_ntk`.
    """
    if not max_bytes > 0:
        raise ValueError(f"max_bytes has to be positive, got max_bytes={max_bytes}.")
    everything = _collections(params, variables)
    leaves: dict[Any, Any] = flatten_dict(params)
    found = sizes(sites(net, everything, x1), leaves)
    number = max(leaf.dtype.itemsize for leaf in leaves.values()) if leaves else 4
    n2 = None if x2 is None else x2.shape[0]
    k = _outputs(net, everything, x1)
    return plan(found, x1.shape[0], n2, k, full, max_bytes / number)


def ntk_by_output(
    net: nn.Module,
    params: Any,
    x1: jax.Array,
    x2: jax.Array | None = None,
    *,
    max_bytes: int = MAX_BYTES,
    variables: Any = None,
) -> jax.Array:
    """The full empirical NTK with outputs before points, [k, n1, k, n2]."""
    blocks = plan_blocks(
        net, params, x1, x2, full=True, max_bytes=max_bytes, variables=variables
    )
    return _kernel(net, _collections(params, variables), x1, x2, blocks, True)


def output_mean(theta: jax.Array) -> jax.Array:
    """Mean over outputs c of Theta[c, :, c, :]; [k, n1, k, n2] -> [n1, n2]."""
    return jnp.einsum("kakb->ab", theta) / theta.shape[0]


def trained_weights(
    net: nn.Module, params: Any, x: Any, variables: Any = None
) -> list[Path]:
    """Paths of the trained weight matrices, in the order of the forward pass.

    Args:
        net: a Flax Linen module.
        params: its parameters, the tree under "params"; shapes are enough.
        x: a batch of inputs; its shape is enough.
        variables: other collections.

    Returns:
        the leaves "W" of the zoo's layers that are trained, and the leaves "kernel" of
        other modules.
    """
    return [
        leaf
        for leaf in _trained(net, params, x, variables)
        if leaf[-1] in ("W", "kernel")
    ]


def trained_size(net: nn.Module, params: Any, x: Any, variables: Any = None) -> int:
    """Number of trained parameters; arguments as of `trained_weights`."""
    leaves: dict[Any, Any] = flatten_dict(params)
    trained = _trained(net, params, x, variables)
    return sum(math.prod(leaves[leaf].shape) for leaf in trained)


def _trained(net: nn.Module, params: Any, x: Any, variables: Any) -> list[Path]:
    """Leaves that no frozen layer owns, by their module's first call."""
    calls = record(net, _collections(params, variables), x)
    leaves = owned(params, calls)
    paths = dict.fromkeys(call.key[0] for call in calls if not call.frozen)
    return [leaf for path in paths for leaf in leaves.get(path, ())]


def _collections(params: Any, variables: Any) -> dict:
    return {**(variables or {}), "params": params}


def _outputs(net: nn.Module, variables: Any, x: Any) -> int:
    """Number k of outputs."""
    return record(net, variables, x)[-1].output.shape[1]
