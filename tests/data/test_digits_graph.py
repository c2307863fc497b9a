"""The digits' graph, and what a graph refuses."""

import numpy as np
import pytest
from sklearn.neighbors import kneighbors_graph

from zoo.data import load
from zoo.graphs import Graph

FEATURES = np.random.default_rng(0).normal(size=(4, 3))
EDGES = (np.array([0, 1, 1, 2]), np.array([1, 0, 2, 1]))


@pytest.fixture(scope="module")
def data():
    return load("digits_graph", n_train=60, n_test=40, seed=3)


def test_nodes_are_the_digits_training_points_first(data):
    images = load("digits", n_train=60, n_test=40, seed=3)
    x = data.graph.features
    np.testing.assert_array_equal(x[data.x_train], images.x_train)
    np.testing.assert_array_equal(x[data.x_test], images.x_test)
    np.testing.assert_array_equal(data.y_train, images.y_train)
    np.testing.assert_array_equal(data.y_test, images.y_test)
    assert data.x_train.dtype == data.x_test.dtype == np.int32
    assert sorted([*data.x_train, *data.x_test]) == list(range(100))
    assert data.shaped("nodes") is data
    with pytest.raises(ValueError, match="no inputs of kind 'vector'"):
        data.shaped("vector")


def test_edges_are_those_of_scikit_learn(data):
    want = kneighbors_graph(data.graph.features.astype(float), 5).toarray() > 0
    got = np.zeros((100, 100), bool)
    got[data.graph.senders, data.graph.receivers] = True
    np.testing.assert_array_equal(got, want | want.T)
    assert len(data.graph.senders) == got.sum()
    np.testing.assert_array_equal(data.graph.weights, 1.0)


def test_a_seed_fixes_the_graph(data):
    assert load("digits_graph", n_train=60, n_test=40, seed=3).graph == data.graph
    assert load("digits_graph", n_train=60, n_test=40, seed=4).graph != data.graph
    tiny = load("digits_graph", n_train=2, n_test=1).graph
    assert len(tiny.senders) == 6  # at most 5 others: complete


def test_normalized_adjacency_by_hand():
    graph = Graph(FEATURES, *EDGES, np.array([0.5, 0.5, 2.0, 2.0]))
    A = np.array([[1, 0.5, 0, 0], [0.5, 1, 2, 0], [0, 2, 1, 0], [0, 0, 0, 1]])
    d = A.sum(axis=1) ** -0.5
    np.testing.assert_allclose(graph.propagation, d[:, None] * A * d, rtol=1e-15)
    assert np.abs(np.linalg.eigvalsh(graph.propagation)).max() <= 1 + 1e-12
    assert graph == Graph.from_adjacency(FEATURES, A - np.eye(4))


def test_a_graph_is_a_value():
    graph = Graph(FEATURES, *EDGES)
    same = Graph(FEATURES.copy(), list(EDGES[0]), list(EDGES[1]), np.ones(4))
    backwards = Graph(FEATURES, *(nodes[::-1] for nodes in EDGES))
    assert graph == same == backwards
    assert len({graph, same}) == 1
    others = [
        Graph(FEATURES + 1, *EDGES),
        Graph(FEATURES, *EDGES, 2 * np.ones(4)),
        Graph(FEATURES, EDGES[0][:2], EDGES[1][:2]),
    ]
    assert len({graph, *others}) == 4
    with pytest.raises(ValueError, match="read-only"):
        graph.features[0, 0] = 1.0


NAN = np.where(np.arange(12).reshape(4, 3) == 5, np.nan, FEATURES)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((NAN, *EDGES), r"finite features, got features\[1, 2\]=nan"),
        ((FEATURES[0], *EDGES), r"shape \[nodes, d\], got shape \(3,\)"),
        ((FEATURES[:2], *EDGES), "senders has to be .* 0 to 1, got 2"),
        ((FEATURES, EDGES[0], EDGES[1] - 1), "receivers has to be .* got -1"),
        ((FEATURES, EDGES[0] + 0.5, EDGES[1]), "whole numbers of nodes, got"),
        ((FEATURES, EDGES[0][:3], EDGES[1]), r"one length, got shapes \(3,\), \(4,\)"),
        ((FEATURES, *EDGES, [1, 1, 1, -0.5]), "weights >= 0, got -0.5"),
        ((FEATURES, *EDGES, [1, 1, 1, np.inf]), r"weights\[3\]=inf"),
        ((FEATURES, *EDGES, [1, 1, 2, 3]), "1 -> 2 and 2 -> 1 differ by 1"),
        ((FEATURES, EDGES[0][:3], EDGES[1][:3]), "1 -> 2 and 2 -> 1 differ by 1"),
    ],
)
def test_what_is_no_graph_is_refused_by_value(arguments, message):
    with pytest.raises(ValueError, match=message):
        Graph(*arguments)


def test_an_adjacency_that_does_not_fit_is_refused():
    with pytest.raises(ValueError, match=r"\(4, 4\).* got adjacency of shape \(3, 3\)"):
        Graph.from_adjacency(FEATURES, np.ones((3, 3)))
