"""Random features: one hidden layer, of which the readout alone is trained."""

from zoo.layers import ACTIVATIONS, Dense, Nonlinear, Serial
from zoo.models.base import Architecture, Exponents
from zoo.names import check_name


class RandomFeatures(Architecture):
    r"""A linear model on the activations of a random layer.

        f(x) = (1/sqrt(m)) phi(sigma_w W x / sqrt(d) + sigma_b b) a

    with all entries of W, b and a drawn from N(0, 1). Only a is trained, on L = 1/(2n)
    sum_i |f(x_i) - y_i|^2: the network is its own linearization at every width, and its
    NTK is its NNGP kernel, E phi phi. It fits n points exactly once m >= n (Rahimi &
    Recht 2007; trained to convergence it is the posterior mean of a Gaussian process as
    m grows, Lee et al. 2019).

    Args:
        width: features m.
        out: number of outputs k.
        activation: a name in `zoo.layers.ACTIVATIONS`.
        sigma_w: scale of the weights before the activation.
        sigma_b: scale of the biases; 0 means no bias parameters.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Rahimi & Recht 2007"
    trains = "last layer"

    width: int
    out: int = 1
    activation: str = "relu"
    sigma_w: float = 2**0.5
    sigma_b: float = 0.0

    def __post_init__(self):
        self.require_sizes("width", "out")
        self.require(self.sigma_w > 0, "sigma_w", "> 0")
        self.require(self.sigma_b >= 0, "sigma_b", ">= 0")
        check_name("activation", self.activation, ACTIVATIONS)
        super().__post_init__()

    @property
    def exponents(self) -> Exponents:
        """Features never move."""
        return Exponents(hidden_change=None)

    def layers(self) -> Serial:
        """Dense (frozen), activation, Dense."""
        features = Dense(self.width, self.sigma_w, self.sigma_b, trained=False)
        return Serial(features, Nonlinear(self.activation), Dense(self.out))
