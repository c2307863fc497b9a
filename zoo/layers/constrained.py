"""Linear maps whose weights are constrained, so that an equilibrium exists.

Their entries are not independent Gaussians, and no limit is known: see `NOT_GAUSSIAN`.
"""

import dataclasses
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from zoo.layers.base import Layer
from zoo.layers.linear import Dense

NOT_GAUSSIAN = (
    "its weights are not independent Gaussians of mean zero, for which the kernels of "
    "an equilibrium are known"
)


@dataclasses.dataclass(frozen=True)
class PositiveDense(Dense):
    """`Dense` whose weights are absolute values of Gaussians at initialization."""

    @property
    def no_limit(self) -> str:
        """Weights with a mean."""
        return NOT_GAUSSIAN

    def initializer(self, std: float) -> Callable[..., jax.Array]:
        """|N(0, std^2)|."""
        normal = nn.initializers.normal(std)
        return lambda key, shape: jnp.abs(normal(key, shape))


@dataclasses.dataclass(frozen=True)
class SoftmaxDense(Layer):
    """z -> gamma S z with S_ij = exp(A_ij) / sum_k exp(A_kj), and A_ij ~ N(0, 1).

    Columns of S sum to one: |gamma S|_1 = gamma, at any A.

    Args:
        width: number of units, of inputs too.
        gamma: between 0 and 1.
    """

    width: int
    gamma: float

    @property
    def no_limit(self) -> str:
        """Normalized weights."""
        return NOT_GAUSSIAN

    def finite(self, scope: nn.Module, x: Float[Array, "n m"]) -> Float[Array, "n m"]:
        """Applies the map to a batch."""
        shape = (x.shape[-1], self.width)
        A = scope.param("A", nn.initializers.normal(1.0), shape)
        return self.gamma * x @ jax.nn.softmax(A, axis=0).T


@dataclasses.dataclass(frozen=True)
class MonotoneDense(Layer):
    r"""z -> W z of a W for which I - W - mu I is positive semi-definite.

        W = (1 - mu) I - (sigma^2 / m) A^T A + (sigma / sqrt(m)) (B - B^T)

    with entries of A and B from N(0, 1): z = phi(W z + u) has one solution for a
    monotone non-expansive phi.

    Args:
        width: number of units m, of inputs too.
        sigma: scale of the weights.
        mu: the margin, above 0.
    """

    width: int
    sigma: float
    mu: float

    @property
    def no_limit(self) -> str:
        """Products of weights."""
        return NOT_GAUSSIAN

    def finite(self, scope: nn.Module, x: Float[Array, "n m"]) -> Float[Array, "n m"]:
        """Applies the map to a batch."""
        shape, scale = (self.width, self.width), self.sigma / self.width**0.5
        A, B = (scope.param(n, nn.initializers.normal(1.0), shape) for n in ("A", "B"))
        skew = x @ B.T - x @ B
        return (1 - self.mu) * x - scale**2 * (x @ A.T) @ A + scale * skew
