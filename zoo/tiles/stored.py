"""A kernel on disk, or in a bucket: a zarr array whose chunks are its tiles.

    <store>/<key>/zarr.json     sizes, and what was computed
    <store>/<key>/c/<i>/<j>     the tile of blocks i and j, with its checksum

A tile is whole or absent: zarr moves a file into its place when it is written, and a
bucket takes an object whole. One whose checksum is not that of its bytes counts as
absent. Of a kernel of one set of points the upper half is all that there is.
"""

import contextlib
import dataclasses
import logging
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import fsspec
import jax
import numpy as np
import zarr
from jax.experimental import multihost_utils
from zarr.codecs import Crc32cCodec
from zarr.errors import ContainsArrayError

from zoo.tiles.grid import Grid

Place = Any  # what zarr opens: a path, a URL that fsspec knows, a store of its own

STALE = 3600  # seconds after which no tile is still being written

log = logging.getLogger(__name__)


class PlaceError(ValueError):
    """Nothing can be stored there; the message begins with "store=..."."""

    def __init__(self, store: Place, why: object):
        super().__init__(
            f"store={store} cannot be used: {why}. It takes a folder, or an address "
            "that fsspec knows, such as gs://bucket/kernels with gcsfs installed."
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Stored:
    """A kernel [n1 r, n2 r] whose tiles are in a store.

    Attributes:
        array: of zarr, [rows r, columns r] of whole tiles; 0 beyond the points, and NaN
            where no tile is stored.
        grid: which tiles there are.
        per_point: rows r of a point.
    """

    array: zarr.Array
    grid: Grid
    per_point: int

    @property
    def shape(self) -> tuple[int, int]:
        """(n1 r, n2 r)."""
        return self.grid.rows * self.per_point, self.grid.columns * self.per_point

    @property
    def nbytes(self) -> int:
        """Size of all its tiles."""
        return self.grid.count * self.tile_bytes

    @property
    def tile_bytes(self) -> int:
        """Size of one tile."""
        return (self.grid.side * self.per_point) ** 2 * self.array.dtype.itemsize

    def tile(self, i: int, j: int) -> np.ndarray:
        """One tile [b r, b r], as it was computed.

        Raises:
            ValueError: it is not stored, or its bytes are not those that were.
        """
        found = self._read(i, j)
        if found is None:
            raise ValueError(f"{self._named(i, j)} is not stored.")
        return found

    def write(self, i: int, j: int, tile: np.ndarray) -> None:
        """Stores one tile; 0 beyond the last points."""
        kept = np.zeros(tile.shape, self.array.dtype)
        height, width = (self.shape[k] - b * len(tile) for k, b in enumerate((i, j)))
        kept[:height, :width] = tile[:height, :width]
        self.array[self._place(i, j)] = kept

    def absent(self) -> list[tuple[int, int]]:
        """Tiles that this process has yet to compute: it reads all that are its own."""
        return [pair for pair in self.own() if not self._holds(*pair)]

    def own(self) -> list[tuple[int, int]]:
        """The tiles of this process, every P-th of P processes."""
        return self.grid.pairs()[jax.process_index() :: jax.process_count()]

    def sweep(self) -> None:
        """Removes files that a killed process left unfinished in a folder long ago."""
        root = getattr(self.array.store, "root", None)
        if not isinstance(root, Path):
            return
        for part in (root / self.array.path).rglob("*.partial"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - part.stat().st_mtime > STALE:
                    part.unlink()

    def product(self, c: np.ndarray) -> np.ndarray:
        """Theta c for c [n2 r, m], in float64.

        Every tile is read once, for both of its places, by the process whose own it is,
        two at a time.
        """
        side = self.grid.side * self.per_point
        height, width = self.grid.blocks
        c = np.asarray(c, np.float64)
        filled = np.zeros((width * side, c.shape[1]))
        filled[: len(c)] = c
        known = filled.reshape(width, side, -1)
        total = np.zeros((height, side, c.shape[1]))
        for (i, j), tile in self._stream():
            total[i] += tile @ known[j]
            if self.grid.symmetric and i != j:
                total[j] += tile.T @ known[i]
        return summed(total.reshape(height * side, -1)[: self.shape[0]])

    def _stream(self) -> Iterator[tuple[tuple[int, int], np.ndarray]]:
        """This process's tiles, the next one read while one is in use."""
        own = self.own()
        with ThreadPoolExecutor(1) as reader:
            ahead = [reader.submit(self.tile, *pair) for pair in own[:1]]
            for k, pair in enumerate(own):
                tile = ahead.pop().result()
                after = own[k + 1 : k + 2]
                ahead = [reader.submit(self.tile, *pair) for pair in after]
                yield pair, tile

    def _holds(self, i: int, j: int) -> bool:
        try:
            return self._read(i, j) is not None
        except ValueError as error:
            log.warning("%s; it is computed again.", error)
            return False

    def _read(self, i: int, j: int) -> np.ndarray | None:
        """One tile; None where it is not stored, an error where it is corrupt."""
        try:
            found = np.asarray(self.array[self._place(i, j)])
        except ValueError as error:
            said = f"{self._named(i, j)} is corrupt: {error}"
            raise ValueError(" ".join(said.split())) from error
        return None if np.isnan(found).any() else found

    def _place(self, i: int, j: int) -> tuple[slice, slice]:
        side = self.grid.side * self.per_point
        return slice(i * side, (i + 1) * side), slice(j * side, (j + 1) * side)

    def _named(self, i: int, j: int) -> str:
        return f"tile {i}, {j} of the kernel at {self.array.store_path}"


def summed(part: np.ndarray) -> np.ndarray:
    """The sum over processes, the same bits on each."""
    if jax.process_count() == 1:
        return part
    with jax.enable_x64(True):
        return np.sum(multihost_utils.process_allgather(part), axis=0)


def check_place(store: Place) -> None:
    """Refuses an address of no file system, and a folder below a file.

    Raises:
        PlaceError: nothing can be stored there.
    """
    try:
        why = _fault(store) if isinstance(store, (str, Path)) else None
    except (ImportError, OSError, ValueError) as error:
        raise PlaceError(store, error) from error
    if why:
        raise PlaceError(store, why)


def _fault(store: str | Path) -> str | None:
    protocol, chained, _ = str(store).rpartition("://")
    if chained:
        fsspec.get_filesystem_class(protocol.rpartition("::")[2])
        return None
    if not str(store):
        return "it is empty"
    above = (Path(store), *Path(store).absolute().parents)
    nearest = next(path for path in above if path.exists())
    return None if nearest.is_dir() else f"{nearest} is a file"


def find(store: Place, key: str) -> Stored | None:
    """The kernel of this key; None if the store has none.

    Raises:
        ValueError: what lies there is no kernel.
        PlaceError: the store cannot be read.
    """
    try:
        array = zarr.open_array(store, path=key, mode="r+")
        said: Any = dict(array.attrs)
        grid = Grid(*(said[field.name] for field in dataclasses.fields(Grid)))
        return Stored(array, grid, said["per_point"])
    except FileNotFoundError:
        return None
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            f"the kernel at {store}/{key} cannot be read: {error}. If its files are "
            "damaged, remove them, and it is computed again."
        ) from error
    except Exception as error:  # every file system has its own
        raise PlaceError(store, error) from error


def create(
    store: Place, key: str, grid: Grid, per_point: int, dtype: str, about: dict
) -> Stored:
    """A kernel of which no tile is stored yet; another process may have been faster.

    Raises:
        PlaceError: the store cannot be written.
    """
    side = grid.side * per_point
    said: Any = dataclasses.asdict(grid) | {"per_point": per_point, "about": about}
    try:
        zarr.create_array(
            store,
            name=key,
            shape=tuple(blocks * side for blocks in grid.blocks),
            chunks=(side, side),
            dtype=dtype,
            fill_value=np.nan,
            compressors=[Crc32cCodec()],
            attributes=said,
        )
    except ContainsArrayError:
        pass
    except Exception as error:
        raise PlaceError(store, error) from error
    made = find(store, key)
    assert made is not None
    return made
