"""The main job against the peers' own way: `make bench`.

For every width, in one process and in turn: this project's measurement of a cell, and
the same measured with neural-tangents' tools (`benchmarks.peers`). Wall time with
compilation; the infinite-width kernel is counted where it is first needed. Printed
beside it: the time that gradient descent's own floating-point operations, 6 n P a step
and seed, take at the rate of this machine's float32 matrix products.
"""

import json

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks import peers
from benchmarks.clock import matmul_rate, timed
from zoo import data
from zoo.gap.config import DEFAULT_SIGMA_W, Config
from zoo.gap.run import Experiment

WIDTHS = flags.DEFINE_list("widths", ["64", "128", "256", "512", "1024"], "Widths.")
POINTS = flags.DEFINE_integer("points", 256, "Train points, and test points.")
SEEDS = flags.DEFINE_integer("seeds", 4, "Seeds.")
STEPS = flags.DEFINE_integer("steps", 500, "Gradient descent steps.")
DEPTH = flags.DEFINE_integer("depth", 3, "Hidden layers.")


def parameters(experiment, width):
    """Number of parameters of the network of this width."""
    x = jnp.asarray(experiment.data.x_train[:1])
    shapes = jax.eval_shape(experiment.net(width).init, jax.random.key(0), x)
    return sum(leaf.size for leaf in jax.tree.leaves(shapes))


def compare(experiment, width, rate, spent):
    """One width, both ways; `spent` seconds went into our kernel of the limit."""
    config, seeds = experiment.config, np.arange(experiment.config.seeds)
    found, own = timed(lambda: experiment.measure(width, seeds))
    theirs, other = timed(
        lambda: peers.measure(
            experiment.data,
            width,
            config.depth,
            DEFAULT_SIGMA_W[config.activation],
            experiment.learning_rate(width),
            experiment.times,
            seeds,
        )
    )
    own += spent
    size = parameters(experiment, width)
    flops = 6 * config.n_train * size * config.steps * config.seeds / rate
    print(
        f"{width:5d} {own:9.1f} {other:9.1f} {other / own:7.2f} {flops:14.1f}"
        f" {own / flops:19.2f}",
        flush=True,
    )
    row = {"width": width, "ours": own, "peers": other, "ratio": other / own}
    row |= {"gd_flops_seconds": flops}
    for name in ("gap_total", "gap_nonlinear", "gap_kernel"):
        row[name] = float(found[name].max(1).mean())
        row[f"{name}_peers"] = float(theirs[name].max(1).mean())
    return row


def main(argv):
    """Prints a row per width, the geometric mean, and all of it as JSON."""
    del argv
    config = Config(
        widths=tuple(map(int, WIDTHS.value)),
        depth=DEPTH.value,
        seeds=SEEDS.value,
        n_train=POINTS.value,
        n_test=POINTS.value,
        steps=STEPS.value,
        lr_fraction=0.3,
    )
    data.load(config.dataset, config.n_train, config.n_test)  # imports scikit-learn
    rate = matmul_rate()
    print(f"float32 matrix products: {rate / 1e9:.0f} GFLOP/s")
    print("width    ours s   peers s   ratio   GD's FLOPs s   ours / GD's FLOPs")
    experiment, spent = timed(lambda: Experiment(config))
    rows = []
    for width in config.widths:
        rows.append(compare(experiment, width, rate, spent))
        spent = 0.0
    mean = float(np.exp(np.mean([np.log(row["ratio"]) for row in rows])))
    print(f"geometric mean of the ratio: {mean:.2f}")
    print(json.dumps({"matmul_flops": rate, "geometric_mean": mean, "rows": rows}))


if __name__ == "__main__":
    app.run(main)
