"""Pooling of activations, and of their covariances."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.infinite.precision import kernel_numerics
from zoo.layers import AvgPool, Finite, GlobalAvgPool, input_kernel

X = np.random.default_rng(0).normal(size=(3, 5, 7, 4))


def pooled(x, window):
    """Means over windows, by loops; what fills no window is dropped."""
    rows, columns = x.shape[1] // window, x.shape[2] // window
    out = np.zeros((len(x), rows, columns, x.shape[3]))
    for i in range(rows):
        for j in range(columns):
            block = x[:, i * window : (i + 1) * window, j * window : (j + 1) * window]
            out[:, i, j] = block.mean((1, 2))
    return out


@pytest.mark.parametrize("window", [1, 2, 3, 5])
def test_average_pooling_by_hand(window, x64):
    layer, x = AvgPool(window), jnp.asarray(X)
    want = pooled(X, window)
    np.testing.assert_allclose(Finite(layer).apply({}, x), want, rtol=1e-12)
    k = input_kernel(x, x[:2], diagonal_spatial=False)
    with kernel_numerics():
        got = layer.limit(k.replace(ntk=3.0 * k.nngp))
    # Of fixed inputs the covariance over channels can be computed after pooling.
    cov = np.einsum("nabc,mdec->nmadbe", want, want[:2]) / 4
    np.testing.assert_allclose(got.nngp, cov, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(got.ntk, 3 * cov, rtol=1e-10, atol=1e-12)
    own = np.einsum("nabc,ndec->nadbe", want, want) / 4
    np.testing.assert_allclose(got.cov1, own, rtol=1e-10, atol=1e-12)
    assert got.shape1 == want.shape


def test_global_average_is_the_mean_over_all_pairs(x64):
    layer, x = GlobalAvgPool(), jnp.asarray(X)
    mean = X.mean((1, 2))
    np.testing.assert_allclose(Finite(layer).apply({}, x), mean, rtol=1e-12)
    got = layer.limit(input_kernel(x, None, diagonal_spatial=False))
    np.testing.assert_allclose(got.nngp, mean @ mean.T / 4, rtol=1e-10, atol=1e-12)


def test_a_window_beyond_the_image_is_refused():
    layer, x = AvgPool(6), jnp.asarray(X, jnp.float32)
    with pytest.raises(ValueError, match=r"window <= 5 on images of 5 x 7, got wind"):
        Finite(layer).init(jax.random.key(0), x)
    with pytest.raises(ValueError, match="window=6"):
        layer.limit(input_kernel(x, None, diagonal_spatial=False))
