"""Ling et al. 2022, and what implicit networks share: oracles of the quantities."""

import jax
import jax.numpy as jnp
import numpy as np

from zoo.infinite.kernels import kernel_matrix
from zoo.models import LingDEQ
from zoo.theory.implicit import (
    bound_ratio,
    kept_share,
    operator_norm,
    smallest_eigenvalue,
    sphere_points,
    worst_excess,
)
from zoo.theory.ling2022_measure import (
    S,
    apply,
    draw,
    equilibria,
    limit_grams,
    measure_training,
)
from zoo.theory.powers import exponents


def example(m=24, n=5):
    keys = jax.random.split(jax.random.key(3))
    return draw(keys[0], m, n, 2.0), sphere_points(keys[1], n, n)


def test_outputs_are_those_of_the_zoo():
    params, x = example()
    net = LingDEQ(24)
    tree = net.init(jax.random.key(0), x)["params"]
    leaves = {
        "cell": params["W"].T,
        "inject": params["U"].T,
        "out": params["a"][:, None],
    }
    shapes = {leaf.shape: 0 for leaf in leaves.values()}

    def place(leaf):  # the three shapes differ; scales of the standard one are 1
        shapes[leaf.shape] += 1
        return next(new for new in leaves.values() if new.shape == leaf.shape)

    f = net.apply({"params": jax.tree.map(place, tree)}, x)
    assert set(shapes.values()) == {1}
    np.testing.assert_allclose(apply(params, x), f, rtol=1e-4, atol=1e-5)


def test_equilibria_solve_their_equation():
    params, x = example()
    W, U, x = (np.asarray(a, float) for a in (params["W"], params["U"], x))
    z = np.zeros((len(W), len(x)))
    for _ in range(200):
        z = np.maximum(W @ z + U @ x.T, 0)
    found = equilibria(params, jnp.asarray(x, jnp.float32))
    np.testing.assert_allclose(found, z, atol=1e-5)
    np.testing.assert_allclose(
        operator_norm(params["W"]), np.linalg.svd(W)[1][0], rtol=1e-5
    )
    smallest = np.linalg.svd(z, compute_uv=False)[-1] ** 2
    np.testing.assert_allclose(smallest_eigenvalue(found), smallest, rtol=1e-3)


def test_limit_is_the_covariance_of_the_zoo(x64):
    x = sphere_points(jax.random.key(1), 5, 4)
    expected = kernel_matrix(LingDEQ(1), np.asarray(x), get="nngp")
    found = limit_grams(x, S, 60)
    np.testing.assert_allclose(found[-1], expected, rtol=1e-7)
    one = limit_grams(x, 0.0, 1)[0]  # without W: relu of U x
    np.testing.assert_allclose(found[0], one)
    np.testing.assert_allclose(np.diag(found[1]), 1 + S**2)


def test_gradient_is_a_difference_quotient():
    """|grad Phi|^2 predicts by how much a small step lowers Phi, to first order."""
    a = measure_training((32,), seeds=2, n=6, steps=1, share=1e-3)
    fallen = a["loss"][..., 0] - a["loss"][..., 1]
    slope = a["rate"] * a["gradient"][..., 0]
    np.testing.assert_allclose(fallen, slope, rtol=0.05)


def test_ratios_by_hand():
    loss = np.array([[8.0, 4.0, 1.0]])
    excess = worst_excess(loss, np.array([0.25]), np.array([0, 1, 4]))
    np.testing.assert_allclose(excess, [max(0.5 / 0.75, 0.125 / 0.75**4)])
    arrays = {
        "loss": loss[:, None],
        "rate": np.array([[0.1]]),
        "smallest": np.array([[[5.0, 6.0, 4.0]]]),
        "times": np.array([0, 1, 4]),
    }
    np.testing.assert_allclose(bound_ratio(arrays), excess[None])
    np.testing.assert_allclose(kept_share(arrays), [[0.8]])


def test_a_lost_seed_has_no_exponent():
    found = exponents([1, 2, 4], np.array([[1.0, 2.0, 4.0], [1.0, np.nan, 4.0]]))
    np.testing.assert_allclose(found, [1.0, np.nan])
