"""The tau-ResNet: by hand, frozen ends, and sampling against a mean-field kernel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.infinite.kernels import kernel_matrix
from zoo.models import AllenZhuMLP, AllenZhuResNet

X = np.random.default_rng(0).normal(size=(3, 5)) + 0.3
X = (X / np.linalg.norm(X, axis=1, keepdims=True) * [[1], [1.3], [0.8]]).astype("f4")


def init(net):
    return net.init(jax.random.key(0), jnp.asarray(X))["params"]


def weights(params, depth):
    """A, W_1 .. W_L, B in the order of the forward pass."""
    blocks = [params[f"residual_{place}"]["branch"]["W"] for place in range(depth - 1)]
    A, W, B = (params[f"dense_{place}"]["W"] for place in range(3))
    return A, [*blocks, W], B


def test_forward_pass_by_hand():
    net = AllenZhuResNet(width=8, depth=4, out=2)
    A, W, B = weights(init(net), 4)
    h = np.maximum(X @ A, 0)
    for place in range(3):
        h = np.maximum(h + h @ W[place] / 4, 0)
    want = np.maximum(h @ W[3], 0) @ B
    got = net.apply({"params": init(net)}, jnp.asarray(X))
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    other = net.clone(tau=0.25).apply({"params": init(net)}, jnp.asarray(X))
    np.testing.assert_array_equal(got, other)


def test_distribution_is_over_the_fan_out():
    A, W, B = weights(init(AllenZhuResNet(width=200, depth=3, out=30)), 3)
    for matrix, var in ((A, 2 / 200), *((w, 2 / 200) for w in W), (B, 1 / 30)):
        sample = np.asarray(matrix, np.float64)
        assert abs(np.mean(sample**2) / var - 1) < 5 * np.sqrt(2 / sample.size)


def test_frozen_layers_have_no_gradient():
    net = AllenZhuResNet(width=8, depth=2, out=2)
    grad = jax.grad(lambda p: jnp.sum(net.apply({"params": p}, jnp.asarray(X)) ** 2))(
        init(net)
    )
    A, W, B = weights(grad, 2)
    assert not jnp.any(A)
    assert not jnp.any(B)
    assert all(jnp.any(w != 0) for w in W)


def particle_ntk(net, x, get, particles=200_000, seed=1):
    """Theta for units that are drawn independently, as those of infinite width are.

    A unit's sqrt(m) h_l(x) is a particle; W_l h_{l-1} is a Gaussian of covariance
    2 E h h' beside it, and so is W_l^T s for the signals s = d f / d (pre-activation).
    """
    rng, L, k = np.random.default_rng(seed), net.depth, net.out
    tau = 1 / L if net.tau is None else net.tau

    def gaussian(cov):
        root = np.linalg.cholesky(cov + 1e-12 * np.eye(len(cov)))
        return rng.normal(size=(particles, len(cov))) @ root.T

    def second(h):
        return h.T @ h / particles

    x = np.asarray(x, np.float64)
    h = np.maximum(gaussian(2 * x @ x.T), 0)
    covariances, on = [], []
    for place in range(L):
        covariances.append(second(h))
        g = gaussian(2 * covariances[-1])
        u = g if place == L - 1 else h + tau * g
        on.append(u > 0)
        h = np.maximum(u, 0)
    signal = rng.normal(size=(particles, 1)) / np.sqrt(k) * on[-1]
    theta = covariances[-1] * second(signal)
    signal = gaussian(2 * second(signal))
    for place in reversed(range(L - 1)):
        signal = signal * on[place]
        theta = theta + tau**2 * covariances[place] * second(signal)
        signal = signal + tau * gaussian(2 * second(signal))
    return net.width * theta


def test_particles_without_residual_layers_give_the_closed_kernel():
    net = AllenZhuResNet(width=16, depth=1, out=3)
    assert net.limit().kind == "exact"
    want = kernel_matrix(net, X)
    np.testing.assert_array_equal(
        want, kernel_matrix(AllenZhuMLP(width=16, depth=1, out=3), X)
    )
    # 200,000 particles: an entry is known to about 0.4 %.
    np.testing.assert_allclose(particle_ntk(net, X, "ntk"), want, rtol=0.02)


@pytest.mark.slow
def test_sampling_agrees_with_the_mean_field_kernel(check_limit):
    """tau = 0.6: the residual layers' share is well above the error."""
    check_limit(
        lambda m: AllenZhuResNet(width=m, depth=3, out=8, tau=0.6),
        X,
        "ntk",
        n_samples=192,
        limit=particle_ntk,
    )


def test_kernel_is_refused_with_the_reason():
    net = AllenZhuResNet(width=8)
    assert net.limit().kind == "monte carlo"
    with pytest.raises(NotImplementedError, match=r"not Gaussian.*monte_carlo_kernel_"):
        zoo.kernel_fn(net)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"depth": 0}, "depth >= 1, got depth=0"),
        ({"tau": 0.0}, "tau > 0 or None, got tau=0.0"),
        ({"width": 0}, "width >= 1, got width=0"),
    ],
)
def test_bad_arguments_are_refused_by_value(bad, message):
    with pytest.raises(ValueError, match=message):
        AllenZhuResNet(**({"width": 4} | bad))
