"""A train kernel in the memory of all devices, by tiles, for products under `jit`."""

import dataclasses
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Float, Int

from zoo.tiles.stored import Stored


@partial(
    jax.tree_util.register_dataclass,
    data_fields=["tiles", "rows", "columns"],
    meta_fields=["size", "mesh"],
)
@dataclasses.dataclass(frozen=True)
class Tiles:
    """A symmetric matrix [n, n], the tiles of its upper half, shared out to devices.

    No device holds more than its share, and products gather none of it.

    Attributes:
        tiles: [T, b, b]; what lies beyond n is 0, and so is a tile that fills up.
        rows: number of the rows of each tile, from the top, [T].
        columns: of its columns, from the left, [T].
        size: n, rows of the matrix.
        mesh: of the devices, of all processes, along the axis "tile".
    """

    tiles: Float[Array, "T b b"]
    rows: Int[Array, " T"]
    columns: Int[Array, " T"]
    size: int
    mesh: Mesh

    @property
    def shape(self) -> tuple[int, int]:
        """(n, n)."""
        return self.size, self.size

    def product(self, c: Float[Array, "n m"]) -> Float[Array, "n m"]:
        """Theta c; every tile is read once, for both of its places."""
        side = self.tiles.shape[1]
        blocks = -(-self.size // side)
        c = jnp.pad(c, ((0, blocks * side - self.size), (0, 0)))
        each = (P("tile"), P("tile"), P("tile"), P())
        total = jax.shard_map(
            _product, mesh=self.mesh, in_specs=each, out_specs=P(), check_vma=False
        )(self.tiles, self.rows, self.columns, c.reshape(blocks, side, -1))
        return total.reshape(blocks * side, -1)[: self.size]


def _product(tiles: Any, rows: Any, columns: Any, c: jax.Array) -> jax.Array:
    """The part of one device's tiles, and the sum over devices."""

    def add(total: jax.Array, tile: tuple) -> tuple[jax.Array, None]:
        theta, i, j = tile
        theta = theta.astype(c.dtype)
        total = total.at[i].add(theta @ c[j])
        mirrored = jnp.where(i == j, 0.0, 1.0).astype(c.dtype) * (theta.T @ c[i])
        return total.at[j].add(mirrored), None

    total, _ = jax.lax.scan(add, jnp.zeros_like(c), (tiles, rows, columns))
    return jax.lax.psum(total, "tile")


def load(kernel: Stored, devices: Any = None) -> Tiles:
    """A stored kernel of one set of points into the memory of devices.

    Args:
        kernel: with all its tiles stored.
        devices: None is all of them, of all processes; each process reads what its own
            hold.

    Raises:
        ValueError: the kernel is of two sets of points, or a tile is absent or corrupt.
    """
    if not kernel.grid.symmetric:
        raise ValueError(
            "only a kernel of one set of points is kept by its upper half."
        )
    devices = np.asarray(jax.devices() if devices is None else devices)
    mesh = Mesh(devices, ("tile",), axis_types=(AxisType.Auto,))
    pairs = kernel.grid.pairs()
    count = -(-len(pairs) // len(devices)) * len(devices)
    side = kernel.grid.side * kernel.per_point
    sharding = NamedSharding(mesh, P("tile"))

    def some(index: Any) -> np.ndarray:
        chosen = range(count)[index[0]]
        found = np.zeros((len(chosen), side, side), kernel.array.dtype)
        for place, k in enumerate(chosen):
            if k < len(pairs):
                found[place] = kernel.tile(*pairs[k])
        return found

    filled = np.zeros((count, 2), np.int32)
    filled[: len(pairs)] = pairs
    with jax.enable_x64(True):
        tiles = jax.make_array_from_callback((count, side, side), sharding, some)
        rows, columns = (
            jax.make_array_from_callback((count,), sharding, axis.__getitem__)
            for axis in filled.T
        )
    return Tiles(tiles, rows, columns, kernel.shape[0], mesh)
