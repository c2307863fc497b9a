"""The residual graph convolutional network."""

from zoo.layers import Serial
from zoo.layers.graph import ResidualAggregation
from zoo.models.graph_base import NodeNetwork


class ResGCN(NodeNetwork):
    r"""Graph convolutions that add their input, between two affine maps of every node.

        H_0 = A_0(X),   H_l = H_{l-1} + relu(A_l(P H_{l-1})) for l = 1 .. L,
        f = A_{L+1}(H_L),

    with X the features, P the normalized adjacency and A_l affine maps whose weights
    `NodeNetwork` states, with the loss. Without biases the recursion is relu(P H_{l-1}
    W_l) + H_{l-1}, that of the appendix of Cong et al. 2021; the lift A_0 to the common
    width, scales and readout are this library's.

    Limit: exact (derived, see `zoo.layers.graph.ResidualAggregation`). Summands of a
    coordinate are independent, though neither Gaussian nor centred: their means enter.

    Args:
        width: units m of each hidden layer.
        depth: number L of layers that aggregate, at least 1.
        out: number of outputs k.
        sigma_w: scale of the weights.
        sigma_b: scale of the biases; 0 means no bias parameters.
        parameterization: "ntk" or "standard".
        sparse: aggregates edge by edge rather than by the dense P.
        graph: the graph.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    def layers(self) -> Serial:
        """Dense, the residual layers, Dense."""
        return Serial(
            self.affine(self.width),
            ResidualAggregation(
                self.graph, self.affine(self.width), self.depth, self.sparse
            ),
            self.affine(self.out),
        )
