r"""Activations, and their dual: what they do to a pair of Gaussian pre-activations.

For (u, v) ~ N(0, [[k11, k12], [k12, k22]]) the dual of phi is the pair

    value = E phi(u) phi(v),    slope = E phi'(u) phi'(v) = d value / d k12,

the second equality being Price's theorem (1958). Every dual takes arrays that
broadcast against each other.
"""

import dataclasses
from collections.abc import Callable
from functools import lru_cache, partial
from typing import NamedTuple

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
    norms = jnp.sqrt(k11 * k22)
    sin = jnp.sqrt(jnp.maximum((norms - k12) * (norms + k12), 0.0))  # |u||v| sin theta
    angle = jnp.pi - jnp.arctan2(sin, k12)
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


def numeric_dual(phi: Callable, k12: Array, k11: Array, k22: Array) -> Dual:
    """The dual of a smooth activation, by its Hermite series (Mehler's formula).

        value = sum_j a_j(k11) a_j(k22) rho^j,    rho = k12 / sqrt(k11 k22),

    where a_j(q) is the j-th normalized Hermite coefficient of x -> phi(sqrt(q) x).
    400 terms: for tanh the error in float64 is below 1e-13 for variances up to 2.5,
    inputs as near as rho = 1 - 1e-6 included (see the tests).
    """
    x, he = (jnp.asarray(a, k12.dtype) for a in _hermite_rule())

    def coefficients(q: Array) -> jax.Array:  # [order, *shape of q]
        values = phi(jnp.sqrt(q)[..., None] * x.reshape((1,) * q.ndim + x.shape))
        dot = jnp.matmul(values, he, precision=jax.lax.Precision.HIGHEST)
        return jnp.moveaxis(dot, -1, 0)

    tiny = jnp.finfo(k12.dtype).tiny
    scale = jnp.sqrt(jnp.maximum(k11 * k22, tiny))
    rho = jnp.clip(k12 / scale, -1.0, 1.0)
    order = jnp.arange(HERMITE_ORDER, dtype=k12.dtype)

    def horner(sums: tuple, term: tuple) -> tuple:
        a1, a2, j = term
        value, slope = sums
        slope = jnp.where(j > 0, slope * rho + j * a1 * a2, slope)
        return (value * rho + a1 * a2, slope), None

    terms = (coefficients(k11), coefficients(k22), order)
    zeros = jnp.zeros(jnp.broadcast_shapes(k12.shape, k11.shape, k22.shape), rho.dtype)
    (value, slope), _ = jax.lax.scan(horner, (zeros, zeros), terms, reverse=True)
    return Dual(value, slope / scale)


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
    """

    fn: Callable
    dual: Callable[[Array, Array, Array], Dual]
    smooth: bool = True
    numeric: str = ""
    sigma_w: float = 1.5


HERMITE = "Hermite series of 400 terms; 1e-13 at variances up to 2.5"

ACTIVATIONS = {
    "relu": Activation(nn.relu, relu_dual, smooth=False, sigma_w=2**0.5),
    "erf": Activation(jax.scipy.special.erf, erf_dual),
    "gelu": Activation(partial(nn.gelu, approximate=False), gelu_dual),
    "tanh": Activation(jnp.tanh, partial(numeric_dual, jnp.tanh), numeric=HERMITE),
    "identity": Activation(lambda x: x, identity_dual, sigma_w=1.0),
}
