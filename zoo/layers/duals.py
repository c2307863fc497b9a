r"""Activations, and their dual: what they do to a pair of Gaussian pre-activations.

For (u, v) ~ N(0, [[k11, k12], [k12, k22]]) the dual of phi is the pair

    value = E phi(u) phi(v),    slope = E phi'(u) phi'(v) = d value / d k12,

the second equality being Price's theorem (1958). Every dual takes arrays that
broadcast against each other.
"""

import dataclasses
import math
from collections.abc import Callable
from functools import lru_cache, partial
from typing import Any, NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array

TWO_PI = 2.0 * np.pi


class Dual(NamedTuple):
    """Expectations of an activation, and of its derivative, at two inputs."""

    value: jax.Array
    slope: jax.Array


def identity_dual(k12: Array, k11: Array, k22: Array) -> Dual:
    """phi(x) = x."""
    return Dual(k12, jnp.ones_like(k12))


def relu_dual(k12: Array, k11: Array, k22: Array) -> Dual:
    """Arc-cosine kernels of degree 1 and 0 (Cho & Saul 2009, eqs. 3-6).

    theta is the angle between the inputs. `arctan2` keeps all digits as theta -> 0,
    where `arccos` loses half of them, and the product of sum and difference is zero to
    the last digit at equal inputs, where a fused k11 k22 - k12^2 is not.
    """
    product = k11 * k22
    some = product > 0  # of inputs that are 0 the roots have no derivative
    norms = jnp.where(some, jnp.sqrt(jnp.where(some, product, 1.0)), 0.0)
    square = (norms - k12) * (norms + k12)  # (|u||v| sin theta)^2
    apart = square > 0  # nor has this one elsewhere; along it, it is zero
    sin = jnp.where(apart, jnp.sqrt(jnp.where(apart, square, 1.0)), 0.0)
    angle = jnp.pi - jnp.arctan2(sin, jnp.where(some, k12, 1.0))
    return Dual((sin + angle * k12) / TWO_PI, angle / TWO_PI)


def erf_dual(k12: Array, k11: Array, k22: Array) -> Dual:
    """The arcsine kernel (Williams 1997, eq. 11, for inputs of covariance K)."""
    s = (1.0 + 2.0 * k11) * (1.0 + 2.0 * k22)
    value = (2.0 / jnp.pi) * jnp.arcsin(2.0 * k12 / jnp.sqrt(s))
    return Dual(value, (4.0 / jnp.pi) / jnp.sqrt(s - 4.0 * k12**2))


def gelu_dual(k12: Array, k11: Array, k22: Array) -> Dual:
    """The exact Gelu, phi(x) = x Phi(x) with Phi the Gaussian distribution function.

    Derived by Gaussian integration by parts from E Phi(u) Phi(v) = 1/4 +
    arcsin(k12 / sqrt(s)) / 2 pi with s = (1 + k11)(1 + k22); agrees with Tsuchida et
    al. 2021. Held to quadrature in the tests.
    """
    s = (1.0 + k11) * (1.0 + k22)
    r = jnp.sqrt(s - k12**2)
    phi_phi = 0.25 + jnp.arcsin(k12 / jnp.sqrt(s)) / TWO_PI
    c = (1.0 - k11 * k22) / s
    poly = k11 * k22 + c * k12**2
    value = k12 * phi_phi + poly / (TWO_PI * r)
    slope = phi_phi + k12 * (1.0 + 2.0 * c + poly / r**2) / (TWO_PI * r)
    return Dual(value, slope)


def square_dual(k12: Array, k11: Array, k22: Array) -> Dual:
    """phi(x) = x^2, by Isserlis' theorem."""
    return Dual(k11 * k22 + 2.0 * k12**2, 4.0 * k12)


def sin_dual(k12: Array, k11: Array, k22: Array) -> Dual:
    """phi(x) = sin x: the difference of E cos(u - v) and E cos(u + v), halved."""
    minus, plus = _waves(k12, k11, k22)
    return Dual((minus - plus) / 2.0, (minus + plus) / 2.0)


def cos_dual(k12: Array, k11: Array, k22: Array) -> Dual:
    """phi(x) = cos x: their sum."""
    minus, plus = _waves(k12, k11, k22)
    return Dual((minus + plus) / 2.0, (minus - plus) / 2.0)


def _waves(k12: Array, k11: Array, k22: Array) -> tuple[jax.Array, jax.Array]:
    """E cos(u - v) and E cos(u + v), without the overflow of sinh and cosh."""
    half = (k11 + k22) / 2.0
    return jnp.exp(k12 - half), jnp.exp(-k12 - half)


def gaussian_dual(k12: Array, k11: Array, k22: Array) -> Dual:
    """phi(x) = exp(-x^2 / 2): one over the root of det(I + K)."""
    det = (1.0 + k11) * (1.0 + k22) - k12**2
    return Dual(det**-0.5, k12 * det**-1.5)


GABOR_FREQUENCY = 2.0


def gabor(x: Array) -> jax.Array:
    """The real Gabor wavelet exp(-x^2 / 2) cos(2 x)."""
    return jnp.exp(-(x**2) / 2.0) * jnp.cos(GABOR_FREQUENCY * x)


def gabor_dual(k12: Array, k11: Array, k22: Array) -> Dual:
    """The Gaussian's dual, times that of the cosine under its tilt of the measure.

    The density of (u, v) times exp(-(u^2 + v^2) / 2) is a Gaussian of covariance
    (K^-1 + I)^-1 = I - (I + K)^-1. The slope is Price's derivative.
    """

    def value(k12: Array) -> jax.Array:
        det = (1.0 + k11) * (1.0 + k22) - k12**2
        tilted = (k12, det - 1.0 - k22, det - 1.0 - k11)
        c = GABOR_FREQUENCY**2
        return det**-0.5 * cos_dual(*(c * k / det for k in tilted)).value

    return Dual(*jax.jvp(value, (k12,), (jnp.ones_like(k12),)))


def sinc(x: Array) -> jax.Array:
    """sin(x) / x."""
    return jnp.sinc(x / np.pi)


SINC_MOST = 1e6


def sinc_dual(k12: Array, k11: Array, k22: Array) -> Dual:
    r"""phi(x) = sin(x) / x = (1/2) int_{-1}^{1} cos(s x) ds, by one quadrature.

        value = (1/4) int_{[-1, 1]^2} exp(-(k11 s^2 - 2 k12 s t + k22 t^2) / 2) ds dt.

    Along the rays t = w s and s = w t the radius integrates in closed form, which
    leaves the slopes w of the rays, and positive terms alone:

        value = (1/2) int_{-1}^{1} g(q(w)) + g(q'(w)) dw,   g(q) = (1 - exp(-q/2)) / q,
        q(w) = k11 - 2 k12 w + k22 w^2,   q'(w) = k22 - 2 k12 w + k11 w^2.

    The rule's nodes are constants to a derivative, so that Price's is taken under the
    integral, where it has no cancellation but that of its odd integrand: the slope's
    absolute error is a few roundings of 1/8 at small variances, where it is k12 / 9.
    NaN at variances above 1e6.
    """

    def value(k12: Array) -> jax.Array:
        shape = jnp.broadcast_shapes(k12.shape, k11.shape, k22.shape)
        total = _over_rays(jnp.zeros(shape, k12.dtype), k12, k11, k22)
        return _over_rays(total, k12, k22, k11) / 2.0

    inside = jnp.where(jnp.maximum(k11, k22) <= SINC_MOST, 1.0, jnp.nan)
    dual = jax.jvp(value, (k12,), (jnp.ones_like(k12),))
    return Dual(*(part * inside.astype(part.dtype) for part in dual))


def _over_rays(total: Array, k12: Array, k11: Array, k22: Array) -> jax.Array:
    """Adds int_{-1}^{1} g(k11 - 2 k12 w + k22 w^2) dw, by 64 Gauss-Legendre nodes.

    They are those of theta in 1 - w = center + width sinh(theta), with the integrand's
    peak, or the end of the interval closest to it, at the center.
    """
    constant = jax.lax.stop_gradient
    k12 = k12 * constant(jnp.where(k12 < 0, -1.0, 1.0).astype(k12.dtype))  # even
    across = k11 + k22 - 2.0 * k12  # q(1), free of rounding errors at equal inputs
    c, b = constant(k12), constant(jnp.maximum(k22, _tiny(k12)))
    peak = (b - c) / b
    center = jnp.clip(peak, 0.0, 2.0)
    width = jnp.minimum(jnp.sqrt(8.0 / b) + jnp.abs(peak - center), 2.0)
    low, high = jnp.arcsinh(-center / width), jnp.arcsinh((2.0 - center) / width)
    middle, half = (low + high) / 2.0, (high - low) / 2.0

    def add(total: jax.Array, node: tuple) -> tuple:
        x, weight = node
        theta = middle + half * x
        u = center + width * jnp.sinh(theta)
        step = weight * half * width * jnp.cosh(theta)
        return total + step * _ray(across - 2.0 * u * (k22 - k12) + k22 * u**2), None

    rule = [jnp.asarray(a, k12.dtype) for a in np.polynomial.legendre.leggauss(64)]
    return jax.lax.scan(add, total, tuple(rule))[0]


def _ray(q: Array) -> jax.Array:
    """(1 - exp(-q / 2)) / q, near 0 by the series of exp(-y) sinh(y) / 2 y, y = q/4."""
    near = q < 8.0
    y, far = jnp.where(near, q, 0.0) / 4.0, jnp.where(near, 8.0, q)
    odd = np.asarray([1.0 / math.factorial(j) for j in range(25, 0, -2)])
    series = jnp.polyval(jnp.asarray(odd, q.dtype), y**2)
    return jnp.where(near, jnp.exp(-y) * series / 2.0, -jnp.expm1(-far / 2.0) / far)


def sinc_mean(q: Array) -> jax.Array:
    """E sinc(u) for u ~ N(0, q)."""
    x = jnp.sqrt(jnp.maximum(q, _tiny(q))) / np.sqrt(2.0)
    return np.sqrt(np.pi) / 2.0 * jax.scipy.special.erf(x) / x


def _tiny(x: Array) -> Any:
    return jnp.finfo(x.dtype).tiny


HERMITE_ORDER = 400


@lru_cache(maxsize=1)
def _hermite_rule() -> tuple[np.ndarray, np.ndarray]:
    """Nodes x [q] and weighted normalized Hermite polynomials w(x) he_k(x) [q, order].

    The trapezoid rule on [-13, 13] with step 0.025 integrates a smooth function
    against the Gaussian to rounding error.
    """
    x = np.arange(-520, 521) * 0.025
    he = np.zeros((HERMITE_ORDER, x.size))
    he[0] = 0.025 * np.exp(-(x**2) / 2.0) / np.sqrt(TWO_PI)
    he[1] = x * he[0]
    for k in range(1, HERMITE_ORDER - 1):
        he[k + 1] = (x * he[k] - np.sqrt(k) * he[k - 1]) / np.sqrt(k + 1)
    return x, he.T


def numeric_dual(
    phi: Callable, most: float, k12: Array, k11: Array, k22: Array
) -> Dual:
    """The dual of a smooth activation, by its Hermite series (Mehler's formula).

        value = sum_j a_j(k11) a_j(k22) rho^j,    rho = k12 / sqrt(k11 k22),

    where a_j(q) is the j-th normalized Hermite coefficient of x -> phi(sqrt(q) x).
    400 terms. The error is largest at rho = 1, where it is the tail of sum_j a_j^2 or,
    for the slope, of sum_j j a_j^2: singularities of phi near the real line, in units
    of sqrt(q), make it long. `ACTIVATIONS` says how far each may go in float64; at
    variances above `most` the dual is NaN.
    """
    x, he = (jnp.asarray(a, k12.dtype) for a in _hermite_rule())

    def coefficients(q: Array) -> jax.Array:  # [order, *shape of q]
        values = phi(jnp.sqrt(q)[..., None] * x.reshape((1,) * q.ndim + x.shape))
        dot = jnp.matmul(values, he, precision=jax.lax.Precision.HIGHEST)
        return jnp.moveaxis(dot, -1, 0)

    scale = jnp.sqrt(jnp.maximum(k11 * k22, _tiny(k12)))
    rho = k12 / scale  # 1 + eps is harmless, and clipped it had no derivative
    order = jnp.arange(HERMITE_ORDER, dtype=k12.dtype)

    def horner(sums: tuple, term: tuple) -> tuple:
        a1, a2, j = term
        value, slope = sums
        slope = jnp.where(j > 0, slope * rho + j * a1 * a2, slope)
        return (value * rho + a1 * a2, slope), None

    terms = (coefficients(k11), coefficients(k22), order)
    zeros = jnp.zeros(jnp.broadcast_shapes(k12.shape, k11.shape, k22.shape), rho.dtype)
    (value, slope), _ = jax.lax.scan(horner, (zeros, zeros), terms, reverse=True)
    inside = jnp.where(jnp.maximum(k11, k22) <= most, 1.0, jnp.nan).astype(rho.dtype)
    return Dual(value * inside, slope / scale * inside)


@dataclasses.dataclass(frozen=True)
class Activation:
    """An elementwise nonlinearity.

    Attributes:
        fn: phi, applied to arrays.
        dual: its `Dual` as a function of (k12, k11, k22).
        smooth: whether phi has a continuous derivative; the rate at which a network
            leaves its linearization depends on it.
        numeric: the error of a numerical dual; "" where the dual is in closed form.
        sigma_w: default scale of the weights before it, which keeps the variance of
            deep pre-activations of unit inputs of order one.
        mean: E phi(u) for u ~ N(0, q), as a function of q; None for its quadrature.
    """

    fn: Callable
    dual: Callable[[Array, Array, Array], Dual]
    smooth: bool = True
    numeric: str = ""
    sigma_w: float = 1.5
    mean: Callable[[Array], Array] | None = None

    def first_moment(self, q: Array) -> jax.Array:
        """E phi(u) for u ~ N(0, q): `mean`, or the trapezoid rule for smooth phi."""
        if self.mean is not None:
            return self.mean(q)
        x, he = _hermite_rule()
        x, weight = jnp.asarray(x, q.dtype), jnp.asarray(he[:, 0], q.dtype)
        values = self.fn(jnp.sqrt(q)[..., None] * x.reshape((1,) * q.ndim + x.shape))
        return jnp.matmul(values, weight, precision=jax.lax.Precision.HIGHEST)


def relu_mean(q: Array) -> jax.Array:
    """E max(u, 0) for u ~ N(0, q)."""
    return jnp.sqrt(q / TWO_PI)


def gelu_mean(q: Array) -> jax.Array:
    """E u Phi(u) for u ~ N(0, q), by parts."""
    return q / jnp.sqrt(TWO_PI * (1.0 + q))


def gabor_mean(q: Array) -> jax.Array:
    """The Gaussian's mean, times that of the cosine at its variance q / (1 + q)."""
    return jnp.exp(-(GABOR_FREQUENCY**2) * q / (2.0 * (1.0 + q))) / jnp.sqrt(1.0 + q)


def _stated(how: str, error: str, up_to: float, loose: str, most: float) -> str:
    """What a numerical dual says of its relative error in float64."""
    return (
        f"{how}, within {error} at gain^2 * variance up to {up_to:g}, within "
        f"{loose} up to {most:g}, NaN above"
    )


def _series(
    fn: Callable, error: str, up_to: float, loose: str, most: float
) -> Activation:
    """An activation with a Hermite series for its dual."""
    stated = _stated("Hermite series", error, up_to, loose, most)
    return Activation(fn, partial(numeric_dual, fn, most), numeric=stated)


ACTIVATIONS = {
    "relu": Activation(
        nn.relu, relu_dual, smooth=False, sigma_w=2**0.5, mean=relu_mean
    ),
    "erf": Activation(jax.scipy.special.erf, erf_dual, mean=jnp.zeros_like),
    "gelu": Activation(partial(nn.gelu, approximate=False), gelu_dual, mean=gelu_mean),
    "identity": Activation(
        lambda x: x, identity_dual, sigma_w=1.0, mean=jnp.zeros_like
    ),
    "square": Activation(jnp.square, square_dual, sigma_w=3**-0.25, mean=lambda q: q),
    "sin": Activation(jnp.sin, sin_dual, mean=jnp.zeros_like),
    "cos": Activation(jnp.cos, cos_dual, mean=lambda q: jnp.exp(-q / 2.0)),
    "gaussian": Activation(
        lambda x: jnp.exp(-(x**2) / 2.0),
        gaussian_dual,
        mean=lambda q: 1.0 / jnp.sqrt(1.0 + q),
    ),
    "gabor": Activation(gabor, gabor_dual, mean=gabor_mean),
    "tanh": _series(jnp.tanh, "1e-13", 2.5, "1e-6", 10.0),
    "sigmoid": _series(nn.sigmoid, "1e-9", 20.0, "1e-6", 40.0),
    "softplus": _series(nn.softplus, "1e-12", 20.0, "1e-4", 320.0),
    "sinc": Activation(
        sinc,
        sinc_dual,
        numeric=_stated("64 nodes", "1e-10", 1e4, "1e-6", SINC_MOST),
        mean=sinc_mean,
    ),
}
