"""Flows over width and scale, against scipy's integrator and planted exponents."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.integrate

import zoo
from zoo.descent.losses import find_loss
from zoo.finite.flow import gradient_flow, place
from zoo.finite.train import Objective
from zoo.gap import store
from zoo.gap.lazy_scale import ScaleConfig, measure_scales, run
from zoo.gap.run import Experiment
from zoo.gap.scale_laws import crossover, first_time, laws, seen
from zoo.infinite import steps

CONFIG = ScaleConfig(
    widths=(8,),
    cell_seeds=1,
    alphas=(0.25, 4.0),
    seeds=2,
    n_train=5,
    n_test=3,
    records=6,
)


@pytest.mark.parametrize("alpha", [0.1, 10.0])
def test_flow_equals_scipys(alpha):
    """w itself, not u, integrated from the loss written out again, in float64."""
    net, n = zoo.MLP(width=6, depth=1, activation="erf"), 4
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(n, 3)), rng.normal(size=(n, 1))
    x32, y32 = jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)
    params = net.init(jax.random.key(0), x32)["params"]
    times = np.asarray([0.5, 2.0])

    def apply_fn(p, x):
        return net.apply({"params": p}, x)

    objective = Objective(find_loss("mse"), None, alpha, apply_fn(params, x32))
    at = jnp.asarray(times, jnp.float32)
    found = gradient_flow(apply_fn, params, x32, y32, at, objective)
    got = jax.vmap(lambda u: apply_fn(place(params, u, alpha), x32))(found.displacement)
    with jax.enable_x64(True):
        start, unravel = jax.flatten_util.ravel_pytree(
            jax.tree.map(lambda a: a.astype(jnp.float64), params)
        )
        f0 = apply_fn(unravel(start), jnp.asarray(x))

        @jax.jit
        def slope(w):
            def loss(w):
                F = alpha * (apply_fn(unravel(w), jnp.asarray(x)) - f0)
                return jnp.sum((F - y) ** 2) / (2 * n * alpha**2)

            return -jax.grad(loss)(w)

        want = scipy.integrate.solve_ivp(
            lambda t, w: np.asarray(slope(jnp.asarray(w))),
            (0, 2.0),
            np.asarray(start),
            method="DOP853",
            t_eval=times,
            rtol=1e-9,
            atol=1e-11,
        )
        outputs = [apply_fn(unravel(jnp.asarray(w)), jnp.asarray(x)) for w in want.y.T]
    moved = alpha * np.abs(np.asarray(outputs[-1]) - np.asarray(f0)).max()
    assert moved > 0.1
    error = alpha * np.abs(np.asarray(got) - np.asarray(outputs)).max()
    assert error < 1e-3 * moved


def test_what_is_linear_in_its_weights_does_not_know_alpha():
    """Its F is the flow of function space at any scale; its kernel does not move."""
    config = ScaleConfig(
        arch="random_features",
        depth=None,
        widths=(32,),
        alphas=(0.125, 1.0, 8.0),
        seeds=2,
        n_train=5,
        n_test=3,
        records=6,
    )
    experiment = Experiment(config)
    cell = measure_scales(experiment, 32, np.arange(2))
    # What is left is the solver's; what is rounding is NaN.
    assert np.isnan(cell["kernel_drift"]).all()
    assert not (cell["gap"] > 1e-3).any()
    assert not (cell["movement_gap"] > 1e-3 * cell["movement"].max()).any()
    np.testing.assert_allclose(
        cell["movement"][:, 0], 64 * cell["movement"][:, 2], 1e-3
    )
    net, x = (
        experiment.net(32),
        np.concatenate([experiment.data.x_train, experiment.data.x_test]),
    )
    key = jax.random.fold_in(jax.random.key(1), 32)
    params = net.init(key, jnp.asarray(x))["params"]
    theta = np.asarray(zoo.empirical_ntk(net, params, jnp.asarray(x)), np.float64)
    F = steps.gradient_flow(
        theta[:, :5],
        np.zeros((8, 1)),
        experiment.data.y_train,
        find_loss("mse"),
        np.concatenate([[0.0], cell["times"]]),
    )
    np.testing.assert_allclose(cell["end"][1, 0], F[-1], atol=2e-3)


def planted(widths, alphas, seeds=6):
    """Cells that follow the laws exactly, with a factor for every seed."""
    rng, times = np.random.default_rng(0), np.geomspace(1e-4, 1e2, 200)
    cells = {}
    for m in widths:
        noise = np.exp(0.1 * rng.normal(size=(seeds, 1)))
        scale, m_alpha = np.sqrt(m) * alphas, m * alphas
        t1 = noise * scale
        cells[m] = {
            "gap": noise / m_alpha,
            "movement": noise / m_alpha,
            "movement_gap": noise / (m_alpha * alphas),
            "kernel_drift": noise * np.where(alphas < 1, 2 / scale, 2 / (m_alpha)),
            "deviation": 0.1 * times / t1[..., None],
            "train_loss": np.exp(-times / 3e1) + 0 * t1[..., None],
            "end": rng.normal(size=(seeds, len(alphas), 400, 1)) / np.sqrt(m),
            "times": times,
        }
    return cells


def test_planted_laws_are_found():
    alphas = 2.0 ** np.arange(-5, 4)
    for law in laws(planted((64, 256, 1024), alphas), alphas):
        low, high = law.slope["ci95"]
        assert law.slope["value"] == pytest.approx(law.expected, abs=0.06), law
        assert low - 1e-6 <= law.expected <= high + 0.06, law


def test_crossings_are_found_between_records():
    alphas = np.asarray([0.5, 1.0, 2.0, 4.0])
    drift = np.stack([0.5 * (0.8 / alphas) ** 2, 0.1 / alphas])
    np.testing.assert_allclose(crossover(drift, alphas), [0.8, np.nan])
    times = np.asarray([1.0, 2.0, 4.0])
    values = np.asarray([[0.0, 1.0, 3.0], [0.0, 0.1, 0.2]])
    np.testing.assert_allclose(first_time(values, times, 2.0), [2 * 2**0.5, np.nan])


def test_resumed_run_measures_nothing_again(tmp_path):
    experiment = Experiment(CONFIG)
    store.open_workdir(tmp_path, CONFIG.as_dict())
    said = []
    first = run(experiment, tmp_path, lambda message, share: said.append(message))
    again = run(experiment, tmp_path, lambda message, share: said.append(message))
    assert [message.endswith("on disk") for message in said] == [False] * 2 + [True] * 2
    np.testing.assert_array_equal(first["means"]["gap"], again["means"]["gap"])
    assert (first["means"]["gap"][:, 0] > first["means"]["gap"][:, 1]).all()


def test_rounding_at_large_scales_is_not_a_law():
    """alpha (f - f_0) holds alpha times the rounding of f."""
    config = dataclasses.replace(CONFIG, alphas=(1.0, 10.0, 1e5), widths=(16,))
    found = measure_scales(Experiment(config), 16, np.arange(2))
    for name in ("gap", "kernel_drift", "movement_gap"):
        assert np.isfinite(found[name][:, :2]).all(), name
        assert np.isnan(found[name][:, 2]).all(), name
    assert np.isfinite(found["end"][:, :2]).all() and np.isnan(found["end"][:, 2]).all()
    x, values = seen(np.asarray(config.alphas), found["gap"])
    assert x.tolist() == [1.0, 10.0] and values.shape == (2, 2)


@pytest.mark.parametrize(
    ("bad", "said"),
    [
        ({"alphas": (1.0, -2.0)}, "--alphas=1.0,-2.0 is not allowed: it takes finite"),
        ({"alphas": ()}, "--alphas= is not allowed"),
        ({"alphas": (1.0, 1.0)}, "each scale once"),
        (
            {"optimizer": "momentum"},
            "--optimizer=momentum is not allowed: it takes sgd",
        ),
        ({"loss": "hinge"}, "--loss=hinge is not allowed: it takes a loss with a cont"),
        ({"alpha": 2.0}, "--alpha=2.0 is not allowed: it takes 1.0 in this program"),
    ],
)
def test_bad_scales_are_refused(bad, said):
    with pytest.raises(ValueError, match=said):
        ScaleConfig(**bad)
