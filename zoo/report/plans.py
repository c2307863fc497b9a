"""What a sweep will take, as text."""

import io
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from zoo.gap.plan import Width

COLUMNS = (
    "width",
    "cells",
    "parameters",
    "FLOPs a cell",
    "peak memory",
    "preparing",
    "running",
)
UNITS = ("B", "KiB", "MiB", "GiB", "TiB")


def table(widths: Sequence[Width]) -> str:
    """A row for each width, and the whole sweep."""
    grid = Table(title="Before anything runs")
    for column in COLUMNS:
        grid.add_column(column, justify="right")
    for width in widths:
        work = width.work
        grid.add_row(
            str(width.width),
            f"{width.cells} of {width.seeds} seeds",
            f"{work.parameters:,}",
            f"{width.seeds * (work.training + work.kernels):.3g}",
            size(width.bytes),
            seconds(width.preparing),
            "does not fit" if width.running is None else seconds(width.running),
        )
    out = io.StringIO()
    Console(file=out, width=120).print(grid)
    return out.getvalue() + total(widths)


def total(widths: Sequence[Width]) -> str:
    """The whole sweep in one sentence.

    Example:
        >>> total([])
        'In all 0 s, 0 s of it to prepare.'
    """
    preparing = sum(width.preparing for width in widths)
    running = sum(width.running or 0.0 for width in widths)
    said = (
        f"In all {seconds(preparing + running)}, {seconds(preparing)} of it to prepare."
    )
    wide = [str(width.width) for width in widths if width.running is None]
    return said + (f" Without widths {', '.join(wide)}." if wide else "")


def size(count: float | int) -> str:
    """Bytes in a few digits.

    Example:
        >>> size(1536), size(3 * 2**30)
        ('1.5 KiB', '3 GiB')
    """
    unit = 0
    while count >= 1024 and unit + 1 < len(UNITS):
        count, unit = count / 1024, unit + 1
    return f"{count:.3g} {UNITS[unit]}"


def seconds(count: float | int) -> str:
    """A time in a few digits.

    Example:
        >>> seconds(3.14159), seconds(600), seconds(86400)
        ('3.1 s', '10 min', '24 h')
    """
    if count < 120:
        return f"{count:.2g} s" if count < 10 else f"{count:.0f} s"
    return f"{count / 60:.0f} min" if count < 7200 else f"{count / 3600:.3g} h"
