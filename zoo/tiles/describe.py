"""Plain values for what a kernel depends on: equal only for what computes the same.

A library's functions and classes are known by name, since its version is stated beside.
Others are their bytecode, with the defaults, the closure and the globals that they use;
classes are their methods and attributes, and modules their files. So what is typed into
a notebook has a description too.
"""

import dataclasses
import dis
import enum
import functools
import hashlib
import inspect
import json
import numbers
import sys
import types
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import flax.linen as nn
import jax
import numpy as np

LIBRARIES = ("jax", "jaxlib", "flax", "numpy", "neural-tangents")
ROOMS = ("zoo.graphs", "zoo.layers", "zoo.models")  # their files enter every key
LOADS = ("LOAD_GLOBAL", "LOAD_NAME")
KNOWN = {name.replace("-", "_") for name in LIBRARIES} | sys.stdlib_module_names


class _Empty(nn.Module):
    """What every Flax module has of its own."""


def describe(value: Any) -> Any:
    """Plain values for JSON, equal only for what computes the same.

    Raises:
        TypeError: for what has no such description.
    """
    return _describe(value, [])


def digest(parts: Iterable[Any]) -> str:
    """The SHA-256 of bytes one after the other, in hexadecimal digits."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()


def _describe(value: Any, seen: list[Any]) -> Any:
    """`seen` are the objects on the way, of which each is described once."""
    each = functools.partial(_describe, seen=seen)
    name = _library_name(value)
    if name:
        return {"name": name}
    found = _plain(value)
    if found is not None or value is None:
        return found
    if isinstance(value, Mapping):
        return {json.dumps(each(k), sort_keys=True): each(v) for k, v in value.items()}
    if isinstance(value, (tuple, list)):
        return [each(v) for v in value]
    if isinstance(value, (set, frozenset)):
        return {"set": sorted(json.dumps(each(v), sort_keys=True) for v in value)}
    for number, other in enumerate(seen):
        if other is value:
            return {"again": number}
    seen.append(value)
    parts = _parts(value)
    if parts is None:
        raise TypeError(
            f"a kernel cannot be stored under {' '.join(repr(value).split())}: it is "
            "no number, text, array, dataclass or function; store=None keeps the "
            "kernel in memory, and takes anything."
        )
    return {k: each(v) for k, v in parts.items()}


def _plain(value: Any) -> Any:
    """Of what has no parts; None of anything else."""
    if isinstance(value, (np.ndarray, np.generic, jax.Array)):
        return {"array": _checksum(np.asarray(value))}
    if isinstance(value, enum.Enum):
        return {"enum": f"{_full_name(type(value))}.{value.name}"}
    if isinstance(value, (bool, str)):
        return value
    if isinstance(value, numbers.Integral):
        return int(value)
    if isinstance(value, numbers.Real):
        return {"float": float(value).hex()}
    if isinstance(value, (complex, bytes, np.dtype, type(...))):
        return {"repr": repr(value)}
    return None


def _parts(value: Any) -> dict[str, Any] | None:
    """What an object consists of; None of what is unknown."""
    match value:
        case types.FunctionType():
            return {"function": value.__qualname__} | _function(value)
        case types.MethodType():
            return {"method": value.__func__, "of": value.__self__}
        case staticmethod() | classmethod():
            return {type(value).__name__: value.__func__}
        case property():
            return {"property": value.fget}
        case functools.partial():
            return {"partial": [value.func, value.args, value.keywords]}
        case functools.cached_property():
            return {"property": value.func}
        case jax.stages.Wrapped():  # of jax.jit
            return {"jit": inspect.unwrap(value, stop=inspect.isfunction)}
        case types.ModuleType() if getattr(value, "__file__", None):
            return {"module": _file(Path(str(value.__file__)))}
        case type():
            return {"class": _full_name(value), "bases": value.__bases__} | _own(value)
        case _ if dataclasses.is_dataclass(value):
            names = [f.name for f in dataclasses.fields(value) if f.name != "parent"]
            fields = {name: getattr(value, name) for name in names}
            return {"class": type(value)} | {f".{k}": v for k, v in fields.items()}
    return None


def _function(function: types.FunctionType) -> dict[str, Any]:
    """Bytecode, and the values that it uses beside its arguments."""
    found = {
        "code": [_bytecode(code) for code in _codes(function.__code__)],
        "defaults": [function.__defaults__, function.__kwdefaults__],
        "closure": [cell.cell_contents for cell in function.__closure__ or ()],
    }
    if _known(function.__globals__["__name__"]):
        return found
    used = {
        step.argval: function.__globals__[step.argval]
        for code in _codes(function.__code__)
        for step in dis.get_instructions(code)
        if step.opname in LOADS and step.argval in function.__globals__
    }
    return found | {"globals": used}


def _codes(code: types.CodeType) -> Iterator[types.CodeType]:
    """Of a function, and of those that are defined in it."""
    yield code
    for constant in code.co_consts:
        if inspect.iscode(constant):
            yield from _codes(constant)


def _bytecode(code: types.CodeType) -> list[Any]:
    constants = [c for c in code.co_consts if not inspect.iscode(c)]
    return [code.co_code, code.co_exceptiontable, code.co_names, constants]


def _file(path: Path) -> str:
    """A checksum of a module's file, or of all files of a package."""
    package = path.name == "__init__.py"
    files = sorted(path.parent.rglob("*.py")) if package else [path]
    return digest(file.read_bytes() for file in files)


def _own(cls: type) -> dict[str, Any]:
    """A class's own methods and attributes; its fields are its instances'."""
    fields = getattr(cls, "__dataclass_fields__", ())
    names = sorted(set(vars(cls)) - set(vars(_Empty)) - set(fields))
    return {f".{name}": vars(cls)[name] for name in names}


def _library_name(value: Any) -> str | None:
    """The full name of what a library or the zoo defines, if that leads back to it."""
    if inspect.ismodule(value):
        return value.__name__ if _known(value.__name__) else None
    try:
        name = f"{value.__module__}.{getattr(value, '__qualname__', value.__name__)}"
        path = name.removeprefix(f"{value.__module__}.").split(".")
        found = functools.reduce(getattr, path, sys.modules[value.__module__])
    except (AttributeError, KeyError, TypeError):
        return None
    return name if found is value and _known(value.__module__) else None


def _known(module: str) -> bool:
    """Whether the version of a module, or its code, is in every key."""
    return module.split(".")[0] in KNOWN or any(
        module == room or module.startswith(f"{room}.") for room in ROOMS
    )


def _full_name(of: type) -> str:
    return f"{of.__module__}.{of.__qualname__}"


def _checksum(array: np.ndarray) -> str:
    kind = f"{array.dtype}{array.shape}".encode()
    return digest([kind, np.ascontiguousarray(array).reshape(-1).view(np.uint8)])
