"""The deep equilibrium network of Ling et al."""

from zoo.layers import Dense, Equilibrium, Nonlinear, Serial
from zoo.models.deq_base import Condition, EquilibriumNetwork


class LingDEQ(EquilibriumNetwork):
    r"""A relu equilibrium in the standard parameterization, all weights trained.

        z = relu(W z + U x),    f = a z,
        W_ij ~ N(0, 2 sigma_w^2 / m),    U_ij ~ N(0, 2 / d),    a_ij ~ N(0, 1 / m),

    without biases, on the sum L = 1/2 sum_i |f(x_i) - y_i|^2; learning rate O(1/m), for
    the NTK grows with the width. Inputs of norm sqrt(d), no two of them parallel.

    Well posed if |W| < 1 in operator norm, which holds with high probability at
    initialization for sigma_w^2 < 1/8. The paper proves that from a width of n^3 on |W|
    stays below 1 along gradient descent, and the loss falls as (1 - eta lambda_0 / 2)^t
    with lambda_0 the smallest eigenvalue of the Gram matrix of z at initialization,
    which stays above lambda_0 / 2.

    Source: Ling, Xie, Wang, Zhang & Lin 2023, "Global Convergence of Over-parameterized
    Deep Equilibrium Models" (full text).

    Args:
        width: units m.
        out: number of outputs k; the paper has one.
        sigma_w: scale of W, 0 < sigma_w^2 < 1/8; the paper's experiments have 0.08.
        solver, tolerance, max_steps, warm_start: see `EquilibriumNetwork`.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Ling et al. 2023"
    parameterization = "standard"

    out: int = 1
    sigma_w: float = 0.08**0.5

    def __post_init__(self):
        self.require_sizes("width", "out")
        self.require(0 < self.sigma_w < 8**-0.5, "sigma_w", "> 0 and < 8^-1/2 = 0.354")
        super().__post_init__()

    @property
    def condition(self) -> Condition:
        """The norm of W."""
        return Condition("norm")

    def layers(self) -> Serial:
        """Equilibrium, relu, Dense."""
        phi = Nonlinear("relu")
        W = Dense(self.width, 2**0.5 * self.sigma_w, 0.0, "standard")
        U = Dense(self.width, 2**0.5, 0.0, "standard")
        root = Equilibrium(Serial(phi, W), U, self.method)
        return Serial(root, phi, Dense(self.out, 1.0, 0.0, "standard"))
