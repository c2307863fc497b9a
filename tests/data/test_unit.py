"""Digits of norm 1 with a constant coordinate."""

import numpy as np

from zoo.data import load


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
