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
from zoo.layers.branches import Concat, MaxOut
from zoo.layers.duals import ACTIVATIONS, Activation, Dual
from zoo.layers.equilibrium import Equilibrium
from zoo.layers.flow import DeepResiduals, Flow
from zoo.layers.fourier import FourierFeatures
from zoo.layers.freeze import TRAIN_LAYERS, train_only
from zoo.layers.graph import Aggregate
from zoo.layers.linear import PADDINGS, PARAMETERIZATIONS, Conv, Dense
from zoo.layers.mask import Mask
from zoo.layers.nonlinear import Nonlinear
from zoo.layers.norm import BatchNorm, LayerNorm, WeightNormDense
from zoo.layers.pooling import AvgPool, ChannelSum, Flatten, GlobalAvgPool
from zoo.layers.residual import ActivatedResiduals, FixedFeatureResiduals
from zoo.layers.roots import SOLVERS, Method

__all__ = [
    "ACTIVATIONS",
    "PADDINGS",
    "PARAMETERIZATIONS",
    "SOLVERS",
    "TRAIN_LAYERS",
    "ActivatedResiduals",
    "Activation",
    "Aggregate",
    "Attention",
    "AvgPool",
    "BatchNorm",
    "ChannelSum",
    "Concat",
    "Conv",
    "DeepResiduals",
    "Dense",
    "Dual",
    "Equilibrium",
    "Finite",
    "FixedFeatureResiduals",
    "Flatten",
    "Flow",
    "FourierFeatures",
    "GlobalAvgPool",
    "Layer",
    "LayerNorm",
    "Mask",
    "MaxOut",
    "Method",
    "Nonlinear",
    "Residual",
    "Serial",
    "WeightNormDense",
    "Weights",
    "apply_parts",
    "input_kernel",
    "train_only",
    "walk",
]
