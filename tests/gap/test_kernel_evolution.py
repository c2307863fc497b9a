"""Kernels along training against dense Jacobians of networks trained by a loop."""

import dataclasses
import json

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import zoo
from zoo.data import load
from zoo.gap import kernel_cell, kernel_summary, store
from zoo.gap.kernel_cell import measure_evolution
from zoo.gap.kernel_evolution import Evolution, KernelConfig, limit_scores, run
from zoo.infinite.kernels import kernel_matrix
from zoo.models.random_features import RandomFeatures

WIDTH, TIMES, ETA = 12, np.asarray([0, 1, 4, 9]), 6.0
NET = zoo.MLP(
    width=WIDTH, depth=2, out=10, activation="erf", sigma_b=0.1, parameterization="mup"
)
DATA = load("digits", 7, 5)
N, n, k = 12, 7, 10
BUDGETS = (1e9, 2**28)
X = jnp.asarray(np.concatenate([DATA.x_train, DATA.x_test]))
Y = DATA.y_train.astype(np.float64)


@pytest.fixture(scope="module")
def cell():
    seeds = np.arange(2, 4)
    return measure_evolution(NET, WIDTH, DATA, ETA, TIMES, seeds, BUDGETS)


def initialize(seed):
    key = jax.random.fold_in(jax.random.key(seed), WIDTH)
    return NET.init(key, X[:1])["params"]


@pytest.fixture(scope="module")
def by_hand():
    """Outputs [t, N, k] and full kernels [t, N, n, k, k] of seed 3, by jacrev."""
    start, unravel = jax.flatten_util.ravel_pytree(initialize(3))
    apply = jax.jit(lambda p, x: NET.apply({"params": unravel(p)}, x))
    jacobian = jax.jit(jax.jacrev(apply))
    gradient = jax.jit(
        jax.grad(lambda p: jnp.sum((apply(p, X[:n]) - DATA.y_train) ** 2) / (2 * n))
    )
    p, outputs, kernels = start, [], []
    for t in range(TIMES[-1] + 1):
        if t in TIMES:
            J = np.asarray(jacobian(p, X), np.float64)
            outputs.append(np.asarray(apply(p, X), np.float64))
            kernels.append(np.einsum("acp,bdp->abcd", J, J[:n]))
        p = p - ETA * gradient(p)
    return np.stack(outputs), np.stack(kernels)


def mean_kernels(kernels):
    return np.einsum("tabcc->tab", kernels) / k


def cosine(a, b):
    return np.sum(a * b) / np.sqrt(np.sum(a * a) * np.sum(b * b))


def test_movement_of_explicit_jacobian_kernels(cell, by_hand):
    K, full = mean_kernels(by_hand[1])[:, :n], by_hand[1][:, :n]
    time = ETA * TIMES / WIDTH  # muP: the rate follows the width
    np.testing.assert_allclose(cell["time"], time, rtol=1e-12)
    for i in range(1, len(TIMES)):
        S = 1 - cosine(K[i], K[0])
        assert cell["distance_start"][1, i] == pytest.approx(S, rel=1e-3)
        to_end = 1 - cosine(K[i], K[-1])
        assert cell["distance_end"][1, i] == pytest.approx(to_end, rel=1e-3, abs=1e-9)
        drift = np.linalg.norm(K[i] - K[0]) / np.linalg.norm(K[0])
        assert cell["drift"][1, i] == pytest.approx(drift, rel=1e-3)
        step, dt = 1 - cosine(K[i], K[i - 1]), time[i] - time[i - 1]
        assert cell["velocity"][1, i - 1] == pytest.approx(step / dt, rel=1e-3)
        turn = np.arccos(1 - step) / dt
        assert cell["angular_velocity"][1, i - 1] == pytest.approx(turn, rel=1e-3)
    assert cell["distance_start"][1, 0] == 0.0
    S = 1 - cosine(full[-1], full[0])
    assert S > 0.01  # far from rounding, and unlike that of the mean over outputs
    assert cell["distance_full"][1] == pytest.approx(S, rel=1e-3)
    drift = np.linalg.norm(full[-1] - full[0]) / np.linalg.norm(full[0])
    assert cell["drift_full"][1] == pytest.approx(drift, rel=1e-3)


def test_spectrum_and_alignment_of_explicit_jacobian_kernels(cell, by_hand):
    K = mean_kernels(by_hand[1])[:, :n]
    H = np.eye(n) - 1 / n
    for i in range(len(TIMES)):
        values = np.linalg.eigvalsh(K[i]) * WIDTH
        np.testing.assert_allclose(cell["eigenvalues"][1, i], values, rtol=1e-3)
        assert cell["lambda_min"][1, i] == pytest.approx(values[0], rel=1e-3)
        assert cell["lambda_max"][1, i] == pytest.approx(values[-1], rel=1e-3)
        labels = Y @ Y.T
        plain, centred = cosine(K[i], labels), cosine(H @ K[i] @ H, H @ labels @ H)
        assert cell["alignment"][1, i] == pytest.approx(plain, rel=1e-3)
        assert cell["alignment_centred"][1, i] == pytest.approx(centred, rel=1e-3)


def test_machines_and_losses_of_explicit_jacobian_kernels(cell, by_hand):
    """The machine by least squares in the features of the kernel, K = L L^T."""
    for i, (f, K) in enumerate(zip(by_hand[0], mean_kernels(by_hand[1]), strict=True)):
        a = np.linalg.lstsq(K[:n], np.concatenate([Y, Y - f[:n]], 1), rcond=None)[0]
        zero, onwards = np.split(K @ a, 2, axis=1)
        for name, outputs in (
            ("machine", zero),
            ("onwards", f + onwards),
            ("network", f),
        ):
            loss = np.sum((outputs[n:] - DATA.y_test) ** 2) / (2 * (N - n))
            assert cell[f"{name}_loss"][1, i] == pytest.approx(loss, rel=2e-3)
            right = np.mean(outputs[n:].argmax(1) == DATA.y_test.argmax(1))
            assert cell[f"{name}_accuracy"][1, i] == pytest.approx(right)
        loss = np.sum((f[:n] - Y) ** 2) / (2 * n)
        assert cell["train_loss"][1, i] == pytest.approx(loss, rel=1e-3)


def test_other_seeds_and_rates_are_not_compiled_again(cell):
    before = kernel_cell._compiled.cache_info().misses
    seeds = np.arange(7, 9)
    other = measure_evolution(NET, WIDTH, DATA, 0.1, TIMES, seeds, BUDGETS)
    assert kernel_cell._compiled.cache_info().misses == before
    assert np.all(other["distance_start"][:, -1] < cell["distance_start"][:, -1])


def test_a_seed_that_diverged_is_no_number_anywhere(cell):
    seeds = np.arange(2, 4)
    lost = measure_evolution(NET, WIDTH, DATA, 1e8, TIMES, seeds, BUDGETS)
    assert np.all(np.isnan(lost["machine_loss"][:, -1]))
    assert np.all(np.isnan(lost["velocity"][:, -1]))
    assert np.all(np.isnan(lost["distance_end"]))
    both = {
        name: np.concatenate([cell[name], lost[name]])
        for name in cell
        if name not in ("times", "time")
    } | {"times": TIMES, "time": cell["time"]}
    values = kernel_summary.seed_metrics(both)
    for name, value in values.items():
        assert np.isfinite(value).tolist() == [True, True, False, False], name
    for name in ("distance_start", "machine_loss", "network_loss"):
        want = np.mean(cell[name].astype(float), 0)
        np.testing.assert_allclose(kernel_summary.seed_mean(both, name), want)


def test_mup_at_the_start_is_the_ntk_parameterization_over_sqrt_m():
    """So that m K_0 is its kernel, to which the same limit belongs."""
    other = NET.clone(parameterization="ntk", sigma_b=0.0)
    net = NET.clone(sigma_b=0.0)
    params = net.init(jax.random.key(0), X[:1])["params"]
    f, f_ntk = (m.apply({"params": params}, X) for m in (net, other))
    np.testing.assert_allclose(f * WIDTH**0.5, f_ntk, rtol=1e-5)
    K, K_ntk = (zoo.empirical_ntk(m, params, X) for m in (net, other))
    np.testing.assert_allclose(K * WIDTH, K_ntk, rtol=1e-5)


def test_a_frozen_kernel_does_not_move():
    net = RandomFeatures(width=32, out=10)
    cell = measure_evolution(net, 32, DATA, 0.5, TIMES, np.arange(2), BUDGETS)
    for name in ("distance_start", "distance_end", "distance_full"):
        assert np.all(cell[name] < 1e-13), name
    np.testing.assert_allclose(
        cell["machine_loss"], cell["machine_loss"][:, :1].repeat(4, 1), rtol=1e-4
    )
    assert np.all(cell["network_loss"][:, -1] != cell["network_loss"][:, 0])
    values = kernel_summary.seed_metrics(cell)
    assert np.all(np.isnan(values["distance"])) and np.all(np.isnan(values["drift"]))
    assert np.all(np.isfinite(values["machine_loss_end"]))
    assert kernel_summary.half_way(cell) is None


def test_scores_of_a_limit_that_couples_outputs():
    theta = kernel_matrix(zoo.MLP(width=1, depth=1), np.asarray(X))[:, :n]
    own = limit_scores(theta, 1, DATA, 0.0)
    coupled = limit_scores(np.kron(theta, np.eye(k)), k, DATA, 0.0)
    for name in ("loss", "accuracy"):
        assert coupled[name] == pytest.approx(own[name], rel=1e-6)
    assert coupled.keys() == {"loss", "accuracy"}


SMALL = KernelConfig(
    widths=(4, 8, 16, 32), seeds=4, n_train=n, n_test=5, steps=9, records=4, depth=1
)


def test_when_machines_catch_up():
    cell = {
        "times": np.asarray([0, 1, 10, 100]),
        "train_loss": np.asarray([[2.0, 1.5, 1.0, 0.5]]),
        "machine_loss": np.asarray([[0.9, 0.7, 0.4, 0.3]]),
        "network_loss": np.asarray([[3.0, 2.0, 1.0, 0.5]]),
        "machine_accuracy": np.asarray([[0.1, 0.2, 0.3, 0.4]]),
        "network_accuracy": np.asarray([[0.1, 0.2, 0.3, 0.9]]),
        "distance_start": np.asarray([[0.0, 1e-6, 4e-6, 9e-6]]),
    }
    assert kernel_summary.catches_up(cell) == {"loss": 10, "accuracy": None}
    assert kernel_summary.half_way(cell) == 10  # a half of the angle, not of S


@pytest.mark.parametrize(
    ("options", "name", "slope"),
    [
        ({"activation": "erf", "parameterization": "ntk"}, "distance", -2.0),
        ({"activation": "relu", "parameterization": "ntk"}, "distance_full", -1.5),
        ({"activation": "relu", "parameterization": "ntk"}, "velocity", -1.5),
        ({"activation": "relu", "parameterization": "ntk"}, "drift", -0.75),
        ({"activation": "erf", "parameterization": "ntk"}, "angular_velocity", -1.0),
        ({"parameterization": "mup"}, "distance", 0.0),
        ({"parameterization": "mup"}, "velocity", None),
        ({"parameterization": "standard"}, "distance", None),
        ({"parameterization": "ntk"}, "alignment_end", None),
    ],
)
def test_expected_exponents(options, name, slope):
    net = zoo.MLP(width=8, depth=1, **options)
    found = kernel_summary.expected(name, net, net.limit(), True)
    assert found["slope"] == slope
    assert found["status"] == (None if slope is None else "heuristic")
    assert found["source"]


def test_the_whole_run_is_stored_and_taken_up_again(tmp_path):
    config = dataclasses.replace(SMALL, widths=(8,), cell_seeds=2, full_kernel=False)
    store.open_workdir(tmp_path, config.as_dict())
    said = []
    summary, results = run(Evolution(config), tmp_path, lambda m, s: said.append(m))
    assert list(results) == ["ntk", "mup"] and len(said) == 4
    assert results["mup"][8]["distance_start"].shape == (4, 4)
    assert results["mup"][8]["velocity"].shape == (4, 3)
    # Both start from the same networks, up to a factor.
    a, b = (results[name][8]["eigenvalues"][:, 0] for name in ("ntk", "mup"))
    np.testing.assert_allclose(a, b, rtol=1e-3)
    on_disk = json.loads((tmp_path / "summary.json").read_text())
    assert on_disk["results"]["ntk"]["limit"]["kind"] == "exact"
    assert on_disk["results"]["mup"]["power"] == 1
    assert on_disk["limit_machine"]["loss"] == summary["limit_machine"]["loss"]
    again, _ = run(Evolution(config), tmp_path, lambda m, s: said.append(m))
    assert all("on disk" in line for line in said[4:])
    same = store._finite(summary["results"]), store._finite(again["results"])
    assert json.dumps(same[0]) == json.dumps(same[1])


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"parameterization": "mup"}, "--parameterization=mup is not allowed"),
        ({"parameterizations": ("ntk", "ntk")}, "--parameterizations=ntk,ntk is not"),
        ({"parameterizations": ("nkt",)}, "did you mean 'ntk'"),
        ({"ridge": -1.0}, "--ridge=-1.0 is not allowed"),
        ({"ridge": float("nan")}, "--ridge=nan is not allowed"),
        ({"widths": (8, 0)}, "--widths=8,0 is not allowed"),
    ],
)
def test_bad_configurations_are_refused_by_value(bad, message):
    with pytest.raises(ValueError, match=message):
        Evolution(KernelConfig(n_train=4, n_test=4, **bad))


def test_examples_that_interact_have_no_kernel():
    config = KernelConfig(
        arch="macdonald_resnet",
        net=("norm=batch",),
        parameterizations=(),
        learning_rate=0.1,
        n_train=4,
        n_test=4,
    )
    with pytest.raises(ValueError, match="--arch=macdonald_resnet is not allowed: its"):
        Evolution(config)
