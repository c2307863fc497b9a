"""Finite networks held to their limit, in standard errors."""

from collections.abc import Callable

import jax
import numpy as np
import pytest

from zoo.finite.monte_carlo import monte_carlo_kernel_fn
from zoo.infinite.kernels import kernel_matrix


def _check_limit(
    make: Callable[[int], object],
    x: np.ndarray,
    get: str,
    widths: tuple[int, int] = (64, 256),
    n_samples: int = 128,
    largest_error: float = 0.03,
    limit: Callable[..., np.ndarray] | None = None,
    key: int = 7,
) -> None:
    """The mean of `make(width)`'s kernels is the limit within 5 standard errors.

    The O(1 / width) bias is bounded by what two widths say of it. Everything is in
    units of the geometric mean of two inputs' own entries. `limit(net, x, get)` is
    asked in the place of the network's own kernel.
    """
    deviations, errors, limits = [], [], {}
    for width in widths:
        net = make(width)
        name = net.limit_key()
        if name not in limits:
            limits[name] = (limit or _limit)(net, x, get)
        want = limits[name]
        unit = np.sqrt(np.outer(np.diag(want), np.diag(want)))
        kernel = monte_carlo_kernel_fn(net, jax.random.key(key), n_samples)
        found = kernel(jax.numpy.asarray(x), get=get)
        deviations.append((found.mean - want) / unit)
        errors.append(found.stderr / unit)
    assert errors[1].max() < largest_error, errors[1].max()
    slope = (deviations[0] - deviations[1]) / (1 / widths[0] - 1 / widths[1])
    bias = np.minimum(np.abs(slope) / widths[1], 0.05)
    assert np.all(np.abs(deviations[1]) < 5 * errors[1] + bias), deviations


def _limit(net: object, x: np.ndarray, get: str) -> np.ndarray:
    return kernel_matrix(net, x, get=get)


@pytest.fixture
def check_limit() -> Callable[..., None]:
    """`check_limit(make, x, get)`: see `_check_limit`."""
    return _check_limit
