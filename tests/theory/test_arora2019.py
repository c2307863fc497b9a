"""Arora et al.: the curve by a loop, and the settings that break the claims."""

import numpy as np
import pytest

from zoo.theory.arora2019 import (
    BOUND,
    CURVE,
    PAPER,
    measure_bound,
    measure_curve,
    parity_data,
)
from zoo.theory.claims import judge

CLAIMS = {claim.name: claim for claim in PAPER.claims}
SIZE = CURVE.sizes["smoke"]


@pytest.fixture(scope="module")
def curve():
    return measure_curve(**SIZE)


def test_the_predicted_curve_is_that_of_descent_on_the_kernel(curve):
    """Explicit steps with H by its formula, from one network's outputs at t = 0."""
    x, y = parity_data(SIZE["n"], 1, 0)
    x, y = x[: SIZE["n"]].astype(float), y[: SIZE["n"], 0].astype(float)
    unit = x / np.linalg.norm(x, axis=1, keepdims=True)
    cos = np.clip(unit @ unit.T, -1, 1)
    H = cos * (np.pi - np.arccos(cos)) / (2 * np.pi)
    rate = 1 / np.linalg.eigvalsh(H)[-1]
    contraction = np.eye(len(y)) - rate * H
    powers = [np.linalg.matrix_power(contraction, k) for k in curve["times"]]
    singular = np.linalg.svd(powers, compute_uv=False)
    ratio = curve["predicted"] / curve["predicted"][..., :1] * singular[0, 0]
    assert (ratio <= singular[:, 0] + 1e-4).all()
    wide = np.abs(curve["curve"] - curve["predicted"])[:, -1].max()
    assert wide < 0.2
    assert curve["curve"][:, :, -1].max() < curve["curve"][:, :, 0].min()


def test_the_distance_falls_with_the_width(curve):
    assert judge(CLAIMS["curve"], curve).verdict == "holds"


@pytest.mark.parametrize("broken", [{"sigma_w": 1.2}, {"train_layers": "all"}], ids=str)
def test_another_network_has_another_curve(broken):
    """Weights of another variance, and a frozen layer that is trained."""
    found = judge(CLAIMS["curve"], measure_curve(**SIZE, **broken))
    assert found.verdict == "violated"


def test_the_bound_tells_true_labels_from_random_ones():
    size = BOUND.sizes["smoke"]
    sound = measure_bound(**size)
    assert judge(CLAIMS["labels"], sound).verdict == "holds"
    assert judge(CLAIMS["bound"], sound).verdict == "holds"
    same = measure_bound(**size, shuffled=False)
    assert judge(CLAIMS["labels"], same).mean == 1.0
    guess = sound | {"error": np.ones(4)}
    assert judge(CLAIMS["bound"], guess).mean > judge(CLAIMS["bound"], sound).mean


def test_the_bound_and_the_error_by_hand():
    """sqrt(2 y^T H^-1 y / n) and the mean of min(|f - y|, 1), f by H^-1."""
    n, n_test = 12, 7
    found = measure_bound(2, n, n_test)
    for draw in range(2):
        x, y = (part.astype(float) for part in parity_data(n, n_test, draw))
        x, y = x / np.linalg.norm(x, axis=1, keepdims=True), y[:, 0]
        cos = np.clip(x @ x.T, -1, 1)
        H = cos * (np.pi - np.arccos(cos)) / (2 * np.pi)
        inverse = np.linalg.inv(H[:n, :n])
        coins = np.random.default_rng(draw).permutation(y[:n])
        true, random = (np.sqrt(2 * a @ inverse @ a / n) for a in (y[:n], coins))
        f = H[n:, :n] @ inverse @ y[:n]
        error = np.minimum(np.abs(f - y[n:]), 1).mean()
        got = {name: CLAIMS[name].samples(found)[draw] for name in ("labels", "bound")}
        np.testing.assert_allclose(got["labels"], true / random, rtol=1e-5)
        np.testing.assert_allclose(got["bound"], error / true, rtol=1e-5)


def test_measurements():
    assert {m.name for m in PAPER.measurements} == {CURVE.name, BOUND.name}
