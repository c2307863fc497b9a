"""Skip connections with normalization: by hand, and what has a kernel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.infinite.kernels import kernel_matrix
from zoo.infinite.neural_tangents import stax
from zoo.layers import walk
from zoo.models import MacDonaldResNet

X = np.random.default_rng(0).normal(size=(3, 5)) + 0.3
X = (X * [[1.0], [1.4], [0.7]]).astype(np.float32)
SETTINGS = {"depth": 2, "out": 3, "sigma_w": 1.2, "sigma_b": 0.3}


def init(net):
    return net.init(jax.random.key(0), jnp.asarray(X))["params"]


@pytest.mark.parametrize("norm", ["none", "layer", "batch", "weight"])
def test_forward_pass_by_hand(norm):
    net = MacDonaldResNet(width=8, norm=norm, **SETTINGS)
    params = init(net)
    p = jax.tree.map(lambda leaf: np.asarray(leaf, np.float64), params)

    def dense(layer, h):
        return 1.2 / len(layer["W"]) ** 0.5 * h @ layer["W"] + 0.3 * layer["b"]

    h = dense(p["dense_0"], X)
    for block in (p["residual_0"]["branch"], p["residual_1"]["branch"]):
        if norm == "weight":
            W = block["weightnormdense_0"]["W"]
            u, last = 1.2 * h @ (W / np.linalg.norm(W, axis=0)), block["dense_0"]
        else:
            u, last = dense(block["dense_0"], h), block["dense_1"]
        axis = {"layer": 1, "batch": 0}.get(norm)
        if axis is not None:
            eps = {"layer": 1e-6, "batch": 1e-5}[norm]
            centred = u - u.mean(axis, keepdims=True)
            u = centred / np.sqrt(u.var(axis, keepdims=True) + eps)
        h = h + dense(last, np.maximum(u, 0))
    got = net.apply({"params": params}, jnp.asarray(X))
    np.testing.assert_allclose(got, dense(p["dense_1"], h), rtol=2e-4, atol=2e-5)


# neural-tangents warns that it does not check a sum's branches for independence.
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize("norm", ["none", "layer"])
def test_limit_equals_neural_tangents_own_layers(norm):
    net = MacDonaldResNet(width=8, norm=norm, **SETTINGS)
    assert net.limit().kind == "exact"
    got = kernel_matrix(net, X, get=("nngp", "ntk"))
    dense = stax.Dense(8, W_std=1.2, b_std=0.3)
    norms = [stax.LayerNorm(eps=1e-6)] if norm == "layer" else []
    branch = stax.serial(dense, *norms, stax.Relu(), dense)
    skip = stax.parallel(branch, stax.Identity())
    block = (stax.FanOut(2), skip, stax.FanInSum())
    reference = stax.serial(dense, *block * 2, dense)[2]
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        want = reference(jnp.asarray(X, jnp.float64), None, ("nngp", "ntk"))
    # 1e-7: neural-tangents' relu uses arccos, with half the digits on the diagonal.
    np.testing.assert_allclose(got.nngp, want.nngp, rtol=1e-7)
    np.testing.assert_allclose(got.ntk, want.ntk, rtol=1e-7)


def test_mean_over_seeds_is_the_limit(check_limit):
    settings = SETTINGS | {"out": 8, "activation": "softplus"}
    check_limit(lambda m: MacDonaldResNet(width=m, **settings), X, "ntk", (32, 128))


def test_kernels_that_do_not_exist_are_refused_with_the_reason():
    batch = MacDonaldResNet(width=8, norm="batch")
    assert batch.limit().kind == "none"
    assert any(layer.couples_batch for layer in walk(batch.layers()))
    with pytest.raises(NotImplementedError, match=r"BatchNorm.*on the whole batch"):
        zoo.kernel_fn(batch)
    with pytest.raises(ValueError, match="BatchNorm"):
        zoo.empirical_ntk(batch, init(batch), jnp.asarray(X))
    weight = MacDonaldResNet(width=8, norm="weight")
    assert weight.limit().kind == "monte carlo"
    with pytest.raises(NotImplementedError, match=r"gains.*monte_carlo_kernel_fn"):
        zoo.kernel_fn(weight)


def test_weight_norm_has_an_ntk_at_finite_width():
    net = MacDonaldResNet(width=8, norm="weight", **SETTINGS)
    params, x = init(net), jnp.asarray(X)
    jacobian = jax.jacrev(lambda p: net.apply({"params": p}, x))(params)
    rows = [j.reshape(3, 3, -1) for j in jax.tree.leaves(jacobian)]
    want = sum(np.einsum("akp,bkp->ab", j, j) / 3 for j in map(np.asarray, rows))
    got = zoo.empirical_ntk(net, params, x)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"norm": "bacth"}, "did you mean 'batch'"),
        ({"depth": 0}, "depth >= 1, got depth=0"),
        ({"sigma_w": -1.0}, "sigma_w > 0, got sigma_w=-1.0"),
        ({"sigma_b": -1.0}, "sigma_b >= 0, got sigma_b=-1.0"),
    ],
)
def test_bad_arguments_are_refused_by_value(bad, message):
    with pytest.raises(ValueError, match=message):
        MacDonaldResNet(**({"width": 4} | bad))
