"""The relu implicit network of Gao, Liu, Liu, Rajan & Gao."""

from zoo.layers import Concat, Dense, Equilibrium, Nonlinear, Serial
from zoo.models.base import Limit
from zoo.models.deq_base import Condition, EquilibriumNetwork

WHY = (
    "the injection is an activation, whose coordinates are not Gaussian: the kernel of "
    "W relu(h) + relu(U x) follows a distribution of units, not a covariance"
)


class GaoDEQ(EquilibriumNetwork):
    r"""A relu equilibrium beside its own injection.

        u = relu(U x / sqrt(d)),    z = relu((gamma / sqrt(m)) W z + u),
        f = (a z + b u) / sqrt(m),

    with all entries N(0, 1) and trained; the factor 1/sqrt(m) of the injection in the
    paper stands here before f, where relu, being homogeneous, puts it. The paper trains
    on the square loss by gradient flow and descent; the smallest eigenvalue that drives
    its proof is that of the features u. Well posed if |gamma W / sqrt(m)| < 1: gamma <
    1/2 at initialization.

    The NTK has a deterministic limit, but no map of covariances gives it; sampling
    does.

    Source: Gao, Liu, Liu, Rajan & Gao 2022, "A global convergence theory for deep ReLU
    implicit networks via over-parameterization"; the readout as Ling et al. 2023
    describe it, the scales from memory, not checked against the paper.

    Args:
        width: units m.
        out: number of outputs k.
        gamma: scale of W, below 1/2.
        solver, tolerance, max_steps, warm_start: see `EquilibriumNetwork`.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Gao et al. 2022"

    out: int = 1
    gamma: float = 0.4

    def __post_init__(self):
        self.require_sizes("width", "out")
        self.require(0 < self.gamma < 0.5, "gamma", "> 0 and < 1/2")
        super().__post_init__()

    def limit(self) -> Limit:
        """By sampling."""
        return Limit("monte carlo", WHY)

    @property
    def condition(self) -> Condition:
        """The norm of gamma W / sqrt(m)."""
        return Condition("norm")

    def layers(self) -> Serial:
        """Dense, relu, the root beside its injection, Dense."""
        phi, same = Nonlinear("relu"), Nonlinear("identity")
        cell = Serial(phi, Dense(self.width, self.gamma))
        root = Serial(Equilibrium(cell, same, self.method), phi)
        # Concat has 2 m channels, over which a readout of scale 2^1/2 averages.
        return Serial(
            Dense(self.width), phi, Concat(root, same), Dense(self.out, 2**0.5)
        )
