"""What a kernel is computed from, and the key under which it is stored."""

import contextlib
import hashlib
import importlib.metadata
import json
import platform
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

from zoo.tiles.describe import LIBRARIES, describe, digest

ZOO = Path(__file__).parents[1]
# Files that enter every key, by a checksum.
NETWORKS = ("graphs.py", "layers/*.py", "models/*.py")
TILES = ("tiles/fill.py", "tiles/grid.py", "tiles/stored.py")


class Source(NamedTuple):
    """A kernel of pairs of points, tile by tile.

    Attributes:
        tile: `tile(operands, x1, x2)` of points [b, ...] gives [b r, b r]; where x2 is
            None, of x1 with itself. JAX traces it.
        operands: arrays that all tiles share, such as parameters.
        kind: which kernel of a network.
        net: the network.
        code: files under zoo/ that make its kernel, beside `TILES` and `NETWORKS`.
        devices: of this process, those that compute.
        per_point: rows r of a point: outputs, where they share the kernel.
        dtype: of the tiles that are kept.
        numerics: the context in which it is traced and run.
    """

    tile: Callable[[Any, Any, Any], jax.Array]
    operands: Any
    kind: str
    net: Any
    code: tuple[str, ...]
    devices: tuple[jax.Device, ...]
    per_point: int = 1
    dtype: str = "float64"
    numerics: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext


def kernel_key(source: Source, x1: np.ndarray, x2: np.ndarray | None) -> str:
    """16 hexadecimal digits of all that the kernel depends on.

    Raises:
        TypeError: as `describe`.
    """
    everything = [
        about(source),
        source.dtype,
        source.per_point,
        describe([x1, x2]),
        describe(source.operands),
    ]
    text = json.dumps(everything, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def about(source: Source) -> dict[str, Any]:
    """What the kernel depends on beside the points and the operands, for JSON.

    Raises:
        TypeError: as `describe`.
    """
    known = {"kernel": source.kind, "network": describe(source.net)}
    return known | {"versions": versions(source.code)}


def versions(code: tuple[str, ...]) -> dict[str, str]:
    """What computes: Python, libraries, and a checksum of the zoo's code."""
    patterns = TILES + NETWORKS + code
    files = [path for pattern in patterns for path in sorted(ZOO.glob(pattern))]
    found = {name: importlib.metadata.version(name) for name in LIBRARIES}
    found["python"] = ".".join(platform.python_version_tuple()[:2])
    return found | {"code": digest(path.read_bytes() for path in files)}
