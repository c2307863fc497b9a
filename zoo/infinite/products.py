"""Products with a train kernel in tiles, and what follows from products alone.

The end of training, t = infinity, and the ends of the spectrum: of few points by
eigendecomposition, of many by preconditioned conjugate gradients, in float64 on the
host, whose loop does not ask where the kernel lies: in a store, or in the memory of
many devices. In a run of several processes all of them take part, and all get the same.
"""

import warnings
from collections.abc import Callable
from functools import partial
from typing import Any, NamedTuple

import jax
import numpy as np
from scipy.sparse.linalg import LinearOperator, cg, lobpcg

from zoo.infinite.nystrom import Nystrom, nystrom
from zoo.infinite.precision import float64
from zoo.infinite.predict import Dynamics
from zoo.tiles.sharded import Tiles
from zoo.tiles.stored import Stored

TOLERANCE = 1e-8
DENSE = 2048  # rows that an eigendecomposition takes in seconds
RANK = 512  # of the preconditioner; at most an eighth of the rows
CLOSE = 0.05  # residual of the smallest eigenvalue, over it, at which it is found
ROUND, ROUNDS = 25, 8  # products between two looks at it, and looks
Product = Callable[[np.ndarray], np.ndarray]
Report = Callable[[int, float], None]


class End(NamedTuple):
    """Outputs at the end of training.

    Attributes:
        outputs: [..., N, k].
        residual: what the solution misses, over the norm of its right-hand side.
        products: with the train kernel, that it took.
        ends: of the kernel's spectrum, the smallest and the largest eigenvalue; of more
            than `DENSE` rows the smallest one as far as `ends` finds it.
    """

    outputs: np.ndarray
    residual: float
    products: int
    ends: tuple[float, float]


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
        ValueError: the ridge is negative, the kernel is not positive, or the residual
            is above ten times the tolerance.
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
        rough, modes = None, Dynamics.from_kernel(product(np.eye(len(b))))
        solution = modes.solve(b, ridge)
        spectrum = modes.smallest, float(modes.eigenvalues[-1])
    else:
        rough = nystrom(product, len(b), min(RANK, -(-len(b) // 8)))
        inverse = partial(rough.solve, ridge=ridge)
        solution = solve(shifted, b, inverse, tolerance, max_products, said)
        spectrum = np.nan, np.nan
    left = b - shifted(solution)
    residual = float(np.linalg.norm(left)) / max(size, 1e-300)
    if not residual <= 10 * tolerance:
        raise ValueError(
            f"the end of training was not found: after {count} products the relative "
            f"residual is {residual:.1e}, above {tolerance:.1e}. A ridge "
            f"above 0 helps where the kernel is singular; here it is {ridge:g}."
        )
    if rough is not None:
        spectrum = ends(product, len(b), rough)
    c = from_rows(solution, wanted.shape, len(b) // n)
    return End(f0[..., n:, :] - change(rest, c), residual, count, spectrum)


def solve(
    product: Product,
    b: np.ndarray,
    inverse: Product,
    tolerance: float,
    most: int,
    said: Callable[[float], None],
) -> np.ndarray:
    """Solves A x = b by conjugate gradients, all columns of b in one system.

    Args:
        product: c -> A c, [n, m].
        b: right-hand sides [n, m].
        inverse: c -> P^-1 c of the preconditioner.
        tolerance: of the residual, over the norm of b.
        most: steps after which it gives up.
        said: called with the norm of the residual before each.
    """

    def operate(function: Product) -> Any:
        def flat(c: np.ndarray) -> np.ndarray:
            return function(c.reshape(b.shape)).ravel()

        made: Any = LinearOperator  # whose stubs know no arguments
        return made((b.size, b.size), matvec=flat, dtype=np.float64)

    def precondition(residual: np.ndarray) -> np.ndarray:
        said(float(np.linalg.norm(residual)))
        return inverse(residual)

    found, _ = cg(
        operate(product),
        b.ravel(),
        rtol=tolerance,
        maxiter=most,
        M=operate(precondition),
    )
    return found.reshape(b.shape)


def ends(product: Product, n: int, rough: Nystrom) -> tuple[float, float]:
    """The smallest and the largest eigenvalue, by products with four vectors.

    Both are Rayleigh quotients (Knyazev 2001, LOBPCG). The smallest is above the true
    one, by less than its residual, which is `CLOSE` of it unless `ROUNDS` did not do.
    """
    given: Any = {"M": rough.solve, "maxiter": ROUND, "tol": 1e-12}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of rounds that are not the last
        top, _ = lobpcg(product, rough.vectors[:, :1].copy(), maxiter=ROUND)
        low, vectors = np.inf, np.random.default_rng(0).normal(size=(n, 4))
        for _ in range(ROUNDS):
            values, vectors = lobpcg(product, vectors, largest=False, **given)
            low, v = np.min(values), vectors[:, [np.argmin(values)]]
            missed = np.linalg.norm(product(v) - low * v) / np.linalg.norm(v)
            if missed <= CLOSE * low:
                break
    return float(low), float(top[0])


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
