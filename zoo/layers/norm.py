"""Normalization of activations."""

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
