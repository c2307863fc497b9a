"""Products with a train kernel in tiles, and what follows from products alone.

The end of training, t = infinity, by conjugate gradients, and the ends of the spectrum
by Lanczos' method; all in float64. Neither needs the kernel in one piece: it may lie in
a store, or in the memory of many devices. In a run of several processes all of them
take part, and all get the same.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import numpy as np
import scipy.sparse.linalg as sparse

from zoo.infinite.precision import float64
from zoo.tiles.sharded import Tiles
from zoo.tiles.stored import Stored

TOLERANCE = 1e-8
LANCZOS = 300  # vectors [n] that are kept, and products before a restart


class End(NamedTuple):
    """Outputs at the end of training.

    Attributes:
        outputs: [..., N, k].
        residual: what the solution misses, over the norm of its right-hand side.
        products: with the train kernel, that it took.
    """

    outputs: np.ndarray
    residual: float
    products: int


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
    size, product, count = b.size, operator(theta), 0

    def shifted(c: np.ndarray) -> np.ndarray:
        nonlocal count
        count += 1
        c = c.reshape(b.shape)
        return (product(c) + ridge * c).ravel()

    c, failed = sparse.cg(
        _system(size, shifted),
        b.ravel(),
        rtol=tolerance,
        atol=0.0,
        maxiter=max_products,
    )
    left = b.ravel() - shifted(c)
    residual = float(np.linalg.norm(left) / max(np.linalg.norm(b), 1e-300))
    if failed or not residual <= 10 * tolerance:
        raise ValueError(
            f"the end of training was not found: after {count} products the relative "
            f"residual is {residual:.1e}, above {tolerance:.1e}. A ridge "
            f"above 0 helps where the kernel is singular; here it is {ridge:g}."
        )
    found = from_rows(c.reshape(b.shape), wanted.shape, len(b) // n)
    return End(f0[..., n:, :] - change(rest, found), residual, count)


def spectrum_ends(
    theta: Tiles | Stored, tolerance: float = 1e-3
) -> tuple[float, float]:
    """The smallest and the largest eigenvalue of a train kernel.

    Raises:
        ValueError: Lanczos' method did not find them.
    """
    n, product = theta.shape[0], operator(theta)
    system = _system(n, lambda c: product(c.reshape(-1, 1)).ravel())
    start = np.random.default_rng(0).normal(size=n)
    try:
        ends = sparse.eigsh(
            system,
            k=2,
            which="BE",
            ncv=min(n, LANCZOS),
            tol=tolerance,
            v0=start,
            maxiter=20,
            return_eigenvectors=False,
        )
    except sparse.ArpackNoConvergence as error:
        raise ValueError(f"the ends of the spectrum were not found: {error}") from error
    return float(ends.min()), float(ends.max())


def _system(size: int, product: Callable[[np.ndarray], np.ndarray]) -> Any:
    kind: Any = sparse.LinearOperator
    return kind((size, size), matvec=product, dtype=np.float64)


def operator(kernel: Tiles | Stored) -> Callable[[np.ndarray], np.ndarray]:
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
