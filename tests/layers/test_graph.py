"""Aggregation over a graph, and its kernel beside that of neural-tangents."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.graphs import Graph
from zoo.infinite.neural_tangents import stax
from zoo.layers import Aggregate, Finite, input_kernel

ADJACENCY = np.zeros((5, 5))
for a, b, w in ((0, 1, 1.0), (1, 2, 0.3), (2, 0, 2.0), (3, 1, 0.8)):  # 4 is alone
    ADJACENCY[a, b] = ADJACENCY[b, a] = w
GRAPH = Graph.from_adjacency(np.ones((5, 1)), ADJACENCY)
X = np.random.default_rng(0).normal(size=(3, 5, 4))


def by_hand():
    A = ADJACENCY + np.eye(5)
    D = np.diag(A.sum(axis=1) ** -0.5)
    return D @ A @ D


@pytest.mark.parametrize("sparse", [False, True])
def test_nodes_become_the_weighted_sum_of_their_neighbours(sparse, x64):
    layer = Finite(Aggregate(GRAPH, sparse))
    assert layer.init(jax.random.key(0), jnp.asarray(X)) == {}
    want = np.stack([by_hand() @ x for x in X])
    np.testing.assert_allclose(layer.apply({}, jnp.asarray(X)), want, rtol=1e-12)
    assert layer.apply({}, jnp.asarray(X, jnp.float32)).dtype == jnp.float32


def test_limit_is_that_of_neural_tangents(x64):
    x1, x2 = jnp.asarray(X), jnp.asarray(X[:2] + 0.5)
    k = input_kernel(x1, x2, diagonal_spatial=False)
    k = k.replace(ntk=2.0 * k.nngp)
    got = Aggregate(GRAPH).limit(k)
    patterns = tuple(jnp.asarray(np.stack([by_hand()] * n)) for n in (3, 2))
    want = stax.Aggregate()[2](k, pattern=patterns)
    for name in ("nngp", "ntk", "cov1", "cov2"):
        np.testing.assert_allclose(
            getattr(got, name), getattr(want, name), rtol=1e-12, atol=1e-14
        )
    assert got.shape1 == want.shape1 == (3, 5, 4)


@pytest.mark.parametrize("shape", [(5, 4), (2, 4, 4), (2, 5, 1, 4)])
def test_inputs_that_do_not_fit_are_refused(shape):
    layer = Finite(Aggregate(GRAPH))
    with pytest.raises(ValueError, match=r"\[n, 5, channels\].* got shape \("):
        layer.init(jax.random.key(0), jnp.ones(shape))


def test_the_limit_needs_all_pairs_of_nodes():
    k = input_kernel(jnp.asarray(X, jnp.float32), None, diagonal_spatial=True)
    with pytest.raises(ValueError, match="all their pairs"):
        Aggregate(GRAPH).limit(k)
