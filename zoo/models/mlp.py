"""The multilayer perceptron."""

from zoo.layers import ACTIVATIONS, Dense, Nonlinear, Serial
from zoo.layers.linear import PARAMETERIZATIONS
from zoo.models.base import Architecture
from zoo.names import check_name


class MLP(Architecture):
    r"""Fully connected network with `depth` hidden layers of `width` units.

        h_0 = x,    h_l = phi(A_l(h_{l-1})) for l = 1 .. depth,    f = A_{depth+1}(h),

    with A_l affine. In the NTK parameterization (Jacot et al. 2018) all entries of W
    and b are N(0, 1) and A(h) = (sigma_w / sqrt(n)) h W + sigma_b b for fan-in n. In
    the standard one W_ij ~ N(0, sigma_w^2 / n), b_i ~ N(0, sigma_b^2) and A(h) =
    h W + b. All layers are trained.

    Args:
        width: units m of each hidden layer.
        depth: number of hidden layers, at least 1.
        out: number of outputs k.
        activation: "relu", "erf", "gelu" (the exact one), "tanh" or "identity".
        sigma_w: scale of the weights. 2 ** 0.5 keeps the variance of relu layers.
        sigma_b: scale of the biases; 0 means no bias parameters.
        parameterization: "ntk" or "standard".

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    width: int
    depth: int = 1
    out: int = 1
    activation: str = "relu"
    sigma_w: float = 2**0.5
    sigma_b: float = 0.0
    parameterization: str = "ntk"

    def __post_init__(self):
        for name in ("width", "depth", "out"):
            if getattr(self, name) < 1:
                raise ValueError(f"MLP needs {name} >= 1, got {getattr(self, name)}.")
        if not self.sigma_w > 0 or not self.sigma_b >= 0:
            raise ValueError(
                "MLP needs sigma_w > 0 and sigma_b >= 0, got "
                f"sigma_w={self.sigma_w}, sigma_b={self.sigma_b}."
            )
        check_name("activation", self.activation, ACTIVATIONS)
        check_name("parameterization", self.parameterization, PARAMETERIZATIONS)
        super().__post_init__()

    def layers(self) -> Serial:
        """Dense, activation, ..., Dense."""
        scales = (self.sigma_w, self.sigma_b, self.parameterization)
        hidden = (Dense(self.width, *scales), Nonlinear(self.activation))
        return Serial(*hidden * self.depth, Dense(self.out, *scales))

    def limit_key(self) -> Architecture:
        """In the NTK parameterization neither width nor outputs enter the limit."""
        if self.parameterization == "ntk":
            return self.clone(width=1, out=1)
        return self
