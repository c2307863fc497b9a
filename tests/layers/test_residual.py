"""Residual stacks: first moments, and what a branch must be."""

import jax.numpy as jnp
import numpy as np
import pytest

from zoo.layers import ACTIVATIONS, Dense, FixedFeatureResiduals


@pytest.mark.parametrize("q", [0.3, 2.0])
@pytest.mark.parametrize("name", sorted(ACTIVATIONS))
def test_first_moment_matches_quadrature(name, q, x64):
    """Gauss-Legendre on both sides of the kink at 0."""
    node, weight = np.polynomial.legendre.leggauss(200)
    z = 6.0 * (node + 1)  # [0, 12]
    want = 0.0
    for side in (z, -z):
        phi = np.asarray(ACTIVATIONS[name].fn(jnp.asarray(np.sqrt(q) * side)))
        want += 6.0 * weight @ (phi * np.exp(-(z**2) / 2)) / np.sqrt(2 * np.pi)
    got = ACTIVATIONS[name].first_moment(jnp.asarray([q]))
    np.testing.assert_allclose(got[0], want, rtol=1e-11, atol=1e-13)


def test_first_moment_keeps_shape_and_dtype():
    q = jnp.ones((2, 3), jnp.float32)
    for name in ("relu", "tanh"):
        moment = ACTIVATIONS[name].first_moment(q)
        assert moment.shape == (2, 3)
        assert moment.dtype == jnp.float32


def test_steps_that_do_not_start_at_zero_are_refused():
    with pytest.raises(ValueError, match=r"needs step\.zero"):
        FixedFeatureResiduals(Dense(4, trained=False), Dense(4), 2, 0.5)
