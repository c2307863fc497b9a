"""Tiles that are not stored yet are computed, a tile on each device at a time."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from zarr.storage import MemoryStore

from zoo.tiles.grid import Grid, block, even_side
from zoo.tiles.memory import HOST_COPIES, Memory, program_bytes, require
from zoo.tiles.source import Source, about, kernel_key
from zoo.tiles.stored import Place, Stored, check_place, create, find

Report = Callable[[int, int], None]
Pair = tuple[int, int]


def stored_kernel(
    source: Source,
    x1: np.ndarray,
    x2: np.ndarray | None = None,
    *,
    store: Place = None,
    side: int,
    max_memory: int | None = None,
    report: Report | None = None,
) -> Stored:
    """The kernel of two sets of points, computed where the store does not hold it.

    Every process computes its share on its own devices, tile by tile, and each finished
    tile is stored: the same call goes on where an earlier one was stopped, and what is
    stored is never computed again, whatever `side` is asked for. What is stored is read
    once, and a tile whose checksum is wrong is computed again.

    Args:
        source: what is computed.
        x1: points [n1, ...].
        x2: points [n2, ...]; None means `x1`, and half of the work.
        store: a folder, or an address that fsspec knows ("gs://bucket/kernels"); all
            processes see the same. None keeps the tiles in memory.
        side: points along a side of a tile, at most.
        max_memory: bytes that may be used on a device and on the host; None is what is
            free there.
        report: called with the tiles of this process that are stored, and all of them.

    Raises:
        ValueError: a tile does not fit (with the numbers), an entry is not finite, the
            store cannot be used (`PlaceError`), or holds something else under the
            kernel's key.
        TypeError: the kernel has no key; without a `store` it needs none.
    """
    place, key, kernel = _find(source, x1, x2, store)
    work = _Work(source, kernel.grid if kernel else _grid(x1, x2, side), x1, x2)
    if kernel is None:
        work.require(max_memory)
        said = {} if store is None else about(source)
        given = (work.grid, source.per_point, source.dtype, said)
        kernel = create(place, key, *given)
    kernel.sweep()
    missing = kernel.absent()
    if missing:
        work.require(max_memory)
        work.fill(kernel, missing, report or (lambda done, total: None))
    if jax.process_count() > 1:
        multihost_utils.sync_global_devices(f"kernel {key} is stored")
    return kernel


def predict_memory(
    source: Source,
    x1: np.ndarray,
    x2: np.ndarray | None = None,
    *,
    store: Place = None,
    side: int,
    max_memory: int | None = None,
) -> Memory:
    """What `stored_kernel` will take, by its arguments; refused as there."""
    kernel = _find(source, x1, x2, store)[2]
    grid = kernel.grid if kernel else _grid(x1, x2, side)
    return _Work(source, grid, x1, x2).require(max_memory)


def _find(
    source: Source, x1: np.ndarray, x2: np.ndarray | None, store: Place
) -> tuple[Place, str, Stored | None]:
    """The store, the kernel's key and what is there; in memory no key is needed."""
    if store is None:
        return MemoryStore(), "kernel", None
    check_place(store)
    key = kernel_key(source, x1, x2)
    return store, key, find(store, key)


def _grid(x1: np.ndarray, x2: np.ndarray | None, side: int) -> Grid:
    """Tiles of equal size, none larger than `side`."""
    columns = len(x1) if x2 is None else len(x2)
    longest = max(len(x1), columns)
    if side < 1 or longest < 1:
        raise ValueError(f"tiles need a side >= 1 and points, got side={side}.")
    return Grid(len(x1), columns, even_side(longest, side), x2 is None)


class _Work:
    """The tiles of one kernel, and the programs that compute them."""

    def __init__(self, source: Source, grid: Grid, x1: Any, x2: Any):
        self.source, self.grid = source, grid
        self.points = (np.asarray(x1), np.asarray(x1 if x2 is None else x2))
        devices = np.asarray(source.devices)
        self.mesh = Mesh(devices, ("tile",), axis_types=(AxisType.Auto,))
        self.programs = functools.cache(self.programs)

    def programs(self, side: int) -> dict[bool, Any]:
        """Of a tile on the diagonal (True), and of another one, on every device."""
        kinds = [True] if self.grid.symmetric else [False]
        if self.grid.symmetric and side < self.grid.rows:
            kinds.append(False)
        tiles, whole = (NamedSharding(self.mesh, spec) for spec in (P("tile"), P()))
        specs = [
            jax.ShapeDtypeStruct(
                (self.mesh.size, side, *x.shape[1:]), x.dtype, sharding=tiles
            )
            for x in self.points
        ]
        shared = jax.tree.map(
            lambda a: jax.ShapeDtypeStruct(a.shape, a.dtype, sharding=whole),
            self.source.operands,
        )
        with self.source.numerics():
            return {
                same: self._program(same)
                .lower(shared, *specs[: 1 if same else 2])
                .compile()
                for same in kinds
            }

    def _program(self, same: bool) -> Any:
        def one(operands: Any, x1: jax.Array, *x2: jax.Array) -> jax.Array:
            tile = self.source.tile(operands, x1[0], None if same else x2[0][0])
            return tile[None].astype(self.source.dtype)

        specs = (P(), P("tile")) if same else (P(), P("tile"), P("tile"))
        return jax.jit(
            jax.shard_map(
                one,
                mesh=self.mesh,
                in_specs=specs,
                out_specs=P("tile"),
                check_vma=False,
            )
        )

    def require(self, max_memory: int | None) -> Memory:
        """Predicts, and refuses what does not fit."""
        itemsize = np.dtype(self.source.dtype).itemsize

        def predict(side: int) -> Memory:
            device = max(map(program_bytes, self.programs(side).values()))
            size = itemsize * (side * self.source.per_point) ** 2
            tiles = dataclasses.replace(self.grid, side=side).count
            return Memory(device, HOST_COPIES * size, tiles * size, side)

        return require(predict, self.grid.side, self.source.devices, max_memory)

    def fill(self, kernel: Stored, missing: list[Pair], report: Report) -> None:
        """Computes and stores tiles, first those on the diagonal."""
        total = len(kernel.own())
        done = total - len(missing)
        with self.source.numerics():
            whole = NamedSharding(self.mesh, P())
            operands = jax.device_put(self.source.operands, whole)
            for same, program in self.programs(self.grid.side).items():
                some = [
                    p for p in missing if (self.grid.symmetric and p[0] == p[1]) == same
                ]
                for start in range(0, len(some), self.mesh.size):
                    group = some[start : start + self.mesh.size]
                    self._compute(kernel, program, operands, group, same)
                    done += len(group)
                    report(done, total)

    def _compute(
        self, kernel: Stored, program: Any, operands: Any, group: list[Pair], same: bool
    ) -> None:
        """A tile on each device; the last one again on those that are left over."""
        each = group + group[-1:] * (self.mesh.size - len(group))
        sharding = NamedSharding(self.mesh, P("tile"))
        sides = [
            np.stack([block(x, pair[axis], self.grid.side) for pair in each])
            for axis, x in enumerate(self.points[: 1 if same else 2])
        ]
        found = program(operands, *(jax.device_put(x, sharding) for x in sides))
        for k, (i, j) in enumerate(group):
            tile = np.asarray(found.addressable_data(k))[0]
            if not np.isfinite(tile).all():
                raise ValueError(
                    "the kernel has entries that are not finite, between points from "
                    f"{i * self.grid.side} and from {j * self.grid.side} on: the "
                    "inputs are, or a variance is too large."
                )
            kernel.write(i, j, tile)
