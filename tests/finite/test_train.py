"""Training inside one program, against a Python loop; the linearized network."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zoo
from zoo.finite.linear import linearized_outputs, top_eigenvalue
from zoo.finite.ntk import ntk_by_output
from zoo.finite.train import mse, train
from zoo.infinite.neural_tangents import nt

TIMES = np.asarray([0, 1, 5, 40])
NET = zoo.MLP(width=24, depth=2, out=3, activation="erf", sigma_b=0.2)


def apply_fn(params, x):
    return NET.apply({"params": params}, x)


def draw(dtype="float32"):
    rng = np.random.default_rng(0)
    x = jnp.asarray(rng.normal(size=(9, 4)), dtype)
    y = jnp.asarray(rng.normal(size=(6, 3)), dtype)
    params = NET.init(jax.random.key(1), x)["params"]
    return jax.tree.map(lambda leaf: leaf.astype(dtype), params), x, y


def loop(apply, params, x, y, rate):
    """The same steps written out: gradient of 1/(2n) sum |f - y|^2, by hand."""
    gradient = jax.jit(
        jax.grad(lambda p: jnp.sum((apply(p, x[:6]) - y) ** 2) / (2 * 6))
    )
    outputs = []
    for t in range(TIMES[-1] + 1):
        if t in TIMES:
            outputs.append(apply(params, x))
        step = gradient(params)
        params = jax.tree.map(lambda p, g: p - rate * g, params, step)
    return jnp.stack(outputs), params


def test_loss_is_half_the_mean_squared_distance():
    f, y = jnp.asarray([[1.0, 2.0], [0.0, 0.0]]), jnp.zeros((2, 2))
    assert mse(f, y) == pytest.approx(0.5 * 5.0 / 2)


def test_equals_a_python_loop():
    params, x, y = draw()
    got = jax.jit(
        lambda p: train(apply_fn, p, x, y, optax.sgd(0.3), jnp.asarray(TIMES))
    )(params)
    want, _ = loop(apply_fn, params, x, y, 0.3)
    np.testing.assert_allclose(got.outputs, want, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(apply_fn(got.params, x), want[-1], rtol=1e-4, atol=1e-5)


def test_does_not_recompile_for_other_rates_or_seeds():
    _, x, y = draw()

    @jax.jit
    def run(key, rate, times):
        params = NET.init(key, x)["params"]
        return train(apply_fn, params, x, y, optax.sgd(rate), times).outputs

    for seed, rate in ((0, 0.1), (1, 0.2)):
        run(jax.random.key(seed), jnp.float32(rate), jnp.asarray(TIMES * (seed + 1)))
    assert run._cache_size() == 1


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_linearized_network_equals_trained_linearization(dtype):
    tolerance = {"float32": 1e-4, "float64": 1e-10}[dtype]
    with jax.enable_x64(dtype == "float64"):
        params, x, y = draw(dtype)
        linear = nt.linearize(apply_fn, params)
        want, _ = loop(linear, params, x, y, 0.3)
        theta = ntk_by_output(NET, params, x, x[:6])
        rate = jnp.asarray(0.3, dtype)
        f0 = apply_fn(params, x)
        got = linearized_outputs(theta, f0, y, rate, jnp.asarray(TIMES))
        assert got.dtype == dtype
        error = np.linalg.norm(got - want) / np.linalg.norm(want)
        assert error < tolerance
        # The point of the full kernel: its mean over outputs is another network.
        mean = jnp.einsum("kakb->ab", theta) / 3
        block = jnp.eye(3, dtype=dtype)[:, None, :, None] * mean[None, :, None, :]
        other = linearized_outputs(block, f0, y, rate, jnp.asarray(TIMES))
        assert np.linalg.norm(other - want) / np.linalg.norm(want) > 0.01


def test_top_eigenvalue():
    params, x, y = draw()
    theta = ntk_by_output(NET, params, x[:6])
    want = np.linalg.eigvalsh(np.asarray(theta).reshape(18, 18))[-1]
    got = top_eigenvalue(theta, y, tol=1e-6)
    assert got == pytest.approx(want, rel=1e-3)
    assert got <= want * (1 + 1e-5)
