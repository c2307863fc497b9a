"""Convolutional networks, vectorized or global-average-pooled."""

from zoo.layers import (
    ACTIVATIONS,
    PADDINGS,
    AvgPool,
    Conv,
    Dense,
    Flatten,
    GlobalAvgPool,
    Nonlinear,
    Serial,
)
from zoo.models.base import Architecture
from zoo.names import check_name

READOUTS = {"flatten": Flatten, "gap": GlobalAvgPool}


class CNN(Architecture):
    r"""`depth` convolutions of `width` channels, then one affine readout.

        h_0 = x,   h_l = phi(A_l * h_{l-1}) for l = 1 .. depth,   f = A(readout(h)),

    the pair of networks of Arora et al. 2019 (CNTK): "flatten" reads every position
    with weights of its own, "gap" the mean over positions. NTK parameterization: all
    entries of W and b are N(0, 1), an affine map of fan-in n is (sigma_w / sqrt(n)) h W
    + sigma_b b, and n counts a patch's entries. Trained on L = 1/(2n) sum_i
    |f(x_i) - y_i|^2.

    Args:
        width: channels m of each convolution.
        depth: number of convolutions, at least 1.
        out: number of outputs k.
        activation: a name in `zoo.layers.ACTIVATIONS`.
        sigma_w: scale of the weights.
        sigma_b: scale of the biases; 0 means no bias parameters.
        parameterization: "ntk" or "standard".
        readout: "flatten" or "gap".
        ends_trained: False freezes the first and the last layer, as Arora et al. do for
            "gap".
        kernel_size: height and width of a patch.
        stride: of every convolution.
        padding: "SAME", "VALID" or "CIRCULAR".
        pool: height and width of the windows that every activation is averaged over
            (neither overlapping nor padded); 1 means no pooling.

    Raises:
        ValueError: if an argument is outside its range, with its name and value; when
            applied, if an image is smaller than a patch, a stride or a window.
    """

    paper = "Arora et al. 2019"
    inputs = "image"
    smoke = {"depth": 2}
    variants = (
        {"readout": "flatten"},
        {"ends_trained": False},
        {"kernel_size": 2, "stride": 2, "padding": "VALID"},
        {"parameterization": "standard", "padding": "CIRCULAR", "pool": 2},
    )

    width: int
    depth: int = 2
    out: int = 1
    activation: str = "relu"
    sigma_w: float = 2**0.5
    sigma_b: float = 0.0
    parameterization: str = "ntk"
    readout: str = "gap"
    ends_trained: bool = True
    kernel_size: int = 3
    stride: int = 1
    padding: str = "SAME"
    pool: int = 1

    def __post_init__(self):
        self.require_sizes("width", "depth", "out", "kernel_size", "stride", "pool")
        self.require(self.sigma_w > 0, "sigma_w", "> 0")
        self.require(self.sigma_b >= 0, "sigma_b", ">= 0")
        check_name("activation", self.activation, ACTIVATIONS)
        check_name("parameterization", self.parameterization, ("ntk", "standard"))
        check_name("readout", self.readout, READOUTS)
        check_name("padding", self.padding, PADDINGS)
        super().__post_init__()

    def layers(self) -> Serial:
        """Conv, activation, pooling, ..., readout, Dense."""
        scales = (self.sigma_w, self.sigma_b, self.parameterization)
        patch = (self.kernel_size, self.stride, self.padding)

        def conv(trained: bool) -> Conv:
            return Conv(self.width, *scales, trained, False, *patch)

        pool = (AvgPool(self.pool),) if self.pool > 1 else ()
        phi = (Nonlinear(self.activation), *pool)
        first = (conv(self.ends_trained), *phi)
        hidden = (conv(True), *phi) * (self.depth - 1)
        last = Dense(self.out, *scales, trained=self.ends_trained)
        return Serial(*first, *hidden, READOUTS[self.readout](), last)
