"""Deep quadratic networks."""

from zoo.layers import Dense, Nonlinear, Serial
from zoo.models.base import Architecture


class QuadraticNet(Architecture):
    r"""A network whose activation is the square.

        h_0 = x,   h_l = (W_l h_{l-1} / sqrt(n_l))^2 / sqrt(3) for l = 1 .. depth,
        f = W_{depth+1} h_depth / sqrt(m),

    with fan-in n_l, all entries of W drawn from N(0, 1), and all layers trained on L =
    1/(2n) sum_i |f(x_i) - y_i|^2. Of one hidden layer it is f = sum_k a_k (w_k . x)^2.
    The factor 1/sqrt(3) is of this repository: E (z^2 / sqrt(3))^2 = 1 for z ~ N(0, 1),
    so that inputs of norm sqrt(d) keep their mean square in every layer. A variance
    q goes to q^2, so that other norms vanish or explode with depth.

    Source: Kazemipour, Larsen & Druckmann 2019, "Avoiding Spurious Local Minima in Deep
    Quadratic Networks" (no bad local minima once m >= d), from its abstract; scales and
    initialization are not the paper's.

    Args:
        width: units m of each hidden layer.
        depth: number of hidden layers, at least 1.
        out: number of outputs k.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Kazemipour, Larsen & Druckmann 2019"

    width: int
    depth: int = 1
    out: int = 1

    def __post_init__(self):
        self.require_sizes("width", "depth", "out")
        super().__post_init__()

    def layers(self) -> Serial:
        """Dense, square, ..., Dense."""
        hidden = (Dense(self.width), Nonlinear("square", scale=3**-0.5))
        return Serial(*hidden * self.depth, Dense(self.out))
