"""Normalization by hand, in the limit, and where there is none."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers import (
    BatchNorm,
    Dense,
    Finite,
    LayerNorm,
    Nonlinear,
    Serial,
    WeightNormDense,
    input_kernel,
)

X = np.random.default_rng(0).normal(size=(3, 5)) * [[1.0], [2.0], [0.5]] + 0.3


def test_layer_norm_by_hand(x64):
    got = Finite(LayerNorm(eps=0.1)).apply({}, jnp.asarray(X))
    var = X.var(axis=1, keepdims=True)
    want = (X - X.mean(axis=1, keepdims=True)) / np.sqrt(var + 0.1)
    np.testing.assert_allclose(got, want, rtol=1e-12)


def test_limit_of_layer_norm_is_a_correlation(x64):
    net = Serial(Dense(8, 1.3), LayerNorm(eps=0.1))
    k = net.limit(input_kernel(jnp.asarray(X), jnp.asarray(X[:2]), True))
    cov = 1.69 * X @ X[:2].T / 5
    own = 1.69 * np.sum(X**2, axis=1) / 5 + 0.1
    want = cov / np.sqrt(np.outer(own, own[:2]))
    np.testing.assert_allclose(k.nngp, want, rtol=1e-12)
    np.testing.assert_allclose(k.ntk, want, rtol=1e-12)
    np.testing.assert_allclose(k.cov1, 1 - 0.1 / own, rtol=1e-12)


def test_layer_norm_after_an_activation_is_refused():
    k = input_kernel(jnp.asarray(X, jnp.float32), None, True)
    with pytest.raises(ValueError, match=r"LayerNorm.* needs Gaussian inputs"):
        Serial(Dense(8), Nonlinear("relu"), LayerNorm()).limit(k)


@pytest.mark.parametrize("shape", [(15, 4), (3, 5, 4), (3, 5, 1, 4)])
def test_batch_norm_by_hand(shape, x64):
    x = np.random.default_rng(1).normal(size=shape) * [1.0, 2.0, 0.5, 3.0] + 0.3
    rows = x.reshape(15, 4)
    want = (rows - rows.mean(axis=0)) / np.sqrt(rows.var(axis=0) + 0.1)
    got = Finite(BatchNorm(eps=0.1)).apply({}, jnp.asarray(x))
    assert got.shape == shape
    np.testing.assert_allclose(got.reshape(15, 4), want, rtol=1e-12)


def test_batch_norm_says_that_examples_interact():
    assert BatchNorm().couples_batch
    assert not LayerNorm().couples_batch
    assert "depend on the whole batch" in BatchNorm().no_limit


def test_weight_norm_by_hand():
    x = jnp.asarray(X, jnp.float32)
    params = Finite(WeightNormDense(3, 1.3)).init(jax.random.key(0), x)["params"]
    assert params["W"].shape == (5, 3)
    np.testing.assert_array_equal(params["g"], np.ones(3))
    params["g"] = jnp.asarray([0.5, 2.0, -1.0])
    got = Finite(WeightNormDense(3, 1.3)).apply({"params": params}, x)
    W, g = np.asarray(params["W"]), np.asarray(params["g"])
    want = 1.3 * X @ (W / np.sqrt(np.sum(W**2, axis=0))) * g
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    # The direction alone enters: scaling a unit's weights changes nothing.
    scaled = {"W": params["W"] * jnp.asarray([[3.0, 0.1, 7.0]]), "g": params["g"]}
    again = Finite(WeightNormDense(3, 1.3)).apply({"params": scaled}, x)
    np.testing.assert_allclose(again, got, rtol=1e-5, atol=1e-6)
