"""Higher tangent kernels and their flow against dense tensors and other integrators."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.flatten_util import ravel_pytree
from scipy.integrate import solve_ivp

from zoo.descent.losses import find_loss
from zoo.finite import hierarchy
from zoo.infinite.precision import float64
from zoo.models import MLP, RandomFeatures

POINTS, OUTPUTS = 3, 2
SIZE = POINTS * OUTPUTS


def network(net, seed=0):
    """A net at three points: its tangent, parameters, targets, f of a flat vector."""
    x = jax.random.normal(jax.random.key(1), (POINTS, 3), jnp.float64)
    y = jax.random.normal(jax.random.key(2), (POINTS, OUTPUTS), jnp.float64)
    params = net.init(jax.random.key(seed), x)["params"]
    params = jax.tree.map(lambda a: a.astype(jnp.float64), params)
    flat, unravel = ravel_pytree(params)

    def f(flat):
        return net.apply({"params": unravel(flat)}, x).ravel()

    return hierarchy.tangent(net, x), params, y, flat, f, unravel


@pytest.fixture(scope="module")
def tanh():
    with float64():
        yield network(MLP(width=4, depth=2, out=OUTPUTS, activation="tanh"))


@pytest.fixture(scope="module")
def kernels(tanh):
    at, params, *_ = tanh
    with float64():
        found = jax.jit(lambda p: hierarchy.tangent_kernels(at, p, 4))(params)
        return [np.asarray(k) for k in found]


@pytest.fixture(scope="module")
def dense(tanh):
    """J, the Hessians and the third derivatives of all outputs, with every index."""
    *_, flat, f, _ = tanh
    with float64():
        first, second = jax.jacrev(f), jax.hessian(f)
        tensors = jax.jit(lambda p: (first(p), second(p), jax.jacfwd(second)(p)))(flat)
        return [np.asarray(t) for t in tensors]


def test_k2_and_k3_from_dense_hessians(kernels, dense):
    J, H, _ = dense
    one_side = np.einsum("ci,aij,bj->abc", J, H, J)
    np.testing.assert_allclose(kernels[0], J @ J.T, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        kernels[1], one_side + one_side.transpose(1, 0, 2), rtol=1e-10, atol=1e-12
    )


def test_k4_from_dense_third_derivatives(kernels, dense):
    """D K3 along g_d, term by term: all three gradients and the Hessian move."""
    J, H, T = dense
    moved = np.einsum("aij,dj->adi", H, J)  # of g_a, along g_d
    one_side = (
        np.einsum("aijk,bi,cj,dk->abcd", T, J, J, J)
        + np.einsum("aij,bdi,cj->abcd", H, moved, J)
        + np.einsum("aij,bi,cdj->abcd", H, J, moved)
    )
    expected = one_side + one_side.transpose(1, 0, 2, 3)
    np.testing.assert_allclose(kernels[2], expected, rtol=1e-9, atol=1e-11)


def test_symmetric_in_the_first_two_indices_alone(kernels):
    _, K3, K4 = kernels
    assert K3.shape == (SIZE,) * 3 and K4.shape == (SIZE,) * 4
    np.testing.assert_allclose(K3, K3.transpose(1, 0, 2), rtol=1e-10, atol=1e-13)
    np.testing.assert_allclose(K4, K4.transpose(1, 0, 2, 3), rtol=1e-10, atol=1e-13)
    for K, axes in ((K3, (0, 2, 1)), (K4, (0, 1, 3, 2)), (K4, (0, 2, 1, 3))):
        # Far from symmetric in any other pair.
        assert np.linalg.norm(K - K.transpose(axes)) > 0.1 * np.linalg.norm(K)


def test_k4_is_the_finite_difference_of_k3(tanh, kernels):
    at, params, *_, unravel = tanh
    flat, _ = ravel_pytree(params)
    step, d = 1e-4, 4
    with float64():
        raised = jax.jit(hierarchy.raised(at.kernel, at))
        along, _ = ravel_pytree(hierarchy.gradient(at, params, jnp.eye(SIZE)[d]))
        ahead, behind = (raised(unravel(flat + s * along)) for s in (step, -step))
    slope = np.asarray(ahead - behind) / (2 * step)
    # The error of a central difference is of the order of step^2.
    np.testing.assert_allclose(kernels[2][..., d], slope, rtol=1e-5, atol=1e-6)


def loss_and_kernel(setup):
    """Gradient of the library's loss, and J J^T, as functions of a flat vector."""
    _, _, y, _, f, _ = setup
    square = find_loss("mse").mean
    gradient = jax.jit(jax.grad(lambda p: square(f(p).reshape(y.shape), y)))
    jacobian = jax.jacrev(f)
    return gradient, jax.jit(lambda p: jacobian(p) @ jacobian(p).T)


def test_time_derivatives_by_steps_of_gradient_descent(tanh, kernels):
    """Theta after tiny steps; and the hierarchy's own equations, with their 1/n."""
    at, params, y, flat, f, _ = tanh
    with float64():
        first = hierarchy.in_time(at.kernel, at, y.ravel())
        second = hierarchy.in_time(first, at, y.ravel())
        velocity, acceleration = jax.jit(lambda p: (first(p), second(p)))(params)
        gradient, kernel = loss_and_kernel(tanh)
        eta = 1e-5
        ahead, behind = (kernel(flat - s * gradient(flat)) for s in (eta, -eta))
        slope = np.asarray(ahead - behind) / (2 * eta)
        r = np.asarray(f(flat) - y.ravel())
    np.testing.assert_allclose(velocity, slope, rtol=1e-6, atol=1e-7)
    K2, K3, K4 = kernels
    np.testing.assert_allclose(velocity, -K3 @ r / POINTS, rtol=1e-9, atol=1e-11)
    expected = (K4 @ r @ r + K3 @ (K2 @ r)) / POINTS**2
    np.testing.assert_allclose(acceleration, expected, rtol=1e-9, atol=1e-11)


TIMES = np.array([0.0, 0.1, 0.5, 2.0, 5.0])


def test_flow_by_another_integrator(tanh):
    at, params, y, flat, f, _ = tanh
    with float64():
        gradient, kernel = loss_and_kernel(tanh)
        grid = jnp.asarray(np.linspace(0, 5, 51))
        outputs, thetas = jax.jit(
            lambda p: hierarchy.flow(at, p, y.ravel(), jnp.asarray(TIMES))
        )(params)
        fixed = jax.jit(
            lambda p: hierarchy.flow(at, p, y.ravel(), jnp.asarray(TIMES), grid)
        )(params)
        solution = solve_ivp(
            lambda t, p: -np.asarray(gradient(p)),
            (0, 5),
            np.asarray(flat),
            "DOP853",
            TIMES,
            rtol=1e-10,
            atol=1e-12,
        ).y.T
        expected = np.stack([np.asarray(f(p)) for p in solution])
        kernels = np.stack([np.asarray(kernel(p)) for p in solution])
    assert np.abs(expected[-1] - expected[0]).max() > 0.3  # it went somewhere
    np.testing.assert_allclose(outputs, expected, atol=1e-7)
    np.testing.assert_allclose(thetas, kernels, atol=1e-6)
    np.testing.assert_allclose(fixed[1], kernels, atol=1e-5)


def test_truncations_by_another_integrator(tanh, kernels):
    """p = 2, 3, 4, written out with every index."""
    at, params, y, *_ = tanh
    with float64():
        f0, targets = at.outputs(params), y.ravel()

        def ahead(kernels):
            return hierarchy.truncated(kernels, f0, targets, POINTS, jnp.asarray(TIMES))

        found = [
            jax.jit(ahead)(tuple(map(jnp.asarray, kernels[:i]))) for i in (1, 2, 3)
        ]
        f0, targets = np.asarray(f0), np.asarray(targets)
    for count, (outputs, thetas) in enumerate(found, 1):
        some = kernels[:count]
        cuts = np.cumsum([f0.size, *(k.size for k in some)])[:-1]

        def velocity(t, state, some=some, cuts=cuts):
            f, *parts = np.split(state, cuts)
            r = f - targets
            K = [p.reshape(k.shape) for p, k in zip(parts, some, strict=True)]
            moves = [np.einsum("ab,b->a", K[0], r)]
            moves += [np.einsum("...b,b->...", k, r).ravel() for k in K[1:]]
            moves += [np.zeros(some[-1].size)]
            return -np.concatenate(
                [moves[0] / POINTS, *(m / POINTS for m in moves[1:])]
            )

        start = np.concatenate([f0, *(k.ravel() for k in some)])
        states = solve_ivp(
            velocity, (0, 5), start, "DOP853", TIMES, rtol=1e-10, atol=1e-12
        ).y.T
        np.testing.assert_allclose(outputs, states[:, :SIZE], atol=1e-6)
        K2 = states[:, SIZE : SIZE + SIZE**2].reshape(-1, SIZE, SIZE)
        np.testing.assert_allclose(thetas, K2, atol=1e-5)


def test_a_network_linear_in_its_trained_parameters_has_no_higher_kernel():
    """Random features: frozen ones, under a trained readout."""
    with float64():
        at, params, *_ = network(RandomFeatures(width=5, out=OUTPUTS))
        K2, K3 = hierarchy.tangent_kernels(at, params, 3)
    assert np.abs(K2).max() > 0.1
    assert np.abs(K3).max() < 1e-14


def test_order_below_two_is_refused(tanh):
    with pytest.raises(ValueError, match="order=1"):
        hierarchy.tangent_kernels(tanh[0], tanh[1], 1)
