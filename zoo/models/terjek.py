"""The smooth network of Terjek & Gonzalez-Sanchez."""

from zoo.layers import ACTIVATIONS, Dense, Nonlinear, Serial
from zoo.models.base import Architecture
from zoo.names import check_name

# Smooth with a bounded derivative.
SMOOTH = tuple(n for n, phi in ACTIVATIONS.items() if phi.smooth and n != "square")


class TerjekMLP(Architecture):
    r"""Fully connected network of a smooth, Lipschitz activation, NTK parameterization.

        h_0 = x,   h_l = phi(sigma_w W_l h_{l-1} / sqrt(n_l) + sigma_b b_l),
        f = sigma_w W_{depth+1} h_depth / sqrt(m) + sigma_b b_{depth+1}

    for l = 1 .. depth, with fan-in n_l and all entries of W and b drawn from N(0, 1).
    All layers are trained. The paper composes the network with any smooth loss that
    satisfies a Polyak-Lojasiewicz inequality; here L = 1/(2n) sum_i |f(x_i) - y_i|^2.
    A smooth phi makes the network's derivative Lipschitz with a constant O(m^-1/2),
    from which linear convergence, laziness and a learning rate that transfers between
    widths follow.

    Source: Terjek & Gonzalez-Sanchez 2022, "A framework for overparameterized
    learning", of which the abstract and the introduction were read: the architecture
    is reconstructed, and not checked against the paper.

    Args:
        width: units m of each hidden layer.
        depth: number of hidden layers, at least 1.
        out: number of outputs k.
        activation: a smooth and Lipschitz one of `zoo.layers.ACTIVATIONS`.
        sigma_w: scale of the weights.
        sigma_b: scale of the biases; 0 means no bias parameters.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Terjek & Gonzalez-Sanchez 2022"
    smoke = {"activation": "erf"}

    width: int
    depth: int = 2
    out: int = 1
    activation: str = "tanh"
    sigma_w: float = 1.5
    sigma_b: float = 0.1

    def __post_init__(self):
        self.require_sizes("width", "depth", "out")
        check_name("smooth activation", self.activation, SMOOTH)
        self.require(self.sigma_w > 0, "sigma_w", "> 0")
        self.require(self.sigma_b >= 0, "sigma_b", ">= 0")
        super().__post_init__()

    def layers(self) -> Serial:
        """Dense, activation, ..., Dense."""
        hidden = (
            Dense(self.width, self.sigma_w, self.sigma_b),
            Nonlinear(self.activation),
        )
        return Serial(*hidden * self.depth, Dense(self.out, self.sigma_w, self.sigma_b))
