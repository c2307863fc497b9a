"""One cell: a width, a few seeds, and every gap measured on them.

For each seed three networks start from the same outputs f_0 and take the same steps:

    f        the network itself,
    f_lin    its linearization at its initialization,
    f_inf    the infinitely wide network (exact discrete steps; f_flow is the
             continuous-time prediction at the same time eta t).

gap_nonlinear = f - f_lin, gap_kernel = f_lin - f_inf, gap_total = f - f_inf, each as
the root mean square over points and outputs.
"""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache, partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import optax
from flax.traverse_util import flatten_dict

from zoo.data import Dataset
from zoo.finite.linear import train_linearized
from zoo.finite.ntk import ntk_by_output, output_mean
from zoo.finite.train import train
from zoo.infinite.predict import Dynamics, Ensemble, flow_filter
from zoo.models import Architecture

Arrays = dict[str, np.ndarray]


class Limit(NamedTuple):
    """The infinite-width side, shared by all widths where it does not depend on them.

    Attributes:
        dynamics: training on the NTK of all points with the train points.
        nngp: NNGP kernel of all points, [N, N].
    """

    dynamics: Dynamics
    nngp: np.ndarray


class Trained(NamedTuple):
    """A batch of seeds before and after training; leaves are [s, ...]."""

    params0: Any
    params: Any
    outputs: jax.Array  # [s, t, N, k]


def measure_cell(
    net: Architecture,
    data: Dataset,
    limit: Limit,
    learning_rate: float,
    times: np.ndarray,
    seeds: np.ndarray,
    memory_bytes: float,
) -> Arrays:
    """Trains, linearizes and predicts; returns every array that is stored.

    Args:
        net: the network at the cell's width.
        data: N = n_train + n_test points.
        limit: its infinite-width side.
        learning_rate: eta.
        times: recorded steps [t], from 0.
        seeds: whole numbers [s], one per initialization.
        memory_bytes: bounds the number of seeds that train at once.

    Returns:
        arrays whose first axis is the seed; `zoo.gap.summary` says which enter how.
    """
    x = jnp.concatenate([jnp.asarray(data.x_train), jnp.asarray(data.x_test)])
    y = jnp.asarray(data.y_train)
    rate, steps = jnp.float32(learning_rate), jnp.asarray(times, jnp.int32)
    together = seeds_at_once(net, x, y, len(seeds), memory_bytes)
    theta = jnp.asarray(limit.dynamics.theta[: len(y)], jnp.float32)
    arguments = (jnp.asarray(seeds), x, y, theta, rate, steps)
    train_seeds, compare_kernels = _programs(net, together, int(times[-1]), *arguments)
    trained = train_seeds(*arguments)
    kernels = compare_kernels(trained, *arguments)
    arrays: Arrays = {name: np.asarray(value) for name, value in kernels.items()}
    arrays["outputs"] = np.asarray(trained.outputs)
    arrays |= _predict(data, limit, learning_rate, times, arrays)
    return arrays


def seeds_at_once(net: Any, x: Any, y: Any, seeds: int, memory_bytes: float) -> int:
    """The largest divisor of `seeds` whose training fits the budget.

    A seed holds parameters, gradients and updates, its own copy at initialization,
    and three times the activations of a forward pass on the train points.
    """
    shapes = jax.eval_shape(net.init, jax.random.key(0), x[:1])["params"]
    sizes = [leaf.size for leaf in jax.tree.leaves(shapes)]
    units = sum(leaf.shape[-1] for leaf in jax.tree.leaves(shapes))
    each = 4 * (4 * sum(sizes) + 3 * len(y) * units + x.size)
    fitting = [b for b in range(1, seeds + 1) if seeds % b == 0]
    return max([b for b in fitting if b * each <= memory_bytes], default=1)


@lru_cache(maxsize=64)
def _compiled(net: Any, together: int, last: int, shapes: tuple) -> tuple:
    """Both programs of a cell for arguments of these shapes, compiled side by side."""
    specs = [jax.ShapeDtypeStruct(shape, dtype) for shape, dtype in shapes]
    train_seeds = jax.jit(partial(_train_seeds, net, together))
    compare_kernels = jax.jit(partial(_compare_kernels, net, last))
    with jax.default_matmul_precision("highest"):  # TF32 would be a floor of 1e-3
        trained = jax.eval_shape(train_seeds, *specs)
        lowered = (train_seeds.lower(*specs), compare_kernels.lower(trained, *specs))
    with ThreadPoolExecutor(len(lowered)) as pool:
        return tuple(pool.map(lambda program: program.compile(), lowered))


def _programs(net: Any, together: int, last: int, *arguments) -> tuple:
    shapes = tuple((a.shape, a.dtype) for a in arguments)
    return _compiled(net, together, last, shapes)


def _train_seeds(net, together, seeds, x, y, theta, learning_rate, times) -> Trained:
    """All seeds in one program, `together` of them at a time.

    Initialization is not batched: XLA takes three times as long to compile it so.
    """

    def initialize(seed: jax.Array):
        key = jax.random.fold_in(jax.random.key(seed), net.width)
        return net.init(key, x[:1])["params"]

    def descend(params: Any) -> Trained:
        trajectory = train(_apply(net), params, x, y, optax.sgd(learning_rate), times)
        return Trained(params, trajectory.params, trajectory.outputs)

    return jax.lax.map(descend, jax.lax.map(initialize, seeds), batch_size=together)


def _apply(net: Architecture) -> Callable[[Any, jax.Array], Any]:
    """The network as a function (params, x) -> f."""
    return lambda params, x: net.apply({"params": params}, x)


def _compare_kernels(net, last, trained, seeds, x, y, theta, learning_rate, times):
    """Kernels before and after training, and f_lin; one seed at a time."""
    n, k = y.shape

    def one(seed: Trained) -> dict[str, jax.Array]:
        both = jax.tree.map(lambda a, b: jnp.stack([a, b]), seed.params0, seed.params)
        before, after = jax.lax.map(lambda p: ntk_by_output(net, p, x[:n]), both)
        mean = output_mean(before)
        limit = jnp.eye(k)[:, None, :, None] * theta[None, :, None, :]
        linear = train_linearized(
            _apply(net), seed.params0, before, x, y, learning_rate, times, last
        )
        return {
            "outputs_linear": linear.outputs,
            "kernel_error_init": _distance(before, limit),
            "kernel_error_init_mean": _distance(mean, theta),
            "kernel_drift": _distance(after, before),
            "kernel_drift_mean": _distance(output_mean(after), mean),
            "kernel_mean": mean,
            "critical_rate": 2 * n / linear.top_eigenvalue,
        } | _weight_movement(seed.params0, seed.params)

    return jax.lax.map(one, trained)


def _distance(a: jax.Array, b: jax.Array) -> jax.Array:
    """Relative Frobenius distance |a - b| / |b|."""
    return jnp.linalg.norm(jnp.ravel(a - b)) / jnp.linalg.norm(jnp.ravel(b))


def _weight_movement(before: Any, after: Any) -> dict[str, jax.Array]:
    """|W_t - W_0|_F / |W_0|_F of the first, the hidden (mean) and the last layer."""
    start: dict[Any, Any] = flatten_dict(before)
    end: dict[Any, Any] = flatten_dict(after)
    weights = sorted((path for path in start if path[-1] == "W"), key=_layer_order)
    moves = [_distance(end[path], start[path]) for path in weights]
    hidden = jnp.mean(jnp.stack(moves[1:-1])) if moves[1:-1] else jnp.float32(jnp.nan)
    return {
        "weight_movement_first": moves[0],
        "weight_movement_hidden": hidden,
        "weight_movement_last": moves[-1],
    }


def _layer_order(path: tuple[str, ...]) -> int:
    return int(path[-2].rsplit("_", 1)[-1])


def _predict(data: Dataset, limit: Limit, eta: float, times: Any, found: Arrays):
    """The infinite-width side from each seed's own f_0, and the gaps to it."""
    f, linear = found["outputs"], found["outputs_linear"]
    y, n = data.y_train, len(data.y_train)
    f0 = f[:, 0]
    infinite = limit.dynamics.outputs(f0, y, eta, times)
    flow = limit.dynamics.outputs(f0, y, eta, times, flow_filter)
    ensemble = limit.dynamics.ensemble(limit.nngp, y, eta, times[-1])
    pairs = {
        "gap_total": (f, infinite),
        "gap_nonlinear": (f, linear),
        "gap_kernel": (linear, infinite),
        "gap_total_flow": (f, flow),
        "gap_kernel_flow": (linear, flow),
    }
    out = {name: _rms((a - b)[:, :, n:]) for name, (a, b) in pairs.items()}
    networks = {"": f, "_linear": linear, "_infinite": infinite, "_flow": flow}
    for suffix, outputs in networks.items():
        out |= {k + suffix: v for k, v in _scores(outputs, data).items()}
    with np.errstate(over="ignore"):  # a diverged prediction becomes inf
        out["outputs_infinite"] = infinite.astype(np.float32)
    out["kernel_eigenvalues"] = np.linalg.eigvalsh(
        found["kernel_mean"].astype(np.float64)
    )
    return out | _ensemble_arrays(ensemble)


def _ensemble_arrays(ensemble: Ensemble) -> Arrays:
    variance = np.diagonal(ensemble.covariance)
    return {"ensemble_mean": ensemble.mean, "ensemble_variance": variance}


def _rms(difference: np.ndarray) -> np.ndarray:
    """Root mean square over points and outputs; [s, t, n, k] -> [s, t]."""
    with np.errstate(over="ignore", invalid="ignore"):
        return np.sqrt(np.mean(np.square(difference, dtype=np.float64), axis=(-2, -1)))


def _scores(f: np.ndarray, data: Dataset) -> Arrays:
    """Loss on train and test points, and accuracy on test points; [s, t]."""
    n = len(data.y_train)
    with np.errstate(over="ignore", invalid="ignore"):
        scores = {
            "train_loss": 0.5 * _rms(f[..., :n, :] - data.y_train) ** 2 * f.shape[-1],
            "test_loss": 0.5 * _rms(f[..., n:, :] - data.y_test) ** 2 * f.shape[-1],
        }
    if data.classes:
        right = np.argmax(f[..., n:, :], -1) == np.argmax(data.y_test, -1)
        scores["test_accuracy"] = np.mean(right, axis=-1)
    return scores
