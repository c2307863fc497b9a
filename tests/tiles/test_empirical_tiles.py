"""Empirical NTKs by tiles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.descent.losses import find_loss
from zoo.descent.optimizers import Optimizer
from zoo.finite.tiles import empirical_side, empirical_source, empirical_tiles
from zoo.infinite.products import end_of_training
from zoo.infinite.steps import exact_steps
from zoo.tiles.sharded import load
from zoo.tiles.source import kernel_key

N, ALL, OUT = 9, 13, 3
NET = zoo.MLP(width=16, depth=1, out=OUT, activation="tanh")
X = np.asarray(jax.random.normal(jax.random.key(1), (ALL, 4)))
PARAMS = NET.init(jax.random.key(0), jnp.asarray(X))["params"]


def both(full, **options):
    """The kernel of train points in tiles, of test with train points, and whole."""
    given = {"full": full} | options
    theta = zoo.empirical_ntk(NET, PARAMS, jnp.asarray(X), full=full)
    theta = np.asarray(theta, np.float64)
    if full:
        theta = theta.transpose(0, 2, 1, 3).reshape(ALL * OUT, ALL * OUT)
    return (
        empirical_tiles(NET, PARAMS, X[:N], **given),
        empirical_tiles(NET, PARAMS, X[N:], X[:N], **given),
        theta,
    )


@pytest.mark.parametrize("full", [False, True])
def test_tiles_make_the_empirical_kernel(full):
    kernel, across, theta = both(full, side=4)
    n = N * (OUT if full else 1)
    assert kernel.array.dtype == np.float32 and kernel.grid.count == 6
    got = kernel.product(np.eye(n)), across.product(np.eye(n))
    for part, want in zip(got, (theta[:n, :n], theta[n:, :n]), strict=True):
        np.testing.assert_allclose(part, want, atol=2e-6 * np.abs(theta).max())


def test_the_side_follows_from_the_budget():
    sides = [
        empirical_side(NET, PARAMS, X, max_bytes=most) for most in (2**30, 2**13, 1)
    ]
    assert sides[0] == ALL > sides[1] > sides[2] == 1


def test_other_parameters_are_another_kernel():
    other = jax.tree.map(lambda a: a * 1.001, PARAMS)
    keys = {
        kernel_key(empirical_source(NET, params, X, full=full), X, None)
        for params in (PARAMS, other)
        for full in (False, True)
    }
    assert len(keys) == 4


@pytest.mark.parametrize("place", ["stored", "devices"])
def test_steps_and_their_end_where_outputs_share_the_kernel(place):
    """A network linearized: the end of training, and steps on cross-entropy."""
    kernel, across, theta = both(True, side=4)
    tiles = kernel if place == "stored" else load(kernel, jax.devices()[:2])
    rng = np.random.default_rng(3)
    f0, y = rng.normal(size=(2, ALL, OUT)), rng.normal(size=(N, OUT))
    given = (find_loss("xent"), Optimizer("momentum"), 0.2, np.asarray([0, 3, 9]))
    got = exact_steps(tiles, f0, y, *given, rest=across)
    want = exact_steps(theta[:, : N * OUT], f0, y, *given)
    np.testing.assert_allclose(got, want, atol=1e-5)
    n = N * OUT
    end = end_of_training(tiles, across, f0, y, ridge=0.1)
    solve = np.linalg.solve(
        theta[:n, :n] + 0.1 * np.eye(n), (f0[:, :N] - y).reshape(2, n, 1)
    )
    want = f0[:, N:] - (theta[n:, :n] @ solve).reshape(2, ALL - N, OUT)
    np.testing.assert_allclose(end.outputs, want, atol=2e-4)
    assert end.residual < 1e-7 and end.products < 4 * n
    ends = np.linalg.eigvalsh(theta[:n, :n])[[0, -1]]
    np.testing.assert_allclose(end.ends, ends, rtol=1e-3)
