"""The deep equilibrium network as a Gaussian process, of Gao, Huo, Liu & Gao."""

from zoo.layers import ACTIVATIONS, Dense, Equilibrium, Nonlinear, Serial
from zoo.models.base import Exponents
from zoo.models.deq_base import EquilibriumNetwork
from zoo.names import check_name


class GaoGaussianDEQ(EquilibriumNetwork):
    r"""A random equilibrium, of which the readout alone is trained.

        h = phi(W h + U x),    f = V h,
        W_ij ~ N(0, sigma_w^2 / m),    U_ij ~ N(0, sigma_u^2 / d),

    and V_ij ~ N(0, sigma_v^2 / m), here as (sigma_v / sqrt(m)) v. The paper trains
    nothing and infers with the Gaussian process that f becomes as m grows; training the
    readout on L = 1/(2n) sum_i |f(x_i) - y_i|^2 does so by gradient descent: W and U
    are frozen, and the NTK is the NNGP kernel. The limits of width and depth commute
    (Theorem 4.4), and the kernel is strictly positive definite for distinct inputs
    (Theorem 4.5; not for relu without biases, of parallel inputs). The paper's
    experiments have sigma_w = 0.6 with tanh, outside of the condition 2 sigma_w < 1.

    Source: Gao, Huo, Liu & Gao 2023, "Wide Neural Networks as Gaussian Processes:
    Lessons from Deep Equilibrium Models" (abstract and code).

    Args:
        width: units m.
        out: number of outputs k.
        activation: a name in `zoo.layers.ACTIVATIONS`.
        sigma_w: scale of W.
        sigma_u: scale of U.
        sigma_v: scale of V.
        solver, tolerance, max_steps, warm_start: see `EquilibriumNetwork`.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Gao, Huo, Liu & Gao 2023"
    trains = "last layer (the paper: none)"

    out: int = 1
    activation: str = "tanh"
    sigma_w: float = 0.6
    sigma_u: float = 1.0
    sigma_v: float = 1.0

    def __post_init__(self):
        self.require_sizes("width", "out")
        for name in ("sigma_w", "sigma_u", "sigma_v"):
            self.require(getattr(self, name) > 0, name, "> 0")
        check_name("activation", self.activation, ACTIVATIONS)
        super().__post_init__()

    @property
    def exponents(self) -> Exponents:
        """Hidden units do not move."""
        return Exponents(hidden_change=None)

    def layers(self) -> Serial:
        """Equilibrium, activation, Dense."""
        phi = Nonlinear(self.activation)
        W = Dense(self.width, self.sigma_w, 0.0, "standard", trained=False)
        U = Dense(self.width, self.sigma_u, 0.0, "standard", trained=False)
        root = Equilibrium(Serial(phi, W), U, self.method)
        return Serial(root, phi, Dense(self.out, self.sigma_v))
