"""The linear equilibrium of Kawaguchi, whose weights are normalized."""

from zoo.layers import Dense, Equilibrium, Nonlinear, Serial
from zoo.layers.constrained import NOT_GAUSSIAN, SoftmaxDense
from zoo.models.base import Exponents, Limit
from zoo.models.deq_base import Condition, EquilibriumNetwork


class KawaguchiDEQ(EquilibriumNetwork):
    r"""A linear equilibrium of weights through a softmax.

        z = gamma S z + phi(x),    S_ij = exp(A_ij) / sum_k exp(A_kj),    f = B z,

    which is f = B (I - gamma S)^-1 phi(x): nonlinear in A alone. Columns of S sum to
    one, so that the equilibrium exists at every A for gamma < 1. A and B are trained,
    on L = 1/(2n) sum_i |f(x_i) - y_i|^2; phi is a fixed feature map, here relu(U x /
    sqrt(d)), U_ij ~ N(0, 1), frozen. A_ij ~ N(0, 1), B = N(0, 1) / sqrt(m): the paper
    allows any initialization.

    It proves a linear rate at any width m, for gradient flow: W = B (I - gamma S)^-1
    moves by a preconditioner D with lambda_min(D) >= 1 / (m (1 + gamma)^2), so that
    L(t) - L* <= (L(0) - L*) exp(-2 kappa lambda t), lambda the smallest lambda_min(D)
    so far and kappa = 2 sigma_min(Phi)^2 for the sum of squares. That is of a trained
    B; here V = sqrt(m) B is, by which B moves m times more slowly, and its share in D,
    and the bound, have another 1 / m.

    Source: Kawaguchi 2021, "On the Theory of Implicit Deep Learning: Global Convergence
    with Implicit Layers" (abstract; the formulas derived and verified numerically).

    Args:
        width: units m.
        out: number of outputs k.
        gamma: between 0 and 1.
        solver, tolerance, max_steps, warm_start: see `EquilibriumNetwork`.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Kawaguchi 2021"
    trains = "all but the features"

    out: int = 1
    gamma: float = 0.5

    def __post_init__(self):
        self.require_sizes("width", "out")
        self.require(0 < self.gamma < 1, "gamma", "> 0 and < 1")
        super().__post_init__()

    def limit(self) -> Limit:
        """By sampling."""
        return Limit("monte carlo", f"SoftmaxDense: {NOT_GAUSSIAN}")

    @property
    def exponents(self) -> Exponents:
        """The features, the one layer of plain weights, do not move."""
        return Exponents(hidden_change=None)

    @property
    def condition(self) -> Condition:
        """None: columns sum to gamma at any weights."""
        return Condition("")

    def layers(self) -> Serial:
        """Dense (U), relu, the root, Dense (B)."""
        root = Equilibrium(
            SoftmaxDense(self.width, self.gamma), Nonlinear("identity"), self.method
        )
        U = Dense(self.width, trained=False)
        return Serial(U, Nonlinear("relu"), root, Dense(self.out))
