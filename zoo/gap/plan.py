"""What a sweep will take, before it runs: parameters, operations, memory, time.

Operations are the compiler's own count of a step, a record and a kernel; memory is that
of the compiled programs. Time is measured on a cell of each width that fits, of whose
steps a few are taken: its start, the pace of a step, and what follows the last one. A
search for an equilibrium counts as one step of it, and is timed as what it is.
"""

import time
from collections import Counter
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zoo.finite.linear import krylov_products
from zoo.finite.ntk import ntk_by_output
from zoo.gap.cell import arguments, finish
from zoo.gap.mesh import place, seed_devices
from zoo.gap.programs import Programs, compiled, initialize
from zoo.gap.run import Experiment
from zoo.gap.segments import bounds
from zoo.tiles.memory import available, program_bytes

PROBE = 0.3  # seconds that the pace of a width is measured for, at least
MOST = 30.0  # seconds of kernels, at the rate of steps, that are computed to be timed
LIMITLESS = 2**62


class Work(NamedTuple):
    """Of one seed.

    Attributes:
        parameters: how many there are.
        training: floating-point operations of steps and records.
        kernels: of empirical NTKs and the linearized network.
    """

    parameters: int
    training: float
    kernels: float


class Width(NamedTuple):
    """What the cells of one width, and of as many seeds, will take.

    Attributes:
        width: m.
        cells: how many there are.
        seeds: of each.
        work: of each seed.
        bytes: that a device holds at the worst moment.
        preparing: seconds, once: compiling, and the infinitely wide network.
        running: seconds of all cells; None where they do not fit and no rate is known.
    """

    width: int
    cells: int
    seeds: int
    work: Work
    bytes: int
    preparing: float
    running: float | None


def count(experiment: Experiment, width: int) -> Work:
    """Parameters and operations of one seed, by shapes alone."""
    net, data = experiment.trained_net(width), experiment.data
    training, steps = experiment.training, experiment.config.steps
    x = jnp.concatenate([jnp.asarray(data.x_train), jnp.asarray(data.x_test)])
    (n, k), records = data.y_train.shape, len(experiment.times)
    params = jax.eval_shape(partial(initialize, net, width), jnp.int32(0), x)
    size = sum(leaf.size for leaf in jax.tree.leaves(params))

    def forward(params: Any, x: jax.Array) -> Any:
        return net.apply({"params": params}, x)

    def loss(params: Any, x: jax.Array) -> jax.Array:
        return jnp.sum(forward(params, x) ** 2)

    record = operations(forward, params, x)
    step = operations(jax.grad(loss), params, x[: training.batch_size or n])
    trained = steps * step + records * record
    if experiment.ntk_bytes is None:
        return Work(size, trained, 0.0)
    kernel = operations(
        lambda p: ntk_by_output(net, p, x[:n], max_bytes=LIMITLESS), params
    )
    plain = training.closed_form and training.optimizer.name == "sgd"
    products = krylov_products(steps, n * k) if plain else steps
    linear = 2 * (n * k) ** 2 * products + 4 * records * record
    return Work(size, trained, 2 * kernel + linear)


def operations(function: Any, *shapes: Any) -> float:
    """The compiler's count for a function, before it optimizes."""
    cost: Any = jax.jit(function).lower(*shapes).cost_analysis()
    return float(cost["flops"])


class Rates(NamedTuple):
    """Operations a second; None where nothing was timed yet."""

    training: float | None
    kernels: float | None


def plan(
    experiment: Experiment, free: int | None = None, rate: float | None = None
) -> list[Width]:
    """Every width of an experiment, in the order of its cells.

    Args:
        experiment: what would be measured.
        free: bytes of a device; None asks it. Wider networks are not timed.
        rate: operations a second at which they are taken to run; None is that of the
            widest network that was timed.
    """
    if free is None:
        free = available(jax.local_devices())[0]
    kinds = Counter((width, len(seeds)) for width, seeds in experiment.cells())
    found, rates = [], Rates(rate, rate)
    for (width, seeds), cells in kinds.items():
        row, rates = _row(experiment, width, seeds, cells, free, rates)
        found.append(row)
    return found


def _row(
    experiment: Experiment, width: int, seeds: int, cells: int, free: int, rates: Rates
) -> tuple[Width, Rates]:
    """A width, and the rates that are known then."""
    training, own = experiment.training, np.arange(seeds)
    began = time.monotonic()
    net, rate = experiment.trained_net(width), experiment.learning_rate(width)
    limit, last = experiment.limit(width), int(experiment.times[-1])
    memory = experiment.config.memory_gb * 2**30
    shared, together = arguments(
        net,
        experiment.data,
        limit,
        rate,
        experiment.times,
        own,
        memory,
        training,
        experiment.mesh,
    )
    programs = compiled(
        net,
        width,
        training,
        together,
        last,
        experiment.ntk_bytes,
        experiment.mesh,
        shared,
    )
    preparing = time.monotonic() - began
    held = max(program_bytes(program) for program in programs)
    work, running = count(experiment, width), None
    if held <= free:
        start, step, state = _train(programs, shared, experiment)
        parts = seeds // (together * seed_devices(experiment.mesh))
        trained = parts * last * step
        pace = seeds * work.training / trained
        if seeds * work.kernels / pace <= MOST:
            began = time.monotonic()
            finish(programs, *state, shared, experiment.data, limit, training, own)
            end = time.monotonic() - began
            rates = Rates(pace, seeds * work.kernels / end)
        else:
            known = rates.kernels or pace
            end = seeds * work.kernels / known
            rates = Rates(pace, known)
        running = cells * (start + trained + end)
    elif rates.training is not None:
        one = work.training / rates.training
        one += work.kernels / (rates.kernels or rates.training)
        running = cells * seeds * one
    return Width(width, cells, seeds, work, held, preparing, running), rates


def _train(
    programs: Programs, shared: tuple, experiment: Experiment
) -> tuple[float, float, tuple[Any, Any, Any]]:
    """Seconds of the start and of a step of those that train at once; the state."""
    began = time.monotonic()
    params0, size, progress = jax.block_until_ready(programs.begin(*shared))
    start = time.monotonic() - began
    last, steps, done = int(experiment.times[-1]), 1, -1
    while True:
        stop = min(max(done, 0) + steps, last)
        part = place(
            (np.int32(0), bounds(experiment.times, done, stop)), experiment.mesh
        )
        began = time.monotonic()
        progress = jax.block_until_ready(
            programs.advance(progress, params0, *shared, *part)
        )
        took = time.monotonic() - began
        if took > PROBE or stop == last:
            return start, took / max(stop - max(done, 0), 1), (params0, size, progress)
        steps, done = 4 * steps, stop
