r"""One fixed graph, whose nodes are the points of a network.

Symbols: N nodes, d features, e edges, A the adjacency [N, N], I the identity, D the
diagonal matrix of the row sums of A + I.
"""

import functools
import hashlib
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Float32, Int

FIELDS = ("features", "senders", "receivers", "weights")


@dataclass(frozen=True, init=False, eq=False, repr=False)
class Graph:
    """An undirected graph with features at its nodes; a value, compared by content.

    An edge is listed in both directions; edges that are listed twice add up.

    Args:
        features: X [N, d]; stored as float32.
        senders: where each edge starts [e], numbers of nodes from 0.
        receivers: where it ends [e].
        weights: of the edges [e], at least 0; None means 1 each.

    Raises:
        ValueError: if a feature or weight is no finite number, a weight is negative, an
            edge names a node that the features do not have, or the adjacency is not
            symmetric.

    Example:
        >>> path = Graph(np.ones((3, 2)), [0, 1, 1, 2], [1, 0, 2, 1])
        >>> path
        Graph(nodes=3, features=2, edges=4)
        >>> path == Graph(np.ones((3, 2)), [0, 1, 1, 2], [1, 0, 2, 1], np.ones(4))
        True
    """

    features: Float32[np.ndarray, "N d"]
    senders: Int[np.ndarray, " e"]
    receivers: Int[np.ndarray, " e"]
    weights: Float[np.ndarray, " e"]

    def __init__(self, features, senders, receivers, weights=None):
        features = np.array(features, np.float32)
        edges = [_numbers(senders), _numbers(receivers)]
        weights = np.ones(edges[0].shape) if weights is None else weights
        edges.append(np.array(weights, np.float64))
        _check(features, *edges)
        order = np.lexsort(edges[::-1])  # by sender, then by receiver
        arrays = (features, *(edge[order] for edge in edges))
        for name, array in zip(FIELDS, arrays, strict=True):
            array.setflags(write=False)
            object.__setattr__(self, name, array)

    @classmethod
    def from_adjacency(cls, features, adjacency) -> "Graph":
        """The graph of a dense adjacency matrix A [N, N].

        Raises:
            ValueError: as for the class, or if A is not [N, N].
        """
        adjacency, nodes = np.asarray(adjacency, np.float64), len(features)
        if adjacency.shape != (nodes, nodes):
            raise ValueError(
                f"Graph needs an adjacency of shape {(nodes, nodes)} for features of "
                f"{nodes} nodes, got adjacency of shape {adjacency.shape}."
            )
        senders, receivers = np.nonzero(adjacency)
        return cls(features, senders, receivers, adjacency[senders, receivers])

    @property
    def nodes(self) -> int:
        """Number of nodes N."""
        return len(self.features)

    @functools.cached_property
    def propagation(self) -> Float[np.ndarray, "N N"]:
        """The normalized adjacency P = D^-1/2 (A + I) D^-1/2 (Kipf & Welling 2017).

        Its eigenvalues lie in [-1, 1].
        """
        P = np.zeros((self.nodes, self.nodes))
        senders, receivers, weights = self.propagation_edges
        np.add.at(P, (receivers, senders), weights)
        return P

    @functools.cached_property
    def propagation_edges(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Senders, receivers and weights of P, loops included; [e + N] each."""
        loops = np.arange(self.nodes)
        senders = np.concatenate([self.senders, loops])
        receivers = np.concatenate([self.receivers, loops])
        weights = np.concatenate([self.weights, np.ones(self.nodes)])
        root = np.sqrt(np.bincount(receivers, weights, minlength=self.nodes))
        return senders, receivers, weights / (root[senders] * root[receivers])

    @functools.cached_property
    def digest(self) -> str:
        """A hash of the content."""
        found = hashlib.sha256()
        for array in (getattr(self, name) for name in FIELDS):
            found.update(repr((array.shape, str(array.dtype))).encode())
            found.update(np.ascontiguousarray(array).tobytes())
        return found.hexdigest()

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Graph) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)

    def __repr__(self) -> str:
        nodes, features = self.features.shape
        return f"Graph(nodes={nodes}, features={features}, edges={len(self.senders)})"


def _numbers(nodes) -> np.ndarray:
    """Numbers of nodes as int32; a fraction is refused."""
    array = np.asarray(nodes)
    whole = array.astype(np.int32)
    if not np.array_equal(whole, array):
        raise ValueError(f"Graph needs whole numbers of nodes, got {array}.")
    return whole


def _check(features, senders, receivers, weights) -> None:
    """Refuses what is no graph, by name and value."""
    if features.ndim != 2 or not features.size:
        raise ValueError(
            f"Graph needs features of shape [nodes, d], got shape {features.shape}."
        )
    shapes = [a.shape for a in (senders, receivers, weights)]
    if len(set(shapes)) != 1 or senders.ndim != 1:
        raise ValueError(
            "Graph needs senders, receivers and weights of one length, got shapes "
            f"{', '.join(map(str, shapes))}."
        )
    for name, array in (("features", features), ("weights", weights)):
        if not np.isfinite(array).all():
            where = np.argwhere(~np.isfinite(array))[0].tolist()
            raise ValueError(
                f"Graph needs finite {name}, got {name}{where}={array[tuple(where)]}."
            )
    if (weights < 0).any():
        raise ValueError(f"Graph needs weights >= 0, got {weights.min()}.")
    check_nodes("senders", senders, len(features))
    check_nodes("receivers", receivers, len(features))
    _check_symmetric(senders.astype(int), receivers.astype(int), weights, len(features))


def _check_symmetric(senders, receivers, weights, nodes: int) -> None:
    """Refuses a weight that differs from that of the edge back."""
    pairs = np.concatenate([senders * nodes + receivers, receivers * nodes + senders])
    signed = np.concatenate([weights, -weights])
    pairs, index = np.unique(pairs, return_inverse=True)
    total = np.bincount(index, signed, minlength=len(pairs))
    wrong = np.abs(total) > 1e-9 * weights.max(initial=0.0)
    if wrong.any():
        a, b = divmod(int(pairs[wrong.argmax()]), nodes)
        raise ValueError(
            "Graph needs a symmetric adjacency: the weights of the edges "
            f"{a} -> {b} and {b} -> {a} differ by {abs(total[wrong.argmax()]):g}."
        )


def check_nodes(name: str, numbers: np.ndarray, nodes: int) -> None:
    """Raises ValueError unless all numbers are of one of the nodes 0 .. nodes - 1."""
    outside = (numbers < 0) | (numbers >= nodes)
    if outside.any():
        raise ValueError(
            f"{name} has to be numbers of nodes from 0 to {nodes - 1}, got "
            f"{numbers[outside][0]}."
        )
