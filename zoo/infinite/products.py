"""Products with a train kernel in tiles, and what follows from products alone.

The end of training, t = infinity, and the ends of the spectrum by conjugate gradients,
in float64 on the host, whose loop does not ask where the kernel lies: in a store, or in
the memory of many devices. In a run of several processes all of them take part, and all
get the same.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import numpy as np
from scipy.linalg import eigvalsh_tridiagonal

from zoo.infinite.precision import float64
from zoo.tiles.sharded import Tiles
from zoo.tiles.stored import Stored

TOLERANCE = 1e-8
Product = Callable[[np.ndarray], np.ndarray]


class End(NamedTuple):
    """Outputs at the end of training.

    Attributes:
        outputs: [..., N, k].
        residual: what the solution misses, over the norm of its right-hand side.
        products: with the train kernel, that it took.
        ends: of the kernel's spectrum, the smallest eigenvalue (from above, to a few
            percent at the default tolerance) and the largest one.
    """

    outputs: np.ndarray
    residual: float
    products: int
    ends: tuple[float, float]


class Solution(NamedTuple):
    """What conjugate gradients found.

    Attributes:
        solution: x of A x = b.
        ends: estimates of A's smallest and largest eigenvalues; NaN where b is 0.
    """

    solution: np.ndarray
    ends: tuple[float, float]


def end_of_training(
    theta: Tiles | Stored,
    rest: np.ndarray | Stored,
    f0: np.ndarray,
    y: np.ndarray,
    ridge: float = 0.0,
    tolerance: float = TOLERANCE,
    max_products: int = 10_000,
) -> End:
    """f_0 - Theta(., X) (Theta + ridge I)^-1 (f_0(X) - y), on the other points.

    The limit of gradient descent on the mean square at any learning rate below the
    critical one (see `zoo.infinite.predict`), by conjugate gradients on all outputs of
    all networks at once.

    Args:
        theta: NTK of the train points.
        rest: NTK of the other points with the train points, [N - n, n] or stored.
        f0: outputs at initialization on all points, train points first, [..., N, k].
        y: targets [n, k].
        ridge: of the loss.
        tolerance: of the residual, over the norm of the right-hand side.
        max_products: products with the train kernel after which it gives up.

    Returns:
        the outputs on the other points, [..., N - n, k], with residual and cost.

    Raises:
        ValueError: the ridge is negative, or the tolerance is not reached.
    """
    if not ridge >= 0:
        raise ValueError(f"ridge has to be >= 0, got ridge={ridge}.")
    n = len(y)
    wanted = np.asarray(f0[..., :n, :], np.float64) - y
    b = as_rows(theta, wanted)
    product, count = operator(theta), 0

    def shifted(c: np.ndarray) -> np.ndarray:
        nonlocal count
        count += 1
        return product(c) + ridge * c

    found = conjugate_gradients(shifted, b, tolerance, max_products)
    left = b - shifted(found.solution)
    residual = float(np.linalg.norm(left) / max(np.linalg.norm(b), 1e-300))
    if not residual <= 10 * tolerance:
        raise ValueError(
            f"the end of training was not found: after {count} products the relative "
            f"residual is {residual:.1e}, above {tolerance:.1e}. A ridge "
            f"above 0 helps where the kernel is singular; here it is {ridge:g}."
        )
    c = from_rows(found.solution, wanted.shape, len(b) // n)
    low, high = (value - ridge for value in found.ends)
    return End(f0[..., n:, :] - change(rest, c), residual, count, (low, high))


def conjugate_gradients(
    product: Product, b: np.ndarray, tolerance: float, most: int
) -> Solution:
    """Solves A x = b for a symmetric positive A, all columns of b in one system.

    Its coefficients are those of Lanczos' method from b, whose tridiagonal matrix has
    eigenvalues that tend to the ends of A's (Saad 2003, section 6.7.3).

    Raises:
        ValueError: a direction has no positive curvature, so that A is not positive.
    """
    x, r, p = np.zeros_like(b), b.copy(), b.copy()
    square = np.sum(r * r)
    enough, steps, ratios = tolerance**2 * square, [], []
    while square > enough and len(steps) < most:
        q = product(p)
        curvature = np.sum(p * q)
        if not curvature > 0:
            raise ValueError(
                "the train kernel is not positive: a direction has the curvature "
                f"{curvature:.1e}."
            )
        steps.append(square / curvature)
        x += steps[-1] * p
        r -= steps[-1] * q
        square, before = np.sum(r * r), square
        ratios.append(square / before)
        p = r + ratios[-1] * p
    if not steps:
        return Solution(x, (np.nan, np.nan))
    diagonal = 1 / np.asarray(steps)
    beside = np.sqrt(ratios[:-1]) * diagonal[:-1]
    diagonal[1:] += np.asarray(ratios[:-1]) / steps[:-1]
    ritz = np.asarray(eigvalsh_tridiagonal(diagonal, beside))
    return Solution(x, (float(ritz.min()), float(ritz.max())))


def operator(kernel: Tiles | Stored) -> Product:
    """The map c -> Theta c on the host, [rows, m] in float64."""
    if isinstance(kernel, Stored):
        return kernel.product
    compiled = jax.jit(lambda tiles, c: tiles.product(c))

    def product(c: np.ndarray) -> np.ndarray:
        with float64():
            return np.asarray(compiled(kernel, np.asarray(c, np.float64)))

    return product


def as_rows(kernel: Tiles | Stored, c: np.ndarray) -> np.ndarray:
    """Coefficients of networks as columns, [..., n, k] -> [n r, m]."""
    rows = kernel.shape[1]
    columns = c.reshape(-1, rows, c.shape[-2] * c.shape[-1] // rows)
    return np.moveaxis(columns, 0, 1).reshape(rows, -1)


def from_rows(moved: np.ndarray, shape: tuple[int, ...], per_point: int) -> np.ndarray:
    """The other way, [N r, m] -> [..., N, k]; `shape` is [..., N, k]."""
    columns = moved.reshape(len(moved), -1, shape[-1] // per_point)
    return np.moveaxis(columns, 1, 0).reshape(shape)


def change(kernel: np.ndarray | Tiles | Stored, c: np.ndarray) -> np.ndarray:
    """Theta c of every network, [..., n, k] -> [..., N, k]."""
    if isinstance(kernel, np.ndarray):
        return kernel @ c
    per_point = kernel.shape[1] // c.shape[-2]
    shape = (*c.shape[:-2], kernel.shape[0] // per_point, c.shape[-1])
    return from_rows(operator(kernel)(as_rows(kernel, c)), shape, per_point)
