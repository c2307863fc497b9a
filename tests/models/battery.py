"""What the battery measures of a member; the members come from the registry."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.core.tracers import current_trace

import zoo
from zoo.gap.cell import critical_rates
from zoo.gap.nets import example
from zoo.infinite.kernels import kernel_matrix
from zoo.layers import Finite, FixedFeatureResiduals, Weights, walk
from zoo.models import ARCHITECTURES
from zoo.models.deq_base import EquilibriumNetwork

# Every architecture at its defaults, and its variants: "cnn", "cnn,readout=flatten".
MEMBERS = [
    ",".join([name, *(f"{k}={v}" for k, v in options.items())])
    for name, network in sorted(ARCHITECTURES.items())
    for options in ({}, *network.variants)
]
# Off 1 and 0, for members that have the scale; equilibria are narrow here.
SCALES = {"sigma_w": 1.3, "sigma_b": 0.4}
NARROW = {"sigma_w": 0.3, "sigma_u": 1.2, "sigma_b": 0.4, "sigma_v": 1.3}


def options_of(label):
    """Name and hyper-parameters, as --arch and --net take them."""
    name, *options = label.split(",")
    smoke = {k: str(v) for k, v in ARCHITECTURES[name].smoke.items()}
    return name, smoke | dict(option.split("=") for option in options)


def member(label, width, points=4, **scales):
    """A member at its smoke size, and its natural data."""
    name, options = options_of(label)
    return example(name, width, points, 2, **options | scales)


def off_default(label):
    """Scales off their defaults, as far as the member has them."""
    network = ARCHITECTURES[options_of(label)[0]]
    scales = NARROW if issubclass(network, EquilibriumNetwork) else SCALES
    fields = network.__dataclass_fields__
    return {scale: value for scale, value in scales.items() if scale in fields}


def inputs(data, dtype="float32"):
    """Train inputs; those that are numbers get unequal norms."""
    x = data.x_train
    if np.issubdtype(x.dtype, np.integer):
        return jnp.asarray(x)
    factors = np.linspace(0.6, 1.4, len(x)).reshape(-1, *(1,) * (x.ndim - 1))
    return jnp.asarray(x * factors, dtype)


def init(net, x, seed=0):
    """Parameters of a seed, in the dtype of the inputs where these have one."""
    params = net.init(jax.random.key(seed), x)["params"]
    if not jnp.issubdtype(x.dtype, jnp.floating):
        return params
    return jax.tree.map(lambda leaf: leaf.astype(x.dtype), params)


def apply_fn(net):
    return lambda params, x: net.apply({"params": params}, x)


def has_kernel(net):
    return not any(layer.couples_batch for layer in walk(net.layers()))


def is_limit(net):
    return net.limit().kind in ("exact", "numeric")


def is_frozen(net, x):
    """Tree of booleans: which parameters belong to a frozen layer."""
    frozen = set()

    def interceptor(call, args, kwargs, context):
        module = context.module
        layer = getattr(module, "layer", None)
        if isinstance(module, Finite) and not getattr(layer, "trained", True):
            frozen.add(module.path)
        return call(*args, **kwargs)

    with nn.intercept_methods(interceptor):
        params = jax.eval_shape(lambda: net.init(jax.random.key(0), x))["params"]
    return jax.tree_util.tree_map_with_path(
        lambda path, leaf: any(
            tuple(key.key for key in path[: len(owner)]) == owner for owner in frozen
        ),
        params,
    )


def hidden_outputs(net, params, x):
    """Outputs of all Dense and Conv layers of the net's width, in a list."""
    found, level = [], current_trace()

    def interceptor(call, args, kwargs, context):
        out = call(*args, **kwargs)
        if current_trace() != level:  # inside a derivative that the network takes
            return out
        layer = getattr(context.module, "layer", None)
        wide = isinstance(layer, Weights) and getattr(layer, "width", 0) == net.width
        wide |= isinstance(layer, FixedFeatureResiduals)  # its steps may be a flow's
        if wide and context.method_name == "__call__":
            found.append(out)
        return out

    with nn.intercept_methods(interceptor):
        f = net.apply({"params": params}, x)
    return [*found, f]


def rms(a):
    return jnp.sqrt(jnp.mean(a**2))


@functools.lru_cache(maxsize=4)
def coordinates(name, widths, steps=3, seeds=16):
    """Sizes of hidden layers and outputs, and of their change by a few steps.

    The learning rate is a third of the critical one at the narrowest width, and follows
    the parameterization from there.

    Returns:
        {"hidden", "output", "hidden_change", "output_change"}: [seeds, widths], the
        root mean square over layers that are not zero.
    """
    columns = []
    for width in widths:
        net, data = member(name, width)
        x, y = jnp.asarray(data.x_train), jnp.asarray(data.y_train)
        if width == widths[0]:
            base = 1e-2
            if has_kernel(net):
                base = critical_rates(net, width, data, np.arange(2), 2**30).min() / 3
        rate = jnp.float32(base * (width / widths[0]) ** net.rate)

        def one(seed, net=net, x=x, y=y, rate=rate):
            start = net.init(jax.random.key(seed), x)["params"]

            def loss(params):
                return jnp.sum((net.apply({"params": params}, x) - y) ** 2) / (
                    2 * len(y)
                )

            def step(_, params):
                gradient = jax.grad(loss)(params)
                return jax.tree.map(lambda p, g: p - rate * g, params, gradient)

            end = jax.lax.fori_loop(0, steps, step, start)
            before, after = hidden_outputs(net, start, x), hidden_outputs(net, end, x)
            sizes = jnp.stack([rms(a) for a in before])
            moves = jnp.stack([rms(b - a) for a, b in zip(before, after, strict=True)])
            return {
                "hidden": _over_layers(sizes[:-1]),
                "output": sizes[-1],
                "hidden_change": _over_layers(moves[:-1]),
                "output_change": moves[-1],
            }

        seed_axis = jnp.arange(seeds)
        columns.append(jax.jit(lambda s, one=one: jax.lax.map(one, s))(seed_axis))
    return {k: np.stack([np.asarray(c[k]) for c in columns], 1) for k in columns[0]}


def _over_layers(sizes):
    kept = sizes > 0
    return jnp.sqrt(
        jnp.sum(sizes**2) / jnp.maximum(jnp.sum(kept, dtype=sizes.dtype), 1.0)
    )


@functools.lru_cache(maxsize=4)
def sampled(name, width, scaled):
    """Empirical NTK and NNGP over seeds, relative to the limit's diagonal.

    Returns:
        {"ntk", "nngp"}: mean minus limit, and standard error, each over
        sqrt(K(x, x) K(x', x')) of the limit; and the spread over seeds of the NTK.
    """
    net, data = member(name, width, **(off_default(name) if scaled else {}))
    x = inputs(data)
    full = getattr(net, "mixes_outputs", False)
    limit = kernel_matrix(net, np.asarray(x), get=("nngp", "ntk"))
    k = data.y_train.shape[1]
    found = {}
    for get, sample, seeds in (
        ("ntk", _ntk, 384 if full else 96),
        ("nngp", _nngp, -(-4096 // k)),
    ):
        keys = jax.random.split(jax.random.key(7), seeds)
        run = jax.jit(
            lambda keys, f=sample: jax.lax.map(lambda key: f(net, key, x, full), keys)
        )
        values = np.asarray(run(keys), np.float64)
        want = getattr(limit, get)
        scale = _diagonal(want)
        error = values.std(0, ddof=1) / np.sqrt(seeds) / scale
        found[get] = ((values.mean(0) - want) / scale, error)
    return found


def _diagonal(kernel):
    """sqrt(K(x, x) K(x', x')), for [n, n] or [n, n, k, k]."""
    if kernel.ndim == 2:
        root = np.sqrt(np.diag(kernel))
        return np.outer(root, root)
    root = np.sqrt(np.einsum("aacc->ac", kernel))
    return np.einsum("ac,bd->abcd", root, root)


def _ntk(net, key, x, full):
    return zoo.empirical_ntk(net, net.init(key, x)["params"], x, full=full)


def _nngp(net, key, x, full):
    f = net.apply({"params": net.init(key, x)["params"]}, x)
    if full:
        return jnp.einsum("ac,bd->abcd", f, f)
    return f @ f.T / f.shape[1]


# Trained and frozen parameters: m width, L depth, k outputs, d entries or channels of
# an input, p positions; read off the equations of the papers.
COUNTS = {
    "allen_zhu_cnn": lambda m, L, k, d, p: (
        9 * m * m * (L - 1) + p * m * m,
        9 * d * m + m * k,
    ),
    "allen_zhu_mlp": lambda m, L, k, d, p: (L * m * m, d * m + m * k),
    "allen_zhu_resnet": lambda m, L, k, d, p: (L * m * m, d * m + m * k),
    "appnp": lambda m, L, k, d, p: (d * m + m * m + m * k, 0),
    "allen_zhu_cnn,padding=VALID": lambda m, L, k, d, p: (
        9 * m * m * (L - 1) + (round(p**0.5) - 2 * L) ** 2 * m * m,
        9 * d * m + m * k,
    ),
    "barboni_resnet,features=16": lambda m, L, k, d, p: (
        L * m * 16,
        d * m + 16 * m + m * k,
    ),
    "barboni_resnet": lambda m, L, k, d, p: (L * m * m, d * m + m * m + m * k),
    "cnn": lambda m, L, k, d, p: (9 * d * m + 9 * m * m * (L - 1) + m * k, 0),
    "cnn,readout=flatten": lambda m, L, k, d, p: (
        9 * d * m + 9 * m * m * (L - 1) + p * m * k,
        0,
    ),
    "cnn,ends_trained=False": lambda m, L, k, d, p: (
        9 * m * m * (L - 1),
        9 * d * m + m * k,
    ),
    "cnn,kernel_size=2,stride=2,padding=VALID": lambda m, L, k, d, p: (
        4 * d * m + 4 * m * m * (L - 1) + m * k,
        0,
    ),
    "conv_deq": lambda m, L, k, d, p: (9 * d * m + 9 * m * m + m * k, 0),
    "conv_deq,readout=flatten,padding=CIRCULAR,activation=erf": lambda m, L, k, d, p: (
        9 * d * m + 9 * m * m + p * m * k,
        0,
    ),
    "deep_resnet_ode": lambda m, L, k, d, p: (d * m + m * m * L + m * k, 0),
    "deep_resnet_ode,form=fixed,depth=4": lambda m, L, k, d, p: (
        4 * m * m,
        d * m + m * m + m * k,
    ),
    "deq": lambda m, L, k, d, p: (d * m + m * m * L + m * k, 0),
    "du_conv_resnet": lambda m, L, k, d, p: (
        9 * d * m + 9 * m * m * (L - 1) + p * m * k,
        0,
    ),
    "du_resnet": lambda m, L, k, d, p: (d * m + m * m * (L - 1) + m * k, 0),
    "gao_deq": lambda m, L, k, d, p: (d * m + m * m + 2 * m * k, 0),
    "gao_gaussian_deq": lambda m, L, k, d, p: (m * k, d * m + m * m),
    "gao_linear_width_deq": lambda m, L, k, d, p: (d * m + m * m + m * k, 0),
    "gcn": lambda m, L, k, d, p: (d * m + m * m * (L - 1) + m * k, 0),
    "gcnii": lambda m, L, k, d, p: (d * m + m * m * L + m * k, 0),
    "kawaguchi_deq": lambda m, L, k, d, p: (m * m + m * k, d * m),
    "kawaguchi_huang_mlp": lambda m, L, k, d, p: (
        m * k,
        (d + 1) * m + (m + 1) * m * (L - 1),
    ),
    "kawaguchi_huang_mlp,sharpness=2.0,train=all": lambda m, L, k, d, p: (
        (d + 1) * m + (m + 1) * m * (L - 1) + m * k,
        0,
    ),
    "ling_deq": lambda m, L, k, d, p: (d * m + m * m + m * k, 0),
    "liao_masked_mlp,train=all": lambda m, L, k, d, p: (d * m + m * k, m),
    "liao_masked_mlp": lambda m, L, k, d, p: (d * m, m * k + m),
    "macdonald_resnet": lambda m, L, k, d, p: (d * m + 2 * m * m * L + m * k, 0),
    "macdonald_resnet,norm=weight": lambda m, L, k, d, p: (
        d * m + (2 * m + 1) * m * L + m * k,
        0,
    ),
    "mlp": lambda m, L, k, d, p: (d * m + m * m * (L - 1) + m * k, 0),
    "mon_deq": lambda m, L, k, d, p: (d * m + 2 * m * m + m * k, 0),
    "neural_ode": lambda m, L, k, d, p: (d * m + m * m + m * k, 0),
    "neural_ode,activation=relu,sigma_b=0.5": lambda m, L, k, d, p: (
        d * m + (m + 1) * m + m * k,
        0,
    ),
    "neural_field": lambda m, L, k, d, p: (
        (d + 1) * m + (m + 1) * m * (L - 1) + (m + 1) * k,
        0,
    ),
    "neural_field,activation=relu,omega=1.0,encoding=8.0": lambda m, L, k, d, p: (
        (2 * m + 1) * m + (m + 1) * m * (L - 1) + (m + 1) * k,
        d * m,
    ),
    "nguyen_mlp,depth=1,hidden_init=lecun": lambda m, L, k, d, p: (d * m + m * k, 0),
    "nguyen_mlp": lambda m, L, k, d, p: (d * 32 + 32 * m + m * k, 0),
    "pinn": lambda m, L, k, d, p: ((d + 1) * m + m + 1, 0),
    "quadratic_net": lambda m, L, k, d, p: (d * m + m * m * (L - 1) + m * k, 0),
    "random_features": lambda m, L, k, d, p: (m * k, d * m),
    "res_gcn": lambda m, L, k, d, p: (d * m + m * m * L + m * k, 0),
    "resnet": lambda m, L, k, d, p: (9 * d * m + 2 * L * 9 * m * m + m * k, 0),
    "resnet,groups=2,padding=CIRCULAR,layer_norm=True": lambda m, L, k, d, p: (
        9 * d * m
        + 18 * m * m * L
        + 18 * m * m
        + 36 * m * m * (2 * L - 1)
        + 2 * m * m
        + 2 * m * k,
        0,
    ),
    "terjek_mlp": lambda m, L, k, d, p: (
        (d + 1) * m + (m + 1) * m * (L - 1) + (m + 1) * k,
        0,
    ),
    "truong_deq": lambda m, L, k, d, p: (d * m + m * m + m * k, 0),
    "wu_transformer": lambda m, L, k, d, p: (3 * d * m + m * k, 0),
    "xie_mcn": lambda m, L, k, d, p: (
        3 * d * m + 3 * 2 * m * m * (L - 1) + 2 * m * k,
        0,
    ),
    "xu_linear_gnn": lambda m, L, k, d, p: (
        d * m + m * m * (L - 1) + (L * m + d) * k,
        0,
    ),
    "xu_linear_gnn,multiscale=False": lambda m, L, k, d, p: (
        d * m + m * m * (L - 1) + m * k,
        0,
    ),
    "zou_linear_resnet": lambda m, L, k, d, p: (L * m * m, d * m + m * k),
}


def counted(label):
    """Trained and frozen parameters at width 12, and what the formula says."""
    net, data = member(label, 12)
    x = jnp.asarray(data.x_train)
    graph = getattr(net, "graph", None)
    channels = x.shape[-1] if graph is None else graph.features.shape[-1]
    positions = int(np.prod(x.shape[1:-1]))
    formula = COUNTS.get(label) or COUNTS[options_of(label)[0]]
    depth = getattr(net, "depth", 1)
    want = formula(12, depth, data.y_train.shape[1], channels, positions)
    frozen = jax.tree.leaves(is_frozen(net, x))
    params = jax.eval_shape(lambda: net.init(jax.random.key(0), x))["params"]
    found = [0, 0]
    for leaf, kept in zip(jax.tree.leaves(params), frozen, strict=True):
        found[kept] += leaf.size
    return tuple(found), want
