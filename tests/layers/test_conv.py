"""Convolutions: by hand, as linear in their parameters, and what has no patch."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers import Conv, Finite, input_kernel

X = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 5, 3)).astype(np.float32))
# (kernel_size, stride, padding)
PATCHES = [
    (3, 1, "SAME"),
    (2, 1, "SAME"),
    (3, 2, "VALID"),
    (5, 1, "VALID"),
    (3, 2, "CIRCULAR"),
    (2, 1, "CIRCULAR"),
]


def by_hand(x, W, size, stride, padding):
    """Loops over positions; zeros or wrapped entries stand around the image."""
    pads = [(0, 0)] * 4
    if padding != "VALID":
        for axis in (1, 2):
            out = -(-x.shape[axis] // stride)
            total = max((out - 1) * stride + size - x.shape[axis], 0)
            pads[axis] = (total // 2, total - total // 2)
    x = np.pad(x, pads, mode="wrap" if padding == "CIRCULAR" else "constant")
    rows, columns = ((length - size) // stride + 1 for length in x.shape[1:3])
    out = np.zeros((len(x), rows, columns, W.shape[-1]))
    for i in range(rows):
        for j in range(columns):
            top, left = i * stride, j * stride
            patch = x[:, top : top + size, left : left + size]
            out[:, i, j] = np.tensordot(patch, W, 3)
    return out


@pytest.mark.parametrize("patch", PATCHES, ids=str)
def test_forward_and_design_by_hand(patch):
    size, stride, padding = patch
    layer = Conv(4, 1.3, 0.4, kernel_size=size, stride=stride, padding=padding)
    params = Finite(layer).init(jax.random.key(0), X)["params"]
    assert params["W"].shape == (size, size, 3, 4)
    got = Finite(layer).apply({"params": params}, X)
    W, b = (np.asarray(params[name], np.float64) for name in "Wb")
    want = (
        1.3 / (3 * size**2) ** 0.5 * by_hand(np.asarray(X), W, size, stride, padding)
        + 0.4 * b
    )
    np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-6)
    # The design's Gram matrix is sum_theta d out / d theta d out' / d theta.
    design = np.asarray(layer.design(X), np.float64)
    assert design.shape[1] == want.shape[1] * want.shape[2]
    jacobian = jax.jacrev(
        lambda p: Finite(layer).apply({"params": p}, X)[..., 0].ravel()
    )(params)
    flat = np.concatenate([j.reshape(len(j), -1) for j in jacobian.values()], axis=1)
    gram = np.einsum("npq,mrq->npmr", design, design).reshape(len(flat), -1)
    np.testing.assert_allclose(gram, flat @ flat.T, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"kernel_size": 6, "padding": "VALID"}, "kernel_size <= 5 .* kernel_size=6"),
        ({"stride": 6}, "stride <= 5 .* stride=6"),
    ],
)
def test_images_without_a_patch_are_refused(settings, message):
    layer = Conv(4, **settings)
    with pytest.raises(ValueError, match=message):
        Finite(layer).init(jax.random.key(0), X)
    with pytest.raises(ValueError, match=message):
        layer.limit(input_kernel(X, None, diagonal_spatial=True))


@pytest.mark.parametrize("padding", ["SAME", "CIRCULAR"])
def test_padding_carries_a_patch_beyond_the_image(padding):
    layer = Conv(4, kernel_size=6, padding=padding)
    assert Finite(layer).init_with_output(jax.random.key(0), X)[0].shape == (2, 6, 5, 4)
