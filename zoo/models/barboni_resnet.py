"""The residual network of Barboni, Peyre & Vialard, linear in its parameters."""

from zoo.layers import ACTIVATIONS, Dense, FixedFeatureResiduals, Nonlinear, Serial
from zoo.models.base import Architecture, Limit
from zoo.names import check_name


class BarboniResNet(Architecture):
    r"""`depth` trained steps along fixed random features, between two frozen layers.

        z_0 = A x / sqrt(d),    z_{k+1} = z_k + (1/D) W_k psi(z_k),    k = 0 .. D-1,
        f = B z_D / sqrt(m),    psi(z) = phi(sigma_w Omega z / sqrt(m)) / sqrt(q)

    with D = depth, a discretization of dz/ds = W(s) psi(z). All entries of A, B and
    Omega (q x m, one for all steps) are N(0, 1), drawn once and frozen; W_k (m x q) is
    0 at initialization and trained, on L = 1/(2n) sum_i |f(x_i) - y_i|^2. There are no
    biases. In the limit, and at initialization at every width for the layers that were
    drawn, the kernel is that of the features,

        Theta(x, x')_{c c'} = (1/D) <psi(z_0), psi(z_0')> (B B^T)_{c c'} / m
            -> (1/D) E phi(u) phi(u') delta_{c c'},   E u u' = sigma_w^2 <x, x'> / d.

    Derived; the 1/D is that of the sum of D squares of 1/D.

    Source: Barboni, Peyre & Vialard 2022, "On global convergence of ResNets: From
    finite to infinite width using linear parameterization", as its abstract and its
    code describe the model; its features are convolutional, these dense.

    Args:
        width: dimension m of z.
        depth: number D of steps, at least 1.
        out: number of outputs k.
        features: number q of features; 0 means `width`. A fixed number stays random at
            any width, so that there is no limit.
        activation: a name in `zoo.layers.ACTIVATIONS`.
        sigma_w: scale of the features' weights.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Barboni, Peyre & Vialard 2022"
    trains = "the outer matrix of every step"
    variants = ({"features": 16},)

    width: int
    depth: int = 5
    out: int = 1
    features: int = 0
    activation: str = "relu"
    sigma_w: float = 2**0.5

    def __post_init__(self):
        self.require_sizes("width", "depth", "out")
        self.require(self.features >= 0, "features", ">= 0")
        self.require(self.sigma_w > 0, "sigma_w", "> 0")
        check_name("activation", self.activation, ACTIVATIONS)
        super().__post_init__()

    def limit(self) -> Limit:
        """Exact where the features grow with the width."""
        if not self.features:
            return super().limit()
        return Limit(
            "none",
            f"features={self.features} stay random at any width, and with them the NTK",
        )

    def layers(self) -> Serial:
        """Dense (A), the steps, Dense (B)."""
        A, B = (Dense(m, trained=False) for m in (self.width, self.out))
        Omega = Dense(self.features or self.width, self.sigma_w, trained=False)
        psi = Serial(Omega, Nonlinear(self.activation))
        W = Dense(self.width, zero=True)
        return Serial(A, FixedFeatureResiduals(psi, W, self.depth, 1 / self.depth), B)
