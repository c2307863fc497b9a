"""The empirical NTK against neural-tangents and torch.func: `make bench`.

Every contender has a process of its own under a limit of 16 GB; one that does not fit,
or takes more than `--patience` seconds, is printed so and is not the best. Rows are the
mean over outputs and the full kernel, both of all pairs of points; the peak is that of
the whole process. PyTorch's rows appear where it can be imported
(`pip install lazy-regime-zoo[bench]`). Then every member of the registry at its smoke
size, in this process, against the fastest of neural-tangents' implementations.
"""

import json
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from absl import app, flags

from benchmarks.clock import matmul_rate, timed
from benchmarks.ntk_contenders import (
    IMPLEMENTATIONS,
    NETWORKS,
    TORCH,
    neural_tangents,
    ours,
)
from zoo.gap.nets import example
from zoo.models import ARCHITECTURES

ROWS = ("mean", "full")
OURS = flags.DEFINE_list("networks", list(NETWORKS), "Networks that are compared.")
MEMBERS = flags.DEFINE_list(
    "members", sorted(ARCHITECTURES), "Members that are compared at their smoke size."
)
PATIENCE = flags.DEFINE_integer("patience", 240, "Seconds a contender may take.")


def contenders():
    torch = TORCH if find_spec("torch") else ()
    return ["ours", *IMPLEMENTATIONS, *torch]


def measure(network, contender, row, file):
    """What the contender's process printed, or why it printed nothing."""
    program = [sys.executable, "-m", "benchmarks.ntk_contenders"]
    try:
        done = subprocess.run(
            [*program, network, contender, row, file],
            capture_output=True,
            text=True,
            timeout=PATIENCE.value,
        )
    except subprocess.TimeoutExpired:
        return {"missing": f"over {PATIENCE.value} s"}
    if done.returncode == 0:
        return json.loads(done.stdout.splitlines()[-1])
    memory = ("RESOURCE_EXHAUSTED", "MemoryError", "bad_alloc", "allocate")
    if done.returncode < 0 or any(word in done.stderr for word in memory):
        return {"missing": "does not fit in 16 GB"}
    raise RuntimeError(done.stderr)


def compare(network, row, rate, folder):
    """All contenders on one network, printed; ratios of the best of the others."""
    print(f"\n{network}, {row}", flush=True)
    print("contender                      s   median   compile s   peak MB   GFLOP/s")
    found, reference = {}, None
    for contender in contenders():
        file = folder / "theta.npy"
        one = found[contender] = measure(network, contender, row, str(file))
        if "missing" in one:
            print(f"{contender:26s} {one['missing']}", flush=True)
            continue
        theta = np.load(file)
        reference = theta if reference is None else reference
        error = np.linalg.norm(theta - reference) / np.linalg.norm(reference)
        assert error < 1e-4, (network, row, contender, error)
        one["seconds"] = best = min(one["times"])
        speed = ""
        if "flops" in one:
            one["rate"] = one["flops"] / best
            speed = f"{one['rate'] / 1e9:9.1f} ({one['rate'] / rate:.0%} of matmul)"
        print(
            f"{contender:26s} {best:7.3f} {np.median(one['times']):8.3f}"
            f" {one['compile']:11.2f} {one['peak_mb']:9.0f} {speed}",
            flush=True,
        )
    row = {"network": network, "row": row, "contenders": found}
    rest = [v for k, v in found.items() if k != "ours" and "missing" not in v]
    if "missing" in found["ours"] or not rest:
        print("nothing to compare")
        return row
    fastest, own = min(rest, key=lambda one: one["seconds"]), found["ours"]
    ratio = fastest["seconds"] / own["seconds"]
    memory = own["peak_mb"] / fastest["peak_mb"]
    print(f"best of the others / ours: {ratio:.2f}; ours / its peak: {memory:.2f}")
    return row | {"ratio": ratio, "memory": memory}


def member_row(name):
    """Seconds of ours, and of the fastest of neural-tangents' implementations."""
    net, data = example(name, 32, 16)
    x = jnp.asarray(data.x_train)
    params = net.init(jax.random.key(0), x)["params"]

    def best(kernel):
        compiled = jax.jit(kernel).lower(params, x).compile()
        return min(timed(lambda: compiled(params, x))[1] for _ in range(10))

    own = best(ours(net, False))
    others = {}
    for label, implementation in IMPLEMENTATIONS.items():
        with jax.numpy_dtype_promotion("standard"):
            others[label] = best(neural_tangents(net, False, implementation))
    fastest = min(others, key=lambda label: others[label])
    ratio = others[fastest] / own
    print(
        f"{name:22s} {own * 1e3:8.2f} {others[fastest] * 1e3:8.2f} {ratio:7.2f}"
        f"   {fastest}",
        flush=True,
    )
    return {"member": name, "ours": own, "ratio": ratio} | others


def geometric_mean(rows):
    """Of the ratios; rows without one do not count."""
    return float(np.exp(np.mean([np.log(r["ratio"]) for r in rows if "ratio" in r])))


def main(argv):
    """Prints tables, geometric means of the ratios, and all of it as JSON."""
    del argv
    rate = matmul_rate()
    print(f"float32 matrix products: {rate / 1e9:.0f} GFLOP/s")
    with tempfile.TemporaryDirectory() as folder:
        rows = [
            compare(network, row, rate, Path(folder))
            for network in OURS.value
            for row in ROWS
        ]
    report = {"matmul_flops": rate, "rows": rows}
    if rows:
        report["geometric_mean"] = geometric_mean(rows)
        print(f"\ngeometric mean of the ratio: {report['geometric_mean']:.2f}")
    if MEMBERS.value:
        print("\nmember                  ours ms  best ms   ratio   the best is")
        members = [member_row(name) for name in MEMBERS.value]
        report |= {"members": members, "members_mean": geometric_mean(members)}
        print(f"geometric mean of the ratio: {report['members_mean']:.2f}")
    print(json.dumps(report))


if __name__ == "__main__":
    app.run(main)
