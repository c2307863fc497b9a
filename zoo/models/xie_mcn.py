"""Maximum-and-Concatenation Networks."""

from zoo.layers import Concat, Dense, MaxOut, Serial
from zoo.models.base import Architecture


class XieMCN(Architecture):
    r"""Layers that put a maximum of two affine maps beside a third one.

        h_0 = x,   h_l = [max(A_l h_{l-1}, B_l h_{l-1}), C_l h_{l-1}],   f = D h_depth

    for l = 1 .. depth, where A_l, B_l, C_l and D are affine, (sigma_w / sqrt(n)) h W +
    sigma_b b, with fan-in n and all entries of W and b drawn from N(0, 1): A, B and C
    have m units each, h_l has 2 m. All layers are trained on L = 1/(2n) sum_i |f(x_i) -
    y_i|^2. The linear part passes on what a shallower network knows: every local
    minimum of depth l + 1 is at most the global minimum of depth l.

    For sigma_w = 1 both parts keep the mean square of h.

    Source: Xie et al. 2020, "Maximum-and-Concatenation Networks"; the block is from
    memory, its scales are not the paper's.

    Args:
        width: units m of each affine map.
        depth: number of hidden layers, at least 1.
        out: number of outputs k.
        sigma_w: scale of the weights.
        sigma_b: scale of the biases; 0 means no bias parameters.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Xie et al. 2020"

    width: int
    depth: int = 2
    out: int = 1
    sigma_w: float = 1.0
    sigma_b: float = 0.0

    def __post_init__(self):
        self.require_sizes("width", "depth", "out")
        self.require(self.sigma_w > 0, "sigma_w", "> 0")
        self.require(self.sigma_b >= 0, "sigma_b", ">= 0")
        super().__post_init__()

    def layers(self) -> Serial:
        """Concat(MaxOut, Dense), ..., Dense."""
        affine, last = (
            Dense(m, self.sigma_w, self.sigma_b) for m in (self.width, self.out)
        )
        return Serial(*(Concat(MaxOut(affine), affine),) * self.depth, last)
