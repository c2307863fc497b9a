"""The pre-activation residual network, narrow or wide."""

from zoo.layers import (
    ACTIVATIONS,
    Conv,
    Dense,
    GlobalAvgPool,
    Layer,
    LayerNorm,
    Nonlinear,
    Residual,
    Serial,
)
from zoo.models.base import Architecture
from zoo.names import check_name


class ResNet(Architecture):
    r"""Pre-activation (Wide) ResNet: a stem, `groups` of `depth` blocks, a readout.

        h_0 = A_0 * x,    h <- S(h) + A' * phi(A * phi(h)),    f = A(mean(phi(h))),

    with all A 3x3 convolutions, the last one dense, and the mean taken over positions.
    The block is that of He et al. 2016b and Zagoruyko & Komodakis 2016, with layer
    normalization or none in the place of batch normalization, whose NTK is not a
    function of pairs of points; Lee et al. 2019 likewise normalize nothing. Group g has
    width 2^g channels and halves the image at its first block (g >= 1), where the
    shortcut S is a 1x1 convolution of the same stride; elsewhere S is the identity.
    NTK parameterization: all entries of W and b are N(0, 1) and an affine map of fan-in
    n (entries of a patch) is (sigma_w / sqrt(n)) h W + sigma_b b. All layers are
    trained on L = 1/(2n) sum_i |f(x_i) - y_i|^2.

    Args:
        width: channels m of the first group; the widening factor of the paper's 16 k.
        depth: number of blocks per group, at least 1.
        out: number of outputs k.
        groups: number of groups, at least 1; 3 in the papers.
        activation: a name in `zoo.layers.ACTIVATIONS`.
        sigma_w: scale of the weights. A relu block multiplies the variance by
            1 + sigma_w^4 / 4.
        sigma_b: scale of the biases; 0 means no bias parameters.
        parameterization: "ntk" or "standard".
        stride: of the first block of each group but the first.
        padding: "SAME" or "CIRCULAR": a block keeps the image's size.
        layer_norm: whether the channels are normalized before every activation.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "He et al. 2016; Zagoruyko & Komodakis 2016; Lee et al. 2019"
    inputs = "image"
    smoke = {"depth": 1}
    variants = ({"groups": 2, "padding": "CIRCULAR", "layer_norm": True},)

    width: int
    depth: int = 1
    out: int = 1
    groups: int = 1
    activation: str = "relu"
    sigma_w: float = 2**0.5
    sigma_b: float = 0.0
    parameterization: str = "ntk"
    stride: int = 2
    padding: str = "SAME"
    layer_norm: bool = False

    def __post_init__(self):
        self.require_sizes("width", "depth", "out", "groups", "stride")
        self.require(self.sigma_w > 0, "sigma_w", "> 0")
        self.require(self.sigma_b >= 0, "sigma_b", ">= 0")
        check_name("activation", self.activation, ACTIVATIONS)
        check_name("parameterization", self.parameterization, ("ntk", "standard"))
        check_name("padding", self.padding, ("SAME", "CIRCULAR"))
        super().__post_init__()

    def layers(self) -> Serial:
        """Stem, blocks, activation, mean over positions, Dense."""
        blocks = [
            self.block(self.width * 2**group, fresh=group > 0 and place == 0)
            for group in range(self.groups)
            for place in range(self.depth)
        ]
        last = Dense(self.out, *self.scales)
        return Serial(self.conv(self.width), *blocks, *self.act, GlobalAvgPool(), last)

    def block(self, width: int, fresh: bool) -> Residual:
        """S(h) + A' * phi(A * phi(h)); `fresh` if it changes the shape of h."""
        stride = self.stride if fresh else 1
        branch = Serial(
            *self.act, self.conv(width, stride), *self.act, self.conv(width)
        )
        shortcut = self.conv(width, stride, kernel_size=1) if fresh else None
        return Residual(branch, shortcut=shortcut)

    def conv(self, width: int, stride: int = 1, kernel_size: int = 3) -> Conv:
        """A convolution with the network's scales."""
        patch = (kernel_size, stride, self.padding)
        return Conv(width, *self.scales, True, False, *patch)

    @property
    def scales(self) -> tuple[float, float, str]:
        """What all affine maps share."""
        return (self.sigma_w, self.sigma_b, self.parameterization)

    @property
    def act(self) -> tuple[Layer, ...]:
        """The activation, after the normalization if there is one."""
        phi = (Nonlinear(self.activation),)
        return (LayerNorm(), *phi) if self.layer_norm else phi
