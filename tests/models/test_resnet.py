"""The pre-activation ResNet: its blocks, and its limit by neural-tangents' layers."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.infinite.kernels import kernel_matrix
from zoo.infinite.neural_tangents import stax
from zoo.layers import Conv, Finite
from zoo.models import ResNet

X = np.random.default_rng(0).normal(size=(2, 4, 6, 2)) + 0.5
X = (X * np.asarray([1.0, 1.4]).reshape(2, 1, 1, 1)).astype(np.float32)
SETTINGS = {"depth": 2, "groups": 2, "out": 3, "sigma_w": 1.2, "sigma_b": 0.3}


def init(net):
    """Standard normal parameters, without compiling an initialization."""
    rng = np.random.default_rng(1)
    shapes = jax.eval_shape(net.init, jax.random.key(0), jnp.asarray(X))["params"]
    return jax.tree.map(
        lambda leaf: jnp.asarray(rng.normal(size=leaf.shape), leaf.dtype), shapes
    )


def test_parameters_are_counted_and_named():
    params = init(ResNet(width=4, **SETTINGS))
    shapes = {
        "/".join(key.key for key in path): leaf.shape
        for path, leaf in jax.tree_util.tree_leaves_with_path(params)
        if path[-1].key == "W"
    }
    assert shapes == {
        "conv_0/W": (3, 3, 2, 4),
        **{
            f"residual_{block}/branch/conv_{place}/W": (3, 3, fan_in, m)
            for block, place, fan_in, m in [
                (0, 0, 4, 4),
                (0, 1, 4, 4),
                (1, 0, 4, 4),
                (1, 1, 4, 4),
                (2, 0, 4, 8),
                (2, 1, 8, 8),
                (3, 0, 8, 8),
                (3, 1, 8, 8),
            ]
        },
        "residual_2/shortcut/W": (1, 1, 4, 8),
        "dense_0/W": (8, 3),
    }


@pytest.mark.parametrize("layer_norm", [False, True])
def test_forward_pass_from_convolutions(layer_norm):
    """Convolutions have their own test by hand, tests/layers/test_conv.py."""
    net = ResNet(width=4, layer_norm=layer_norm, **(SETTINGS | {"depth": 1}))
    p = init(net)

    def conv(params, h, stride=1, size=3):
        layer = Conv(params["W"].shape[-1], 1.2, 0.3, kernel_size=size, stride=stride)
        return Finite(layer).apply({"params": params}, h)

    def act(h):
        h = np.asarray(h, np.float64)
        if layer_norm:
            h = (h - h.mean(-1, keepdims=True)) / h.std(-1, keepdims=True)
        return jnp.asarray(np.maximum(h, 0), jnp.float32)

    h = conv(p["conv_0"], jnp.asarray(X))
    for name, stride in (("residual_0", 1), ("residual_1", 2)):
        branch = p[name]["branch"]
        inner = act(conv(branch["conv_0"], act(h), stride))
        kept = h if stride == 1 else conv(p[name]["shortcut"], h, 2, size=1)
        h = kept + conv(branch["conv_1"], inner)
    assert h.shape == (2, 2, 3, 8)
    mean = np.asarray(act(h), np.float64).mean((1, 2))
    W, b = (np.asarray(p["dense_0"][name]) for name in "Wb")
    want = 1.2 / 8**0.5 * mean @ W + 0.3 * b
    got = net.apply({"params": p}, jnp.asarray(X))
    np.testing.assert_allclose(got, want, rtol=2e-4, atol=2e-5)


def reference(net):
    """The same network of neural-tangents' own layers."""
    scales = {"W_std": net.sigma_w, "b_std": net.sigma_b}
    scales["parameterization"] = net.parameterization

    def conv(m, stride=1, size=3):
        return stax.Conv(m, (size, size), (stride, stride), net.padding, **scales)

    norm = [stax.LayerNorm(eps=1e-6)] if net.layer_norm else []
    act = [*norm, stax.Relu()]
    layers, m = [conv(net.width)], net.width
    for group in range(net.groups):
        m = net.width * 2**group
        for place in range(net.depth):
            fresh = group > 0 and place == 0
            stride = 2 if fresh else 1
            branch = stax.serial(*act, conv(m, stride), *act, conv(m))
            kept = conv(m, 2, size=1) if fresh else stax.Identity()
            layers += [stax.FanOut(2), stax.parallel(branch, kept), stax.FanInSum()]
    dense = stax.Dense(net.out, **scales)
    return stax.serial(*layers, *act, stax.GlobalAvgPool(), dense)[2]


# neural-tangents warns that it does not check a sum's branches for independence.
@pytest.mark.filterwarnings("ignore::UserWarning")
@pytest.mark.parametrize(
    "settings",
    [
        {"depth": 1},
        {"groups": 1, "padding": "CIRCULAR", "parameterization": "standard"},
        {"depth": 1, "layer_norm": True},
    ],
    ids=str,
)
def test_limit_equals_neural_tangents_own_layers(settings):
    net = ResNet(width=8, **(SETTINGS | settings))
    got = kernel_matrix(net, X, get=("nngp", "ntk"))
    with (
        jax.enable_x64(True),
        jax.numpy_dtype_promotion("standard"),
        jax.numpy_rank_promotion("allow"),
    ):
        want = jax.jit(lambda x: reference(net)(x, None, ("nngp", "ntk")))(
            jnp.asarray(X, jnp.float64)
        )
    # 1e-7: neural-tangents' relu uses arccos, with half the digits on the diagonal.
    np.testing.assert_allclose(got.nngp, want.nngp, rtol=1e-7)
    np.testing.assert_allclose(got.ntk, want.ntk, rtol=1e-7)


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"groups": 0}, "groups >= 1, got groups=0"),
        ({"depth": 0}, "depth >= 1, got depth=0"),
        ({"stride": 0}, "stride >= 1, got stride=0"),
        ({"padding": "VALID"}, "unknown padding 'VALID'"),
        ({"activation": "rleu"}, "did you mean 'relu'"),
    ],
)
def test_bad_arguments_are_refused_by_value(bad, message):
    with pytest.raises(ValueError, match=message):
        ResNet(**({"width": 4} | bad))


def test_images_that_a_stride_empties_are_refused():
    net = ResNet(width=2, groups=4)
    with pytest.raises(ValueError, match=r"stride <= 1 on images of 1 x 2, got stri"):
        init(net)
