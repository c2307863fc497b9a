"""What a layer owes, and how layers combine.

A layer is a frozen dataclass: it holds hyper-parameters, never arrays, so that it
hashes, compares, and can be written twice in one list without sharing weights. It is
read in two ways:

* `finite(scope, x)`: the layer of finite width. `scope` is the Flax module that owns
  the layer's parameters.
* `limit()`: the layer of infinite width, as a neural-tangents layer.
"""

import dataclasses
from collections import Counter
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
from jaxtyping import Array, Float

from zoo.infinite.neural_tangents import stax

# neural-tangents' own form of a layer: (init_fn, apply_fn, kernel_fn).
Limit = tuple[Callable, Callable, Callable]


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer, finite and infinite."""

    @property
    def label(self) -> str:
        """Prefix of the layer's name in the parameter tree."""
        return type(self).__name__.lower()

    def finite(self, scope: nn.Module, x: Float[Array, "n ..."]) -> jax.Array:
        """The layer of finite width; parameters are made on `scope`."""
        raise NotImplementedError(f"{self} has no finite reading.")

    def limit(self) -> Limit:
        """The layer of infinite width.

        Raises:
            NotImplementedError: if the limit has no known form.
        """
        raise NotImplementedError(f"{self} has no infinite-width reading.")

    def ntk_share(self, h1: Any, g1: Any, h2: Any, g2: Any) -> jax.Array:
        """What the layer's own parameters add to the empirical NTK.

        Args:
            h1: inputs of the layer, [n1, ...].
            g1: derivatives of every network output by the layer's output,
                [k, n1, ...].
            h2: as `h1` for the second set of points, [n2, ...].
            g2: as `g1` for the second set of points, [k, n2, ...].

        Returns:
            [k, n1, k, n2]. A layer that does not define this method has no rule, and
            its parameters go through their Jacobian.
        """
        raise NotImplementedError(f"{self} has no rule for its share of the NTK.")


class Finite(nn.Module):
    """The finite reading of a layer, as a Flax module that owns its parameters."""

    layer: Layer

    @nn.compact
    def __call__(self, x: Float[Array, "n ..."]) -> jax.Array:
        """Applies the layer to a batch."""
        return self.layer.finite(self, x)


@dataclasses.dataclass(frozen=True, init=False)
class Serial(Layer):
    """Layers one after the other.

    Parameters are named after the layer's class and its place among its like:
    `dense_0`, `dense_1`, ...
    """

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Layer):
        object.__setattr__(self, "layers", layers)

    def finite(self, scope: nn.Module, x: Float[Array, "n ..."]) -> jax.Array:
        """Applies each layer to the output of the one before."""
        seen = Counter()
        for layer in self.layers:
            x = Finite(layer, name=f"{layer.label}_{seen[layer.label]}")(x)
            seen[layer.label] += 1
        return x

    def limit(self) -> Limit:
        """The composition of the layers' kernel maps."""
        return stax.serial(*(layer.limit() for layer in self.layers))
