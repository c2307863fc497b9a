"""The relu implicit network of linear width, of Gao & Gao."""

from zoo.layers import Dense, Equilibrium, Nonlinear, Serial
from zoo.layers.constrained import NOT_GAUSSIAN, PositiveDense
from zoo.models.base import Limit
from zoo.models.deq_base import Condition, EquilibriumNetwork


class GaoLinearWidthDEQ(EquilibriumNetwork):
    r"""A relu equilibrium whose weights are non-negative at initialization.

        z = relu((gamma / m) W z + relu(U x / sqrt(d))),    f = a z / sqrt(m),

    with W_ij = |N(0, 1)|, U_ij and a_ij ~ N(0, 1), all trained on the square loss. A
    fixed scalar keeps the equilibrium well posed along training: |gamma W / m| is about
    gamma (2/pi)^1/2 < 1. At initialization the relu outside is idle, and z = (I -
    gamma W / m)^-1 relu(U x) exactly. The paper shows linear convergence from a width
    linear in the number of points.

    Source: Gao & Gao 2022, "Gradient Descent Optimizes Infinite-Depth ReLU Implicit
    Networks with Linear Widths" (abstract; the initialization as Ling et al. 2023
    describe it, its scale chosen here).

    Args:
        width: units m.
        out: number of outputs k.
        gamma: scale of W, below (pi/2)^1/2.
        solver, tolerance, max_steps, warm_start: see `EquilibriumNetwork`.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Gao & Gao 2022"

    out: int = 1
    gamma: float = 0.5

    def __post_init__(self):
        self.require_sizes("width", "out")
        self.require(0 < self.gamma < 1.25, "gamma", "> 0 and < 1.25")
        super().__post_init__()

    def limit(self) -> Limit:
        """By sampling."""
        return Limit("monte carlo", f"PositiveDense: {NOT_GAUSSIAN}")

    @property
    def condition(self) -> Condition:
        """The norm of gamma W / m."""
        return Condition("norm")

    def layers(self) -> Serial:
        """Dense, relu, the root, relu, Dense."""
        phi = Nonlinear("relu")
        W = PositiveDense(self.width, self.gamma, 0.0, "mean_field")
        root = Equilibrium(Serial(phi, W), Nonlinear("identity"), self.method)
        return Serial(Dense(self.width), phi, root, phi, Dense(self.out))
