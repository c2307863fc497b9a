"""Fields over a box: their documented formulas, by other routes."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from zoo.data import load
from zoo.data.coordinates import _bump, _digit


@pytest.mark.parametrize(("name", "d"), [("waves", 1), ("poisson", 2)])
def test_points_are_uniform_on_the_box(name, d):
    x = load(name, 100_000, 1).x_train.astype(float)
    assert x.shape == (100_000, d)
    assert np.abs(x).max() <= 1
    for power, mean, variance in ((1, 0, 1 / 3), (2, 1 / 3, 4 / 45)):
        error = np.sqrt(variance / len(x))
        assert np.all(np.abs((x**power).mean(axis=0) - mean) < 5 * error)


def test_waves_by_hand():
    data = load("waves", 50, 20, seed=3)
    x = data.x_test.astype(float)
    # sin 2a + sin 6a + sin 10a = sin(6a) (1 + 2 cos 4a).
    want = np.sin(6 * np.pi * x) * (1 + 2 * np.cos(4 * np.pi * x))
    np.testing.assert_allclose(data.y_test, want, atol=1e-6)


def test_poisson_target_is_the_laplacian():
    x, h = np.random.default_rng(0).uniform(-1, 1, (40, 2)), 1e-3
    steps = h * np.eye(2)
    u = _bump(x)[:, 0]
    near = sum(_bump(x + s)[:, 0] + _bump(x - s)[:, 0] for s in steps)
    # Five-point stencil: error h^2 / 12 times fourth derivatives.
    np.testing.assert_allclose(_bump(x)[:, 1], (near - 4 * u) / h**2, atol=1e-5)
    edge = np.stack([np.ones(9), np.linspace(-1, 1, 9)], axis=1)
    np.testing.assert_allclose(_bump(edge)[:, 0], 0, atol=1e-15)


def test_the_digit_has_its_pixels_at_their_centres():
    centres = (np.arange(8) + 0.5) / 4 - 1
    rows, columns = np.meshgrid(centres, centres, indexing="ij")
    image = load_digits().images[2]
    y = _digit(np.stack([columns.ravel(), rows.ravel()], axis=1)).reshape(8, 8)
    # An affine map of the pixels.
    slope, shift = np.polyfit(image.ravel(), y.ravel(), 1)
    assert slope > 0
    np.testing.assert_allclose(y, slope * image + shift, atol=1e-12)


def test_the_digit_is_centred_with_variance_1_over_the_square():
    # The mean over a fine midpoint grid is exact for these cosines.
    grid = (np.arange(64) + 0.5) / 32 - 1
    a, b = np.meshgrid(grid, grid)
    y = _digit(np.stack([a.ravel(), b.ravel()], axis=1))
    assert abs(y.mean()) < 1e-12
    assert abs((y**2).mean() - 1) < 1e-12


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("waves", [-1.0640906, -0.4826687]),
        ("poisson", [0.1494413, 0.2943995]),
        ("digit_field", [-0.7791396, 0.6235806]),
    ],
)
def test_the_draw_of_a_seed_does_not_change_with_versions(name, expected):
    """Stored results name only the seed: pins what numpy's generator makes of it."""
    got = load(name, 2, 1, seed=0).y_train[:, 0]
    np.testing.assert_allclose(got, expected, rtol=1e-5)


def test_points_of_a_line_never_meet():
    data = load("waves", 20_000, 20_000, seed=1)
    x = np.concatenate([data.x_train, data.x_test])
    assert len(np.unique(x)) == 40_000
