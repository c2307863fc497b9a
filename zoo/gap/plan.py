"""What a sweep will take, before it runs: parameters, operations, memory, time.

Operations are the compiler's own count of a step, a record and a kernel; memory is that
of the compiled programs. Time is what compiling takes, and the pace of a few steps of
each width that fits; kernels go at the rate of those steps. A search for an equilibrium
counts as one step of it, and is timed as what it is.
"""

import time
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zoo.finite.linear import krylov_products
from zoo.finite.ntk import ntk_by_output
from zoo.gap.cell import arguments
from zoo.gap.mesh import place, seed_devices
from zoo.gap.programs import Programs, compiled, initialize
from zoo.gap.run import Experiment
from zoo.gap.segments import bounds
from zoo.tiles.memory import available, program_bytes

PROBE = 0.3  # seconds that the pace of a width is measured for, at least
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
    """What the cells of one width will take.

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


def plan(
    experiment: Experiment, free: int | None = None, rate: float | None = None
) -> list[Width]:
    """Every width of an experiment, narrow networks first.

    Args:
        experiment: what would be measured.
        free: bytes of a device; None asks it. Wider networks are not timed.
        rate: operations a second at which they are taken to run; None is that of the
            widest network that was timed.
    """
    if free is None:
        free = available(jax.local_devices())[0]
    found = []
    for width in experiment.config.widths:
        cells = [seeds for m, seeds in experiment.cells() if m == width]
        training, seeds = experiment.training, len(cells[0])
        began = time.monotonic()
        shared, together = arguments(
            experiment.trained_net(width),
            experiment.data,
            experiment.limit(width),
            experiment.learning_rate(width),
            experiment.times,
            cells[0],
            experiment.config.memory_gb * 2**30,
            training,
            experiment.mesh,
        )
        programs = compiled(
            experiment.trained_net(width),
            width,
            training,
            together,
            int(experiment.times[-1]),
            experiment.ntk_bytes,
            experiment.mesh,
            shared,
        )
        preparing = time.monotonic() - began
        held = max(program_bytes(program) for program in programs)
        work, running = count(experiment, width), None
        if held <= free:
            parts = seeds // (together * seed_devices(experiment.mesh))
            trained = (
                parts * experiment.config.steps * _pace(programs, shared, experiment)
            )
            rate = measured = seeds * work.training / trained
            running = trained + seeds * work.kernels / measured
        elif rate is not None:
            running = seeds * (work.training + work.kernels) / rate
        running = None if running is None else len(cells) * running
        found.append(Width(width, len(cells), seeds, work, held, preparing, running))
    return found


def _pace(programs: Programs, shared: tuple, experiment: Experiment) -> float:
    """Seconds of a step of the seeds that train at once."""
    params0, _, progress = programs.begin(*shared)
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
            return took / max(stop - max(done, 0), 1)
        steps, done = 4 * steps, stop
