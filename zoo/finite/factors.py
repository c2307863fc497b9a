"""Derivatives of a network's outputs by the parameters of one site at a time.

A module whose result is linear in its parameters, out[n, p, m] = sum_q design[n, p, q]
theta[q, m], enters the empirical NTK through its design matrix and the signals g[k, n,
p, m], the derivatives of the outputs by its result. Of any other module the Jacobian
is needed: that of its own call, repeated for one example at a time, times its signals.
"""

import math
from collections.abc import Callable
from functools import partial
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict, unflatten_dict

from zoo.finite.calls import Call, Key, Path, intercept, record
from zoo.finite.channels import apart
from zoo.finite.gram import Apart, Factor, Flat, multiplied, order
from zoo.finite.sites import Site, local


def factors(
    net: nn.Module,
    variables: Any,
    x: jax.Array,
    places: list[Site],
    outputs: tuple[int, int],
    pairing: tuple[int, int, int, bool],
    once: bool,
) -> list[Factor]:
    """The derivatives at a batch, site by site.

    Args:
        net: the network.
        variables: its collections, "params" among them.
        x: the batch, [n, ...].
        places: its sites.
        outputs: the first of the outputs, and the one after the last.
        pairing: numbers of points on either side and of outputs, and whether all pairs
            of outputs are asked for; decides which matrices are multiplied first.
        once: whether the points are multiplied with no others.
    """
    k = record(net, variables, x)[-1].output.shape[1]
    chosen = jnp.eye(k)[slice(*outputs)]
    weight, kept = _kept_apart(net, variables, x, places)
    rest = [site for site in places if site.calls[0].key not in kept]
    inputs, signals = backward(net, variables, x, chosen, rest)
    if kept:  # with ones for weights, the part of the signals that no output changes
        ones = _replaced(variables, weight, jnp.ones_like)
        others = [site for site in places if site.calls[0].key in kept]
        same, alone = backward(net, ones, x, jnp.eye(1, k), others)
        inputs, signals = inputs | same, signals | alone
    found: list[Factor] = []
    for site in places:
        g = [signals[call.key] for call in site.calls]
        h = [inputs[call.key] for call in site.calls]
        if site.design is None:
            found.append(jacobian(site, variables, h[0], g[0]))
            continue
        h, g = matrices(site, h, g)
        if h.ndim == 2:
            found.append(multiplied(h, g))
        elif site.calls[0].key in kept:
            matrix: Any = flatten_dict(variables["params"])[weight]
            u = chosen.astype(matrix.dtype) @ matrix.T
            found.append(_apart(h, g[0], u, pairing, once))
        else:
            _, p, q = h.shape
            found.append(order((p, q, g.shape[-1]), pairing, once)(h, g))
    return found


def _apart(
    h: jax.Array,
    s: jax.Array,
    u: jax.Array,
    pairing: tuple[int, int, int, bool],
    once: bool,
) -> Factor:
    """Of signals u[k, m] s[n, p, m]; as those of one output where they are summed."""
    n1, n2, _, full = pairing
    linear = (h.shape[1], h.shape[2], s.shape[-1])
    if not full:
        g = s[None] * jnp.linalg.norm(u, axis=0)[None, None, None]
        return order(linear, (n1, n2, 1, full), once)(h, g)
    kind = order(linear, pairing, once, apart=True)
    return Apart(h, s, u) if kind is Apart else kind(h, s[None] * u[:, None, None])


def _kept_apart(
    net: nn.Module, variables: Any, x: Any, places: list[Site]
) -> tuple[Path, set[Key]]:
    """The last weights, [m, k], and calls whose channels stay apart up to them."""
    calls = record(net, variables, x)
    k = calls[-1].output.shape[1]
    params: dict[Any, Any] = flatten_dict(variables["params"])
    weights = [
        leaf
        for call in calls
        for leaf in ((*call.key[0], "W"), (*call.key[0], "kernel"))
        if leaf in params and params[leaf].ndim == 2 and params[leaf].shape[1] == k
    ]
    if k == 1 or not weights:
        return (), set()
    last = weights[-1]

    def stays(site: Site) -> bool:
        (call, *others), design = site.calls, site.design
        if design is None or others or call.rows != "batch":
            return False
        (_, *positions, m) = call.output.shape
        rows = jax.eval_shape(design, call.input).shape[-2]
        if (rows, m) != (math.prod(positions), len(params[last])):
            return False

        def program(weight: jax.Array, result: jax.Array) -> Any:
            changed = _replaced(variables, last, lambda _: weight)
            return _shifted(net, changed, x, {call.key: call}, {call.key: result})[0]

        return apart(program, params[last], call.output)

    return last, {site.calls[0].key for site in places if stays(site)}


def _replaced(variables: Any, leaf: Path, change: Callable) -> dict:
    """The variables with one parameter changed."""
    params: dict[Any, Any] = flatten_dict(variables["params"])
    params[leaf] = change(params[leaf])
    return {**variables, "params": unflatten_dict(params)}


def matrices(site: Site, h: list, g: list) -> tuple[jax.Array, jax.Array]:
    """Designs and signals; calls of one linear map are further positions of it."""
    shared = site.calls[0].rows == "shared"
    design: Any = site.design
    designs = [design(each) for each in h]
    if shared:
        designs = [d.reshape(-1, d.shape[-1]) for d in designs]
    signals = [
        each.reshape(*each.shape[:2], d.shape[-2], -1)
        for each, d in zip(g, designs, strict=True)
    ]
    return jnp.concatenate(designs, axis=-2), jnp.concatenate(signals, axis=2)


def jacobian(site: Site, variables: Any, h: jax.Array, g: jax.Array) -> Flat:
    """Signals times the derivatives of a call by its module's parameters."""
    (call,) = site.calls
    path = call.key[0]
    own = local(variables, path)
    params = flatten_dict(own["params"])
    shared = call.rows == "shared"

    def pulled(h: jax.Array, g: jax.Array) -> jax.Array:  # [k, ...] -> [k, P]
        def out(leaves: dict) -> jax.Array:
            merged = own | {"params": unflatten_dict(params | leaves)}
            return call.apply(merged, h)

        leaves = {leaf[len(path) :]: params[leaf[len(path) :]] for leaf in site.leaves}
        _, pullback = jax.vjp(out, leaves)
        (found,) = jax.vmap(pullback)(g)
        flat = [leaf.reshape(len(g), -1) for leaf in jax.tree.leaves(found)]
        return jnp.concatenate(flat, axis=-1)

    if shared:
        k, n = g.shape[:2]
        d = pulled(h, g.reshape(k * n, *g.shape[2:])).reshape(k, n, -1)
        return Flat(d.transpose(1, 0, 2))
    return Flat(jax.vmap(pulled, (0, 1))(h[:, None], g[:, :, None]))


def _shifted(
    net: nn.Module, variables: Any, x: jax.Array, calls: dict[Key, Call], shifts: dict
) -> tuple[Any, dict[Key, jax.Array]]:
    """The outputs with `shifts` added to the results of calls, and these' inputs."""
    inputs = {}

    def visit(key, inside, context, args, kwargs, out):
        if key not in calls:
            return out
        inputs[key] = calls[key].array(args, kwargs)
        return out + shifts[key]

    with intercept(visit):
        return net.apply(variables, x), inputs


def backward(
    net: nn.Module, variables: Any, x: jax.Array, chosen: jax.Array, places: Any
) -> tuple[dict[Key, jax.Array], dict[Key, jax.Array]]:
    """Inputs of the calls, and derivatives by their results of `chosen` [k', k] @ f."""
    calls = {call.key: call for site in places for call in site.calls}
    forward = partial(_shifted, net, variables, x, calls)
    shifts = {
        key: jnp.zeros(call.output.shape, call.output.dtype)
        for key, call in calls.items()
    }
    out, pullback, inputs = jax.vjp(forward, shifts, has_aux=True)
    n, k = out.shape
    chosen = chosen.astype(out.dtype)

    def at_all(e: jax.Array) -> dict[Key, jax.Array]:
        (found,) = pullback(jnp.broadcast_to(e, (n, k)))
        return {key: g for key, g in found.items() if calls[key].rows == "batch"}

    def at_one(e: jax.Array, point: jax.Array) -> dict[Key, jax.Array]:
        (found,) = pullback(point[:, None] * e[None])
        return {key: g for key, g in found.items() if calls[key].rows == "shared"}

    signals = jax.vmap(at_all)(chosen)
    if any(call.rows == "shared" for call in calls.values()):
        each = jax.vmap(jax.vmap(at_one, (None, 0)), (0, None))
        signals |= each(chosen, jnp.eye(n, dtype=out.dtype))
    return inputs, signals
