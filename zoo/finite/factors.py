"""Derivatives of a network's outputs by the parameters of one module at a time.

A module whose result is linear in its parameters, out[n, p, m] = sum_q design[n, p, q]
theta[q, m], enters the empirical NTK through its design matrix and the signals g[k, n,
p, m], the derivatives of the outputs by its result. Of any other module the Jacobian
is needed: that of its own call, repeated for one example at a time, times its signals.
Where not even that holds (parameters that several modules share, calls inside a
`scan`), the module around it takes its place; at the latest the network itself, whose
signals are one-hot.
"""

import math
from functools import partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from zoo.finite.calls import Call, Key, Path, cached, intercept, record
from zoo.finite.designs import Design, design_of
from zoo.finite.gram import Factor, Flat, multiplied, order


class Site(NamedTuple):
    """Parameters whose share is computed in one place.

    Attributes:
        calls: through which they act on the outputs; one if there is no design matrix.
        leaves: their paths in the tree under "params".
        design: the calls' design matrix, if they are linear in these parameters.
    """

    calls: tuple[Call, ...]
    leaves: tuple[Path, ...]
    design: Design | None


def sites(net: nn.Module, variables: Any, x: Any) -> list[Site]:
    """Places for all parameters that are trained, in the order of the forward pass.

    The network itself, as one place, where its modules are not all there is to it.
    """
    places = _places(net, variables, x)
    if complete(net, variables, x):
        return places
    leaves = tuple(leaf for site in places for leaf in site.leaves)
    return [Site(record(net, variables, x)[-1:], leaves, None)]


def _places(net: nn.Module, variables: Any, x: Any) -> list[Site]:
    """The places by modules."""
    calls = record(net, variables, x)
    for call in calls:
        if call.layer is not None and call.layer.couples_batch:
            raise ValueError(
                f"{type(call.layer).__name__} {'/'.join(call.key[0])} takes its "
                "statistics from the batch: pairs of points have no NTK."
            )
    found: dict[tuple[Key, bool], Site] = {}
    for owner, leaves in owned(variables["params"], calls).items():
        own = tuple(call for call in calls if call.key[0] == owner)
        if own[0].frozen:
            continue
        design = _common_design(own)
        if design is None:
            own = (_around(own, calls, variables, leaves),)
        key = (own[0].key, design is None)
        before = found[key].leaves if key in found else ()
        found[key] = Site(own, before + leaves, design)
    order = [call.key for call in calls]
    return sorted(found.values(), key=lambda site: order.index(site.calls[0].key))


def owned(params: Any, calls: tuple[Call, ...]) -> dict[Path, tuple[Path, ...]]:
    """The leaves of each module: the innermost one called whose path leads to them."""
    called = {call.key[0] for call in calls}
    found: dict[Path, tuple[Path, ...]] = {}
    for leaf in flatten_dict(params):
        owner = next(
            leaf[:i] for i in range(len(leaf) - 1, -1, -1) if leaf[:i] in called
        )
        found[owner] = (*found.get(owner, ()), leaf)
    return found


def _common_design(calls: tuple[Call, ...]) -> Design | None:
    rows = {call.rows for call in calls}
    if len(rows) > 1 or "" in rows:
        return None
    designs = [design_of(call) for call in calls]
    return None if None in designs else designs[0]


def _around(own: tuple[Call, ...], calls: Any, variables: Any, leaves: Any) -> Call:
    """The innermost call that the calls of a module happen in and that has rows."""
    path = own[0].key[0]
    for length in range(len(path), 0, -1):
        outer = [call for call in calls if call.key[0] == path[:length]]
        if len(outer) != 1 or not outer[0].rows:
            continue
        contained = all(path[:length] in (c.key[0], *c.inside) for c in own)
        if contained and _repeats(outer[0], variables):
            return outer[0]
    return calls[-1]


def _repeats(call: Call, variables: Any) -> bool:
    """Whether the module works outside of its network."""
    try:
        out = jax.eval_shape(call.apply, _at(variables, call.key[0]), call.input)
    except Exception:  # a user's module may fail in any way
        return False
    return (out.shape, out.dtype) == (call.output.shape, call.output.dtype)


def _at(variables: Any, path: Path) -> dict:
    """Each collection's part that belongs to the module at a path."""
    found = {}
    for name, tree in variables.items():
        for step in path:
            tree = tree.get(step, {})
        if tree:
            found[name] = tree
    return found


def factors(
    net: nn.Module,
    variables: Any,
    x: jax.Array,
    outputs: tuple[int, int],
    pairing: tuple[int, int, int, bool],
    once: bool,
) -> list[Factor]:
    """The derivatives at a batch, site by site.

    Args:
        net: the network.
        variables: its collections, "params" among them.
        x: the batch, [n, ...].
        outputs: the first of the outputs, and the one after the last.
        pairing: numbers of points on either side and of outputs, and whether all pairs
            of outputs are asked for; decides which matrices are multiplied first.
        once: whether the points are multiplied with no others.
    """
    places = sites(net, variables, x)
    k = jax.eval_shape(net.apply, variables, x).shape[1]
    chosen = jnp.eye(k)[slice(*outputs)]
    inputs, signals = _signals(net, variables, x, chosen, places)
    found: list[Factor] = []
    for site in places:
        g = [signals[call.key] for call in site.calls]
        h = [inputs[call.key] for call in site.calls]
        if site.design is None:
            found.append(_jacobian(site, variables, h[0], g[0]))
        else:
            found.append(_linear(site, h, g, pairing, once))
    return found


def _linear(
    site: Site, h: list, g: list, pairing: tuple[int, int, int, bool], once: bool
) -> Factor:
    inputs, outputs = _matrices(site, h, g)
    if inputs.ndim == 2:
        return multiplied(inputs, outputs)
    _, _, p, m = outputs.shape
    return order((p, inputs.shape[-1], m), pairing, once)(inputs, outputs)


def _matrices(site: Site, h: list, g: list) -> tuple[jax.Array, jax.Array]:
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


def _jacobian(site: Site, variables: Any, h: jax.Array, g: jax.Array) -> Flat:
    """Signals times the derivatives of a call by its module's parameters."""
    (call,) = site.calls
    path = call.key[0]
    local = _at(variables, path)
    params = flatten_dict(local["params"])
    shared = call.rows == "shared"

    def pulled(h: jax.Array, g: jax.Array) -> jax.Array:  # [k, ...] -> [k, P]
        def out(leaves: dict) -> jax.Array:
            merged = local | {"params": unflatten_dict(params | leaves)}
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


def _signals(
    net: nn.Module, variables: Any, x: jax.Array, chosen: jax.Array, places: Any
) -> tuple[dict[Key, jax.Array], dict[Key, jax.Array]]:
    """Inputs of the calls, and derivatives by their results of `chosen` [k', k] @ f."""
    calls = {call.key: call for site in places for call in site.calls}

    def forward(shifts: dict[Key, jax.Array]) -> tuple[Any, dict]:
        inputs = {}

        def visit(key, inside, context, args, kwargs, out):
            if key not in calls:
                return out
            inputs[key] = calls[key].array(args, kwargs)
            return out + shifts[key]

        with intercept(visit):
            return net.apply(variables, x), inputs

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


def complete(net: nn.Module, variables: Any, x: Any) -> bool:
    """Whether the sites hold all there is to the derivatives by their parameters.

    A network may use a parameter beside its module's own call (a tied embedding), stop
    its gradient, or reorder examples between two calls. Compared at random parameters
    of the same shapes, at one example of two, for a random combination of outputs: the
    norm of the derivatives by each site's parameters, as the site and as the network
    have it. The zoo's own layers do nothing of the kind.
    """
    leaves, tree = jax.tree.flatten((variables, x))
    specs = tuple(jax.ShapeDtypeStruct(np.shape(a), a.dtype) for a in leaves)
    return _complete(net, tree, specs)


@cached
def _complete(net: nn.Module, tree: Any, specs: tuple) -> bool:
    variables, x = tree.unflatten(specs)
    x = jax.ShapeDtypeStruct((2, *x.shape[1:]), x.dtype)
    places = _places(net, variables, x)
    if all(call.layer is not None for site in places for call in site.calls):
        return True
    with jax.ensure_compile_time_eval(), jax.default_matmul_precision("highest"):
        found = jax.jit(partial(_norms, net, variables, x, places))()
    ours, theirs = np.asarray(found, np.float64)
    scale = np.maximum(ours, theirs)
    types = [spec.dtype for spec in specs if jnp.issubdtype(spec.dtype, jnp.floating)]
    # Rounding: some digits of the coarsest type, and of sums in float32.
    error = max(1e-4, *(10 * float(jnp.finfo(dtype).eps) for dtype in types))
    near = np.abs(ours - theirs) <= error * scale
    return bool(np.all(near | (scale <= 1e-6 * scale.max(initial=0.0))))


def _norms(net: nn.Module, variables: Any, x: Any, places: list[Site]) -> jax.Array:
    """Norms of the derivatives by each site's parameters: the sites', the network's."""
    count = len(jax.tree.leaves(variables))
    keys = iter(jax.random.split(jax.random.key(0), 2 + count))
    drawn = jax.tree.map(lambda spec: jnp.ones(spec.shape, spec.dtype), variables)
    drawn["params"] = jax.tree.map(
        lambda spec: _random(spec, next(keys)), variables["params"]
    )
    points = _random(x, next(keys))
    out: Any = jax.eval_shape(net.apply, drawn, points)
    mix = jax.random.normal(next(keys), (1, *out.shape[1:]), out.dtype)

    def mixed(params: Any) -> jax.Array:
        f: Any = net.apply(drawn | {"params": params}, points)
        return jnp.vdot(mix[0], f[0])

    truth: dict[Any, Any] = flatten_dict(jax.grad(mixed)(drawn["params"]))
    inputs, signals = _signals(net, drawn, points, mix, places)
    found = []
    for site in places:
        g = [signals[call.key] for call in site.calls]
        h = [inputs[call.key] for call in site.calls]
        if site.design is None:
            flat = _jacobian(site, drawn, h[0], g[0])
        else:
            flat = multiplied(*_matrices(site, h, g))
        leaves = [jnp.ravel(truth[leaf]).astype(jnp.float32) for leaf in site.leaves]
        found.append(jnp.linalg.norm(flat.d[0].astype(jnp.float32)))
        found.append(jnp.linalg.norm(jnp.concatenate(leaves)))
    return jnp.stack(found).reshape(-1, 2).T


def _random(spec: Any, key: jax.Array) -> jax.Array:
    """Weights of variance one over the fan-in, vectors near one, whole numbers 0, 1."""
    shape = spec.shape
    if not jnp.issubdtype(spec.dtype, jnp.floating):
        return jax.random.bernoulli(key, 0.5, shape).astype(spec.dtype)
    drawn = jax.random.normal(key, shape)
    if len(shape) < 2:
        return (1.0 + 0.3 * drawn).astype(spec.dtype)
    return (drawn / math.prod(shape[:-1]) ** 0.5).astype(spec.dtype)
