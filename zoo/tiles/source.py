"""What a kernel is computed from, and the key under which it is stored."""

import contextlib
import dataclasses
import functools
import hashlib
import importlib.metadata
import inspect
import json
import numbers
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np

ZOO = Path(__file__).parents[1]
NETWORKS = ("graphs.py", "layers/*.py", "models/*.py")
LIBRARIES = ("jax", "jaxlib", "flax", "neural-tangents")


class Source(NamedTuple):
    """A kernel of pairs of points, tile by tile.

    Attributes:
        tile: `tile(operands, x1, x2)` of points [b, ...] gives [b r, b r]; where x2 is
            None, of x1 with itself. JAX traces it.
        operands: arrays that all tiles share, such as parameters.
        about: what the kernel depends on beside the points; see `describe`.
        devices: of this process, those that compute.
        per_point: rows r of a point: outputs, where they share the kernel.
        dtype: of the tiles that are kept.
        numerics: the context in which it is traced and run.
    """

    tile: Callable[[Any, Any, Any], jax.Array]
    operands: Any
    about: dict[str, Any]
    devices: tuple[jax.Device, ...]
    per_point: int = 1
    dtype: str = "float64"
    numerics: Callable[[], contextlib.AbstractContextManager] = contextlib.nullcontext


def kernel_key(source: Source, x1: np.ndarray, x2: np.ndarray | None) -> str:
    """16 hexadecimal digits of all that the kernel depends on."""
    everything = [
        source.about,
        source.dtype,
        source.per_point,
        describe([x1, x2]),
        describe(source.operands),
    ]
    text = json.dumps(everything, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def describe(value: Any) -> Any:
    """Plain values, equal for what computes the same; arrays as their checksums.

    Raises:
        TypeError: for what has no such description.
    """
    if value is None or isinstance(value, (bool, str)):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value).hex()
    if isinstance(value, (np.ndarray, jax.Array)):
        return _checksum(np.asarray(value))
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = [f.name for f in dataclasses.fields(value)]
        own = {name: getattr(value, name) for name in fields}
        own = {k: v for k, v in own.items() if k not in ("parent", "name")}  # Flax's
        return [_name(type(value)), describe(own)]
    if isinstance(value, Mapping):
        return {str(k): describe(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [describe(v) for v in value]
    if isinstance(value, functools.partial):
        return ["partial", *map(describe, (value.func, value.args, value.keywords))]
    if inspect.isfunction(value) or inspect.isclass(value):
        return [_name(value), _digest([inspect.getsource(value).encode()])]
    raise TypeError(
        f"a kernel cannot be stored under {value!r}: it is no number, text, array, "
        "dataclass or function."
    )


def versions(net: Any, *kernels: str) -> dict[str, str]:
    """What computes: libraries, and a checksum of the code.

    Args:
        net: a network, whose own file counts where it is not the zoo's.
        kernels: files under zoo/ that make its kernel, beside `NETWORKS`.
    """
    patterns = NETWORKS + kernels
    files = [path for pattern in patterns for path in sorted(ZOO.glob(pattern))]
    own = Path(inspect.getfile(type(net))).resolve()
    if ZOO not in own.parents:
        files.append(own)
    found = {name: importlib.metadata.version(name) for name in LIBRARIES}
    return found | {"code": _digest(path.read_bytes() for path in files)}


def _name(of: Any) -> str:
    return f"{of.__module__}.{of.__qualname__}"


def _digest(parts: Iterable[Any]) -> str:
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()


def _checksum(array: np.ndarray) -> str:
    kind = f"{array.dtype.str}{array.shape}".encode()
    return _digest([kind, np.ascontiguousarray(array).reshape(-1).view(np.uint8)])
