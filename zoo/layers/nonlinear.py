"""Activations as layers: the nonlinearity, and what it does to a kernel."""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from zoo.infinite.neural_tangents import Kernel
from zoo.layers.base import Layer
from zoo.layers.duals import ACTIVATIONS, Dual


@dataclasses.dataclass(frozen=True)
class Nonlinear(Layer):
    """An activation applied to every coordinate: scale * phi(gain * x).

    Args:
        activation: a name in `ACTIVATIONS`.
        gain: factor of the input, the frequency of a sine.
        scale: factor of the output.
    """

    activation: str
    gain: float = 1.0
    scale: float = 1.0

    @property
    def label(self) -> str:
        """The activation's name."""
        return self.activation

    @property
    def smooth(self) -> bool:
        """Whether the activation is."""
        return ACTIVATIONS[self.activation].smooth

    @property
    def numeric(self) -> str:
        """The error of a numerical dual."""
        return ACTIVATIONS[self.activation].numeric

    def finite(self, scope: nn.Module, x: Float[Array, "n ..."]) -> jax.Array:
        """Applies the activation."""
        out = ACTIVATIONS[self.activation].fn(self.gain * x)
        return out if self.scale == 1.0 else self.scale * out

    def limit(self, k: Kernel) -> Kernel:
        """Covariances through the dual's value, the NTK times its slope."""
        if not k.is_gaussian:
            raise ValueError(
                f"{self} needs Gaussian inputs for its limit: a layer with weights "
                "directly before it. zoo.monte_carlo_kernel_fn estimates the kernel."
            )
        return elementwise(k, self.dual)

    def dual(self, k12: Array, k11: Array, k22: Array) -> Dual:
        """The dual of x -> scale * phi(gain * x)."""
        squares = (self.gain**2 * k for k in (k12, k11, k22))
        value, slope = ACTIVATIONS[self.activation].dual(*squares)
        return Dual(self.scale**2 * value, (self.scale * self.gain) ** 2 * slope)


def elementwise(k: Kernel, dual: Callable[[Array, Array, Array], Dual]) -> Kernel:
    """The kernel of a function applied to Gaussian coordinates, from its dual."""
    left, right = both_variances(k)
    out = dual(exact_diagonal(k.nngp, left, k), left, right)
    return k.replace(
        nngp=out.value,
        ntk=None if k.ntk is None else k.ntk * out.slope,
        cov1=_own(dual, k.cov1, k.diagonal_spatial),
        cov2=None if k.cov2 is None else _own(dual, k.cov2, k.diagonal_spatial),
        is_gaussian=False,
    )


def both_variances(k: Kernel) -> tuple[jax.Array, jax.Array]:
    """Variances of either set of points, to broadcast against `k.nngp`."""
    var1 = variances(k.cov1, k.diagonal_spatial)
    var2 = var1 if k.cov2 is None else variances(k.cov2, k.diagonal_spatial)
    left = spread(var1, True, k.diagonal_spatial)[:, None]
    return left, spread(var2, False, k.diagonal_spatial)[None]


def variances(cov: Array, diagonal_spatial: bool) -> jax.Array:
    """Variance at every position, [n, positions ...]."""
    if not diagonal_spatial:
        for _ in range((cov.ndim - 1) // 2):  # each moves one axis to the end
            cov = jnp.diagonal(cov, axis1=1, axis2=2)
    return cov


def spread(var: Array, first: bool, diagonal_spatial: bool) -> jax.Array:
    """Variances [n, p, q], to broadcast against covariances [n, p, p', q, q'].

    They are those of the first of each pair of positions, or of the second.
    """
    if not diagonal_spatial:
        for axis in range(var.ndim - 1):
            var = jnp.expand_dims(var, 1 + 2 * axis + first)
    return var


def _own(dual: Callable, cov: Array, diagonal_spatial: bool) -> jax.Array:
    """The dual's value for one set of points with itself, at equal points."""
    var = variances(cov, diagonal_spatial)
    first, second = (spread(var, one, diagonal_spatial) for one in (True, False))
    return dual(cov, first, second).value


def exact_diagonal(k12: Array, left: Array, k: Kernel) -> jax.Array:
    """The covariance of an input with itself is its variance, to the last digit.

    Computed apart they differ by a rounding error, of which the angle between an input
    and itself would be the square root.
    """
    n1, n2 = k12.shape[:2]
    if n1 != n2:
        return k12
    same = jnp.eye(n1, dtype=bool).reshape(n1, n1, *(1,) * (k12.ndim - 2))
    if not k.diagonal_spatial:
        for axis in range(2, k12.ndim, 2):
            eye = jnp.eye(k12.shape[axis], dtype=bool)
            shape = [1] * k12.ndim
            shape[axis : axis + 2] = eye.shape
            same = same & eye.reshape(shape)
    return jnp.where(same & k.x1_is_x2, left, k12)
