"""Which points and outputs go together, so that a kernel fits a memory budget."""

import functools
import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import jax
import jax.numpy as jnp

from zoo.finite.gram import NUMBERS, Factor, Pair, Stream, mirrored, multiplied, order
from zoo.finite.sites import Site

Range = tuple[int, int]  # the first, and the one after the last


class Blocks(NamedTuple):
    """Shape of the blocks in which a kernel is computed.

    Attributes:
        rows: points of the first set whose derivatives are kept,
        columns: while those of this many points of the second set are computed.
        outputs: outputs of the network at a time.
    """

    rows: int
    columns: int
    outputs: int


class Size(NamedTuple):
    """Numbers that one site keeps.

    Attributes:
        activations: per point (of the whole site if it is shared), forward.
        signals: per point and output, backward.
        derivatives: per point and output, multiplied out.
        linear: p, q, m of the linear map; None if it has no design matrix.
        shared: whether all points share the activations.
    """

    activations: int
    signals: int
    derivatives: int
    linear: tuple[int, int, int] | None
    shared: bool


def sizes(places: Sequence[Site], params: dict) -> list[Size]:
    """What each site keeps; `params` are the leaves by path."""
    return [_size(site, params) for site in places]


def _size(site: Site, params: dict) -> Size:
    shared = site.calls[0].rows == "shared"

    def each(spec: jax.ShapeDtypeStruct) -> int:
        return math.prod(spec.shape if shared else spec.shape[1:])

    inputs = sum(each(call.input) for call in site.calls)
    outputs = sum(each(call.output) for call in site.calls)
    derivatives = sum(math.prod(params[leaf].shape) for leaf in site.leaves)
    linear = None
    if site.design is not None:
        designs = [jax.eval_shape(site.design, call.input) for call in site.calls]
        q = designs[0].shape[-1]
        p = sum(each(design) // q for design in designs)
        linear = (p, q, outputs // p)
        inputs += p * q
    return Size(inputs + outputs, outputs, derivatives, linear, shared)


def plan(
    found: Sequence[Size],
    n1: int,
    n2: int | None,
    k: int,
    full: bool,
    max_numbers: float,
) -> Blocks:
    """The cheapest blocks whose predicted size stays below `max_numbers`.

    A pure function of its arguments. If nothing fits, one output at one point.

    Args:
        found: what each module of the network keeps.
        n1: number of points.
        n2: of the second set; None if it is the first.
        k: number of outputs.
        full: whether all pairs of outputs are asked for.
        max_numbers: the budget.
    """
    symmetric, n2 = n2 is None, n1 if n2 is None else n2
    fitting = [
        blocks
        for blocks in _candidates(n1, n2, k)
        if _numbers(found, blocks, full, n1, n2, k, symmetric) <= max_numbers
    ]
    cost = [(_cost(blocks, n1, n2, k, full), i) for i, blocks in enumerate(fitting)]
    return fitting[min(cost)[1]] if fitting else Blocks(1, 1, 1)


def _candidates(n1: int, n2: int, k: int) -> Iterator[Blocks]:
    """Halves of halves; rows are a multiple of the columns, or all there are."""
    for outputs, columns in itertools.product(_halves(k), _halves(n2)):
        rows = columns
        while rows < n1:
            yield Blocks(rows, columns, outputs)
            rows *= 2
        yield Blocks(n1, columns, outputs)


def _halves(n: int) -> list[int]:
    """n, n / 2, n / 4 ... 1, rounded up."""
    found = [n]
    while found[-1] > 1:
        found.append(-(-found[-1] // 2))
    return found


def _numbers(
    found: Sequence[Size],
    blocks: Blocks,
    full: bool,
    n1: int,
    n2: int,
    k: int,
    symmetric: bool,
) -> int:
    """Predicted numbers alive: factors of both sides, and the product under way."""
    once = blocks == (n1, n2, k)
    same = symmetric and blocks.rows >= n1
    sides = (blocks.rows,) if same else (blocks.rows, blocks.columns)
    pairs = blocks.rows * blocks.columns * (blocks.outputs**2 if full else 1)
    total, products = 0, [pairs]
    for size in found:
        kind = _kind(size, blocks, full, once)
        total += sum(_kept(size, n, blocks.outputs, kind) for n in sides)
        if kind is Pair and size.linear:
            products.append(pairs * size.linear[0] ** 2)
        if kind is Stream:
            products.append(2 * pairs + NUMBERS)
    return total + 2 * max(products)


def _kept(size: Size, n: int, k: int, kind: Callable) -> int:
    kept = size.activations * (1 if size.shared else n) + 2 * k * n * size.signals
    return kept + (k * n * size.derivatives if kind is multiplied else 0)


def _kind(size: Size, blocks: Blocks, full: bool, once: bool) -> Callable:
    if size.shared or size.linear is None:
        return multiplied
    pairing = (blocks.rows, blocks.columns, blocks.outputs, full)
    return order(size.linear, pairing, once)


def _cost(blocks: Blocks, n1: int, n2: int, k: int, full: bool) -> int:
    """Passes through the network at one point, and a little for every block."""
    strips = -(-n1 // blocks.rows)
    pairs = strips * -(-n2 // blocks.columns)
    groups = -(-k // blocks.outputs)
    passes = (n1 + (strips - 1) * n2) * (1 + blocks.outputs)
    return (passes + 8 * pairs) * groups ** (2 if full else 1)


def ranges(n: int, size: int) -> list[Range]:
    """Where blocks start and stop."""
    return [(start, min(start + size, n)) for start in range(0, n, size)]


def blockwise(
    derivatives: Callable[[int, Range, Range], list[Factor]],
    product: Callable[[list[Factor], list[Factor] | None], jax.Array],
    blocks: Blocks,
    shape: tuple[int, int, int],
    full: bool,
    symmetric: bool,
) -> jax.Array:
    """Theta, [k, n1, k, n2], or its sum over outputs, [n1, n2], from its blocks.

    Args:
        derivatives: of the first (0) or second (1) set of points, at some points, of
            some outputs.
        product: a block of Theta, or of the sum; None on the right is the left.
        blocks: their shape.
        shape: n1, n2, k.
        full: whether Theta is asked for.
        symmetric: whether both sets of points are the same.
    """
    n1, n2, k = shape

    def square(left: list[Factor]) -> jax.Array:
        """The products of all rows with themselves."""
        n = left[0].points
        if n <= blocks.columns:
            return product(left, None)
        parts = ranges(n, blocks.columns)
        upper = []
        for start, stop in parts:
            some = [f.rows(start, stop) for f in left]
            upper.append(product(some, [f.rows(start, n) for f in left]))
        return mirrored(upper, [start for start, _ in parts])

    def between(c: Range, d: Range) -> jax.Array:
        """All points, some outputs."""
        strips, starts, same = [], [], symmetric and c == d
        for start, stop in ranges(n1, blocks.rows):
            left = derivatives(0, (start, stop), c)
            row = [square(left)] if same else []
            for first, last in ranges(n2, blocks.columns):
                if not (same and last <= stop):
                    row.append(product(left, derivatives(1, (first, last), d)))
            strips.append(jnp.concatenate(row, axis=-1))
            starts.append(start)
        return (
            mirrored(strips, starts)
            if same
            else jnp.concatenate(strips, axis=-3 if full else 0)
        )

    outputs = ranges(k, blocks.outputs)
    if not full:
        return functools.reduce(jnp.add, (between(c, c) for c in outputs))
    theta: dict[tuple[Range, Range], jax.Array] = {}
    for c, d in itertools.product(outputs, outputs):
        if symmetric and d < c:
            theta[c, d] = theta[d, c].transpose(2, 3, 0, 1)
        else:
            theta[c, d] = between(c, d)
    strips = [jnp.concatenate([theta[c, d] for d in outputs], axis=2) for c in outputs]
    return jnp.concatenate(strips, axis=0)
