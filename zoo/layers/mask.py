"""Neurons that a mask, drawn once, leaves out."""

import dataclasses
from typing import ClassVar

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from zoo.infinite.neural_tangents import Kernel
from zoo.layers.base import COVARIANCES, Layer


@dataclasses.dataclass(frozen=True)
class Mask(Layer):
    """Every channel times M, which is 1 with probability `keep` and 0 otherwise.

    M is drawn at initialization and is the same for all inputs. It is stored among the
    parameters, frozen.

    Args:
        keep: the chance that a channel is kept.
    """

    trained: ClassVar[bool] = False

    keep: float

    def finite(self, scope: nn.Module, x: Float[Array, "n ... d"]) -> jax.Array:
        """Masks a batch."""

        def draw(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
            return jax.random.bernoulli(key, self.keep, shape).astype(x.dtype)

        M = scope.param("M", draw, (x.shape[-1],))
        return x * jax.lax.stop_gradient(M).reshape((1,) * (x.ndim - 1) + M.shape)

    def limit(self, k: Kernel) -> Kernel:
        """The mean over channels, E M^2 = keep, of covariances and tangent kernel."""
        arrays = {name: getattr(k, name) for name in COVARIANCES}
        kept = jax.tree.map(lambda cov: jnp.asarray(self.keep * cov), arrays)
        return k.replace(**kept, is_gaussian=False)
