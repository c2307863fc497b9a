"""The graph convolutional network with initial residual and identity mapping."""

from zoo.layers import Serial
from zoo.layers.graph import InitialResidual
from zoo.models.base import Limit
from zoo.models.graph_base import NodeNetwork


class GCNII(NodeNetwork):
    r"""Graph convolutions with a part of the first layer and of the identity.

        H_0 = relu(A_0(X)),   Z_l = alpha P H_{l-1} + (1 - alpha) H_0,
        H_l = relu(beta A_l(Z_l) + (1 - beta) Z_l) for l = 1 .. L,   f = A_{L+1}(H_L),

    with X the features, P the normalized adjacency and A_l affine maps whose weights
    `NodeNetwork` states, with the loss. Without biases the recursion is relu((alpha P
    H_{l-1} + (1 - alpha) H_0)(beta W_l + (1 - beta) I)), that of the appendix of Cong
    et al. 2021, here with one alpha and one beta for all layers; the first layer is
    that of Chen et al. 2020; scales and readout are this library's.

    Limit: exact for beta = 1 (derived, see `zoo.layers.graph.InitialResidual`).
    Otherwise (1 - beta) Z_l adds coordinates that went through a relu to those before
    the next one, which are then no longer Gaussian: only sampling gives the kernel.

    Args:
        width: units m of each hidden layer.
        depth: number L of layers that aggregate, at least 1.
        out: number of outputs k.
        sigma_w: scale of the weights.
        sigma_b: scale of the biases; 0 means no bias parameters.
        parameterization: "ntk" or "standard".
        sparse: aggregates edge by edge rather than by the dense P.
        graph: the graph.
        alpha: weight of the neighbours, 0 to 1; Chen et al. write 1 - alpha.
        beta: weight of the affine map, above 0, at most 1.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Chen et al. 2020; Cong et al. 2021"
    variants = ({"beta": 1.0},)

    alpha: float = 0.9
    beta: float = 0.5

    def __post_init__(self):
        self.require(0 <= self.alpha <= 1, "alpha", "in [0, 1]")
        self.require(0 < self.beta <= 1, "beta", "in (0, 1]")
        super().__post_init__()

    def layers(self) -> Serial:
        """Dense, the layers with their relu, Dense."""
        steps = (self.graph, self.affine(self.width), self.depth, self.sparse)
        return Serial(
            self.affine(self.width),
            InitialResidual(*steps, self.alpha, self.beta),
            self.affine(self.out),
        )

    def limit(self) -> Limit:
        """Exact without the identity mapping; otherwise there is one to sample."""
        found = super().limit()
        return found if self.beta == 1 else Limit("monte carlo", found.why)
