"""Training some layers of a network alone: the others' weights become constants."""

import dataclasses
from typing import Any

from zoo.layers.attention import Attention
from zoo.layers.base import Layer, Residual, Serial, Weights, walk
from zoo.layers.constrained import MonotoneDense, SoftmaxDense
from zoo.layers.equilibrium import Equilibrium
from zoo.layers.norm import WeightNormDense
from zoo.names import check_name

TRAIN_LAYERS = ("all", "first", "hidden", "last")
# Layers of layers whose limit is made of the limits of their parts.
MADE_OF_PARTS = (Residual, Equilibrium)
FROZEN: dict[str, Any] = {"trained": False}
ALWAYS_TRAINED = (Attention, MonotoneDense, SoftmaxDense, WeightNormDense)


def train_only(net: Layer, which: str) -> Layer:
    """The network with the weights of all but some of its layers frozen.

    Layers are those that a `Serial` network lists, a residual block being one, as far
    as they hold weights that are trained.

    Args:
        net: the network.
        which: "all", "first", "last", or "hidden" for those between them.

    Raises:
        ValueError: the name is unknown, no layer is between the first and the last, or
            a layer that has to be frozen cannot be.

    Example:
        >>> from zoo.layers import Dense, Nonlinear, Serial
        >>> net = Serial(Dense(8), Nonlinear("relu"), Dense(1))
        >>> [layer.trained for layer in train_only(net, "last").layers[::2]]
        [False, True]
    """
    check_name("--train_layers", which, TRAIN_LAYERS)
    if which == "all":
        return net
    layers = net.layers if isinstance(net, Serial) else (net,)
    held = [i for i, layer in enumerate(layers) if _has_weights(layer)]
    kept = {"first": held[:1], "last": held[-1:], "hidden": held[1:-1]}[which]
    if not kept:
        raise ValueError(
            f"--train_layers={which} is not allowed: the network has {len(held)} "
            "trained layers, and none of them is that."
        )
    return Serial(
        *(
            layer if i in kept or i not in held else frozen(layer)
            for i, layer in enumerate(layers)
        )
    )


def frozen(layer: Layer) -> Layer:
    """The layer with all of its weights frozen.

    Raises:
        ValueError: it, or a part of it, has weights that cannot be.
    """
    if isinstance(layer, Weights):
        return dataclasses.replace(layer, **FROZEN)
    if isinstance(layer, Serial):
        return Serial(*map(frozen, layer.layers))
    if isinstance(layer, MADE_OF_PARTS):
        fields = (field.name for field in dataclasses.fields(layer))
        values = {name: getattr(layer, name) for name in fields}
        parts: dict[str, Any] = {
            name: frozen(value)
            for name, value in values.items()
            if isinstance(value, Layer)
        }
        return dataclasses.replace(layer, **parts)
    if layer.parts or isinstance(layer, ALWAYS_TRAINED):
        raise ValueError(
            f"--train_layers cannot freeze the weights of {type(layer).__name__}."
        )
    return layer


def _has_weights(layer: Layer) -> bool:
    """Whether some weights of the layer are trained."""
    return any(
        getattr(part, "trained", False) or isinstance(part, ALWAYS_TRAINED)
        for part in walk(layer)
    )
