"""Allen-Zhu et al.'s CNN: fan-out scales, frozen ends, the kernel's diagonal."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.infinite.kernels import kernel_matrix
from zoo.layers import Conv, Finite
from zoo.models import AllenZhuCNN

X = np.random.default_rng(0).normal(size=(2, 4, 3, 2)) + 0.5
X = (X * np.asarray([1.0, 1.4]).reshape(2, 1, 1, 1)).astype(np.float32)
NAMES = ("conv_0", "conv_1", "conv_2", "dense_0", "dense_1")


def init(net):
    return net.init(jax.random.key(0), jnp.asarray(X))["params"]


def test_distribution_is_over_the_fan_out():
    params = init(AllenZhuCNN(width=80, depth=3, out=20))
    want = {  # shape, variance: 2 / (q m), 2 / m, 1 / k
        "conv_0": ((3, 3, 2, 80), 2 / 720),
        "conv_1": ((3, 3, 80, 80), 2 / 720),
        "conv_2": ((3, 3, 80, 80), 2 / 720),
        "dense_0": ((12 * 80, 80), 2 / 80),
        "dense_1": ((80, 20), 1 / 20),
    }
    assert params.keys() == want.keys()
    for name, (shape, var) in want.items():
        assert params[name].keys() == {"W"}
        W = np.asarray(params[name]["W"], np.float64)
        assert W.shape == shape
        assert abs(np.mean(W**2) / var - 1) < 5 * np.sqrt(2 / W.size)


def test_forward_pass_by_hand():
    net = AllenZhuCNN(width=4, depth=2, out=3, kernel_size=2)
    p = init(net)
    h = X
    for name in ("conv_0", "conv_1"):  # sigma_w^2 = q c: W * h without a factor
        layer = Conv(4, (4.0 * h.shape[-1]) ** 0.5, kernel_size=2)
        h = np.asarray(Finite(layer).apply({"params": p[name]}, jnp.asarray(h)))
        h = np.maximum(h, 0)
    h = np.maximum(h.reshape(2, -1) @ p["dense_0"]["W"], 0)
    got = net.apply({"params": p}, jnp.asarray(X))
    np.testing.assert_allclose(got, h @ p["dense_1"]["W"], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize(("m", "L", "k", "size"), [(8, 1, 1, 3), (64, 3, 5, 2)])
def test_diagonal_has_a_closed_form(m, L, k, size):
    """m |x|^2 (1 + q (L-1)) / (2 k) with wrapped patches: relu halves, He doubles.

    A convolution's weights see a patch of q positions, the last matrix the image once.
    """
    net = AllenZhuCNN(width=m, depth=L, out=k, kernel_size=size, padding="CIRCULAR")
    got = kernel_matrix(net, X, get=("nngp", "ntk"))
    norm = np.sum(X.astype(np.float64) ** 2, axis=(1, 2, 3))
    want = m / (2 * k) * norm * (1 + size**2 * (L - 1))
    np.testing.assert_allclose(np.diag(got.ntk), want, rtol=1e-10)
    np.testing.assert_allclose(np.diag(got.nngp), norm / k, rtol=1e-10)


def test_mean_over_seeds_is_the_limit(check_limit):
    settings = {"depth": 3, "out": 8, "kernel_size": 2}
    check_limit(
        lambda m: AllenZhuCNN(width=m, **settings),
        X,
        "ntk",
        widths=(16, 64),
        largest_error=0.05,  # B alone moves an entry by (2 / (m k))^1/2
    )


def test_frozen_layers_have_no_gradient():
    net = AllenZhuCNN(width=6, depth=3, out=2)
    grad = jax.grad(lambda p: jnp.sum(net.apply({"params": p}, jnp.asarray(X)) ** 2))(
        init(net)
    )
    moved = [bool(jnp.any(grad[name]["W"] != 0)) for name in NAMES]
    assert moved == [False, True, True, True, False]


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"depth": 0}, "depth >= 1, got depth=0"),
        ({"kernel_size": 0}, "kernel_size >= 1, got kernel_size=0"),
        ({"padding": "SAMEE"}, "did you mean 'SAME'"),
    ],
)
def test_bad_arguments_are_refused_by_value(bad, message):
    with pytest.raises(ValueError, match=message):
        AllenZhuCNN(**({"width": 4} | bad))


def test_images_too_small_are_refused():
    net = AllenZhuCNN(width=4, depth=3, padding="VALID")
    with pytest.raises(ValueError, match=r"kernel_size <= 1 .* kernel_size=3"):
        init(net)
