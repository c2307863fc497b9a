"""What the report draws: the cells of a run by width, and their means over seeds."""

from pathlib import Path
from typing import Any

import matplotlib
import numpy as np
from scipy import stats

from zoo.gap import store
from zoo.gap.run import cell_name
from zoo.gap.summary import LARGEST, diverged

Arrays = dict[str, np.ndarray]
# Arrays of a cell that figures use: these beginnings, with seeds as first axis, and
# those that are the same in all cells of a width.
PER_SEED = ("gap_", "train_loss", "test_loss", "test_accuracy", "kernel_eigenvalues")
SHARED = ("times", "limit_eigenvalues")


def read_cells(workdir: Path, summary: dict[str, Any]) -> dict[int, Arrays]:
    """The arrays of all seeds, by width; a width without a finished cell is left out.

    Args:
        workdir: holds `cells/<arch>-w<width>-s<first>-<last>`.
        summary: of the run, with its configuration.

    Raises:
        WorkdirError: if no cell is finished.
    """
    cells = {}
    for width in summary["widths"]:
        name = cell_name(summary["arch"], width)
        folders = (workdir / "cells").glob(f"{name}-s*")
        found = [store.read_cell(folder, summary["config"]) for folder in folders]
        parts = [part for part in found if part is not None]
        if parts:
            cells[int(width)] = merge(sorted(parts, key=lambda p: int(p["seeds"][0])))
    if not cells:
        raise store.WorkdirError(f"--workdir={workdir} holds no finished cell.")
    return cells


def merge(parts: list[Arrays]) -> Arrays:
    """All seeds of one width, for the arrays that figures use."""
    seeds = {
        name: np.concatenate([part[name] for part in parts])
        for name in parts[0]
        if name.startswith(PER_SEED)
    }
    shared = {name: parts[0][name] for name in SHARED if name in parts[0]}
    return shared | seeds


def seed_mean(cell: Arrays, name: str) -> np.ndarray:
    """Mean of a series over the seeds whose networks did not diverge; [t].

    Args:
        cell: arrays of one width.
        name: a series recorded at every step, [s, t].
    """
    gone = diverged(cell)
    lost = np.zeros(len(cell[name]), bool)
    for network in networks(name):
        lost |= gone[network]
    kept = cell[name][~lost].astype(np.float64)
    if not len(kept):
        return np.full(cell[name].shape[1], np.nan)
    with np.errstate(over="ignore", invalid="ignore"):
        return np.mean(kept, axis=0)


def networks(name: str) -> tuple[str, ...]:
    """The trained networks that a recorded series depends on.

    >>> networks("gap_nonlinear"), networks("test_loss"), networks("test_loss_linear")
    (('f', 'f_lin'), ('f',), ('f_lin',))
    """
    if name in LARGEST:
        return LARGEST[name]
    if name.endswith(("_infinite", "_flow")):
        return ()
    return ("f_lin",) if name.endswith("_linear") else ("f",)


def numbers(values: Any) -> np.ndarray:
    """Numbers as float64, where null (None) becomes NaN.

    >>> numbers([1, None]).tolist()
    [1.0, nan]
    """
    return np.asarray(values, dtype=np.float64)


def half_width(metric: dict[str, Any]) -> np.ndarray:
    """Half of the 95 % interval of each mean: Student's t over seeds; [w].

    NaN with fewer than two seeds.
    """
    freedom = numbers(metric["seeds"]) - 1
    factor = stats.t.ppf(0.975, np.where(freedom > 0, freedom, np.nan))
    return factor * numbers(metric["stderr"])


def width_colours(widths: Any) -> dict[int, str]:
    """One colour per width, from light to the dark of the infinite limit (viridis).

    >>> width_colours([64, 512])
    {64: '#86d549', 512: '#440154'}
    """
    shades = matplotlib.colormaps["viridis"](np.linspace(0.82, 0.0, len(widths)))
    return {
        int(m): matplotlib.colors.to_hex(c) for m, c in zip(widths, shades, strict=True)
    }
