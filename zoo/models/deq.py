"""The deep equilibrium network."""

from zoo.layers import ACTIVATIONS, Dense, Equilibrium, Nonlinear, Serial
from zoo.models.deq_base import EquilibriumNetwork
from zoo.names import check_name

FORMS = ("post", "pre")


class DEQ(EquilibriumNetwork):
    r"""A weight-tied network of infinite depth: the root of one equation.

        h = A_depth(phi(... A_1(phi(h)))) + (sigma_u / sqrt(d)) U x + sigma_b b,
        f = (sigma_v / sqrt(m)) V phi(h),    A_l(z) = (sigma_w / sqrt(m)) W_l z,

    in the NTK parameterization: entries of W, U, b, V are N(0, 1), all trained, on L =
    1/(2n) sum_i |f(x_i) - y_i|^2. With z = phi(h) and depth 1 it is z = phi(W z + U x +
    b), the post-activation form; in the pre-activation form the readout takes h itself.

    Well posed at infinite width if chi_1 = sigma_w^2 E phi'(h)^2 < 1 at every input
    (derived, numerically verified; of depth 1). At finite width the spectral radius of
    the cell's derivative is about sqrt(chi_1), and some initializations have no
    equilibrium from chi_1 of about 0.7 on at widths below 4096. The literature asks for
    2 sigma_w Lip(phi) < 1, which is sufficient, not necessary.

    Source: Bai, Kolter & Koltun 2019, "Deep Equilibrium Models"; kernels: Feng & Kolter
    2020, Gao, Huo, Liu & Gao 2023.

    Args:
        width: units m.
        depth: weights in the cell, at least 1.
        out: number of outputs k.
        activation: a name in `zoo.layers.ACTIVATIONS`.
        sigma_w: scale of the cell's weights.
        sigma_u: scale of the injection's weights.
        sigma_b: scale of the injection's biases; 0 means no bias parameters.
        sigma_v: scale of the readout.
        form: "post" or "pre".
        solver, tolerance, max_steps, warm_start: see `EquilibriumNetwork`.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Bai, Kolter & Koltun 2019"
    smoke = {"sigma_w": 0.5}
    variants = ({"depth": 2, "activation": "erf"}, {"form": "pre"})

    depth: int = 1
    out: int = 1
    activation: str = "relu"
    sigma_w: float = 0.8
    sigma_u: float = 1.0
    sigma_b: float = 0.0
    sigma_v: float = 1.0
    form: str = "post"

    def __post_init__(self):
        self.require_sizes("width", "depth", "out")
        for name in ("sigma_w", "sigma_u", "sigma_v"):
            self.require(getattr(self, name) > 0, name, "> 0")
        self.require(self.sigma_b >= 0, "sigma_b", ">= 0")
        check_name("activation", self.activation, ACTIVATIONS)
        check_name("form", self.form, FORMS)
        super().__post_init__()

    def layers(self) -> Serial:
        """Equilibrium, activation, Dense."""
        phi = Nonlinear(self.activation)
        cell = Serial(*(phi, Dense(self.width, self.sigma_w)) * self.depth)
        inject = Dense(self.width, self.sigma_u, self.sigma_b)
        read = (phi,) if self.form == "post" else ()
        last = Dense(self.out, self.sigma_v)
        return Serial(Equilibrium(cell, inject, self.method), *read, last)
