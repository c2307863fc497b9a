"""A train kernel kept in tiles, its upper half alone, for products."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from zoo.infinite.kernels import cut, kernel_fn, tile_side, widened
from zoo.infinite.precision import float64


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["tiles", "rows", "columns"],
    meta_fields=["points"],
)
@dataclasses.dataclass(frozen=True)
class Tiles:
    """A symmetric matrix [n, n], the tiles of its upper half.

    Attributes:
        tiles: [T, b, b]; what lies beyond n is 0.
        rows: number of the rows of each tile, from the top, [T].
        columns: of its columns, from the left, [T].
        points: n.
    """

    tiles: Float[Array, "T b b"]
    rows: Int[Array, " T"]
    columns: Int[Array, " T"]
    points: int

    def product(self, c: Float[Array, "n k"]) -> Float[Array, "n k"]:
        """Theta c; every tile is read once, for both of its places."""
        side = self.tiles.shape[1]
        blocks = -(-self.points // side)
        c = jnp.pad(c, ((0, blocks * side - self.points), (0, 0)))
        c = c.reshape(blocks, side, -1)

        def add(total: jax.Array, tile: tuple) -> tuple[jax.Array, None]:
            theta, i, j = tile
            theta = theta.astype(c.dtype)
            total = total.at[i].add(theta @ c[j])
            mirrored = jnp.where(i == j, 0.0, 1.0).astype(c.dtype) * (theta.T @ c[i])
            return total.at[j].add(mirrored), None

        total, _ = jax.lax.scan(
            add, jnp.zeros_like(c), (self.tiles, self.rows, self.columns)
        )
        return total.reshape(blocks * side, -1)[: self.points]


def kernel_tiles(
    net: Any, x: np.ndarray, max_bytes: int = 2**25, dtype: str = "float64"
) -> Tiles:
    """The NTK of the train points in tiles, about 4 n^2 bytes in float64.

    Args:
        net: a network of `zoo.models`.
        x: inputs [n, ...].
        max_bytes: size of one tile, with all pairs of positions while it is computed.
        dtype: of the tiles; "float32" takes half, and costs digits.

    Raises:
        ValueError: if an entry is not finite; and as `zoo.kernel_fn`.
    """
    kernel = kernel_fn(net)
    with float64():
        some = cut(np.asarray(x, widened(x)), tile_side(net, x, max_bytes))
        side = len(some[0][1])
        pairs = [(i, j) for i in range(len(some)) for j in range(i, len(some))]
        compiled = jax.jit(partial(kernel, get="ntk"))
        put = jax.jit(_put, donate_argnums=0)
        tiles = jnp.zeros((len(pairs), side, side), dtype)
        for place, (i, j) in enumerate(pairs):
            tile = compiled(some[i][1], None if i == j else some[j][1])
            if not jnp.all(jnp.isfinite(tile)):
                raise ValueError(
                    f"the kernel of {type(net).__name__} has entries that are not "
                    f"finite, between points {some[i][0]} and {some[j][0]} on."
                )
            ends = [len(x) - some[block][0] for block in (i, j)]
            tiles = put(tiles, tile, place, *ends)
        rows, columns = (jnp.asarray(axis) for axis in zip(*pairs, strict=True))
    return Tiles(tiles, rows, columns, len(x))


def _put(tiles: jax.Array, tile: jax.Array, place: Any, height: Any, width: Any):
    """One more tile, 0 beyond the last point."""
    axis = jnp.arange(tiles.shape[1])
    inside = (axis < height)[:, None] & (axis < width)[None]
    return tiles.at[place].set(jnp.where(inside, tile, 0.0).astype(tiles.dtype))
