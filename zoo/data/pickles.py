"""Pickled NumPy arrays, read without importing or running what a pickle asks for.

A pickle is a program: it may name any function of any module and have it called. Here
only four names mean something, those that NumPy writes for an array, and none of them
means NumPy's own: small stand-ins keep the bytes, from which `numpy.frombuffer` makes
the array once the pickle is read. Numbers, strings, lists, tuples and dictionaries need
no name. Any other name ends the reading.
"""

import io
import pickle
from typing import Any

import numpy as np

NUMBERS = frozenset("b1 i1 i2 i4 i8 u1 u2 u4 u8 f2 f4 f8".split())
# What damaged or forged pickles raise in the standard library's reader.
DAMAGE = (
    pickle.UnpicklingError,
    ArithmeticError,
    AttributeError,
    EOFError,
    ImportError,
    LookupError,
    MemoryError,
    RecursionError,
    TypeError,
    ValueError,
)


class _Refused(Exception):
    """A pickle asks for a name that is not on the list."""


class _Type:
    """In the place of numpy.dtype."""

    def __init__(self, code: Any, *_: Any):
        self.code, self.order = _text(code), "|"

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        self.order = _text(state[1])

    def numpy(self) -> np.dtype:
        if self.code not in NUMBERS:
            raise ValueError(f"it has an array of the type {self.code!r}, no number")
        return np.dtype(self.order + self.code)


class _Array:
    """In the place of numpy.ndarray."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.shape, self.type, self.by_columns, self.raw = state

    def numpy(self) -> np.ndarray:
        order = "F" if self.by_columns else "C"
        flat = np.frombuffer(self.raw, self.type.numpy())
        return flat.reshape(self.shape, order=order)


def _empty(*_: Any) -> _Array:
    """In the place of the function that makes an array, to be filled by its state."""
    return _Array()


def _from_buffer(raw: Any, kind: Any, shape: Any, order: Any) -> _Array:
    """In the place of the function that makes an array in protocol 5."""
    array = _Array()
    array.__setstate__((1, shape, kind, order == "F", raw))
    return array


NAMES = {
    ("numpy", "ndarray"): _Array,
    ("numpy", "dtype"): _Type,
    ("numpy.core.multiarray", "_reconstruct"): _empty,  # NumPy 1
    ("numpy._core.multiarray", "_reconstruct"): _empty,  # NumPy 2
    ("numpy.core.numeric", "_frombuffer"): _from_buffer,
    ("numpy._core.numeric", "_frombuffer"): _from_buffer,
}


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in NAMES:
            raise _Refused(f"{module}.{name}")
        return NAMES[module, name]


def read_pickle(where: object, content: bytes) -> dict[str, Any]:
    """The dictionary in a pickle, with its arrays as NumPy arrays and keys as str.

    Strings of Python 2 are bytes.

    Args:
        where: what messages call the pickle.
        content: its bytes.

    Raises:
        ValueError: it asks for anything but arrays of numbers (nothing of it has been
            run then), is damaged, or holds no dictionary.
    """
    try:
        found = _Unpickler(io.BytesIO(content), encoding="bytes").load()
        if not isinstance(found, dict):
            raise ValueError(f"it holds a {type(found).__name__}, no dictionary")
        return {
            _text(key): value.numpy() if isinstance(value, _Array) else value
            for key, value in found.items()
        }
    except _Refused as error:
        raise ValueError(
            f"{where} is refused: its pickle asks for {error}, and only arrays of "
            "numbers are taken from pickles. It has not been run."
        ) from None
    except DAMAGE as error:
        why = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise ValueError(
            f"{where} is no pickle of arrays, or damaged: {why}."
        ) from error


def _text(name: Any) -> str:
    return name.decode("latin1") if isinstance(name, bytes) else str(name)
