"""The fully connected network of Allen-Zhu, Li & Song, between two frozen layers."""

from zoo.layers import Dense, Nonlinear, Serial
from zoo.models.base import Architecture, Exponents


class AllenZhuMLP(Architecture):
    r"""`depth` trained square matrices between a frozen first and last one.

        h_0 = relu(A x),   h_l = relu(W_l h_{l-1}) for l = 1 .. depth,   f = B h_depth,

    without biases and without factors in the forward pass. The variance of a weight is
    over the fan-OUT: A_ij ~ N(0, 2/m), (W_l)_ij ~ N(0, 2/m), B_ij ~ N(0, 1/k) for m
    units and k outputs, so that |h_l| is |x| up to O(m^-1/2) in every layer. A and B
    are frozen; W_1 .. W_depth are trained on the sum L = 1/2 sum_i |f(x_i) - y_i|^2.

    The NTK grows with the width, so that the learning rate is O(1/m). Derived: for
    |x| = |x'| = 1 and rho_0 = <x, x'>, rho_{l+1} = kappa_1(rho_l), with kappa_0 and
    kappa_1 the arc-cosine kernels of degree 0 and 1 that are 1 at 1,

        Theta(x, x') = m / (2 k) sum_{l=1}^{depth} rho_l prod_{j=l}^{depth}
            kappa_0(rho_j).

    Its inputs have norm 1 and the last coordinate 1 / sqrt(2), which acts as a bias
    (dataset "unit_digits").

    Source: Allen-Zhu, Li & Song 2019, "A Convergence Theory for Deep Learning via
    Over-Parameterization", as restated by Cao & Gu 2019 and Zhang et al. 2019 (who
    write 2/k for the variance of B); the value of the constant coordinate is from
    memory.

    Args:
        width: units m of every hidden layer.
        depth: number L of trained matrices, at least 1.
        out: number of outputs k.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Allen-Zhu, Li & Song 2019"
    trains = "hidden layers"
    data = "unit_digits"
    parameterization = "standard"

    width: int
    depth: int = 2
    out: int = 1

    def __post_init__(self):
        self.require_sizes("width", "depth", "out")
        super().__post_init__()

    @property
    def exponents(self) -> Exponents:
        """A hidden layer has the norm 1, so that its entries are m^-1/2."""
        return Exponents(hidden=-0.5, hidden_change=-1.0)

    def layers(self) -> Serial:
        """Dense (A), relu, Dense, relu, ..., Dense (B)."""
        phi = Nonlinear("relu")
        A, W = (self._dense(self.width, 2**0.5, trained) for trained in (False, True))
        return Serial(A, phi, *(W, phi) * self.depth, self._dense(self.out, 1.0, False))

    def _dense(self, width: int, sigma_w: float, trained: bool) -> Dense:
        return Dense(width, sigma_w, 0.0, "standard", trained, fan="out")
