"""The convolutional deep equilibrium network."""

from zoo.layers import (
    ACTIVATIONS,
    PADDINGS,
    Conv,
    Dense,
    Equilibrium,
    Flatten,
    GlobalAvgPool,
    Nonlinear,
    Serial,
)
from zoo.models.deq_base import EquilibriumNetwork
from zoo.names import check_name

READOUTS = {"gap": GlobalAvgPool(), "flatten": Flatten()}


class ConvDEQ(EquilibriumNetwork):
    r"""An equilibrium of images: one convolution under the loop.

        h = W * phi(h) + U * x + sigma_b b,    f = V r(phi(h)),

    where * is a convolution in the NTK parameterization (entries N(0, 1), scale sigma
    over the root of the entries of a patch), r the mean over pixels or all of them in
    one vector, and V = N(0, 1) sigma_v / sqrt(fan-in). All layers are trained on L =
    1/(2n) sum_i |f(x_i) - y_i|^2. Well posed at infinite width if, at every input and
    pixel, the mean over a patch of sigma_w^2 E phi'(h)^2 is below 1 (derived). The pool
    is followed by random weights: read without them, a relu network has another NTK.

    Source: Bai, Kolter & Koltun 2019 and 2020, in their simplest form; kernels after
    Feng & Kolter 2020, derived.

    Args:
        width: channels m.
        out: number of outputs k.
        activation: a name in `zoo.layers.ACTIVATIONS`.
        sigma_w: scale of the cell's weights.
        sigma_u: scale of the injection's weights.
        sigma_b: scale of the injection's biases; 0 means no bias parameters.
        sigma_v: scale of the readout.
        kernel_size: height and width of a patch.
        padding: "SAME" (zeros) or "CIRCULAR".
        readout: "gap" or "flatten".
        solver, tolerance, max_steps, warm_start: see `EquilibriumNetwork`.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Bai, Kolter & Koltun 2019"
    inputs = "image"
    smoke = {"sigma_w": 0.5}
    variants = ({"readout": "flatten", "padding": "CIRCULAR", "activation": "erf"},)

    out: int = 1
    activation: str = "relu"
    sigma_w: float = 0.8
    sigma_u: float = 1.0
    sigma_b: float = 0.0
    sigma_v: float = 1.0
    kernel_size: int = 3
    padding: str = "SAME"
    readout: str = "gap"

    def __post_init__(self):
        self.require_sizes("width", "out", "kernel_size")
        for name in ("sigma_w", "sigma_u", "sigma_v"):
            self.require(getattr(self, name) > 0, name, "> 0")
        self.require(self.sigma_b >= 0, "sigma_b", ">= 0")
        check_name("activation", self.activation, ACTIVATIONS)
        check_name("readout", self.readout, READOUTS)
        check_name("padding", self.padding, PADDINGS)
        self.require(self.padding != "VALID", "padding", "SAME or CIRCULAR")
        super().__post_init__()

    def layers(self) -> Serial:
        """Equilibrium, activation, readout, Dense."""
        phi = Nonlinear(self.activation)
        W = self._conv(self.sigma_w, 0.0)
        U = self._conv(self.sigma_u, self.sigma_b)
        root = Equilibrium(Serial(phi, W), U, self.method)
        return Serial(root, phi, READOUTS[self.readout], Dense(self.out, self.sigma_v))

    def _conv(self, sigma_w: float, sigma_b: float) -> Conv:
        size, padding = self.kernel_size, self.padding
        return Conv(self.width, sigma_w, sigma_b, kernel_size=size, padding=padding)
