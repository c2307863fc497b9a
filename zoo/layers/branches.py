"""Layers made of several branches on one input: their maximum, and side by side."""

import dataclasses

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from zoo.infinite.neural_tangents import Kernel
from zoo.layers.base import COVARIANCES, Finite, Layer
from zoo.layers.duals import Dual, relu_dual
from zoo.layers.nonlinear import elementwise


@dataclasses.dataclass(frozen=True)
class MaxOut(Layer):
    """The larger of two independent copies of a branch, unit by unit.

    Args:
        branch: a layer; in the limit its outputs must be Gaussian.
    """

    branch: Layer

    @property
    def parts(self) -> tuple[Layer, ...]:
        """The branch; the two copies have one limit."""
        return (self.branch,)

    @property
    def smooth(self) -> bool:
        """A maximum has kinks."""
        return False

    def finite(self, scope: nn.Module, x: Float[Array, "n ..."]) -> jax.Array:
        """The maximum."""
        return jnp.maximum(
            Finite(self.branch, name="left")(x), Finite(self.branch, name="right")(x)
        )

    def limit(self, k: Kernel) -> Kernel:
        """Covariances through the maximum of two independent Gaussians."""
        k = self.branch.limit(k)
        if not k.is_gaussian:
            raise ValueError(
                f"{self} has no limit of this form: its branch has to end in a layer "
                "with weights of its own."
            )
        return elementwise(k, max_dual)


def max_dual(k12: Array, k11: Array, k22: Array) -> Dual:
    """Of max(u, v), for independent u and v that both have the covariance K.

    max(u, v) = (u + v)/2 + |u - v|/2, where u + v and u - v are independent and have
    covariance 2 K. So the value is K/2 + E|z||z'|/2 for z ~ K. The slope is the chance
    that the same copy is the larger at both inputs, 1 - angle/pi.
    """
    same, other = relu_dual(k12, k11, k22), relu_dual(-k12, k11, k22)
    return Dual(k12 / 2.0 + same.value + other.value, 2.0 * same.slope)


@dataclasses.dataclass(frozen=True, init=False)
class Concat(Layer):
    """Branches on the same input, their channels side by side.

    In the limit every output is taken for an average over channels, which is what an
    affine layer after it makes of it.
    """

    branches: tuple[Layer, ...]

    def __init__(self, *branches: Layer):
        object.__setattr__(self, "branches", branches)

    @property
    def parts(self) -> tuple[Layer, ...]:
        """The branches."""
        return self.branches

    def finite(self, scope: nn.Module, x: Float[Array, "n ..."]) -> jax.Array:
        """The concatenation; parameters under branch_0, branch_1, ..."""
        outs = [
            Finite(branch, name=f"branch_{i}")(x)
            for i, branch in enumerate(self.branches)
        ]
        return jnp.concatenate(outs, axis=-1)

    def limit(self, k: Kernel) -> Kernel:
        """The mean of the branches' kernels, weighted by their channels."""
        outs = [branch.limit(k) for branch in self.branches]
        sizes = [out.shape1[-1] for out in outs]
        total = sum(sizes)

        def mean(*covs):
            return sum(
                size / total * cov for size, cov in zip(sizes, covs, strict=True)
            )

        arrays = [{name: getattr(o, name) for name in COVARIANCES} for o in outs]
        return outs[0].replace(
            **jax.tree.map(mean, *arrays),
            is_gaussian=False,
            shape1=(*outs[0].shape1[:-1], total),
            shape2=(*outs[0].shape2[:-1], total),
        )
