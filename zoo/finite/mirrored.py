"""Two equal copies of a network, subtracted: 0 at initialization, the same kernel."""

import math

import flax.linen as nn
import jax
from jaxtyping import Array, Shaped


class Mirrored(nn.Module):
    r"""(u_1 - u_2) / sqrt(2), two copies of a network that start from the same weights.

    f_0 = 0 exactly, and at initialization the empirical NTK is that of the network
    itself (Zhang et al. 2020, antisymmetrical initialization; Chizat et al. 2019).

    Args:
        net: the network u. Parameters are under "plus" and "minus".
    """

    net: nn.Module

    def setup(self):
        """The two copies."""
        self.plus = self.net.clone(parent=None, name=None)
        self.minus = self.net.clone(parent=None, name=None)

    def __call__(self, x: Shaped[Array, "n ..."]) -> jax.Array:
        """Both copies on a batch, and their difference."""
        plus = self.plus(x)
        if self.is_initializing():
            self.put_variable("params", "minus", self.variables["params"]["plus"])
        return (plus - self.minus(x)) / math.sqrt(2.0)
