"""Inputs of norm 1, with a constant coordinate or without."""

import numpy as np
import pytest

from zoo.data import load
from zoo.data.unit import unit_norm, with_constant


def test_the_inputs_are_directions_of_digits_and_a_constant():
    unit, data = (load(name, 30, 20, seed=2) for name in ("unit_digits", "digits"))
    for part in ("train", "test"):
        x, plain = getattr(unit, f"x_{part}"), getattr(data, f"x_{part}")
        assert x.shape == (len(plain), 65)
        np.testing.assert_allclose(np.linalg.norm(x, axis=1), 1, rtol=1e-6)
        np.testing.assert_allclose(x[:, -1], np.full(len(x), 2**-0.5), rtol=1e-6)
        # |x|^2 = 64 for the digits.
        np.testing.assert_allclose(x[:, :-1] * 128**0.5, plain, rtol=1e-5, atol=1e-6)
        np.testing.assert_array_equal(
            getattr(unit, f"y_{part}"), getattr(data, f"y_{part}")
        )
    assert unit.image_shape is None
    assert unit.classes == 10


def test_any_dataset_can_be_scaled_to_the_norm_1():
    data = load("heavy_tailed", 30, 20)
    unit, constant = unit_norm(data), with_constant(data)
    for part in ("train", "test"):
        x, y = getattr(data, f"x_{part}"), getattr(unit, f"x_{part}")
        assert y.dtype == np.float32
        np.testing.assert_allclose((y.astype(float) ** 2).sum(axis=1), 1, rtol=1e-6)
        # Parallel, and in the same direction.
        want = np.linalg.norm(x, axis=1)
        np.testing.assert_allclose((x * y).sum(axis=1), want, rtol=1e-6)
        z = getattr(constant, f"x_{part}")
        np.testing.assert_allclose(z[:, :-1] * np.sqrt(2), y, rtol=1e-5)
        np.testing.assert_array_equal(
            getattr(unit, f"y_{part}"), getattr(data, f"y_{part}")
        )
    assert unit_norm(load("digits", 5, 5)).image_shape == (8, 8, 1)


def test_what_has_no_direction_is_refused():
    data = load("sphere", 3, 2)
    data.x_test[1] = 0
    for change in (unit_norm, with_constant):
        with pytest.raises(ValueError, match="dataset sphere: test input 1 is 0 in"):
            change(data)
        with pytest.raises(ValueError, match="digits_graph is a graph"):
            change(load("digits_graph", 5, 5))
