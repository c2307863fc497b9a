"""The neural ordinary differential equation."""

from zoo.layers import ACTIVATIONS, Dense, Flow, Nonlinear, Serial
from zoo.models.base import Architecture
from zoo.names import check_name


class NeuralODE(Architecture):
    r"""A residual network of infinite depth whose weights are tied in time.

        dh/dt = (sigma_w / sqrt(m)) W phi(h) + sigma_b b,
        h(0) = (sigma_u / sqrt(d)) U x,    f = (sigma_v / sqrt(m)) V phi(h(time)),

    in the NTK parameterization: entries of W, U, b, V are N(0, 1), all trained, on L =
    1/(2n) sum_i |f(x_i) - y_i|^2. The limit is a covariance of two times (see
    `zoo.layers.kernel_flows`), which any width approaches as m^-1/2: there is no
    condition on sigma_w, but kernels grow exponentially with sigma_w time.

    Source: Chen, Rubanova, Bettencourt & Duvenaud 2018, "Neural Ordinary Differential
    Equations"; kernels derived, numerically verified.

    Args:
        width: units m.
        out: number of outputs k.
        activation: a name in `zoo.layers.ACTIVATIONS`.
        sigma_w: scale of the velocity's weights.
        sigma_b: scale of its biases; 0 means no bias parameters.
        sigma_u: scale of the input's weights.
        sigma_v: scale of the readout.
        time: at which h is read.
        steps: of the method of order 5 that integrates the finite network.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Chen, Rubanova, Bettencourt & Duvenaud 2018"
    variants = ({"activation": "relu", "sigma_b": 0.5},)

    width: int
    out: int = 1
    activation: str = "erf"
    sigma_w: float = 1.0
    sigma_b: float = 0.0
    sigma_u: float = 1.0
    sigma_v: float = 1.0
    time: float = 1.0
    steps: int = 8

    def __post_init__(self):
        self.require_sizes("width", "out", "steps")
        for name in ("sigma_w", "sigma_u", "sigma_v", "time"):
            self.require(getattr(self, name) > 0, name, "> 0")
        self.require(self.sigma_b >= 0, "sigma_b", ">= 0")
        check_name("activation", self.activation, ACTIVATIONS)
        super().__post_init__()

    def layers(self) -> Serial:
        """Dense, the flow, activation, Dense."""
        phi = Nonlinear(self.activation)
        velocity = Serial(phi, Dense(self.width, self.sigma_w, self.sigma_b))
        first, last = Dense(self.width, self.sigma_u), Dense(self.out, self.sigma_v)
        return Serial(first, Flow(velocity, self.time, self.steps), phi, last)
