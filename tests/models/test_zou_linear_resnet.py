"""The deep linear ResNet: by hand, and its kernel L <Ax, Ax'> B B^T."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.infinite.kernels import kernel_matrix
from zoo.models import ZouLinearResNet

X = np.random.default_rng(0).normal(size=(3, 5)) * [[1.0], [1.4], [0.7]]
X = X.astype(np.float32)


def init(net):
    return net.init(jax.random.key(0), jnp.asarray(X))["params"]


def test_forward_pass_by_hand():
    net = ZouLinearResNet(width=8, depth=2, out=3)
    params = init(net)
    for place in range(2):
        assert not jnp.any(params[f"residual_{place}"]["branch"]["W"])
        drawn = 0.3 * jax.random.normal(jax.random.key(place), (8, 8))
        params[f"residual_{place}"]["branch"]["W"] = drawn
    A, B = params["dense_0"]["W"], params["dense_1"]["W"]
    h = X @ A
    for place in range(2):
        h = h @ (np.eye(8) + params[f"residual_{place}"]["branch"]["W"])
    got = net.apply({"params": params}, jnp.asarray(X))
    np.testing.assert_allclose(got, h @ B, rtol=1e-5, atol=1e-6)


def test_distribution_of_the_frozen_layers():
    params = init(ZouLinearResNet(width=400, depth=1, out=30))
    for name, var in (("dense_0", 1 / 5), ("dense_1", 1 / 400)):
        W = np.asarray(params[name]["W"], np.float64)
        assert abs(np.mean(W**2) / var - 1) < 5 * np.sqrt(2 / W.size)


def test_kernel_at_finite_width_is_the_closed_form():
    net = ZouLinearResNet(width=16, depth=4, out=3)
    params = init(net)
    z, B = X @ params["dense_0"]["W"], np.asarray(params["dense_1"]["W"]).T
    z = np.asarray(z)
    want = 4 * (z @ z.T)[:, :, None, None] * (B @ B.T)
    got = zoo.empirical_ntk(net, params, jnp.asarray(X), full=True)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_limit_is_the_closed_form():
    net = ZouLinearResNet(width=16, depth=4, out=3)
    got = kernel_matrix(net, X, get=("nngp", "ntk"))
    gram = X.astype(np.float64) @ X.T / 5
    np.testing.assert_allclose(got.ntk, 16 * 4 * gram, rtol=1e-12)
    np.testing.assert_allclose(got.nngp, gram, rtol=1e-12)
    assert net.limit().kind == "exact"


def test_frozen_layers_have_no_gradient():
    net = ZouLinearResNet(width=8, depth=1, out=2)
    grad = jax.grad(lambda p: jnp.sum(net.apply({"params": p}, jnp.asarray(X)) ** 2))(
        init(net)
    )
    assert not jnp.any(grad["dense_0"]["W"])
    assert not jnp.any(grad["dense_1"]["W"])
    assert jnp.any(grad["residual_0"]["branch"]["W"])


@pytest.mark.parametrize("name", ["width", "depth", "out"])
def test_bad_arguments_are_refused_by_value(name):
    with pytest.raises(ValueError, match=f"{name} >= 1, got {name}=0"):
        ZouLinearResNet(**({"width": 4} | {name: 0}))
