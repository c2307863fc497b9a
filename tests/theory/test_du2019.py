"""Du et al. 2019: every claim, and a setting that breaks it; oracles."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special

from zoo.data import load
from zoo.infinite.precision import float64
from zoo.models import MLP, DuResNet
from zoo.theory.claims import judge
from zoo.theory.du2019 import (
    C_RES,
    PAPER,
    PHI,
    gram,
    gram_limit,
    last_hidden,
    measure_training,
)

CLAIMS = {claim.name: claim for claim in PAPER.claims}
RUNS = {m.name: m.run for m in PAPER.measurements}
SMALL = {
    "training": {"widths": (32, 256), "seeds": 64, "n": 3, "steps": 40, "depth": 2},
    "depth": {"depths": (2, 8), "width": 512, "seeds": 32, "n": 3},
}
SHORT = {"c_res": 0.2}  # other branches than those of the limit
FAST = {"share": 4.0}  # twice the critical rate
BROKEN = {
    "rate": FAST,
    "kept": SHORT,
    "kernel": SHORT,
    "movement": FAST,
    "drift": FAST,
    "depth": {"residual": False},
    "stable": {"residual": False},
    "plain": {"residual": True, "plain": False},
}


@functools.cache
def measured(name, knobs=()):
    """A measurement at its small size, with some arguments set otherwise."""
    return RUNS[name](**SMALL[name] | dict(knobs))


@pytest.mark.parametrize("name", CLAIMS)
def test_a_claim_holds_until_its_setting_is_broken(name):
    claim = CLAIMS[name]
    where = claim.measurement.name
    assert judge(claim, measured(where)).verdict == "holds"
    broken = judge(claim, measured(where, tuple(BROKEN[name].items())))
    assert broken.verdict in ("violated", "inconclusive")


def test_the_limit_of_the_gram_matrix_by_quadrature():
    """Two layers: K by nested integrals over correlated Gaussians."""
    x = load("sphere", 2, 1).x_train.astype(float)
    cos = x @ x.T / x.shape[1]

    def expect(phi, i, j):
        a, b = cos[i, i] ** 0.5, cos[i, j] / cos[i, i] ** 0.5
        c = max(cos[j, j] - b**2, 0.0) ** 0.5

        def integrand(v, u):
            density = np.exp(-(u**2 + v**2) / 2) / (2 * np.pi)
            return phi(a * u) * phi(b * u + c * v) * density

        return integrate.dblquad(integrand, -9, 9, -9, 9, epsabs=1e-9)[0]

    def softplus(u):
        return np.logaddexp(0, u)

    size = integrate.quad(
        lambda z: softplus(z) ** 2 * np.exp(-(z**2) / 2) / (2 * np.pi) ** 0.5, -12, 12
    )[0]
    cov = np.array([[expect(softplus, i, j) for j in (0, 1)] for i in (0, 1)]) / size
    found = gram_limit(x, 2)
    cos = cov  # the pre-activations of the second layer
    slope = np.array([[expect(special.expit, i, j) for j in (0, 1)] for i in (0, 1)])
    np.testing.assert_allclose(found, (C_RES / 2) ** 2 * cov * slope, rtol=1e-6)


def test_the_gram_matrix_by_finite_differences():
    """Of the last hidden layer's weights, which are the last branch's."""
    with float64():
        x = jnp.asarray(load("sphere", 2, 1).x_train, float)
        net = DuResNet(3, 3, 1, PHI, C_RES)
        params = net.init(jax.random.key(0), x)["params"]
        assert last_hidden(params) == ("activatedresiduals_0", "dense_1", "W")
        W = params["activatedresiduals_0"]["dense_1"]["W"]
        rows = []
        for place in np.ndindex(3, 3):
            sides = []
            for sign in (1, -1):
                moved = W.at[place].add(sign * 1e-5)
                stack = params["activatedresiduals_0"] | {"dense_1": {"W": moved}}
                tree = params | {"activatedresiduals_0": stack}
                sides.append(np.asarray(net.apply({"params": tree}, x))[:, 0])
            rows.append((sides[0] - sides[1]) / 2e-5)
        J = np.array(rows).T
        np.testing.assert_allclose(gram(net, params, x), J @ J.T, rtol=1e-6)
        plain = MLP(3, 2, 1, PHI).init(jax.random.key(0), x)["params"]
        assert last_hidden(plain) == ("dense_1", "W")


def softplus(u):
    return np.logaddexp(0, u)


def expect(phi, cov, i, j):
    """E phi(u_i) phi(u_j), a Gauss-Hermite sum over both axes."""
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    weights = weights / weights.sum()
    a, b = cov[i, i] ** 0.5, cov[i, j] / cov[i, i] ** 0.5
    c = max(cov[j, j] - b**2, 0.0) ** 0.5
    return weights @ (phi(a * nodes) * (phi(b * nodes[:, None] + c * nodes) @ weights))


def test_descent_and_its_guarantee_by_hand():
    """H = 2: h_1, one branch and the readout in NumPy, lambda_0 of K by quadrature."""
    m, n, steps = 8, 3, 99
    found = measure_training((m,), 1, n, steps, depth=2)
    data = load("sphere", n, 1)
    with float64():
        key = jax.random.fold_in(jax.random.key(0), m)
        tree = DuResNet(m, 2, 1, PHI, C_RES).init(key, jnp.asarray(data.x_train, float))
        tree = tree["params"]
    assert tree["dense_1"]["W"].shape == (m, 1)
    branch = tree["activatedresiduals_0"]["dense_0"]["W"]
    start = [np.asarray(a) for a in (tree["dense_0"]["W"], branch)]
    start.append(np.asarray(tree["dense_1"]["W"])[:, 0])
    x = data.x_train.astype(float) / data.x_train.shape[1] ** 0.5  # of norm 1
    y = data.y_train[:, 0].astype(float)
    np.testing.assert_allclose(np.sum(x**2, axis=1), 1, rtol=1e-5)
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    first = (weights.sum() / (weights @ softplus(nodes) ** 2) / m) ** 0.5
    factor = 0.5 / 2 / m**0.5  # c_res / (H m^1/2)

    def forward(W, V, a):
        u = x @ W
        h = first * softplus(u)
        v = h @ V
        return u, h, v, h + factor * softplus(v)

    def jacobian(W, V, a):
        u, h, v, last = forward(W, V, a)
        by_v = factor * a * special.expit(v)
        by_u = (a + by_v @ V.T) * first * special.expit(u)
        of_V = (h[:, :, None] * by_v[:, None]).reshape(n, -1)
        of_W = (x[:, :, None] * by_u[:, None]).reshape(n, -1)
        return [of_W, of_V, last]

    def pairs(phi, cov):
        return np.array([[expect(phi, cov, i, j) for j in range(n)] for i in range(n)])

    below = first**2 * m * pairs(softplus, x @ x.T)
    K = 0.25**2 * below * pairs(special.expit, below)
    lowest = np.linalg.eigvalsh(K)[0]
    J = np.concatenate(jacobian(*start), axis=1)
    eta = 1 / np.linalg.eigvalsh(J @ J.T)[-1]
    params, loss, least, drift = start, [], [], []
    G0 = jacobian(*start)[1] @ jacobian(*start)[1].T
    for k in range(steps + 1):
        r, steep = forward(*params)[3] @ params[2] - y, jacobian(*params)
        G = steep[1] @ steep[1].T
        loss.append(r @ r)
        least.append(np.linalg.eigvalsh(G)[0])
        drift.append(np.linalg.norm(G - G0) / np.linalg.norm(G0))
        if k < steps:
            params = [
                p - eta * (r @ j).reshape(p.shape)
                for p, j in zip(params, steep, strict=True)
            ]
    times = found["times"]
    loss, least, drift = (np.take(a, times) for a in (loss, least, drift))
    allowed = (1 - eta * lowest / 2) ** times
    far = [np.linalg.norm(p - q) for p, q in zip(params, start, strict=True)]
    expected = {
        "loss": loss / loss[0],
        "allowed": allowed,
        "low": least / lowest,
        "drift": drift,
        "moved": max(far) / m**0.5,
        "error": np.linalg.norm(G0 - K) / np.linalg.norm(K),
    }
    for name, value in expected.items():
        np.testing.assert_allclose(found[name][0, 0], value, rtol=1e-5, atol=1e-12)
    rate = (loss / loss[0] / allowed)[1:].max()
    np.testing.assert_allclose(CLAIMS["rate"].samples(found), [rate], rtol=1e-5)
    kept = least.min() / lowest
    np.testing.assert_allclose(CLAIMS["kept"].samples(found), [kept], rtol=1e-5)
