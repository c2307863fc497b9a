"""Duals against quadrature in polar coordinates, which shares no code with them."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import integrate, special

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
    "square": (lambda x: x**2, lambda x: 2 * x),
    "sin": (np.sin, np.cos),
    "cos": (np.cos, lambda x: -np.sin(x)),
    "gaussian": (lambda x: np.exp(-(x**2) / 2), lambda x: -x * np.exp(-(x**2) / 2)),
    "gabor": (
        lambda x: np.exp(-(x**2) / 2) * np.cos(2 * x),
        lambda x: -np.exp(-(x**2) / 2) * (x * np.cos(2 * x) + 2 * np.sin(2 * x)),
    ),
    "sigmoid": (special.expit, lambda x: special.expit(x) * special.expit(-x)),
    "softplus": (lambda x: np.logaddexp(0, x), special.expit),
    "sinc": (
        lambda x: special.spherical_jn(0, np.abs(x)),
        lambda x: -np.sign(x) * special.spherical_jn(1, np.abs(x)),
    ),
}
# What the numerical duals state: relative errors, each at variances up to.
STATED = {
    "tanh": (1e-13, 2.5, 1e-6, 10.0),
    "sigmoid": (1e-9, 20.0, 1e-6, 40.0),
    "softplus": (1e-12, 20.0, 1e-4, 320.0),
    "sinc": (1e-10, 1e4, 1e-6, 1e6),
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


@pytest.mark.parametrize("name", sorted(STATED))
def test_numeric_duals_keep_their_stated_error(name, x64):
    """At equal inputs, where a series converges slowest, up to the largest variance.

    The oracle is one-dimensional: the trapezoid rule against the Gaussian.
    """
    error, largest, loose, most = STATED[name]
    stated = ACTIVATIONS[name].numeric
    said = f"within {error:.0e} at gain^2 * variance up to {largest:g}, "
    said += f"within {loose:.0e} up to {most:g}"
    assert said.replace("e-0", "e-") in stated
    x = np.arange(-14_000, 14_001) * 1e-3
    weight = 1e-3 * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    for q in (0.01 * largest, 0.3 * largest, largest, most):
        error = error if q <= largest else loose
        k = jnp.asarray(q)
        for value, phi in zip(ACTIVATIONS[name].dual(k, k, k), PHI[name], strict=True):
            want = weight @ phi(np.sqrt(q) * x) ** 2
            np.testing.assert_allclose(value, want, rtol=error)
    assert np.all(np.isnan(ACTIVATIONS[name].dual(k / 2, k / 2, 1.001 * k)))


def sinc_strips(k12, k11, k22) -> tuple[float, float]:
    """Value and slope from sinc(x) = (1/2) int cos(s x) ds: erf in t, adaptive in s."""
    a, b = sorted((k11, k22))
    if b == 0:
        return 1.0, 0.0
    r, rest = k12 / b, a - k12**2 / b

    def strip(s, power):
        ends = np.sqrt(b / 2) * (1 - s * r), np.sqrt(b / 2) * (1 + s * r)
        inner = np.sqrt(np.pi / (2 * b)) * (special.erf(ends[0]) + special.erf(ends[1]))
        if power:
            fall = np.exp(-(ends[1] ** 2)) - np.exp(-(ends[0] ** 2))
            inner = s * (s * r * inner + fall / b)
        return np.exp(-(s**2) * rest / 2) * inner / 2

    scales = np.outer([1, 3, 8, 20], [(rest + 1) ** -0.5, (b + 1) ** -0.5])
    breaks = np.concatenate([scales[:, 0], 1 - scales[:, 1]])
    edges = [0.0, *np.unique(breaks[(breaks > 0) & (breaks < 1)]), 1.0]
    return tuple(
        sum(
            integrate.quad(strip, *ends, args=(power,), epsabs=0, epsrel=1e-13)[0]
            for ends in itertools.pairwise(edges)
        )
        for power in (0, 1)
    )


CORRELATIONS = [-1.0, -0.999999, -0.5, 0.1, 0.9, 1 - 1e-8, 1.0]
VARIANCES = [(q1, q2) for q1 in (0.01, 3.0, 500.0, 1e4, 1e6) for q2 in (0.5, 1e4, 1e6)]


@pytest.mark.filterwarnings("ignore::scipy.integrate.IntegrationWarning")
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_sinc_keeps_its_error_at_all_correlations(dtype, x64):
    """Slopes are odd in k12: their error is that at equal inputs, not their own.

    Single precision reads k12 to 6e-8 of sqrt(k11 k22), and a unit of k12 moves neither
    by more than its size.
    """
    k = [(r * np.sqrt(q1 * q2), q1, q2) for q1, q2 in VARIANCES for r in CORRELATIONS]
    dual = jax.jit(ACTIVATIONS["sinc"].dual)
    got = np.asarray(dual(*(jnp.asarray(c, dtype) for c in zip(*k, strict=True))))
    want = np.transpose([sinc_strips(*c) for c in k])
    own = {q: sinc_strips(q, q, q)[1] for c in k for q in c[1:]}
    scale = [want[0], [np.sqrt(own[q1] * own[q2]) for _, q1, q2 in k]]
    error = np.abs(got - want) / scale
    most = np.max(k, axis=1)
    tolerance = np.where(most <= 1e4, 1e-10, 1e-6)
    if dtype == "float32":
        tolerance = 2e-5 + 6e-8 * most
    assert np.all(error < tolerance), (error / tolerance).max(axis=1)


def test_sinc_of_independent_and_of_no_inputs_and_its_mean(x64):
    """At k12 = 0 the slope is zero and has a derivative, (1/3)^2 at no variance."""
    zero = jnp.asarray(0.0)
    np.testing.assert_allclose(
        ACTIVATIONS["sinc"].dual(zero, zero, zero), (1, 0), atol=1e-15
    )
    curvature = jax.jacfwd(lambda k12: ACTIVATIONS["sinc"].dual(k12, zero, zero).slope)
    np.testing.assert_allclose(curvature(zero), 1 / 9, rtol=1e-14)
    x = np.arange(-14_000, 14_001) * 1e-3
    weight = 1e-3 * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)
    for q in (0.0, 1e-6, 1.0, 1e4, 1e6):
        want = weight @ PHI["sinc"][0](np.sqrt(q) * x)
        np.testing.assert_allclose(
            ACTIVATIONS["sinc"].first_moment(jnp.asarray(q)), want, rtol=1e-12
        )


def test_every_numeric_dual_states_its_error():
    assert STATED.keys() == {name for name, phi in ACTIVATIONS.items() if phi.numeric}


@pytest.mark.parametrize(
    "name", sorted(n for n in ACTIVATIONS if ACTIVATIONS[n].smooth)
)
def test_duals_of_smooth_activations_have_derivatives_at_equal_inputs(name, x64):
    """Price's theorem again, d value / d k12 = slope, and second derivatives exist."""
    k = jnp.asarray(1.3)

    def value(k12):
        return ACTIVATIONS[name].dual(k12, k, k).value

    slope = ACTIVATIONS[name].dual(k, k, k).slope
    np.testing.assert_allclose(jax.jacfwd(value)(k), slope, rtol=1e-10)
    step = 1e-4
    near = ACTIVATIONS[name].dual(k - step, k, k).slope
    # One-sided difference: O(step) times the third derivative.
    curvature = float(jax.jacfwd(jax.jacfwd(value))(k))
    assert abs((float(slope - near)) / step - curvature) < 2e-2 * (1 + abs(curvature))


@pytest.mark.parametrize("name", ACTIVATIONS)
def test_means(x64, name):
    """E phi(u) by adaptive quadrature between the zeros of a fast phi."""
    for q in (0.0, 0.3, 4.0, 90.0):

        def density(x, q=q):
            return PHI[name][0](x * q**0.5) * np.exp(-(x**2) / 2) / np.sqrt(2 * np.pi)

        cuts = np.linspace(-12, 12, 97)
        parts = [integrate.quad(density, a, b)[0] for a, b in itertools.pairwise(cuts)]
        got = ACTIVATIONS[name].first_moment(jnp.asarray(q))
        assert got == pytest.approx(sum(parts), rel=1e-9, abs=1e-12), q


@pytest.mark.parametrize(("name", "limit"), [("gaussian", 1e-2), ("cos", 0.0)])
def test_means_at_large_variances(x64, name, limit):
    """No fixed grid has them: exp(-x^2 / 2) is as narrow as 1/100 of one deviation."""
    got = ACTIVATIONS[name].first_moment(jnp.asarray(1e4))
    assert got == pytest.approx(limit, rel=1e-4, abs=1e-12)
