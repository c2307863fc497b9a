"""A preconditioner of kernels from products alone: the randomized Nystrom one.

Of a kernel whose eigenvalues fall quickly, one product with some hundred random vectors
finds the large ones; divided out, they leave a matrix whose condition number is that of
the rest (Frangella, Tropp & Udell 2023, "Randomized Nystrom Preconditioning",
algorithms 2.1 and 5.1).
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from scipy.linalg import solve_triangular


class Nystrom(NamedTuple):
    """A ~ U diag(lambda) U^T, never above A.

    Attributes:
        vectors: U, orthonormal columns [n, r].
        values: lambda, descending [r].
    """

    vectors: np.ndarray
    values: np.ndarray

    def solve(self, c: np.ndarray, ridge: float = 0.0) -> np.ndarray:
        """P^-1 c for c [n, m]: those found of A + ridge become the least of them."""
        scale = (self.values[-1] + ridge) / (self.values + ridge) - 1
        return c + self.vectors @ (scale[:, None] * (self.vectors.T @ c))


def nystrom(
    product: Callable[[np.ndarray], np.ndarray], n: int, rank: int, seed: int = 0
) -> Nystrom:
    """Approximates a positive matrix from one product with `rank` random vectors.

    Args:
        product: c -> A c for c [n, m].
        n: rows of A.
        rank: r, at most n.
        seed: of the vectors.

    Raises:
        ValueError: A is not positive.
    """
    drawn = np.random.default_rng(seed).normal(size=(n, rank))
    omega = np.linalg.qr(drawn)[0]
    image = product(omega)
    shift = np.finfo(np.float64).eps * np.linalg.norm(image)
    image = image + shift * omega
    try:
        lower = np.linalg.cholesky(omega.T @ image)
    except np.linalg.LinAlgError as error:
        raise ValueError(
            f"the train kernel is not positive: its products with {rank} random "
            "vectors say so."
        ) from error
    half = np.asarray(solve_triangular(lower, image.T, lower=True))  # A ~ half^T half
    squares, turns = np.linalg.eigh(half @ half.T)
    squares, turns = squares[::-1], turns[:, ::-1]
    kept = squares > shift
    vectors = (half.T @ turns[:, kept]) / np.sqrt(squares[kept])
    return Nystrom(vectors, squares[kept] - shift)
