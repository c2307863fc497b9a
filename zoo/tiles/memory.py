"""Memory that tiles take, predicted before any is computed, and refused with numbers.

The compiler says what its program of one tile holds at a time. On the host are a
finished tile, while it is checked and stored, and its copies.
"""

import math
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import jax
import psutil

# Not all in use at a time: glibc was seen to keep five more that it was given back.
HOST_COPIES = 7


class Memory(NamedTuple):
    """What one process takes while it computes tiles, in bytes.

    Attributes:
        device: on each device, by the compiler's account.
        host: beside it, on the host.
        result: the kernel, all tiles, where it is stored.
        side: points along a side of a tile.
    """

    device: int
    host: int
    result: int
    side: int


def program_bytes(compiled: Any) -> int:
    """What a compiled program holds at a time on one device, arguments included."""
    found = compiled.memory_analysis()
    return (
        found.argument_size_in_bytes
        + found.output_size_in_bytes
        + found.temp_size_in_bytes
        + found.generated_code_size_in_bytes
    )


def available(devices: Sequence[jax.Device]) -> tuple[int, int]:
    """Free bytes on each device and on the host; CPU devices share the host's."""
    host = psutil.virtual_memory().available
    if devices[0].platform == "cpu":
        return host // len(devices), host
    free = []
    for device in devices:
        found = device.memory_stats() or {}
        free.append(found.get("bytes_limit", host) - found.get("bytes_in_use", 0))
    return min(free), host


def require(
    predict: Callable[[int], Memory],
    side: int,
    devices: Sequence[jax.Device],
    max_memory: int | None = None,
) -> Memory:
    """What tiles of this side take, if it is there.

    Args:
        predict: memory for a side.
        side: points along a side of a tile.
        devices: those of this process.
        max_memory: bytes that a device, and the host, may give at most; None is all
            that is free.

    Raises:
        ValueError: with the bytes wanted and available, and the largest side that fits.
    """
    wanted = predict(side)
    short = _short(wanted, devices, max_memory)
    if not short:
        return wanted
    fits = side
    while fits > 1 and short:
        fits = min(fits - 1, max(1, math.isqrt(int(fits**2 / short))))
        short = _short(predict(fits), devices, max_memory)
    advice = f"the largest that fits is {fits}" if not short else "not even 1 x 1 fits"
    device, host = (_least(free, max_memory) for free in available(devices))
    raise ValueError(
        f"a tile of {side} x {side} points wants {wanted.device:,} bytes on each of "
        f"{len(devices)} devices ({device:,} available) and {wanted.host:,} bytes "
        f"beside them on the host ({host:,} available); {advice}."
    )


def _least(free: int, max_memory: int | None) -> int:
    return free if max_memory is None else min(free, max_memory)


def _short(wanted: Memory, devices: Sequence[jax.Device], most: int | None) -> float:
    """How many times more is wanted than there is; 0 where it fits."""
    device, host = (_least(free, most) for free in available(devices))
    shared = devices[0].platform == "cpu"
    beside = wanted.host + (wanted.device * len(devices) if shared else 0)
    worst = max(beside / host, wanted.device / device)
    return worst if worst > 1 else 0.0
