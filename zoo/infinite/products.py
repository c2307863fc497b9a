"""Products with a train kernel in tiles, and what follows from products alone.

The end of training, t = infinity, and the ends of the spectrum: of few points by
eigendecomposition, of many by preconditioned conjugate gradients, in float64 on the
host, whose loop does not ask where the kernel lies: in a store, or in the memory of
many devices. In a run of several processes all of them take part, and all get the same.
"""

from collections.abc import Callable
from functools import partial
from typing import NamedTuple

import jax
import numpy as np
from scipy.linalg import eigvalsh_tridiagonal
from scipy.sparse.linalg import lobpcg

from zoo.infinite.nystrom import Nystrom, nystrom
from zoo.infinite.precision import float64
from zoo.infinite.predict import Dynamics
from zoo.tiles.sharded import Tiles
from zoo.tiles.stored import Stored

TOLERANCE = 1e-8
DENSE = 2048  # rows that an eigendecomposition takes in seconds
RANK = 512  # of the preconditioner; at most an eighth of the rows
Product = Callable[[np.ndarray], np.ndarray]
Report = Callable[[int, float], None]


class End(NamedTuple):
    """Outputs at the end of training.

    Attributes:
        outputs: [..., N, k].
        residual: what the solution misses, over the norm of its right-hand side.
        products: with the train kernel, that it took.
        ends: of the kernel's spectrum, the smallest and the largest eigenvalue; of more
            than `DENSE` rows the smallest one to a few percent.
    """

    outputs: np.ndarray
    residual: float
    products: int
    ends: tuple[float, float]


class Solution(NamedTuple):
    """What conjugate gradients found.

    Attributes:
        solution: x of A x = b.
        least: estimate of the smallest eigenvalue of A, with its preconditioner; NaN
            where b is 0.
    """

    solution: np.ndarray
    least: float


def end_of_training(
    theta: Tiles | Stored,
    rest: np.ndarray | Stored,
    f0: np.ndarray,
    y: np.ndarray,
    ridge: float = 0.0,
    tolerance: float = TOLERANCE,
    max_products: int = 10_000,
    dense: int = DENSE,
    report: Report | None = None,
) -> End:
    """f_0 - Theta(., X) (Theta + ridge I)^-1 (f_0(X) - y), on the other points.

    The limit of gradient descent on the mean square at any learning rate below the
    critical one (see `zoo.infinite.predict`); of all outputs of all networks at once.

    Args:
        theta: NTK of the train points.
        rest: NTK of the other points with the train points, [N - n, n] or stored.
        f0: outputs at initialization on all points, train points first, [..., N, k].
        y: targets [n, k].
        ridge: of the loss.
        tolerance: of the residual, over the norm of the right-hand side.
        max_products: products with the train kernel after which it gives up.
        dense: rows up to which the kernel is gathered, and decomposed.
        report: called with the number of products and the relative residual.

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
    multiply, count = operator(theta), 0
    size = float(np.linalg.norm(b))

    def product(c: np.ndarray) -> np.ndarray:
        nonlocal count
        count += 1
        return multiply(c)

    def shifted(c: np.ndarray) -> np.ndarray:
        return product(c) + ridge * c

    def said(residual: float) -> None:
        if report is not None:
            report(count, residual / size)

    if len(b) <= dense:
        modes = Dynamics.from_kernel(product(np.eye(len(b))))
        solution = modes.solve(b, ridge)
        ends = modes.smallest, float(modes.eigenvalues[-1])
    else:
        rough = nystrom(product, len(b), min(RANK, len(b) // 8))
        solve = partial(rough.solve, ridge=ridge)
        enough = tolerance * size
        found = conjugate_gradients(shifted, b, solve, enough, max_products, said)
        solution = found.solution
        ends = found.least - ridge, largest(product, rough)
    left = b - shifted(solution)
    residual = float(np.linalg.norm(left)) / max(size, 1e-300)
    if not residual <= 10 * tolerance:
        raise ValueError(
            f"the end of training was not found: after {count} products the relative "
            f"residual is {residual:.1e}, above {tolerance:.1e}. A ridge "
            f"above 0 helps where the kernel is singular; here it is {ridge:g}."
        )
    c = from_rows(solution, wanted.shape, len(b) // n)
    return End(f0[..., n:, :] - change(rest, c), residual, count, ends)


def conjugate_gradients(
    product: Product,
    b: np.ndarray,
    solve: Product,
    enough: float,
    most: int,
    said: Callable[[float], None],
) -> Solution:
    """Solves A x = b for a symmetric positive A, all columns of b in one system.

    Its coefficients, which libraries keep to themselves, are those of Lanczos' method,
    whose tridiagonal matrix has eigenvalues that tend to the ends of P^-1 A's (Saad
    2003, sections 6.7.3 and 9.2).

    Args:
        product: c -> A c.
        b: right-hand sides [n, m].
        solve: c -> P^-1 c of the preconditioner.
        enough: norm of the residual at which it ends.
        most: products after which it gives up.
        said: called with the norm of the residual after each.

    Raises:
        ValueError: a direction has no positive curvature, so that A is not positive.
    """
    x, r = np.zeros_like(b), b.copy()
    z = solve(r)
    p, square = z.copy(), np.sum(r * z)
    steps, ratios = [], []
    while np.linalg.norm(r) > enough and len(steps) < most:
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
        said(float(np.linalg.norm(r)))
        z = solve(r)
        square, before = np.sum(r * z), square
        ratios.append(square / before)
        p = z + ratios[-1] * p
    if not steps:
        return Solution(x, np.nan)
    diagonal = 1 / np.asarray(steps)
    beside = np.sqrt(ratios[:-1]) * diagonal[:-1]
    diagonal[1:] += np.asarray(ratios[:-1]) / steps[:-1]
    return Solution(x, float(np.min(eigvalsh_tridiagonal(diagonal, beside))))


def largest(product: Product, rough: Nystrom) -> float:
    """The largest eigenvalue of a matrix of which an approximation is known."""
    start = rough.vectors[:, :1].copy()
    found, _ = lobpcg(product, start, largest=True, maxiter=10)
    return float(found[0])


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
