"""The linearly parameterized ResNet: by hand, and the kernel of its features."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.infinite.kernels import kernel_matrix
from zoo.models import BarboniResNet

X = np.random.default_rng(0).normal(size=(3, 5)) + 0.3
X = (X * [[1.0], [1.4], [0.7]]).astype(np.float32)
SETTINGS = {"depth": 3, "out": 4, "features": 24, "sigma_w": 1.2}
STEPS = "fixedfeatureresiduals_0"


def init(net):
    return net.init(jax.random.key(0), jnp.asarray(X))["params"]


def test_parameters_are_named_and_the_features_shared():
    shapes = jax.tree.map(jnp.shape, init(BarboniResNet(width=8, **SETTINGS)))
    steps = {f"dense_{place}": {"W": (24, 8)} for place in range(3)}
    assert shapes == {
        "dense_0": {"W": (5, 8)},
        STEPS: {"features": {"dense_0": {"W": (8, 24)}}, **steps},
        "dense_1": {"W": (8, 4)},
    }
    default = init(BarboniResNet(width=8))[STEPS]
    assert default["features"]["dense_0"]["W"].shape == (8, 8)


def test_forward_pass_by_hand():
    net = BarboniResNet(width=8, **SETTINGS)
    params = init(net)
    for place in range(3):
        assert not jnp.any(params[STEPS][f"dense_{place}"]["W"])
        drawn = jax.random.normal(jax.random.key(place), (24, 8))
        params[STEPS][f"dense_{place}"]["W"] = drawn
    Omega = params[STEPS]["features"]["dense_0"]["W"]
    z = X @ params["dense_0"]["W"] / np.sqrt(5)
    for place in range(3):
        psi = np.maximum(1.2 * z @ Omega / np.sqrt(8), 0) / np.sqrt(24)
        z = z + psi @ params[STEPS][f"dense_{place}"]["W"] / 3
    got = net.apply({"params": params}, jnp.asarray(X))
    want = z @ params["dense_1"]["W"] / np.sqrt(8)
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_kernel_at_finite_width_is_that_of_the_features():
    net = BarboniResNet(width=8, **SETTINGS)
    params = init(net)
    Omega, B = params[STEPS]["features"]["dense_0"]["W"], params["dense_1"]["W"]
    z = X @ params["dense_0"]["W"] / np.sqrt(5)
    psi = np.maximum(1.2 * z @ Omega / np.sqrt(8), 0) / np.sqrt(24)
    psi, B = np.asarray(psi), np.asarray(B)
    want = (psi @ psi.T)[:, :, None, None] / 3 * (B.T @ B) / 8
    got = zoo.empirical_ntk(net, params, jnp.asarray(X), full=True)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-6)


def test_limit_is_the_closed_form():
    net = BarboniResNet(width=8, **SETTINGS | {"features": 0})
    got = kernel_matrix(net, X, get=("nngp", "ntk"))
    gram = X.astype(np.float64) @ X.T / 5
    norm = np.sqrt(np.outer(np.diag(gram), np.diag(gram)))
    angle = np.arccos(np.clip(gram / norm, -1, 1))
    np.fill_diagonal(angle, 0.0)
    relu = norm * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
    np.testing.assert_allclose(got.ntk, 1.44 * relu / 3, rtol=1e-10)
    np.testing.assert_allclose(got.nngp, gram, rtol=1e-12)
    assert net.limit().kind == "exact"


def test_frozen_layers_have_no_gradient():
    """Away from W = 0, where the features' gradient would vanish in any case."""
    net = BarboniResNet(width=8, **SETTINGS)
    params = jax.tree.map(lambda leaf: leaf + 0.1, init(net))
    grad = jax.grad(lambda p: jnp.sum(net.apply({"params": p}, jnp.asarray(X)) ** 2))(
        params
    )
    assert not jnp.any(grad["dense_0"]["W"])
    assert not jnp.any(grad["dense_1"]["W"])
    assert not jnp.any(grad[STEPS]["features"]["dense_0"]["W"])
    assert jnp.any(grad[STEPS]["dense_2"]["W"] != 0)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"depth": 0}, "depth >= 1, got depth=0"),
        ({"features": -1}, "features >= 0, got features=-1"),
        ({"sigma_w": 0.0}, "sigma_w > 0, got sigma_w=0.0"),
        ({"activation": "rleu"}, "did you mean 'relu'"),
    ],
)
def test_bad_arguments_are_refused_by_value(bad, message):
    with pytest.raises(ValueError, match=message):
        BarboniResNet(**({"width": 4} | bad))
