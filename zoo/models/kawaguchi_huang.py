"""The fully connected network of Kawaguchi & Huang, with analytic activations."""

from zoo.layers import Dense, Nonlinear, Serial
from zoo.models.base import Architecture, Exponents
from zoo.names import check_name


class KawaguchiHuangMLP(Architecture):
    r"""`depth` hidden layers of an analytic, increasing activation; a linear output.

        h_0 = x,   h_l = m_l^-1/2 sigma(W_l h_{l-1} + b_l) for l = 1 .. depth,
        f = W_{depth+1} h_depth,

    with all entries of W and b drawn from N(0, 1), times sigma_w and sigma_b here. The
    factor after one activation is the NTK scaling 1/sqrt(fan-in) of the next layer, and
    it is written there; inputs have norm sqrt(d) in this repository and are divided by
    sqrt(d) likewise. sigma is softplus_a(z) = ln(1 + exp(a z)) / a, the relu as a
    grows, or the sigmoid of a z.

    Proved for the last layer trained alone (train="last", a least-squares problem,
    solvable once m >= n); the experiments train all layers (train="all"). The loss is
    convex, here L = 1/(2n) sum_i |f(x_i) - y_i|^2.

    Source: Kawaguchi & Huang 2019, "Gradient Descent Finds Global Minima for
    Generalizable Deep Neural Networks of Practical Sizes". Activations and the training
    of the last layer as reported by others (Song, Ramezani-Kebrya, Pethick,
    Eftekhari & Cevher 2021); the recursion and its scales are reconstructed, and not
    checked against the paper.

    Args:
        width: units m of each hidden layer.
        depth: number of hidden layers H, at least 1.
        out: number of outputs k.
        activation: "softplus" or "sigmoid".
        sharpness: the factor a.
        sigma_w: scale of the weights.
        sigma_b: scale of the biases; 0 means no bias parameters.
        train: "last" or "all".

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Kawaguchi & Huang 2019"
    trains = "last layer; all with train='all'"
    smoke = {"depth": 2}
    variants = ({"activation": "sigmoid"}, {"sharpness": 2.0, "train": "all"})

    width: int
    depth: int = 1
    out: int = 1
    activation: str = "softplus"
    sharpness: float = 1.0
    sigma_w: float = 1.0
    sigma_b: float = 1.0
    train: str = "last"

    def __post_init__(self):
        self.require_sizes("width", "depth", "out")
        check_name("activation", self.activation, ("softplus", "sigmoid"))
        self.require(self.sharpness > 0, "sharpness", "> 0")
        self.require(self.sigma_w > 0, "sigma_w", "> 0")
        self.require(self.sigma_b >= 0, "sigma_b", ">= 0")
        check_name("train", self.train, ("last", "all"))
        super().__post_init__()

    @property
    def exponents(self) -> Exponents:
        """Those of the NTK parameterization; frozen features do not move."""
        return Exponents(hidden_change=None) if self.train == "last" else Exponents()

    def layers(self) -> Serial:
        """Dense, activation, ..., Dense."""
        scale = 1.0 / self.sharpness if self.activation == "softplus" else 1.0
        hidden = (
            Dense(self.width, self.sigma_w, self.sigma_b, trained=self.train == "all"),
            Nonlinear(self.activation, self.sharpness, scale),
        )
        return Serial(*hidden * self.depth, Dense(self.out, self.sigma_w))
