"""Kernels by tiles."""

import numpy as np
import pytest

import zoo
from zoo.gap.nets import example
from zoo.infinite.kernels import kernel_matrix


@pytest.mark.parametrize("name", ["deq", "cnn", "gcn", "pinn"])
def test_tiles_make_the_same_kernel(name):
    """Of points with themselves and with others; positions, nodes, several outputs."""
    net, data = example(name, 8, 7, 2)
    x = np.asarray(data.x_train)
    mixed = 8 * int(np.prod(x.shape[1:-1])) ** (2 if net.inputs == "image" else 1)
    bytes_ = 9 * mixed  # three points a side: the last tile is filled up
    whole = kernel_matrix(net, x, get=("nngp", "ntk"))
    tiled = kernel_matrix(net, x, get=("nngp", "ntk"), max_bytes=bytes_)
    for one, other in zip(whole, tiled, strict=True):
        assert one.shape == other.shape and one.shape[:2] == (7, 7)
        np.testing.assert_allclose(other, one, rtol=1e-9, atol=1e-9 * np.abs(one).max())
    across = kernel_matrix(net, x[:4], x[2:], max_bytes=bytes_)
    np.testing.assert_allclose(
        across, whole.ntk[:4, 2:], rtol=1e-6, atol=1e-7 * np.abs(whole.ntk).max()
    )


def test_a_tile_is_asked_for_once(monkeypatch):
    """Two programs for any number of tiles, and no tile below the diagonal."""
    seen = []
    net = zoo.MLP(width=1, depth=1, activation="relu")
    real = type(net).kernels

    def spy(self, x1, x2=None):
        seen.append((x1.shape, None if x2 is None else x2.shape))
        return real(self, x1, x2)

    monkeypatch.setattr(type(net), "kernels", spy)
    kernel_matrix(net, np.eye(11), max_bytes=8 * 9)
    assert seen == [((3, 11), None), ((3, 11), (3, 11))]
