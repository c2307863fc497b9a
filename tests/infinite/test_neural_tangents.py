"""neural-tangents on current JAX computes what it computed on JAX 0.4.23.

The golden arrays and their cases are in golden/make_golden.py. The rest is what they
do not show: imports, transformations, several devices, and Flax modules.
"""

import importlib.util
import os
import pathlib
import subprocess
import sys
import sysconfig

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.infinite.neural_tangents import nt, predict, stax

pytestmark = [
    pytest.mark.filterwarnings(f"ignore:{message}:UserWarning")
    for message in (  # what neural-tangents itself has to say to its users
        "Linear scaling attention",
        "`FanIn` layers",
        "Numerical Activation Layer",
        "Using JAX autodiff to compute",
    )
]


@pytest.fixture(autouse=True)
def _promotion():
    """neural-tangents mixes dtypes and ranks, on old JAX as on new."""
    with jax.numpy_dtype_promotion("standard"), jax.numpy_rank_promotion("allow"):
        yield


def normal(*shape, seed=0):
    return jnp.asarray(np.random.RandomState(seed).normal(size=shape), jnp.float32)


# --------------------------------------------------------------- golden values

ROOT = pathlib.Path(__file__).parents[2]
GOLDEN = ROOT / "tests/infinite/golden/make_golden.py"
spec = importlib.util.spec_from_file_location("make_golden", GOLDEN)
golden = importlib.util.module_from_spec(spec)
spec.loader.exec_module(golden)
with np.load(golden.PATH) as file:
    ARRAYS = dict(file)

# Bounds on max |got - want| / max |want|: 1e-6 and 1e-10, but for two exceptions.
# K(x, x) goes through arccos at 1: sqrt(eps) of a rounding error eps (3e-4 in float32).
# In float64 the old stack itself is 5e-9 off the exact Relu recursion there.
RTOL_KINK = {"float32": 5e-4, "float64": 1e-8}
# Float32: a factorization or an ODE solver asked for 1.4e-8 (7e-7 on JAX 0.10.1, 1.7e-6
# on 0.12); K(x, x) as a small difference of variances (1.5e-6).
RTOL_FLOAT32 = {
    "mlp_Rbf": 3e-6,
    "mlp_Gaussian": 3e-6,
    **dict.fromkeys(("gradient_descent_mse", "gradient_descent_mse_ensemble"), 2e-6),
    "gp_inference": 2e-6,
    "gradient_descent_ode": 5e-6,
}


@pytest.mark.parametrize("dtype", golden.DTYPES)
@pytest.mark.parametrize("name", golden.CASES)
def test_values_are_those_of_the_old_stack(name, dtype):
    with jax.enable_x64(dtype == "float64"):
        found = golden.CASES[name](nt, dtype)
    prefix = f"{dtype}/{name}/"
    assert {prefix + key for key in found} == {
        k for k in ARRAYS if k.startswith(prefix)
    }
    rtol = RTOL_FLOAT32.get(name, 1e-6) if dtype == "float32" else 1e-10
    for key, got in found.items():
        want = ARRAYS[prefix + key]
        chex.assert_shape(got, want.shape)
        assert got.dtype == want.dtype, key
        bound = np.full(want.shape, rtol)
        if key.endswith("_self") and name.removeprefix("mlp_") in golden.KINKED:
            np.fill_diagonal(bound, RTOL_KINK[dtype])
        error = np.abs(np.asarray(got) - want)
        assert np.all(error <= bound * np.max(np.abs(want))), (key, error.max())


# ---------------------------------------------------------------------- import


def python(code, *path, flags=("-W", "error"), error=None):
    """Run `code` in a new interpreter; it says nothing, or ends in `error`."""
    paths = os.pathsep.join([*map(str, path), str(ROOT)])
    env = os.environ | {"PYTHONPATH": paths, "JAX_PLATFORMS": "cpu"}
    command = [sys.executable, *flags, "-c", code]
    done = subprocess.run(command, env=env, capture_output=True, text=True)
    said = (done.stdout + done.stderr).splitlines()
    assert said[-1:] == ([error] if error else []), "\n".join(said)


@pytest.fixture
def tensorflow(tmp_path):
    """A folder with a TensorFlow that tells on whoever imports it."""
    for name in ("tensorflow", "tf2jax"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text(f"raise ImportError('{name}!')")
    return tmp_path


def test_import_leaves_jax_as_it_was_and_tensorflow_alone(tensorflow):
    python(
        """
import inspect, sys
import jax.core, jax.extend.core, jax.numpy, jax.interpreters.ad, scipy.linalg

def names():
    public = [m for m in sys.modules if m.startswith("jax") and "._" not in m]
    return {m: dict(vars(sys.modules[m])) for m in [*public, "scipy", "scipy.linalg"]}

before = names()
from zoo.infinite.neural_tangents import nt
after = names()
for module, old in before.items():
    new = after[module]
    assert all(new[name] is old[name] for name in old), module
    for name in new.keys() - old.keys():
        assert f"{module}.{name}" in sys.modules, (module, name)
assert "jax.util" not in sys.modules
inspect.getmodule(names)  # looks at every module
assert not hasattr(nt.experimental, "missing")
assert not {"tensorflow", "tf2jax"} & sys.modules.keys()
try:
    nt.experimental.empirical_ntk_fn_tf
except ImportError as error:
    assert str(error) in ("tensorflow!", "tf2jax!")
""",
        tensorflow,
    )


USE = """
import jax.numpy as jnp
assert stax.Dense(1)[2](jnp.ones((2, 3)), None, "ntk").shape == (2, 2)
assert nt.predict.max_learning_rate(jnp.eye(2)) > 0
"""


def test_a_users_own_import_works_after_ours():
    python(
        """
import importlib, sys
import zoo.infinite.neural_tangents as ours
import neural_tangents as nt
from neural_tangents import stax
import neural_tangents.predict
assert nt is ours.nt and stax is ours.stax and neural_tangents.predict is ours.predict
importlib.reload(ours)
assert ours.nt is nt and sys.modules["neural_tangents"] is nt
"""
        + USE
    )


@pytest.mark.parametrize("tensorflow_found", [False, True])
def test_import_works_after_a_failed_one(tensorflow_found):
    stub = "sys.modules['neural_tangents.experimental'] = type(sys)('stub')"
    python(
        f"""
import sys
{stub if tensorflow_found else ""}
try:
    import neural_tangents
except ImportError:
    assert "neural_tangents._src" in sys.modules or not {tensorflow_found}
else:
    raise AssertionError("Current JAX can run the stock wheel: is zoo's file needed?")
import zoo.infinite.neural_tangents
import neural_tangents as nt
from neural_tangents import stax
assert nt.experimental.__name__ == "neural_tangents.experimental"
assert nt._src.empirical._get_flops.__module__ == "zoo.infinite.neural_tangents"
"""
        + USE
    )


INSTALL = "pip install --no-deps neural-tangents==0.6.5"


def test_missing_wheel_is_an_error_that_says_how_to_install_it(tmp_path):
    for entry in pathlib.Path(sysconfig.get_path("purelib")).iterdir():
        if not entry.name.startswith("neural_tangents"):
            (tmp_path / entry.name).symlink_to(entry)
    error = f"ImportError: neural-tangents is not installed: {INSTALL}"
    python("import zoo.infinite.neural_tangents", tmp_path, flags=["-S"], error=error)


def test_other_version_is_an_error(tmp_path):
    info = tmp_path / "neural_tangents-0.6.4.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Name: neural-tangents\nVersion: 0.6.4\n")
    found = "neural-tangents 0.6.5 is needed, 0.6.4 is installed"
    error = f"ImportError: {found}: {INSTALL}"
    python("import zoo.infinite.neural_tangents", tmp_path, error=error)


# ---------------------------------------------------- empirical NTK of Flax modules


class Mlp(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.gelu(nn.Dense(6, name="hidden")(x.reshape(x.shape[0], -1)))
        return nn.Dense(3, name="readout")(x)


class Cnn(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = nn.relu(nn.Conv(4, (3, 3), strides=2, name="conv")(x))
        x = nn.max_pool(x, (2, 2), (1, 1))
        x = nn.Conv(4, (1, 1), feature_group_count=2, name="grouped")(x)
        return nn.Dense(3, name="readout")(nn.LayerNorm(name="norm")(x).mean((1, 2)))


class Attention(nn.Module):
    @nn.compact
    def __call__(self, x):
        x = x.reshape(x.shape[0], 4, -1)
        y = nn.LayerNorm(name="norm")(x)
        x = x + nn.MultiHeadDotProductAttention(2, name="attend")(y, y)
        return nn.Dense(3, name="readout")(x.mean(1))


class Unusual(nn.Module):
    """Shared weights, remat, a scan, split, sort and an unused parameter."""

    @nn.compact
    def __call__(self, x):
        shared = nn.Dense(4, name="shared")
        x = shared(jnp.tanh(shared(x.reshape(x.shape[0], -1, 4)[:, :4])))
        x = nn.RNN(nn.SimpleCell(4, name="cell"), name="rnn")(x)
        a, b, c = jnp.split(x, (1, 2), axis=1)
        x = jnp.concatenate([c, a * b], axis=1)
        x = nn.remat(nn.Dense)(4, name="remat")(jnp.cumsum(x, 1)).mean(1)
        self.param("unused", nn.initializers.ones, (2,))
        shift = self.param("shift", nn.initializers.ones, (3,))
        return jnp.sort(nn.Dense(3, name="readout")(x), -1) * nn.sigmoid(shift) + shift


MODULES = {"Mlp": Mlp(), "Cnn": Cnn(), "Attention": Attention(), "Unusual": Unusual()}


def module_and_data(name):
    """`apply_fn(params, x)`, params, and two sets of two inputs."""
    module, x = MODULES[name], normal(4, 4, 4, 2)
    params = jax.jit(module.init)(jax.random.key(0), x)
    return module.apply, params, x[:2], x[2:]


@pytest.mark.parametrize(("vmap_axes", "trace_axes"), [(None, ()), (0, (-1,))])
@pytest.mark.parametrize("name", MODULES)
def test_implementations_agree(name, vmap_axes, trace_axes):
    f, params, x1, x2 = module_and_data(name)
    axes = {"vmap_axes": vmap_axes, "trace_axes": trace_axes}

    def ntk(implementation):
        ntk_fn = nt.empirical_ntk_fn(f, implementation=implementation, **axes)
        return jax.jit(ntk_fn)(x1, x2, params)

    # AUTO compiles all the others, hence on the small network only.
    auto, contraction, *others = nt.NtkImplementation
    want = ntk(contraction)
    chex.assert_shape(want, (2, 2) if trace_axes else (2, 2, 3, 3))
    for implementation in [*others, auto] if name == "Mlp" else others:
        # 17 units in the last place of the largest entry; measured: at most 9e-7.
        error = jnp.max(jnp.abs(ntk(implementation) - want)) / jnp.max(jnp.abs(want))
        assert error < 2e-6, (implementation, error)


@pytest.mark.parametrize("forward", [None, True, False])
def test_structured_derivatives_of_several_outputs(forward):
    """One that no parameter reaches, one in float16; with rules or without."""
    f, params = golden.dense_network("float32")
    params["half"] = 0.5 * params["w1"]
    x1, x2 = normal(3, 5), normal(2, 5, seed=1)

    def outputs(params, x):
        y = f(params | {"w1": params["w1"] + params["half"]}, x)
        return y, x, y.astype(jnp.float16)

    want = nt.empirical_ntk_fn(outputs, (), implementation=1)(x1, x2, params)
    rules = {} if forward is None else {"_j_rules": False, "_s_rules": False}
    ntk_fn = nt.empirical_ntk_fn(outputs, (), _fwd=forward, implementation=3, **rules)
    chex.assert_trees_all_close(ntk_fn(x1, x2, params), want, rtol=1e-5, atol=1e-6)
    assert not want[1].any()


def test_structured_derivatives_save_operations():
    f, params, x1, x2 = module_and_data("Mlp")

    def flops(implementation):
        ntk_fn = nt.empirical_ntk_fn(f, (), implementation=implementation)
        return jax.jit(ntk_fn).lower(x1, x2, params).cost_analysis()["flops"]

    structured = flops(nt.NtkImplementation.STRUCTURED_DERIVATIVES)
    assert structured < 0.8 * flops(nt.NtkImplementation.JACOBIAN_CONTRACTION)


# ------------------------------------------------------------- transformations


@pytest.fixture
def kernel_fn():
    return stax.serial(stax.Dense(8, b_std=0.3), stax.Erf(), stax.Dense(1))[2]


@pytest.mark.parametrize("t", [None, 1.5])
def test_predictions_under_vmap(t, kernel_fn):
    """A batch of kernels, targets and starting points, against one at a time."""
    x, x_test = normal(3, 4, 5), normal(3, 2, 5, seed=1)
    y, start, start_test = (normal(3, n, 2, seed=n) for n in (4, 4, 2))

    def predictions(x, x_test, y, start, start_test):
        k, k_test = kernel_fn(x, None, "ntk"), kernel_fn(x_test, x, "ntk")
        mse = predict.gradient_descent_mse(k, y, diag_reg=1e-2)
        ensemble = predict.gradient_descent_mse_ensemble(kernel_fn, x, y, diag_reg=1e-2)
        posterior = ensemble(t, x_test, "ntk", compute_cov=True)
        return mse(t, start, start_test, k_test), tuple(posterior)

    args = (x, x_test, y, start, start_test)
    got = jax.jit(jax.vmap(predictions))(*args)
    each = [predictions(*(a[i] for a in args)) for i in range(3)]
    want = jax.tree.map(lambda *leaves: jnp.stack(leaves), *each)
    chex.assert_trees_all_close(got, want, atol=5e-6)


def test_kernel_under_jit_and_grad(kernel_fn, x64):
    x1, x2, direction = (golden.normal("float64", 3, 5, seed=i) for i in range(3))

    def ntk(x):
        return kernel_fn(x, x2, "ntk")

    chex.assert_trees_all_close(jax.jit(ntk)(x1), ntk(x1), rtol=1e-12)
    slope = jnp.vdot(jax.grad(lambda x: ntk(x).sum())(x1), direction)
    h = 1e-5  # the error of the difference is of order h^2
    above, below = (ntk(x1 + s * h * direction).sum() for s in (1, -1))
    chex.assert_trees_all_close(slope, (above - below) / (2 * h), rtol=1e-7)


def test_positional_embeddings_can_be_jitted_twice():
    """Their Cholesky factor is cached across calls, so it must not be a tracer."""
    attend = stax.GlobalSelfAttention(
        4, 4, 4, 1, pos_emb_type="SUM", pos_emb_decay_fn=lambda d: 1 / (1 + d)
    )
    kernel_fn = stax.serial(attend, stax.GlobalAvgPool())[2]
    x = normal(2, 3, 4)
    once, again = (jax.jit(lambda x: kernel_fn(x, None, "nngp"))(x) for _ in range(2))
    chex.assert_trees_all_close(once, again, kernel_fn(x, None, "nngp"), rtol=1e-5)


def test_monte_carlo_estimates_the_kernel():
    """With one hidden layer the estimate is unbiased at any width."""
    net = stax.serial(stax.Dense(32, b_std=0.3), stax.Erf(), stax.Dense(8))
    x1, x2 = normal(3, 5), normal(2, 5, seed=1)
    key, n = jax.random.key(1), 64
    estimate = nt.monte_carlo_kernel_fn(*net[:2], key, range(1, n + 1), vmap_axes=0)
    for get in ("nngp", "ntk"):
        means = jnp.stack(list(estimate(x1, x2, get)))  # over 1, 2, ..., n networks
        sums = means * jnp.arange(1.0, n + 1)[:, None, None]
        samples = jnp.diff(sums, axis=0, prepend=0.0)
        standard_error = samples.std(0, ddof=1) / n**0.5
        error = jnp.abs(means[-1] - net[2](x1, x2, get))
        assert jnp.all(error < 5 * standard_error)
        assert jnp.all(standard_error < 0.1 * net[2](x1, None, get).max())


# --------------------------------------------------------------------- devices


@pytest.mark.parametrize("count, store", [(-1, True), (2, False), (0, True)])
def test_batches_over_devices(count, store, kernel_fn):
    assert jax.device_count() == 8, "conftest.py asks for eight virtual CPU devices."
    how = {"device_count": count, "store_on_device": store}
    x1, x2 = normal(16, 5), normal(8, 5, seed=1)
    got = nt.batch(kernel_fn, batch_size=1, **how)(x1, x2, ("nngp", "ntk"))
    want = kernel_fn(x1, x2, ("nngp", "ntk"))
    chex.assert_trees_all_close(tuple(got), tuple(want), rtol=1e-5)


def test_batched_empirical_kernel():
    (f, params, *_), x = module_and_data("Mlp"), normal(16, 32)
    for implementation in (1, 3):
        ntk_fn = nt.empirical_ntk_fn(f, implementation=implementation)
        got = nt.batch(ntk_fn, batch_size=2)(x, None, params)
        want = ntk_fn(x, None, params)
        chex.assert_trees_all_close(got, want, rtol=1e-4, atol=1e-5)
