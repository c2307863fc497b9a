"""Approximate personalized propagation of neural predictions."""

from zoo.layers import Nonlinear, Serial
from zoo.layers.graph import InitialPropagation
from zoo.models.graph_base import NodeNetwork


class APPNP(NodeNetwork):
    r"""A hidden layer, propagated with a part of itself added at every step.

        H_0 = relu(A_0(X)),   B = A_1(H_0),
        H_l = alpha P H_{l-1} + (1 - alpha) B for l = 1 .. L,   f = A_2(H_L),

    with X the features, P the normalized adjacency and A_l affine maps whose weights
    `NodeNetwork` states, with the loss. Without biases the recursion is alpha P H_{l-1}
    + (1 - alpha) H_0 W, that of the appendix of Cong et al. 2021, here with one alpha
    and, as it is restated with no index, one W for all layers. The hidden layer before
    it is the predicting network of Klicpera et al. 2019; scales and readout are this
    library's.

    Args:
        width: units m of each hidden layer.
        depth: number L of layers that aggregate, at least 1.
        out: number of outputs k.
        sigma_w: scale of the weights.
        sigma_b: scale of the biases; 0 means no bias parameters.
        parameterization: "ntk" or "standard".
        sparse: aggregates edge by edge rather than by the dense P.
        graph: the graph.
        alpha: weight of the neighbours, 0 to 1; Klicpera et al. write 1 - alpha.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Klicpera et al. 2019; Cong et al. 2021"

    alpha: float = 0.9

    def __post_init__(self):
        self.require(0 <= self.alpha <= 1, "alpha", "in [0, 1]")
        super().__post_init__()

    def layers(self) -> Serial:
        """Dense, relu, the propagation, Dense."""
        steps = (self.graph, self.affine(self.width), self.depth, self.sparse)
        return Serial(
            self.affine(self.width),
            Nonlinear("relu"),
            InitialPropagation(*steps, self.alpha),
            self.affine(self.out),
        )
