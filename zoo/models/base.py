"""An architecture states its layers once and is read twice."""

import dataclasses
import math
import numbers
from typing import Any, ClassVar, NamedTuple

import flax.linen as nn
import jax
from jaxtyping import Array, Shaped

from zoo.infinite.neural_tangents import Kernel
from zoo.layers import Layer, Serial, apply_parts, input_kernel, train_only, walk


class Limit(NamedTuple):
    """What is known of a network's infinite-width NTK.

    Attributes:
        kind: "exact", "numeric", "monte carlo" (a deterministic limit that only
            sampling gives) or "none" (no lazy limit).
        why: the error of a numeric limit, or the reason of the last two.
    """

    kind: str
    why: str = ""


class Exponents(NamedTuple):
    """Powers of the width of typical entries, at the parameterization's own rate.

    `None` where a quantity is exactly zero, so that it has no exponent.

    Attributes:
        hidden: of hidden activations at initialization.
        output: of outputs at initialization.
        hidden_change: of what gradient descent adds to hidden activations.
        output_change: of what it adds to outputs.
    """

    hidden: float | None = 0.0
    output: float | None = 0.0
    hidden_change: float | None = -0.5
    output_change: float | None = 0.0


# Power of the width with which the learning rate grows, so that functions move at a
# rate that does not depend on it, and the exponents that follow.
RATES = {"ntk": 0, "standard": -1, "mean_field": 1, "mup": 1}
FEATURES = Exponents(output=-0.5, hidden_change=0.0)
EXPONENTS = {
    "ntk": Exponents(),
    "standard": Exponents(),
    "mean_field": FEATURES,
    "mup": FEATURES,
}


WIDE = 8191  # a width that nothing else is

# Axes of a batch of inputs, the first one its points.
RANKS = {"vector": 2, "image": 4, "tokens": 3, "nodes": 1}


class Architecture(nn.Module, kw_only=True):
    """A network written as `layers()`; finite through Flax, infinite through `limit`.

    A subclass is a dataclass of hyper-parameters with one method, `layers`, and says of
    itself:

    Attributes:
        paper: authors and year.
        trains: which layers are trained.
        data: the dataset on which it is tried by default, a name in `zoo.data`.
        inputs: what an input is: "vector", "image" ([height, width, channels]),
            "tokens" ([positions, channels]) or "nodes" (the number of a node).
        smoke: hyper-parameters of a size that trains in seconds.
        variants: other hyper-parameters under which it is another network, listed and
            tested beside the defaults.
        mixes_outputs: whether different outputs share parts of the NTK in the limit,
            whose kernels then are [n1, n2, k, k].
        train_layers: a hyper-parameter of every network: "all", or those of its trained
            layers that are trained alone, see `zoo.layers.train_only`.
    """

    paper: ClassVar[str] = ""
    trains: ClassVar[str] = "all layers"
    data: ClassVar[str] = "digits"
    inputs: ClassVar[str] = "vector"
    smoke: ClassVar[dict[str, Any]] = {}
    variants: ClassVar[tuple[dict[str, Any], ...]] = ()
    mixes_outputs: ClassVar[bool] = False

    train_layers: str = "all"

    def __post_init__(self):
        """Refuses sizes that are not whole, and numbers that are not finite."""
        for field in dataclasses.fields(self):
            value = getattr(self, field.name, None)
            if field.type is int:
                whole = isinstance(value, numbers.Integral)
                self.require(whole, field.name, "a whole number")
            elif isinstance(value, numbers.Real):
                self.require(math.isfinite(value), field.name, "finite")
        super().__post_init__()

    def layers(self) -> Layer:
        """The network as one layer."""
        raise NotImplementedError(f"{type(self).__name__} must define layers().")

    def trained(self) -> Layer:
        """`layers()`, those frozen that `train_layers` leaves out."""
        return train_only(self.layers(), self.train_layers)

    @nn.compact
    def __call__(self, x: Shaped[Array, "n ..."]) -> jax.Array:
        """The finite network on a batch."""
        self.require_rank(x)
        net = self.trained()
        parts = net.layers if isinstance(net, Serial) else (net,)
        return apply_parts(parts, x)

    def limit(self) -> Limit:
        """Whether the network has an infinite-width NTK, and how well it is known."""
        layers = list(walk(self.layers()))
        for layer in layers:
            if layer.no_limit:
                return Limit("none", f"{type(layer).__name__}: {layer.no_limit}")
        errors = dict.fromkeys(layer.numeric for layer in layers if layer.numeric)
        return Limit("numeric", "; ".join(errors)) if errors else Limit("exact")

    def kernels(self, x1: jax.Array, x2: jax.Array | None = None) -> Kernel:
        """The infinite network on two sets of inputs; `None` means the same set."""
        for x in (x1, x2):
            self.require_rank(x)
        net = self.trained()
        mixes = any(layer.mixes_positions for layer in walk(net))
        return net.limit(input_kernel(x1, x2, diagonal_spatial=not mixes))

    def limit_key(self) -> "Architecture":
        """A network with the same limit; equal limits are computed once.

        In the NTK parameterization neither width nor outputs enter the limit.
        """
        names = {field.name for field in dataclasses.fields(self)}
        if self.rate == 0:
            sizes: dict[str, Any] = {n: 1 for n in ("width", "out") if n in names}
            return self.clone(**sizes)
        return self

    @property
    def rate(self) -> int:
        """Power of the width that the learning rate follows."""
        return RATES[getattr(self, "parameterization", "ntk")]

    @property
    def exponents(self) -> Exponents:
        """Powers of the width that the parameterization predicts.

        Of one wide layer in the standard one (derived): what its units get back is
        O(width^-1/2), at a rate of O(1 / width), and no wide layer before it adds up.
        """
        found = EXPONENTS[getattr(self, "parameterization", "ntk")]
        if self.rate == -1 and self.wide_layers == 1:
            return found._replace(hidden_change=-1.5)
        return found

    @property
    def wide_layers(self) -> int:
        """Number of layers that return as many units as the width says."""
        sizes: Any = {"width": WIDE, "parent": None, "name": None}
        layers = walk(self.clone(**sizes).layers())
        return sum(getattr(layer, "width", None) == WIDE for layer in layers)

    def require(self, holds: bool, name: str, allowed: str) -> None:
        """Refuses a hyper-parameter, with its value; not one that is differentiated."""
        if isinstance(holds, jax.core.Tracer):
            return
        if not holds:
            value = getattr(self, name)
            if isinstance(value, nn.Module):
                value = type(value).__name__
            raise ValueError(
                f"{type(self).__name__} needs {name} {allowed}, got {name}={value}."
            )

    def require_sizes(self, *names: str) -> None:
        """Refuses sizes below 1."""
        for name in names:
            self.require(getattr(self, name) >= 1, name, ">= 1")

    def require_rank(self, x: jax.Array | None) -> None:
        """Refuses inputs of another kind than `inputs` by their number of axes."""
        rank = RANKS[self.inputs]
        if x is not None and x.ndim != rank:
            raise ValueError(
                f"{type(self).__name__} needs inputs of kind '{self.inputs}', an array "
                f"of {rank} axes, got inputs of shape {x.shape}."
            )
