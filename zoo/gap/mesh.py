"""Seeds over one axis of a mesh of devices, the width of the parameters over the other.

The programs of a cell are written for the seeds of one device. `over_seeds` hands every
device its own; `along_width` splits the parameters of a seed, and the compiler follows
them through the network. The arrays are, to rounding, those of a single device.
"""

from collections.abc import Callable, Sequence
from typing import Any

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

AXES = ("seed", "width")


def make_mesh(text: str) -> Mesh:
    """The mesh of all devices, of all processes, that "seed:S,width:W" asks for.

    An axis that is not named has one place.

    Raises:
        ValueError: if it says something else, or S W is not the number of devices.

    Example:
        >>> import jax
        >>> make_mesh(f"seed:{len(jax.devices())}").shape["width"]
        1
    """
    count = len(jax.devices())
    allowed = f"seed:S,width:W with S W = {count}, the number of devices"
    named: dict[str, int] = {}
    for part in text.split(","):
        axis, _, size = part.partition(":")
        if axis not in AXES or axis in named or not size.isdecimal():
            raise ValueError(f"--mesh={text} is not allowed: it takes {allowed}.")
        named[axis] = int(size)
    shape = tuple(named.get(axis, 1) for axis in AXES)
    if np.prod(shape) != count:
        raise ValueError(f"--mesh={text} is not allowed: it takes {allowed}.")
    return jax.make_mesh(shape, AXES, axis_types=(AxisType.Auto,) * len(AXES))


def require_even(mesh: Mesh, seeds: Sequence[int], widths: Sequence[int]) -> None:
    """Refuses cells whose seeds, or widths, do not go into equal parts.

    Args:
        mesh: of `make_mesh`.
        seeds: how many each cell has.
        widths: of the networks.

    Raises:
        ValueError: naming the first of them.
    """
    for axis, values in (("seed", seeds), ("width", widths)):
        size = mesh.shape[axis]
        for value in values:
            if value % size:
                what = (
                    f"{value} seeds of a cell" if axis == "seed" else f"width {value}"
                )
                raise ValueError(
                    f"--mesh={axis}:{size} is not allowed: {what} cannot be dealt to "
                    f"{size} devices; it takes a divisor of {value}."
                )


def over_seeds(
    program: Callable[..., Any], mesh: Mesh | None, seeded: Sequence[bool]
) -> Callable[..., Any]:
    """A program of which each device runs its own seeds.

    Args:
        program: its arrays, in and out, have seeds on the first axis.
        mesh: None leaves it as it is.
        seeded: of its arguments, whether they have; others are everywhere the same.
    """
    if mesh is None:
        return program
    specs = tuple(PartitionSpec("seed") if own else PartitionSpec() for own in seeded)
    return jax.shard_map(
        program,
        mesh=mesh,
        in_specs=specs,
        out_specs=PartitionSpec("seed"),
        axis_names={"seed"},
        check_vma=False,
    )


def along_width(params: Any, mesh: Mesh | None) -> Any:
    """Parameters with their largest axis, the last of equals, split over devices."""
    if mesh is None or mesh.shape["width"] == 1:
        return params
    return jax.tree.map(
        lambda leaf: jax.lax.with_sharding_constraint(leaf, _split(leaf.shape, mesh)),
        params,
    )


def _split(shape: tuple[int, ...], mesh: Mesh) -> PartitionSpec:
    """How `along_width` splits an array."""
    largest = max(shape, default=0)
    places = [axis for axis, length in enumerate(shape) if length == largest]
    even = largest and largest % mesh.shape["width"] == 0
    axes = [
        "width" if even and axis == places[-1] else None for axis in range(len(shape))
    ]
    return PartitionSpec(*axes)


def seed_devices(mesh: Mesh | None) -> int:
    """How many devices share the seeds."""
    return 1 if mesh is None else mesh.shape["seed"]


def split(tree: Any, mesh: Mesh | None, along: str = "") -> Any:
    """Shapes [s, ...] with the devices on which they lie.

    Args:
        tree: of shapes.
        mesh: None leaves them as they are.
        along: "width" for parameters, which `along_width` splits.
    """
    if mesh is None:
        return tree

    def one(leaf: Any) -> jax.ShapeDtypeStruct:
        rest = _split(leaf.shape[1:], mesh) if along else PartitionSpec()
        where = NamedSharding(mesh, PartitionSpec("seed", *rest))
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=where)

    return jax.tree.map(one, tree)


def places(tree: Any, mesh: Mesh | None) -> Any:
    """Where the arrays lie whose shapes `split` gives; None without a mesh."""
    return None if mesh is None else jax.tree.map(lambda leaf: leaf.sharding, tree)


def shape(dims: tuple[int, ...], mesh: Mesh | None) -> jax.ShapeDtypeStruct:
    """Of whole numbers that all devices know."""
    where = None if mesh is None else NamedSharding(mesh, PartitionSpec())
    return jax.ShapeDtypeStruct(dims, np.dtype("int32"), sharding=where)


def place(arrays: tuple, mesh: Mesh | None, seeded: Sequence[bool] = ()) -> tuple:
    """Arguments where `over_seeds` wants them; each process has the whole of them."""
    if mesh is None:
        return arrays
    seeded = seeded or (False,) * len(arrays)
    specs = [PartitionSpec("seed") if own else PartitionSpec() for own in seeded]
    return tuple(
        jax.device_put(array, NamedSharding(mesh, spec))
        for array, spec in zip(arrays, specs, strict=True)
    )


def on_host(arrays: Any) -> Any:
    """NumPy arrays of all processes' seeds, in every process."""
    if jax.process_count() == 1:
        return jax.tree.map(np.asarray, arrays)
    return multihost_utils.process_allgather(arrays, tiled=True)
