r"""Layers that act along the edges of one graph, [n, nodes, channels].

Symbols: P = D^-1/2 (A + I) D^-1/2 the normalized adjacency, h the features of the
nodes, K their covariance [N, N] over pairs of nodes.
"""

import dataclasses
from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float

from zoo.graphs import Graph
from zoo.infinite.neural_tangents import Kernel
from zoo.layers.base import Finite, Layer
from zoo.layers.duals import ACTIVATIONS
from zoo.layers.linear import Dense
from zoo.layers.nonlinear import Nonlinear, variances


@dataclasses.dataclass(frozen=True)
class Aggregate(Layer):
    r"""The weighted sum over a node and its neighbours, h -> P h, channel by channel.

    Args:
        graph: whose P it is; features play no role.
        sparse: sums edge by edge, in O(edges), where False multiplies by the dense P,
            in O(nodes^2).
    """

    graph: Graph
    sparse: bool = False

    @property
    def mixes_positions(self) -> bool:
        """A sum over nodes has a variance that is made of covariances."""
        return True

    def finite(self, scope: nn.Module, x: Float[Array, "n ..."]) -> jax.Array:
        """Aggregates each of a batch.

        Raises:
            ValueError: if the input is not [n, nodes, channels].
        """
        if x.ndim != 3 or x.shape[1] != self.graph.nodes:
            raise ValueError(
                f"Aggregate needs inputs [n, {self.graph.nodes}, channels] for "
                f"{self.graph}, got shape {x.shape}."
            )
        if not self.sparse:
            P = jnp.asarray(self.graph.propagation, x.dtype)
            return jnp.einsum("rs,nsc->nrc", P, x)
        senders, receivers, weights = self.graph.propagation_edges
        weights = jnp.asarray(weights, x.dtype)[:, None, None]
        along = weights * jnp.moveaxis(x, 1, 0)[jnp.asarray(senders)]  # [e, n, c]
        out = jax.ops.segment_sum(along, jnp.asarray(receivers), self.graph.nodes)
        return jnp.moveaxis(out, 0, 1)

    def limit(self, k: Kernel) -> Kernel:
        """P K P^T, for covariances and the tangent kernel alike."""
        return mix(k, self.graph.propagation)


def mix(k: Kernel, M: Float[np.ndarray, "q p"]) -> Kernel:
    """The kernel after the positions are multiplied by M: M K M^T."""
    if k.diagonal_spatial:
        raise ValueError("mixing positions needs the covariances of all their pairs.")

    def both(cov: Array | None) -> jax.Array | None:  # of [..., p, p']
        if cov is None:
            return None
        matrix = jnp.asarray(M, cov.dtype)
        return jnp.einsum("ap,...pq,bq->...ab", matrix, cov, matrix)

    covariances = {n: both(getattr(k, n)) for n in ("nngp", "ntk", "cov1", "cov2")}
    return k.replace(**covariances, is_input=False)


@dataclasses.dataclass(frozen=True)
class OnGraph(Layer):
    """What the layers below share: a graph, and affine maps between aggregations.

    Args:
        graph: the graph.
        dense: the affine map, of as many outputs as inputs.
        depth: number L of steps.
        sparse: see `Aggregate`.
    """

    graph: Graph
    dense: Dense
    depth: int
    sparse: bool = False

    @property
    def parts(self) -> tuple[Layer, ...]:
        """The aggregation and the affine map."""
        return (self.aggregate, self.dense)

    @property
    def mixes_positions(self) -> bool:
        """As `Aggregate`."""
        return True

    @property
    def aggregate(self) -> Aggregate:
        """H -> P h."""
        return Aggregate(self.graph, self.sparse)

    def affine(self, step: int, h: jax.Array) -> jax.Array:
        """The affine map of one step, with weights of its own."""
        return Finite(self.dense, name=f"dense_{step}")(h)


@dataclasses.dataclass(frozen=True)
class ResidualAggregation(OnGraph):
    r"""L steps h -> h + relu(A_l(P h)), with affine maps A_l of their own.

    Limit (derived): every summand of a coordinate is relu of a Gaussian that has its
    own weights, so that different summands are independent, but not centred: second
    moments add up to sum_l E relu relu plus products of means. The input has to be
    Gaussian and centred: the output of an affine map.
    """

    @property
    def smooth(self) -> bool:
        """Its relu has a kink."""
        return False

    def finite(self, scope: nn.Module, x: Float[Array, "n ..."]) -> jax.Array:
        """All steps, on a batch."""
        for step in range(self.depth):
            x = x + nn.relu(self.affine(step, self.aggregate.finite(scope, x)))
        return x

    def limit(self, k: Kernel) -> Kernel:
        """Second moments with means."""
        zero = jnp.zeros((1, 1), k.nngp.dtype)
        h = Moments(k, zero, zero)
        for _ in range(self.depth):
            h = add(h, relu_moments(self.dense.limit(self.aggregate.limit(h.kernel))))
        return h.kernel


@dataclasses.dataclass(frozen=True)
class InitialPropagation(OnGraph):
    r"""L steps h -> alpha P h + (1 - alpha) A(h_0) from h = h_0, with one affine map A.

    Limit: the weights make A(h_0) uncorrelated with h_0, and both are multiplied by
    fixed matrices:

        h = (alpha P)^L h_0 + (1 - alpha) sum_{l < L} (alpha P)^l A(h_0).

    Args:
        graph: the graph.
        dense: the affine map A, of as many outputs as inputs.
        depth: number L of steps.
        sparse: see `Aggregate`.
        alpha: weight of the neighbours, 0 to 1.
    """

    alpha: float = 0.9

    def finite(self, scope: nn.Module, x: Float[Array, "n ..."]) -> jax.Array:
        """All steps, on a batch."""
        start = (1 - self.alpha) * self.affine(0, x)
        for _ in range(self.depth):
            x = self.alpha * self.aggregate.finite(scope, x) + start
        return x

    def limit(self, k: Kernel) -> Kernel:
        """The sum of both kernels."""
        P, identity = self.alpha * self.graph.propagation, np.eye(self.graph.nodes)
        power, series = identity, np.zeros_like(P)
        for _ in range(self.depth):
            power, series = P @ power, P @ series + (1 - self.alpha) * identity
        zero = jnp.zeros((1, 1), k.nngp.dtype)
        kept, sent = mix(k, power), mix(self.dense.limit(k), series)
        return add(Moments(kept, zero, zero), Moments(sent, zero, zero)).kernel


@dataclasses.dataclass(frozen=True)
class InitialResidual(OnGraph):
    r"""L steps from h = h_0 = relu(x), each with a part of h_0 and of the identity.

        z = alpha P h + (1 - alpha) h_0,    h -> relu(beta A_l(z) + (1 - beta) z).

    Limit (derived), for beta = 1: h and h_0 are independent after the first step, but
    not centred, so that the second moments of z are those of both and products of
    their means.

    Args:
        graph: the graph.
        dense: the affine map A_l, of as many outputs as inputs.
        depth: number L of steps.
        sparse: see `Aggregate`.
        alpha: weight of the neighbours, 0 to 1.
        beta: weight of the affine map, 0 to 1.
    """

    alpha: float = 0.9
    beta: float = 1.0

    @property
    def no_limit(self) -> str:
        """The identity mapping has no kernel map."""
        return "" if self.beta == 1.0 else NOT_GAUSSIAN.format(beta=self.beta)

    @property
    def smooth(self) -> bool:
        """Its relu has a kink."""
        return False

    def finite(self, scope: nn.Module, x: Float[Array, "n ..."]) -> jax.Array:
        """All steps, on a batch."""
        h = first = nn.relu(x)
        for step in range(self.depth):
            z = self.alpha * self.aggregate.finite(scope, h) + (1 - self.alpha) * first
            h = nn.relu(self.beta * self.affine(step, z) + (1 - self.beta) * z)
        return h

    def limit(self, k: Kernel) -> Kernel:
        """Second moments with means, for beta = 1."""
        if self.no_limit:
            raise NotImplementedError(f"InitialResidual: {self.no_limit}.")
        P, identity = self.alpha * self.graph.propagation, np.eye(self.graph.nodes)
        rest = (1 - self.alpha) * identity
        first = relu_moments(k)
        z = mix(first.kernel, P + rest)
        h = relu_moments(self.dense.limit(z))
        for _ in range(self.depth - 1):
            z = add(multiply(h, P), multiply(first, rest)).kernel
            h = relu_moments(self.dense.limit(z))
        return h.kernel


NOT_GAUSSIAN = (
    "at beta={beta} the identity mapping adds coordinates that went through a relu to "
    "those before the next one: they are not Gaussian, and no kernel map is known"
)


class Moments(NamedTuple):
    """First and second moments of a layer's coordinates.

    Attributes:
        kernel: the second moments, not centred, and the tangent kernel.
        mean1: mean at every node, of the first set [n1, N].
        mean2: of the second set [n2, N].
    """

    kernel: Kernel
    mean1: jax.Array
    mean2: jax.Array


def relu_moments(k: Kernel) -> Moments:
    """The moments of relu of Gaussian coordinates of kernel k."""
    cov2 = k.cov1 if k.cov2 is None else k.cov2
    mean1, mean2 = (
        ACTIVATIONS["relu"].first_moment(variances(cov, k.diagonal_spatial))
        for cov in (k.cov1, cov2)
    )
    return Moments(Nonlinear("relu").limit(k), mean1, mean2)


def multiply(h: Moments, M: Float[np.ndarray, "q p"]) -> Moments:
    """The moments after the nodes are multiplied by M."""
    matrix = jnp.asarray(M.T, h.mean1.dtype)
    return Moments(mix(h.kernel, M), h.mean1 @ matrix, h.mean2 @ matrix)


def add(a: Moments, b: Moments) -> Moments:
    """The moments of the sum of two independent layers.

    Second moments add, and the products of means, once for each order. Tangent kernels
    add: what the shared parameters contribute to both is uncorrelated.
    """

    def products(u1, v1, u2, v2):  # means of the sets whose covariance it is
        outer = u1[..., :, None] * v2[..., None, :]
        return outer + v1[..., :, None] * u2[..., None, :]

    (u1, v1), (u2, v2) = (a.mean1, b.mean1), (a.mean2, b.mean2)
    cross = {
        "nngp": products(u1[:, None], v1[:, None], u2[None], v2[None]),
        "cov1": products(u1, v1, u1, v1),
        "cov2": products(u2, v2, u2, v2),
        "ntk": None,
    }
    total = {}
    for name, extra in cross.items():
        one, other = getattr(a.kernel, name), getattr(b.kernel, name)
        both = None if one is None or other is None else one + other
        total[name] = both if extra is None or both is None else both + extra
    kernel = a.kernel.replace(**total, is_gaussian=False, is_input=False)
    return Moments(kernel, u1 + v1, u2 + v2)
