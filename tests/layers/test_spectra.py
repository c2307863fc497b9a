"""chi_1 and the norm of the weights, and searches that start warm."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.layers.spectra import largest_singular_value, mean_square
from zoo.models import ConvDEQ, LingDEQ, MonDEQ

X = jnp.asarray(np.random.default_rng(0).normal(size=(5, 6)), jnp.float32)


def said(net, params, collection):
    _, found = net.apply({"params": params}, X, mutable=[collection])
    return found[collection]["equilibrium_0"]


def test_of_a_matrix(x64):
    a = np.random.default_rng(1).normal(size=(40, 40)) / 40**0.5
    a = jnp.asarray(a + np.outer(np.arange(40) == 3, 3.0 * (np.arange(40) == 7)))
    z = jnp.ones((3, 40))
    found = largest_singular_value(lambda z: z @ a, z[:1])
    np.testing.assert_allclose(found, np.linalg.norm(a, 2), rtol=1e-3)
    found = mean_square(lambda z: jnp.stack([z[0], z[1] @ a, 2 * z[2]]), z, probes=4000)
    want = [1.0, np.sum(np.square(a)) / 40, 4.0]
    np.testing.assert_allclose(found, want, rtol=0.02)


def test_of_an_equilibrium_against_its_dense_derivative():
    """chi_1 by the derivative of the cell at the root, the norm by the weights."""
    net = LingDEQ(width=128, sigma_w=0.3)
    params = net.init(jax.random.key(0), X)["params"]
    W = params["equilibrium_0"]["cell"]["dense_0"]["W"]
    found = said(net, params, "spectrum")
    scaled = np.asarray(W, np.float64) * _factor(net, params)
    np.testing.assert_allclose(found["norm"], np.linalg.norm(scaled, 2), rtol=1e-2)
    z = said(net, params, "warm")["z"]
    active = (np.asarray(z) > 0)[:, :, None]
    want = np.sum((active * scaled) ** 2, axis=(1, 2)) / 128
    np.testing.assert_allclose(found["chi1"], want, rtol=0.15)


def _factor(net, params):
    """What the layer multiplies its weights by."""
    cell = net.layers().layers[0].cell.layers[1]
    out = zoo.layers.Finite(cell).apply(
        {"params": params["equilibrium_0"]["cell"]["dense_0"]}, jnp.eye(128)
    )
    W = params["equilibrium_0"]["cell"]["dense_0"]["W"]
    return float(jnp.vdot(out, W) / jnp.vdot(W, W))


@pytest.mark.parametrize("net", [ConvDEQ(width=6, sigma_w=0.5), MonDEQ(width=16)])
def test_of_images_and_of_other_cells(net):
    x = X if net.inputs == "vector" else jnp.ones((5, 4, 4, 2))
    params = net.init(jax.random.key(0), x)["params"]
    _, found = net.apply({"params": params}, x, mutable=["spectrum"])
    found = found["spectrum"]["equilibrium_0"]
    assert found["chi1"].shape == (5,) and found["norm"].shape == ()
    assert np.all(found["chi1"] > 0)
    assert found["norm"] ** 2 > found["chi1"].max() / 2  # |J|_F^2 <= m |J|^2


def test_a_search_from_its_own_root_takes_one_step():
    net = zoo.DEQ(width=64, tolerance=1e-5)
    params = net.init(jax.random.key(0), X)["params"]
    f, state = net.apply({"params": params}, X, mutable=["warm", "equilibrium"])
    cold = state.pop("equilibrium")["equilibrium_0"]["steps"]
    again, state = net.apply(
        {"params": params, **state}, X, mutable=["warm", "equilibrium"]
    )
    warm = state["equilibrium"]["equilibrium_0"]["steps"]
    assert int(cold.min()) > 5 and int(warm.max()) <= 2
    np.testing.assert_allclose(again, f, rtol=1e-3, atol=1e-4)
    gone = {"warm": jax.tree.map(lambda z: z * jnp.nan, state["warm"])}
    third = net.apply({"params": params, **gone}, X)  # from the injection
    np.testing.assert_allclose(third, f, rtol=1e-3, atol=1e-4)
