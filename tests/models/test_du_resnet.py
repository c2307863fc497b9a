"""Du et al.'s residual networks: by hand, and a limit that carries means."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.infinite.kernels import kernel_matrix
from zoo.layers import Conv, Finite
from zoo.models import DuConvResNet, DuResNet
from zoo.models.du_resnet import c_sigma

RNG = np.random.default_rng(0)
X = ((RNG.normal(size=(3, 5)) + 0.5) * [[1.0], [1.4], [0.7]]).astype(np.float32)
IMAGES = (RNG.normal(size=(2, 4, 3, 2)) + 0.5).astype(np.float32)
IMAGES[1] *= 1.4


def init(net, x=X):
    return net.init(jax.random.key(0), jnp.asarray(x))["params"]


def test_c_sigma_is_the_inverse_second_moment():
    assert c_sigma("relu") == pytest.approx(2.0, rel=1e-14)
    assert c_sigma("identity") == pytest.approx(1.0, rel=1e-14)
    z, w = np.polynomial.hermite_e.hermegauss(100)
    second = w @ np.log1p(np.exp(z)) ** 2 / np.sqrt(2 * np.pi)
    assert c_sigma("softplus") == pytest.approx(1 / second, rel=1e-10)


def test_every_weight_is_standard_normal():
    params = init(DuResNet(width=300, depth=3, out=20))
    leaves = jax.tree.leaves(params)
    assert [leaf.shape for leaf in leaves] == [(300, 300)] * 2 + [(5, 300), (300, 20)]
    for leaf in leaves:
        var = np.mean(np.asarray(leaf, np.float64) ** 2)
        assert abs(var - 1) < 5 * np.sqrt(2 / leaf.size)


def test_forward_pass_by_hand():
    """The paper's h = g / sqrt(m), whose last layer is <a, h>."""
    net = DuResNet(width=8, depth=4, out=2, c_res=0.9, activation="relu")
    p = init(net)
    stack = p["activatedresiduals_0"]
    h = np.sqrt(2 / 8) * np.maximum(X / np.sqrt(5) @ p["dense_0"]["W"], 0)
    for layer in range(3):
        u = h @ stack[f"dense_{layer}"]["W"]
        h = h + 0.9 / (4 * np.sqrt(8)) * np.maximum(u, 0)
    got = net.apply({"params": p}, jnp.asarray(X))
    np.testing.assert_allclose(got, h @ p["dense_1"]["W"], rtol=1e-5, atol=1e-6)


def test_convolutional_forward_pass_by_hand():
    net = DuConvResNet(
        width=4, depth=3, out=2, c_res=0.9, activation="relu", kernel_size=2
    )
    p = init(net, IMAGES)
    stack = p["activatedresiduals_0"]

    def product(params, h):  # W * h without any factor: sigma_w^2 = q c
        layer = Conv(4, (4.0 * h.shape[-1]) ** 0.5, kernel_size=2)
        return np.asarray(Finite(layer).apply({"params": params}, jnp.asarray(h)))

    h = np.sqrt(2 / 4) * np.maximum(product(p["conv_0"], IMAGES / np.sqrt(2)), 0)
    for layer in range(2):
        u = product(stack[f"conv_{layer}"], h)
        h = h + 0.9 / (3 * np.sqrt(4)) * np.maximum(u, 0)
    want = h.reshape(2, -1) @ p["dense_0"]["W"] / np.sqrt(4 * 3)
    got = net.apply({"params": p}, jnp.asarray(IMAGES))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)


def test_linear_stack_has_a_closed_form():
    """phi(x) = x has no means: K and Theta grow by 1 + c^2 per branch."""
    net = DuResNet(width=4, depth=5, activation="identity", c_res=0.9)
    got = kernel_matrix(net, X, get=("nngp", "ntk"))
    x, growth = X.astype(np.float64), 1 + (0.9 / 5) ** 2
    gram = x @ x.T / 5
    np.testing.assert_allclose(got.nngp, gram * growth**4, rtol=1e-12)
    # First and last layer, and four branches that lack one factor growth.
    theta = 2 * growth**4 + 4 * (growth - 1) * growth**3
    np.testing.assert_allclose(got.ntk, gram * theta, rtol=1e-12)


def test_relu_stack_on_the_diagonal_by_hand():
    """At x = x' the relu's expectations are K/2, 1/2 and sqrt(K / 2 pi)."""
    net = DuResNet(width=4, depth=4, activation="relu", c_res=0.9)
    got = kernel_matrix(net, X, get=("nngp", "ntk"))
    c = 0.9 / 4
    for i, point in enumerate(X.astype(np.float64)):
        q = point @ point / 5
        mean, cov, theta = np.sqrt(2 * q / (2 * np.pi)), q, q  # c_sigma = 2
        for _ in range(3):
            nu = np.sqrt(cov / (2 * np.pi))
            theta = theta + c**2 * (cov + theta) / 2
            cov, mean = cov + 2 * c * mean * nu + c**2 * cov / 2, mean + c * nu
        np.testing.assert_allclose(got.nngp[i, i], cov, rtol=1e-12)
        np.testing.assert_allclose(got.ntk[i, i], cov + theta, rtol=1e-12)


def test_one_pixel_is_a_vector():
    settings = {"width": 4, "depth": 3, "c_res": 0.8, "activation": "gelu"}
    want = kernel_matrix(DuResNet(**settings), X, X[:2], get=("nngp", "ntk"))
    conv = DuConvResNet(**settings, kernel_size=1)
    pixel = X[:, None, None]
    got = kernel_matrix(conv, pixel, pixel[:2], get=("nngp", "ntk"))
    np.testing.assert_allclose(got.nngp, want.nngp, rtol=1e-12)
    np.testing.assert_allclose(got.ntk, want.ntk, rtol=1e-12)


def test_mean_over_seeds_is_the_limit(check_limit):
    """Theta holds K_H, whose cross terms of the means are a fifth of it."""
    settings = {"out": 8, "depth": 3, "c_res": 0.99, "activation": "softplus"}
    check_limit(lambda m: DuResNet(width=m, **settings), X, "ntk", (32, 128))
    settings["kernel_size"] = 2
    check_limit(lambda m: DuConvResNet(width=m, **settings), IMAGES, "ntk", (16, 64))


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"c_res": 1.0}, "c_res between 0 and 1, got c_res=1.0"),
        ({"c_res": 0.0}, "c_res between 0 and 1, got c_res=0.0"),
        ({"depth": 0}, "depth >= 1, got depth=0"),
        ({"activation": "softplsu"}, "did you mean 'softplus'"),
    ],
)
def test_bad_arguments_are_refused_by_value(bad, message):
    for cls in (DuResNet, DuConvResNet):
        with pytest.raises(ValueError, match=message):
            cls(**({"width": 4} | bad))
    with pytest.raises(ValueError, match="kernel_size >= 1, got kernel_size=0"):
        DuConvResNet(width=4, kernel_size=0)
