"""The CNN: by hand, its limit against neural-tangents' layers, and refusals."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import signal

from zoo.infinite.kernels import kernel_matrix
from zoo.infinite.neural_tangents import stax
from zoo.models import CNN

RNG = np.random.default_rng(0)
# Unequal norms, away from orthogonality.
X = (RNG.normal(size=(3, 7, 6, 2)) + 0.6) * np.asarray([1.0, 1.3, 0.6]).reshape(
    3, 1, 1, 1
)
X = X.astype(np.float32)
SETTINGS = {"depth": 2, "out": 3, "sigma_w": 1.3, "sigma_b": 0.4}


def init(net, seed=0):
    return net.init(jax.random.key(seed), jnp.asarray(X))["params"]


def test_parameters_are_counted_and_named():
    shapes = jax.tree.map(lambda leaf: leaf.shape, init(CNN(width=5, **SETTINGS)))
    assert shapes == {
        "conv_0": {"W": (3, 3, 2, 5), "b": (5,)},
        "conv_1": {"W": (3, 3, 5, 5), "b": (5,)},
        "dense_0": {"W": (5, 3), "b": (3,)},
    }
    flat = init(CNN(width=5, depth=1, readout="flatten", pool=2, stride=2))
    # 7 x 6 pixels, 4 x 3 after the stride, 2 x 1 after the pooling.
    assert flat["dense_0"]["W"].shape == (10, 1)


@pytest.mark.parametrize("readout", ["gap", "flatten"])
def test_forward_pass_by_hand(readout):
    net = CNN(width=4, readout=readout, pool=2, activation="erf", **SETTINGS)
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), init(net))
    h = X.astype(np.float64)
    for name in ("conv_0", "conv_1"):
        W = p[name]["W"]
        z = np.stack(
            [
                sum(
                    signal.correlate2d(image[..., c], W[..., c, m], mode="same")
                    for c in range(W.shape[2])
                )
                for image in h
                for m in range(4)
            ]
        ).reshape(3, 4, *h.shape[1:3])
        z = 1.3 / (9 * W.shape[2]) ** 0.5 * np.moveaxis(z, 1, -1) + 0.4 * p[name]["b"]
        h = np.asarray(jax.scipy.special.erf(z))
        rows, columns = (length // 2 for length in h.shape[1:3])
        h = h[:, : 2 * rows, : 2 * columns]
        h = h.reshape(3, rows, 2, columns, 2, 4).mean((2, 4))
    h = h.mean((1, 2)) if readout == "gap" else h.reshape(3, -1)
    want = 1.3 / h.shape[1] ** 0.5 * h @ p["dense_0"]["W"] + 0.4 * p["dense_0"]["b"]
    got = net.apply({"params": init(net)}, jnp.asarray(X))
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def reference(net, x):
    """The limit by neural-tangents' own layers; a freeze takes own terms out."""
    b_std = net.sigma_b or None
    scales = {"W_std": net.sigma_w, "b_std": b_std, "parameterization": "ntk"}
    if net.parameterization == "standard":
        scales["parameterization"] = "standard"
    window = (net.kernel_size,) * 2, (net.stride,) * 2, net.padding
    pool = [stax.AvgPool((net.pool,) * 2, (net.pool,) * 2)] if net.pool > 1 else []
    block = [stax.Conv(net.width, *window, **scales), stax.Relu(), *pool]
    read = stax.GlobalAvgPool() if net.readout == "gap" else stax.Flatten()
    dense = stax.Dense(net.out, **scales)
    if net.ends_trained:
        return stax.serial(*block * net.depth, read, dense)[2](x, None)
    stem, body = stax.serial(block[0])[2], stax.serial(*(block * net.depth)[1:], read)
    k = stem(x, None)
    k = body[2](k.replace(ntk=0.0 * k.ntk))
    end = dense[2](k)
    own = k.nngp if net.parameterization == "standard" else end.nngp
    if net.parameterization == "standard":
        own = net.width * k.nngp + (1.0 if net.sigma_b else 0.0)
    return end.replace(ntk=end.ntk - own)


@pytest.mark.parametrize(
    "settings",
    [
        {},
        {"readout": "flatten"},
        {"readout": "flatten", "padding": "CIRCULAR", "parameterization": "standard"},
        {"padding": "VALID", "kernel_size": 2},
        {"stride": 2, "padding": "CIRCULAR"},
        {"pool": 2},
        {"pool": 3, "depth": 1, "readout": "flatten", "padding": "VALID"},
        {"ends_trained": False},
        {"ends_trained": False, "parameterization": "standard", "stride": 2},
    ],
    ids=str,
)
def test_limit_equals_neural_tangents_own_layers(settings):
    net = CNN(width=16, **(SETTINGS | settings))
    got = kernel_matrix(net, X, get=("nngp", "ntk"))
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        with jax.numpy_rank_promotion("allow"):
            want = jax.jit(lambda x: reference(net, x))(jnp.asarray(X, jnp.float64))
    # 1e-7: neural-tangents' relu uses arccos, with half the digits on the diagonal.
    np.testing.assert_allclose(got.nngp, want.nngp, rtol=1e-7)
    np.testing.assert_allclose(got.ntk, want.ntk, rtol=1e-7)


@pytest.mark.parametrize(
    "settings",
    [
        {"ends_trained": False, "padding": "CIRCULAR", "stride": 2},
        {"pool": 2, "readout": "flatten", "parameterization": "standard"},
    ],
    ids=str,
)
def test_mean_over_seeds_is_the_limit(settings, check_limit):
    def net(out):
        return lambda width: CNN(width=width, **(SETTINGS | settings | {"out": out}))

    x = X[:2, :5, :4]
    check_limit(net(64), x, "nngp", widths=(16, 64), n_samples=192)
    check_limit(net(4), x, "ntk", widths=(16, 64))


def test_frozen_ends_have_no_gradient():
    net = CNN(width=4, ends_trained=False, **SETTINGS)
    params = init(net)
    grads = jax.grad(lambda p: jnp.sum(net.apply({"params": p}, jnp.asarray(X))))(
        params
    )
    moved = {name: bool(jnp.any(grad["W"] != 0)) for name, grad in grads.items()}
    assert moved == {"conv_0": False, "conv_1": True, "dense_0": False}


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"pool": 0}, "pool >= 1, got pool=0"),
        ({"stride": 0}, "stride >= 1, got stride=0"),
        ({"kernel_size": 0}, "kernel_size >= 1, got kernel_size=0"),
        ({"padding": "VALLID"}, "did you mean 'VALID'"),
        ({"readout": "gab"}, "did you mean 'gap'"),
        ({"parameterization": "mup"}, "unknown parameterization 'mup'"),
    ],
)
def test_bad_arguments_are_refused_by_value(bad, message):
    with pytest.raises(ValueError, match=message):
        CNN(**({"width": 4} | bad))


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel_size": 9, "padding": "VALID"}, "kernel_size <= 6 .* kernel_size=9"),
        ({"depth": 4, "padding": "VALID"}, "kernel_size <= 2 .* kernel_size=3"),
        ({"depth": 4, "stride": 3}, "stride <= 2 .* stride=3"),
        ({"depth": 3, "pool": 2}, "window <= 1 .* window=2"),
    ],
    ids=str,
)
def test_images_too_small_are_refused_finite_and_infinite(settings, message):
    net = CNN(width=4, **settings)
    with pytest.raises(ValueError, match=message):
        init(net)
    with pytest.raises(ValueError, match=message):
        kernel_matrix(net, X)


def test_vectors_are_refused_finite_and_infinite():
    net, x = CNN(width=4), X.reshape(3, -1)
    message = r"CNN needs inputs of kind 'image', an array of 4 axes, .* \(3, 84\)"
    with pytest.raises(ValueError, match=message):
        net.init(jax.random.key(0), jnp.asarray(x))
    with pytest.raises(ValueError, match=message):
        kernel_matrix(net, x)
