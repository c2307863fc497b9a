"""The linear graph neural network, with or without skip connections."""

from zoo.layers import Aggregate, Layer, Residual, Serial
from zoo.models.graph_base import NodeNetwork


class XuLinearGNN(NodeNetwork):
    r"""A deep linear graph network; multiscale, every layer has a readout of its own.

        H_0 = X,    H_l = A_l(P H_{l-1}) for l = 1 .. L,
        f = B_L(H_L)    or, multiscale,    f = sum_{l = 0 .. L} B_l(H_l),

    with X the features, P the normalized adjacency and A_l, B_l affine maps whose
    weights `NodeNetwork` states, with the loss; sigma_w is 1 by default. In columns,
    as Xu et al. 2021 write it, X_l = B_l X_{l-1} S with S for P, f = W X_L, and
    multiscale f = sum_l W_(l) X_l. The form is written from memory and was not checked
    against the paper; scales are this library's.

    Limit: exact. Without biases H_l has the covariance sigma_w^(2 l) P^l K_0 P^l.

    Args:
        width: units m of each hidden layer.
        depth: number L of layers that aggregate, at least 1.
        out: number of outputs k.
        sigma_w: scale of the weights.
        sigma_b: scale of the biases; 0 means no bias parameters.
        parameterization: "ntk" or "standard".
        sparse: aggregates edge by edge rather than by the dense P.
        graph: the graph.
        multiscale: adds up the readouts of all layers, the features' included.

    Raises:
        ValueError: if an argument is outside its range, with its name and value.
    """

    paper = "Xu et al. 2021"
    variants = ({"multiscale": False},)

    sigma_w: float = 1.0
    multiscale: bool = True

    def layers(self) -> Serial:
        """Aggregate, Dense, ..., Dense; multiscale, nested in sums with readouts."""
        step = (Aggregate(self.graph, self.sparse), self.affine(self.width))
        readout = self.affine(self.out)
        if not self.multiscale:
            return Serial(*step * self.depth, readout)
        net: Layer = readout
        for _ in range(self.depth):
            net = Residual(Serial(*step, net), shortcut=readout)
        return Serial(net)
