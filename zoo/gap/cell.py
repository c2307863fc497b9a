"""One cell: a width, a few seeds, and every gap measured on them.

For each seed three networks start from the same outputs f_0 and take the same steps:

    f        the network itself,
    f_lin    its linearization at its initialization,
    f_inf    the infinitely wide network (exact discrete steps; f_flow is the
             continuous-time prediction at the same time eta t),

where f stands for what is trained, alpha (f - f_0) if `zoo.gap.training` says so.

gap_nonlinear = f - f_lin, gap_kernel = f_lin - f_inf, gap_total = f - f_inf, each as
the root mean square over points and outputs. A network without a limit has no f_inf,
and one whose examples interact has no kernel and no f_lin: what needs them is absent.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from pathlib import Path
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict

from zoo.data import Dataset
from zoo.finite.linear import top_eigenvalue, train_linearized
from zoo.finite.mirrored import Mirrored
from zoo.finite.ntk import ntk_by_output, output_mean, trained_weights
from zoo.finite.train import Descent, Objective, descent
from zoo.gap import segments
from zoo.gap.prediction import InfiniteSide, compare_outputs
from zoo.gap.segments import Progress
from zoo.gap.training import Training

Arrays = dict[str, np.ndarray]


class Trained(NamedTuple):
    """A batch of seeds before and after training; leaves are [s, ...]."""

    params0: Any
    params: Any
    outputs: jax.Array  # [s, t, N, k]
    size: jax.Array  # [s]; root mean square of alpha f_0, which rounding is a share of
    roots: dict[str, jax.Array]  # [s, t]; see `_observe`


def measure_cell(
    net: nn.Module,
    width: int,
    data: Dataset,
    limit: InfiniteSide | None,
    learning_rate: float,
    times: np.ndarray,
    seeds: np.ndarray,
    memory_bytes: float,
    ntk_bytes: int | None,
    training: Training,
    scratch: Path | None = None,
) -> Arrays:
    """Trains, linearizes and predicts; returns every array that is stored.

    Args:
        net: the network at the cell's width.
        width: the width, which enters the key of the initialization.
        data: N = n_train + n_test points, in the form that the network takes.
        limit: its infinite-width side; None if it has none.
        learning_rate: eta.
        times: recorded steps [t], from 0.
        seeds: whole numbers [s], one per initialization.
        memory_bytes: bounds the number of seeds that train at once.
        ntk_bytes: bounds what the empirical NTKs hold at a time; None leaves them out,
            for a network whose examples interact.
        training: the loss and the optimizer.
        scratch: folder of what a later process goes on from; see `segments.train`.

    Returns:
        arrays whose first axis is the seed; `zoo.gap.summary` says which enter how.
    """
    x, y = points(data)
    rate, steps = jnp.float32(learning_rate), jnp.asarray(times, jnp.int32)
    together = seeds_at_once(net, x, y, len(seeds), memory_bytes)
    theta = _limit_kernel(limit, y)
    orders = training.orders(seeds, len(y), int(times[-1]))
    arguments = (jnp.asarray(seeds), x, y, theta, rate, steps, jnp.asarray(orders))
    options = (net, width, training, together, int(times[-1]), ntk_bytes)
    begin, advance, compare = _programs(options, *arguments)
    params0, size, progress = begin(*arguments)

    def program(progress: Any, part: Any, bounds: Any) -> Any:
        return advance(progress, params0, *arguments, part, bounds)

    parts = len(seeds) // together
    progress = segments.train(program, progress, parts, times, scratch)
    trained = _trained(params0, size, progress)
    found = compare(trained, *arguments)
    arrays: Arrays = {name: np.asarray(value) for name, value in found.items()}
    arrays["outputs"] = np.asarray(trained.outputs)
    arrays["output_size"] = np.asarray(trained.size)
    arrays |= {name: np.asarray(value) for name, value in trained.roots.items()}
    predicted = compare_outputs(
        data, limit, training, learning_rate, times, orders, arrays
    )
    return arrays | predicted


def points(data: Dataset) -> tuple[jax.Array, jax.Array]:
    """All N points, train points first, and the targets of the train points."""
    x = np.concatenate([data.x_train, data.x_test])
    return jnp.asarray(x), jnp.asarray(data.y_train)


def _limit_kernel(limit: InfiniteSide | None, y: jax.Array) -> jax.Array:
    """Theta_inf on the train points: of each output [n, n], or of all [k, n, k, n]."""
    n, k = y.shape
    if limit is None:
        return jnp.full((n, n), jnp.nan, jnp.float32)
    rows = n * limit.dynamics.coupled
    theta = jnp.asarray(limit.dynamics.theta[:rows], jnp.float32)
    if limit.dynamics.coupled == 1:
        return theta
    return theta.reshape(n, k, n, k).transpose(1, 0, 3, 2)


def critical_rates(net: nn.Module, width: int, data: Dataset, seeds: Any) -> np.ndarray:
    """2 n / lambda_max of the network's own train kernel at initialization, [s]."""
    x, y = points(data)
    n, k = y.shape

    @jax.jit
    def rates(seeds: jax.Array) -> jax.Array:
        def one(seed: jax.Array) -> jax.Array:
            theta = ntk_by_output(net, initialize(net, width, seed, x), x[:n])
            return 2 * n / top_eigenvalue(theta.reshape(n * k, n * k))

        return jax.lax.map(one, seeds)

    return np.asarray(rates(jnp.asarray(seeds)))


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


@lru_cache(maxsize=64)
def _compiled(
    net: Any,
    width: int,
    training: Training,
    together: int,
    last: int,
    ntk_bytes: int | None,
    shapes: tuple,
) -> tuple:
    """The programs of a cell for arguments of these shapes, compiled side by side."""
    specs = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in shapes]
    begin = jax.jit(partial(_begin, net, width, training))
    advance = partial(_advance, net, training, together)
    advance = jax.jit(advance, donate_argnames="progress")
    compare = jax.jit(partial(_compare, net, last, ntk_bytes, training))
    part, bounds = (jax.ShapeDtypeStruct(shape, jnp.int32) for shape in ((), (4,)))
    with jax.default_matmul_precision("highest"):  # TF32 would be a floor of 1e-3
        params0, size, progress = jax.eval_shape(begin, *specs)
        trained = _trained(params0, size, progress)
        lowered = (
            begin.lower(*specs),
            advance.lower(progress, params0, *specs, part, bounds),
            compare.lower(trained, *specs),
        )
    with ThreadPoolExecutor(len(lowered)) as pool:
        return tuple(pool.map(lambda program: program.compile(), lowered))


def _programs(options: tuple, *arguments) -> tuple:
    shapes = tuple((a.shape, a.dtype) for a in arguments)
    return _compiled(*options, shapes)


def _begin(net, width, training, seeds, x, y, theta, learning_rate, times, orders):
    """All seeds before their first step: parameters, size of alpha f_0, progress.

    Initialization is not batched: XLA takes three times as long to compile it so.
    """

    def one(seed: jax.Array) -> tuple:
        params = initialize(net, width, seed, x)
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


def _trained(params0: Any, size: Any, progress: Progress) -> Trained:
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
    return jnp.linalg.norm(jnp.ravel(a - b)) / jnp.linalg.norm(jnp.ravel(b))


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
