"""One battery for every member of the registry: to register is to be tested."""

import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from absl import flags
from absl.testing import flagsaver
from battery import (
    MEMBERS,
    apply_fn,
    coordinates,
    counted,
    has_kernel,
    init,
    inputs,
    is_frozen,
    is_limit,
    member,
    off_default,
    options_of,
    sampled,
)

import zoo
from experiments import lazy_gap
from zoo.gap import fit
from zoo.infinite.kernels import kernel_matrix
from zoo.infinite.neural_tangents import nt

pytestmark = pytest.mark.slow
each_member = pytest.mark.parametrize("name", MEMBERS)
architectures = [name for name in MEMBERS if "," not in name]  # one variant of each
each_architecture = pytest.mark.parametrize("name", architectures)


@each_member
def test_finite_reading(name):
    """Shapes; jit equals eager; seeds map; a seed is a function of its key."""
    net, data = member(name, 12)
    x = inputs(data)
    params = init(net, x)
    f = net.apply({"params": params}, x)
    assert f.shape == data.y_train.shape
    assert f.dtype == jnp.float32
    assert np.all(np.isfinite(f))
    compiled = jax.jit(apply_fn(net))(params, x)
    np.testing.assert_allclose(compiled, f, rtol=1e-4, atol=1e-5)
    keys = jax.vmap(jax.random.key)(jnp.arange(2))
    mapped = jax.vmap(lambda key: net.apply(net.init(key, x), x))(keys)
    np.testing.assert_allclose(mapped[0], f, rtol=1e-4, atol=1e-5)
    assert net == member(name, 12)[0]
    assert hash(net) == hash(member(name, 12)[0])


@each_member
def test_parameters_are_counted_by_formula(name):
    found, want = counted(name)
    assert found == want


@each_architecture
def test_jvp_equals_vjp(name):
    with jax.enable_x64(True):
        net, data = member(name, 8)
        x = inputs(data, "float64")
        params = init(net, x)
        params = jax.tree.map(lambda leaf: leaf.astype("float64"), params)
        tangent = jax.tree.map(lambda leaf: jnp.sin(7 * leaf + 1), params)
        f, out = jax.jvp(lambda p: apply_fn(net)(p, x), (params,), (tangent,))
        cotangent = jnp.cos(5 * f + 2)
        _, pullback = jax.vjp(lambda p: apply_fn(net)(p, x), params)
        (back,) = pullback(cotangent)
        pairs = jax.tree.map(lambda a, b: jnp.sum(a * b), back, tangent)
        left, right = jnp.sum(cotangent * out), sum(jax.tree.leaves(pairs))
        assert f.dtype == jnp.float64
        np.testing.assert_allclose(left, right, rtol=1e-10)


@each_member
def test_frozen_layers_neither_move_nor_count(name):
    """Zero derivatives, so that 20 steps leave them to the bit; the others move."""
    net, data = member(name, 12, points=8)
    x, y = jnp.asarray(data.x_train), jnp.asarray(data.y_train)
    start = init(net, x)
    frozen = is_frozen(net, x)

    def loss(params):
        return jnp.mean(jnp.sum((net.apply({"params": params}, x) - y) ** 2, -1)) / 2

    # The largest stable rate of the local quadratic: curvature by power iteration.
    rate = 0.5 / _curvature(loss, start)

    @jax.jit
    def descend(params):
        def step(_, params):
            gradient = jax.grad(loss)(params)
            return jax.tree.map(lambda p, g: p - rate * g, params, gradient)

        return jax.lax.fori_loop(0, 20, step, params)

    end = descend(start)
    assert loss(end) < loss(start)
    same = jax.tree.map(lambda a, b: bool(jnp.all(a == b)), start, end)
    assert all(jax.tree.leaves(jax.tree.map(lambda f, s: s or not f, frozen, same)))
    trained = [
        s for f, s in zip(*map(jax.tree.leaves, (frozen, same)), strict=True) if not f
    ]
    assert trained and not all(trained)


def _curvature(loss, params):
    """Largest eigenvalue of the loss's Gauss-Newton-like Hessian, roughly."""
    flat, unravel = jax.flatten_util.ravel_pytree(params)
    gradient = jax.grad(lambda v: loss(unravel(v)))

    @jax.jit
    def power(v):
        def step(_, v):
            w = jax.jvp(gradient, (flat,), (v,))[1]
            return w / jnp.linalg.norm(w)

        v = jax.lax.fori_loop(0, 12, step, v)
        return jnp.linalg.norm(jax.jvp(gradient, (flat,), (v,))[1])

    return power(jax.random.normal(jax.random.key(0), flat.shape))


@pytest.mark.parametrize(
    ("name", "dtype"),
    [(name, "float64") for name in MEMBERS]
    + [(name, "float32") for name in architectures],
)
def test_empirical_ntk_equals_jacobian_contraction(name, dtype):
    """Relative Frobenius distance from neural-tangents' own in float64."""
    tolerance = {"float32": 1e-5, "float64": 1e-11}[dtype]
    with jax.enable_x64(dtype == "float64"):
        net, data = member(name, 8, **off_default(name))
        x = inputs(data, dtype)
        params = jax.tree.map(lambda leaf: leaf.astype(dtype), init(net, x))
        if not has_kernel(net):
            with pytest.raises(ValueError, match="BatchNorm"):
                zoo.empirical_ntk(net, params, x)
            return
        found = [zoo.empirical_ntk(net, params, x, full=full) for full in (False, True)]
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        points = inputs(data, "float64")
        params = jax.tree.map(lambda leaf: leaf.astype("float64"), params)
        for got, axes in zip(found, ({}, {"trace_axes": ()}), strict=True):
            reference = nt.empirical_ntk_fn(apply_fn(net), **axes)
            want = np.asarray(jax.jit(reference)(points, None, params))
            got = np.asarray(got, np.float64)
            assert got.shape == want.shape
            assert np.linalg.norm(got - want) < tolerance * np.linalg.norm(want)


@pytest.mark.parametrize("name", [*MEMBERS, "mlp,parameterization=standard,depth=1"])
def test_coordinate_check(name):
    """Powers of the width, as the parameterization states them.

    Corrections of relative size m^-1/2 and 1/m bend a slope by up to 0.1 at these
    widths; sixteen seeds add the half-width of their 99 % interval.
    """
    net, _ = member(name, 8)
    widths = (16, 48, 144) if net.inputs == "image" else (64, 256, 1024)
    if name.startswith(("mlp,parameterization=standard", "truong_deq")):
        # The first layer moves as d m^-3/2, a correction until m >> d = 64.
        widths = (256, 1024, 2048)
    found = coordinates(name, widths)
    for what, expected in net.exponents._asdict().items():
        values = found[what]
        if expected is None:
            assert np.all(values < 1e-6), what
            continue
        slope, low, high = fit.t_interval(fit.slopes(widths, values), 0.99)
        assert abs(slope - expected) < 0.1 + (high - low) / 2, (what, slope, low, high)
        assert high - low < 0.6, (what, low, high)


@each_member
def test_limit_or_its_refusal(name):
    """The kernel is symmetric and PSD; where there is none, the reason says so."""
    net, data = member(name, 16, points=8)
    kind, why = net.limit()
    assert kind in ("exact", "numeric", "monte carlo", "none")
    assert (kind == "exact") != bool(why)
    if not is_limit(net):
        with pytest.raises(NotImplementedError, match=type(net).__name__):
            zoo.kernel_fn(net)
        return
    x = np.asarray(inputs(data))
    for kernel in kernel_matrix(net, x, get=("nngp", "ntk")):
        if kernel.ndim == 4:
            size = len(x) * kernel.shape[2]
            kernel = kernel.transpose(0, 2, 1, 3).reshape(size, size)
        top = np.abs(kernel).max()
        np.testing.assert_allclose(kernel, kernel.T, atol=1e-12 * top)
        assert np.linalg.eigvalsh(kernel)[0] > -1e-10 * len(kernel) * top
        assert np.all(np.isfinite(kernel))


@pytest.mark.parametrize(
    ("name", "scaled"),
    [pytest.param(name, False, id=f"default-{name}") for name in MEMBERS]
    + [pytest.param(name, True, id=f"off-default-{name}") for name in architectures],
)
def test_finite_width_tends_to_the_limit(name, scaled):
    """Mean NTK and NNGP within 5 standard errors, and an O(1/m) bias.

    The bias c / m is bounded by what two widths say of it, and must be small itself:
    a wrong limit would not vanish with width.
    """
    net, _ = member(name, 8)
    if not is_limit(net) or (scaled and not off_default(name)):
        pytest.skip("no limit, or no scale to change")
    widths = (32, 128) if net.inputs == "image" else (64, 256)
    if name.startswith("conv_deq"):  # forty convolutions a network
        widths = (16, 64)
    narrow, wide = (sampled(name, m, scaled) for m in widths)
    # Second derivatives of a network have a heavy tail: more seeds, larger errors.
    most = 0.06 if net.mixes_outputs else 0.03
    for get in ("ntk", "nngp"):
        (off0, error0), (off1, error1) = narrow[get], wide[get]
        assert error1.max() < most, (get, error1.max())
        slope = (off0 - off1) / (1 / widths[0] - 1 / widths[1])
        bias = np.abs(slope) / widths[1]
        assert np.all(np.abs(off1) < 5 * error1 + bias), (get, off1, error1)
        assert np.all(bias < 5 * error0 / 3 + 0.1), (get, bias)
        if get == "ntk" and error0.max() > 1e-6:  # a kernel without noise has no rate
            assert error1.mean() < 0.75 * error0.mean()


@each_architecture
def test_main_job_end_to_end(name, tmp_path, capsys):
    """The program of experiments.lazy_gap, called in this process with flags."""
    arch, options = options_of(name)
    asked = {
        "arch": arch,
        "widths": "8,16",
        "seeds": "2",
        "n_train": "8",
        "n_test": "4",
        "steps": "5",
        "records": "3",
        "mc_samples": "4",
        "mc_width": "64",
        "net": ",".join(f"{k}={v}" for k, v in options.items()),
        "workdir": str(tmp_path),
    }
    if not has_kernel(member(name, 8)[0]):
        asked["learning_rate"] = "0.01"
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    with flagsaver.as_parsed(**asked):
        lazy_gap.main()
    assert f"Report: {tmp_path / 'report.html'}" in capsys.readouterr().out
    summary = json.loads((tmp_path / "summary.json").read_text())
    assert summary["config"]["net"] == [f"{k}={v}" for k, v in options.items()]
    (cell,) = (tmp_path / "cells").glob(f"{arch}-w16-*/traj.npz")
    arrays = np.load(cell)
    for gap in ("gap_total", "gap_nonlinear", "gap_kernel"):
        assert (gap in arrays) != bool(summary["metrics"][gap]["missing"])
        assert gap not in arrays or np.all(np.isfinite(arrays[gap]))
    assert (tmp_path / "report.html").stat().st_size > 0
