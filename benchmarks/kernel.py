"""Time of a stored kernel against the number of points: `python -m benchmarks.kernel`.

Each size in a process of its own, which states its peak resident memory. The slope is
of the processors' seconds, which other work on the machine disturbs less, of all tiles
but the first, without start and compilation: 2 is n^2.
"""

import json
import math
import subprocess
import sys
import tempfile
import time

from absl import app, flags

SIZES = flags.DEFINE_list("sizes", ["2500", "5000", "10000", "20000"], "Points.")
ONE = flags.DEFINE_integer("one", None, "Measures one size in this process.")
DEPTH = flags.DEFINE_integer("depth", 3, "Hidden layers of the relu MLP.")


def measure(n: int) -> dict[str, float]:
    """Seconds of a kernel and of a product with it, and the peak memory in GB."""
    import resource

    import numpy as np

    import zoo
    from zoo.infinite.tiles import kernel_tiles

    x = np.random.default_rng(0).normal(size=(n, 784)).astype(np.float32)
    net = zoo.MLP(width=1, depth=DEPTH.value, activation="relu", sigma_w=2**0.5)
    with tempfile.TemporaryDirectory() as store:
        clocks: list[tuple[int, float]] = []

        def finished(done: int, total: int) -> None:
            clocks.append((done, time.process_time()))

        begin, before = time.perf_counter(), time.process_time()
        kernel = kernel_tiles(net, x, store=store, report=finished)
        middle, after = time.perf_counter(), time.process_time()
        kernel.product(np.ones((n, 10)))
        end = time.perf_counter()
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    (first, start), (last, finish) = clocks[0], clocks[-1]
    tiles = (finish - start) * last / (last - first)
    times = {"kernel": middle - begin, "cpu": after - before, "tiles": tiles}
    sizes = {"peak": peak, "stored": kernel.nbytes / 1e9}
    return times | {"product": end - middle} | sizes


def main(_: list[str]) -> None:
    """One size, or all of them and the slope."""
    if ONE.value:
        print(json.dumps(measure(ONE.value)))
        return
    print(
        "| n | kernel, s | of processors | of them for tiles | product, s | "
        "peak memory, GiB | stored, GB |"
    )
    print("|---|---|---|---|---|---|---|")
    found: list[tuple[int, float]] = []
    for n in map(int, SIZES.value):
        run = [sys.executable, "-m", "benchmarks.kernel", f"--one={n}"]
        done = subprocess.run(
            [*run, f"--depth={DEPTH.value}"], capture_output=True, text=True, check=True
        )
        row = json.loads(done.stdout)
        found.append((n, row["tiles"]))
        print(
            f"| {n} | {row['kernel']:.1f} | {row['cpu']:.1f} | {row['tiles']:.1f} | "
            f"{row['product']:.2f} | {row['peak']:.2f} | {row['stored']:.3g} |",
            flush=True,
        )
    (n, few), (m, many) = found[0], found[-1]
    print(f"slope: {math.log(many / few) / math.log(m / n):.2f}")


if __name__ == "__main__":
    app.run(main)
