"""What a layer owes, and how layers combine.

A layer is a frozen dataclass: it holds hyper-parameters, never arrays, so that it
hashes, compares, and can be written twice in one list without sharing weights. It is
read in two ways:

* `finite(scope, x)`: the layer of finite width. `scope` is the Flax module that owns
  the layer's parameters.
* `limit(k)`: the layer of infinite width, as a map of neural-tangents' `Kernel`. Its
  `nngp` is the covariance of one channel, [n1, n2, positions ...]; its `ntk` is the
  tangent kernel of the same shape; `cov1`, `cov2` are the covariances of each set of
  points with itself, at equal points.

The axes of an input are [n, positions ..., channels]: none, one (tokens, nodes) or two
(pixels) axes of positions.
"""

import dataclasses
from collections import Counter
from collections.abc import Iterator

import flax.linen as nn
import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Shaped

from zoo.infinite.neural_tangents import Kernel, stax


@dataclasses.dataclass(frozen=True)
class Layer:
    """One layer, finite and infinite."""

    @property
    def label(self) -> str:
        """Prefix of the layer's name in the parameter tree."""
        return type(self).__name__.lower()

    @property
    def parts(self) -> tuple["Layer", ...]:
        """The layers that this one is made of."""
        return ()

    @property
    def mixes_positions(self) -> bool:
        """Whether an output depends on the covariance of two different positions."""
        return False

    @property
    def couples_batch(self) -> bool:
        """Whether an output depends on the other examples of its batch."""
        return False

    @property
    def smooth(self) -> bool:
        """Whether the layer itself, its parts apart, has a continuous derivative."""
        return True

    @property
    def numeric(self) -> str:
        """How exact the limit is where it is a numerical one; "" where it is exact."""
        return ""

    @property
    def no_limit(self) -> str:
        """Why there is no infinite-width kernel; "" where there is one."""
        return ""

    def finite(self, scope: nn.Module, x: Shaped[Array, "n ..."]) -> jax.Array:
        """The layer of finite width; parameters are made on `scope`."""
        raise NotImplementedError(f"{self} has no finite reading.")

    def limit(self, k: Kernel) -> Kernel:
        """The layer of infinite width.

        Raises:
            NotImplementedError: if the limit has no known form.
        """
        raise NotImplementedError(f"{self} has no infinite-width reading.")


@dataclasses.dataclass(frozen=True)
class Weights(Layer):
    """A layer that owns parameters and is linear in them.

    Subclasses have a field `trained`. A frozen layer's parameters are constants of the
    network, behind `stop_gradient`: no optimizer moves them, no derivative counts them.
    """

    def design(self, h: Shaped[Array, "n ..."]) -> jax.Array:
        """The layer's output as a linear function of its parameters.

        Returns:
            [n, p, q] with p positions of the output: out[n, p, m] = sum_q
            design[n, p, q] theta[q, m] for the parameters theta, biases included, in
            any order of q that is the same for all inputs.
        """
        raise NotImplementedError(f"{self} has no design matrix.")


def require_fits(layer: Layer, name: str, shape: tuple[int, ...]) -> None:
    """Refuses a layer's size `name` that is larger than its images.

    Args:
        layer: the layer.
        name: its field.
        shape: of its inputs, [n, height, width, channels].
    """
    least = min(shape[1:3])
    if getattr(layer, name) > least:
        raise ValueError(
            f"{type(layer).__name__} needs {name} <= {least} on images of "
            f"{shape[1]} x {shape[2]}, got {name}={getattr(layer, name)}."
        )


def walk(layer: Layer) -> Iterator[Layer]:
    """The layer and all that it is made of, outermost first."""
    yield layer
    for part in layer.parts:
        yield from walk(part)


def input_kernel(
    x1: Float[Array, "n1 ..."],
    x2: Float[Array, "n2 ..."] | None,
    diagonal_spatial: bool,
) -> Kernel:
    """The kernel of the inputs themselves, <x, x'> / channels at pairs of positions.

    Args:
        x1: inputs [n1, positions ..., channels].
        x2: the same for a second set; None means `x1`.
        diagonal_spatial: whether pairs of equal positions are all that is needed.
    """
    k = stax.Identity()[2](x1, x2, None, diagonal_spatial=diagonal_spatial)
    return k.replace(ntk=jnp.zeros_like(k.nngp))


class Finite(nn.Module):
    """The finite reading of a layer, as a Flax module that owns its parameters."""

    layer: Layer

    @nn.compact
    def __call__(self, x: Shaped[Array, "n ..."]) -> jax.Array:
        """Applies the layer to a batch."""
        return self.layer.finite(self, x)


def apply_parts(layers: tuple[Layer, ...], x: jax.Array) -> jax.Array:
    """Applies layers in turn, as submodules of the module that is being called."""
    seen = Counter()
    for layer in layers:
        x = Finite(layer, name=f"{layer.label}_{seen[layer.label]}")(x)
        seen[layer.label] += 1
    return x


@dataclasses.dataclass(frozen=True, init=False)
class Serial(Layer):
    """Layers one after the other.

    Parameters are named after the layer's class and its place among its like:
    `dense_0`, `dense_1`, ...
    """

    layers: tuple[Layer, ...]

    def __init__(self, *layers: Layer):
        object.__setattr__(self, "layers", layers)

    @property
    def parts(self) -> tuple[Layer, ...]:
        """The layers."""
        return self.layers

    def finite(self, scope: nn.Module, x: Shaped[Array, "n ..."]) -> jax.Array:
        """Applies each layer to the output of the one before."""
        return apply_parts(self.layers, x)

    def limit(self, k: Kernel) -> Kernel:
        """The composition of the layers' kernel maps."""
        for layer in self.layers:
            k = layer.limit(k)
        return k


@dataclasses.dataclass(frozen=True)
class Residual(Layer):
    """The sum of a shortcut and a scaled branch: shortcut(h) + scale * branch(h).

    Args:
        branch: the residual function. In the limit it must end in a layer with weights
            of its own, which makes it uncorrelated with the shortcut.
        scale: factor of the branch.
        shortcut: the other summand; None is the identity.
    """

    branch: Layer
    scale: float = 1.0
    shortcut: Layer | None = None

    @property
    def parts(self) -> tuple[Layer, ...]:
        """The branch, and the shortcut if it is a layer."""
        return tuple(part for part in (self.branch, self.shortcut) if part is not None)

    def finite(self, scope: nn.Module, x: Shaped[Array, "n ..."]) -> jax.Array:
        """The sum."""
        branch = Finite(self.branch, name="branch")(x)
        kept = x
        if self.shortcut is not None:
            kept = Finite(self.shortcut, name="shortcut")(x)
        return kept + self.scale * branch

    def limit(self, k: Kernel) -> Kernel:
        """Covariances and tangent kernels add: the summands are uncorrelated."""
        kept = k if self.shortcut is None else self.shortcut.limit(k)
        branch = self.branch.limit(k)
        if not branch.is_gaussian:
            raise ValueError(
                f"{self} has no limit of this form: its branch has to end in a layer "
                "with weights of its own."
            )
        if branch.is_reversed != kept.is_reversed:
            branch = branch.reverse()
        total = jax.tree.map(lambda a, b: a + self.scale**2 * b, *_sums(kept, branch))
        return kept.replace(**total)


COVARIANCES = ("nngp", "ntk", "cov1", "cov2")


def _sums(*kernels: Kernel) -> tuple[dict, ...]:
    """The arrays that add when independent layers' outputs do."""
    return tuple({name: getattr(k, name) for name in COVARIANCES} for k in kernels)
