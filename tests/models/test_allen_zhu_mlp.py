"""The network of Allen-Zhu, Li & Song: fan-out scales, frozen ends, its kernel."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.infinite.kernels import kernel_matrix
from zoo.models import AllenZhuMLP

X = np.asarray([[1.0, 0.5, 0.9], [0.7, 1.6, 0.8], [-0.2, 0.6, 2.1]], np.float32)
UNIT = X / np.linalg.norm(X, axis=1, keepdims=True)
NAMES = ("dense_0", "dense_1", "dense_2", "dense_3")


def init(net, x=X, seed=0):
    return net.init(jax.random.key(seed), jnp.asarray(x))["params"]


def test_distribution_is_over_the_fan_out():
    params = init(AllenZhuMLP(width=300, depth=2, out=40))
    assert tuple(params) == NAMES
    for name, shape, var in zip(
        NAMES,
        [(3, 300), (300, 300), (300, 300), (300, 40)],
        [2 / 300, 2 / 300, 2 / 300, 1 / 40],
        strict=True,
    ):
        assert params[name].keys() == {"W"}
        W = np.asarray(params[name]["W"], np.float64)
        assert W.shape == shape
        # The variance of N(0, s^2) is known to s^2 sqrt(2 / n).
        assert abs(np.mean(W**2) / var - 1) < 5 * np.sqrt(2 / W.size)


def test_forward_pass_by_hand():
    net = AllenZhuMLP(width=8, depth=2, out=3)
    params = init(net)
    W = [np.asarray(params[name]["W"]) for name in NAMES]
    h = np.maximum(X @ W[0], 0)
    h = np.maximum(np.maximum(h @ W[1], 0) @ W[2], 0)
    got = net.apply({"params": params}, jnp.asarray(X))
    np.testing.assert_allclose(got, h @ W[3], rtol=1e-5, atol=1e-6)


def test_first_and_last_layer_have_no_gradient():
    net, x = AllenZhuMLP(width=8, depth=1, out=2), jnp.asarray(X)

    def loss(params):
        return jnp.sum(net.apply({"params": params}, x) ** 2) / 2

    grad = jax.grad(loss)(init(net))
    moved = {name: bool(jnp.any(grad[name]["W"] != 0)) for name in grad}
    assert moved == {"dense_0": False, "dense_1": True, "dense_2": False}


def closed_form(x: np.ndarray, m: int, L: int, k: int) -> np.ndarray:
    """m / (2 k) sum_l rho_l prod_{j >= l} kappa_0(rho_j), for unit inputs."""
    rho, angles = np.clip(x @ x.T, -1, 1), []
    np.fill_diagonal(rho, 1.0)
    for _ in range(L):
        kept = (np.pi - np.arccos(rho)) / np.pi
        rho = np.sqrt(1 - rho**2) / np.pi + rho * kept
        np.fill_diagonal(rho, 1.0)
        angles.append((rho, (np.pi - np.arccos(rho)) / np.pi))
    theta = 0.0
    for lowest in range(L):
        product = np.prod([kappa for _, kappa in angles[lowest:]], axis=0)
        theta = theta + angles[lowest][0] * product
    return m / (2 * k) * theta


@pytest.mark.parametrize(("m", "L", "k"), [(64, 1, 1), (10, 2, 3), (128, 5, 7)])
def test_kernel_is_the_closed_form(m, L, k):
    x = UNIT.astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    got = kernel_matrix(AllenZhuMLP(width=m, depth=L, out=k), x)
    np.testing.assert_allclose(got, closed_form(x, m, L, k), rtol=1e-8)
    np.testing.assert_allclose(np.diag(got), m * L / (2 * k), rtol=1e-8)


@pytest.mark.parametrize(("get", "out"), [("nngp", 64), ("ntk", 4)])
def test_finite_width_has_the_limit_as_its_mean(check_limit, get, out):
    check_limit(lambda m: AllenZhuMLP(width=m, depth=2, out=out), X, get)


def test_the_ntk_grows_with_width():
    narrow, wide = (
        kernel_matrix(AllenZhuMLP(width=m, depth=2), UNIT) for m in (64, 640)
    )
    np.testing.assert_allclose(wide, 10 * narrow, rtol=1e-10)
    assert AllenZhuMLP(width=64).rate == -1
    assert zoo.kernel_fn(AllenZhuMLP(width=64))(jnp.asarray(X)).shape == (3, 3)


@pytest.mark.parametrize("name", ["width", "depth", "out"])
def test_bad_sizes_are_refused_by_value(name):
    with pytest.raises(ValueError, match=f"AllenZhuMLP needs {name} >= 1, got {name}"):
        AllenZhuMLP(**({"width": 4} | {name: 0}))
