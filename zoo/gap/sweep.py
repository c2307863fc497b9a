"""Cells of an experiment: each measured once, kept on disk, then read back."""

import importlib.metadata
import platform
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from zoo.gap import store

PACKAGES = ("jax", "jaxlib", "flax", "optax", "neural-tangents", "numpy", "scipy")
Arrays = dict[str, np.ndarray]
Report = Callable[[str, float], None]


class Cell(NamedTuple):
    """A part of an experiment that is measured, and stored, at once.

    Attributes:
        name: of its folder.
        work: its share of the whole, in any unit.
        measure: what it measures, by name.
        about: what `run.json` holds besides, asked after it was measured.
        config: what it depends on beside the configuration of the whole.
    """

    name: str
    work: float
    measure: Callable[[], Arrays]
    about: Callable[[], dict[str, Any]] = dict
    config: Mapping[str, Any] = MappingProxyType({})


def measure_cells(
    cells: Sequence[Cell], workdir: Path, config: dict[str, Any], report: Report
) -> tuple[list[Arrays], float]:
    """The arrays of all cells, and the seconds that measuring them took in all.

    A cell whose arrays lie in `workdir`, whole and of this configuration, is not
    measured again.

    Args:
        cells: in the order in which they are measured.
        workdir: opened by `zoo.gap.store.open_workdir`.
        config: plain values; those that `open_workdir` was given.
        report: called with a message and the share of the work that is done.
    """
    done = np.cumsum([cell.work for cell in cells])
    found, seconds = [], 0.0
    for cell, share in zip(cells, done / done[-1], strict=True):
        folder, own = workdir / "cells" / cell.name, {**config, **cell.config}
        arrays = store.read_cell(folder, own)
        if arrays is None:
            began = time.monotonic()
            arrays = cell.measure()
            took = time.monotonic() - began
            said = {"seconds": took, "versions": versions(), **cell.about()}
            store.write_cell(folder, own, arrays, said)
            report(f"{cell.name}: {took:.1f} s", share)
        else:
            report(f"{cell.name}: on disk", share)
        found.append(arrays)
        seconds += store.cell_seconds(folder)
    return found, seconds


def versions() -> dict[str, str]:
    """Versions of Python and of the packages that the numbers depend on."""
    found = {name: importlib.metadata.version(name) for name in PACKAGES}
    own = {"python": platform.python_version(), "git": git_state()}
    return own | found | {"device": jax.devices()[0].device_kind}


def git_state() -> str:
    """Commit of this source tree, with "+" if files differ from it; "" if installed."""
    folder = Path(__file__).parent
    if "site-packages" in folder.parts:
        return ""
    command = ["git", "describe", "--always", "--dirty=+", "--abbrev=40"]
    try:
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    except OSError:
        return ""
    return done.stdout.strip()
