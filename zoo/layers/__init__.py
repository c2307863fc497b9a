"""Layers that are read twice: finite as Flax modules, infinite as kernel maps."""

from zoo.layers.base import Finite, Layer, Serial
from zoo.layers.linear import Dense
from zoo.layers.nonlinear import ACTIVATIONS, Activation, Dual, Nonlinear

__all__ = [
    "ACTIVATIONS",
    "Activation",
    "Dense",
    "Dual",
    "Finite",
    "Layer",
    "Nonlinear",
    "Serial",
]
