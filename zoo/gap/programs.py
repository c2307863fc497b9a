"""The compiled programs of a cell: start, train, compare.

Each holds all seeds of the cell, is compiled once for its shapes, whatever the seeds,
and runs on one device or on a mesh of them (`zoo.gap.mesh`).
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.traverse_util import flatten_dict
from jax.sharding import Mesh

from zoo.finite.linear import train_linearized
from zoo.finite.mirrored import Mirrored
from zoo.finite.ntk import ntk_by_output, output_mean, trained_weights
from zoo.finite.train import Descent, Objective, descent
from zoo.gap import mesh as devices
from zoo.gap import segments
from zoo.gap.segments import Progress
from zoo.gap.training import Training

# Of the arguments that the programs share, which have seeds on their first axis: seeds,
# x, y, theta, learning rate, times, orders.
SEEDED = (True, False, False, False, False, False, True)


class Programs(NamedTuple):
    """Of the shared arguments, and what each takes besides.

    Attributes:
        begin: (*shared) -> parameters, size of alpha f_0, progress.
        advance: (progress, parameters, *shared, part, bounds) -> progress.
        compare: (trained, *shared) -> arrays by name.
    """

    begin: Any
    advance: Any
    compare: Any


class Trained(NamedTuple):
    """A batch of seeds before and after training; leaves are [s, ...]."""

    params0: Any
    params: Any
    outputs: jax.Array  # [s, t, N, k]
    size: jax.Array  # [s]; root mean square of alpha f_0, which rounding is a share of
    roots: dict[str, jax.Array]  # [s, t]; see `_observe`


def initialize(net: nn.Module, width: int, seed: jax.Array, x: jax.Array) -> Any:
    """Parameters of a seed; other widths draw others."""
    key = jax.random.fold_in(jax.random.key(seed), width)
    return net.init(key, x[:1])["params"]


def seeds_at_once(net: Any, x: Any, y: Any, seeds: int, memory_bytes: float) -> int:
    """The largest divisor of `seeds` whose training fits the budget.

    A seed holds parameters, gradients and updates, its own copy at initialization, and
    the outputs of all modules, with their derivatives, on the train points.
    """

    def forward(x: jax.Array) -> tuple:
        params = net.init(jax.random.key(0), x)["params"]
        _, held = net.apply(
            {"params": params},
            x,
            capture_intermediates=True,
            mutable=["intermediates"],
        )
        return params, held

    shapes, held = jax.eval_shape(forward, x[: len(y)])
    sizes = [leaf.size for leaf in jax.tree.leaves(shapes)]
    units = [leaf.size for leaf in jax.tree.leaves(held)]
    each = 4 * (4 * sum(sizes) + 2 * sum(units) + x.size)
    fitting = [b for b in range(1, seeds + 1) if seeds % b == 0]
    return max([b for b in fitting if b * each <= memory_bytes], default=1)


def compiled(
    net: nn.Module,
    width: int,
    training: Training,
    together: int,
    last: int,
    ntk_bytes: int | None,
    mesh: Mesh | None,
    shared: tuple,
) -> Programs:
    """The programs of a cell for arguments of these shapes, compiled side by side.

    Args:
        net: the network at the cell's width.
        width: the width, which enters the key of the initialization.
        training: the loss and the optimizer.
        together: seeds of a device that train at once.
        last: the last step.
        ntk_bytes: bounds what the empirical NTKs hold at a time; None leaves them out.
        mesh: of devices, or None.
        shared: seeds, x, y, theta, learning rate, times, orders: arrays, or shapes.
    """
    shapes = tuple((a.shape, a.dtype, mesh and a.sharding) for a in shared)
    return _compiled(net, width, training, together, last, ntk_bytes, mesh, shapes)


@lru_cache(maxsize=64)
def _compiled(net, width, training, together, last, ntk_bytes, mesh, shapes):
    specs = [jax.ShapeDtypeStruct(*shape, sharding=place) for *shape, place in shapes]
    programs = lower(net, width, training, together, last, ntk_bytes, mesh, specs)
    with ThreadPoolExecutor(len(programs)) as pool:
        return Programs(*pool.map(lambda program: program.compile(), programs))


def lower(net, width, training, together, last, ntk_bytes, mesh, specs) -> Programs:
    """The programs before they are compiled; arguments as of `compiled`, as shapes."""
    cut = [devices.shape((), mesh), devices.shape((4,), mesh)]  # part, bounds
    begin = devices.over_seeds(
        partial(_begin, net, width, training, mesh), mesh, SEEDED
    )
    advance = devices.over_seeds(
        partial(_advance, net, training, together),
        mesh,
        (True, True, *SEEDED, False, False),
    )
    compare = devices.over_seeds(
        partial(_compare, net, last, ntk_bytes, training), mesh, (True, *SEEDED)
    )
    with jax.default_matmul_precision("highest"):  # TF32 would be a floor of 1e-3
        params0, size, (state, seen) = jax.eval_shape(begin, *specs)
        params0, state = devices.split((params0, state), mesh, along="width")
        size, seen = devices.split((size, seen), mesh)
        progress = Progress(state, seen)
        start = (params0, size, progress)
        begin = jax.jit(begin, out_shardings=devices.places(start, mesh))
        begin = begin.lower(*specs)
        compare = jax.jit(compare).lower(trained(*start), *specs)
    with jax.default_matmul_precision(training.precision):
        where = devices.places(progress, mesh)
        advance = jax.jit(advance, donate_argnums=0, out_shardings=where)
        advance = advance.lower(progress, params0, *specs, *cut)
    return Programs(begin, advance, compare)


def _begin(
    net, width, training, mesh, seeds, x, y, theta, learning_rate, times, orders
):
    """All seeds before their first step: parameters, size of alpha f_0, progress.

    Initialization is not batched: XLA takes three times as long to compile it so.
    """

    def one(seed: jax.Array) -> tuple:
        params = devices.along_width(initialize(net, width, seed, x), mesh)
        start, _ = _descent(net, training, x, y, learning_rate)
        f: Any = _apply(net)(params, x)
        if isinstance(net, Mirrored):
            f = net.net.apply({"params": params["plus"]}, x)
        return params, training.alpha * jnp.sqrt(jnp.mean(f**2)), start(params)

    params0, size, state = jax.lax.map(one, seeds)
    first = jax.tree.map(lambda leaf: leaf[0], params0)
    seen = jax.eval_shape(partial(_observe, net), first, x)
    return params0, size, Progress(state, segments.empty(seen, len(seeds), len(times)))


def _advance(
    net,
    training,
    together,
    progress,
    params0,
    seeds,
    x,
    y,
    theta,
    learning_rate,
    times,
    orders,
    part,
    bounds,
):
    """Some steps of a part of the seeds, `together` of them."""

    def one(progress: Progress, params0: Any, order: jax.Array) -> Progress:
        objective = _objective(net, training, params0, x, order)

        def observe(params: Any) -> tuple:
            f, roots = _observe(net, params, x)
            return objective.outputs(f), roots

        _, steps = _descent(net, training, x, y, learning_rate, objective)
        return segments.advance(steps, observe, progress, times, bounds)

    return segments.by_part(one, together, part, progress, params0, orders)


def _descent(
    net: nn.Module,
    training: Training,
    x: jax.Array,
    y: jax.Array,
    learning_rate: jax.Array,
    objective: Objective | None = None,
) -> Descent:
    """Training of one seed."""
    warm = partial(_warm, net) if getattr(net, "warm_start", False) else None
    steps = training.optimizer.transformation(learning_rate)
    return descent(_apply(net), x, y, steps, warm, objective)


def trained(params0: Any, size: Any, progress: Progress) -> Trained:
    """What is compared, of a training that is done."""
    outputs, roots = progress.seen
    return Trained(params0, progress.state[0], outputs, size, roots)


def _objective(
    net: nn.Module, training: Training, params: Any, x: jax.Array, order: jax.Array
) -> Objective:
    """What one seed minimizes, from its parameters at initialization."""
    # Two mirrored copies differ at the start as far as a compiler rounds them apart.
    origin = None if training.random_start else _apply(net)(params, x)
    batches = None if training.batch_size is None else order
    return Objective(training.loss, batches, training.alpha, origin)


def _apply(net: nn.Module) -> Callable[[Any, jax.Array], Any]:
    """The network as a function (params, x) -> f."""
    return lambda params, x: net.apply({"params": params}, x)


def _warm(net: nn.Module, params: Any, x: jax.Array, carried: Any) -> Any:
    """f, its searches for roots begun where the ones before them ended."""
    return net.apply({"params": params, **carried}, x, mutable=["warm"])


def _observe(net: nn.Module, params: Any, x: jax.Array) -> tuple:
    """f, and of a network with equilibria the largest over points of what they say.

    "equilibrium_residual", "equilibrium_steps", "equilibrium_lost", "equilibrium_chi1",
    "equilibrium_norm"; see `zoo.layers.Equilibrium`.
    """
    applied: Any = net.apply({"params": params}, x, mutable=["equilibrium", "spectrum"])
    f, said = applied
    values: dict[Any, Any] = flatten_dict(said)
    found: dict[str, Any] = {}
    for path, value in values.items():
        name = f"equilibrium_{path[-1]}"
        most = jnp.max(value)
        found[name] = jnp.maximum(found[name], most) if name in found else most
    return f, found


def _compare(
    net,
    last,
    ntk_bytes,
    training,
    trained,
    seeds,
    x,
    y,
    theta,
    learning_rate,
    times,
    orders,
):
    """Kernels before and after training, and f_lin; one seed at a time.

    Without a budget for kernels the weights alone are compared.
    """
    n, k = y.shape
    weights = trained_weights(net, jax.tree.map(lambda a: a[0], trained.params0), x)
    if isinstance(net, Mirrored):
        weights = [path for path in weights if path[0] == "plus"]

    def one(pair: tuple) -> dict[str, jax.Array]:
        seed, order = pair
        moved = _weight_movement(weights, seed.params0, seed.params)
        if ntk_bytes is None:
            return moved
        both = jax.tree.map(lambda a, b: jnp.stack([a, b]), seed.params0, seed.params)
        before, after = jax.lax.map(
            lambda p: ntk_by_output(net, p, x[:n], max_bytes=ntk_bytes), both
        )
        mean, limit = output_mean(before), theta
        if theta.ndim == 2:
            limit = jnp.eye(k)[:, None, :, None] * theta[None, :, None, :]
        linear = train_linearized(
            _apply(net),
            seed.params0,
            before,
            x,
            y,
            learning_rate,
            times,
            last,
            training.optimizer,
            _objective(net, training, seed.params0, x, order),
        )
        return moved | {
            "outputs_linear": linear.outputs,
            "kernel_error_init": relative_distance(before, limit),
            "kernel_error_init_mean": relative_distance(mean, output_mean(limit)),
            "kernel_drift": relative_distance(after, before),
            "kernel_drift_mean": relative_distance(output_mean(after), mean),
            "kernel_mean": mean,
            "critical_rate": 2 * n / linear.top_eigenvalue,
        }

    return jax.lax.map(one, (trained, orders))


def relative_distance(a: jax.Array, b: jax.Array) -> jax.Array:
    """Relative Frobenius distance |a - b| / |b|."""
    # No ravel, for which devices that share an array would have to put it together.
    return jnp.sqrt(jnp.sum((a - b) ** 2) / jnp.sum(b**2))


def _weight_movement(
    weights: list[tuple[str, ...]], before: Any, after: Any
) -> dict[str, jax.Array]:
    """|W_t - W_0|_F / |W_0|_F of the first, the hidden (mean) and the last weights.

    Frozen ones do not count; a single one is the last. NaN where there is none.
    """
    start: dict[Any, Any] = flatten_dict(before)
    end: dict[Any, Any] = flatten_dict(after)
    moves = [relative_distance(end[path], start[path]) for path in weights]
    none = jnp.float32(jnp.nan)
    return {
        "weight_movement_first": moves[0] if moves[1:] else none,
        "weight_movement_hidden": jnp.mean(jnp.stack(moves[1:-1]))
        if moves[1:-1]
        else none,
        "weight_movement_last": moves[-1] if moves else none,
    }
