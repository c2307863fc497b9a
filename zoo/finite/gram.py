"""Products of the derivatives of outputs by one module's parameters.

Symbols: k outputs, n points, p positions, q inputs and m units of a linear map, P
parameters. For all pairs of outputs, Theta is [k, n1, k, n2]; for their sum over equal
outputs, [n1, n2].
"""

import functools
from collections.abc import Callable, Iterable, Sequence
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

    def height(self, full: bool) -> int:
        """Rows of a point in a product of matrices."""
        return self.d.shape[1] if full else 1

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

    def height(self, full: bool) -> int:
        """Rows of a point in a product of matrices."""
        k, _, p, _ = self.g.shape
        return k * p if full else p

    def rows(self, start: int, stop: int) -> "Pair":
        """Some of the points."""
        return type(self)(self.h[start:stop], self.g[:, start:stop])


class Stream(Pair):
    """The same, to be multiplied out for a few units at a time."""

    @property
    def unit(self) -> int:
        """Numbers of one unit, multiplied out."""
        return self.g.shape[0] * self.points * self.h.shape[-1]

    def height(self, full: bool) -> int:
        """Rows of a point in a product of matrices."""
        return self.g.shape[0] if full else 1

    def some(self, g: jax.Array) -> Flat:
        """Some units, multiplied out."""
        return multiplied(self.h, g)


class Units(NamedTuple):
    """Derivatives u[k, m] d[n, m, q]: what no output changes, what no point does."""

    d: jax.Array
    u: jax.Array

    def rows(self, start: int, stop: int) -> "Units":
        """Some of the points."""
        return Units(self.d[start:stop], self.u)


class Apart(NamedTuple):
    """The same as sum_p h[n, p, q] s[n, p, m], for a few units at a time."""

    h: jax.Array
    s: jax.Array
    u: jax.Array

    @property
    def points(self) -> int:
        """Number n of points."""
        return self.h.shape[0]

    @property
    def unit(self) -> int:
        """Numbers of one unit: derivatives, and their products."""
        return self.points * (self.h.shape[-1] + self.points)

    def height(self, full: bool) -> int:
        """Rows of a point in a product of matrices."""
        return 1

    def rows(self, start: int, stop: int) -> "Apart":
        """Some of the points."""
        return Apart(self.h[start:stop], self.s[start:stop], self.u)

    def some(self, s: jax.Array, u: jax.Array) -> Units:
        """Some units, multiplied out."""
        n, m, q = self.points, s.shape[-1], self.h.shape[-1]
        return Units(multiplied(self.h, s[None]).d.reshape(n, m, q), u)


Factor = Flat | Pair | Apart


def multiplied(h: jax.Array, g: jax.Array) -> Flat:
    """The derivatives of a linear map; h is [n, p, q], or [p, q] for all points."""
    k, n, p, m = g.shape
    signals = g.transpose(1, 2, 0, 3).reshape(n, p, k * m)
    if h.ndim == 2:
        d = jnp.matmul(signals.transpose(0, 2, 1).reshape(n * k * m, p), h)
    else:
        d = jnp.matmul(signals.transpose(0, 2, 1), h)
    return Flat(d.reshape(n, k, m * h.shape[-1]))


ENTRY = 64  # multiplications in the time that an entry of an array takes


def order(
    linear: tuple[int, int, int],
    pairing: tuple[int, int, int, bool],
    once: bool,
    apart: bool = False,
) -> Callable[..., Factor]:
    """`Pair`, `Stream`, `multiplied` or `Apart`, whichever takes the least time.

    Counts the multiplications of products, and the entries written in between.

    Args:
        linear: p, q and m of the map.
        pairing: points on either side, outputs, and whether all pairs of them are
            asked for.
        once: whether these points are multiplied with no others.
        apart: whether the signals are of the form of `Apart`.
    """
    (p, q, m), (n1, n2, k, full) = linear, pairing
    points, pairs = k * (n1 + n2), n1 * n2 * (k * k if full else k)
    sums = pairs if full else n1 * n2  # over p and p', of pairs
    out, products = points * p * q * m, pairs * q * m
    between = n1 * n2 * p * p * q + pairs * p * p * m
    streamed = Stream if once or 4 * out < products else multiplied
    times: dict[Callable[..., Factor], float] = {
        Pair: between + ENTRY * sums * p * p,
        streamed: out + products + ENTRY * points * q * m,
    }
    if apart:
        units = (n1 + n2) * q + n1 * n2
        own = (out + products / k) / k + pairs * m
        parts = 1 + m * units / NUMBERS
        times[Apart] = own + ENTRY * (m * units + parts * pairs)
    return min(times, key=lambda kind: times[kind])


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
        theta = _outer(*(f.d.reshape(-1, f.d.shape[-1]) for f in (a, b)))
        shape = (*a.d.shape[:2], *b.d.shape[:2])
        return theta.reshape(shape).transpose(1, 0, 3, 2)
    if isinstance(a, Units):
        products = jnp.einsum("amq,bmq->mab", a.d, b.d)
        outputs = a.u[:, None] * b.u[None]  # [k, k, m]
        return jnp.einsum("cdm,mab->cdab", outputs, products).transpose(0, 2, 1, 3)
    designs = _outer(*(f.h.reshape(-1, f.h.shape[-1]) for f in (a, b)))
    signals = _outer(*(f.g.reshape(-1, f.g.shape[-1]) for f in (a, b)))
    signals = signals.reshape(*a.g.shape[:3], *b.g.shape[:3])
    designs = designs.reshape(1, *a.h.shape[:2], 1, *b.h.shape[:2])
    return (signals * designs).sum((2, 5))


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
    if right is not None:
        pairs = zip(left, right, strict=True)
        return _total(_streamed(product, a, b) for a, b in pairs)
    found: dict[tuple[int, ...], list] = {}
    for factor in left:
        n = factor.points
        starts = splits(n, factor.height(full))
        ends = [*zip(starts, [*starts[1:], n], strict=True)]

        def upper(f: Factor | Units, n: int = n, ends: list = ends) -> list[jax.Array]:
            return [product(f.rows(i, j), f.rows(i, n)) for i, j in ends]

        found.setdefault(tuple(starts), []).append(_streamed(upper, factor))
    return _total(mirrored(_total(rows), starts) for starts, rows in found.items())


def _total(terms: Iterable) -> Any:
    return functools.reduce(functools.partial(jax.tree.map, jnp.add), terms)


NUMBERS = 2**22  # of derivatives at a time: more leave the cache


def _streamed(product: Callable, *factors: Factor) -> Any:
    """`product` of factors; of streams, its sum over parts of their units."""
    streams = [f for f in factors if isinstance(f, Stream | Apart)]
    if not streams:
        return product(*factors)
    m = streams[0][1].shape[-1]
    count = -(-m * sum(f.unit for f in streams) // NUMBERS)
    size = -(-m // count)

    def parts(g: jax.Array) -> jax.Array:  # [..., m] -> [count, ..., size]
        g = jnp.pad(g, [(0, 0)] * (g.ndim - 1) + [(0, size * count - m)])
        return jnp.moveaxis(g.reshape(*g.shape[:-1], count, size), -2, 0)

    def one(signals: list[list[jax.Array]]) -> Any:
        pairs = zip(streams, signals, strict=True)
        return product(*(f.some(*g) for f, g in pairs))

    signals = [[parts(g) for g in f[1:]] for f in streams]
    first = jax.tree.map(lambda g: g[0], signals)
    if count == 1:
        return one(first)
    shapes = jax.eval_shape(one, first)
    zero = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), shapes)

    def step(total: Any, signals: list[list[jax.Array]]) -> tuple[Any, None]:
        return jax.tree.map(jnp.add, total, one(signals)), None

    return jax.lax.scan(step, zero, signals)[0]


ROWS = 256  # of a product of matrices: fewer are slow


def splits(n: int, height: int) -> list[int]:
    """Where the blocks of points begin, in a symmetric Theta of n points.

    Args:
        n: number of points.
        height: rows that a point has in the products of matrices.
    """
    count = max(1, min(4, n * height // ROWS, n))
    return [n * i // count for i in range(count)]


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
