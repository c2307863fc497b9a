"""Predictions against iteration, the matrix exponential, and neural-tangents."""

import jax
import numpy as np
import pytest
import scipy.linalg

import zoo
from zoo.infinite.kernels import kernel_matrix
from zoo.infinite.neural_tangents import predict as nt_predict
from zoo.infinite.predict import Dynamics, flow_filter

N, POINTS, OUT = 8, 12, 3
TIMES = np.asarray([0, 1, 7, 300])
NET = zoo.MLP(width=4, depth=2, activation="erf", sigma_b=0.3)
X = np.random.default_rng(2).normal(size=(POINTS, 5))


@pytest.fixture(scope="module")
def problem():
    rng = np.random.default_rng(0)
    kernels = kernel_matrix(NET, X, get=("nngp", "ntk"))
    f0, y = rng.normal(size=(2, POINTS, OUT)), rng.normal(size=(N, OUT))
    return kernels, Dynamics.from_kernel(kernels.ntk[:, :N]), f0, y


def test_float64_with_the_switch_off(problem):
    assert not jax.config.jax_enable_x64
    _, dynamics, f0, y = problem
    assert dynamics.outputs(np.float32(f0), y, 0.1, TIMES).dtype == np.float64


@pytest.mark.parametrize("fraction", [0.1, 0.5, 0.99, 1.05])
def test_discrete_steps_equal_iteration(problem, fraction):
    kernels, dynamics, f0, y = problem
    eta = fraction * dynamics.critical_rate
    got = dynamics.outputs(f0, y, eta, TIMES)
    f = f0.copy()
    for t in range(TIMES[-1] + 1):
        if t in TIMES:
            want = got[:, list(TIMES).index(t)]
            scale = np.abs(f).max()
            np.testing.assert_allclose(want / scale, f / scale, rtol=0, atol=1e-9)
        f = f - eta / N * kernels.ntk[:, :N] @ (f[:, :N] - y)


def test_critical_rate_is_the_edge(problem):
    _, dynamics, f0, y = problem
    late = np.asarray([3000])

    def size(fraction):
        eta = fraction * dynamics.critical_rate
        return np.abs(dynamics.outputs(f0, y, eta, late)).max()

    assert size(0.99) < 20
    assert size(1.01) > 1e10


def test_flow_equals_the_matrix_exponential(problem):
    kernels, dynamics, f0, y = problem
    got = dynamics.outputs(f0, y, 0.2, TIMES, flow_filter)
    theta = kernels.ntk[:N, :N]
    for i, t in enumerate(TIMES):
        decay = scipy.linalg.expm(-0.2 * t / N * theta)
        want = y + decay @ (f0[:, :N] - y)
        np.testing.assert_allclose(got[:, i, :N], want, rtol=1e-9, atol=1e-9)


def test_flow_equals_neural_tangents(problem):
    kernels, dynamics, f0, y = problem
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        # Its loss is the mean over points and outputs: learning rate times k.
        fn = nt_predict.gradient_descent_mse(
            kernels.ntk[:N, :N], y, learning_rate=0.2 * OUT
        )
        want = fn(7.0, f0[0, :N], f0[0, N:], kernels.ntk[N:, :N])
    got = dynamics.outputs(f0, y, 0.2, np.asarray([7]), flow_filter)[0, 0]
    np.testing.assert_allclose(got[:N], want[0], rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(got[N:], want[1], rtol=1e-8, atol=1e-8)


def test_discrete_steps_tend_to_the_flow(problem):
    _, dynamics, f0, y = problem
    flow = dynamics.outputs(f0, y, 0.2, [10], flow_filter)
    small = dynamics.outputs(f0, y, 0.2 / 4096, [10 * 4096])
    half = dynamics.outputs(f0, y, 0.2 / 2048, [10 * 2048])
    np.testing.assert_allclose(2 * small - half, flow, atol=1e-6)


def test_ensemble_is_the_law_of_the_outputs(problem):
    kernels, dynamics, _, y = problem
    eta = 0.3 * dynamics.critical_rate
    ensemble = dynamics.ensemble(kernels.nngp, y, eta, 7)
    draws = 4000
    factor = np.linalg.cholesky(kernels.nngp + 1e-12 * np.eye(POINTS))
    f0 = factor @ np.random.default_rng(1).normal(size=(draws, POINTS, OUT))
    f = dynamics.outputs(f0, y, eta, [7])[:, 0]
    variance = np.diagonal(ensemble.covariance)[:, None]
    z = (f.mean(0) - ensemble.mean) / np.sqrt(variance / draws)
    assert np.abs(z).max() < 5
    # Sample variance of a Gaussian: relative standard error sqrt(2 / draws).
    ratio = f.var(0, ddof=1) / variance
    assert np.abs(ratio - 1).max() < 5 * np.sqrt(2 / draws)


def test_ensemble_equals_neural_tangents_in_the_flow_limit(problem):
    kernels, dynamics, _, y = problem
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        fn = nt_predict.gradient_descent_mse_ensemble(
            zoo.kernel_fn(NET), X[:N], y, learning_rate=0.2 * OUT
        )
        want = fn(10.0, X[N:], "ntk", compute_cov=True)
    small = dynamics.ensemble(kernels.nngp, y, 0.2 / 8192, 10 * 8192)
    # Steps of 0.2 / 8192 for time 2: the discretization error is of order 1e-4.
    np.testing.assert_allclose(small.mean[N:], want.mean, atol=2e-4)
    np.testing.assert_allclose(small.covariance[N:, N:], want.covariance, atol=2e-4)


def test_singular_kernel_goes_on_and_says_its_rank():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(8, 3))
    theta = x @ x.T
    dynamics = Dynamics.from_kernel(theta)
    assert dynamics.rank == 3
    f0, y = rng.normal(size=(8, 2)), rng.normal(size=(8, 2))
    got = dynamics.outputs(f0, y, 0.1, [100000])[0]
    kept = np.eye(8) - x @ np.linalg.pinv(x)  # what a linear model cannot move
    np.testing.assert_allclose(got - y, kept @ (f0 - y), atol=1e-8)


def test_bad_kernels_are_refused_with_the_eigenvalue():
    with pytest.raises(ValueError, match=r"smallest eigenvalue -1\.000e"):
        Dynamics.from_kernel(np.diag([1.0, -0.1]))
    with pytest.raises(ValueError, match="not finite"):
        Dynamics.from_kernel(np.asarray([[1.0, np.nan], [np.nan, 1.0]]))
    with pytest.raises(ValueError, match="the train kernel is 0: no parameter moves"):
        Dynamics.from_kernel(np.zeros((3, 2)))
