"""What neural-tangents 0.6.5 computes on the JAX it was written for, as test data.

`CASES` says what is computed; the test runs the same functions on current JAX. To
remake the file, with Python 3.11, in an environment of its own:

    pip install jax==0.4.23 jaxlib==0.4.23 scipy==1.11.4 numpy==1.26.4 frozendict
    pip install --no-deps neural-tangents==0.6.5
    JAX_PLATFORMS=cpu python tests/infinite/golden/make_golden.py

It takes one to two minutes on one CPU core and writes neural_tangents_0_6_5.npz beside
this file, with one array for each "dtype/case/name".

All data and parameters come from NumPy: JAX draws other numbers from the same key
since version 0.5. A case is a function `case(nt, dtype)` that returns a dictionary of
arrays. Its names end in `_self` for the kernel of a set with itself.
"""

import pathlib
import sys
import types
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

PATH = pathlib.Path(__file__).with_name("neural_tangents_0_6_5.npz")
DTYPES = ("float32", "float64")
CASES: dict[str, Callable] = {}
# K(x, x) of these activations goes through arccos at 1, which turns a rounding error
# e of its argument into one of sqrt(e) on the diagonal.
KINKED = ("Relu", "LeakyRelu", "ABRelu")


def case(fn: Callable) -> Callable:
    CASES[fn.__name__] = fn
    return fn


def normal(dtype: str, *shape: int, seed: int = 0) -> Any:
    return jnp.asarray(np.random.RandomState(seed).normal(size=shape), dtype)


def kernels(net: tuple, x1: Any, x2: Any, **kwargs: Any) -> dict[str, Any]:
    """NNGP and NTK between two sets, and of the first with itself."""
    between = net[2](x1, x2, ("nngp", "ntk"), **kwargs)
    if "pattern" in kwargs:
        kwargs["pattern"] = (kwargs["pattern"][0],) * 2
    within = net[2](x1, None, ("nngp", "ntk"), **kwargs)
    return {
        "nngp": between.nngp,
        "ntk": between.ntk,
        "nngp_self": within.nngp,
        "ntk_self": within.ntk,
    }


# ------------------------------------------------------------- analytic kernels

ACTIVATIONS = {
    "Relu": lambda stax: stax.Relu(),
    "LeakyRelu": lambda stax: stax.LeakyRelu(0.1),
    "ABRelu": lambda stax: stax.ABRelu(-0.5, 1.2),
    "Erf": lambda stax: stax.Erf(),
    "Gelu": lambda stax: stax.Gelu(approximate=False),
    "Sin": lambda stax: stax.Sin(a=1.1, b=0.7, c=0.3),
    "Rbf": lambda stax: stax.Rbf(gamma=0.6),
    "Gaussian": lambda stax: stax.Gaussian(),
    "Monomial": lambda stax: stax.Monomial(2),
    "Identity": lambda stax: stax.Identity(),
    "Tanh": lambda stax: stax.ElementwiseNumerical(jnp.tanh, deg=15),
}


def mlp(name: str) -> Callable:
    """Two hidden layers with biases, in NTK and in standard parameterization."""

    def run(nt: Any, dtype: str) -> dict[str, Any]:
        stax, found = nt.stax, {}
        x1, x2 = normal(dtype, 5, 6), normal(dtype, 4, 6, seed=1)
        for parameterization in ("ntk", "standard"):
            how = {"parameterization": parameterization, "b_std": 0.4}
            phi = ACTIVATIONS[name](stax)
            net = stax.serial(
                stax.Dense(8, W_std=1.3, **how),
                phi,
                stax.Dense(8, W_std=1.2, **how),
                phi,
                stax.Dense(1, W_std=1.1, **how),
            )
            new = kernels(net, x1, x2)
            found |= {f"{parameterization}_{key}": new[key] for key in new}
        return found

    return run


CASES |= {f"mlp_{name}": mlp(name) for name in ACTIVATIONS}


def images(dtype: str) -> tuple[Any, Any]:
    # As many in both sets: the kernels of convolutions compile once, not twice.
    return normal(dtype, 3, 6, 6, 2), normal(dtype, 3, 6, 6, 2, seed=1)


@case
def cnn_flatten(nt: Any, dtype: str) -> dict[str, Any]:
    stax = nt.stax
    conv = stax.Conv(8, (3, 3), padding="SAME", W_std=1.2, b_std=0.2)
    strided = stax.Conv(8, (3, 3), strides=(2, 2), padding="VALID", W_std=1.2)
    net = stax.serial(
        conv, stax.Erf(), strided, stax.Erf(), stax.Flatten(), stax.Dense(1)
    )
    return kernels(net, *images(dtype))


@case
def cnn_pools(nt: Any, dtype: str) -> dict[str, Any]:
    stax = nt.stax
    conv = stax.Conv(8, (3, 3), padding="CIRCULAR", W_std=1.2, b_std=0.2)
    pools = stax.AvgPool((2, 2), (2, 2)), stax.GlobalAvgPool()
    net = stax.serial(
        conv, stax.Erf(), pools[0], conv, stax.Erf(), pools[1], stax.Dense(1)
    )
    return kernels(net, *images(dtype))


@case
def resnet(nt: Any, dtype: str) -> dict[str, Any]:
    stax = nt.stax
    conv = stax.Conv(8, (3, 3), padding="SAME", W_std=1.2, b_std=0.1)
    branch = stax.serial(stax.LayerNorm(), stax.Gelu(approximate=False), conv)
    block = stax.serial(
        stax.FanOut(2), stax.parallel(branch, stax.Identity()), stax.FanInSum()
    )
    net = stax.serial(conv, block, block, stax.Flatten(), stax.Dense(1))
    return kernels(net, *images(dtype))


@case
def attention(nt: Any, dtype: str) -> dict[str, Any]:
    stax = nt.stax
    attend = stax.GlobalSelfAttention(
        8, 8, 8, 2, pos_emb_type="SUM", pos_emb_decay_fn=lambda d: 1 / (1 + d**2)
    )
    net = stax.serial(stax.Conv(8, (3, 3), b_std=0.1), stax.Erf(), attend)
    net = stax.serial(net, stax.Erf(), stax.GlobalAvgPool(), stax.Dense(1))
    return kernels(net, *images(dtype))


@case
def graph(nt: Any, dtype: str) -> dict[str, Any]:
    stax = nt.stax
    links = np.random.RandomState(2).rand(6, 7, 7) < 0.4
    links = jnp.asarray(links / (1 + links.sum(-1, keepdims=True)), dtype)
    net = stax.serial(stax.Dense(8, b_std=0.3), stax.Erf(), stax.Aggregate(1, 0, -1))
    net = stax.serial(net, stax.Dense(8), stax.Erf(), stax.GlobalSumPool())
    x1, x2 = normal(dtype, 3, 7, 4), normal(dtype, 3, 7, 4, seed=1)
    return kernels(net, x1, x2, pattern=(links[:3], links[3:]))


@case
def dropout(nt: Any, dtype: str) -> dict[str, Any]:
    stax = nt.stax
    drop = stax.Dropout(0.8, mode="train")
    net = stax.serial(stax.Dense(8, b_std=0.2), stax.Erf(), drop, stax.Dense(1))
    return kernels(net, normal(dtype, 5, 6), normal(dtype, 4, 6, seed=1))


@case
def batch(nt: Any, dtype: str) -> dict[str, Any]:
    """Tiles of two rows, on as many devices as there are: 1, 2, 4 or 8."""
    stax = nt.stax
    net = stax.serial(stax.Dense(8, b_std=0.2), stax.Erf(), stax.Dense(1))
    x1, x2 = normal(dtype, 16, 6), normal(dtype, 16, 6, seed=1)
    return kernels((None, None, nt.batch(net[2], batch_size=2)), x1, x2)


# ------------------------------------------------------------------ predictions


def regression(nt: Any, dtype: str) -> tuple:
    """Kernel function, train inputs and targets, test inputs, two functions at 0."""
    stax = nt.stax
    net = stax.serial(stax.Dense(8, W_std=1.4, b_std=0.3), stax.Erf(), stax.Dense(1))
    x_train, x_test = normal(dtype, 4, 10), normal(dtype, 3, 10, seed=1)
    starts = normal(dtype, 4, 2, seed=3), normal(dtype, 3, 2, seed=4)
    return net[2], x_train, normal(dtype, 4, 2, seed=2), x_test, *starts


@case
def gradient_descent_mse(nt: Any, dtype: str) -> dict[str, Any]:
    kernel_fn, x_train, y_train, x_test, fx_train, fx_test = regression(nt, dtype)
    k, k_test = kernel_fn(x_train, None, "ntk"), kernel_fn(x_test, x_train, "ntk")
    predict = nt.predict.gradient_descent_mse(k, y_train, 0.5, diag_reg=1e-2)
    found = {}
    for name, t in {"finite": jnp.asarray([0.0, 0.7, 5.0], dtype), "inf": None}.items():
        found[f"train_{name}"], found[f"test_{name}"] = predict(
            t, fx_train, fx_test, k_test
        )
    return found


@case
def gradient_descent_mse_ensemble(nt: Any, dtype: str) -> dict[str, Any]:
    kernel_fn, x_train, y_train, x_test, _, _ = regression(nt, dtype)
    predict = nt.predict.gradient_descent_mse_ensemble(
        kernel_fn, x_train, y_train, learning_rate=0.5, diag_reg=1e-2
    )
    found = {}
    for name, t in {"finite": jnp.asarray([0.7, 5.0], dtype), "inf": None}.items():
        for which, x in {"train": None, "test": x_test}.items():
            both = predict(t, x, ("nngp", "ntk"), compute_cov=True)
            for get in ("nngp", "ntk"):
                posterior = getattr(both, get)
                found[f"{get}_mean_{which}_{name}"] = posterior.mean
                found[f"{get}_covariance_{which}_{name}"] = posterior.covariance
    return found


@case
def gradient_descent_ode(nt: Any, dtype: str) -> dict[str, Any]:
    """Momentum on the squared error, and gradient flow on the cross-entropy."""
    kernel_fn, x_train, y_train, x_test, fx_train, fx_test = regression(nt, dtype)
    k, k_test = kernel_fn(x_train, None, "ntk"), kernel_fn(x_test, x_train, "ntk")
    t = jnp.asarray([0.5, 1.0], dtype)

    def mse(fx: Any, y: Any) -> Any:
        return 0.5 * jnp.mean((fx - y) ** 2)

    def cross_entropy(fx: Any, y: Any) -> Any:
        return -jnp.mean(jax.nn.log_softmax(fx) * y)

    heavy = nt.predict.gradient_descent(mse, k, y_train, 0.1, momentum=0.9)
    labels = jax.nn.one_hot(jnp.argmax(y_train, -1), 2, dtype=dtype)
    flow = nt.predict.gradient_descent(cross_entropy, k, labels, 0.5)
    names = "momentum_train", "momentum_test", "entropy_train", "entropy_test"
    args = (t, fx_train, fx_test, k_test)
    return dict(zip(names, (*heavy(*args), *flow(*args)), strict=True))


@case
def gp_inference(nt: Any, dtype: str) -> dict[str, Any]:
    kernel_fn, x_train, y_train, x_test, _, _ = regression(nt, dtype)
    k = kernel_fn(x_train, None, ("nngp", "ntk"))
    k_test_train = kernel_fn(x_test, x_train, ("nngp", "ntk"))
    k_test_test = kernel_fn(x_test, None, ("nngp", "ntk"))
    predict = nt.predict.gp_inference(k, y_train, diag_reg=1e-2)
    both = predict(("nngp", "ntk"), k_test_train, k_test_test)
    rates = [
        nt.predict.max_learning_rate(k.ntk, y_train_size=8, momentum=m)
        for m in (0.0, 0.9)
    ]
    return {
        "nngp_mean": both.nngp.mean,
        "nngp_covariance": both.nngp.covariance,
        "ntk_mean": both.ntk.mean,
        "ntk_covariance": both.ntk.covariance,
        "max_learning_rate": np.asarray(rates, dtype),  # NumPy 1 and 2 differ
    }


# ------------------------------------------------------------- finite networks


def dense_network(dtype: str) -> tuple[Callable, Any]:
    """A hidden layer, and a bias that the output receives directly."""
    shapes = {"w1": (5, 7), "b1": (7,), "w2": (7, 3), "b2": (3,)}
    params = {
        name: normal(dtype, *shape, seed=10 + i) / np.sqrt(shape[0]).astype(dtype)
        for i, (name, shape) in enumerate(shapes.items())
    }

    def f(params: Any, x: Any) -> Any:
        hidden = jnp.tanh(x @ params["w1"] + params["b1"])
        return hidden @ params["w2"] + params["b2"]

    return f, params


def conv_network(dtype: str) -> tuple[Callable, Any]:
    """Convolution, halves of the channels multiplied (`split`), pooling, dense."""
    params = (normal(dtype, 3, 3, 2, 4, seed=20) / 4, normal(dtype, 2, 3, seed=21))

    def f(params: Any, x: Any) -> Any:
        dims = ("NHWC", "HWIO", "NHWC")
        x = lax.conv_general_dilated(
            x, params[0], (1, 1), "SAME", dimension_numbers=dims
        )
        gate, value = jnp.split(x, 2, axis=-1)
        return jnp.mean(jnp.sin(gate) * value, axis=(1, 2)) @ params[1]

    return f, params


# vmap_axes, trace_axes, diagonal_axes
AXES = {
    "plain": (None, (), ()),
    "trace": (None, (-1,), ()),
    "vmap_trace": (0, (-1,), ()),
    "vmap_diagonal": (0, (), (-1,)),
}
IMPLEMENTATIONS = (
    "JACOBIAN_CONTRACTION",
    "NTK_VECTOR_PRODUCTS",
    "STRUCTURED_DERIVATIVES",
)


def empirical(
    nt: Any, f: Callable, params: Any, x1: Any, x2: Any, axes: tuple = tuple(AXES)
) -> dict[str, Any]:
    found = {}
    for name in axes:
        vmap_axes, trace_axes, diagonal_axes = AXES[name]
        for implementation in (*IMPLEMENTATIONS, *(["AUTO"] * (name == "trace"))):
            ntk_fn = nt.empirical_ntk_fn(
                f,
                trace_axes=trace_axes,
                diagonal_axes=diagonal_axes,
                vmap_axes=vmap_axes,
                implementation=nt.NtkImplementation[implementation],
            )
            found[f"{implementation}_{name}"] = jax.jit(ntk_fn)(x1, x2, params)
    return found


@case
def empirical_dense(nt: Any, dtype: str) -> dict[str, Any]:
    f, params = dense_network(dtype)
    x1, x2 = normal(dtype, 3, 5), normal(dtype, 2, 5, seed=1)
    nngp = nt.empirical_nngp_fn(f, trace_axes=())(x1, x2, params)
    vp = nt.empirical_ntk_vp_fn(f, x1, x2, params)(normal(dtype, 2, 3, seed=2))
    return empirical(nt, f, params, x1, x2) | {"nngp": nngp, "vp": vp}


@case
def empirical_conv(nt: Any, dtype: str) -> dict[str, Any]:
    f, params = conv_network(dtype)
    x1, x2 = normal(dtype, 3, 4, 4, 2), normal(dtype, 2, 4, 4, 2, seed=1)
    return empirical(nt, f, params, x1, x2, ("plain", "vmap_trace"))


@case
def expansions(nt: Any, dtype: str) -> dict[str, Any]:
    """`linearize` and `taylor_expand`, at parameters off the point of expansion."""
    f, params = dense_network(dtype)
    moved = jax.tree_util.tree_map(lambda p: 1.2 * p + 0.1, params)
    x = normal(dtype, 3, 5)
    taylor = {n: nt.taylor_expand(f, params, n)(moved, x) for n in (2, 3)}
    linear = nt.linearize(f, params)(moved, x)
    return {"linear": linear} | {f"taylor_{n}": y for n, y in taylor.items()}


def main() -> None:
    # It would import TensorFlow, which no case needs.
    sys.modules["neural_tangents.experimental"] = types.ModuleType("experimental")
    import neural_tangents as nt

    golden = {}
    for dtype in DTYPES:
        jax.config.update("jax_enable_x64", dtype == "float64")
        for name, run in CASES.items():
            for key, value in run(nt, dtype).items():
                golden[f"{dtype}/{name}/{key}"] = np.asarray(value)
    np.savez_compressed(PATH, **golden)
    print(f"{PATH}: {len(golden)} arrays, jax {jax.__version__}, nt {nt.__version__}")


if __name__ == "__main__":
    main()
