"""Functions of coordinates: uniform points of a box, and what a field is there.

The function never changes: the seed draws the points alone. Coordinates are in [-1, 1]
and are not scaled.
"""

from collections.abc import Callable

import numpy as np
from jaxtyping import Float

from zoo.data.base import Dataset, check_counts, generators

DIGIT = 2  # the example of scikit-learn's digits that `digit_field` shows, a 2


def waves(n_train: int, n_test: int, seed: int = 0) -> Dataset:
    """Points of a line; sin(2 pi x) + sin(6 pi x) + sin(10 pi x) as the target.

    The signal of Saratchandran et al. 2024, of three frequencies and variance 3/2.
    """
    return _on_box("waves", 1, _three_waves, n_train, n_test, seed)


def poisson(n_train: int, n_test: int, seed: int = 0) -> Dataset:
    r"""Points of a square; a smooth function and its Laplacian as targets.

        u(x) = cos(pi x_1 / 2) cos(pi x_2 / 2),    y = (u, u_11 + u_22),

    so that u is 0 on the boundary and its Laplacian is -(pi^2 / 2) u.
    """
    return _on_box("poisson", 2, _bump, n_train, n_test, seed)


def digit_field(n_train: int, n_test: int, seed: int = 0) -> Dataset:
    r"""Points of a square; the grey level of one handwritten digit as the target.

        y(x) = sum_kl c_kl cos(pi k (x_1 + 1) / 2) cos(pi l (x_2 + 1) / 2)

    x_1 is the column and x_2 the row. With the 8 x 8 coefficients c of the type-II
    cosine transform, y takes the pixels' values at their centres, and is smooth
    between; it is shifted and scaled to the mean 0 and the variance 1 over the square.
    """
    return _on_box("digit_field", 2, _digit, n_train, n_test, seed)


def _on_box(
    name: str, d: int, target: Callable, n_train: int, n_test: int, seed: int
) -> Dataset:
    """Uniform points of [-1, 1]^d and the target there."""
    check_counts(n_train, n_test, seed)
    for_train, for_test = generators(seed)
    x_test = _distinct(for_test, n_test, np.empty((0, d), np.float32))
    x_train = _distinct(for_train, n_train, x_test)
    y_train, y_test = (
        target(x.astype(np.float64)).astype(np.float32) for x in (x_train, x_test)
    )
    return Dataset(name, x_train, y_train, x_test, y_test)


def _distinct(
    rng: np.random.Generator, n: int, taken: Float[np.ndarray, "t d"]
) -> Float[np.ndarray, "n d"]:
    """Points that differ from one another and from those that are taken.

    On a line float32 is coarse enough for two of a thousand points to meet.
    """
    spare = n // 8 + 16
    drawn = rng.uniform(-1.0, 1.0, (n + spare, taken.shape[1])).astype(np.float32)
    points = np.concatenate([taken, drawn])
    first = np.sort(np.unique(points, axis=0, return_index=True)[1])
    return points[first[first >= len(taken)][:n]]


def _three_waves(x: Float[np.ndarray, "e 1"]) -> Float[np.ndarray, "e 1"]:
    """The target of `waves`."""
    return np.sin(2 * np.pi * x) + np.sin(6 * np.pi * x) + np.sin(10 * np.pi * x)


def _bump(x: Float[np.ndarray, "e 2"]) -> Float[np.ndarray, "e 2"]:
    """The targets of `poisson`."""
    u = np.prod(np.cos(np.pi * x / 2), axis=1)
    return np.stack([u, -(np.pi**2) / 2 * u], axis=1)


def _digit(x: Float[np.ndarray, "e 2"]) -> Float[np.ndarray, "e 1"]:
    """The target of `digit_field`."""
    from scipy.fft import dctn
    from sklearn.datasets import load_digits  # takes a second, so on use only

    pixels = np.asarray(load_digits(return_X_y=True)[0])[DIGIT]
    c = dctn(pixels.reshape(8, 8), norm="forward")
    c[0] /= 2
    c[:, 0] /= 2
    c = 4 * c
    c[0, 0] = 0.0
    # Mean squares over the square: 1/2 for every factor that is no constant.
    share = np.where(np.arange(8) > 0, 0.5, 1.0)
    c /= np.sqrt(np.sum(c**2 * np.outer(share, share)))
    columns, rows = (
        np.cos(np.pi * np.outer((axis + 1) / 2, np.arange(8))) for axis in x.T
    )
    return np.einsum("ek,kl,el->e", rows, c, columns)[:, None]
