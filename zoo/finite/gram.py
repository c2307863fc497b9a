"""Products of the derivatives of outputs by one module's parameters.

Symbols: k outputs, n points, p positions, q inputs and m units of a linear map, P
parameters. For all pairs of outputs, Theta is [k, n1, k, n2]; for their sum over equal
outputs, [n1, n2].
"""

import functools
from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp


class Flat(NamedTuple):
    """Derivatives themselves, [n, k, P]."""

    d: jax.Array

    @property
    def points(self) -> int:
        """Number n of points."""
        return self.d.shape[0]

    def rows(self, start: int, stop: int) -> "Flat":
        """Some of the points."""
        return Flat(self.d[start:stop])


class Pair(NamedTuple):
    """Derivatives sum_p h[n, p, q] g[k, n, p, m] of a linear map, not multiplied out.

    Attributes:
        h: design matrices, [n, p, q].
        g: derivatives of the outputs by the map's result, [k, n, p, m].
    """

    h: jax.Array
    g: jax.Array

    @property
    def points(self) -> int:
        """Number n of points."""
        return self.h.shape[0]

    def rows(self, start: int, stop: int) -> "Pair":
        """Some of the points."""
        return Pair(self.h[start:stop], self.g[:, start:stop])


Factor = Flat | Pair


def multiplied(h: jax.Array, g: jax.Array) -> Flat:
    """The derivatives of a linear map; h is [n, p, q], or [p, q] for all points."""
    k, n, p, m = g.shape
    signals = g.transpose(1, 2, 0, 3).reshape(n, p, k * m)
    if h.ndim == 2:
        d = jnp.matmul(signals.transpose(0, 2, 1).reshape(n * k * m, p), h)
    else:
        d = jnp.matmul(signals.transpose(0, 2, 1), h)
    return Flat(d.reshape(n, k, m * h.shape[-1]))


def cheaper(p: int, q: int, m: int, k: int, n1: int, n2: int, full: bool) -> bool:
    """Whether multiplying out takes fewer floating-point operations than `Pair`."""
    pairs = n1 * n2 * (k * k if full else k)
    out = k * (n1 + n2) * p * q * m + pairs * q * m
    return out < n1 * n2 * p * p * q + pairs * p * p * m


def summed(a: Any, b: Any) -> jax.Array:
    """Sum over outputs c of Theta[c, :, c, :]; [n1, n2]."""
    if isinstance(a, Flat):
        return _outer(a.d.reshape(a.points, -1), b.d.reshape(b.points, -1))
    designs = _outer(*(f.h.reshape(-1, f.h.shape[-1]) for f in (a, b)))
    signals = _outer(*(_by_position(f.g) for f in (a, b)))
    p = a.h.shape[1]
    products = (designs * signals).reshape(a.points, p, b.points, p)
    return products.sum((1, 3))


def every(a: Any, b: Any) -> jax.Array:
    """Theta for all pairs of outputs, [k, n1, k, n2]."""
    if isinstance(a, Flat):
        k = a.d.shape[1]
        theta = _outer(*(f.d.reshape(f.points * k, -1) for f in (a, b)))
        return theta.reshape(a.points, k, b.points, k).transpose(1, 0, 3, 2)
    k, p = a.g.shape[0], a.h.shape[1]
    designs = _outer(*(f.h.reshape(-1, f.h.shape[-1]) for f in (a, b)))
    signals = _outer(*(f.g.reshape(-1, f.g.shape[-1]) for f in (a, b)))
    signals = signals.reshape(k, a.points, p, k, b.points, p)
    products = signals * designs.reshape(1, a.points, p, 1, b.points, p)
    return products.sum((2, 5))


def _outer(a: jax.Array, b: jax.Array) -> jax.Array:
    """Products of all rows with all rows."""
    return a @ b.T


def _by_position(g: jax.Array) -> jax.Array:
    """[k, n, p, m] -> [n p, k m]."""
    k, n, p, m = g.shape
    return g.transpose(1, 2, 0, 3).reshape(n * p, k * m)


def contract(
    left: Sequence[Factor], right: Sequence[Factor] | None, full: bool
) -> jax.Array:
    """Theta, or its sum over outputs, from the factors of every module.

    With `right=None` the points are the same, and only the upper blocks of Theta are
    computed.
    """
    product = every if full else summed

    def total(left, right):
        shares = [product(a, b) for a, b in zip(left, right, strict=True)]
        return functools.reduce(jnp.add, shares)

    if right is not None:
        return total(left, right)
    n = left[0].points
    starts = splits(n, _outputs(left[0]) if full else 1)
    upper = []
    for start, stop in zip(starts, [*starts[1:], n], strict=True):
        some = [f.rows(start, stop) for f in left]
        upper.append(total(some, [f.rows(start, n) for f in left]))
    return mirrored(upper, starts)


ROWS = 256  # of a product of matrices: fewer are slow


def splits(n: int, k: int) -> list[int]:
    """Where the blocks of points begin, in a symmetric Theta of n points."""
    count = max(1, min(8, n * k // ROWS, n))
    return [n * i // count for i in range(count)]


def _outputs(factor: Factor) -> int:
    return factor.d.shape[1] if isinstance(factor, Flat) else factor.g.shape[0]


def mirrored(upper: Sequence[jax.Array], starts: Sequence[int]) -> jax.Array:
    """A symmetric Theta from its block rows, each from its diagonal block on."""
    if len(upper) == 1:
        return upper[0]
    full = upper[0].ndim == 4
    axis = 1 if full else 0

    def flip(block):
        return block.transpose(2, 3, 0, 1) if full else block.T

    rows = []
    for i, row in enumerate(upper):
        stop = starts[i] + row.shape[axis]
        before = [
            flip(jax.lax.slice_in_dim(above, starts[i] - a, stop - a, axis=-1))
            for above, a in zip(upper[:i], starts, strict=False)
        ]
        rows.append(jnp.concatenate([*before, row], axis=-1))
    return jnp.concatenate(rows, axis=axis)
