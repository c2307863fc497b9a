"""Fully connected members: forward pass by hand, weights, freezing, limits."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import special

from zoo.infinite.kernels import kernel_matrix
from zoo.infinite.neural_tangents import stax
from zoo.models import (
    MLP,
    KawaguchiHuangMLP,
    LiaoMaskedMLP,
    NeuralField,
    NguyenMLP,
    QuadraticNet,
    RandomFeatures,
    TerjekMLP,
    XieMCN,
)

# Unequal norms; no two inputs parallel, none orthogonal (kernels away from zero).
X = np.asarray([[1.0, 0.5, 0.9], [0.7, 1.6, 0.8], [0.9, 0.6, 2.1]], np.float32)
SCALES = {"sigma_w": 1.3, "sigma_b": 0.4}


def affine(h, p, sigma_w, sigma_b=0.0):
    """NTK scaling, in NumPy."""
    out = sigma_w / h.shape[1] ** 0.5 * h @ p["W"]
    return out + sigma_b * p["b"] if sigma_b else out


def softplus(z, a):
    return np.logaddexp(0, a * z) / a


def relu(z):
    return np.maximum(z, 0)


def by_hand_mcn(p, x):
    for name in ("concat_0", "concat_1"):
        block = p[name]
        left, right = (
            affine(x, block["branch_0"][side], 1.3, 0.4) for side in ("left", "right")
        )
        linear = affine(x, block["branch_1"], 1.3, 0.4)
        x = np.concatenate([np.maximum(left, right), linear], axis=1)
    return affine(x, p["dense_0"], 1.3, 0.4)


def by_hand_field(p, x):
    z = 2.5 / 3**0.5 * x @ p["fourierfeatures_0"]["projection"]["W"]
    h = 2**0.5 * np.concatenate([np.cos(z), np.sin(z)], axis=1)
    h = np.sin(3 * (h @ p["dense_0"]["W"] + p["dense_0"]["b"]))
    h = np.sin(3 * (h @ p["dense_1"]["W"] + p["dense_1"]["b"]))
    return h @ p["dense_2"]["W"] + p["dense_2"]["b"]


# (network, its forward pass in NumPy from parameters and inputs)
BY_HAND = {
    "random_features": (
        RandomFeatures(width=6, out=3, activation="erf", **SCALES),
        lambda p, x: affine(
            special.erf(affine(x, p["dense_0"], 1.3, 0.4)), p["dense_1"], 1.0
        ),
    ),
    "kawaguchi_huang_softplus": (
        KawaguchiHuangMLP(width=6, out=3, sharpness=2.0, **SCALES),
        lambda p, x: affine(
            softplus(affine(x, p["dense_0"], 1.3, 0.4), 2.0), p["dense_1"], 1.3
        ),
    ),
    "kawaguchi_huang_sigmoid": (
        KawaguchiHuangMLP(width=6, activation="sigmoid", sharpness=2.0, **SCALES),
        lambda p, x: affine(
            special.expit(2 * affine(x, p["dense_0"], 1.3, 0.4)), p["dense_1"], 1.3
        ),
    ),
    "nguyen": (
        NguyenMLP(width=9, depth=2, out=3, narrow=4),
        lambda p, x: (
            relu(relu(x @ p["dense_0"]["W"]) @ p["dense_1"]["W"]) @ p["dense_2"]["W"]
        ),
    ),
    "terjek": (
        TerjekMLP(width=6, depth=1, out=3, activation="sin", **SCALES),
        lambda p, x: affine(
            np.sin(affine(x, p["dense_0"], 1.3, 0.4)), p["dense_1"], 1.3, 0.4
        ),
    ),
    "quadratic": (
        QuadraticNet(width=6, out=3),
        lambda p, x: affine(
            affine(x, p["dense_0"], 1.0) ** 2 / 3**0.5, p["dense_1"], 1.0
        ),
    ),
    "xie_mcn": (XieMCN(width=6, out=3, **SCALES), by_hand_mcn),
    "liao_masked": (
        LiaoMaskedMLP(width=12, out=3),
        lambda p, x: affine(
            relu(affine(x, p["dense_0"], 1.0)) * p["mask_0"]["M"], p["dense_1"], 1.0
        ),
    ),
    "neural_field": (
        NeuralField(width=6, depth=2, out=3, omega=3.0, encoding=2.5, **SCALES),
        by_hand_field,
    ),
}


def init(net, seed=0):
    return net.init(jax.random.key(seed), jnp.asarray(X))["params"]


@pytest.mark.parametrize("name", sorted(BY_HAND))
def test_forward_pass_by_hand(name):
    net, forward = BY_HAND[name]
    params = init(net)
    want = forward(jax.tree.map(np.asarray, params), X)
    got = net.apply({"params": params}, jnp.asarray(X))
    assert np.abs(want).max() > 0
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


# (network, parameter, variance)
VARIANCES = [
    (NguyenMLP(width=300, narrow=40, hidden_init="lecun"), "dense_0", 1 / 3),
    (NguyenMLP(width=300, narrow=40, hidden_init="lecun"), "dense_1", 1 / 40),
    (NguyenMLP(width=300, narrow=40, hidden_init="he"), "dense_1", 2 / 40),
    (NguyenMLP(width=300, narrow=40, hidden_init="xavier"), "dense_1", 2 / 340),
    (NguyenMLP(width=300, narrow=40, hidden_init="he"), "dense_2", 1 / 300),
    (NguyenMLP(width=300, sigma_last=0.2), "dense_2", 0.04 / 300),
    (NeuralField(width=400, out=20, small_last=True), "dense_1", 2 / 400**1.5),
    (NeuralField(width=400, out=20, sigma_w=1.3), "dense_1", 1.69 / 400),
    (RandomFeatures(width=400), "dense_0", 1.0),
    (KawaguchiHuangMLP(width=400), "dense_0", 1.0),
]


@pytest.mark.parametrize(("net", "name", "variance"), VARIANCES, ids=str)
def test_variances_of_weights(net, name, variance):
    W = np.asarray(init(net)[name]["W"], np.float64)
    # The variance of N(0, s^2) is known to s^2 sqrt(2 / n).
    assert abs(np.mean(W**2) / variance - 1) < 5 * np.sqrt(2 / W.size)


def test_nguyen_can_start_at_zero():
    net = NguyenMLP(width=20, sigma_last=0.0)
    params = init(net)
    assert not np.any(params["dense_2"]["W"])
    assert np.all(np.asarray(params["dense_1"]["W"]) != 0)
    assert not np.any(net.apply({"params": params}, jnp.asarray(X)))


def test_masks_are_drawn_with_their_probability():
    M = np.asarray(init(LiaoMaskedMLP(width=4000, keep=0.3))["mask_0"]["M"])
    assert set(np.unique(M)) == {0.0, 1.0}
    assert abs(M.mean() - 0.3) < 5 * np.sqrt(0.21 / 4000)


FROZEN = [
    (RandomFeatures(width=6), ["dense_0"]),
    (KawaguchiHuangMLP(width=6, depth=2), ["dense_0", "dense_1"]),
    (KawaguchiHuangMLP(width=6, depth=2, train="all"), []),
    (LiaoMaskedMLP(width=12), ["mask_0", "dense_1"]),
    (LiaoMaskedMLP(width=12, train="all"), ["mask_0"]),
    (NeuralField(width=6, encoding=1.0), ["fourierfeatures_0"]),
    (TerjekMLP(width=6), []),
]


@pytest.mark.parametrize(("net", "frozen"), FROZEN, ids=range(len(FROZEN)))
def test_frozen_layers_have_no_gradient(net, frozen):
    def loss(params):
        return jnp.sum((net.apply({"params": params}, jnp.asarray(X)) - 1.0) ** 2)

    grad = jax.grad(loss)(init(net))
    still = {
        name
        for name, leaves in grad.items()
        if not any(np.any(leaf) for leaf in jax.tree.leaves(leaves))
    }
    assert still == set(frozen)


LIMITS = {
    "kawaguchi_huang": lambda m, k: KawaguchiHuangMLP(
        width=m, depth=2, out=k, sharpness=2.0, train="all", **SCALES
    ),
    "nguyen": lambda m, k: NguyenMLP(width=m, depth=1, out=k, sigma_last=0.5),
    "xie_mcn": lambda m, k: XieMCN(width=m, depth=1, out=k, **SCALES),
    "liao_masked": lambda m, k: LiaoMaskedMLP(width=m, out=k, keep=0.6),
    "neural_field": lambda m, k: NeuralField(
        width=m, out=k, omega=1.5, activation="sinc", encoding=0.5, **SCALES
    ),
}


@pytest.mark.parametrize(
    ("name", "get", "out"),
    [(name, "ntk", 2) for name in sorted(LIMITS)]
    # The standard error of the NNGP falls with the outputs.
    + [(name, "nngp", 64) for name in ("xie_mcn", "liao_masked")],
)
def test_finite_width_has_the_limit_as_its_mean(check_limit, name, get, out):
    check_limit(lambda m: LIMITS[name](m, out), X, get, largest_error=0.04)


def test_random_features_ntk_is_its_nngp():
    net = RandomFeatures(width=8, activation="tanh", **SCALES)
    nngp, ntk = kernel_matrix(net, X, get=("nngp", "ntk"))
    np.testing.assert_allclose(ntk, nngp, rtol=1e-14)
    hidden = MLP(width=8, depth=1, activation="tanh", **SCALES)
    want = (kernel_matrix(hidden, X, get="nngp") - 0.16) / 1.69
    np.testing.assert_allclose(ntk, want, rtol=1e-10)


def test_last_layer_of_kawaguchi_huang_alone_has_its_nngp_as_ntk():
    nngp, ntk = kernel_matrix(KawaguchiHuangMLP(width=8), X, get=("nngp", "ntk"))
    np.testing.assert_allclose(ntk, nngp, rtol=1e-12)


def test_masks_scale_both_kernels():
    full = kernel_matrix(MLP(width=8, depth=1, sigma_w=1.0), X, get=("nngp", "ntk"))
    masked = kernel_matrix(
        LiaoMaskedMLP(width=8, keep=0.3, train="all"), X, get=("nngp", "ntk")
    )
    np.testing.assert_allclose(masked.nngp, 0.3 * full.nngp, rtol=1e-12)
    np.testing.assert_allclose(masked.ntk, 0.3 * full.ntk, rtol=1e-12)


def test_quadratic_limit_equals_neural_tangents_monomial():
    net = QuadraticNet(width=8, depth=3)
    dense = stax.Dense(8, W_std=1.0)
    square = stax.serial(dense, stax.Monomial(2))
    reference = stax.serial(*[square] * 3, dense)[2]
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        want = reference(jnp.asarray(X, jnp.float64), None, ("nngp", "ntk"))
        want = jax.tree.map(np.asarray, want)
    got = kernel_matrix(net, X, get=("nngp", "ntk"))
    # phi is z^2 / sqrt(3) in every layer: what follows is a factor 1/3, squared again.
    np.testing.assert_allclose(got.nngp, want.nngp / 3**7, rtol=1e-10)
    np.testing.assert_allclose(got.ntk, want.ntk / 3**7, rtol=1e-10)


def test_quadratic_keeps_the_mean_square_of_inputs_of_norm_sqrt_d():
    x = X * (3**0.5 / np.linalg.norm(X, axis=1, keepdims=True))
    nngp = kernel_matrix(QuadraticNet(width=8, depth=6), x, get="nngp")
    np.testing.assert_allclose(np.diag(nngp), 1.0, rtol=1e-4)


def test_xie_slope_is_one_less_the_angle():
    """One layer, unit scales: the NTK by hand."""
    x = X.astype(np.float64)
    k = x @ x.T / 3
    norm = np.sqrt(np.outer(np.diag(k), np.diag(k)))
    angle = np.arccos(np.clip(k / norm, -1, 1))
    np.fill_diagonal(angle, 0.0)
    absolute = norm * (2 * np.sin(angle) + (np.pi - 2 * angle) * np.cos(angle)) / np.pi
    nngp = ((k + absolute) / 2 + k) / 2
    ntk = nngp + k * ((1 - angle / np.pi) + 1) / 2
    got = kernel_matrix(XieMCN(width=8, depth=1), x, get=("nngp", "ntk"))
    np.testing.assert_allclose(got.nngp, nngp, rtol=1e-8)
    np.testing.assert_allclose(got.ntk, ntk, rtol=1e-8)


def test_encoded_coordinates_have_the_gaussian_kernel():
    net = NeuralField(
        width=8, activation="relu", omega=1.0, encoding=1.7, parameterization="ntk"
    )
    square = np.sum((X[:, None] - X[None]).astype(np.float64) ** 2, axis=-1)
    rbf = np.exp(-(1.7**2) * square / 6)
    # sigma_w = sigma_b = 1: relu's inputs have the variance 2, the covariance 1 + rbf.
    angle = np.arccos((1 + rbf) / 2)
    value = 2 * (np.sin(angle) + (np.pi - angle) * np.cos(angle)) / (2 * np.pi)
    slope = (np.pi - angle) / (2 * np.pi)
    got = kernel_matrix(net, X, get=("nngp", "ntk"))
    np.testing.assert_allclose(got.nngp, value + 1, rtol=1e-7)
    np.testing.assert_allclose(got.ntk, value + 1 + (1 + rbf) * slope, rtol=1e-7)


def test_a_narrow_layer_leaves_no_limit():
    kind, why = NguyenMLP(width=64, depth=3, narrow=5).limit()
    assert kind == "none"
    assert "narrow=5" in why
    assert NguyenMLP(width=64, depth=1).limit().kind == "exact"
    xavier = NguyenMLP(width=64, depth=1, hidden_init="xavier")
    assert xavier.limit().kind == "none"
    assert xavier.rate == 0


@pytest.mark.parametrize(
    ("make", "bad", "message"),
    [
        (RandomFeatures, {"activation": "rleu"}, "did you mean 'relu'"),
        (RandomFeatures, {"width": 0}, "width >= 1, got width=0"),
        (KawaguchiHuangMLP, {"train": "lst"}, "did you mean 'last'"),
        (KawaguchiHuangMLP, {"activation": "relu"}, "activation 'relu'"),
        (KawaguchiHuangMLP, {"sharpness": 0.0}, "sharpness=0.0"),
        (NguyenMLP, {"hidden_init": "hee"}, "did you mean 'he'"),
        (NguyenMLP, {"narrow": 0}, "narrow >= 1, got narrow=0"),
        (NguyenMLP, {"sigma_last": -1.0}, "sigma_last=-1.0"),
        (TerjekMLP, {"activation": "relu"}, "smooth activation 'relu'"),
        (TerjekMLP, {"activation": "square"}, "smooth activation 'square'"),
        (QuadraticNet, {"depth": 0}, "depth >= 1, got depth=0"),
        (XieMCN, {"sigma_w": -2.0}, "sigma_w=-2.0"),
        (LiaoMaskedMLP, {"keep": 0.0}, r"keep in \(0, 1\], got keep=0.0"),
        (LiaoMaskedMLP, {"keep": 1.5}, "keep=1.5"),
        (NeuralField, {"activation": "sinn"}, "did you mean"),
        (NeuralField, {"omega": -1.0}, "omega=-1.0"),
        (NeuralField, {"encoding": -1.0}, "encoding=-1.0"),
        (
            NeuralField,
            {"parameterization": "ntk", "small_last": True},
            "small_last=True",
        ),
    ],
)
def test_bad_arguments_are_refused_by_value(make, bad, message):
    with pytest.raises(ValueError, match=message):
        make(**({"width": 4} | bad))
