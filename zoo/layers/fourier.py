"""Random Fourier features: a positional encoding of coordinates."""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from zoo.infinite.neural_tangents import Kernel
from zoo.layers.base import Finite, Layer
from zoo.layers.duals import Dual
from zoo.layers.linear import Dense
from zoo.layers.nonlinear import elementwise


@dataclasses.dataclass(frozen=True)
class FourierFeatures(Layer):
    r"""Cosines and sines of random projections, sqrt(2) [cos z, sin z].

        z = (scale / sqrt(d)) x W,    W_ij ~ N(0, 1), frozen,

    of mean square 1 over the 2 m channels (Rahimi & Recht 2007; Tancik et al. 2020).

    Args:
        width: number m of frequencies.
        scale: their size: the larger, the finer what the features tell apart.
    """

    width: int
    scale: float = 1.0

    @property
    def projection(self) -> Dense:
        """The layer that gives z."""
        return Dense(self.width, self.scale, trained=False)

    @property
    def parts(self) -> tuple[Layer, ...]:
        """The projection."""
        return (self.projection,)

    def finite(
        self, scope: nn.Module, x: Float[Array, "n ... d"]
    ) -> Float[Array, "n ... q"]:
        """Encodes a batch."""
        z = Finite(self.projection, name="projection")(x)
        return 2**0.5 * jnp.concatenate([jnp.cos(z), jnp.sin(z)], axis=-1)

    def limit(self, k: Kernel) -> Kernel:
        """The Gaussian (RBF) kernel of the inputs."""
        size = 2 * self.width
        return elementwise(self.projection.limit(k), rbf_dual).replace(
            shape1=(*k.shape1[:-1], size), shape2=(*k.shape2[:-1], size)
        )


def rbf_dual(k12: Array, k11: Array, k22: Array) -> Dual:
    """E cos(u - v), and the same for the mean square of derivatives."""
    value = jnp.exp(k12 - (k11 + k22) / 2.0)
    return Dual(value, value)
