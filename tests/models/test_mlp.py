"""The MLP: its distribution, its limit, and finite width held to the limit."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.infinite.kernels import kernel_matrix
from zoo.infinite.neural_tangents import stax
from zoo.models import ARCHITECTURES

# Unequal norms; no two inputs parallel, none orthogonal (kernels away from zero).
X = np.asarray([[1.0, 0.5, 0.9], [0.7, 1.6, 0.8], [0.9, 0.6, 2.1]], np.float32)
SETTINGS = {"depth": 2, "out": 4, "sigma_w": 1.3, "sigma_b": 0.4}


def init(net, seed=0):
    return net.init(jax.random.key(seed), jnp.asarray(X))["params"]


def test_parameters_are_counted_and_named():
    params = init(zoo.MLP(width=16, **SETTINGS))
    shapes = jax.tree.map(lambda leaf: leaf.shape, params)
    assert shapes == {
        "dense_0": {"W": (3, 16), "b": (16,)},
        "dense_1": {"W": (16, 16), "b": (16,)},
        "dense_2": {"W": (16, 4), "b": (4,)},
    }
    assert "b" not in init(zoo.MLP(width=16))["dense_0"]


@pytest.mark.parametrize("parameterization", ["ntk", "standard"])
def test_distribution_of_every_weight(parameterization):
    net = zoo.MLP(width=400, parameterization=parameterization, **SETTINGS)
    params = init(net)
    for name, fan_in in (("dense_0", 3), ("dense_1", 400), ("dense_2", 400)):
        standard = parameterization == "standard"
        std = {"W": 1.3 / fan_in**0.5 if standard else 1.0}
        std["b"] = 0.4 if standard else 1.0
        for leaf, want in std.items():
            sample = np.asarray(params[name][leaf], np.float64).ravel()
            # The standard deviation of N(0, s^2) is known to s / sqrt(2 n).
            error = want / np.sqrt(2 * sample.size)
            assert abs(np.sqrt(np.mean(sample**2)) - want) < 5 * error


def test_forward_pass_by_hand():
    net = zoo.MLP(width=8, activation="erf", **SETTINGS)
    p = jax.tree.map(np.asarray, init(net))
    h = X
    for name, fan_in in (("dense_0", 3), ("dense_1", 8), ("dense_2", 8)):
        h = 1.3 / fan_in**0.5 * h @ p[name]["W"] + 0.4 * p[name]["b"]
        if name != "dense_2":
            h = np.asarray(jax.scipy.special.erf(h))
    got = net.apply({"params": init(net)}, jnp.asarray(X))
    np.testing.assert_allclose(got, h, rtol=1e-5, atol=1e-6)


def test_standard_is_the_same_function_with_other_gradients():
    ntk = zoo.MLP(width=8, **SETTINGS)
    standard = zoo.MLP(width=8, parameterization="standard", **SETTINGS)
    p = init(ntk)
    scaled = {
        name: {"W": 1.3 / leaf["W"].shape[0] ** 0.5 * leaf["W"], "b": 0.4 * leaf["b"]}
        for name, leaf in p.items()
    }
    x = jnp.asarray(X)
    np.testing.assert_allclose(
        ntk.apply({"params": p}, x),
        standard.apply({"params": scaled}, x),
        rtol=1e-5,
        atol=1e-6,
    )


@pytest.mark.parametrize("parameterization", ["ntk", "standard"])
@pytest.mark.parametrize(
    ("activation", "layer"),
    [("relu", stax.Relu), ("erf", stax.Erf), ("gelu", stax.Gelu)],
)
def test_limit_equals_neural_tangents_own_layers(activation, layer, parameterization):
    net = zoo.MLP(
        width=32, activation=activation, parameterization=parameterization, **SETTINGS
    )
    dense = [
        stax.Dense(m, W_std=1.3, b_std=0.4, parameterization=parameterization)
        for m in (32, 32, 4)
    ]
    reference = stax.serial(dense[0], layer(), dense[1], layer(), dense[2])[2]
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        want = reference(jnp.asarray(X, jnp.float64), None, ("nngp", "ntk"))
    got = kernel_matrix(net, X, get=("nngp", "ntk"))
    # neural-tangents' relu uses arccos, which has half the digits on the diagonal.
    np.testing.assert_allclose(got.nngp, want.nngp, rtol=1e-8)
    np.testing.assert_allclose(got.ntk, want.ntk, rtol=1e-7)


def test_calling_convention():
    kernel = zoo.kernel_fn(zoo.MLP(width=4))
    x, x2 = jnp.asarray(X), jnp.asarray(X[:2])
    both = kernel(x, x2, get=("nngp", "ntk"))
    assert both.ntk.shape == (3, 2)
    np.testing.assert_array_equal(both.ntk, kernel(x, x2))
    np.testing.assert_array_equal(both.nngp, kernel(x, x2, "nngp"))
    np.testing.assert_allclose(jax.jit(kernel)(x), kernel(x), rtol=1e-6)
    assert kernel(x).dtype == jnp.float32


def test_kernel_matrix_is_float64_with_the_switch_off():
    assert not jax.config.jax_enable_x64
    theta = kernel_matrix(zoo.MLP(width=4, depth=1, sigma_w=2**0.5), X)
    assert theta.dtype == np.float64
    # relu, sigma_w^2 = 2, one hidden layer, on the diagonal: 2 |x|^2 / d + |x|^2 / d
    # from the last layer plus |x|^2 / d from the first: Theta(x, x) = 2 |x|^2 2 / d.
    want = 4 * np.sum(X.astype(np.float64) ** 2, axis=1) / 3
    np.testing.assert_allclose(np.diag(theta), want, rtol=1e-12)
    assert not jax.config.jax_enable_x64


@pytest.mark.parametrize("parameterization", ["ntk", "standard"])
@pytest.mark.parametrize("activation", ["relu", "erf", "gelu", "tanh", "sin"])
def test_mean_over_seeds_is_the_limit(activation, parameterization):
    """Mean of 128 seeds, each the mean over outputs, at two widths.

    A standard error of at most 2 % of the entry, so that a dropped factor is far
    outside of 5 of them; the O(1/m) bias is bounded by what two widths say of it.
    """
    seeds, means, errors = 128, {}, {}
    for width in (64, 512):
        settings = dict(SETTINGS, out=8, parameterization=parameterization)
        net = zoo.MLP(width=width, activation=activation, **settings)
        limit = kernel_matrix(net, X)

        def sample(key, net=net):
            params = net.init(key, jnp.asarray(X))["params"]
            return zoo.empirical_ntk(net, params, jnp.asarray(X))

        keys = jax.random.split(jax.random.key(7), seeds)
        theta = np.asarray(jax.jit(jax.vmap(sample))(keys), np.float64) / limit
        means[width] = theta.mean(0) - 1.0
        errors[width] = theta.std(0, ddof=1) / np.sqrt(seeds)
    assert errors[512].max() < 0.02
    # bias(m) = c / m: from the difference of the two widths, with its own error.
    slope = (means[64] - means[512]) / (1 / 64 - 1 / 512)
    bias = np.abs(slope) / 512
    assert np.all(np.abs(means[512]) < 5 * errors[512] + bias)
    # Bias below 40 / m: a wrong limit would not vanish with width.
    assert np.all(bias < 40 / 512)
    assert errors[512].mean() < 0.6 * errors[64].mean()


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"width": 0}, "width >= 1, got width=0"),
        ({"depth": 0}, "depth >= 1, got depth=0"),
        ({"out": -1}, "out >= 1, got out=-1"),
        ({"sigma_w": 0.0}, "sigma_w=0.0"),
        ({"sigma_b": -0.1}, "sigma_b=-0.1"),
        ({"activation": "rleu"}, "did you mean 'relu'"),
        ({"parameterization": "nkt"}, "did you mean 'ntk'"),
    ],
)
def test_bad_arguments_are_refused_by_value(bad, message):
    with pytest.raises(ValueError, match=message):
        zoo.MLP(**({"width": 4} | bad))


def test_networks_are_values():
    assert zoo.MLP(width=4) == zoo.MLP(width=4)
    assert hash(zoo.MLP(width=4)) == hash(zoo.MLP(width=4))
    assert ARCHITECTURES["mlp"] is zoo.MLP
    wide, narrow = zoo.MLP(width=9, out=2), zoo.MLP(width=4, out=1)
    assert wide.limit_key() == narrow.limit_key()
    standard = zoo.MLP(width=9, parameterization="standard")
    assert standard.limit_key() == standard
