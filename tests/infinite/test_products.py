"""The end of training from products alone, against NumPy's dense solution."""

import numpy as np
import pytest

import zoo
from zoo.data import load
from zoo.infinite.kernels import kernel_matrix
from zoo.infinite.nystrom import nystrom
from zoo.infinite.products import end_of_training
from zoo.infinite.tiles import kernel_tiles
from zoo.tiles.sharded import load as shared_out

N = 160


@pytest.fixture(scope="module")
def problem():
    """A kernel in tiles and dense, its rest, outputs at the start, targets."""
    data = load("digits", n_train=N, n_test=20)
    net = zoo.MLP(width=8, depth=2, out=10, activation="relu", sigma_w=2**0.5)
    x, others = data.x_train.astype(float), data.x_test.astype(float)
    tiles = kernel_tiles(net, x, side=64)
    dense = kernel_matrix(net, np.concatenate([x, others]))[:, :N]
    f0 = np.random.default_rng(0).normal(size=(3, N + 20, 10))
    return tiles, dense[:N], dense[N:], f0, data.y_train.astype(float)


@pytest.mark.parametrize("ridge", [0.0, 0.5])
@pytest.mark.parametrize("dense", [0, N])
@pytest.mark.parametrize("resident", [False, True])
def test_the_end_is_the_dense_solution(problem, resident, dense, ridge):
    tiles, theta, rest, f0, y = problem
    if resident:
        tiles = shared_out(tiles)
    said = []
    end = end_of_training(
        tiles, rest, f0, y, ridge, dense=dense, report=lambda *now: said.append(now)
    )
    gap = np.linalg.solve(theta + ridge * np.eye(N), f0[:, :N] - y)
    np.testing.assert_allclose(end.outputs, f0[:, N:] - rest @ gap, atol=1e-6)
    values = np.linalg.eigvalsh(theta)
    np.testing.assert_allclose(end.ends[1], values[-1], rtol=1e-7)
    if dense:
        np.testing.assert_allclose(end.ends[0], values[0], rtol=1e-7)
        assert end.products == 2 and not said
    else:
        assert 0 <= end.ends[0] / values[0] - 1 < 0.01
        counts, residuals = zip(*said, strict=True)
        assert counts == tuple(range(1, 1 + len(said)))
        assert residuals[0] == 1 and 1e-8 < residuals[-1] < 1e-6
        assert len(said) < 50  # 100 and more without a preconditioner


def test_a_preconditioner_flattens_what_it_finds(problem):
    """The condition number falls to that of the rest; A's smallest eigenvalue stays."""
    theta = problem[1]
    values = np.linalg.eigvalsh(theta)
    rough = nystrom(lambda c: theta @ c, N, 40)
    assert np.all(rough.values <= values[::-1][:40] * (1 + 1e-12))  # never above A
    np.testing.assert_allclose(rough.vectors.T @ rough.vectors, np.eye(40), atol=1e-9)
    left = np.sort(np.linalg.eigvals(rough.solve(theta)).real)
    floor = values[0] / (1 + values[0] / rough.values[-1])
    assert floor * (1 - 1e-9) <= left[0] <= values[0] * (1 + 1e-9)
    assert left[-1] / left[0] < values[-1] / values[0] / 20


@pytest.mark.parametrize("dense", [0, N])
def test_a_kernel_that_is_not_positive_is_refused(dense):
    data = load("digits", n_train=40, n_test=1)
    net = zoo.MLP(width=8, depth=1, out=10, activation="relu")
    tiles = kernel_tiles(net, data.x_train.astype(float))
    tiles.write(0, 0, -tiles.tile(0, 0))
    rest, f0 = np.zeros((1, 40)), np.zeros((41, 10))
    with pytest.raises(ValueError, match="kernel is not positive"):
        end_of_training(tiles, rest, f0, data.y_train, dense=dense)


def test_a_kernel_that_is_hardly_positive_has_an_error_that_says_so():
    """The same point twice, with two targets: no end, at which both are fitted."""
    data = load("digits", n_train=40, n_test=1)
    x = np.repeat(data.x_train[:20], 2, 0).astype(float)
    net = zoo.MLP(width=8, depth=1, out=10, activation="relu")
    rest, f0 = np.zeros((1, 40)), np.zeros((41, 10))
    for dense in (0, 40):
        with pytest.raises(ValueError, match=r"training was not found|not positive"):
            end_of_training(
                kernel_tiles(net, x),
                rest,
                f0,
                data.y_train,
                dense=dense,
                max_products=99,
            )
