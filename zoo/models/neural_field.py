"""Neural fields: networks of coordinates."""

from zoo.layers import Dense, FourierFeatures, Nonlinear, Serial
from zoo.models.base import Architecture, Exponents
from zoo.names import check_name

ACTIVATIONS = ("sin", "sinc", "gaussian", "gabor", "relu")


class NeuralField(Architecture):
    r"""Coordinates, encoded or not, then a network of oscillating or localized units.

        F_0 = x or the encoding,   F_l = phi(omega A_l(F_{l-1})) for l = 1 .. depth,
        f = A_{depth+1}(F_depth),      A(h) = h W + b in the standard parameterization,

    with W_ij ~ N(0, sigma_w^2 / fan_in) and b ~ N(0, sigma_b^2), or, "ntk", with
    entries N(0, 1) and those factors in the forward pass. phi is sin, sinc (sin(z)/z),
    exp(-z^2 / 2), the Gabor wavelet exp(-z^2 / 2) cos(2 z), or relu, whose frequency is
    in an encoding of the coordinates: sqrt(2) [cos z, sin z] of as many random
    frequencies z = (encoding / sqrt(d)) x W as there are units, W_ij ~ N(0, 1), frozen.
    All other layers are trained by full-batch gradient descent on L = 1/(2n) sum_i
    |f(x_i) - y_i|^2.

    With small_last, W_{depth+1} ~ N(0, 2 / m^(3/2)) in the standard parameterization:
    the initialization that the paper proposes, under which fewer units suffice.

    Source: Saratchandran et al. 2024 (widths and initializations of neural fields). The
    scale of the biases, omega, and as many frequencies as units (so that the limit is
    deterministic; the paper encodes with a fixed small number) are of this repository.

    Args:
        width: units m of each hidden layer.
        depth: number of hidden layers, at least 1.
        out: number of outputs k.
        activation: "sin", "sinc", "gaussian", "gabor" or "relu".
        omega: factor of every activation's argument; 1 for relu.
        sigma_w: scale of the weights.
        sigma_b: scale of the biases; 0 means no bias parameters.
        encoding: scale of the random frequencies; 0 feeds the coordinates themselves.
        parameterization: "standard" or "ntk".
        small_last: the proposed initialization of the last layer.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Saratchandran et al. 2024"
    trains = "all but the encoding"
    data = "waves"
    variants = (
        {"activation": "sinc", "omega": 4.0, "parameterization": "ntk"},
        {"activation": "gaussian", "omega": 2.0, "sigma_w": 1.5, "depth": 2},
        {"activation": "gabor", "omega": 1.0},
        {"activation": "relu", "omega": 1.0, "encoding": 8.0},
    )

    width: int
    depth: int = 1
    out: int = 1
    activation: str = "sin"
    omega: float = 8.0
    sigma_w: float = 1.0
    sigma_b: float = 1.0
    encoding: float = 0.0
    parameterization: str = "standard"
    small_last: bool = False

    def __post_init__(self):
        self.require_sizes("width", "depth", "out")
        check_name("activation", self.activation, ACTIVATIONS)
        self.require(self.omega > 0, "omega", "> 0")
        self.require(self.sigma_w > 0, "sigma_w", "> 0")
        self.require(self.sigma_b >= 0, "sigma_b", ">= 0")
        self.require(self.encoding >= 0, "encoding", ">= 0")
        check_name("parameterization", self.parameterization, ("standard", "ntk"))
        standard = self.parameterization == "standard"
        self.require(standard or not self.small_last, "small_last", "False with ntk")
        super().__post_init__()

    @property
    def exponents(self) -> Exponents:
        """A standard layer on few coordinates moves by its signal over the width.

        The small last layer takes m^-1/4 off signals, and off outputs without biases.
        """
        small = -0.25 if self.small_last else 0.0
        few = self.depth == 1 and not self.encoding
        change = -1.5 if few and self.parameterization == "standard" else -0.5
        output = 0.0 if self.sigma_b else small
        return Exponents(output=output, hidden_change=change + small)

    def layers(self) -> Serial:
        """Encoding, Dense, activation, ..., Dense."""
        scales = (self.sigma_b, self.parameterization)
        hidden = (
            Dense(self.width, self.sigma_w, *scales),
            Nonlinear(self.activation, self.omega),
        )
        sigma_last = 2**0.5 * self.width**-0.25 if self.small_last else self.sigma_w
        encode = (FourierFeatures(self.width, self.encoding),) if self.encoding else ()
        return Serial(
            *encode, *hidden * self.depth, Dense(self.out, sigma_last, *scales)
        )
