"""The deep linear residual network of Zou, Long & Gu."""

from zoo.layers import Dense, Residual, Serial
from zoo.models.base import Architecture


class ZouLinearResNet(Architecture):
    r"""A product of `depth` trained near-identities between two frozen matrices.

        f(x) = B (I + W_L) ... (I + W_1) A x,    L = depth,

    with A_ij ~ N(0, 1/d) and B_ij ~ N(0, 1/m) drawn once and frozen, W_l = 0 at
    initialization, no biases and no factors in the forward pass; W_1 .. W_L are trained
    on the sum L = 1/2 sum_i |f(x_i) - y_i|^2. In the limit, and at initialization at
    every width for the B that was drawn,

        Theta(x, x')_{c c'} = L <A x, A x'> (B B^T)_{c c'} -> m L <x, x'> / d delta_{c
            c'},

    which grows with the width, so that the learning rate is O(1/m). Derived.

    Source: Zou, Long & Gu 2020, "On the Global Convergence of Training Deep Linear
    ResNets", as its abstract describes it; the variances of A and B, which the paper
    leaves free, are ours.

    Args:
        width: rows m of A.
        depth: number L of trained matrices, at least 1.
        out: number of outputs k.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Zou, Long & Gu 2020"
    trains = "hidden layers"
    parameterization = "standard"

    width: int
    depth: int = 3
    out: int = 1

    def __post_init__(self):
        self.require_sizes("width", "depth", "out")
        super().__post_init__()

    def layers(self) -> Serial:
        """Dense (A), the blocks, Dense (B)."""
        A, B = (
            Dense(m, parameterization="standard", trained=False)
            for m in (self.width, self.out)
        )
        W = Dense(self.width, parameterization="standard", zero=True)
        return Serial(A, *[Residual(W)] * self.depth, B)
