"""The empirical NTK, layer by layer, against Jacobians."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.infinite.neural_tangents import nt


class Plain(nn.Module):
    """A user's own module: no layer of it has a rule."""

    @nn.compact
    def __call__(self, x):
        x = nn.tanh(nn.Dense(7, param_dtype=x.dtype)(x))
        norm = nn.LayerNorm(param_dtype=x.dtype, force_float32_reductions=False)
        x = norm(x)
        return nn.Dense(3, param_dtype=x.dtype)(x)


class Mixed(nn.Module):
    """A zoo network inside a user's module, called twice: shared weights."""

    @nn.compact
    def __call__(self, x):
        inner = zoo.MLP(width=6, out=5, activation="tanh", name="inner")
        return nn.Dense(2, param_dtype=x.dtype)(inner(inner(x)))


NETS = {
    "mlp": zoo.MLP(width=9, depth=2, out=3, sigma_b=0.3),
    "standard": zoo.MLP(width=9, out=3, sigma_b=0.3, parameterization="standard"),
    "plain": Plain(),
    "mixed": Mixed(),
}


def draw(net, dtype):
    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 5)), dtype)
    params = net.init(jax.random.key(1), x)["params"]
    return jax.tree.map(lambda leaf: leaf.astype(dtype), params), x


def reference(net, params, x1, x2, **axes):
    """neural-tangents' Jacobian contraction."""
    fn = nt.empirical_ntk_fn(lambda p, x: net.apply({"params": p}, x), **axes)
    with jax.numpy_dtype_promotion("standard"):
        return fn(x1, x2, params)


def assert_close(got, want, tolerance):
    assert got.shape == want.shape
    assert np.linalg.norm(got - want) < tolerance * np.linalg.norm(want)


@pytest.mark.parametrize("name", sorted(NETS))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_equals_jacobian_contraction(name, dtype):
    tolerance = {"float32": 1e-5, "float64": 1e-11}[dtype]
    net = NETS[name]
    with jax.enable_x64(dtype == "float64"):
        params, x = draw(net, dtype)
        x1, x2 = x[:4], x[3:]
        for second in (None, x2):
            mean = zoo.empirical_ntk(net, params, x1, second)
            assert mean.dtype == dtype
            assert_close(mean, reference(net, params, x1, second), tolerance)
            full = zoo.empirical_ntk(net, params, x1, second, full=True)
            want = reference(net, params, x1, second, trace_axes=())
            assert_close(full, want, tolerance)


def test_full_kernel_is_symmetric_and_psd():
    params, x = draw(NETS["mlp"], "float32")
    full = zoo.empirical_ntk(NETS["mlp"], params, x, full=True)
    matrix = np.asarray(full.transpose(2, 0, 3, 1).reshape(18, 18), np.float64)
    np.testing.assert_allclose(matrix, matrix.T, rtol=1e-5, atol=1e-6)
    eigenvalues = np.linalg.eigvalsh(matrix)
    assert eigenvalues[0] > -1e-5 * eigenvalues[-1]


def test_works_under_jit_and_vmap():
    net = NETS["mlp"]
    _, x = draw(net, "float32")
    keys = jax.random.split(jax.random.key(0), 3)

    def sample(key):
        return zoo.empirical_ntk(net, net.init(key, x)["params"], x)

    mapped = jax.jit(jax.vmap(sample))(keys)
    np.testing.assert_allclose(mapped[1], sample(keys[1]), rtol=1e-5)


def test_unknown_option_is_refused():
    params, x = draw(NETS["mlp"], "float32")
    with pytest.raises(TypeError, match="ful"):
        zoo.empirical_ntk(NETS["mlp"], params, x, ful=True)
