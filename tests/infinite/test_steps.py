"""Exact steps for any loss, against a linear model that optax trains, and an ODE."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

import zoo
from zoo.descent.losses import LOSSES, find_loss
from zoo.descent.optimizers import OPTIMIZERS, Optimizer, batch_order
from zoo.infinite.kernels import kernel_matrix
from zoo.infinite.neural_tangents import predict as nt_predict
from zoo.infinite.predict import Dynamics, step_filter
from zoo.infinite.steps import exact_steps, gradient_flow
from zoo.infinite.tiles import kernel_tiles
from zoo.tiles.sharded import load

N, POINTS, OUT, FEATURES = 10, 14, 3, 40
TIMES = np.asarray([0, 1, 7, 60])
LINEAR = [name for name in OPTIMIZERS if name != "adam"]


@pytest.fixture(scope="module")
def model():
    """A linear model's derivatives by its parameters, its start, and targets."""
    rng = np.random.default_rng(0)
    J = rng.normal(size=(POINTS, OUT, FEATURES)) / np.sqrt(FEATURES)
    f0 = rng.normal(size=(POINTS, OUT))
    y = np.eye(OUT)[rng.integers(OUT, size=N)] - 1 / OUT
    return J, f0, y


def by_hand(loss, f, y):
    """L of n examples, written out again."""
    s = jnp.where(y > 0, 1.0, -1.0)
    if loss == "mse":
        return jnp.sum((f - y) ** 2) / (2 * len(f))
    if loss == "xent":
        p = jnp.exp(f) / jnp.sum(jnp.exp(f), axis=1, keepdims=True)
        return -jnp.mean(jnp.log(p[jnp.arange(len(f)), jnp.argmax(y, axis=1)]))
    if loss == "logistic":
        return jnp.sum(jnp.log(1 + jnp.exp(-s * f))) / len(f)
    if loss == "hinge":
        return jnp.sum(jax.nn.relu(1 - s * f)) / len(f)  # relu'(0) = 0
    return jnp.sum(optax.huber_loss(f, y)) / len(f)


def trained(model, loss, optimizer, rate, order):
    """The linear model itself, its parameters moved by optax."""
    J, f0, y = map(jnp.asarray, model)
    step = {
        "sgd": optax.sgd(rate),
        "momentum": optax.sgd(rate, 0.8),
        "nesterov": optax.sgd(rate, 0.8, nesterov=True),
    }[optimizer]

    def objective(w, rows):
        return by_hand(loss, f0[rows] + J[rows] @ w, y[rows])

    gradient = jax.jit(jax.grad(objective))
    w, seen = jnp.zeros(FEATURES), []
    memory = step.init(w)
    for t in range(TIMES[-1] + 1):
        if t in TIMES:
            seen.append(f0 + J @ w)
        if t < TIMES[-1]:
            updates, memory = step.update(gradient(w, order[t]), memory)
            w = optax.apply_updates(w, updates)
    return np.asarray(jnp.stack(seen))


@pytest.mark.parametrize("size", [None, 4])
@pytest.mark.parametrize("optimizer", LINEAR)
@pytest.mark.parametrize("loss", sorted(LOSSES))
def test_steps_equal_a_linear_model_trained_by_optax(model, loss, optimizer, size):
    J, f0, y = model
    theta = np.einsum("acp,bdp->acbd", J, J[:N]).reshape(POINTS * OUT, N * OUT)
    order = np.tile(np.arange(N), (TIMES[-1], 1))
    batches = None if size is None else batch_order(3, N, size, int(TIMES[-1]))
    got = exact_steps(
        theta, f0, y, find_loss(loss), Optimizer(optimizer, 0.8), 0.4, TIMES, batches
    )
    assert got.dtype == np.float64
    with jax.enable_x64(True):
        want = trained(model, loss, optimizer, 0.4, order if size is None else batches)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-10)
    assert np.abs(want[-1] - want[0]).max() > 0.1


def uncoupled():
    rng = np.random.default_rng(1)
    net = zoo.MLP(width=4, depth=2, activation="erf", sigma_b=0.3)
    x = rng.normal(size=(POINTS, 5))
    f0, y = rng.normal(size=(2, POINTS, OUT)), rng.normal(size=(N, OUT))
    return net, x, kernel_matrix(net, x)[:, :N], f0, y


@pytest.mark.parametrize("optimizer", LINEAR)
@pytest.mark.parametrize("share", [0.01, 0.5, 0.99, 1.02])
def test_closed_form_equals_steps(optimizer, share):
    """Below, at, and beyond the edge of stability, which is the optimizer's own."""
    _, _, theta, f0, y = uncoupled()
    dynamics, method = Dynamics.from_kernel(theta), Optimizer(optimizer, 0.7)
    eta = share * method.edge / 2 * dynamics.critical_rate
    phi = step_filter(method)
    times = np.asarray([0, 1, 2, 50, 400])
    want = exact_steps(theta, f0, y, find_loss("mse"), method, eta, times)
    got = dynamics.outputs(f0, y, eta, times, phi)
    scale = np.abs(want).max()
    np.testing.assert_allclose(got / scale, want / scale, rtol=0, atol=1e-10)
    grown = np.abs(dynamics.outputs(f0, y, eta, [4000], phi)).max()
    assert (grown > 1e6) == (share > 1)


@pytest.mark.parametrize("optimizer", LINEAR)
def test_the_end_of_training_is_kernel_regression(optimizer):
    _, _, theta, f0, y = uncoupled()
    dynamics, phi = Dynamics.from_kernel(theta), step_filter(Optimizer(optimizer))
    for ridge in (0.0, 0.3):
        eta = 0.5 * dynamics.critical_rate
        got = dynamics.outputs(f0, y, eta, [np.inf], phi, ridge)[:, 0]
        alpha = np.linalg.solve(theta[:N] + ridge * np.eye(N), y - f0[:, :N])
        np.testing.assert_allclose(got, f0 + theta @ alpha, atol=1e-7)
        late = dynamics.outputs(f0, y, eta, [10**9], phi, ridge)[:, 0]
        np.testing.assert_allclose(late, got, atol=1e-7)
    with pytest.raises(ValueError, match="training has no end at learning rate"):
        dynamics.outputs(f0, y, 20 * dynamics.critical_rate, [np.inf], phi)


def test_ridge_is_weight_decay_towards_the_start(model):
    J, f0, y = model
    J, f0, y = J[:, 0], f0[:, :1], y[:, :1]
    theta = J @ J[:N].T
    got = Dynamics.from_kernel(theta).outputs(f0, y, 0.5, TIMES, ridge=0.2)
    w = np.zeros(FEATURES)
    for t in range(TIMES[-1] + 1):
        if t in TIMES:
            want = f0 + J @ w[:, None]
            np.testing.assert_allclose(got[list(TIMES).index(t)], want, atol=1e-10)
        residual = (f0[:N] + J[:N] @ w[:, None] - y)[:, 0]
        w = w - 0.5 / N * (J[:N].T @ residual + 0.2 * w)


@pytest.mark.parametrize("optimizer", LINEAR)
def test_the_law_over_initializations(optimizer):
    """Mean and covariance from draws of the starting process; in standard errors."""
    net, x, theta, _, y = uncoupled()
    nngp = kernel_matrix(net, x, get="nngp")
    dynamics, method = Dynamics.from_kernel(theta), Optimizer(optimizer, 0.6)
    eta = 0.3 * dynamics.critical_rate
    law = dynamics.ensemble(nngp, y, eta, 20, step_filter(method))
    factor = np.linalg.cholesky(nngp + 1e-12 * np.eye(POINTS))
    draws = factor @ np.random.default_rng(1).normal(size=(3000, POINTS, OUT))
    f = exact_steps(theta, draws, y, find_loss("mse"), method, eta, np.asarray([20]))
    variance = np.diagonal(law.covariance)[:, None]
    z = (f[:, 0].mean(0) - law.mean) / np.sqrt(variance / 3000)
    assert np.abs(z).max() < 5
    ratio = f[:, 0].var(0, ddof=1) / variance
    assert np.abs(ratio - 1).max() < 5 * np.sqrt(2 / 3000)


@pytest.mark.parametrize("loss", ["xent", "mse"])
def test_flow_equals_neural_tangents(loss):
    _, _, theta, f0, _ = uncoupled()
    y = np.eye(OUT)[np.arange(N) % OUT] - 1 / OUT
    got = gradient_flow(theta, f0, y, find_loss(loss), np.asarray([0.0, 2.0, 7.0]))
    with jax.enable_x64(True), jax.numpy_dtype_promotion("standard"):
        fn = nt_predict.gradient_descent(
            lambda f, t: by_hand(loss, f, t), theta[:N], y, learning_rate=1.0
        )
        want = fn(7.0, f0[0, :N], f0[0, N:], theta[N:])
    np.testing.assert_allclose(got[0, -1, :N], want[0], rtol=0, atol=2e-6)
    np.testing.assert_allclose(got[0, -1, N:], want[1], rtol=0, atol=2e-6)


@pytest.mark.parametrize("loss", ["xent", "logistic", "huber"])
def test_small_steps_tend_to_the_flow(loss):
    _, _, theta, f0, y = uncoupled()
    y = np.where(y == y.max(axis=1, keepdims=True), 1.0, 0.0) - 1 / OUT
    flow = gradient_flow(theta, f0, y, find_loss(loss), np.asarray([0.0, 2.0]))[:, 1]

    def steps(count):
        given = (find_loss(loss), Optimizer(), 2.0 / count, np.asarray([count]))
        return exact_steps(theta, f0, y, *given)[:, 0]

    np.testing.assert_allclose(2 * steps(4096) - steps(2048), flow, atol=1e-6)


@pytest.mark.parametrize("side", [3, 4, 10])
def test_a_kernel_in_tiles_takes_the_same_steps(side):
    net, x, theta, f0, y = uncoupled()
    stored = kernel_tiles(net, x[:N], side=side)
    blocks = -(-N // side)
    assert len(stored.grid.pairs()) == blocks * (blocks + 1) // 2
    across = kernel_tiles(net, x[N:], x[:N], side=side)
    given = (find_loss("xent"), Optimizer("momentum"), 0.4, TIMES)
    want = exact_steps(theta, f0, y, *given)
    for tiles in (stored, load(stored, jax.devices()[:3])):
        for rest in (theta[N:], across):
            got = exact_steps(tiles, f0, y, *given, rest=rest)
            np.testing.assert_allclose(got, want, rtol=0, atol=1e-12)


def test_batches_of_every_network_are_its_own():
    _, _, theta, f0, y = uncoupled()
    orders = np.stack([batch_order(seed, N, 3, int(TIMES[-1])) for seed in (0, 1)])
    given = (find_loss("mse"), Optimizer(), 0.3, TIMES)
    both = exact_steps(theta, f0, y, *given, batches=orders)
    for f, start, order in zip(both, f0, orders, strict=True):
        alone = exact_steps(theta, start, y, *given, batches=order)
        np.testing.assert_allclose(f, alone, atol=1e-12)


def test_an_example_may_be_seen_twice_in_a_step():
    """Twice in a batch of two is the step on that example alone."""
    _, _, theta, f0, y = uncoupled()
    given = (find_loss("mse"), Optimizer(), 0.3, np.asarray([1]))
    twice = exact_steps(theta, f0, y, *given, batches=np.asarray([[2, 2]]))
    once = exact_steps(theta, f0, y, *given, batches=np.asarray([[2]]))
    np.testing.assert_allclose(twice, once, atol=1e-12)
    assert np.abs(once[:, 0] - f0).max() > 0.01


@pytest.mark.parametrize(
    ("times", "batches", "said"),
    [
        ([0, 2.5], None, "times have to be whole"),
        ([5, 2], None, "times have to be whole, from 0 and increasing"),
        ([-1, 2], None, "times have to be whole"),
        ([0, 20], [[0], [1]], "batches of 2 steps do not reach step 20"),
        ([0, 2], [[0], [99]], "batches hold examples 0 to 99 of n=10"),
    ],
)
def test_steps_that_cannot_be_taken_are_refused(times, batches, said):
    _, _, theta, f0, y = uncoupled()
    order = None if batches is None else np.asarray(batches)
    with pytest.raises(ValueError, match=said):
        exact_steps(
            theta, f0, y, find_loss("mse"), Optimizer(), 0.1, np.asarray(times), order
        )


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"times": [2.5]}, "times are steps, whole and from 0 on, got 2.5"),
        ({"times": [-1]}, "times are steps"),
        ({"ridge": -5.0}, "ridge has to be >= 0, got ridge=-5.0"),
        ({"y": np.zeros(N)}, r"y has to be \[10, k\], got \(10,\)"),
    ],
)
def test_closed_forms_that_do_not_exist_are_refused(bad, said):
    _, _, theta, f0, y = uncoupled()
    given = {"f0": f0, "y": y, "learning_rate": 0.1, "times": [1]} | bad
    with pytest.raises(ValueError, match=said):
        Dynamics.from_kernel(theta).outputs(**given)


def test_the_smallest_eigenvalue_is_reported_as_it_was_found():
    theta = np.diag([1.0, -3e-11])
    dynamics = Dynamics.from_kernel(theta)
    assert (dynamics.smallest, dynamics.eigenvalues[0]) == (-3e-11, 0.0)
    with pytest.raises(ValueError, match="not positive semi-definite"):
        Dynamics.from_kernel(theta, tolerance=0.0)


def test_what_has_no_limit_is_refused():
    _, _, theta, f0, y = uncoupled()
    adam = Optimizer("adam")
    with pytest.raises(ValueError, match="adam has no limit: its steps are not linear"):
        exact_steps(theta, f0, y, find_loss("mse"), adam, 0.1, TIMES)
    with pytest.raises(ValueError, match="adam has no closed form"):
        step_filter(adam)


def test_jitter_and_condition():
    theta = np.diag([4.0, 0.0])
    assert Dynamics.from_kernel(theta).condition == np.inf
    dynamics = Dynamics.from_kernel(theta, jitter=0.5)
    assert dynamics.eigenvalues.tolist() == [1.0, 5.0]
    assert dynamics.condition == 5.0
    assert theta[1, 1] == 0.0
