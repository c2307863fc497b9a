"""An architecture states its layers once and is read twice."""

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from zoo.layers import Layer


class Architecture(nn.Module):
    """A network written as `layers()`; finite through Flax, infinite through `limit`.

    A subclass is a dataclass of hyper-parameters with one method, `layers`.
    """

    def layers(self) -> Layer:
        """The network as one layer."""
        raise NotImplementedError(f"{type(self).__name__} must define layers().")

    @nn.compact
    def __call__(self, x: Float[Array, "n ..."]) -> jax.Array:
        """The finite network on a batch."""
        return self.layers().finite(self, x)

    def limit_key(self) -> "Architecture":
        """A network with the same limit; equal limits are computed once."""
        return self
