"""Kernels, preconditioners and roots of implicit networks beside brute force."""

import jax
import jax.numpy as jnp
import numpy as np

from zoo.infinite.kernels import kernel_matrix
from zoo.models import GaoGaussianDEQ
from zoo.theory import feng2020, gao2022, gao2023, kawaguchi2021, winston2020
from zoo.theory.implicit import root


def test_covariances_of_finite_depth_by_quadrature():
    """Sigma_l of tanh by two-dimensional Gauss-Hermite sums."""
    x = gao2023.points(3)
    found = gao2023.limit_grams(x, 40)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = np.outer(weights, weights) / weights.sum() ** 2
    same = x @ x.T / x.shape[1]
    S = same
    for gram in found[:3]:
        expected = np.zeros_like(S)
        for i, j in np.ndindex(S.shape):
            a, c = S[i, i] ** 0.5, S[i, j] / S[i, i] ** 0.5
            rest = np.sqrt(max(S[j, j] - c**2, 0.0))
            second = c * nodes[:, None] + rest * nodes[None]
            both = np.tanh(a * nodes)[:, None] * np.tanh(second)
            expected[i, j] = (weights * both).sum()
        np.testing.assert_allclose(gram, expected, rtol=1e-6)
        S = gao2023.SIGMA_W**2 * gram + same
    net = GaoGaussianDEQ(1, sigma_w=gao2023.SIGMA_W)
    last = kernel_matrix(net, x, get="nngp")
    np.testing.assert_allclose(found[-1], last, rtol=1e-9)


def test_distances_of_known_samples():
    two = np.array([[0.0, 0.0, 0.0, 0.0], [0.0, np.nan, 0.0, 0.0]])
    found = gao2023.distances(two)
    np.testing.assert_allclose(found, [(2 + 0.12 + 0.055) * 0.5, np.nan])


def test_preconditioner_is_the_jacobian_times_its_transpose(x64):
    keys = jax.random.split(jax.random.key(0))
    params = {
        "A": jax.random.normal(keys[0], (4, 4)),
        "B": jax.random.normal(keys[1], (3, 4)),
    }
    jacobian = jax.jacobian(lambda p: kawaguchi2021.linear_map(p, 0.7))(params)
    each = {name: np.asarray(J).reshape(12, -1) for name, J in jacobian.items()}
    for trained in ("A", "B", "AB"):
        expected = sum(each[name] @ each[name].T for name in trained)
        found = kawaguchi2021.preconditioner(params, 0.7, trained).reshape(12, 12)
        np.testing.assert_allclose(found, expected, rtol=1e-10, atol=1e-12)


def test_flow_falls_as_its_jacobian_says(x64):
    """The excess at the first record beside Euler steps of plain gradient descent."""
    a = kawaguchi2021.measure_flow(((3, 2, 8, 0.9),), 1, 0.02)
    keys = jax.random.split(jax.random.fold_in(jax.random.key(0), 3), 4)
    A, B, x, y = (
        np.asarray(jax.random.normal(k, shape))
        for k, shape in zip(keys, ((3, 3), (2, 3), (8, 3), (8, 2)), strict=True)
    )
    B = B * 3**-0.5
    kappa = 2 * np.linalg.svd(x)[1][-1] ** 2
    end = 0.02 * 3 * 1.9**2 / (2 * kappa)

    def loss(A, B):
        S = np.exp(A) / np.exp(A).sum(axis=0)
        return np.sum((x @ np.linalg.inv(np.eye(3) - 0.9 * S).T @ B.T - y) ** 2)

    def slope(at, other):  # by central differences
        out = np.zeros_like(at)
        for i in np.ndindex(at.shape):
            h = np.zeros_like(at)
            h[i] = 1e-5
            out[i] = (other(at + h) - other(at - h)) / 2e-5
        return out

    least = np.sum((x @ np.linalg.lstsq(x, y, rcond=None)[0] - y) ** 2)
    first, steps = loss(A, B) - least, 400
    for _ in range(steps):
        of_A = slope(A, lambda A, B=B: loss(A, B))
        of_B = slope(B, lambda B, A=A: loss(A, B))
        A, B = A - end / steps * of_A, B - end / steps * of_B
    got = a["excess"][0, 0, -1]
    np.testing.assert_allclose(got, (loss(A, B) - least) / first, rtol=1e-2)
    assert got < 0.9


def test_kernel_of_tied_layers_is_that_of_autodiff(x64):
    m, depth = 7, 4
    keys = jax.random.split(jax.random.key(2), 3)
    W, U, v = (
        jax.random.normal(key, shape)
        for key, shape in zip(keys, ((m, m), (m, feng2020.D), (m,)), strict=True)
    )
    x, s = jnp.asarray(feng2020.points(3)), feng2020.S

    def f(layers, U, v):
        u = (1 - s**2) ** 0.5 * feng2020.D**-0.5 * U @ x.T
        z = jnp.zeros((m, 3))
        for W, V in layers:
            z = 2**0.5 * jnp.maximum(s * m**-0.5 * W @ z + u + 0 * V.sum(), 0)
        return v @ z * m**-0.5

    def kernel(J):
        flat = np.asarray(J).reshape(3, -1)
        return flat @ flat.T

    layers = [(W, W)] * depth
    apart, of_U, of_v = jax.jacobian(f, (0, 1, 2))(layers, U, v)
    tied = kernel(sum(J for J, _ in apart))
    expected = tied + kernel(of_U) + kernel(of_v)
    theta, cross = feng2020.empirical(W, U, v, x, depth)
    np.testing.assert_allclose(theta, expected, rtol=1e-10)

    def with_copies(u_layers):  # an own U in every layer
        z = jnp.zeros((m, 3))
        for U in u_layers:
            u = (1 - s**2) ** 0.5 * feng2020.D**-0.5 * U @ x.T
            z = 2**0.5 * jnp.maximum(s * m**-0.5 * W @ z + u, 0)
        return v @ z * m**-0.5

    same = sum(kernel(J) for J, _ in apart)
    same += sum(kernel(J) for J in jax.jacobian(with_copies)([U] * depth))
    np.testing.assert_allclose(cross, expected - same - kernel(of_v), rtol=1e-8)


def test_monotone_root_solves_its_equation(x64):
    keys = jax.random.split(jax.random.key(5))
    W = winston2020.weights(winston2020.draw(keys[0], 12, 3), 2.0, 0.5)
    u = jax.random.normal(keys[1], (12, 4))
    z = np.asarray(root(jax.nn.relu, W, u, winston2020.METHOD))
    W = np.asarray(W)
    np.testing.assert_allclose(z, np.maximum(W @ z + u, 0), atol=1e-6)
    assert np.linalg.norm(W, 2) > 1
    smallest = np.linalg.eigvalsh(np.eye(12) - (W + W.T) / 2)[0]
    np.testing.assert_allclose(
        winston2020.margin(jnp.asarray(W), 0.5), 1 - smallest / 0.5
    )
    assert smallest >= 0.5 - 1e-12


def test_positive_weights_are_positive():
    params = gao2022.draw(jax.random.key(0), 8, 3)
    assert (params["W"] >= 0).all()
    assert not (gao2022.draw(jax.random.key(0), 8, 3, False)["W"] >= 0).all()
