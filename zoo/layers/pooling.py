"""Layers without parameters that move or average positions."""

import dataclasses
import math

import flax.linen as nn
import jax.numpy as jnp
from jaxtyping import Array, Float

from zoo.infinite.neural_tangents import Kernel, stax
from zoo.layers.base import Layer, require_fits


@dataclasses.dataclass(frozen=True)
class Flatten(Layer):
    """An example's positions and channels in one row, [n, positions * channels]."""

    def finite(self, scope: nn.Module, x: Float[Array, "n ..."]) -> Float[Array, "n d"]:
        """Reshapes the batch."""
        return x.reshape(x.shape[0], -1)

    def limit(self, k: Kernel) -> Kernel:
        """The mean over positions of the covariances at equal positions."""
        flat = stax.Flatten()[2](k)
        size = math.prod(k.shape1[1:])
        shapes = {"shape1": (k.shape1[0], size), "shape2": (k.shape2[0], size)}
        return flat.replace(**shapes)


@dataclasses.dataclass(frozen=True)
class ChannelSum(Layer):
    """The sum over channels over the root of their number, [n, 1]."""

    @property
    def no_limit(self) -> str:
        """Terms of different layers no longer vanish."""
        return (
            "its weights are not random, so that the signals of layers that share "
            "weights, or of an equilibrium, are correlated; read out by a Dense layer"
        )

    def finite(self, scope: nn.Module, x: Float[Array, "n d"]) -> Float[Array, "n 1"]:
        """Adds the channels."""
        return jnp.sum(x, axis=-1, keepdims=True) / x.shape[-1] ** 0.5


@dataclasses.dataclass(frozen=True)
class AvgPool(Layer):
    """The means over windows that do not overlap, [n, height, width, channels].

    Rows and columns that fill no window are dropped (padding VALID).

    Args:
        window: height and width of a window, and the distance between neighbours.
    """

    window: int

    @property
    def mixes_positions(self) -> bool:
        """The variance of a mean is made of covariances."""
        return True

    def finite(
        self, scope: nn.Module, x: Float[Array, "n h w d"]
    ) -> Float[Array, "n h2 w2 d"]:
        """Averages the batch."""
        require_fits(self, "window", x.shape)
        n, height, width, d = x.shape
        rows, columns = height // self.window, width // self.window
        x = x[:, : rows * self.window, : columns * self.window]
        windows = x.reshape(n, rows, self.window, columns, self.window, d)
        return jnp.mean(windows, axis=(2, 4))

    def limit(self, k: Kernel) -> Kernel:
        """The means over pairs of windows."""
        require_fits(self, "window", k.shape1)
        return stax.AvgPool((self.window,) * 2, (self.window,) * 2)[2](k)


@dataclasses.dataclass(frozen=True)
class GlobalAvgPool(Layer):
    """The mean over all positions, [n, channels]."""

    @property
    def mixes_positions(self) -> bool:
        """The variance of a mean is made of covariances."""
        return True

    def finite(
        self, scope: nn.Module, x: Float[Array, "n ... d"]
    ) -> Float[Array, "n d"]:
        """Averages the batch."""
        return jnp.mean(x, axis=tuple(range(1, x.ndim - 1)))

    def limit(self, k: Kernel) -> Kernel:
        """The mean over all pairs of positions."""
        return stax.GlobalAvgPool()[2](k)
