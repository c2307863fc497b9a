"""Normalization of activations, and of weights."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from zoo.infinite.neural_tangents import Kernel, stax
from zoo.layers.base import Layer


@dataclasses.dataclass(frozen=True)
class LayerNorm(Layer):
    """Every position's channels, centred and divided by their standard deviation.

        x -> (x - mean(x)) / sqrt(var(x) + eps), without gain or offset (Ba et al. 2016)

    Args:
        eps: added to the variance.
    """

    eps: float = 1e-6

    def finite(
        self, scope: nn.Module, x: Float[Array, "n ... m"]
    ) -> Float[Array, "n ... m"]:
        """Normalizes the batch."""
        centred = x - jnp.mean(x, axis=-1, keepdims=True)
        var = jnp.mean(centred**2, axis=-1, keepdims=True)
        return centred * jax.lax.rsqrt(var + self.eps)

    def limit(self, k: Kernel) -> Kernel:
        """Covariances and NTK over the two standard deviations.

        Gaussian channels have mean zero, and what an infinitely wide layer's mean and
        variance add to a derivative vanishes with the width.
        """
        if not k.is_gaussian:
            raise ValueError(
                f"{self} needs Gaussian inputs for its limit: a layer with weights "
                "directly before it. zoo.monte_carlo_kernel_fn estimates the kernel."
            )
        return stax.LayerNorm(axis=-1, eps=self.eps)[2](k)


@dataclasses.dataclass(frozen=True)
class BatchNorm(Layer):
    """Every channel, centred and divided by its standard deviation over the batch.

        x -> (x - mean(x)) / sqrt(var(x) + eps)      (Ioffe & Szegedy 2015)

    Mean and variance are those of the batch at hand, over examples and positions, as in
    training; there are no running averages, no gain and no offset.

    Args:
        eps: added to the variance.
    """

    eps: float = 1e-5

    @property
    def couples_batch(self) -> bool:
        """An output depends on all examples of the batch."""
        return True

    @property
    def no_limit(self) -> str:
        """The NTK is none of pairs of points."""
        return (
            "outputs, and with them the NTK, depend on the whole batch and not on "
            "pairs of points"
        )

    def finite(
        self, scope: nn.Module, x: Float[Array, "n ... m"]
    ) -> Float[Array, "n ... m"]:
        """Normalizes the batch."""
        axes = tuple(range(x.ndim - 1))
        centred = x - jnp.mean(x, axis=axes, keepdims=True)
        var = jnp.mean(centred**2, axis=axes, keepdims=True)
        return centred * jax.lax.rsqrt(var + self.eps)


@dataclasses.dataclass(frozen=True)
class WeightNormDense(Layer):
    r"""Linear map whose units have directions and gains (Salimans & Kingma 2016).

        f(h)_j = sigma_w g_j <h, W_j / |W_j|>

    with the entries of W_j all N(0, 1) and g_j = 1 at initialization, both trained. At
    large fan-in it is `Dense` in the NTK parameterization, but for the gains: their
    share of the NTK pairs a unit's pre-activations with its signals, which no map of
    covariances gives.

    Args:
        width: number of units m.
        sigma_w: scale of the weights.
    """

    width: int
    sigma_w: float = 1.0

    def finite(self, scope: nn.Module, x: Float[Array, "n d"]) -> Float[Array, "n m"]:
        """Applies the map to a batch."""
        shape = (x.shape[-1], self.width)
        W = scope.param("W", nn.initializers.normal(1.0), shape)
        g = scope.param("g", nn.initializers.ones, (self.width,))
        directions = W / jnp.linalg.norm(W, axis=0, keepdims=True)
        return x @ (directions * (self.sigma_w * g[None]))
