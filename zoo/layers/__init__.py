"""Layers that are read twice: finite as Flax modules, infinite as kernel maps."""

from zoo.layers.attention import Attention
from zoo.layers.base import (
    Finite,
    Layer,
    Residual,
    Serial,
    Weights,
    apply_parts,
    input_kernel,
    walk,
)
from zoo.layers.duals import ACTIVATIONS, Activation, Dual
from zoo.layers.linear import PADDINGS, PARAMETERIZATIONS, Conv, Dense
from zoo.layers.nonlinear import Nonlinear
from zoo.layers.norm import LayerNorm
from zoo.layers.pooling import AvgPool, Flatten, GlobalAvgPool

__all__ = [
    "ACTIVATIONS",
    "PADDINGS",
    "PARAMETERIZATIONS",
    "Activation",
    "Attention",
    "AvgPool",
    "Conv",
    "Dense",
    "Dual",
    "Finite",
    "Flatten",
    "GlobalAvgPool",
    "Layer",
    "LayerNorm",
    "Nonlinear",
    "Residual",
    "Serial",
    "Weights",
    "apply_parts",
    "input_kernel",
    "walk",
]
