"""The empirical NTK of a network, layer by layer.

    Theta[x, x', c, c'] = sum_theta d f_c(x) / d theta  d f_c'(x') / d theta.

The parameters of a layer that has a rule (`Layer.ntk_share`) enter through its input h
and the signal g = d f_c / d (layer's output), so that no Jacobian of theirs is formed.
All other parameters go through their Jacobian. Examples must not interact: f(x) may
depend on no other row of the batch.
"""

import functools
from collections.abc import Callable
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from zoo.layers import Finite, Layer, Weights

Path = tuple[str, ...]


class Rule(NamedTuple):
    """A layer with a rule, and what it gives for one example."""

    layer: Layer
    shape: tuple[int, ...]
    dtype: Any


class Signals(NamedTuple):
    """What one batch [n, ...] leaves in the layers that have a rule.

    Attributes:
        inputs: input h of each layer, [n, ...].
        signals: derivative of every output by each layer's output, [k, n, ...].
    """

    inputs: dict[Path, jax.Array]
    signals: dict[Path, jax.Array]


def empirical_ntk(
    net: nn.Module, params: Any, x1: jax.Array, x2: jax.Array | None = None, **options
) -> jax.Array:
    """The empirical NTK of a Flax module at given parameters.

    Args:
        net: a Flax Linen module that maps [n, ...] to [n, k].
        params: its parameters, the tree under "params".
        x1: inputs [n1, ...].
        x2: inputs [n2, ...]; None means `x1`.
        options: `full=True` for all pairs of outputs instead of their mean.

    Returns:
        [n1, n2], the mean over outputs c of Theta[:, :, c, c]; with `full=True`
        [n1, n2, k, k].

    Example:
        >>> import jax, jax.numpy as jnp, zoo
        >>> net, x = zoo.MLP(width=32, depth=2, out=3), jnp.ones((4, 5))
        >>> params = net.init(jax.random.key(0), x)["params"]
        >>> zoo.empirical_ntk(net, params, x).shape
        (4, 4)
        >>> zoo.empirical_ntk(net, params, x, full=True).shape
        (4, 4, 3, 3)
    """
    full = options.pop("full", False)
    if options:
        raise TypeError(f"empirical_ntk got unknown options {sorted(options)}.")
    theta = ntk_by_output(net, params, x1, x2)
    if full:
        return theta.transpose(1, 3, 0, 2)
    return output_mean(theta)


def output_mean(theta: jax.Array) -> jax.Array:
    """Mean over outputs c of Theta[c, :, c, :]; [k, n1, k, n2] -> [n1, n2]."""
    return jnp.einsum("kakb->ab", theta) / theta.shape[0]


def ntk_by_output(
    net: nn.Module, params: Any, x1: jax.Array, x2: jax.Array | None = None
) -> jax.Array:
    """The full empirical NTK with outputs before points, [k, n1, k, n2]."""
    with jax.default_matmul_precision("highest"):
        rules = _ruled_layers(net, params, x1)
        left = _signals(net, params, x1, rules)
        right = left if x2 is None else _signals(net, params, x2, rules)
        shares = [
            _share(rule.layer, left, right, path)
            for path, rule in rules.items()
            if rule.layer.trained
        ]
        rest = {
            path: leaf
            for path, leaf in flatten_dict(params).items()
            if path[:-1] not in rules
        }
        if rest or not shares:
            shares.append(_contract_jacobian(net, params, rest, x1, x2))
        return functools.reduce(jnp.add, shares)


def _share(layer: Weights, left: Signals, right: Signals, path: Path) -> jax.Array:
    """What the parameters of a layer add; [k, n1, k, n2]."""
    h1, h2 = layer.design(left.inputs[path]), layer.design(right.inputs[path])
    g1, g2 = (
        s.signals[path].reshape(*s.signals[path].shape[:2], h1.shape[1], -1)
        for s in (left, right)
    )
    d1, d2 = (jnp.einsum("apq,kapm->kaqm", h, g) for h, g in ((h1, g1), (h2, g2)))
    return jnp.einsum("kaqm,lbqm->kalb", d1, d2)


def _intercept(visit: Callable[[Path, Layer, jax.Array, jax.Array], jax.Array]):
    """Passes every layer's (path, layer, input, output) through `visit`."""

    def interceptor(call, args, kwargs, context):
        out = call(*args, **kwargs)
        module = context.module
        if isinstance(module, Finite) and context.method_name == "__call__":
            return visit(module.path, module.layer, args[0], out)
        return out

    return nn.intercept_methods(interceptor)


def _ruled_layers(net: nn.Module, params: Any, x: jax.Array) -> dict[Path, Rule]:
    """Layers with parameters, a rule, and one call per forward pass."""
    owners = {path[:-1] for path in flatten_dict(params)}
    calls: list[tuple[Path, Rule]] = []

    def visit(path, layer, h, out):
        if path in owners and isinstance(layer, Weights):
            calls.append((path, Rule(layer, out.shape[1:], out.dtype)))
        return out

    with _intercept(visit):
        jax.eval_shape(lambda p, x: net.apply({"params": p}, x), params, x)
    paths = [path for path, _ in calls]
    return {path: rule for path, rule in calls if paths.count(path) == 1}


def _signals(net: nn.Module, params: Any, x: jax.Array, rules: dict) -> Signals:
    """Inputs of the layers and the derivatives of every output by their outputs."""

    def forward(shifts: dict[Path, jax.Array]) -> tuple[jax.Array, dict]:
        inputs = {}

        def visit(path, layer, h, out):
            if path not in rules:
                return out
            inputs[path] = h
            return out + shifts[path]

        with _intercept(visit):
            return jnp.asarray(net.apply({"params": params}, x)), inputs

    shifts = {
        path: jnp.zeros((x.shape[0], *rule.shape), rule.dtype)
        for path, rule in rules.items()
    }
    outputs, pullback, inputs = jax.vjp(forward, shifts, has_aux=True)
    basis = jnp.eye(outputs.shape[-1], dtype=outputs.dtype)
    (signals,) = jax.vmap(lambda e: pullback(jnp.broadcast_to(e, outputs.shape)))(basis)
    return Signals(inputs, signals)


def _contract_jacobian(
    net: nn.Module, params: Any, rest: dict, x1: jax.Array, x2: jax.Array | None
) -> jax.Array:
    """Share of the parameters `rest`, from their Jacobian; [k, n1, k, n2]."""

    def output(leaves: dict, x: jax.Array) -> jax.Array:
        merged = unflatten_dict(flatten_dict(params) | leaves)
        return net.apply({"params": merged}, x[None])[0]

    jacobian = jax.vmap(jax.jacrev(output), (None, 0))
    j1 = jacobian(rest, x1)
    j2 = j1 if x2 is None else jacobian(rest, x2)

    def flat(j: jax.Array) -> jax.Array:  # [n, k, ...] -> [n, k, p]
        return j.reshape(*j.shape[:2], -1)

    shares = [
        jnp.einsum("akp,blp->kalb", flat(j1[path]), flat(j2[path])) for path in rest
    ]
    return functools.reduce(jnp.add, shares)
