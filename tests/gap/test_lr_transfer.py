"""Learning rates: against models whose answer is known, and loops written out."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.data import load
from zoo.gap import lr_edges, lr_runs, lr_summary
from zoo.gap.lr_transfer import Transfer, TransferConfig
from zoo.infinite.kernels import kernel_matrix
from zoo.models import MLP

SEEDS, STEPS = np.arange(3), 400
DATA = load("sphere", 12, 6)
X, Y = (np.asarray(a, np.float64) for a in (DATA.x_train, DATA.y_train))
N = len(X)


class Regression(nn.Module):
    """Linear regression, f(x) = x W; counts how often it is traced."""

    width: int = 1
    out: int = 1
    traced = 0

    @nn.compact
    def __call__(self, x):
        type(self).traced += 1
        return nn.Dense(self.out, use_bias=False)(x)


def options(net, width=8, steps=STEPS, together=4):
    return net, width, steps, together, 2**28


def measured(rates):
    cell = lr_runs.sweep(options(Regression()), SEEDS, rates, DATA)
    start = lr_runs.initial(options(Regression()), SEEDS, rates.shape[1], DATA)
    return cell | start | {"n_train": np.asarray(N)}


@pytest.fixture(scope="module")
def linear():
    """A grid of rates and one refinement, of linear regression."""
    critical = 2 * N / np.linalg.eigvalsh(X @ X.T)[-1]
    grid = critical * 2.0 ** (np.arange(-7.5, 8) / 4)
    cell = measured(np.tile(grid, (len(SEEDS), 1)))
    again = measured(lr_edges.refined(cell, len(grid)))
    return cell | {
        name: np.concatenate([cell[name], again[name]], axis=1)
        for name in lr_summary.RUNS
    }


def losses_of_regression(seed, rates):
    """Loss at every step of gradient descent on W in float64; [r, t]."""
    key = jax.random.fold_in(jax.random.key(seed), 8)
    params = Regression().init(key, jnp.asarray(DATA.x_train[:1]))["params"]
    start = np.asarray(params["Dense_0"]["kernel"], np.float64)
    W = np.tile(start, (len(rates), 1, 1))
    losses = []
    with np.errstate(over="ignore", invalid="ignore"):
        for _ in range(STEPS + 1):
            r = X @ W - Y
            losses.append(0.5 * np.sum(r**2, axis=(1, 2)) / N)
            W = W - rates[:, None, None] * (X.T @ r) / N
    return np.array(losses).T


def test_linear_regression_is_critical_where_algebra_says(linear):
    critical = 2 * N / np.linalg.eigvalsh(X @ X.T)[-1]
    np.testing.assert_allclose(lr_edges.critical(linear), critical, rtol=1e-5)


@pytest.mark.parametrize("edge", [lr_edges.stable_edge, lr_edges.converging_edge])
def test_largest_stable_rate_of_linear_regression(linear, edge):
    """2 n / lambda_max, up to the resolution and to the STEPS that growth takes."""
    found = edge(linear)
    values, vectors = np.linalg.eigh(X @ X.T)
    for i, seed in enumerate(SEEDS):
        start = losses_of_regression(seed, np.zeros(1))[0, 0]
        key = jax.random.fold_in(jax.random.key(seed), 8)
        params = Regression().init(key, jnp.asarray(DATA.x_train[:1]))["params"]
        r0 = X @ np.asarray(params["Dense_0"]["kernel"], np.float64) - Y
        top = 0.5 * np.sum((vectors[:, -1] @ r0) ** 2) / N
        # (eta lambda_max / n - 1)^(2 STEPS) top = 10 start at the latest
        late = (1 + (10 * start / top) ** (1 / (2 * STEPS))) / 2
        off = np.log(found.rate[i] / (2 * N / values[-1]))
        assert found.resolution[i] <= np.log(2) / 4 / 2 / 6 * 1.01
        assert -found.resolution[i] <= off <= np.log(late) + found.resolution[i]


def test_best_rate_of_linear_regression(linear):
    """The minimum over 4000 rates of the loss in float64, within the resolution."""
    found = lr_edges.best(linear)
    exact = lr_edges.best_linear(linear, STEPS)
    critical = 2 * N / np.linalg.eigvalsh(X @ X.T)[-1]
    rates = critical * np.geomspace(0.25, 1.0, 4000)
    for i, seed in enumerate(SEEDS):
        want = rates[np.argmin(losses_of_regression(seed, rates)[:, -1])]
        assert abs(np.log(found.rate[i] / want)) <= found.resolution[i]
        assert abs(np.log(exact.rate[i] / want)) <= exact.resolution[i]


def test_losses_and_divergence_of_linear_regression(linear):
    """Run by run, the loss and the rule written out on its whole trajectory."""
    verdict = lr_edges.judge(linear)
    for i, seed in enumerate(SEEDS):
        losses = losses_of_regression(seed, linear["rates"][i])
        good = losses[:, -1] <= losses[:, 0]
        stable = good & (losses.max(axis=1) <= 10 * losses[:, 0])
        np.testing.assert_array_equal(verdict.converged[i], good)
        np.testing.assert_array_equal(verdict.stable[i], stable)
        above = losses[:, -1] > 1e-7 * losses[:, 0]
        kept = good & above
        assert kept.sum() >= 8
        for name, want in (("train_loss", losses[:, -1]), ("peak", losses.max(axis=1))):
            np.testing.assert_allclose(linear[name][i][kept], want[kept], rtol=2e-3)
    caught = lr_summary.counts(linear)
    assert caught["diverged"] == int(np.sum(~verdict.stable))
    assert 0 < caught["diverged"] < caught["runs"] == linear["rates"].size
    assert caught["dead"] == 0


def test_rates_and_seeds_share_one_program():
    net, rates = Regression(), np.full((3, 4), 0.01)
    lr_runs._compiled.cache_clear()
    lr_runs.sweep(options(net), SEEDS, rates, DATA)
    traced = Regression.traced
    lr_runs.initial(options(net), SEEDS + 5, 4, DATA)
    found = lr_runs.sweep(options(net), SEEDS + 5, 3 * rates, DATA)
    assert Regression.traced == traced
    assert lr_runs._compiled.cache_info().misses == 1
    other = lr_runs.sweep(options(net, together=1), SEEDS + 5, 3 * rates, DATA)
    np.testing.assert_allclose(found["train_loss"], other["train_loss"], rtol=1e-5)


@pytest.mark.parametrize("parameterization", ["ntk", "standard", "mup"])
def test_a_run_is_gradient_descent(parameterization):
    """A loop over steps, a seed at a rate at a time, also above the critical one."""
    width, steps = 16, 12
    net = MLP(width=width, depth=2, sigma_b=0.1, parameterization=parameterization)
    power = {"ntk": 0, "standard": -1, "mup": 1}[parameterization]
    rates = np.array([[0.5, 2.0, 4.0, 4e3]] * 2) * float(width) ** power
    seeds = np.array([2, 7])
    found = lr_runs.sweep(options(net, width, steps), seeds, rates, DATA)
    x, y = jnp.asarray(DATA.x_train), jnp.asarray(DATA.y_train)

    @jax.jit
    def loss(params):
        f = net.apply({"params": params}, x)
        return jnp.sum((f - y) ** 2) / (2 * N)

    slope = jax.jit(jax.grad(loss))
    peaks = []
    for i, seed in enumerate(seeds):
        key = jax.random.fold_in(jax.random.key(seed), width)
        for j, rate in enumerate(rates[i]):
            params = net.init(key, x[:1])["params"]
            losses = [float(loss(params))]
            for _ in range(steps):
                step = slope(params)
                params = {
                    k: {a: params[k][a] - jnp.float32(rate) * step[k][a] for a in v}
                    for k, v in params.items()
                }
                losses.append(float(loss(params)))
            if not np.isfinite(losses[-1]):
                assert not np.isfinite(found["train_loss"][i, j])
                continue
            f = net.apply({"params": params}, jnp.asarray(DATA.x_test))
            test = float(jnp.mean((f - jnp.asarray(DATA.y_test)) ** 2)) / 2
            want = {"start": losses[0], "peak": max(losses)}
            want |= {"train_loss": losses[-1], "test_loss": test}
            for name, value in want.items():
                assert found[name][i, j] == pytest.approx(value, rel=5e-3), name
            peaks.append(max(losses) / losses[0])
    assert max(peaks) > 1.01, "no run above its critical rate that ends"
    assert not np.isfinite(found["train_loss"][:, -1]).any()


def test_mup_is_critical_at_width_times_the_rate_of_ntk():
    """Exactly: its readout is the other's over sqrt(width), and so is its gradient."""
    edges = {}
    for name in ("ntk", "mup"):
        net = MLP(width=24, depth=2, parameterization=name)
        start = lr_runs.initial(options(net, 24), SEEDS, 4, DATA)
        edges[name] = 2 * N / start["eigenvalues"].max(axis=1)
    np.testing.assert_allclose(edges["mup"], 24 * edges["ntk"], rtol=1e-5)


def test_the_critical_rate_of_the_limit():
    config = TransferConfig(n_train=N, n_test=6, widths=(64, 256))
    transfer = Transfer(config)
    theta = kernel_matrix(MLP(width=1, depth=2), DATA.x_train, get="ntk")
    want = 2 * N / np.linalg.eigvalsh(np.asarray(theta, np.float64))[-1]
    assert transfer.limit("ntk", 64) == pytest.approx(want, rel=1e-6)
    assert np.isnan(transfer.limit("mup", 64))
    # Layers add to Theta d, m and m times what they add to it in NTK scales, over
    # sigma_w^2 = 2: between (2 m) / 2 and (2 m + d) / 2 times a third, and all, of it.
    for m in (64, 256):
        ratio = want / transfer.limit("standard", m)
        assert m / 3 < ratio < m + 10
    assert [transfer.power(p) for p in config.parameterizations] == [0, -1, 1]


def cell(rates, train, peak=None, start=1.0, dead=None):
    """Runs with the given losses; one seed per row."""
    rates, train = np.atleast_2d(rates).astype(float), np.atleast_2d(train)
    return {
        "rates": rates,
        "start": np.full(rates.shape, start),
        "train_loss": train.astype(float),
        "test_loss": train.astype(float),
        "peak": np.maximum(train, start) if peak is None else np.atleast_2d(peak),
        "dead": np.zeros(rates.shape) if dead is None else np.atleast_2d(dead),
    }


def test_the_rule_of_divergence():
    nan, inf = np.nan, np.inf
    train = [0.5, 1.5, nan, 0.5, 0.5, 0.5, inf]
    peak = [1.0, 1.5, nan, 10.5, nan, 9.5, inf]
    dead = [0, 0, 0, 0, 0, 1, 0]
    verdict = lr_edges.judge(cell(np.arange(1, 8), train, peak, dead=dead))
    assert verdict.converged[0].tolist() == [1, 0, 0, 1, 0, 0, 0]
    assert verdict.stable[0].tolist() == [1, 0, 0, 0, 0, 0, 0]


def test_edges_are_between_rates_that_were_tried():
    """An island of convergence above a failure counts for one edge only."""
    rates = [8.0, 1.0, 2.0, 4.0, 16.0]
    found = cell([rates], [[0.2, 0.5, 0.4, 3.0, 3.0]])
    stable, last = lr_edges.stable_edge(found), lr_edges.converging_edge(found)
    np.testing.assert_allclose(stable.rate, np.sqrt(8))
    np.testing.assert_allclose(last.rate, np.sqrt(128))
    np.testing.assert_allclose(stable.resolution, np.log(2) / 2)
    for train in ([0.5] * 5, [3.0] * 5):  # nothing fails, nothing holds
        ends = lr_edges.stable_edge(cell([rates], [train]))
        assert np.isnan([*ends.rate, *ends.resolution]).all()
    again = lr_edges.refined(found, 9)[0]
    assert sum((again > 2) & (again < 4)) >= 3
    assert sum((again > 8) & (again < 16)) >= 3
    assert again.size == 9 and not np.isin(again, rates).any()


@pytest.mark.parametrize("spacing", [(1.0, 1.0), (0.5, 1.3), (1.7, 0.2)])
def test_the_parabola_through_three_losses(spacing):
    x = np.array([-spacing[0], 0.0, spacing[1]])
    top = 0.1 * min(spacing)
    loss = 1e-3 * np.exp(2.5 * (x - top) ** 2)
    rate, resolution = lr_edges.minimum(np.exp(x), loss, 0.0)
    assert np.log(rate) == pytest.approx(top, abs=1e-12)
    assert resolution == pytest.approx(sum(spacing) / 4)
    open_end = np.where(x > 0, np.inf, loss)
    assert lr_edges.minimum(np.exp(x), open_end, 0.0)[0] == 1.0
    for floor, wanted in ((1.0, loss), (0.0, loss[::-1].cumsum())):
        assert np.isnan(lr_edges.minimum(np.exp(x), wanted, floor)[0])


def test_losses_of_the_linearization_in_closed_form():
    rng = np.random.default_rng(0)
    root = rng.standard_normal((2, 5, 7))
    theta, r0 = root @ root.transpose(0, 2, 1), rng.standard_normal((2, 5))
    values, vectors = np.linalg.eigh(theta)
    rates = np.array([[0.1, 0.3, 0.6], [0.05, 0.2, 0.9]])
    found = lr_edges.linear_loss(
        values, np.einsum("sij,si->sj", vectors, r0), rates, 9, 5
    )
    for s, j in np.ndindex(rates.shape):
        r = r0[s]
        for _ in range(9):
            r = r - rates[s, j] / 5 * theta[s] @ r
        assert found[s, j] == pytest.approx(np.sum(r**2) / 10, rel=1e-9)


def test_an_interval_holds_what_the_resolution_can_do():
    """Slopes of values that are off by their resolution, in the worst signs."""
    widths, errors = [64, 128, 512], np.array([[0.1, 0.2, 0.05], [0.3, 0.1, 0.1]])
    signs = np.array(np.meshgrid([-1, 1], [-1, 1], [-1, 1])).reshape(3, -1).T
    x = np.log(widths)
    moved = [[np.polyfit(x, s * e, 1)[0] for s in signs] for e in errors]
    worst = np.mean(np.max(moved, axis=1))
    assert lr_summary.slope_error(widths, errors) == pytest.approx(worst)
    values = np.array([[3.0, 1.5, 0.375], [2.0, 1.0, 0.25]])
    found = lr_summary.metric(widths, values, errors)
    assert found["slope"]["value"] == pytest.approx(-1)
    np.testing.assert_allclose(found["slope"]["ci95"], [-1 - worst, -1 + worst])


def test_configurations_are_refused():
    for name, (value, why) in {
        "widths": ((8, 8), "each width once"),
        "parameterizations": ((), "at least one"),
        "below": (0.0, "--below=0.0"),
        "above": (np.inf, "--above=inf"),
        "per_octave": (1000, "fewer rates"),
        "refinements": (-1, "--refinements=-1"),
        "runs_at_once": (0, "--runs_at_once=0"),
        "n_train": (1, "--n_train=1"),
        "dataset": ("spheer", "did you mean 'sphere'"),
    }.items():
        with pytest.raises(ValueError, match=why):
            TransferConfig(**{name: value})
    for options, why in (
        ({"parameterizations": ("nkt",)}, "did you mean 'ntk'"),
        ({"arch": "deq"}, "parameterization"),
        ({"parameterizations": ("mean_field",)}, "mean-field"),
    ):
        with pytest.raises(ValueError, match=why):
            Transfer(TransferConfig(**options))
