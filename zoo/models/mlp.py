"""The multilayer perceptron."""

from zoo.layers import ACTIVATIONS, Dense, Nonlinear, Serial
from zoo.models.base import RATES, Architecture
from zoo.names import check_name


class MLP(Architecture):
    r"""Fully connected network with `depth` hidden layers of `width` units.

        h_0 = x,    h_l = phi(A_l(h_{l-1})) for l = 1 .. depth,    f = A_{depth+1}(h),

    with A_l affine; all layers are trained on L = 1/(2n) sum_i |f(x_i) - y_i|^2. For
    fan-in n:

    * "ntk" (Jacot et al. 2018): entries of W and b are N(0, 1), A(h) =
      (sigma_w / sqrt(n)) h W + sigma_b b; learning rate O(1) in the width.
    * "standard": W_ij ~ N(0, sigma_w^2 / n), b_i ~ N(0, sigma_b^2), A(h) = h W + b;
      learning rate O(1/width).
    * "mup" (Yang & Hu 2021): "ntk" but for the readout, (sigma_w / n) h W + sigma_b b;
      learning rate O(width). Features move at any width.
    * "mean_field" (Mei, Montanari & Nguyen 2018; Chizat & Bach 2018): f is a mean over
      units, (sigma_w / n) h W. Of one hidden layer, where it is muP: with more, layers
      scaled by 1/n have vanishing pre-activations at a centred initialization.

    Args:
        width: units m of each hidden layer.
        depth: number of hidden layers, at least 1.
        out: number of outputs k.
        activation: a name in `zoo.layers.ACTIVATIONS`.
        sigma_w: scale of the weights. 2 ** 0.5 keeps the variance of relu layers.
        sigma_b: scale of the biases; 0 means no bias parameters.
        parameterization: "ntk", "standard", "mup" or "mean_field".

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Jacot et al. 2018; Lee et al. 2019; Yang & Hu 2021"
    variants = tuple(
        {"parameterization": name, "depth": depth}
        for name, depth in (("standard", 2), ("mup", 2), ("mean_field", 1))
    )

    width: int
    depth: int = 2
    out: int = 1
    activation: str = "relu"
    sigma_w: float = 2**0.5
    sigma_b: float = 0.0
    parameterization: str = "ntk"

    def __post_init__(self):
        self.require_sizes("width", "depth", "out")
        self.require(self.sigma_w > 0, "sigma_w", "> 0")
        self.require(self.sigma_b >= 0, "sigma_b", ">= 0")
        check_name("activation", self.activation, ACTIVATIONS)
        check_name("parameterization", self.parameterization, RATES)
        shallow = self.parameterization != "mean_field" or self.depth == 1
        self.require(shallow, "depth", "1 in the mean-field parameterization")
        super().__post_init__()

    def layers(self) -> Serial:
        """Dense, activation, ..., Dense."""
        features = self.parameterization in ("mup", "mean_field")
        body = "ntk" if features else self.parameterization
        readout = "mean_field" if features else body
        hidden = (
            Dense(self.width, self.sigma_w, self.sigma_b, body),
            Nonlinear(self.activation),
        )
        last = Dense(self.out, self.sigma_w, self.sigma_b, readout)
        return Serial(*hidden * self.depth, last)
