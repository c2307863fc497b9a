"""Whether a network's modules are all there is to it."""

import math
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from zoo.finite.calls import cached, record
from zoo.finite.factors import backward, jacobian, matrices
from zoo.finite.gram import multiplied
from zoo.finite.sites import Site, by_module


def sites(net: nn.Module, variables: Any, x: Any) -> list[Site]:
    """Places for all parameters that are trained, in the order of the forward pass.

    The network itself, as one place, where its modules are not all there is to it.
    """
    places = by_module(net, variables, x)
    if complete(net, variables, x):
        return places
    leaves = tuple(leaf for site in places for leaf in site.leaves)
    return [Site(record(net, variables, x)[-1:], leaves, None)]


def complete(net: nn.Module, variables: Any, x: Any) -> bool:
    """Whether the sites hold all there is to the derivatives by their parameters.

    A network may use a parameter beside its module's own call (a tied embedding), stop
    its gradient, or reorder examples between two calls. Compared at random parameters
    of the same shapes, at one example of two, for a random combination of outputs: the
    norm of the derivatives by each site's parameters, as the site and as the network
    have it. The zoo's own layers do nothing of the kind.
    """
    x = jax.ShapeDtypeStruct((2, *x.shape[1:]), x.dtype)
    leaves, tree = jax.tree.flatten((variables, x))
    specs = tuple(jax.ShapeDtypeStruct(np.shape(a), a.dtype) for a in leaves)
    return _complete(net, tree, specs)


@cached
def _complete(net: nn.Module, tree: Any, specs: tuple) -> bool:
    variables, x = tree.unflatten(specs)
    places = by_module(net, variables, x)
    if all(call.layer is not None for site in places for call in site.calls):
        return True
    rng = np.random.default_rng(0)
    others = {name: tree for name, tree in variables.items() if name != "params"}
    ones = jax.tree.map(lambda spec: np.ones(spec.shape, spec.dtype), others)
    drawn = jax.tree.map(partial(_random, rng), variables["params"])
    k = jax.eval_shape(net.apply, variables, x).shape[1]
    mix = rng.normal(size=(1, k)).astype(np.float32)
    given = ({**ones, "params": drawn}, _random(rng, x), mix)
    with jax.ensure_compile_time_eval(), jax.default_matmul_precision("highest"):
        found = jax.jit(partial(_norms, net, places))(*given)
    ours, theirs = np.asarray(found, np.float64)
    scale = np.maximum(ours, theirs)
    types = [spec.dtype for spec in specs if jnp.issubdtype(spec.dtype, jnp.floating)]
    # Rounding: some digits of the coarsest type, and of sums in float32.
    error = max(1e-4, *(10 * float(jnp.finfo(dtype).eps) for dtype in types))
    near = np.abs(ours - theirs) <= error * scale
    return bool(np.all(near | (scale <= 1e-6 * scale.max(initial=0.0))))


def _norms(
    net: nn.Module, places: list[Site], drawn: Any, points: jax.Array, mix: jax.Array
) -> jax.Array:
    """Norms of the derivatives by each site's parameters: the sites', the network's."""

    def mixed(params: Any) -> jax.Array:
        f: Any = net.apply(drawn | {"params": params}, points)
        return jnp.vdot(mix[0].astype(f.dtype), f[0])

    truth: dict[Any, Any] = flatten_dict(jax.grad(mixed)(drawn["params"]))
    inputs, signals = backward(net, drawn, points, mix, places)
    found = []
    for site in places:
        g = [signals[call.key] for call in site.calls]
        h = [inputs[call.key] for call in site.calls]
        if site.design is None:
            flat = jacobian(site, drawn, h[0], g[0])
        else:
            flat = multiplied(*matrices(site, h, g))
        leaves = [jnp.ravel(truth[leaf]).astype(jnp.float32) for leaf in site.leaves]
        found.append(jnp.linalg.norm(flat.d[0].astype(jnp.float32)))
        found.append(jnp.linalg.norm(jnp.concatenate(leaves)))
    return jnp.stack(found).reshape(-1, 2).T


def _random(rng: np.random.Generator, spec: Any) -> np.ndarray:
    """Weights of variance one over the fan-in, vectors near one, whole numbers 0, 1."""
    shape = spec.shape
    if not jnp.issubdtype(spec.dtype, jnp.floating):
        return rng.integers(0, 2, shape).astype(spec.dtype)
    drawn = rng.normal(size=shape)
    if len(shape) < 2:
        return (1.0 + 0.3 * drawn).astype(spec.dtype)
    return (drawn / math.prod(shape[:-1]) ** 0.5).astype(spec.dtype)
