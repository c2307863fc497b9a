"""How far apart the points of a dataset are."""

import numpy as np
from jaxtyping import Float, Shaped

BLOCK = 1 << 22  # pairs at a time


def delta_separation(x: Shaped[np.ndarray, "e ..."]) -> float:
    r"""The smallest distance of two points, min_{i != j} |x_i - x_j|, in float64.

    It is 0 for equal points, and for others as far as a square can be told from 0
    (1e-160 of the largest entry). Squares of distances come from products, |x_i|^2 +
    |x_j|^2 - 2 x_i.x_j; pairs that rounding does not tell from the nearest are then
    subtracted. Memory: that of x in float64 and of a block of pairs.

    >>> delta_separation(np.array([[0.0, 0.0], [3.0, 4.0], [3.0, 3.0]]))
    1.0

    Raises:
        ValueError: there are fewer than two points, or one that is not finite.
    """
    if len(x) < 2:
        raise ValueError(f"a separation needs two points, got {len(x)}.")
    x = x.reshape(len(x), -1).astype(np.float64)
    if not np.isfinite(x).all():
        raise ValueError("a separation needs finite points.")
    scale = 2.0 ** np.frexp(np.abs(x).max())[1]  # exact, and squares do not overflow
    x = x / scale
    squares = np.einsum("ed,ed->e", x, x)
    rounding = 4 * (x.shape[1] + 4) * np.finfo(float).eps * squares.max()
    rows = max(1, BLOCK // len(x))
    nearest = np.inf
    for first in range(0, len(x) - 1, rows):
        block, others = x[first : first + rows], x[first:]
        near = squares[first : first + rows, None] + squares[first:]
        near -= 2 * (block @ others.T)
        near[np.tril_indices(len(block), 0, len(others))] = np.inf
        bound = min(nearest, near.min() + rounding) + rounding
        pairs = np.argwhere(near <= bound)
        nearest = min(nearest, _nearest(block, others, pairs))
    return float(np.sqrt(nearest) * scale)


def _nearest(
    a: Float[np.ndarray, "b d"], b: Float[np.ndarray, "e d"], pairs: np.ndarray
) -> float:
    """The smallest square of a distance of these pairs, by subtraction."""
    step = max(1, BLOCK // a.shape[1])
    found = np.inf
    for first in range(0, len(pairs), step):
        i, j = pairs[first : first + step].T
        difference = a[i] - b[j]
        found = min(found, np.einsum("ed,ed->e", difference, difference).min())
    return float(found)
