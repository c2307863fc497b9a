"""Duals against quadrature in polar coordinates, which shares no code with them."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from zoo.layers import ACTIVATIONS

# phi and phi', written again in NumPy.
PHI = {
    "relu": (lambda x: np.where(x > 0, x, 0.0), lambda x: (x > 0) * 1.0),
    "erf": (special.erf, lambda x: 2 / np.sqrt(np.pi) * np.exp(-(x**2))),
    "gelu": (
        lambda x: x * special.ndtr(x),
        lambda x: special.ndtr(x) + x * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi),
    ),
    "tanh": (np.tanh, lambda x: 1 / np.cosh(x) ** 2),
    "identity": (lambda x: x, np.ones_like),
}
# (k12, k11, k22): generic, unequal variances, negative, small, nearly degenerate.
COVARIANCES = [
    (0.3, 1.0, 1.0),
    (0.3, 0.7, 1.9),
    (-0.8, 0.7, 1.9),
    (0.002, 0.01, 0.02),
    (0.9, 1.0, 0.82),
    (2.5 * (1 - 1e-6), 2.5, 2.5),
]


def polar_quadrature(phi, k12, k11, k22) -> float:
    """E phi(u) phi(v): Gauss-Legendre in radius and, between the kinks, in angle."""
    omega = np.arccos(k12 / np.sqrt(k11 * k22))
    kinks = np.sort(
        np.mod([np.pi / 2, -np.pi / 2, omega + np.pi / 2, omega - np.pi / 2], 2 * np.pi)
    )
    edges = np.concatenate([[0.0], kinks, [2 * np.pi]])
    node, weight = np.polynomial.legendre.leggauss(160)
    r, wr = 7.0 * (node + 1), 7.0 * weight  # [0, 14]
    total = 0.0
    for low, high in itertools.pairwise(edges):
        angle = low + (high - low) * (node + 1) / 2
        u = np.sqrt(k11) * np.outer(r, np.cos(angle))
        v = np.sqrt(k22) * np.outer(r, np.cos(angle - omega))
        radial = wr * r * np.exp(-(r**2) / 2) / (2 * np.pi)
        total += radial @ (phi(u) * phi(v)) @ weight * (high - low) / 2
    return float(total)


def test_every_activation_is_tried():
    assert PHI.keys() == ACTIVATIONS.keys()


@pytest.mark.parametrize("k", COVARIANCES, ids=str)
@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_dual_matches_quadrature(name, k, x64):
    got = ACTIVATIONS[name].dual(*(jnp.asarray(c) for c in k))
    for value, phi in zip(got, PHI[name], strict=True):
        # 1e-12: the quadrature's own error; near rho = 1 the sine of relu's angle has
        # half the digits, sqrt(eps / (1 - rho)).
        np.testing.assert_allclose(value, polar_quadrature(phi, *k), rtol=1e-10)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_finite_reading_is_phi(name, x64):
    x = np.linspace(-3.0, 3.0, 41)
    got = ACTIVATIONS[name].fn(jnp.asarray(x))
    np.testing.assert_allclose(got, PHI[name][0](x), rtol=1e-13, atol=1e-15)


@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_duals_broadcast_and_survive_equal_inputs(name, x64):
    k = jnp.asarray([[1.3]])
    got = ACTIVATIONS[name].dual(k, k, k)
    assert got.value.shape == got.slope.shape == (1, 1)
    # On the diagonal the expectation is one-dimensional: Gauss-Hermite in one angle.
    for value, phi in zip(got, PHI[name], strict=True):
        r, w = np.polynomial.hermite_e.hermegauss(150)
        if name == "relu":
            want = 1.3 / 2 if phi is PHI[name][0] else 0.5
        else:
            want = w @ phi(np.sqrt(1.3) * r) ** 2 / np.sqrt(2 * np.pi)
        np.testing.assert_allclose(value[0, 0], want, rtol=1e-9)
