"""The nearest pair, against all pairs one by one."""

import itertools
import math
import tracemalloc

import numpy as np
import pytest

from zoo.data import load, separation
from zoo.data.separation import delta_separation


def brute_force(x):
    return min(math.dist(a, b) for a, b in itertools.combinations(x, 2))


RNG = np.random.default_rng(0)
NEAR = RNG.normal(size=(30, 6))
NEAR[17] = NEAR[4] + 1e-9 * RNG.normal(size=6)
FAR = 1e6 + RNG.normal(size=(40, 3))  # products lose 12 digits
POINTS = {
    "two": RNG.normal(size=(2, 3)),
    "gaussian": RNG.normal(size=(60, 4)),
    "near": NEAR,
    "far off": FAR,
    "cluster": 1e3 + 1e-7 * RNG.normal(size=(50, 3)),  # lost in the products
    "tiny": 1e-200 * RNG.normal(size=(20, 3)),
    "huge": 1e200 * RNG.normal(size=(20, 3)),
    "ties": np.eye(25),
    "line": np.arange(9.0)[:, None] ** 2,
    "images": RNG.normal(size=(12, 2, 3, 1)),
    "float32": RNG.normal(size=(20, 5)).astype(np.float32),
}


@pytest.mark.parametrize("block", [1, 100, 1 << 22])
@pytest.mark.parametrize("name", POINTS)
def test_the_nearest_pair_is_found(name, block, monkeypatch):
    monkeypatch.setattr(separation, "BLOCK", block)
    x = POINTS[name]
    want = brute_force(x.reshape(len(x), -1).astype(float))
    assert delta_separation(x) == pytest.approx(want, rel=1e-12, abs=0)


@pytest.mark.parametrize("block", [1, 1 << 22])
@pytest.mark.parametrize("pair", [(0, 1), (3, 49), (48, 49)])
def test_it_is_0_for_equal_points_alone(pair, block, monkeypatch):
    monkeypatch.setattr(separation, "BLOCK", block)
    x = 100 + RNG.normal(size=(50, 8))
    i, j = pair
    x[j] = x[i]
    assert delta_separation(x) == 0
    x[j, 2] = np.nextafter(x[i, 2], np.inf)  # one unit in the last place, 1e-14
    assert delta_separation(x) == abs(x[j, 2] - x[i, 2]) > 0
    assert delta_separation(np.zeros((2, 3))) == 0


def test_memory_is_below_that_of_all_differences(monkeypatch):
    monkeypatch.setattr(separation, "BLOCK", 1 << 16)
    x = RNG.normal(size=(1500, 50))
    tracemalloc.start()
    delta_separation(x)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 10e6  # n^2 floats are 18 MB, n^2 d 900 MB


def test_the_digits_are_all_different():
    assert 0.1 < delta_separation(load("unit_digits", 1000, 1).x_train) < 0.2


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.ones((1, 3)), "needs two points, got 1"),
        (np.array([[0.0], [np.nan]]), "needs finite points"),
        (np.array([[0.0], [np.inf]]), "needs finite points"),
    ],
)
def test_what_has_no_separation_is_refused(x, message):
    with pytest.raises(ValueError, match=message):
        delta_separation(x)
