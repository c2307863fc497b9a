"""From names and values, as flags state them, to a network of some width."""

import dataclasses
import importlib
import types
import typing
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from zoo.data import Dataset, load
from zoo.layers import ACTIVATIONS
from zoo.models import ARCHITECTURES, Architecture
from zoo.names import check_name

OWN = frozenset({"parent", "name"})  # fields that Flax adds to every module


def find_architecture(arch: str) -> type[nn.Module]:
    """The class of a name in `zoo.models.ARCHITECTURES`, or of "package.module:Class".

    Raises:
        ValueError: the name is unknown, or it is not a Flax Linen module.
    """
    if ":" not in arch:
        check_name("--arch", arch, ARCHITECTURES)
        return ARCHITECTURES[arch]
    found = find_object("--arch", arch)
    if not (isinstance(found, type) and issubclass(found, nn.Module)):
        raise ValueError(f"--arch={arch} is not a class of Flax Linen modules.")
    return found


def find_object(flag: str, name: str) -> Any:
    """What "package.module:name" names."""
    module, _, attribute = name.partition(":")
    try:
        return getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError, ValueError) as error:
        raise ValueError(f"{flag}={name} cannot be imported: {error}") from error


def build(
    arch: str, width: int, out: int, options: dict[str, Any], **given: Any
) -> nn.Module:
    """The network of this width.

    Args:
        arch: as for `find_architecture`.
        width: its width.
        out: its number of outputs, from the data.
        options: hyper-parameters by name; strings are read as their field's type. A
            network inside the network is an architecture's name, and what follows its
            field's name and a dot are its hyper-parameters: {"net": "neural_field",
            "net.omega": "2"}.
        given: what the data supplies, such as a graph; taken if there is a field.

    Raises:
        ValueError: an option is no hyper-parameter of the network, or its value is
            refused.
    """
    network = find_architecture(arch)
    fields = {
        field.name: field.type
        for field in dataclasses.fields(network)
        if field.name not in OWN
    }
    if "width" not in fields:
        raise ValueError(
            f"--arch={arch} has no field 'width', which the experiment varies."
        )
    supplied = {"width": width, "out": out} | given
    values = {name: value for name, value in supplied.items() if name in fields}
    for name, value in options.items():
        holder = name.partition(".")[0]
        if holder != name and holder in options and fields.get(holder) is Architecture:
            continue
        if name in supplied:
            raise ValueError(f"--net={name}={value} is not allowed: {name} is given.")
        if name not in fields:
            free = sorted(fields.keys() - supplied.keys())
            raise ValueError(
                f"--arch={arch} has no hyper-parameter {name}={value}; it has "
                f"{', '.join(free) or 'none'}."
            )
        if fields[name] is Architecture and isinstance(value, str):
            values[name] = _inside(network, name, value, options)
        else:
            values[name] = _read(name, value, fields[name])
    activation = values.get("activation")
    if "sigma_w" in fields and activation in ACTIVATIONS and _follows(network):
        values.setdefault("sigma_w", ACTIVATIONS[activation].sigma_w)
    return network(**values)


def _follows(network: Any) -> bool:
    """Whether the default scale of the weights is that of the default activation."""
    activation = ACTIVATIONS.get(getattr(network, "activation", ""))
    return activation is not None and network.sigma_w == activation.sigma_w


def _inside(outer: Any, name: str, arch: str, options: dict[str, Any]) -> nn.Module:
    """The network in the field `name` of another one, which sets its width."""
    prefix = f"{name}."
    own = {k[len(prefix) :]: v for k, v in options.items() if k.startswith(prefix)}
    try:
        kind = getattr(find_architecture(arch), "inputs", "any")
        if kind != outer.inputs:
            raise ValueError(f"its inputs are of kind '{kind}', not '{outer.inputs}'.")
        return build(arch, 1, 1, own)
    except ValueError as error:
        raise ValueError(f"--net={name}={arch} is not allowed: {error}") from error


def _read(name: str, value: Any, kind: Any) -> Any:
    """A hyper-parameter from its text, by the type of its field."""
    if not isinstance(value, str):
        return value
    kinds = typing.get_args(kind) if isinstance(kind, types.UnionType) else (kind,)
    for reader in (READERS[k] for k in (bool, int, float, str) if k in kinds):
        try:
            return reader(value)
        except (KeyError, ValueError):
            continue
    raise ValueError(f"--net={name}={value} is not allowed: {name} is a {kind}.")


READERS: dict[type, Callable[[str], Any]] = {
    bool: lambda text: {"true": True, "false": False}[text.lower()],
    int: int,
    float: float,
    str: str,
}


def from_data(data: Dataset) -> dict[str, Any]:
    """What a network may take from its data beside the points."""
    return {} if data.graph is None else {"graph": data.graph}


def require_outputs(arch: str, net: nn.Module, data: Dataset) -> None:
    """Refuses a user's network that does not map the data's points to its targets."""
    x, k = jnp.asarray(data.x_train[:2]), data.y_train.shape[1]
    try:
        out: Any = jax.eval_shape(net.init_with_output, jax.random.key(0), x)[0]
    except Exception as error:  # a user's module may fail in any way
        why = str(error).partition("\n")[0]
        raise ValueError(
            f"--arch={arch} cannot be applied to inputs {x.shape} of {data.name}: {why}"
        ) from error
    if getattr(out, "shape", None) != (len(x), k):
        raise ValueError(
            f"--arch={arch} maps inputs {x.shape} of {data.name} to "
            f"{getattr(out, 'shape', 'no array')}; allowed is {(len(x), k)}: its field "
            "'out' is the number of targets."
        )


def example(
    name: str, width: int, n_train: int = 8, n_test: int = 4, **options: Any
) -> tuple[Any, Dataset]:
    """An architecture of the zoo at its smoke size, on its natural data.

    Args:
        name: in `zoo.models.ARCHITECTURES`.
        width: its width.
        n_train: train points.
        n_test: test points.
        options: hyper-parameters besides, or instead of, `Architecture.smoke`.
    """
    network = ARCHITECTURES[name]
    data = load(network.data, n_train, n_test).shaped(network.inputs)
    options = dict(network.smoke) | options
    out = data.y_train.shape[1]
    return build(name, width, out, options, **from_data(data)), data
