"""Attention: its forward pass, and its uniform limit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers import Attention, Finite, input_kernel

# Three examples of four tokens with five channels, of unequal norms.
X = (
    np.random.default_rng(0).normal(size=(3, 4, 5))
    * np.array([1.0, 0.6, 1.7])[:, None, None]
)


def softmax(z):
    e = np.exp(z - z.max(axis=-1, keepdims=True))
    return e / e.sum(axis=-1, keepdims=True)


@pytest.mark.parametrize("power", [0.5, 1.0])
@pytest.mark.parametrize("init", ["lecun", "ntk"])
def test_forward_pass_by_hand(init, power, x64):
    layer = Finite(Attention(width=6, power=power, init=init))
    params = layer.init(jax.random.key(0), jnp.asarray(X))["params"]
    params = jax.tree.map(lambda leaf: leaf.astype(jnp.float64), params)
    W = {name: np.asarray(leaf["W"]) for name, leaf in params.items()}
    assert {name: leaf.shape for name, leaf in W.items()} == dict.fromkeys(
        ("query", "key", "value"), (5, 6)
    )
    want = np.empty((3, 4, 6))
    for i, x in enumerate(X):
        scores = (x @ W["query"]) @ (x @ W["key"]).T * 6.0**-power
        want[i] = softmax(scores) @ x @ W["value"]
    got = layer.apply({"params": params}, jnp.asarray(X))
    np.testing.assert_allclose(got, want, rtol=1e-12)


@pytest.mark.parametrize(("init", "variance"), [("lecun", 0.2), ("he", 0.4)])
def test_limit_is_the_affine_map_of_the_mean_token(init, variance, x64):
    k = Attention(width=9, init=init).limit(
        input_kernel(jnp.asarray(X), jnp.asarray(X[:2]), diagonal_spatial=False)
    )
    gram = X.mean(1) @ X[:2].mean(1).T
    full = np.broadcast_to(gram[:, :, None, None], (3, 2, 4, 4))
    np.testing.assert_allclose(k.nngp, variance * full, rtol=1e-12)
    # The weights' own share: their gradient is the mean token.
    np.testing.assert_allclose(k.ntk, full, rtol=1e-12)
    own = variance * np.sum(X.mean(1) ** 2, axis=-1)
    np.testing.assert_allclose(k.cov1[:, 0, 3], own, rtol=1e-12)
    assert k.shape1 == (3, 4, 9)
    assert k.is_gaussian


def test_an_example_with_itself_has_its_variance_to_the_last_digit():
    k = Attention(width=9).limit(
        input_kernel(jnp.asarray(X, jnp.float32), None, diagonal_spatial=False)
    )
    for i in range(3):
        np.testing.assert_array_equal(k.nngp[i, i], k.cov1[i])


def test_inputs_without_tokens_are_refused():
    layer = Finite(Attention(width=2))
    with pytest.raises(ValueError, match=r"\[n, tokens, channels\], got shape \(3, 5"):
        layer.init(jax.random.key(0), jnp.ones((3, 5)))
