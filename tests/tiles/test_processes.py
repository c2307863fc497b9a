"""Two processes make, store and multiply the kernel that one makes."""

import os
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

import zoo
from zoo.descent.losses import find_loss
from zoo.descent.optimizers import Optimizer
from zoo.infinite.products import end_of_training
from zoo.infinite.steps import exact_steps
from zoo.infinite.tiles import kernel_tiles
from zoo.tiles.sharded import load

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import sys
import jax
import numpy as np
sys.path.insert(0, "tests/tiles")
process, port, folder = int(sys.argv[1]), sys.argv[2], sys.argv[3]
jax.distributed.initialize(f"localhost:{port}", 2, process)
assert jax.local_device_count() == 4 and jax.device_count() == 8
from test_processes import numbers
np.savez(f"{folder}/{process}.npz", **numbers(f"{folder}/store"))
"""


def numbers(store):
    """All that is made of a kernel, and the tiles that this process computed."""
    x = np.random.default_rng(0).normal(size=(52, 5))
    net = zoo.MLP(width=1, depth=2, activation="relu", sigma_b=0.3)
    f0, y = np.zeros((2, 52, 3)), np.random.default_rng(1).normal(size=(40, 3))
    seen = []
    given = {"side": 6, "store": store, "report": lambda done, all_: seen.append(all_)}
    theta = kernel_tiles(net, x[:40], **given)
    rest = kernel_tiles(net, x[40:], x[:40], **given)
    found = {"own": theta.own(), "reports": len(seen)}
    steps = (find_loss("mse"), Optimizer(), 0.5, np.asarray([0, 2, 7]))
    for name, tiles in (("stored", theta), ("devices", load(theta))):
        found[f"{name} steps"] = exact_steps(tiles, f0, y, *steps, rest=rest)
        end = end_of_training(tiles, rest, f0, y, tolerance=1e-12)
        found |= {f"{name} end": end.outputs, f"{name} ends": end.ends}
    return found


@pytest.mark.slow
def test_two_processes_make_the_numbers_of_one(tmp_path):
    with socket.socket() as free:
        free.bind(("localhost", 0))
        port = str(free.getsockname()[1])
    flags = (
        "--xla_force_host_platform_device_count=4 --xla_backend_optimization_level=1"
    )
    others = os.environ.get("XLA_FLAGS", "").split()
    kept = [f for f in others if "device_count" not in f and "optimization" not in f]
    environment = os.environ | {"XLA_FLAGS": " ".join([*kept, flags])}
    run = [sys.executable, "-c", PROGRAM]
    children = [
        subprocess.Popen([*run, str(i), port, tmp_path], cwd=ROOT, env=environment)
        for i in range(2)
    ]
    try:
        assert [child.wait(timeout=600) for child in children] == [0, 0]
    finally:
        for child in children:
            child.kill()
    first, second = (dict(np.load(tmp_path / f"{i}.npz")) for i in range(2))
    assert len(first.pop("own")) + len(second.pop("own")) == 28
    want = numbers(None)
    assert first.pop("reports") > 0 and second.pop("reports") > 0
    for name, value in first.items():
        np.testing.assert_array_equal(value, second[name])
        np.testing.assert_allclose(value, want[name], rtol=1e-9, atol=1e-9)
    stored = numbers(str(tmp_path / "store"))  # one process takes what two have made
    assert stored["reports"] == 0
    np.testing.assert_allclose(stored["stored end"], first["stored end"], rtol=1e-9)
