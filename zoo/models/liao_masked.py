"""The two-layer network of Liao & Kyrillidis, with masked neurons."""

from zoo.layers import Dense, Mask, Nonlinear, Serial
from zoo.models.base import Architecture
from zoo.names import check_name


class LiaoMaskedMLP(Architecture):
    r"""One hidden relu layer, of which a random mask drops neurons.

        f(x) = (1/sqrt(m)) sum_r a_r M_r relu(w_r . x / sqrt(d)),

    with M_r ~ Bernoulli(keep) and all entries of w_r and a_r drawn from N(0, 1). Inputs
    have norm sqrt(d) here, hence the division. The masks are drawn once, with the
    weights: one step of the paper's algorithm trains such subnetworks for a while and
    averages them, which covers dropout and independent subnetwork training. Both the
    NNGP kernel and the NTK are `keep` times those without masks. Trained on L =
    1/(2n) sum_i |f(x_i) - y_i|^2: the w_r alone (train="first"), as in the analyses of
    two-layer networks that the paper follows, or all.

    Source: Liao & Kyrillidis 2022, "On the Convergence of Shallow Neural Network
    Training with Randomly Masked Neurons"; the details are from memory. Signs a_r = +-1
    instead of Gaussian ones would have the same limit.

    Args:
        width: neurons m.
        out: number of outputs k.
        keep: chance xi that a neuron is kept, in (0, 1].
        train: "first" or "all".

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Liao & Kyrillidis 2022"
    trains = "first layer; all with train='all'"
    variants = ({"train": "all"},)

    width: int
    out: int = 1
    keep: float = 0.5
    train: str = "first"

    def __post_init__(self):
        self.require_sizes("width", "out")
        self.require(0 < self.keep <= 1, "keep", "in (0, 1]")
        check_name("train", self.train, ("first", "all"))
        super().__post_init__()

    def layers(self) -> Serial:
        """Dense, relu, mask, Dense."""
        last = Dense(self.out, trained=self.train == "all")
        return Serial(Dense(self.width), Nonlinear("relu"), Mask(self.keep), last)
