"""The digits are scikit-learn's, scaled as the docstring says, and balanced."""

import numpy as np
import pytest
from sklearn.datasets import load_digits

from zoo.data import load


@pytest.fixture(scope="module")
def data():
    return load("digits", n_train=128, n_test=64, seed=1)


def test_inputs_have_the_norm_sqrt_d(data):
    for x in (data.x_train, data.x_test):
        # Rounding 64 squares to float32: 64 * 6e-8.
        np.testing.assert_allclose((x.astype(float) ** 2).mean(axis=1), 1, rtol=4e-6)


def test_each_row_is_a_digit_under_the_documented_map(data):
    """An affine map of the pixels, the same shift for all, found back by its label."""
    pixels, labels = load_digits(return_X_y=True)
    # Cosine of the angle between centred vectors: 1 exactly for the same image.
    unit = pixels - pixels.mean(axis=1, keepdims=True)
    unit /= np.linalg.norm(unit, axis=1, keepdims=True)
    drawn = {}
    for part in ("train", "test"):
        x, y = getattr(data, f"x_{part}"), getattr(data, f"y_{part}")
        cosine = (x - x.mean(axis=1, keepdims=True)) @ unit.T
        drawn[part] = cosine.argmax(axis=1)
        np.testing.assert_array_equal(labels[drawn[part]], y.argmax(axis=1))
    mu = pixels[drawn["train"]].mean()
    for part, chosen in drawn.items():
        expected = pixels[chosen] - mu
        expected *= 8 / np.linalg.norm(expected, axis=1, keepdims=True)
        np.testing.assert_allclose(getattr(data, f"x_{part}"), expected, atol=1e-5)


def test_both_sets_are_balanced_over_the_classes(data):
    assert data.classes == 10
    for y in (data.y_train, data.y_test):
        counts = np.bincount(y.argmax(axis=1), minlength=10)
        assert counts.max() - counts.min() <= 1


def test_targets_sum_to_zero_and_have_one_class(data):
    np.testing.assert_allclose(data.y_train.sum(axis=1), 0, atol=1e-6)
    np.testing.assert_allclose(np.unique(data.y_train), [-0.1, 0.9], rtol=1e-6)


def test_the_draw_of_a_seed_does_not_change_with_versions(data):
    """Stored results name only the seed: pins what numpy's generator makes of it."""
    assert data.y_train[:8].argmax(axis=1).tolist() == [6, 4, 3, 8, 2, 7, 0, 9]
