"""A real graph from embedded data: which of the digits look alike."""

import numpy as np
from jaxtyping import Float, Int

from zoo.data.base import Dataset
from zoo.data.digits import digits
from zoo.graphs import Graph

NEIGHBOURS = 5


def digits_graph(n_train: int, n_test: int, seed: int = 0) -> Dataset:
    """The graph of the 5 nearest neighbours of scikit-learn's digits.

    Its nodes are the n_train + n_test images that `digits` draws, training points
    first, with the scaled pixels as features. All have one norm, so that near in angle
    is near in distance. Two images share an edge of weight 1 if either is among the 5
    nearest of the other. The points are numbers of nodes, int32: features and edges of
    the test points are seen in training, their targets are not (transductive).

    Raises:
        ValueError: there are fewer than n_train + n_test examples.
    """
    images = digits(n_train, n_test, seed)
    features = np.concatenate([images.x_train, images.x_test])
    nodes = np.arange(len(features), dtype=np.int32)
    return Dataset(
        name="digits_graph",
        x_train=nodes[:n_train],
        y_train=images.y_train,
        x_test=nodes[n_train:],
        y_test=images.y_test,
        classes=images.classes,
        graph=Graph(features, *nearest_neighbours(features, NEIGHBOURS)),
    )


def nearest_neighbours(
    x: Float[np.ndarray, "e d"], k: int
) -> tuple[Int[np.ndarray, " edges"], Int[np.ndarray, " edges"]]:
    """Senders and receivers of the symmetric graph of k nearest neighbours by angle.

    Of equally near points the first come first; with at most k others all are near.

    >>> x = np.array([[1.0, 0.0], [1.0, 0.1], [0.0, 1.0], [0.1, 1.0]])
    >>> senders, receivers = nearest_neighbours(x, 1)
    >>> senders.tolist(), receivers.tolist()
    ([0, 1, 2, 3], [1, 0, 3, 2])
    """
    unit = x.astype(np.float64)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    cosine = unit @ unit.T
    np.fill_diagonal(cosine, -np.inf)
    nearest = np.argsort(-cosine, axis=1, kind="stable")[:, : min(k, len(x) - 1)]
    near = np.zeros(cosine.shape, bool)
    np.put_along_axis(near, nearest, True, axis=1)
    senders, receivers = np.nonzero(near | near.T)
    return senders, receivers
