"""Covariances of convolutions, against explicit sums and a fresh process."""

import itertools
import os
import subprocess
import sys
import types

import jax.numpy as jnp
import numpy as np
import pytest

from zoo.infinite.convolved import convolved_covariance


@pytest.mark.parametrize("name", ["VALID", "SAME", "CIRCULAR"])
@pytest.mark.parametrize(("size", "stride"), [((3, 2), (1, 2)), ((2, 3), (2, 1))])
def test_equals_the_sum_over_the_filter(name, size, stride, x64):
    """Entry by entry, positions in loops, on a field without any symmetry."""
    h, w = 5, 4
    k = np.random.default_rng(0).normal(size=(2, h, h, w, w))
    padding = types.SimpleNamespace(name=name)
    got = convolved_covariance(jnp.asarray(k), size, stride, padding, 1)
    grids = []
    for length, f, s in zip((h, w), size, stride, strict=True):
        count = (length - f) // s + 1 if name == "VALID" else -(-length // s)
        low = max((count - 1) * s + f - length, 0) // 2 if name != "VALID" else 0
        grids.append((count, s, low, length, f))

    def place(grid, i, d):
        _, s, low, length, _ = grid
        at = s * i + d - low
        if name == "CIRCULAR":
            return at % length
        return at if 0 <= at < length else None

    (m, *_), (p, *_) = grids
    want = np.zeros((2, p, p, m, m))
    for a, b, i, j in itertools.product(range(p), range(p), range(m), range(m)):
        for d, e in itertools.product(range(size[0]), range(size[1])):
            rows = place(grids[0], i, d), place(grids[0], j, d)
            columns = place(grids[1], a, e), place(grids[1], b, e)
            if None not in (*rows, *columns):
                want[:, a, b, i, j] += k[:, *rows, *columns] / (size[0] * size[1])
    np.testing.assert_allclose(got, want, atol=1e-12)


PROGRAM = """
import numpy as np, zoo
from zoo.infinite.kernels import kernel_matrix
x = np.random.default_rng(0).normal(size=(5, 8, 8, 1))
net = zoo.models.CNN(width=1, depth=2, activation="tanh")
assert np.linalg.eigvalsh(kernel_matrix(net, x))[0] > 0
"""


def test_tanh_kernels_of_images_at_full_optimization():
    """What ended in a segmentation fault for users, whose compiler does its best."""
    done = subprocess.run([sys.executable, "-c", PROGRAM], env=_plain())
    assert done.returncode == 0


def _plain():
    """Without the tests' compiler flags."""
    flags = os.environ["XLA_FLAGS"].split()
    kept = [f for f in flags if "optimization_level" not in f and "device" not in f]
    return os.environ | {"XLA_FLAGS": " ".join(kept)}
