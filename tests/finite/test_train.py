"""Training inside one program, against a Python loop; the linearized network."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zoo
from zoo.descent.losses import find_loss
from zoo.finite.linear import krylov, train_linearized
from zoo.finite.ntk import ntk_by_output
from zoo.finite.train import train
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
    assert find_loss("mse").mean(f, y) == pytest.approx(0.5 * 5.0 / 2)


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
        theta = ntk_by_output(NET, params, x[:6])
        rate, times = jnp.asarray(0.3, dtype), jnp.asarray(TIMES)

        def run(theta):
            arguments = (apply_fn, params, theta, x, y, rate, times)
            return train_linearized(*arguments, int(TIMES[-1])).outputs

        got = run(theta)
        assert got.dtype == dtype
        error = np.linalg.norm(got - want) / np.linalg.norm(want)
        assert error < tolerance
        # The point of the full kernel: its mean over outputs is another network.
        mean = jnp.einsum("kakb->ab", theta) / 3
        block = jnp.eye(3, dtype=dtype)[:, None, :, None] * mean[None, :, None, :]
        assert np.linalg.norm(run(block) - want) / np.linalg.norm(want) > 0.01


@pytest.mark.parametrize("fraction", [0.01, 0.3, 0.5, 1.0, 1.05])
def test_many_more_steps_than_products(fraction, x64):
    """2,000 steps from a basis of fewer vectors, at and past the critical rate."""
    rng = np.random.default_rng(3)
    factor = rng.normal(size=(400, 500)) / np.sqrt(500)
    theta, r0 = factor @ factor.T, rng.normal(size=400)
    rate = fraction * 2 / np.linalg.eigvalsh(theta)[-1]
    times = np.asarray([0, 1, 50, 2000])
    got = _linear_model(factor, r0, rate, times)
    values, vectors = np.linalg.eigh(theta)
    for f, t in zip(got, times, strict=True):
        want = vectors @ ((1 - rate * values) ** t * (vectors.T @ r0))
        assert np.linalg.norm(f - want) < 1e-10 * max(np.linalg.norm(want), 1.0)


def _linear_model(factor, r0, rate, times):
    """f = J theta trained to 0 from f_0 = r0, as one output on 400 points."""
    n = len(r0)
    J, start = jnp.asarray(factor), np.linalg.lstsq(factor, r0, rcond=None)[0]
    theta = (J @ J.T)[None, :, None, :]
    found = train_linearized(
        lambda p, x: x @ p[:, None],
        jnp.asarray(start),
        theta,
        J,
        jnp.zeros((n, 1)),
        jnp.asarray(rate * n),
        jnp.asarray(times),
        int(times[-1]),
    )
    top = np.linalg.eigvalsh(np.asarray(theta).reshape(n, n))[-1]
    assert found.top_eigenvalue == pytest.approx(top, rel=1e-8)
    return np.asarray(found.outputs)[:, :, 0]


def test_exhausted_krylov_space_ends_in_zeros(x64):
    a = np.random.default_rng(0).normal(size=(10, 3))
    start = jnp.asarray(a @ np.ones(3))
    space = krylov(jnp.asarray(a @ a.T), start, 8, lambda bound: jnp.asarray(8))
    basis = np.asarray(space.basis)
    want = np.diag([1.0] * 3 + [0.0] * 5)
    np.testing.assert_allclose(basis @ basis.T, want, atol=1e-12)
    np.testing.assert_allclose(space.beta[2:], 0.0)


def test_krylov_space_stops_where_it_is_told(x64):
    """V theta V^T is the tridiagonal matrix, and nothing couples to the rows unused."""
    a = np.random.default_rng(0).normal(size=(30, 40))
    theta, start = a @ a.T, a @ np.ones(40)
    space = krylov(
        jnp.asarray(theta), jnp.asarray(start), 10, lambda bound: jnp.asarray(6)
    )
    V, alpha, beta = (np.asarray(leaf) for leaf in space)
    want = np.diag(alpha) + np.diag(beta[:-1], 1) + np.diag(beta[:-1], -1)
    np.testing.assert_allclose(V @ theta @ V.T, want, atol=1e-10)
    assert np.linalg.matrix_rank(V) == 6


def test_warm_searches_train_the_same_network():
    """To the tolerance of a root; and the state that is carried is the network's."""
    x = jnp.asarray(np.random.default_rng(0).normal(size=(6, 4)), jnp.float32)
    y = jnp.sin(x[:, :1])
    times, outputs = jnp.asarray([0, 5, 20]), []
    net = zoo.DEQ(width=32, activation="erf", sigma_w=0.5)
    params = net.init(jax.random.key(0), x)["params"]

    def warm(params, x, carried):
        return net.apply({"params": params, **carried}, x, mutable=["warm"])

    def apply_fn(params, x):
        return net.apply({"params": params}, x)

    for given in (None, warm):
        run = jax.jit(
            lambda p, given=given: train(
                apply_fn, p, x, y, optax.sgd(0.1), times, warm=given
            )
        )
        outputs.append(run(params).outputs)
    np.testing.assert_allclose(outputs[1], outputs[0], atol=1e-4)
    assert np.abs(outputs[0][0] - outputs[0][-1]).max() > 0.05
