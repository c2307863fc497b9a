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
from zoo.theory.du2019 import C_RES, PAPER, PHI, gram, gram_limit, last_hidden

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
    assert broken.verdict != "holds"


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
