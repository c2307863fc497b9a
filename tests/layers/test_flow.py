"""Depth as the time of an equation, finite and infinite."""

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.infinite.kernels import kernel_matrix
from zoo.layers import (
    Conv,
    DeepResiduals,
    Dense,
    Flow,
    GlobalAvgPool,
    Nonlinear,
    Serial,
    input_kernel,
)
from zoo.layers.flow import integrate
from zoo.layers.kernel_flows import collocation
from zoo.models import DeepResNetODE, NeuralODE
from zoo.models.base import Architecture

X = np.random.default_rng(0).normal(size=(4, 5))


def test_steps_are_of_order_five(x64):
    """A linear equation against the exponential of its matrix."""
    a = jnp.asarray(np.random.default_rng(1).normal(size=(5, 5)))
    h = jnp.asarray(X)
    want = h @ jax.scipy.linalg.expm(1.5 * a)
    errors = [
        np.abs(integrate(lambda h: h @ a, h, 1.5, steps) - want).max()
        for steps in (8, 16)
    ]
    assert 4.5 < np.log2(errors[0] / errors[1]) < 6.0


def test_collocation_integrates_polynomials():
    within, whole = collocation(6)
    nodes = (np.polynomial.legendre.leggauss(6)[0] + 1) / 2
    for degree in range(6):
        values = nodes**degree
        integral = nodes ** (degree + 1) / (degree + 1)
        np.testing.assert_allclose(within @ values, integral, atol=1e-15)
        np.testing.assert_allclose(whole @ values, 1 / (degree + 1), atol=1e-15)


def duals(activation, a, b, c):
    """E phi phi' and E phi' phi' of erf and relu, in NumPy."""
    if activation == "erf":
        root = np.sqrt((1 + 2 * a) * (1 + 2 * b))
        slope = 4 / np.pi / np.sqrt(root**2 - 4 * c**2)
        return 2 / np.pi * np.arcsin(2 * c / root), slope
    cosine = np.clip(c / np.sqrt(a * b), -1, 1)
    angle = np.pi - np.arccos(cosine)
    sine = np.sqrt(1 - cosine**2)
    return np.sqrt(a * b) * (sine + angle * cosine) / (2 * np.pi), angle / (2 * np.pi)


def euler(activation, steps, sigma_w, sigma_b, time):
    """Both kernels of h(time), weights tied, by Euler's steps in NumPy.

    This is the exact limit of a residual network of tied weights and step 1 / steps.
    """
    start, step = X @ X.T / 5, time / steps
    shape = (steps + 1, steps + 1, *start.shape)
    cov, ntk = np.empty(shape), np.empty(shape)
    for kernel in (cov, ntk):
        kernel[0] = kernel[:, 0] = start

    def advance(i, j):
        a, b = np.diag(cov[i, i])[:, None], np.diag(cov[j, j])[None]
        value, slope = duals(activation, a, b, cov[i, j])
        rate = sigma_w**2 * value + sigma_b**2
        rates = (rate, rate + sigma_w**2 * slope * ntk[i, j])
        for kernel, change in zip((cov, ntk), rates, strict=True):
            kernel[i + 1, j + 1] = (
                kernel[i + 1, j] + kernel[i, j + 1] - kernel[i, j] + step**2 * change
            )

    for last in range(steps):
        for i in range(last):
            advance(last, i)
            advance(i, last)
        advance(last, last)
    return np.stack([cov[-1, -1], ntk[-1, -1]])


@pytest.mark.parametrize(("activation", "error"), [("erf", 1e-6), ("relu", 3e-4)])
def test_tied_kernels_against_steps_of_euler(activation, error, x64):
    """By Richardson's extrapolation, to its own accuracy."""
    sizes = {"sigma_w": 1.3, "sigma_b": 0.4}
    at = [euler(activation, steps, **sizes, time=1.0) for steps in (32, 64, 128)]
    linear = [2 * b - a for a, b in itertools.pairwise(at)]
    want = (4 * linear[1] - linear[0]) / 3
    cell = Serial(Nonlinear(activation), Dense(1, **sizes))
    u = Dense(1).limit(input_kernel(jnp.asarray(X), None, True))
    k = jax.jit(Flow(cell).limit)(u)
    found = np.stack([k.nngp, k.ntk])
    assert np.abs(found - want).max() < error * np.abs(want).max()
    other = jax.jit(Flow(cell).limit)(
        Dense(1).limit(input_kernel(jnp.asarray(X[:2]), jnp.asarray(X[1:]), True))
    )
    np.testing.assert_allclose(other.nngp, k.nngp[:2, 1:], rtol=1e-9)
    np.testing.assert_allclose(other.ntk, k.ntk[:2, 1:], rtol=2e-3)


@pytest.mark.parametrize("activation", ["erf", "relu"])
def test_untied_kernel_is_that_of_a_deep_residual_network(activation, x64):
    """Which is off as 1 / L; extrapolated from two depths, as 1 / L^2."""
    branch = Serial(Nonlinear(activation), Dense(1, 1.2, 0.3))
    u = Dense(1).limit(input_kernel(jnp.asarray(X), None, True))
    k = jax.jit(DeepResiduals(branch, 1, 2.0).limit)(u)
    want = np.stack([k.nngp, k.ntk])

    def deep(depth):
        (residual,) = DeepResiduals(branch, depth, 2.0).parts
        out = jax.lax.fori_loop(0, depth, lambda _, k: _like(residual.limit(k), u), u)
        return np.stack([out.nngp, out.ntk])

    at = {depth: deep(depth) for depth in (32, 64, 128)}
    plain = [np.abs(at[depth] - want).max() for depth in (32, 64, 128)]
    better = [np.abs(2 * at[2 * d] - at[d] - want).max() for d in (32, 64)]
    for off, order in ((plain, 1), (better, 2)):
        assert abs(np.log2(off[0] / off[1]) - order) < 0.1, (off, order)


def _like(k, u):
    """The kernel with the static fields of another."""
    return u.replace(nngp=k.nngp, ntk=k.ntk, cov1=k.cov1, cov2=k.cov2)


def test_tied_and_untied_are_different_kernels(x64):
    tied = kernel_matrix(NeuralODE(width=1), X)
    untied = kernel_matrix(DeepResNetODE(width=1, activation="erf"), X)
    assert np.linalg.norm(tied - untied) > 0.05 * np.linalg.norm(tied)


def test_kernels_are_differentiable(x64):
    """By the inputs, twice, without NaN on the diagonal."""
    for net in (
        NeuralODE(width=1),
        NeuralODE(width=1, activation="relu"),
        DeepResNetODE(width=1),
    ):

        def total(x, net=net):
            return jnp.sum(jnp.sin(zoo.kernel_fn(net)(x)))

        x = jnp.asarray(X[:2])
        slope = jax.jit(jax.grad(total))(x)
        ahead, behind = total(x.at[0, 1].add(1e-5)), total(x.at[0, 1].add(-1e-5))
        np.testing.assert_allclose(slope[0, 1], (ahead - behind) / 2e-5, rtol=1e-5)


class ConvODE(Architecture):
    """Convolutions tied in time."""

    inputs = "image"
    width: int
    out: int = 1

    def layers(self):
        cell = Serial(Nonlinear("erf"), Conv(self.width, padding="CIRCULAR"))
        flow = Flow(cell, steps=3)
        first = Conv(self.width, padding="CIRCULAR")
        last = Dense(self.out)
        return Serial(first, flow, Nonlinear("erf"), GlobalAvgPool(), last)


@pytest.mark.slow
def test_convolutions_flow_too():
    """Monte Carlo beside the limit; positions are mixed."""
    x = jnp.asarray(np.random.default_rng(2).normal(size=(2, 4, 4, 2)), jnp.float32)
    net = ConvODE(width=64)
    limit = kernel_matrix(net, np.asarray(x))

    def one(key):
        return zoo.empirical_ntk(net, net.init(key, x)["params"], x)

    found = jax.jit(lambda keys: jax.lax.map(one, keys))(
        jax.random.split(jax.random.key(0), 64)
    )
    error = np.std(found, 0, ddof=1) / 8
    assert np.all(np.abs(found.mean(0) - limit) < 5 * error + 0.02 * limit.max())
    assert error.max() < 0.05 * limit.max()


def test_a_kernel_without_resolution_is_nan_and_refused():
    net = NeuralODE(width=1, activation="erf", sigma_w=4.0, time=40.0)
    with pytest.raises(ValueError, match="time=40 is too long"):
        kernel_matrix(net, X)
    found = jax.jit(lambda x: zoo.kernel_fn(net)(x))(jnp.asarray(X))
    assert np.isnan(found).all()


@pytest.mark.slow
def test_gradient_descent_approaches_a_flow_over_finer_intervals():
    """Fixed features: outputs after training differ by less and less as D grows."""
    x = jnp.asarray(X, jnp.float32)
    y = jnp.sin(3 * x[:, :1])
    f = {}
    for depth in (2, 4, 8):
        net = DeepResNetODE(width=64, depth=depth, form="fixed", time=1.0)
        params = net.init(jax.random.key(0), x)["params"]

        @jax.jit
        def descend(params, net=net):
            def loss(p):
                return jnp.mean((net.apply({"params": p}, x) - y) ** 2)

            def step(_, p):
                return jax.tree.map(lambda a, g: a - 0.3 * g, p, jax.grad(loss)(p))

            return net.apply({"params": jax.lax.fori_loop(0, 50, step, params)}, x)

        f[depth] = np.asarray(descend(params))
    assert np.abs(f[4] - f[8]).max() < 0.6 * np.abs(f[2] - f[4]).max()
