"""The main job at a small size: numbers, storage, resumption."""

import json

import jax
import numpy as np
import pytest

import zoo
from zoo.gap import sides, store
from zoo.gap.config import Config
from zoo.gap.programs import seeds_at_once
from zoo.gap.run import Experiment, record_times, run
from zoo.gap.summary import diverged, seed_metrics, summarize
from zoo.models import Limit

SMALL = Config(
    widths=(8, 16, 32, 64),
    seeds=4,
    cell_seeds=2,
    n_train=12,
    n_test=10,
    steps=30,
    records=5,
    activation="erf",
)


def do(config, workdir, **options):
    experiment = Experiment(config, **options)
    store.open_workdir(workdir, config.as_dict())
    return run(experiment, workdir, lambda message, share: None)


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("run")
    return workdir, do(SMALL, workdir)


def arrays_of(workdir):
    return {
        folder.name: dict(np.load(folder / "traj.npz"))
        for folder in sorted((workdir / "cells").iterdir())
    }


def test_record_times():
    assert record_times(500, 16)[[0, 1, -1]].tolist() == [0, 1, 500]
    assert record_times(1, 16).tolist() == [0, 1]
    assert record_times(40, 2).tolist() == [0, 40]
    assert record_times(40, 3).tolist() == [0, 1, 40]
    assert np.all(np.diff(record_times(37, 16)) > 0)


def test_summary_has_what_it_promises(finished):
    workdir, summary = finished
    on_disk = json.loads((workdir / "summary.json").read_text())
    assert on_disk["schema"] == 1
    assert on_disk["widths"] == [8, 16, 32, 64]
    assert on_disk["diverged"] == {"8": 0, "16": 0, "32": 0, "64": 0}
    for name in (
        "gap_total gap_nonlinear gap_kernel kernel_error_init kernel_drift "
        "weight_movement_first weight_movement_hidden weight_movement_last "
        "train_loss_final test_loss_final test_accuracy_final "
        "test_loss_final_infinite test_accuracy_final_infinite"
    ).split():
        metric = on_disk["metrics"][name]
        assert len(metric["mean"]) == len(metric["stderr"]) == 4
        assert {"slope", "floor_fit", "expected", "local_slopes"} <= metric.keys()
    assert on_disk["learning_rate"] == pytest.approx(0.3 * on_disk["critical_rates"][0])
    assert summary["metrics"]["kernel_drift"]["slope"]["value"] < -0.3


def test_gaps_by_hand(finished):
    """From the stored outputs and the definition; loss with n and 1/2 in it."""
    cell = arrays_of(finished[0])["mlp-w32-s2-3"]
    f, linear, infinite = (cell["outputs" + s] for s in ("", "_linear", "_infinite"))
    for name, a, b in (
        ("gap_total", f, infinite),
        ("gap_nonlinear", f, linear),
        ("gap_kernel", linear, infinite),
    ):
        want = np.sqrt(np.mean((a - b)[:, :, 12:] ** 2, axis=(2, 3)))
        np.testing.assert_allclose(cell[name], want, rtol=1e-4, atol=1e-6)
        np.testing.assert_allclose(want[:, 0], 0.0, atol=1e-5)
    data = Experiment(SMALL).data
    loss = np.sum((f[:, :, :12] - data.y_train) ** 2, axis=(2, 3)) / (2 * 12)
    np.testing.assert_allclose(cell["train_loss"], loss, rtol=1e-4)
    right = np.argmax(f[:, :, 12:], -1) == np.argmax(data.y_test, -1)
    np.testing.assert_allclose(cell["test_accuracy"], right.mean(-1), rtol=1e-6)


def test_kernel_metrics_by_hand(finished):
    cell = arrays_of(finished[0])["mlp-w32-s2-3"]
    experiment = Experiment(SMALL)
    net, x = experiment.net(32), jax.numpy.asarray(experiment.data.x_train)
    key = jax.random.fold_in(jax.random.key(3), 32)
    params = net.init(key, x[:1])["params"]
    full = np.asarray(zoo.empirical_ntk(net, params, x, full=True))
    theta = experiment.limit(32).dynamics.theta[:12]
    limit = theta[:, :, None, None] * np.eye(10)
    error = np.linalg.norm(full - limit) / np.linalg.norm(limit)
    assert cell["kernel_error_init"][1] == pytest.approx(error, rel=1e-4)
    matrix = full.transpose(2, 0, 3, 1).reshape(120, 120)
    critical = 2 * 12 / np.linalg.eigvalsh(matrix)[-1]
    assert cell["critical_rate"][1] == pytest.approx(critical, rel=1e-2)


def test_the_same_command_measures_nothing_again(finished):
    workdir, summary = finished
    stamps = {p: p.stat().st_mtime_ns for p in workdir.rglob("traj.npz")}
    again = do(SMALL, workdir)
    assert {p: p.stat().st_mtime_ns for p in workdir.rglob("traj.npz")} == stamps
    assert json.dumps(store._finite(again["metrics"])) == json.dumps(
        store._finite(summary["metrics"])
    )


def test_a_lost_cell_comes_back_to_the_bit(finished, tmp_path):
    workdir, _ = finished
    before = arrays_of(workdir)
    for name in ("mlp-w16-s0-1", "mlp-w64-s2-3"):
        (workdir / "cells" / name / "run.json").unlink()
    do(SMALL, workdir)
    after = arrays_of(workdir)
    for name, arrays in before.items():
        for key, value in arrays.items():
            np.testing.assert_array_equal(value, after[name][key], err_msg=key)


def test_seeds_do_not_depend_on_their_cell(finished, tmp_path):
    """The same seeds in one cell of four: the same numbers to rounding."""
    import dataclasses

    config = dataclasses.replace(SMALL, cell_seeds=4, widths=(16,))
    do(config, tmp_path / "w")
    one = arrays_of(tmp_path / "w")["mlp-w16-s0-3"]["outputs"]
    parts = arrays_of(finished[0])
    two = [parts[f"mlp-w16-s{s}"]["outputs"] for s in ("0-1", "2-3")]
    np.testing.assert_allclose(one, np.concatenate(two), rtol=1e-3, atol=1e-4)


def test_divergence_is_counted_and_nulls_what_uses_it(tmp_path):
    import dataclasses

    config = dataclasses.replace(
        SMALL, widths=(8, 16), learning_rate=1e3, steps=40, seeds=2
    )
    with pytest.raises(ValueError, match=r"--learning_rate=1000 is above .* critical"):
        Experiment(config)
    summary = do(config, tmp_path / "w", allow_divergence=True)
    assert summary["diverged"] == {"8": 2, "16": 2}
    assert summary["diverged_linear"] == {"8": 2, "16": 2}
    on_disk = json.loads((tmp_path / "w" / "summary.json").read_text())
    assert on_disk["metrics"]["gap_total"]["mean"] == [None, None]
    assert on_disk["metrics"]["kernel_error_init"]["mean"][0] > 0


def test_f_and_its_linearization_diverge_apart(finished):
    workdir, _ = finished
    cells = arrays_of(workdir)
    merged = {
        m: {
            key: np.concatenate([cells[f"mlp-w{m}-s{s}"][key] for s in ("0-1", "2-3")])
            if cells[f"mlp-w{m}-s0-1"][key].shape[:1] == (2,)
            else cells[f"mlp-w{m}-s0-1"][key]
            for key in cells[f"mlp-w{m}-s0-1"]
        }
        for m in SMALL.widths
    }
    for arrays in merged.values():  # narrow ones may diverge by themselves
        arrays["train_loss_linear"][:] = 1.0
    merged[64]["train_loss_linear"][1, -1] = np.nan
    assert diverged(merged[64])["f_lin"].tolist() == [False, True, False, False]
    assert not diverged(merged[64])["f"].any()
    facts = sides.facts(Experiment(SMALL).net(8), Limit("exact"), lazy_rate=True)
    metrics = summarize(merged, facts)["metrics"]
    assert metrics["gap_nonlinear"]["seeds"] == [4, 4, 4, 3]
    assert metrics["gap_nonlinear"]["slope"]["seeds"] == 3
    assert metrics["gap_kernel"]["seeds"] == [4, 4, 4, 3]
    assert metrics["gap_total"]["seeds"] == [4, 4, 4, 4]
    assert metrics["kernel_drift"]["slope"]["seeds"] == 4


def test_a_network_that_blew_up_and_died_diverged():
    steady = np.asarray([[2.0, 1.5, 1.0]])
    died = np.asarray([[2.0, 5e9, 0.45]])
    arrays = {f"train_loss{s}": steady for s in ("_linear", "_infinite", "_flow")}
    assert diverged(arrays | {"train_loss": died})["f"].tolist() == [True]
    assert diverged(arrays | {"train_loss": steady})["f"].tolist() == [False]


def test_rounding_is_not_a_measurement(finished):
    cell = dict(arrays_of(finished[0])["mlp-w64-s0-1"])
    kept = seed_metrics(cell)
    assert np.isfinite(kept["gap_nonlinear"]).all()
    cell["gap_nonlinear"] = cell["gap_nonlinear"] * 1e-6
    cell["kernel_drift"] = cell["kernel_drift"] * 1e-6
    lost = seed_metrics(cell)
    assert np.isnan(lost["gap_nonlinear"]).all()
    assert np.isnan(lost["kernel_drift"]).all()
    assert np.isfinite(lost["gap_total"]).all()


def test_a_mean_leaves_no_seed_out_for_rounding(finished):
    """One below makes the rest a selection; what f_lin alone says has no f_0 in it."""
    cell = dict(arrays_of(finished[0])["mlp-w64-s0-1"])
    cell["gap_nonlinear"] = cell["gap_nonlinear"] * np.asarray([[1.0], [1e-6]])
    assert np.isnan(seed_metrics(cell)["gap_nonlinear"]).all()
    cell["output_size"] = np.full(2, 1e9)
    found = seed_metrics(cell)
    assert np.isnan(found["gap_total"]).all()
    assert np.isfinite(found["gap_kernel"]).all()


def test_theory_is_silent_above_the_critical_rate():
    import dataclasses

    assert Experiment(SMALL).lazy_rate()
    fast = dataclasses.replace(SMALL, lr_fraction=1.3)
    assert not Experiment(fast, allow_divergence=True).lazy_rate()
    with pytest.raises(ValueError, match=r"--lr_fraction=1\.3, a rate of .* above"):
        Experiment(fast)
    standard = dataclasses.replace(SMALL, parameterization="standard")
    assert Experiment(standard).lazy_rate()
    constant = dataclasses.replace(standard, learning_rate=1e-4)
    assert not Experiment(constant).lazy_rate()


def test_memory_budget_bounds_the_seeds_trained_at_once():
    net, x, y = zoo.MLP(width=64, depth=2), np.zeros((8, 16)), np.zeros((4, 1))
    assert seeds_at_once(net, x, y, 6, 1e12) == 6
    assert seeds_at_once(net, x, y, 6, 1.0) == 1
    # Parameters four times; outputs of the five modules and of the network itself,
    # with their derivatives, on 4 points; the points.
    outputs = 4 * (4 * 64 + 1 + 1)
    each = 4 * (4 * (16 * 64 + 64 * 64 + 64) + 2 * outputs + 128)
    assert seeds_at_once(net, x, y, 6, 3.5 * each) == 3


@pytest.mark.parametrize(
    ("bad", "message"),
    [
        ({"arch": "mpl"}, "unknown --arch 'mpl'; did you mean 'mlp'"),
        ({"widths": (8, 0)}, "--widths=8,0 is not allowed"),
        ({"widths": (8, 8)}, "--widths=8,8 is not allowed: it takes each width once"),
        ({"widths": ()}, "--widths= is not allowed"),
        ({"dataset": "digit"}, "unknown --dataset 'digit'; did you mean 'digits'"),
        ({"seed": 2**31}, "--seed=2147483648 is not allowed: it takes seeds below"),
        ({"seeds": -1}, "--seeds=-1 is not allowed: it takes a whole number >= 1"),
        ({"steps": 0}, "--steps=0"),
        ({"learning_rate": -1.0}, "--learning_rate=-1.0"),
        ({"sigma_b": float("nan")}, "--sigma_b=nan"),
    ],
)
def test_bad_configurations_are_refused_by_value(bad, message):
    with pytest.raises(ValueError, match=message):
        Config(**bad)
