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

from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from zoo.data import Dataset
from zoo.finite.linear import top_eigenvalue
from zoo.finite.ntk import ntk_by_output
from zoo.gap import mesh as devices
from zoo.gap import segments
from zoo.gap.prediction import InfiniteSide, compare_outputs
from zoo.gap.programs import (
    SEEDED,
    Programs,
    compiled,
    initialize,
    seeds_at_once,
    trained,
)
from zoo.gap.segments import Progress
from zoo.gap.sweep import out_of_memory
from zoo.gap.training import Training

Arrays = dict[str, np.ndarray]


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
    mesh: Mesh | None = None,
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
        mesh: devices that share the seeds, and the parameters of each.

    Returns:
        arrays whose first axis is the seed; `zoo.gap.summary` says which enter how.
    """
    shared, together = arguments(
        net, data, limit, learning_rate, times, seeds, memory_bytes, training, mesh
    )
    programs = compiled(
        net, width, training, together, int(times[-1]), ntk_bytes, mesh, shared
    )
    params0, size, progress = programs.begin(*shared)

    def program(progress: Any, part: Any, bounds: Any) -> Any:
        part, bounds = devices.place((part, bounds), mesh)
        return programs.advance(progress, params0, *shared, part, bounds)

    parts = len(seeds) // (together * devices.seed_devices(mesh))
    progress = segments.train(program, progress, parts, times, scratch)
    state = params0, size, progress
    return finish(programs, *state, shared, data, limit, training, seeds)


def finish(
    programs: Programs,
    params0: Any,
    size: jax.Array,
    progress: Progress,
    shared: tuple,
    data: Dataset,
    limit: InfiniteSide | None,
    training: Training,
    seeds: np.ndarray,
) -> Arrays:
    """What follows the last step: kernels, f_lin and f_inf; all arrays of a cell.

    Args:
        programs: of the cell.
        params0: as `programs.begin` gives it, like the next one.
        size: see `params0`.
        progress: at the last step.
        shared: of `arguments`.
        data: as for `measure_cell`, like the rest.
        limit: see `data`.
        training: see `data`.
        seeds: see `data`.
    """
    ends = trained(params0, size, progress)
    found = programs.compare(ends, *shared)
    seen = {"outputs": ends.outputs, "output_size": ends.size, **ends.roots}
    arrays: Arrays = devices.on_host(found | seen)
    _, _, _, _, learning_rate, times, _ = shared
    times, rate = np.asarray(times), float(learning_rate)
    orders = np.asarray(training.orders(seeds, len(data.y_train), int(times[-1])))
    given = data, limit, training, rate, times, orders, arrays
    return arrays | compare_outputs(*given)


def arguments(
    net: nn.Module,
    data: Dataset,
    limit: InfiniteSide | None,
    learning_rate: float,
    times: np.ndarray,
    seeds: np.ndarray,
    memory_bytes: float,
    training: Training,
    mesh: Mesh | None = None,
) -> tuple[tuple, int]:
    """What the programs of a cell share, and how many seeds of a device train at once.

    Arguments as of `measure_cell`.
    """
    x, y = points(data)
    rate, steps = jnp.float32(learning_rate), jnp.asarray(times, jnp.int32)
    orders = jnp.asarray(training.orders(seeds, len(y), int(times[-1])))
    theta = _limit_kernel(limit, y)
    shared = (jnp.asarray(seeds), x, y, theta, rate, steps, orders)
    own = len(seeds) // devices.seed_devices(mesh)
    together = seeds_at_once(net, x, y, own, memory_bytes)
    return devices.place(shared, mesh, SEEDED), together


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


class TooWide(ValueError):
    """The kernel of a network's own, which gives its critical rate, does not fit."""


def critical_rates(
    net: nn.Module, width: int, data: Dataset, seeds: Any, max_bytes: int
) -> np.ndarray:
    """2 n / lambda_max of the network's own train kernel at initialization, [s].

    Raises:
        TooWide: it finds no memory.
    """
    x, y = points(data)
    n, k = y.shape

    @jax.jit
    def rates(seeds: jax.Array) -> jax.Array:
        def one(seed: jax.Array) -> jax.Array:
            params = initialize(net, width, seed, x)
            theta = ntk_by_output(net, params, x[:n], max_bytes=max_bytes)
            return 2 * n / top_eigenvalue(theta.reshape(n * k, n * k))

        return jax.lax.map(one, seeds)

    try:
        return np.asarray(rates(jnp.asarray(seeds)))
    except Exception as e:
        if not out_of_memory(e):
            raise
        said = str(e).partition("\n")[0]
        raise TooWide(
            f"the kernel of width {width}, from which its critical rate is taken, "
            f"finds no memory: {said}"
        ) from e
