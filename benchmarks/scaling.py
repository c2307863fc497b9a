"""Width 65,536, and 50,000 points, on machines that are not here.

    XLA_FLAGS=--xla_force_host_platform_device_count=32 python -m benchmarks.scaling

The programs are compiled here, for as many virtual devices as the machine has, and not
run: the functions are those of --plan. Memory is the compiler's; time is operations
over a rate that is assumed: the peak of the data sheets at full float32 precision (on a
TPU six passes of bfloat16), times a utilization. Kernels are in float64, on a TPU by
its hosts.
"""

import tempfile
from pathlib import Path
from typing import NamedTuple

import jax
import numpy as np
from absl import app, flags

from zoo.gap.config import Config
from zoo.gap.mesh import AXES
from zoo.gap.plan import operations, plan
from zoo.gap.run import Experiment
from zoo.infinite.kernels import kernel_fn, tile_side
from zoo.infinite.precision import float64
from zoo.infinite.tiles import TILE_BYTES, kernel_source
from zoo.models import MLP
from zoo.report.plans import seconds, size
from zoo.tiles.fill import predict_memory

POINTS = flags.DEFINE_integer("points", 50000, "n of the kernel.")
WIDTH = flags.DEFINE_integer("width", 65536, "m.")
UTILIZATION = flags.DEFINE_float("utilization", 0.5, "Of the peak.")


class Machine(NamedTuple):
    """A machine by its data sheet: devices, bytes and operations a second of each."""

    name: str
    devices: int
    bytes: float
    rate: float


MACHINES = (
    Machine("H100 SXM", 1, 80e9, 67e12),
    Machine("TPU v5e-8", 8, 16e9, 197e12 / 6),
    Machine("TPU v5p-64", 32, 95e9, 459e12 / 6),
)


def cifar_like(folder: Path) -> str:
    """Points and labels of CIFAR-10's shapes."""
    rng = np.random.default_rng(0)
    path = folder / "cifar.npz"
    images = rng.integers(0, 256, (400, 32, 32, 3), dtype=np.uint8)
    half = {"x_train": images[:200], "x_test": images[200:]}
    labels = np.arange(200) % 10
    np.savez(path, **half, y_train=labels, y_test=labels)
    return str(path)


def kernel(points: int) -> str:
    """What the upper half of a kernel on CIFAR-10 takes, in tiles."""
    net = MLP(width=1, depth=3, out=1, activation="relu")
    x = np.zeros((points, 3072))
    side = tile_side(net, x, TILE_BYTES)
    memory = predict_memory(kernel_source(net), x, side=side)
    tiles = memory.result // (8 * memory.side**2)
    with float64():
        tile = jax.ShapeDtypeStruct((memory.side, 3072), "float64")
        work = operations(kernel_fn(net), tile, tile) * tiles
    return (
        f"kernel of {points} points: {work:.3g} operations, {size(memory.result)} in "
        f"{tiles} tiles of {memory.side} points; at a time {size(memory.device)} on a "
        f"device and {size(memory.host)} on the host"
    )


def main(_) -> None:
    print(kernel(POINTS.value))
    print("machine, mesh, parameters, memory of a device, fits, a seed of 500 steps")
    with tempfile.TemporaryDirectory() as folder:
        config = Config(
            dataset=cifar_like(Path(folder)), widths=(WIDTH.value,), seeds=1
        )
        for machine in MACHINES:
            if machine.devices > len(jax.devices()):
                print(f"{machine.name}: give {machine.devices} virtual devices")
                continue
            devices = np.asarray(jax.devices()[: machine.devices]).reshape(1, -1)
            experiment = Experiment(config)
            experiment.mesh = jax.sharding.Mesh(devices, AXES)
            rate = machine.devices * machine.rate * UTILIZATION.value
            (found,) = plan(experiment, free=0, rate=rate)
            print(
                f"{machine.name}, width:{machine.devices}, "
                f"{found.work.parameters:,}, {size(found.bytes)}, "
                f"{'yes' if found.bytes < machine.bytes else 'no'}, "
                f"{seconds(found.running or 0.0)}",
                flush=True,
            )


if __name__ == "__main__":
    app.run(main)
