"""A program of several processes, for the tests: what they sum, and how one fails."""

import os
import signal
import time

import jax
import numpy as np
from absl import flags
from jax.sharding import AxisType, NamedSharding, PartitionSpec

from experiments import edge

LOST = {"killed": signal.SIGKILL, "stopped": signal.SIGSTOP}
HOW = flags.DEFINE_enum(
    "how", "sum", ("sum", "fail", "again", "wait", *LOST), "How process --who ends."
)
MESH = flags.DEFINE_string(
    "mesh", "d", "That there is one makes the processes one run."
)
WHO = flags.DEFINE_integer("who", 1, "The one that fails.")


def total():
    """The number of devices of all processes, by a collective."""
    devices = jax.device_count()
    mesh = jax.make_mesh((devices,), ("d",), axis_types=(AxisType.Auto,))
    split, whole = (NamedSharding(mesh, PartitionSpec(*axes)) for axes in ("d", ""))
    ones = jax.make_array_from_callback(
        (devices,), split, lambda _: np.ones(1, np.float32)
    )
    return float(jax.jit(lambda a: a.sum(), out_shardings=whole)(ones))


def main():
    me, mine = jax.process_index(), jax.process_index() == WHO.value
    print(f"pid {os.getpid()}", flush=True)
    print(f"process {me} of {jax.process_count()}: sum {total():g}", flush=True)
    if HOW.value == "fail" and mine:
        edge.fail("something is wrong", 3)
    if HOW.value == "again" and mine:
        os._exit(75)
    if HOW.value in LOST and mine:
        os.kill(os.getpid(), LOST[HOW.value])
    while HOW.value in LOST:
        total()
    if HOW.value != "sum":
        wait()


def wait():
    """For ten minutes, or a signal."""

    def leave(number, _):
        print(f"got {signal.Signals(number).name}", flush=True)
        os._exit({signal.SIGTERM: 75, signal.SIGINT: 130}[number])

    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGINT, leave)
    print("waiting", flush=True)
    time.sleep(600)


if __name__ == "__main__":
    edge.run(main)
