"""A kernel takes less memory than its result, which is on disk."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import json
import resource
import sys

import numpy as np

import zoo
from zoo.infinite.tiles import kernel_tiles

def peak():
    return 1024 * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

def kernel(n):
    x = np.random.default_rng(0).normal(size=(n, 10))
    net = zoo.MLP(width=1, depth=2, activation="relu", sigma_b=0.1)
    return kernel_tiles(net, x, side=250, store=sys.argv[1])

kernel(500).product(np.ones((500, 10)))  # imports, compilers, threads
before = peak()
found = kernel(3000)
computed = peak()
found.product(np.ones((3000, 10)))
print(json.dumps([computed - before, peak() - computed, found.nbytes]))
"""


@pytest.mark.slow
def test_a_kernel_larger_than_the_memory_it_takes(tmp_path):
    """The upper half is 39 MB; tiles are of half a megabyte."""
    flags = os.environ["XLA_FLAGS"].replace("device_count=8", "device_count=1")
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, tmp_path],
        cwd=ROOT,
        env=os.environ | {"XLA_FLAGS": flags},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    computing, multiplying, result = json.loads(done.stdout)
    assert result == 78 * 8 * 250**2
    assert computing < result / 2 and multiplying < result / 4
