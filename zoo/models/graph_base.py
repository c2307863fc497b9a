"""Networks whose points are the nodes of one graph."""

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Shaped

from zoo.graphs import Graph, check_nodes
from zoo.layers import Dense, Serial, apply_parts, input_kernel
from zoo.models.base import Architecture
from zoo.names import check_name


class NodeKernels(NamedTuple):
    """The infinite-width kernels of the nodes that were asked for, [n1, n2]."""

    nngp: jax.Array
    ntk: jax.Array


class NodeNetwork(Architecture):
    """A network of one graph; its inputs are numbers of nodes, its outputs are theirs.

    The graph is part of the network (transductive learning, as in Cong et al. 2021):
    all N nodes pass through the layers as one example [1, N, d], and the rows of the
    nodes in a batch are returned. P = D^-1/2 (A + I) D^-1/2 is its normalized adjacency
    with loops. All layers are trained on L = 1/(2n) sum over the n training nodes of
    |f_i - y_i|^2. An affine map A of fan-in n is, in the parameterization

    * "ntk": (sigma_w / sqrt(n)) h W + sigma_b b, entries of W and b N(0, 1);
    * "standard": h W + b, W_ij ~ N(0, sigma_w^2 / n), b_i ~ N(0, sigma_b^2).

    Args:
        width: units m of each hidden layer.
        depth: number of layers that aggregate, at least 1.
        out: number of outputs k.
        sigma_w: scale of the weights.
        sigma_b: scale of the biases; 0 means no bias parameters.
        parameterization: "ntk" or "standard".
        sparse: aggregates edge by edge rather than by the dense P; the same function.
        graph: the graph, with features at its nodes.

    Raises:
        ValueError: if an argument is outside its range, with its name and value, and
            when called on a node that the graph does not have.
    """

    paper = "Cong et al. 2021"
    data = "digits_graph"
    inputs = "nodes"

    width: int
    depth: int = 2
    out: int = 1
    sigma_w: float = 2**0.5
    sigma_b: float = 0.0
    parameterization: str = "ntk"
    sparse: bool = False
    graph: Graph = dataclasses.field(kw_only=True)

    def __post_init__(self):
        self.require_sizes("width", "depth", "out")
        self.require(self.sigma_w > 0, "sigma_w", "> 0")
        self.require(self.sigma_b >= 0, "sigma_b", ">= 0")
        check_name("parameterization", self.parameterization, ("ntk", "standard"))
        super().__post_init__()

    def affine(self, width: int) -> Dense:
        """An affine map of the network's scales."""
        return Dense(width, self.sigma_w, self.sigma_b, self.parameterization)

    def layers(self) -> Serial:
        """The network as layers on [1, N, d]."""
        raise NotImplementedError(f"{type(self).__name__} must define layers().")

    @nn.compact
    def __call__(self, x: Shaped[Array, "n ..."]) -> Float[Array, "n k"]:
        """The outputs at the nodes x; computed in the dtype of the parameters."""
        self.require_nodes(x)
        leaves = jax.tree.leaves(self.variables)
        dtype = leaves[0].dtype if leaves else jnp.result_type(float)
        features = jnp.asarray(self.graph.features, dtype)
        return apply_parts(self.trained().parts, features[None])[0][x]

    def kernels(
        self, x1: Shaped[Array, "n1 ..."], x2: Shaped[Array, "n2 ..."] | None = None
    ) -> NodeKernels:
        """The infinite network at two sets of nodes; `None` means the same set."""
        x2 = x1 if x2 is None else x2
        for x in (x1, x2):
            self.require_nodes(x)
        features = jnp.asarray(self.graph.features.astype(np.float64))
        k = self.trained().limit(input_kernel(features[None], None, False))
        nngp, ntk = (a[0, 0][x1][:, x2] for a in (k.nngp, k.ntk))
        return NodeKernels(nngp, ntk)

    def require_nodes(self, x: Shaped[Array, "..."]) -> None:
        """Refuses what are no nodes of the graph; values only where they are known."""
        self.require_rank(x)
        if not jnp.issubdtype(x.dtype, jnp.integer):
            raise ValueError(
                f"{type(self).__name__} needs whole numbers of nodes, got {x.dtype}."
            )
        if not isinstance(x, jax.core.Tracer):
            check_nodes("nodes", np.asarray(x), self.graph.nodes)
