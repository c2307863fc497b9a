"""The graph convolutional network."""

from zoo.layers import ACTIVATIONS, Aggregate, Nonlinear, Serial
from zoo.models.graph_base import NodeNetwork
from zoo.names import check_name


class GCN(NodeNetwork):
    r"""Layers that average over neighbours, then one affine readout of every node.

        H_0 = X,    H_l = phi(A_l(P H_{l-1})) for l = 1 .. L,    f = A_{L+1}(H_L),

    with X the features, P the normalized adjacency and A_l affine maps whose weights
    `NodeNetwork` states, with the loss. With phi = relu and no biases the recursion is
    relu(P H_{l-1} W_l), that of the appendix of Cong et al. 2021; scales and readout
    are this library's.

    Args:
        width: units m of each hidden layer.
        depth: number L of layers that aggregate, at least 1.
        out: number of outputs k.
        sigma_w: scale of the weights.
        sigma_b: scale of the biases; 0 means no bias parameters.
        parameterization: "ntk" or "standard".
        sparse: aggregates edge by edge rather than by the dense P.
        graph: the graph.
        activation: a name in `zoo.layers.ACTIVATIONS`.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Kipf & Welling 2017; Cong et al. 2021"
    variants = ({"sparse": True},)

    activation: str = "relu"

    def __post_init__(self):
        check_name("activation", self.activation, ACTIVATIONS)
        super().__post_init__()

    def layers(self) -> Serial:
        """Aggregate, Dense, activation, ..., Dense."""
        hidden = (
            Aggregate(self.graph, self.sparse),
            self.affine(self.width),
            Nonlinear(self.activation),
        )
        return Serial(*hidden * self.depth, self.affine(self.out))
