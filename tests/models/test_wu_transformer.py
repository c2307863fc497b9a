"""The shallow transformer, held to its recursion and to its limit."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.infinite.kernels import kernel_matrix
from zoo.infinite.neural_tangents import stax
from zoo.models import WuTransformer

RNG = np.random.default_rng(0)
X = (RNG.normal(size=(3, 4, 5)) + 0.4) * np.array([1.0, 0.6, 1.4])[:, None, None]
X32 = jnp.asarray(X, jnp.float32)
INITS = ("lecun", "he", "ntk")
# (W_std, readout std, parameterization) of the same network as a stack on mean tokens.
TWO_LAYER = {
    "lecun": (1.0, 1.0, "standard"),
    "he": (2**0.5, 2**0.5, "standard"),
    "ntk": (5**0.5, 1.0, "ntk"),
}


def init(net, seed=0):
    return net.init(jax.random.key(seed), X32)["params"]


@pytest.mark.parametrize("tau", ["sqrt", "linear"])
@pytest.mark.parametrize("initialization", INITS)
def test_forward_pass_by_hand(initialization, tau):
    net = WuTransformer(width=7, out=2, tau=tau, initialization=initialization)
    params = init(net)
    head, readout = params["attention_0"], params["dense_0"]["W"]
    Q, K, V = (np.asarray(head[name]["W"]) for name in ("query", "key", "value"))
    tau0 = {"sqrt": 7**-0.5, "linear": 1 / 7}[tau]
    tau1 = 7**-0.5 if initialization == "ntk" else 1.0
    for x, got in zip(X, net.apply({"params": params}, X32), strict=True):
        A1 = np.exp(tau0 * (x @ Q) @ (x @ K).T)
        A1 /= A1.sum(axis=1, keepdims=True)
        A2 = tau1 * np.maximum(A1 @ x @ V, 0)
        np.testing.assert_allclose(got, A2.mean(axis=0) @ readout, rtol=2e-5)


@pytest.mark.parametrize("initialization", INITS)
def test_distribution_of_every_weight(initialization):
    net = WuTransformer(width=700, out=6, initialization=initialization)
    variance = {"lecun": 1.0, "he": 2.0}.get(initialization)
    leaves = jax.tree_util.tree_leaves_with_path(init(net))
    assert len(leaves) == 4
    for _, leaf in leaves:
        want = 1.0 if variance is None else variance / leaf.shape[0]
        sample = np.asarray(leaf, np.float64).ravel()
        # The variance of N(0, s^2) is known to s^2 sqrt(2 / n).
        assert abs(np.mean(sample**2) / want - 1) < 5 * np.sqrt(2 / sample.size)


@pytest.mark.parametrize("initialization", INITS)
def test_limit_is_a_two_layer_network_of_the_mean_token(initialization):
    first, last, parameterization = TWO_LAYER[initialization]
    reference = stax.serial(
        stax.Dense(32, W_std=first, b_std=None, parameterization=parameterization),
        stax.Relu(),
        stax.Dense(1, W_std=last, b_std=None, parameterization=parameterization),
    )[2]
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        want = reference(jnp.asarray(X.mean(axis=1)), None, ("nngp", "ntk"))
    net = WuTransformer(width=32, initialization=initialization)
    got = kernel_matrix(net, X, get=("nngp", "ntk"))
    # neural-tangents' relu uses arccos, which has half the digits on the diagonal.
    np.testing.assert_allclose(got.nngp, want.nngp, rtol=1e-8)
    np.testing.assert_allclose(got.ntk, want.ntk, rtol=1e-7)
    assert net.limit().kind == "exact"


@functools.cache
def shares(net, seeds=128):
    """(NTK shares by parameter, outputs) of every seed; shares [s, n, n]."""

    def sample(key):
        params = net.init(key, X32)["params"]
        jacobian = jax.jacrev(lambda p: net.apply({"params": p}, X32)[:, 0])(params)

        def gram(j):
            return j.reshape(len(X), -1) @ j.reshape(len(X), -1).T

        return jax.tree.map(gram, jacobian), net.apply({"params": params}, X32)[:, 0]

    found = jax.jit(jax.vmap(sample))(jax.random.split(jax.random.key(7), seeds))
    return jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), found)


@pytest.mark.parametrize("initialization", INITS)
def test_mean_over_seeds_is_the_limit(initialization):
    means, errors = {}, {}
    for width in (256, 1024):
        net = WuTransformer(width=width, initialization=initialization)
        theta, f = shares(net)
        total = sum(jax.tree.leaves(theta))
        limit = kernel_matrix(net, X, get=("nngp", "ntk"))
        ratio = total / limit.ntk
        means[width] = ratio.mean(0) - 1
        errors[width] = ratio.std(0, ddof=1) / np.sqrt(len(ratio))
        products = f[:, :, None] * f[:, None, :]
        error = products.std(0, ddof=1) / np.sqrt(len(f))
        bias = 8.0 * np.abs(limit.nngp).max() / width  # scores of size d / sqrt(m)
        assert np.all(abs(products.mean(0) - limit.nngp) < 5 * error + bias)
    assert errors[1024].max() < 0.03
    bias = np.abs(means[256] - means[1024]) / 3 + 5 * errors[256] / 3
    assert np.all(np.abs(means[1024]) < 5 * errors[1024] + bias)
    assert bias.max() < 0.15


@pytest.mark.parametrize("initialization", INITS)
def test_shares_of_queries_and_keys_vanish_as_one_over_the_width(initialization):
    found = {}
    for width in (256, 1024):
        net = WuTransformer(width=width, initialization=initialization)
        head = shares(net)[0]["attention_0"]
        for name in ("query", "key", "value"):
            found[name, width] = np.trace(head[name]["W"].mean(0))
    for name in ("query", "key"):
        assert abs(np.log(found[name, 1024] / found[name, 256]) / np.log(4) + 1) < 0.2
    assert abs(np.log(found["value", 1024] / found["value", 256])) < 0.1


def test_no_limit_where_the_scores_stay_random():
    net = WuTransformer(width=64, tau="sqrt")
    assert net.limit().kind == "none"
    with pytest.raises(NotImplementedError, match="scores of one head are Gaussian"):
        zoo.kernel_fn(net)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"width": 0}, "width >= 1, got width=0"),
        ({"out": 0}, "out >= 1, got out=0"),
        ({"tau": "sqr"}, "unknown tau 'sqr'; did you mean 'sqrt'"),
        ({"initialization": "lecum"}, "did you mean 'lecun'"),
    ],
)
def test_bad_arguments_are_refused_by_value(bad, message):
    with pytest.raises(ValueError, match=message):
        WuTransformer(**({"width": 4} | bad))
