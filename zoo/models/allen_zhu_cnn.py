"""The convolutional network of Allen-Zhu, Li & Song, between two frozen layers."""

from zoo.layers import PADDINGS, Conv, Dense, Flatten, Nonlinear, Serial
from zoo.models.base import Architecture, Exponents
from zoo.names import check_name


class AllenZhuCNN(Architecture):
    r"""`depth` trained layers, all but the last convolutions, between frozen ones.

        h_0 = relu(A * x),    h_l = relu(W_l * h_{l-1}) for l = 1 .. L-1,
        h_L = relu(W_L vec(h_{L-1})),    f = B h_L,    L = depth,

    without biases and without factors in the forward pass. A and W_1 .. W_{L-1} are
    convolutions of m channels and patches of q = kernel_size^2 positions, with entries
    N(0, 2 / (q m)); W_L is fully connected, from all positions and channels to m units,
    with entries N(0, 2/m); B_ij ~ N(0, 1/k). So |h_l| at a position is O(1) for inputs
    of that size, and |h_L| is the norm of the whole image h_{L-1}. A and B are frozen;
    W_1 .. W_L are trained on the sum L = 1/2 sum_i |f(x_i) - y_i|^2, at a learning rate
    O(1/m), for the NTK grows with the width.

    Source: Allen-Zhu, Li & Song 2019, "A Convergence Theory for Deep Learning via
    Over-Parameterization". Reconstructed from descriptions of the paper; its appendix
    on convolutions was not checked.

    Args:
        width: channels m of every convolution, units of the last hidden layer.
        depth: number L of trained layers, at least 1.
        out: number of outputs k.
        kernel_size: height and width of a patch.
        padding: "SAME", "VALID" or "CIRCULAR".

    Raises:
        ValueError: if an argument is outside its range, with its name and value; when
            applied, if an image is smaller than a patch without padding.
    """

    paper = "Allen-Zhu, Li & Song 2019"
    trains = "hidden layers"
    inputs = "image"
    parameterization = "standard"
    smoke = {"depth": 2}
    variants = ({"padding": "VALID"},)

    width: int
    depth: int = 2
    out: int = 1
    kernel_size: int = 3
    padding: str = "SAME"

    def __post_init__(self):
        self.require_sizes("width", "depth", "out", "kernel_size")
        check_name("padding", self.padding, PADDINGS)
        super().__post_init__()

    @property
    def exponents(self) -> Exponents:
        """A position has a norm O(1), so that its entries are m^-1/2."""
        return Exponents(hidden=-0.5, hidden_change=-1.0)

    def layers(self) -> Serial:
        """Conv (A), relu, Conv, relu, ..., Flatten, Dense (W_L), relu, Dense (B)."""
        phi, scales = Nonlinear("relu"), (2**0.5, 0.0, "standard")
        patch = {"kernel_size": self.kernel_size, "padding": self.padding}
        A, W = (
            Conv(self.width, *scales, trained, fan="out", **patch)
            for trained in (False, True)
        )
        last = Dense(self.width, *scales, fan="out")
        B = Dense(self.out, 1.0, 0.0, "standard", trained=False, fan="out")
        convolutions = (W, phi) * (self.depth - 1)
        return Serial(A, phi, *convolutions, Flatten(), last, phi, B)
