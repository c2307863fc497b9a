"""Kernel distance, alignment and machines, each against code that shares nothing."""

import numpy as np
import pytest
from sklearn.kernel_ridge import KernelRidge

import zoo
from zoo.data import load
from zoo.gap import kernel_machine as km
from zoo.infinite.kernels import kernel_matrix
from zoo.infinite.predict import Dynamics

RNG = np.random.default_rng(0)
N, n, k, P = 11, 7, 3, 40
J = RNG.normal(size=(N, P))
THETA = J @ J[:n].T
Y = RNG.normal(size=(n, k))


def other():
    moved = J + 0.1 * RNG.normal(size=J.shape)
    return moved @ moved[:n].T


def test_distance_by_its_formula():
    a, b = THETA[:n], other()[:n]
    want = 1 - np.trace(a.T @ b) / np.sqrt(np.trace(a.T @ a) * np.trace(b.T @ b))
    assert km.distance(a, b) == pytest.approx(want, rel=1e-10)
    assert km.distance(3.0 * a, 0.2 * b) == pytest.approx(want, rel=1e-10)
    assert km.angle(km.distance(a, b)) == pytest.approx(np.arccos(1 - want), rel=1e-10)


def test_distance_keeps_its_digits_where_the_formula_loses_them():
    """Kernels apart by 1e-9 |K| at a right angle: S is half of its square."""
    a = THETA[:n] / np.linalg.norm(THETA[:n])
    b = other()[:n]
    b -= np.sum(a * b) * a
    b /= np.linalg.norm(b)
    assert km.distance(a, a + 1e-9 * b) == pytest.approx(0.5e-18, rel=1e-6)
    assert km.distance(a, a) == 0.0


def test_drift_bounds_the_distance():
    """And is reached where the change is orthogonal to the kernel that it makes."""
    a = THETA[:n]
    for size in (0.01, 0.3, 0.9):
        for _ in range(20):
            change = RNG.normal(size=a.shape)
            b = a + size * np.linalg.norm(a) * change / np.linalg.norm(change)
            assert km.distance(a, b) <= km.largest_distance(np.asarray(size)) + 1e-12
    b = other()[:n]
    b *= np.sum(a * b) / np.sum(b * b)  # the point of the ray of b nearest to a
    drift = np.asarray(np.linalg.norm(b - a) / np.linalg.norm(a))
    assert km.distance(a, b) == pytest.approx(km.largest_distance(drift), rel=1e-10)


@pytest.mark.parametrize("centred", [False, True])
def test_alignment_by_its_formula(centred):
    H = np.eye(n) - centred * np.ones((n, n)) / n
    K, L = H @ THETA[:n] @ H, H @ Y @ Y.T @ H
    want = np.trace(K @ L) / np.sqrt(np.trace(K @ K) * np.trace(L @ L))
    assert km.alignment(THETA[:n], Y, centred) == pytest.approx(want, rel=1e-10)
    assert km.alignment(Y @ Y.T, Y, centred) == pytest.approx(1.0, rel=1e-10)
    assert abs(want) < 0.9


def test_alignment_with_labels_that_do_not_differ_is_not_a_number():
    assert np.isnan(km.alignment(THETA[:n], np.ones((n, 2)), centred=True))


def test_interpolant_equals_least_squares_in_parameters():
    """The least-norm solution of J_X w = y, by numpy's solver, on all points."""
    w = np.linalg.lstsq(J[:n], Y, rcond=None)[0]
    np.testing.assert_allclose(km.machine(THETA, Y), J @ w, rtol=1e-9, atol=1e-10)
    start = RNG.normal(size=(N, k))
    w = np.linalg.lstsq(J[:n], Y - start[:n], rcond=None)[0]
    got = km.machine(THETA, Y, start=start)
    np.testing.assert_allclose(got, start + J @ w, rtol=1e-9, atol=1e-10)


def test_interpolant_of_a_kernel_without_full_rank():
    thin = J[:, :4]
    w = np.linalg.lstsq(thin[:n], Y, rcond=None)[0]
    got = km.machine(thin @ thin[:n].T, Y)
    np.testing.assert_allclose(got, thin @ w, rtol=1e-9, atol=1e-10)


def test_ridge_equals_scikit_learn():
    a = 0.03 * np.trace(THETA[:n]) / n
    want = KernelRidge(alpha=a, kernel="precomputed").fit(THETA[:n], Y).predict(THETA)
    got = km.machine(THETA, Y, ridge=0.03)
    np.testing.assert_allclose(got, want, rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(km.machine(7 * THETA, Y, ridge=0.03), got, rtol=1e-9)


def test_over_leading_axes():
    both = np.stack([THETA, other()])[:, None]
    start = RNG.normal(size=(2, 1, N, k))
    got = km.machine(both, Y, start=start)
    for i in range(2):
        want = km.machine(both[i, 0], Y, start=start[i, 0])
        np.testing.assert_allclose(got[i, 0], want, rtol=1e-10)


def test_infinite_machine_is_the_end_of_gradient_descent():
    """Of the infinitely wide network from f_0 = 0: `zoo.infinite.predict`, t large."""
    data = load("digits", 24, 12)
    x = np.concatenate([data.x_train, data.x_test])
    theta = kernel_matrix(zoo.MLP(width=1, depth=2), x)[:, :24]
    dynamics = Dynamics.from_kernel(theta)
    rate = dynamics.critical_rate / 2
    end = dynamics.outputs(np.zeros((36, 10)), data.y_train, rate, [10**9])[0]
    got = km.machine(theta, data.y_train)
    np.testing.assert_allclose(got, end, rtol=1e-7, atol=1e-9)
    found = km.scores(got, data)
    wrong = np.mean(end[24:].argmax(1) != data.y_test.argmax(1))
    assert found["accuracy"] == pytest.approx(1 - wrong)
    loss = np.sum((end[24:] - data.y_test) ** 2) / (2 * 12)
    assert found["loss"] == pytest.approx(loss, rel=1e-7)


def test_ranks_and_shares():
    assert km.effective_rank(np.ones(5)) == pytest.approx(5)
    assert km.effective_rank(np.array([0.0, 0.0, 2.0])) == pytest.approx(1)
    assert km.top_share(np.array([1.0, 2.0, 3.0, 4.0]), 2) == pytest.approx(0.7)
    seen = km.resolved(np.array([1e-8, 1e-5, 1.0]))
    assert seen.tolist() == [False, True, True]
