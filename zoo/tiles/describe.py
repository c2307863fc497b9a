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
from typing import Any, NamedTuple, TypeVar, get_args, get_origin

import flax.linen as nn
import jax
import numpy as np

LIBRARIES = ("jax", "jaxlib", "flax", "numpy", "neural-tangents")
ROOMS = ("zoo.graphs", "zoo.layers", "zoo.models")  # their files enter every key
LOADS = ("LOAD_GLOBAL", "LOAD_NAME")
UNCOUNTED = {
    *("__module__", "__doc__", "__annotations__", "__orig_bases__", "__parameters__"),
    *("__type_params__", "__static_attributes__", "__firstlineno__", "_abc_impl"),
    *("__dataclass_fields__", "__dataclass_params__"),
}
SLOTS = (
    types.GetSetDescriptorType,
    types.MemberDescriptorType,
    types.MethodDescriptorType,
    types.WrapperDescriptorType,
)
KNOWN = {name.replace("-", "_") for name in LIBRARIES} | sys.stdlib_module_names


class _Empty(nn.Module):
    """What every Flax module has of its own."""

    @property
    def wrapped(self) -> None:
        """As Flax wraps what is read as an attribute."""


JITTED = set(vars(jax.jit(lambda: None))) - {"__wrapped__"}  # `wraps` copies them
WRAPPER = type(vars(_Empty)["wrapped"]).__mro__[1]


class _Pair(NamedTuple):
    """What every named tuple has of its own."""


def describe(value: Any) -> Any:
    """Plain values for JSON, equal only for what computes the same.

    Raises:
        TypeError: for what has no such description.
    """
    return _describe(value, [], "")


def digest(parts: Iterable[Any]) -> str:
    """The SHA-256 of bytes one after the other, in hexadecimal digits."""
    total = hashlib.sha256()
    for part in parts:
        total.update(part)
    return total.hexdigest()


def _describe(value: Any, seen: list[Any], where: str) -> Any:
    """`seen` are the objects on the way, of which each is described once."""
    name = _library_name(value)
    if name or value is None:
        return name and {"name": name}
    found = _plain(value)
    if found is None:
        found = _items(value, seen, where)
    if found is None:
        return _object(value, seen, where)
    if _known(type(value).__module__):
        return found
    rest = {"class": type(value), "attributes": getattr(value, "__dict__", {})}
    return {"value": found} | _each(rest, seen, where)


def _each(parts: dict[str, Any], seen: list[Any], where: str) -> dict[str, Any]:
    dot = "." if where else ""
    return {
        name: _describe(part, seen, f"{where}{dot}{name.removeprefix('.')}")
        for name, part in parts.items()
    }


def _items(value: Any, seen: list[Any], where: str) -> Any:
    """Of a collection; None of anything else."""
    each = functools.partial(_describe, seen=seen)
    if isinstance(value, Mapping):
        found = [
            [json.dumps(each(k, where=where), sort_keys=True), v, f"{where}[{k!r}]"]
            for k, v in value.items()
        ]
        if not seen:  # parameters, whose order is that of their names
            found.sort(key=lambda item: item[0])
        other = getattr(value, "default_factory", None)
        items = [[k, each(v, where=at)] for k, v, at in found]
        return {"items": items, "default": each(other, where=where)}
    if isinstance(value, (tuple, list)):
        return [each(v, where=f"{where}[{i}]") for i, v in enumerate(value)]
    if isinstance(value, (set, frozenset)):
        texts = [json.dumps(each(v, where=where), sort_keys=True) for v in value]
        return {"set": sorted(texts)}
    return None


def _object(value: Any, seen: list[Any], where: str) -> Any:
    for number, other in enumerate(seen):
        if other is value:
            return {"again": number}
    seen.append(value)
    parts = _parts(value)
    if parts is None:
        place = f", at {where}" if where else ""
        raise TypeError(
            f"a kernel cannot be stored under {' '.join(repr(value).split())}{place}: "
            "it is no number, text, array, dataclass or function; store=None keeps the "
            "kernel in memory, and takes anything."
        )
    return _each(parts, seen, where)


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
        case property() | types.DynamicClassAttribute():
            return {"property": value.fget}
        case functools.partial() | functools.partialmethod():
            return {"partial": [value.func, value.args, value.keywords]}
        case functools.cached_property():
            return {"property": value.func}
        case _ if isinstance(value, WRAPPER):
            return {"attribute": value.wrapped}
        case functools._lru_cache_wrapper():
            return {"cached": value.__wrapped__}
        case types.BuiltinFunctionType():
            return {"builtin": value.__name__, "of": value.__self__}
        case _ if isinstance(value, SLOTS):
            return {"slot": value.__name__, "of": value.__objclass__}
        case TypeVar():
            return {"variable": value.__name__}
        case _ if get_origin(value) is not None:
            return {"generic": get_origin(value), "of": get_args(value)}
        case jax.stages.Wrapped():  # of jax.jit
            return {"jit": inspect.unwrap(value, stop=inspect.isfunction)}
        case types.ModuleType() if getattr(value, "__file__", None):
            return {"module": _file(Path(str(value.__file__)))}
        case type():
            return {"class": _full_name(value), "bases": value.__bases__} | _own(value)
        case _ if dataclasses.is_dataclass(value):
            return {"class": type(value)} | _fields(value)
    return None


def _fields(value: Any) -> dict[str, Any]:
    """Of a dataclass, and what else its `__init__` has set if it is no Flax module."""
    names = [f.name for f in dataclasses.fields(value) if f.name != "parent"]
    if not isinstance(value, nn.Module):
        names += sorted(set(getattr(value, "__dict__", ())) - set(names))
    cached = functools.cached_property
    return {
        f".{name}": getattr(value, name)
        for name in names
        if not isinstance(getattr(type(value), name, None), cached)
    }


def _function(function: types.FunctionType) -> dict[str, Any]:
    """Bytecode, and the values that it uses beside its arguments."""
    names = sorted(set(vars(function)) - JITTED)
    found = {
        "code": [_bytecode(code) for code in _codes(function.__code__)],
        "defaults": [function.__defaults__, function.__kwdefaults__],
        "attributes": {name: vars(function)[name] for name in names},
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
    """A class's own methods and attributes, and its fields in their order."""
    own = vars(cls)
    names = sorted(set(own) - _uncounted(cls))
    found = {f".{name}": own[name] for name in names if not _generated(own[name])}
    fields = own.get("__dataclass_fields__", {}).values()
    return found | {"fields": [_field(f) for f in fields if f.name != "parent"]}


def _uncounted(cls: type) -> set[str]:
    """Names that Python or Flax gives to a class, beside its own."""
    names = set(UNCOUNTED)
    if issubclass(cls, nn.Module):
        names |= set(vars(_Empty)) - {"__init__", "wrapped"}
    if issubclass(cls, enum.Enum):
        names |= {name for name in vars(cls) if name[:1] == name[-1:] == "_" != name[1]}
    if issubclass(cls, tuple) and "_fields" in vars(cls):
        names |= {*vars(_Pair), *vars(cls)["_fields"]} - {"_fields", "_field_defaults"}
    return names


def _generated(value: Any) -> bool:
    """Whether it is a method that `dataclass` has made from the fields."""
    made = inspect.unwrap(value) if inspect.isfunction(value) else None
    return inspect.isfunction(made) and "__create_fn__" in made.__code__.co_qualname


def _field(field: dataclasses.Field) -> list[Any]:
    """Its name, and what a call that does not give it takes."""
    missing = dataclasses.MISSING
    given = [[v] for v in (field.default, field.default_factory) if v is not missing]
    return [field.name, given, field.init, field.kw_only is True]


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
