"""Deep equilibrium networks of finite width beside their limit, over widths."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.gap import fit
from zoo.infinite.kernels import kernel_matrix
from zoo.layers import ChannelSum, Dense, Equilibrium, Nonlinear, Serial, input_kernel
from zoo.layers.kernel_roots import point_variances
from zoo.models import GaoLinearWidthDEQ, MonDEQ
from zoo.models.base import Architecture

RNG = np.random.default_rng(0)
X = RNG.normal(size=(6, 5)).astype(np.float32)
X *= (
    5**0.5
    / np.linalg.norm(X, axis=1, keepdims=True)
    * np.linspace(0.8, 1.2, 6)[:, None]
)
# sigma_w at which chi_1 is about 0.2 at these inputs.
NARROW = {"relu": 0.63, "erf": 0.62, "tanh": 0.7, "gelu": 0.62}


@functools.lru_cache
def deviations(net, widths, seeds):
    """Empirical NTKs minus the limit, over its norm, [w, s, n, n]."""
    limit = kernel_matrix(net, X)
    out = []
    for width in widths:
        sized = net.clone(width=width)

        def one(seed, net=sized):
            key = jax.random.fold_in(jax.random.key(seed), net.width)
            params = net.init(key, jnp.asarray(X))["params"]
            return zoo.empirical_ntk(net, params, jnp.asarray(X))

        found = jax.jit(lambda s, one=one: jax.lax.map(one, s))(jnp.arange(seeds))
        out.append(np.asarray(found, np.float64) - limit)
    return np.stack(out) / np.linalg.norm(limit)


@pytest.mark.slow
@pytest.mark.parametrize("activation", NARROW)
def test_deviation_falls_as_the_root_of_the_width(activation):
    """At chi_1 of about 0.2; the mean over seeds is a bias of order 1/m."""
    net = zoo.DEQ(
        width=1, activation=activation, sigma_w=NARROW[activation], sigma_b=0.3
    )
    root = net.layers().layers[0]
    with jax.enable_x64(True):
        u = root.inject.limit(input_kernel(jnp.asarray(X, jnp.float64), None, True))
        chi1 = np.asarray(point_variances(root.cell, u, u.cov1).chi1)
    assert 0.15 < chi1.min() and chi1.max() < 0.25
    widths = (128, 256, 512, 1024)
    off = deviations(net, widths, 32)
    errors = np.linalg.norm(off, axis=(2, 3))
    assert np.isfinite(errors).all()
    slope, low, high = fit.t_interval(fit.slopes(widths, errors.T))
    assert -0.65 < slope < -0.35, (slope, low, high)
    # The bias c / m, from the narrowest and the widest networks.
    mean, error = off.mean(1), off.std(1, ddof=1) / 32**0.5
    c = (mean[0] - mean[-1]) / (1 / widths[0] - 1 / widths[-1])
    assert np.all(np.abs(mean[-1]) < 5 * error[-1] + np.abs(c) / widths[-1])
    assert np.abs(c).max() / widths[-1] < 0.02


class ReadByOnes(Architecture):
    """A relu equilibrium whose readout is the sum of its units."""

    width: int = 1
    activation: str = "relu"

    def layers(self):
        phi = Nonlinear(self.activation)
        root = Equilibrium(Serial(phi, Dense(self.width, 0.8)), Dense(self.width))
        return Serial(root, phi, ChannelSum())


@pytest.mark.slow
def test_a_readout_of_ones_has_another_kernel():
    """The formula is off at every width for relu, and not for erf, which is odd."""
    off = {}
    for activation in ("relu", "erf"):
        random = zoo.DEQ(width=1, activation=activation, sigma_w=0.8)
        limit = kernel_matrix(random, X)
        for width in (128, 1024):
            net = ReadByOnes(width=width, activation=activation)

            def one(seed, net=net):
                params = net.init(jax.random.key(seed), jnp.asarray(X))["params"]
                return zoo.empirical_ntk(net, params, jnp.asarray(X))

            seeds = jnp.arange(8)
            theta = np.asarray(jax.jit(lambda s, one=one: jax.lax.map(one, s))(seeds))
            # The readout has no weights, and no share.
            nngp = kernel_matrix(random, X, get="nngp")
            error = np.linalg.norm(theta - (limit - nngp), axis=(1, 2)).mean()
            off[activation, width] = error / np.linalg.norm(limit - nngp)
    assert off["relu", 1024] > 0.3
    assert off["relu", 1024] > 0.6 * off["relu", 128]
    assert off["erf", 1024] < 0.5 * off["erf", 128]
    with pytest.raises(NotImplementedError, match=r"ChannelSum: .*not random"):
        zoo.kernel_fn(ReadByOnes(width=8))


def test_positive_weights_make_a_linear_equation(x64):
    """z = (I - gamma W / m)^-1 relu(U x) at initialization (Gao & Gao 2022)."""
    net = GaoLinearWidthDEQ(width=40, gamma=1.0)
    x = jnp.asarray(X, jnp.float64)
    params = net.init(jax.random.key(0), x)["params"]
    params = jax.tree.map(lambda a: a.astype(jnp.float64), params)
    W = params["equilibrium_0"]["cell"]["positivedense_0"]["W"]
    assert np.all(W >= 0)
    u = np.maximum(x @ params["dense_0"]["W"] / 5**0.5, 0)
    z = np.linalg.solve(np.eye(40) - W.T / 40, u.T).T
    want = z @ params["dense_1"]["W"] / 40**0.5
    np.testing.assert_allclose(net.apply({"params": params}, x), want, rtol=1e-10)


@pytest.mark.parametrize("sigma_w", [0.6, 1.5])
def test_a_monotone_equilibrium_exists_at_any_weights(sigma_w):
    """Also where plain iteration finds none, and whatever solver finds it."""
    x = jnp.asarray(X)
    for seed in range(3):
        found = {}
        for solver in ("anderson", "newton", "picard"):
            net = MonDEQ(width=32, sigma_w=sigma_w, solver=solver, tolerance=1e-5)
            params = net.init(jax.random.key(seed), x)["params"]
            f, said = net.apply({"params": params}, x, mutable=["equilibrium"])
            found[solver] = (f, said["equilibrium"]["equilibrium_0"]["lost"])
        assert not found["anderson"][1].any() and not found["newton"][1].any()
        np.testing.assert_allclose(
            *(found[s][0] for s in ("anderson", "newton")), atol=1e-3
        )
        assert found["picard"][1].any()


def test_softmax_weights_keep_the_equilibrium():
    """Columns sum to one: the residual falls as gamma^t at any weights."""
    net = zoo.models.KawaguchiDEQ(width=16, gamma=0.8, tolerance=1e-6)
    params = net.init(jax.random.key(0), jnp.asarray(X))["params"]
    A = params["equilibrium_0"]["cell"]["A"]
    for scale in (1.0, 30.0):
        params["equilibrium_0"]["cell"]["A"] = scale * A
        _, said = net.apply({"params": params}, jnp.asarray(X), mutable=["equilibrium"])
        said = said["equilibrium"]["equilibrium_0"]
        assert not said["lost"].any()
        assert int(said["steps"].max()) <= np.log(1e-6) / np.log(0.8) + 10


def test_near_duplicates_next_to_the_edge():
    x = np.vstack([X, X[:1] * (1 + 1e-4)])
    assert np.isfinite(kernel_matrix(zoo.DEQ(width=1, sigma_w=1.414), x)).all()
