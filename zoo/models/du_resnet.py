"""The residual networks of Du et al. 2019, fully connected and convolutional."""

import functools

import jax
import jax.numpy as jnp

from zoo.infinite.precision import float64
from zoo.layers import (
    ACTIVATIONS,
    ActivatedResiduals,
    Conv,
    Dense,
    Flatten,
    Serial,
)
from zoo.layers.linear import Affine
from zoo.models.base import Architecture
from zoo.names import check_name


@functools.cache
def c_sigma(activation: str) -> float:
    """1 / E phi(z)^2 for z ~ N(0, 1): the factor that keeps a unit variance."""
    with float64(), jax.ensure_compile_time_eval():
        one = jnp.ones((1,))
        return 1.0 / float(ACTIVATIONS[activation].dual(one, one, one).value[0])


class DuResNet(Architecture):
    r"""Fully connected, with `depth` layers of which all but the first are residual.

        h_1 = sqrt(c_sigma / m) phi(W_1 x),
        h_l = h_{l-1} + c_res / (H sqrt(m)) phi(W_l h_{l-1}),  l = 2 .. H = depth,
        f = <a, h_H>,        c_sigma = 1 / E phi(z)^2 with z ~ N(0, 1),

    where all entries of W_1 .. W_H and a are N(0, 1), there are no biases, 0 < c_res <
    1, and everything is trained on the sum L = 1/2 sum_i (f(x_i) - y_i)^2. The paper's
    inputs have norm 1; here x / sqrt(d) takes their place. Written for the units
    sqrt(m) h, which are O(1), the same function is

        g_1 = sqrt(c_sigma) phi(W_1 x / sqrt(d)),
        g_l = g_{l-1} + (c_res / H) phi(W_l g_{l-1} / sqrt(m)),  f = <a, g_H> / sqrt(m).

    A branch ends in its activation, so that units have means; the limit carries them
    (`zoo.layers.ActivatedResiduals`).

    Source: Du, Lee, Li, Wang & Zhai 2019, "Gradient Descent Finds Global Minima of Deep
    Neural Networks", sections 3 and 6, which read a smooth phi; one output in the
    paper, k of them here.

    Args:
        width: units m of every layer.
        depth: number H of layers, at least 1.
        out: number of outputs k.
        activation: a name in `zoo.layers.ACTIVATIONS`.
        c_res: factor of all branches together, between 0 and 1.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Du et al. 2019"
    variants = ({"depth": 1},)

    width: int
    depth: int = 3
    out: int = 1
    activation: str = "softplus"
    c_res: float = 0.5

    def __post_init__(self):
        self.require_sizes("width", "depth", "out")
        self.require(0 < self.c_res < 1, "c_res", "between 0 and 1")
        check_name("activation", self.activation, ACTIVATIONS)
        super().__post_init__()

    def layers(self) -> Serial:
        """Dense, the residual stack, Dense."""
        W = Dense(self.width)
        return Serial(W, self.stack(W), Dense(self.out))

    def stack(self, W: Affine) -> ActivatedResiduals:
        """The activation of the first layer, and all residual layers."""
        return ActivatedResiduals(
            W,
            self.activation,
            depth=self.depth - 1,
            scale=self.c_res / self.depth,
            first=c_sigma(self.activation) ** 0.5,
        )


class DuConvResNet(DuResNet):
    r"""The convolutional one: W_l acts on patches of q = kernel_size^2 positions.

        h_1 = sqrt(c_sigma / m) phi(W_1 * x),
        h_l = h_{l-1} + c_res / (H sqrt(m)) phi(W_l * h_{l-1}),  l = 2 .. H = depth,
        f = <a, h_H>,    a in R^{m x p} for p positions,

    with (W * h)(position) = W (the patch around it, zeros outside of the image), W in
    R^{m x q c} for c channels, and no factor 1 / sqrt(q). All entries are N(0, 1), and
    all are trained, on the sum loss of `DuResNet`. The paper's inputs have norm 1; here
    x / sqrt(c) takes their place and f is divided by sqrt(p), which for relu, being
    homogeneous, is the same function of inputs of mean square 1. Derived: a position's
    covariance is a sum over its patch, and positions are never paired.

    Args:
        width: channels m of every layer.
        depth: number H of layers, at least 1.
        out: number of outputs k.
        activation: a name in `zoo.layers.ACTIVATIONS`.
        c_res: factor of all branches together, between 0 and 1.
        kernel_size: height and width of a patch.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    inputs = "image"
    smoke = {"depth": 2}
    variants = ()

    kernel_size: int = 3

    def __post_init__(self):
        self.require_sizes("kernel_size")
        super().__post_init__()

    def layers(self) -> Serial:
        """Conv, the residual stack, Flatten, Dense."""
        W = Conv(self.width, float(self.kernel_size), kernel_size=self.kernel_size)
        return Serial(W, self.stack(W), Flatten(), Dense(self.out))
