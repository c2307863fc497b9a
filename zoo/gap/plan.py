"""What a sweep will take, before it runs: parameters, products, memory, time.

Products are the compiler's own count of a step, a record and a kernel; memory is that of
the compiled programs, on one device; time is what compiling took, and the pace of a few
steps of each width that fits the machine. A search for an equilibrium counts as one
step of it, and is timed as what it is.
"""

import time
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from zoo.finite.linear import steps_in_krylov
from zoo.finite.ntk import ntk_by_output
from zoo.gap.cell import arguments
from zoo.gap.mesh import place, seed_devices
from zoo.gap.programs import Programs, compiled, initialize
from zoo.gap.segments import bounds

PROBE = 0.3  # seconds that the pace of a width is measured for, at least
LIMITLESS = 2**62


class Width(NamedTuple):
    """One cell of a width.

    Attributes:
        width: m.
        seeds: of the cell.
        cells: how many there are of this width.
        parameters: of one network.
        flops: floating-point operations of one cell, on all devices.
        bytes: that one device holds at the worst moment.
        compiling: seconds, once for all cells of the width.
        running: seconds of one cell; None where it does not fit, and no rate is known.
    """

    width: int
    seeds: int
    cells: int
    parameters: int
    flops: float
    bytes: int
    compiling: float
    running: float | None

    @property
    def seconds(self) -> float | None:
        """Of all cells of the width."""
        if self.running is None:
            return None
        return self.compiling + self.cells * self.running


class Products(NamedTuple):
    """Floating-point operations of one seed."""

    training: float
    kernels: float


def count(experiment: Any, width: int) -> Products:
    """Operations of one seed, by shapes alone."""
    net, data = experiment.trained_net(width), experiment.data
    config, training = experiment.config, experiment.training
    x = jnp.concatenate([data.x_train, data.x_test])
    n, k = data.y_train.shape
    batch = training.batch_size or n
    params = jax.eval_shape(partial(initialize, net, width), jnp.int32(0), x)

    def forward(params: Any, x: jax.Array) -> jax.Array:
        return net.apply({"params": params}, x)

    def loss(params: Any, x: jax.Array) -> jax.Array:
        return jnp.sum(forward(params, x) ** 2)

    step = operations(jax.grad(loss), params, x[:batch])
    record = operations(forward, params, x)
    trained = config.steps * step + len(experiment.times) * record
    if experiment.ntk_bytes is None:
        return Products(trained, 0.0)
    kernel = operations(
        lambda p: ntk_by_output(net, p, x[:n], max_bytes=LIMITLESS), params
    )
    products = config.steps
    if training.closed_form and training.optimizer.name == "sgd":
        products = steps_in_krylov(config.steps, n * k)
    linear = 2 * (n * k) ** 2 * products + 3 * len(experiment.times) * record
    return Products(trained, 2 * kernel + linear)


def operations(function: Any, *shapes: Any) -> float:
    """The compiler's count for a function, before it optimizes."""
    cost: Any = jax.jit(function).lower(*shapes).cost_analysis()
    return float(cost["flops"])


def plan(experiment: Any, available: int, rate: float | None = None) -> list[Width]:
    """Every width of an experiment, narrow networks first.

    Args:
        experiment: a `zoo.gap.run.Experiment`.
        available: bytes of a device.
        rate: operations a second of a device where none can be measured; None takes
            that of the widest network that fits.
    """
    found = []
    cells = experiment.cells()
    for width in experiment.config.widths:
        own = [seeds for m, seeds in cells if m == width]
        shared, together, options = experiment.programs_of(width, own[0])
        began = time.monotonic()
        programs = compiled(*options, shared)
        compiling = time.monotonic() - began
        held = max(_bytes(program) for program in programs)
        products = count(experiment, width)
        parts = len(own[0]) // (together * seed_devices(experiment.mesh))
        flops = len(own[0]) * sum(products)
        running = None
        if held <= available:
            pace = _pace(programs, shared, experiment)
            trained = pace * experiment.config.steps * parts
            rate = len(own[0]) * products.training / max(trained, 1e-9)
            running = trained + len(own[0]) * products.kernels / rate
        elif rate is not None:
            running = flops / rate
        size = _size(shared, experiment, width)
        found.append(
            Width(width, len(own[0]), len(own), size, flops, held, compiling, running)
        )
    return found


def _bytes(program: Any) -> int:
    """Arguments, results and what is held between them, by the compiler."""
    held = program.memory_analysis()
    return (
        held.argument_size_in_bytes
        + held.output_size_in_bytes
        + held.temp_size_in_bytes
        - held.alias_size_in_bytes
    )


def _pace(programs: Programs, shared: tuple, experiment: Any) -> float:
    """Seconds of a step of one part of a cell."""
    params0, _, progress = programs.begin(*shared)
    last, steps, took, done = int(experiment.times[-1]), 1, 0.0, -1
    while done < last and took < PROBE:
        stop = min(max(done, 0) + steps, last)
        between = place(
            (np.int32(0), bounds(experiment.times, done, stop)), experiment.mesh
        )
        began = time.monotonic()
        progress = jax.block_until_ready(
            programs.advance(progress, params0, *shared, *between)
        )
        took, pace = time.monotonic() - began, max(stop - done, 1)
        steps, done = 4 * steps, stop
    return took / pace


def _size(shared: tuple, experiment: Any, width: int) -> int:
    net = experiment.trained_net(width)
    shapes = jax.eval_shape(partial(initialize, net, width), jnp.int32(0), shared[1])
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))
