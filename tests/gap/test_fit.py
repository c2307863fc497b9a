"""Exponents and their intervals on data whose law is known."""

import numpy as np
import pytest
from scipy import stats

from zoo.gap import fit

WIDTHS = np.asarray([64, 128, 256, 512, 1024])


def power_law(seeds, noise=0.0, slope=-0.5, floor=0.0, key=0):
    """Noise is lognormal, part per seed and part per value; seeds' slopes differ."""
    rng = np.random.default_rng(key)
    own = noise * rng.normal(size=(seeds, 1)) + noise * rng.normal(size=(seeds, 5))
    return 3.0 * WIDTHS**slope * np.exp(own) + floor


def test_exact_power_law():
    found = fit.slope_fit(WIDTHS, power_law(4))
    assert found["value"] == pytest.approx(-0.5, abs=1e-12)
    assert found["ci95"] == pytest.approx([-0.5, -0.5], abs=1e-12)
    assert found["seeds"] == 4


def test_interval_covers_as_often_as_it_says():
    """95 % nominal, 400 repeats: 3.5 standard errors of a binomial."""
    hits = 0
    for key in range(400):
        low, high = fit.slope_fit(WIDTHS, power_law(5, noise=0.15, key=key))["ci95"]
        hits += low < -0.5 < high
    assert abs(hits / 400 - 0.95) < 3.5 * np.sqrt(0.95 * 0.05 / 400)


def test_t_interval_by_scipy():
    sample = np.random.default_rng(0).normal(size=7)
    want = stats.ttest_1samp(sample, 0.0).confidence_interval(0.95)
    mean, low, high = fit.t_interval(sample)
    assert (low, high) == pytest.approx(tuple(want))
    assert mean == pytest.approx(sample.mean())


def test_a_seed_without_all_widths_leaves():
    values = power_law(4, noise=0.1)
    whole = fit.slope_fit(WIDTHS, values[1:])
    values[0, 2] = np.nan
    assert fit.slope_fit(WIDTHS, values) == whole
    values[0, 2] = 0.0
    assert fit.slope_fit(WIDTHS, values) == whole


def test_too_little_data_gives_nothing_rather_than_a_number():
    one_width = fit.slope_fit(WIDTHS[:1], power_law(4)[:, :1])
    assert np.isnan(one_width["value"])
    one_seed = fit.slope_fit(WIDTHS, power_law(1))
    assert one_seed["value"] == pytest.approx(-0.5)
    assert np.isnan(one_seed["ci95"]).all()
    assert fit.floor_fit(WIDTHS[:3], power_law(4)[:, :3]) is None


def test_local_slopes():
    values = power_law(3)
    values[:, 3:] = values[:, 3:] * np.asarray([1.0, 2.0**-1])
    found = fit.local_slopes(WIDTHS, values)
    assert found[0]["widths"] == [64, 128]
    assert [f["value"] for f in found] == pytest.approx([-0.5, -0.5, -0.5, -1.5])


def test_floor_bends_the_line_and_is_found():
    values = power_law(4, slope=-1.0, floor=0.01)
    assert fit.slope_fit(WIDTHS, values)["value"] > -0.8
    found = fit.floor_fit(WIDTHS, values)
    assert found["b"] == pytest.approx(1.0, abs=1e-3)
    assert found["c"] == pytest.approx(0.01, rel=1e-3)
    assert found["a"] == pytest.approx(3.0, rel=1e-2)


def test_no_floor_is_found_as_zero():
    found = fit.floor_fit(WIDTHS, power_law(4))
    assert found["b"] == pytest.approx(0.5, abs=1e-3)
    assert found["c"] == pytest.approx(0.0, abs=1e-4)
