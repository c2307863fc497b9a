"""The tau-ResNet of Allen-Zhu, Li & Song, between two frozen layers."""

from zoo.layers import Dense, Nonlinear, Residual, Serial
from zoo.models.base import Architecture, Exponents, Limit

WHY = (
    "relu(h + tau W h) adds to an activation, whose coordinates are not Gaussian: the "
    "kernel follows a distribution of units, not a covariance"
)


class AllenZhuResNet(Architecture):
    r"""`depth` trained square matrices, all but the last one in residual layers.

        h_0 = relu(A x),    h_l = relu(h_{l-1} + tau W_l h_{l-1}) for l = 1 .. L-1,
        h_L = relu(W_L h_{L-1}),    f = B h_L,    L = depth,

    without biases. The variances are over the fan-out: A_ij ~ N(0, 2/m), (W_l)_ij ~
    N(0, 2/m), B_ij ~ N(0, 1/k). A and B are frozen; W_1 .. W_L are trained on the sum
    L = 1/2 sum_i |f(x_i) - y_i|^2, at a learning rate O(1/m), for the NTK grows with
    the width. The paper needs tau = 1 / Omega(L log m); |h_l| stays O(1) for tau up to
    about 1 / sqrt(L) (Zhang et al. 2019). Inputs as for `AllenZhuMLP`.

    The NTK has a deterministic limit, but a unit of h + tau W h is a non-Gaussian h
    plus an independent Gaussian: no map of covariances gives it, sampling does.

    Source: Allen-Zhu, Li & Song 2019, "A Convergence Theory for Deep Learning via
    Over-Parameterization", as restated by Zhang et al. 2019, who write 2/k for the
    variance of B.

    Args:
        width: units m of every layer.
        depth: number L of trained matrices, at least 1.
        out: number of outputs k.
        tau: factor of a branch; None is 1 / depth.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Allen-Zhu, Li & Song 2019"
    trains = "hidden layers"
    data = "unit_digits"
    variants = ({"depth": 1},)
    parameterization = "standard"

    width: int
    depth: int = 3
    out: int = 1
    tau: float | None = None

    def __post_init__(self):
        self.require_sizes("width", "depth", "out")
        self.require(self.tau is None or self.tau > 0, "tau", "> 0 or None")
        super().__post_init__()

    def limit(self) -> Limit:
        """Exact with one trained matrix, which leaves no residual layer."""
        return Limit("monte carlo", WHY) if self.depth > 1 else super().limit()

    @property
    def exponents(self) -> Exponents:
        """A hidden layer has the norm 1, so that its entries are m^-1/2."""
        return Exponents(hidden=-0.5, hidden_change=-1.0)

    def layers(self) -> Serial:
        """Dense (A), relu, residual layers, Dense (W_L), relu, Dense (B)."""
        phi = Nonlinear("relu")
        A, W = (self._dense(self.width, 2**0.5, trained) for trained in (False, True))
        tau = 1 / self.depth if self.tau is None else self.tau
        residual = (Residual(W, tau), phi) * (self.depth - 1)
        return Serial(A, phi, *residual, W, phi, self._dense(self.out, 1.0, False))

    def _dense(self, width: int, sigma_w: float, trained: bool) -> Dense:
        return Dense(width, sigma_w, 0.0, "standard", trained, fan="out")
