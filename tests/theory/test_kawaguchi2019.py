"""As many parameters as points: every claim breaks with its setting; oracles."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from zoo.infinite.precision import float64
from zoo.theory.claims import judge
from zoo.theory.kawaguchi2019 import DATA, FEATURES, PAPER, PARAMETERS, RATES
from zoo.theory.kawaguchi2019_last import (
    Net,
    bisect,
    features,
    measure_rates,
    points,
    spectrum,
)

CLAIMS = {claim.name: claim for claim in PAPER.claims}
OFF = ("violated", "inconclusive")


def verdicts(arrays, *names):
    return {judge(CLAIMS[name], arrays).verdict for name in names}


def at(measurement, **broken):
    return measurement.run(**measurement.sizes["smoke"] | broken)


@pytest.fixture(scope="module")
def rates():
    return at(RATES)


def test_features_have_full_rank_and_fit_from_there():
    assert verdicts(at(FEATURES), "rank", "threshold") == {"holds"}


@pytest.mark.parametrize(
    ("claim", "broken"),
    [
        ("rank", {"repeated": 2}),
        ("rank", {"activations": ("square",), "d": 2, "depths": (1,)}),
        ("threshold", {"output_bias": True}),
        ("threshold", {"activations": ("square",), "d": 4, "depths": (1,)}),
    ],
)
def test_features_break(claim, broken):
    arrays = at(
        FEATURES, **{"ns": (16,), "depths": (1,), "activations": ("softplus",)} | broken
    )
    if claim == "threshold" and "activations" in broken:
        # Quadratics of 4 inputs have rank 15 or less, n is 16: there is no such width.
        assert np.isnan(CLAIMS[claim].samples(arrays)).all()
        return
    assert verdicts(arrays, claim) <= set(OFF)


@pytest.mark.parametrize("claim", ["convex", "exponent", "separable", "square"])
def test_rates_hold(rates, claim):
    assert verdicts(rates, claim) == {"holds"}


@pytest.mark.parametrize(
    ("claims", "broken"),
    [
        (("convex",), {"rate": 10.0, "steps": 1000}),
        (("square",), {"rate": 2.002}),
        (("exponent", "separable"), {"rate": 1e-5}),
    ],
)
def test_rates_break(claims, broken):
    assert verdicts(at(RATES, **broken), *claims) <= set(OFF)


@pytest.mark.slow
def test_the_number_of_parameters_needs_random_labels():
    broken = at(PARAMETERS, random=False)
    assert verdicts(broken, "linear", "needed") <= set(OFF)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("claims", "broken"),
    [
        (("natural-train", "random-train"), {"width": 2, "trained": "last"}),
        (("natural-test",), {"shuffled": True}),
        (("random-test",), {"seen": True}),
    ],
)
def test_data_break(claims, broken):
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam counts in int32
        arrays = at(DATA, **broken)
    assert verdicts(arrays, *claims) <= set(OFF)


def test_features_match_numpy():
    with float64():
        key = jax.random.key(5)
        x = np.asarray(points(jax.random.key(1), 4, 3))
        np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1)
        net = Net(width=5, lower=3, depth=2, activation="sigmoid")
        h = x
        for layer, m in enumerate((3, 5)):
            for_w, for_b = jax.random.split(jax.random.fold_in(key, layer))
            W = np.asarray(jax.random.normal(for_w, (h.shape[1], m)))
            b = np.asarray(jax.random.normal(for_b, (1, m)))
            h = 1 / (1 + np.exp(-5 * (1.8 * h @ W + b)))
            h = h / 3**0.5 if layer == 0 else h
        np.testing.assert_allclose(features(net, key, jnp.asarray(x)), h)


def test_the_spectrum_matches_least_squares():
    rng = np.random.default_rng(0)
    Phi, y = rng.standard_normal((3, 9, 5)), rng.standard_normal((3, 9))
    Phi[:, :, 4] = Phi[:, :, 0] + Phi[:, :, 1]
    found = spectrum(Phi, y)
    assert found["rank"].tolist() == [4, 4, 4]
    for A, b, left in zip(Phi, y, found["left"], strict=True):
        r = b - A @ np.linalg.lstsq(A, b, rcond=1e-10)[0]
        assert np.isclose(left, r @ r / (b @ b))


def test_bisection_finds_the_least_that_fits():
    least = np.array([1, 2, 7, 13, 14, 99])
    found = bisect(lambda m: m >= least, 6, 14)
    np.testing.assert_array_equal(found, [1, 2, 7, 13, 14, np.nan])


def test_descent_matches_its_closed_form(rates):
    """The recorded square loss falls as the slowest direction does in the end."""
    times, log = rates["times"], rates["square"]
    for values, slope, slow in zip(log, rates["predicted"], rates["slow"], strict=True):
        late = (times > 3 * slow) & (values > values[0] - 45)
        assert late.sum() >= 2
        measured = np.diff(values[late]) / np.diff(times[late])
        np.testing.assert_allclose(measured, slope, rtol=0.02)


def test_the_bound_of_convex_losses_by_hand():
    """Cross-entropy of probabilities, 2 eta t / |w_0 - w_*|^2 times its excess."""
    n, width, steps = 4, 10, 50
    found = measure_rates(n, width, 2, steps, d=3)
    for seed in range(2):
        with float64():
            key = jax.random.fold_in(jax.random.key(seed), 0)
            for_x, for_y, for_w, for_0 = jax.random.split(key, 4)
            x = points(for_x, n, 3)
            Phi = np.asarray(features(Net(width, 64, 2), for_w, x)) / width**0.5
            w0 = np.asarray(jax.random.normal(for_0, (width,)))
            logits = np.asarray(jax.random.normal(for_y, (n,)))
        p = 1 / (1 + np.exp(-logits))

        def loss(f, p=p):
            return -np.mean(
                p * np.log(1 / (1 + np.exp(-f))) - (1 - p) * np.log1p(np.exp(f))
            )

        eta = 4 * n / np.linalg.eigvalsh(Phi @ Phi.T)[-1]
        nearest = np.linalg.pinv(Phi) @ (logits - Phi @ w0)  # w_* - w_0
        w, ratios = w0, []
        for t in range(1, steps + 1):
            w = w - eta / n * Phi.T @ (1 / (1 + np.exp(-Phi @ w)) - p)
            over = loss(Phi @ w) - loss(logits)
            ratios.append(over * 2 * eta * t / (nearest @ nearest))
        expected = np.take(ratios, found["times"] - 1).max()
        got = CLAIMS["convex"].samples(found)[seed]
        np.testing.assert_allclose(got, expected, rtol=1e-6)
