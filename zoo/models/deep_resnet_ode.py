"""The infinitely deep residual network, with weights of its own at every time."""

from zoo.layers import (
    ACTIVATIONS,
    DeepResiduals,
    Dense,
    FixedFeatureResiduals,
    Nonlinear,
    Serial,
)
from zoo.models.base import Architecture
from zoo.names import check_name

FORMS = ("general", "fixed")


class DeepResNetODE(Architecture):
    r"""A residual network whose depth is the time of an equation, weights untied.

    General form, a network of depth D = depth as a step of size tau = time / D each:

        h_0 = U x / sqrt(d),    h_{l+1} = h_l + sqrt(tau) A_l(phi(h_l)),
        A_l(z) = (sigma_w / sqrt(m)) W_l z + sigma_b b_l,    f = V phi(h_D) / sqrt(m),

    all trained, all entries N(0, 1). The limit is that of D and m to infinity, an
    equation of kernels along depth (see `zoo.layers.kernel_flows`), which the kernel of
    finite depth approaches as 1 / D. Steps of size tau in place of sqrt(tau) would add
    nothing in this limit.

    Fixed features (Barboni, Peyre & Vialard): A = U and B = V are frozen, psi(z) =
    phi(sigma_w Omega z / sqrt(m) + sigma_b b) / sqrt(m) with frozen Omega and b, and

        dz/ds = W(s) psi(z),    f = B z(time) / sqrt(m),    W(s) = W_l / sqrt(tau)

    on the l-th of D intervals; W_l are 0 at initialization and trained. The norm of
    W(s) in L^2 is that of the W_l, so that the NTK is time * E phi(u) phi(u') with E u
    u' = sigma_w^2 <x, x'> / d + sigma_b^2 at any D.

    The loss is 1/(2n) sum_i |f(x_i) - y_i|^2.

    Source: Barboni, Peyre & Vialard 2022, "On global convergence of ResNets: From
    finite to infinite width using linear parameterization"; the general form's kernels
    are derived, and numerically verified.

    Args:
        width: units m.
        depth: number D of branches or intervals, at least 1.
        out: number of outputs k.
        activation: a name in `zoo.layers.ACTIVATIONS`.
        sigma_w: scale of the branches' weights, or of the features'.
        sigma_b: scale of their biases; 0 means no bias parameters.
        time: the length of depth.
        form: "general" or "fixed".
        steps: in the fixed form, of the method of order 5, on every interval.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Barboni, Peyre & Vialard 2022"
    trains = "all layers; of fixed features, the outer matrix of every interval"
    smoke = {"depth": 16, "time": 0.5}
    variants = ({"form": "fixed", "depth": 4},)

    width: int
    depth: int = 32
    out: int = 1
    activation: str = "relu"
    sigma_w: float = 1.0
    sigma_b: float = 0.0
    time: float = 1.0
    form: str = "general"
    steps: int = 1

    def __post_init__(self):
        self.require_sizes("width", "depth", "out", "steps")
        for name in ("sigma_w", "time"):
            self.require(getattr(self, name) > 0, name, "> 0")
        self.require(self.sigma_b >= 0, "sigma_b", ">= 0")
        check_name("form", self.form, FORMS)
        check_name("activation", self.activation, ACTIVATIONS)
        super().__post_init__()

    def layers(self) -> Serial:
        """Dense, the residual branches, activation, Dense."""
        phi, trained = Nonlinear(self.activation), self.form == "general"
        first, last = (Dense(m, trained=trained) for m in (self.width, self.out))
        if trained:
            branch = Serial(phi, Dense(self.width, self.sigma_w, self.sigma_b))
            return Serial(
                first, DeepResiduals(branch, self.depth, self.time), phi, last
            )
        Omega = Dense(self.width, self.sigma_w, self.sigma_b, trained=False)
        psi = Serial(Omega, phi)
        W, scale = Dense(self.width, zero=True), (self.time / self.depth) ** 0.5
        z = FixedFeatureResiduals(psi, W, self.depth, scale, flow_steps=self.steps)
        return Serial(first, z, last)
