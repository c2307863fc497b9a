"""Equilibria of finite width: roots, their derivatives, what is said of them."""

import functools

import chex
import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import optimize

import zoo
from zoo.finite.complete import sites
from zoo.layers import (
    SOLVERS,
    Conv,
    Dense,
    Equilibrium,
    Finite,
    LayerNorm,
    Method,
    Nonlinear,
    Residual,
    Serial,
)
from zoo.layers.roots import search

PHI, GELU = Nonlinear("tanh"), Nonlinear("gelu")
CELLS = {
    "one layer": Serial(PHI, Dense(24, 0.7)),
    "two layers": Serial(GELU, Dense(24, 0.8, 0.2), Nonlinear("relu"), Dense(24, 0.9)),
    "layer norm": Serial(LayerNorm(), Nonlinear("erf"), Dense(24, 0.5)),
    "residual": Serial(Residual(Serial(PHI, Dense(24, 0.4)), 0.3), Dense(24, 0.3)),
}


class Net(nn.Module):
    """An equilibrium and a readout."""

    layer: Equilibrium
    out: int = 2

    @nn.compact
    def __call__(self, x):
        h = Finite(self.layer, name="root")(x)
        return nn.Dense(self.out, name="readout", param_dtype=h.dtype)(h)


def build(cell=CELLS["one layer"], points=4, seed=0, **options):
    """A network, its parameters and inputs, in the precision that is switched on."""
    net = Net(Equilibrium(cell, Dense(24, 1.0, 0.3), **options))
    dtype = jnp.float64 if jax.config.jax_enable_x64 else jnp.float32
    x = jax.random.normal(jax.random.key(1), (points, 5), dtype)
    params = net.init(jax.random.key(seed), x)["params"]
    return net, jax.tree.map(lambda a: a.astype(dtype), params), x


def unrolled(net, params, x, steps=400):
    """The same network as `steps` layers with shared weights."""
    own = params["root"]
    u = Finite(net.layer.inject).apply({"params": own["inject"]}, x)

    def step(_, z):
        return Finite(net.layer.cell).apply({"params": own["cell"]}, z) + u

    z = jax.lax.fori_loop(0, steps, step, u)
    return z @ params["readout"]["kernel"] + params["readout"]["bias"][None]


def tangent_of(params):
    return jax.tree.map(lambda a: jnp.sin(7 * a + 1), params)


@pytest.mark.parametrize("cell", CELLS)
def test_root_and_derivatives_are_those_of_400_layers(x64, cell):
    """By parameters and inputs, forward, reverse, and second order."""
    net, params, x = build(CELLS[cell])

    def along(f, s):
        moved = jax.tree.map(lambda a, d: a + s * d, params, tangent_of(params))
        return jnp.sin(f(net, moved, x * (1 + s))).sum()

    ours = functools.partial(along, lambda net, p, x: net.apply({"params": p}, x))
    theirs = functools.partial(along, unrolled)
    zero = jnp.zeros(())
    want = [theirs(zero), jax.jvp(theirs, (zero,), (zero + 1,))[1]]
    want.append(jax.jacfwd(jax.jacfwd(theirs))(zero))
    found = jax.jit(
        lambda s: (ours(s), jax.grad(ours)(s), jax.jacfwd(jax.grad(ours))(s))
    )(zero)
    np.testing.assert_allclose(found, want, rtol=1e-10)
    np.testing.assert_allclose(jax.jacfwd(ours)(zero), want[1], rtol=1e-10)


@pytest.mark.parametrize("solver", SOLVERS)
def test_solvers_find_the_same_root_and_derivatives(x64, solver):
    net, params, x = build(method=Method(solver, 1e-12))
    reference, _, _ = build(method=Method("picard", 1e-14))

    def both(net):
        def f(p):
            return net.apply({"params": p}, x)

        out, moved = jax.jvp(f, (params,), (tangent_of(params),))
        (back,) = jax.vjp(f, params)[1](jnp.cos(out))
        pairs = jax.tree.map(jnp.vdot, back, tangent_of(params))
        return out, moved, sum(jax.tree.leaves(pairs)), jnp.vdot(jnp.cos(out), moved)

    found = jax.jit(functools.partial(both, net))()
    chex.assert_trees_all_close(found[:2], both(reference)[:2], rtol=1e-9, atol=1e-10)
    np.testing.assert_allclose(found[2], found[3], rtol=1e-10)


def test_acceleration_changes_the_iterates_and_saves_some(x64):
    """A symmetric cell, where the residual polynomial has something to gain."""
    size, rng = 40, np.random.default_rng(0)
    q = np.linalg.qr(rng.normal(size=(size, size)))[0]
    matrix = jnp.asarray(q @ np.diag(np.linspace(-0.2, 0.97, size)) @ q.T)
    b = jnp.asarray(rng.normal(size=size))
    found = {
        name: search(lambda y: matrix @ y + b, b, jnp.ones(()), Method(name, 1e-11))
        for name in ("picard", "anderson")
    }
    want = np.linalg.solve(np.eye(size) - matrix, b)
    for each in found.values():
        assert each.converged
        np.testing.assert_allclose(each.value, want, rtol=1e-8, atol=1e-8)
    assert 4 * int(found["anderson"].steps) < int(found["picard"].steps)


def test_root_is_scipys(x64):
    net, params, x = build(CELLS["two layers"])
    z = net.apply({"params": params}, x, mutable=["warm"])[1]["warm"]["root"]["z"]
    own = params["root"]
    u = Finite(net.layer.inject).apply({"params": own["inject"]}, x)

    def off(flat):
        z = jnp.asarray(flat.reshape(u.shape))
        return np.ravel(
            Finite(net.layer.cell).apply({"params": own["cell"]}, z) + u - z
        )

    found = optimize.root(off, np.ravel(u), method="krylov", tol=1e-12)
    np.testing.assert_allclose(z, found.x.reshape(u.shape), rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize(
    ("cell", "solver"),
    [("two layers", "picard"), ("layer norm", "picard"), ("residual", "anderson")],
)
def test_empirical_ntk_is_the_dense_one(x64, cell, solver):
    """By the layers' rule: Grams of the root and of the implicitly solved signal."""
    net, params, x = build(CELLS[cell], method=Method(solver, 1e-13))
    f = lambda p: net.apply({"params": p}, x)  # noqa: E731
    jacobian = [
        a.reshape(x.shape[0] * net.out, -1)
        for a in jax.tree.leaves(jax.jit(jax.jacrev(f))(params))
    ]
    want = sum(a @ a.T for a in jacobian).reshape(4, 2, 4, 2).transpose(0, 2, 1, 3)
    got = zoo.empirical_ntk(net, params, x, full=True)
    assert jnp.linalg.norm(got - want) < 1e-9 * jnp.linalg.norm(want)
    cross = zoo.empirical_ntk(net, params, x[:1], x[1:], full=True)
    assert jnp.linalg.norm(cross - want[:1, 1:]) < 1e-9 * jnp.linalg.norm(want)


def test_empirical_ntk_forms_no_jacobian():
    """Its modules are sites with a design matrix, not one site for the network."""
    net, params, x = build()
    found = sites(net, {"params": params}, x)
    assert all(site.design is not None for site in found)
    assert [leaf[-2] for site in found for leaf in site.leaves].count("dense_0") == 1


def test_time_derivative_of_the_empirical_ntk(x64):
    """The root inside moves with the parameters."""
    net, params, x = build(points=3)
    theta = lambda p: zoo.empirical_ntk(net, p, x, full=True)  # noqa: E731
    tangent = tangent_of(params)
    _, found = jax.jit(lambda p: jax.jvp(theta, (p,), (tangent,)))(params)
    step = 1e-5
    moved = [
        theta(jax.tree.map(lambda a, d, s=s: a + s * step * d, params, tangent))
        for s in (1, -1)
    ]
    want = (moved[0] - moved[1]) / (2 * step)
    np.testing.assert_allclose(found, want, rtol=1e-6, atol=1e-7 * jnp.abs(want).max())


def test_what_is_said_of_a_root():
    net, params, x = build(method=Method(tolerance=1e-5))
    f, said = net.apply({"params": params}, x, mutable=["equilibrium"])
    said = said["equilibrium"]["root"]
    assert {k: v.shape for k, v in said.items()} == dict.fromkeys(
        ("residual", "steps", "lost"), (4,)
    )
    assert np.all(said["residual"] < 1e-5) and np.all(said["residual"] > 0)
    assert np.all(said["steps"] > 2) and not said["lost"].any()
    np.testing.assert_array_equal(f, net.apply({"params": params}, x))


def test_a_row_is_a_function_of_its_input_alone():
    net, params, x = build()
    alone = [net.apply({"params": params}, x[i : i + 1])[0] for i in range(4)]
    np.testing.assert_allclose(
        net.apply({"params": params}, x), jnp.stack(alone), rtol=1e-5, atol=1e-5
    )


def test_a_root_that_is_not_found_is_no_number():
    """Of that row alone; derivatives too."""
    cell = Serial(Nonlinear("relu"), Dense(24, 0.5))
    net, params, x = build(cell, method=Method(max_steps=3))
    far = x.at[1].set(0.0)  # with zero biases its root is 0, found at once
    params["root"]["inject"]["b"] = jnp.zeros(24)
    f, said = net.apply({"params": params}, far, mutable=["equilibrium"])
    lost = said["equilibrium"]["root"]["lost"]
    np.testing.assert_array_equal(lost, [True, False, True, True])
    np.testing.assert_array_equal(np.isnan(f).all(1), lost)
    g = jax.grad(lambda p: jnp.sum(net.apply({"params": p}, x) ** 2))(params)
    assert np.isnan(g["root"]["cell"]["dense_0"]["W"]).any()


def test_warm_start():
    """Fewer steps from an earlier root, and the same root."""
    net, params, x = build()
    _, cold = net.apply({"params": params}, x, mutable=["equilibrium", "warm"])
    near = jax.tree.map(lambda a: a * 1.001, params)
    seen = {}
    for name, held in (("cold", {}), ("warm", {"warm": cold["warm"]})):
        out, said = net.apply({"params": near, **held}, x, mutable=["equilibrium"])
        seen[name] = (out, int(said["equilibrium"]["root"]["steps"].max()))
    assert seen["warm"][1] < 0.8 * seen["cold"][1]
    np.testing.assert_allclose(seen["warm"][0], seen["cold"][0], rtol=1e-4, atol=1e-5)


def test_phantom_gradients_are_inexact_and_tend_to_the_exact(x64):
    net, params, x = build()

    def loss(net):
        f = jax.grad(lambda p: jnp.sum(net.apply({"params": p}, x) ** 2))
        return jax.jit(f)(params)["root"]["cell"]["dense_0"]["W"]

    exact, off = loss(net), []
    for steps in (1, 4, 40):
        options = {"gradient": "phantom", "phantom_steps": steps}
        phantom = Net(Equilibrium(net.layer.cell, net.layer.inject, **options))
        off.append(float(jnp.linalg.norm(loss(phantom) - exact)))
    off = np.array(off) / float(jnp.linalg.norm(exact))
    assert off[0] > 0.05 and off[1] < off[0] / 4 and off[2] < 1e-6


def test_memory_does_not_grow_with_the_steps():
    """The compiled gradient's, with 20 times as many steps allowed and taken."""

    def peak(method):
        net, params, x = build(method=method)
        f = jax.grad(lambda p: jnp.sum(net.apply({"params": p}, x) ** 2))
        return jax.jit(f).lower(params).compile().memory_analysis().temp_size_in_bytes

    assert peak(Method(max_steps=10)) == peak(Method(max_steps=200))


def test_seeds_map():
    net, _, x = build()
    keys = jax.random.split(jax.random.key(3), 3)

    def grad(key):
        params = net.init(key, x)["params"]
        return jax.grad(lambda p: jnp.sum(net.apply({"params": p}, x) ** 2))(params)

    mapped = jax.jit(jax.vmap(grad))(keys)
    for i, key in enumerate(keys):
        one = jax.tree.map(lambda a, i=i: a[i], mapped)
        chex.assert_trees_all_close(one, grad(key), rtol=2e-4, atol=2e-4)


def test_images():
    net = Net(Equilibrium(Serial(PHI, Conv(6, 0.6)), Conv(6)), out=1)
    x = jax.random.normal(jax.random.key(0), (3, 5, 4, 2))
    params = net.init(jax.random.key(1), x)["params"]
    f, said = net.apply({"params": params}, x, mutable=["equilibrium"])
    assert f.shape == (3, 5, 4, 1)
    assert said["equilibrium"]["root"]["residual"].shape == (3,)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"method": Method("picart")}, "picart.*picard"),
        ({"method": Method(tolerance=0.0)}, "tolerance=0.0"),
        ({"method": Method(max_steps=0)}, "max_steps.*got 0"),
        ({"gradient": "exact"}, "exact.*implicit"),
        ({"method": Method(tolerance=1e-9)}, "tolerance=1e-09.*float32.*4.8e-07"),
        ({"cell": Serial(PHI, Dense(7))}, r"\(4, 24\) to \(4, 7\)"),
    ],
)
def test_refusals(options, message):
    with pytest.raises(ValueError, match=f"(?s){message}"):
        net, params, x = build(**options)
        net.apply({"params": params}, x)
