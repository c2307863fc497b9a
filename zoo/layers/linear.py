"""Layers that are affine in their input and linear in their parameters.

Symbols: W weights, b biases, h the layer's input, n the fan-in (number of inputs of
one unit) or what `fan` puts in its place, m the width (number of units), k outputs of
the network.
"""

import dataclasses
import math
from collections.abc import Callable

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array, Float

from zoo.infinite.neural_tangents import Kernel, stax
from zoo.layers.base import Weights, require_fits

PARAMETERIZATIONS = ("ntk", "standard", "mean_field")
PADDINGS = ("SAME", "VALID", "CIRCULAR")
FANS = ("in", "out", "avg")
VANISHES = (
    "with its scale 1 / fan-in (mean-field, muP) outputs at initialization vanish and "
    "features move at any width, so that there is no lazy limit"
)


@dataclasses.dataclass(frozen=True)
class Affine(Weights):
    r"""What `Dense` and `Conv` share: scales, initialization, freezing.

    NTK parameterization (Jacot et al. 2018): every parameter is N(0, 1) and

        f(h) = (sigma_w / sqrt(n)) h W + sigma_b b.

    Standard parameterization: W_ij ~ N(0, sigma_w^2 / n), b_i ~ N(0, sigma_b^2) and

        f(h) = h W + b.

    Both are the same function at initialization; their gradients differ. In the
    standard one a weight matrix adds n times as much to the NTK, which therefore
    grows with the width (Lee et al. 2019, appendix F; Sohl-Dickstein et al. 2020).

    Mean-field parameterization (Mei, Montanari & Nguyen 2018; the readout of muP, Yang
    & Hu 2021): every parameter is N(0, 1) and f(h) = (sigma_w / n) h W + sigma_b b.

    Args:
        width: number of units m.
        sigma_w: scale of the weights, dimensionless.
        sigma_b: scale of the biases; 0 means that there is no bias parameter.
        parameterization: "ntk", "standard" or "mean_field".
        trained: False freezes W and b; their own terms then leave the NTK.
        zero: W is 0 at initialization; its scale in the forward pass is kept.
        fan: what n is: "in", the fan-in; "out", the fan-out m, times the entries of a
            patch (He et al. 2015, eq. 14); "avg", their mean (Glorot & Bengio 2010).
    """

    width: int
    sigma_w: float = 1.0
    sigma_b: float = 0.0
    parameterization: str = "ntk"
    trained: bool = True
    zero: bool = False
    fan: str = dataclasses.field(default="in", kw_only=True)

    @property
    def no_limit(self) -> str:
        """Only the mean-field scale has none."""
        return VANISHES if self.parameterization == "mean_field" else ""

    @property
    def biased(self) -> bool:
        """Whether there are biases; a scale that is differentiated has some."""
        return isinstance(self.sigma_b, jax.core.Tracer) or self.sigma_b != 0

    @property
    def fan_out(self) -> int:
        """Number of outputs that one input reaches."""
        return self.width

    def n(self, fan_in: int) -> int | float:
        """The number by which the scale of the weights is divided; see `fan`."""
        fans = {"in": fan_in, "out": self.fan_out, "avg": (fan_in + self.fan_out) / 2}
        return fans[self.fan]

    def stds(self, fan_in: int) -> tuple[float, float]:
        """Standard deviations of W and b at initialization."""
        std_w, std_b = 1.0, 1.0
        if self.parameterization == "standard":
            std_w, std_b = self.sigma_w / self.n(fan_in) ** 0.5, self.sigma_b
        return (0.0 if self.zero else std_w), std_b

    def scales(self, fan_in: int) -> tuple[float, float]:
        """Factors before W and b in the forward pass."""
        if self.parameterization == "standard":
            return 1.0, 1.0
        power = 1.0 if self.parameterization == "mean_field" else 0.5
        return self.sigma_w / self.n(fan_in) ** power, self.sigma_b

    def affine(
        self,
        scope: nn.Module,
        shape: tuple[int, ...],
        product: Callable[[jax.Array], jax.Array],
    ) -> jax.Array:
        """scale_w * product(W) + scale_b * b, with W of the given shape."""
        fan_in = math.prod(shape[:-1])
        std_w, std_b = self.stds(fan_in)
        scale_w, scale_b = self.scales(fan_in)
        out = scale_w * product(self._param(scope, "W", std_w, shape))
        if self.biased:
            b = self._param(scope, "b", std_b, (self.width,))
            out = out + scale_b * b.reshape((1,) * (out.ndim - 1) + b.shape)
        return out

    def initializer(self, std: float) -> Callable[..., jax.Array]:
        """Draws parameters of a standard deviation."""
        return nn.initializers.normal(std)

    def _param(self, scope: nn.Module, name: str, std: float, shape: tuple):
        value = scope.param(name, self.initializer(std), shape)
        return value if self.trained else lax.stop_gradient(value)

    def with_bias(self, features: Float[Array, "n p q"], fan_in: int) -> jax.Array:
        """`Weights.design` from the inputs of every unit."""
        scale_w, scale_b = self.scales(fan_in)
        out = scale_w * features
        if not self.biased:
            return out
        ones = jnp.full((*out.shape[:2], 1), scale_b, out.dtype)
        return jnp.concatenate([out, ones], axis=-1)

    def covariances(self, k: Kernel, fan_in: int, mean: Callable) -> Kernel:
        """The limit.

        Args:
            k: the input's kernel.
            fan_in: n.
            mean: maps a `Kernel` to that of the mean over the inputs of a unit.
        """
        std_w, std_b = self.stds(fan_in)
        scale_w, scale_b = self.scales(fan_in)
        keep = fan_in * (scale_w * std_w) ** 2
        bias = (scale_b * std_b) ** 2
        inputs = mean(k.replace(ntk=None))

        def affine(cov):
            return None if cov is None else keep * cov + bias

        ntk = None
        if k.ntk is not None:
            ntk = keep * mean(k.replace(nngp=k.ntk, ntk=None)).nngp
            if self.trained:
                own = scale_b**2 if self.biased else 0.0
                ntk = ntk + fan_in * scale_w**2 * inputs.nngp + own
        return inputs.replace(
            nngp=affine(inputs.nngp),
            cov1=affine(inputs.cov1),
            cov2=affine(inputs.cov2),
            ntk=ntk,
            is_gaussian=True,
            is_input=False,
            shape1=(*inputs.shape1[:-1], self.width),
            shape2=(*inputs.shape2[:-1], self.width),
        )


@dataclasses.dataclass(frozen=True)
class Dense(Affine):
    r"""Affine map of the channels, at every position alike; n is their number.

    Args:
        width: number of units m.
        sigma_w: scale of the weights, dimensionless.
        sigma_b: scale of the biases; 0 means that there is no bias parameter.
        parameterization: "ntk", "standard" or "mean_field"; see `Affine`.
        trained: False freezes W and b; their own terms then leave the NTK.
        zero: W is 0 at initialization; its scale in the forward pass is kept.
        fan: what n is, "in", "out" or "avg"; see `Affine`.
    """

    def finite(
        self, scope: nn.Module, x: Float[Array, "n ... d"]
    ) -> Float[Array, "n ... m"]:
        """Applies the map to a batch."""
        return self.affine(scope, (x.shape[-1], self.width), lambda W: x @ W)

    def limit(self, k: Kernel) -> Kernel:
        """The affine map of covariances; the standard NTK is that of this width."""
        return self.covariances(k, k.shape1[-1], lambda k: k)

    def design(self, h: Float[Array, "n ... d"]) -> Float[Array, "n p q"]:
        """The inputs, and a one for the bias."""
        return self.with_bias(
            h.reshape(h.shape[0], -1, h.shape[-1]), fan_in=h.shape[-1]
        )


def patches(
    x: jax.Array,
    size: tuple[int, ...],
    strides: tuple[int, ...],
    padding: str,
    dilation: tuple[int, ...] | None = None,
) -> jax.Array:
    """The entries that a convolution multiplies, place by place of its kernel.

    Args:
        x: inputs [n, positions ..., d].
        size: of the kernel, along every axis of positions.
        strides: between neighbouring patches.
        padding: "SAME" or "VALID".
        dilation: distance between the kernel's places; None means 1.

    Returns:
        [n, patches ..., prod(size) d], in the order of a kernel [*size, d, m].
    """
    dilation = dilation or (1,) * len(size)
    reach = tuple((s - 1) * d + 1 for s, d in zip(size, dilation, strict=True))
    pads = lax.padtype_to_pads(x.shape[1:-1], reach, strides, padding)
    x = jnp.pad(x, ((0, 0), *pads, (0, 0)))
    stop = [length - r + 1 for length, r in zip(x.shape[1:-1], reach, strict=True)]
    found = []
    for place in np.ndindex(*size):
        start = [i * d for i, d in zip(place, dilation, strict=True)]
        cut = (
            slice(first, first + last, step)
            for first, last, step in zip(start, stop, strides, strict=True)
        )
        found.append(x[:, *cut])
    return jnp.concatenate(found, axis=-1)


@dataclasses.dataclass(frozen=True)
class Conv(Affine):
    r"""Convolution over two axes of positions, [n, height, width, channels].

    An affine map of the patch around each position; n is the number of entries of a
    patch, kernel_size^2 times the channels. Otherwise as `Dense`:

    Args:
        width: number of output channels m.
        sigma_w: scale of the weights, dimensionless.
        sigma_b: scale of the biases; 0 means that there is no bias parameter.
        parameterization: "ntk", "standard" or "mean_field".
        trained: False freezes W and b; their own terms then leave the NTK.
        zero: W is 0 at initialization; its scale in the forward pass is kept.
        kernel_size: height and width of a patch.
        stride: distance between neighbouring patches.
        padding: "SAME" (zeros), "VALID" or "CIRCULAR".
        fan: what n is, "in", "out" or "avg"; see `Affine`.
    """

    kernel_size: int = 3
    stride: int = 1
    padding: str = "SAME"

    @property
    def fan_out(self) -> int:
        """Entries of a patch of outputs."""
        return self.kernel_size**2 * self.width

    def finite(
        self, scope: nn.Module, x: Float[Array, "n h w d"]
    ) -> Float[Array, "n h2 w2 m"]:
        """Applies the convolution to a batch of images."""
        self._require_patches(x.shape)
        size = (self.kernel_size,) * 2
        padded, padding = self._pad(x)

        def product(W: jax.Array) -> jax.Array:
            return lax.conv_general_dilated(
                padded,
                W,
                (self.stride,) * 2,
                padding,
                dimension_numbers=("NHWC", "HWIO", "NHWC"),
            )

        return self.affine(scope, (*size, x.shape[-1], self.width), product)

    def limit(self, k: Kernel) -> Kernel:
        """The affine map of the covariances' means over patches."""
        self._require_patches(k.shape1)
        mean = stax.Conv(
            self.width,
            (self.kernel_size,) * 2,
            (self.stride,) * 2,
            self.padding,
            W_std=1.0,
        )[2]
        return self.covariances(k, self.kernel_size**2 * k.shape1[-1], mean)

    def design(self, h: Float[Array, "n h w d"]) -> Float[Array, "n p q"]:
        """The patches, and a one for the bias."""
        padded, padding = self._pad(h)
        size, strides = (self.kernel_size,) * 2, (self.stride,) * 2
        found = patches(padded, size, strides, padding)
        found = found.reshape(h.shape[0], -1, found.shape[-1])
        return self.with_bias(found, fan_in=found.shape[-1])

    def _require_patches(self, shape: tuple[int, ...]) -> None:
        """Refuses an image with no patch, or that one stride leaves."""
        require_fits(self, "stride", shape)
        if self.padding == "VALID":
            require_fits(self, "kernel_size", shape)

    def _pad(self, x: jax.Array) -> tuple[jax.Array, str]:
        """The input and the padding that is left to do; CIRCULAR is done here."""
        if self.padding != "CIRCULAR":
            return x, self.padding
        pads = [self._circular(size) for size in x.shape[1:3]]
        return jnp.pad(x, ((0, 0), *pads, (0, 0)), mode="wrap"), "VALID"

    def _circular(self, size: int) -> tuple[int, int]:
        """Zeros that SAME would add before and after an axis, here wrapped."""
        out = -(-size // self.stride)
        total = max((out - 1) * self.stride + self.kernel_size - size, 0)
        return total // 2, total - total // 2
