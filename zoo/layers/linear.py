"""Layers that are affine in their input and in their parameters.

Symbols: W weights, b biases, h the layer's input, n the fan-in (number of inputs of
one unit), m the width (number of units), k outputs of the network.
"""

import dataclasses

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from zoo.infinite.neural_tangents import stax
from zoo.layers.base import Layer, Limit

PARAMETERIZATIONS = ("ntk", "standard")


@dataclasses.dataclass(frozen=True)
class Dense(Layer):
    r"""Affine map of `width` units, with Gaussian weights.

    NTK parameterization (Jacot et al. 2018): every parameter is N(0, 1) and

        f(h) = (sigma_w / sqrt(n)) h W + sigma_b b.

    Standard parameterization: W_ij ~ N(0, sigma_w^2 / n), b_i ~ N(0, sigma_b^2) and

        f(h) = h W + b.

    Both are the same function at initialization; their gradients differ. In the
    standard one a weight matrix adds n times as much to the NTK, which therefore
    grows with the width (Lee et al. 2019, appendix F; Sohl-Dickstein et al. 2020).

    Args:
        width: number of units m.
        sigma_w: scale of the weights, dimensionless.
        sigma_b: scale of the biases; 0 means that there is no bias parameter.
        parameterization: "ntk" or "standard".
    """

    width: int
    sigma_w: float = 1.0
    sigma_b: float = 0.0
    parameterization: str = "ntk"

    def finite(self, scope: nn.Module, x: Float[Array, "n d"]) -> Float[Array, "n m"]:
        """Applies the map to a batch [n, d]."""
        std_w, std_b = self._stds(x.shape[-1])
        W = scope.param("W", nn.initializers.normal(std_w), (x.shape[-1], self.width))
        scale_w, scale_b = self._scales(x.shape[-1])
        out = scale_w * (x @ W)
        if self.sigma_b:
            b = scope.param("b", nn.initializers.normal(std_b), (self.width,))
            out = out + scale_b * b[None, :]
        return out

    def limit(self) -> Limit:
        """The affine map of covariances; the standard NTK is that of this width."""
        return stax.Dense(
            self.width,
            W_std=self.sigma_w,
            b_std=self.sigma_b or None,
            parameterization=self.parameterization,
        )

    def ntk_share(
        self,
        h1: Float[Array, "n1 d"],
        g1: Float[Array, "k n1 m"],
        h2: Float[Array, "n2 d"],
        g2: Float[Array, "k n2 m"],
    ) -> Float[Array, "k n1 k n2"]:
        """Gram matrix of the inputs times that of the backpropagated signals."""
        scale_w, scale_b = self._scales(h1.shape[-1])
        inputs = scale_w**2 * (h1 @ h2.T)
        if self.sigma_b:
            inputs = inputs + scale_b**2
        signals = jnp.einsum("kam,lbm->kalb", g1, g2)
        return inputs[None, :, None, :] * signals

    def _stds(self, fan_in: int) -> tuple[float, float]:
        """Standard deviations of W and b at initialization."""
        if self.parameterization == "ntk":
            return 1.0, 1.0
        return self.sigma_w / fan_in**0.5, self.sigma_b

    def _scales(self, fan_in: int) -> tuple[float, float]:
        """Factors before W and b in the forward pass."""
        if self.parameterization == "ntk":
            return self.sigma_w / fan_in**0.5, self.sigma_b
        return 1.0, 1.0
