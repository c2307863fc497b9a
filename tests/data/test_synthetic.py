"""The targets' documented moments, in standard errors, and their formulas."""

import numpy as np
import pytest
from scipy.special import erf
from scipy.stats import kstest, t

from zoo.data.synthetic import heavy_tailed, sphere, teacher

N = 200_000
SETTINGS = [dict(d=10, k=1), dict(d=4, k=3), dict(d=7, k=7)]


def within_5_standard_errors(samples, expected):
    error = samples.std(axis=0) / np.sqrt(len(samples))
    assert (np.abs(samples.mean(axis=0) - expected) < 5 * error).all()


@pytest.mark.parametrize("sizes", SETTINGS, ids=str)
@pytest.mark.parametrize("make", [sphere, teacher, heavy_tailed])
def test_targets_have_mean_0_and_variance_1(make, sizes):
    y = make(N, 1, seed=0, **sizes).y_train.astype(float)
    assert y.shape == (N, sizes["k"])
    within_5_standard_errors(y, 0)
    within_5_standard_errors(y**2, 1)


@pytest.mark.parametrize("sizes", SETTINGS[1:], ids=str)
def test_outputs_of_the_sphere_are_uncorrelated(sizes):
    y = sphere(N, 1, seed=1, **sizes).y_train.astype(float)
    a, b = np.triu_indices(sizes["k"], k=1)
    within_5_standard_errors(y[:, a] * y[:, b], 0)


def test_points_of_the_sphere_are_uniform():
    x = sphere(N, 1, seed=2).x_train.astype(float)
    np.testing.assert_allclose((x**2).mean(axis=1), 1, rtol=1e-6)
    within_5_standard_errors(x, 0)
    a, b = np.triu_indices(10)
    within_5_standard_errors(x[:, a] * x[:, b], (a == b).astype(float))
    within_5_standard_errors(x**4, 3 * 10 / 12)  # E x_i^4 = 3 d / (d + 2)


@pytest.mark.parametrize("dof", [5.0, 10.0])
def test_the_heavy_tailed_are_students_with_the_covariance_of_the_sphere(dof):
    x = heavy_tailed(N, 1, seed=2, dof=dof).x_train.astype(float)
    within_5_standard_errors(x, 0)
    a, b = np.triu_indices(10)
    within_5_standard_errors(x[:, a] * x[:, b], (a == b).astype(float))
    within_5_standard_errors((x**2).sum(axis=1), 10)
    # Each coordinate, and any direction: Student's t of variance 1.
    for v in (np.eye(10)[3], np.ones(10) / np.sqrt(10)):
        found = kstest(x @ v * np.sqrt(dof / (dof - 2)), t(dof).cdf)
        assert found.pvalue > 1e-3
    # The squared radius over d: Fisher's F, of which kstest knows the distribution.
    radius = (x**2).mean(axis=1) * dof / (dof - 2)
    assert kstest(radius, "f", args=(10, dof)).pvalue > 1e-3


def test_fourth_moments_of_the_heavy_tailed():
    x = heavy_tailed(N, 1, seed=3, dof=12.0).x_train.astype(float)
    within_5_standard_errors((x**2).sum(axis=1) ** 2, 10 * 12 * 10 / 8)
    within_5_standard_errors(x**4, 3 * 10 / 8)


def test_the_heavy_tailed_differ_from_the_sphere_in_their_radius_alone():
    tails, data = (make(50, 30, seed=4, d=6, k=2) for make in (heavy_tailed, sphere))
    for part in ("train", "test"):
        x, on_sphere = (getattr(each, f"x_{part}") for each in (tails, data))
        radius = np.linalg.norm(x, axis=1, keepdims=True)
        np.testing.assert_allclose(x / radius * np.sqrt(6), on_sphere, rtol=1e-5)
        y = [getattr(each, f"y_{part}") for each in (tails, data)]
        np.testing.assert_array_equal(*y)


def test_inputs_of_the_teacher_are_standard_normal():
    x = teacher(N, 1, seed=2).x_train.astype(float)
    within_5_standard_errors(x, 0)
    within_5_standard_errors(x**2, 1)
    within_5_standard_errors(x**4, 3)


@pytest.mark.parametrize("seed", [0, 7])
def test_the_sphere_targets_are_the_documented_polynomial(seed):
    data = sphere(5, 3, seed, d=5, k=5)
    x = data.x_test.astype(float)[2]
    constant = (1 + 5 / 7 + 25 / (7 * 9)) ** -0.5
    for j in range(5):
        x0, x1, x2 = x[j], x[(j + 1) % 5], x[(j + 2) % 5]
        y = constant * (x0 + x0 * x1 + x0 * x1 * x2)
        np.testing.assert_allclose(data.y_test[2, j], y, rtol=1e-6)


@pytest.mark.parametrize("seed", [0, 7])
def test_the_teacher_is_a_network_of_32_erf_units(seed):
    """The weights are drawn here a second time; the scale is left free."""
    data = teacher(50, 1, seed, d=6, k=2)
    rng = np.random.default_rng(1995)
    W, A = rng.standard_normal((32, 6)), rng.standard_normal((2, 32))
    hidden = erf(data.x_train.astype(float) @ W.T / np.sqrt(6) / np.sqrt(2))
    ratio = data.y_train / (hidden @ A.T)
    np.testing.assert_allclose(ratio, np.broadcast_to(ratio[:1], (50, 2)), rtol=1e-4)


@pytest.mark.parametrize(
    ("make", "sizes", "message"),
    [
        (sphere, dict(d=3), r"sphere needs d >= 4, got d=3\."),
        (sphere, dict(d=5, k=6), r"sphere needs 1 <= k <= d=5, got k=6\."),
        (sphere, dict(k=0), r"got k=0\."),
        (heavy_tailed, dict(d=3), r"sphere needs d >= 4, got d=3\."),
        (heavy_tailed, dict(dof=2.0), r"heavy_tailed needs dof > 2, got dof=2\.0"),
        (heavy_tailed, dict(dof=float("nan")), r"got dof=nan\."),
        (teacher, dict(d=0), r"teacher needs d >= 1 and k >= 1, got d=0, k=1\."),
        (teacher, dict(k=0), r"got d=10, k=0\."),
    ],
)
def test_impossible_sizes_are_refused(make, sizes, message):
    with pytest.raises(ValueError, match=message):
        make(10, 10, **sizes)


@pytest.mark.parametrize(
    ("make", "expected"),
    [
        (sphere, [-1.2967017, -0.6640006, 0.2130761]),
        (heavy_tailed, [-1.2967017, -0.6640006, 0.2130761]),
        (teacher, [0.4025490, -1.0474973, 1.2132827]),
    ],
)
def test_the_draw_of_a_seed_does_not_change_with_versions(make, expected):
    """Stored results name only the seed: pins what numpy's generator makes of it."""
    got = make(3, 1, seed=0).y_train[:, 0]
    np.testing.assert_allclose(got, expected, rtol=1e-5)
