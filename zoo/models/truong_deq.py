"""The deep equilibrium network of Truong, of general activations."""

from zoo.layers import Dense, Equilibrium, Nonlinear, Serial
from zoo.models.deq_base import Condition, EquilibriumNetwork
from zoo.names import check_name

# With bounded first and second derivatives: the bound of the first.
LIPSCHITZ = {"tanh": 1.0, "sin": 1.0, "sigmoid": 0.25, "erf": 1.128379167095513}


class TruongDEQ(EquilibriumNetwork):
    r"""`LingDEQ` with an activation of bounded first and second derivatives.

        z = phi(W z + U x),    f = a z,
        W_ij ~ N(0, 2 sigma_w^2 / m),    U_ij ~ N(0, 2 / d),    a_ij ~ N(0, 1 / m),

    all trained, on L = 1/2 sum_i |f(x_i) - y_i|^2, learning rate O(1/m). Well posed if
    |W| Lip(phi) < 1, with high probability at initialization for sigma_w^2 <
    1 / (8 Lip(phi)^2). The paper shows linear convergence as Ling et al. do, from the
    smallest eigenvalue of the population Gram matrix E phi(h) phi(h').

    Source: Truong 2023, "Global Convergence Rate of Deep Equilibrium Models with
    General Activations", of which the abstract and public reviews were read: scales
    are reconstructed from them.

    Args:
        width: units m.
        out: number of outputs k.
        activation: "tanh", "sin", "sigmoid" or "erf".
        sigma_w: scale of W.
        solver, tolerance, max_steps, warm_start: see `EquilibriumNetwork`.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Truong 2023"
    parameterization = "standard"

    out: int = 1
    activation: str = "sin"
    sigma_w: float = 0.25

    def __post_init__(self):
        self.require_sizes("width", "out")
        check_name("activation", self.activation, LIPSCHITZ)
        most = 8**-0.5 / LIPSCHITZ[self.activation]
        allowed = f"> 0 and < 8^-1/2 / Lip({self.activation}) = {most:.3g}"
        self.require(0 < self.sigma_w < most, "sigma_w", allowed)
        super().__post_init__()

    @property
    def condition(self) -> Condition:
        """The norm of W."""
        return Condition("norm", 1 / LIPSCHITZ[self.activation])

    def layers(self) -> Serial:
        """Equilibrium, activation, Dense."""
        phi = Nonlinear(self.activation)
        W = Dense(self.width, 2**0.5 * self.sigma_w, 0.0, "standard")
        U = Dense(self.width, 2**0.5, 0.0, "standard")
        root = Equilibrium(Serial(phi, W), U, self.method)
        return Serial(root, phi, Dense(self.out, 1.0, 0.0, "standard"))
