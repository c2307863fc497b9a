"""Cells of an experiment: each measured once, kept on disk, then read back.

Cells are independent of each other, and several processes may measure those of one
folder at once, by shards or all of them: what another process holds is come back to. A
cell that fails is recorded, and the others go on; only a whole sweep is summed up.
"""

import contextlib
import importlib.metadata
import platform
import re
import subprocess
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import jax
import numpy as np

from zoo.gap import locks, preemption, segments, store
from zoo.gap.processes import agreed

PACKAGES = ("jax", "jaxlib", "flax", "optax", "neural-tangents", "numpy", "scipy")
PAUSE = 1.0  # seconds between two looks at what other processes hold
NAMED = 6  # cells in a message
EXHAUSTED = re.compile("RESOURCE_EXHAUSTED|Out of memory")  # as XLA says it
MEASURED, ON_DISK, HELD, FAILED = range(4)
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
        resumes: whether `measure` takes a folder, where it keeps what a later process
            can go on from; the folder goes when the cell is stored.
    """

    name: str
    work: float
    measure: Callable[..., Arrays]
    about: Callable[[], dict[str, Any]] = dict
    config: Mapping[str, Any] = MappingProxyType({})
    resumes: bool = False


class Shard(NamedTuple):
    """Every `count`-th cell from the `index`-th on, 0 <= index < count.

    Attributes:
        sums_up: whether this process does, of several that share the cells.
        helps: whether it goes on with the cells of others, where these are free.
    """

    index: int = 0
    count: int = 1
    sums_up: bool = True
    helps: bool = False


WHOLE = Shard()


class Unfinished(Exception):
    """Cells are missing, so that nothing is summed up; the message says which.

    Attributes:
        failed: how many this process could not measure.
    """

    def __init__(self, message: str, failed: int = 0):
        super().__init__(message)
        self.failed = failed


class _Sweep(NamedTuple):
    """Where cells lie, and what this process has learned of them."""

    workdir: Path
    config: dict[str, Any]
    report: Report
    seen: locks.Seen
    failed: dict[str, str]  # reasons by name
    records: dict[str, Any]  # of failures, by name, from before this process began

    def folder(self, cell: Cell) -> Path:
        return self.workdir / "cells" / cell.name

    def depends(self, cell: Cell) -> dict[str, Any]:
        return {**self.config, **cell.config}

    def read(self, cell: Cell) -> Arrays | None:
        return store.read_cell(self.folder(cell), self.depends(cell))


def measure_cells(
    cells: Sequence[Cell],
    workdir: Path,
    config: dict[str, Any],
    report: Report,
    shard: Shard = WHOLE,
) -> tuple[list[Arrays], float]:
    """The arrays of all cells, and the seconds that measuring them took in all.

    A cell whose arrays lie in `workdir`, whole and of this configuration, is not
    measured again. In a run of several processes all take part in every cell, and the
    first one reads, writes and sums up. What fails for another process meanwhile is not
    tried here as well.

    Args:
        cells: in the order in which they are measured.
        workdir: opened by `zoo.gap.store.open_workdir`.
        config: plain values; those that `open_workdir` was given.
        report: called with a message and the share of the work that is done.
        shard: the cells that this process measures.

    Raises:
        Unfinished: a cell failed, or other shards' are not all on disk.
        Preempted: the process was asked to stop.
    """
    sweep = _Sweep(workdir, config, report, {}, {}, {})
    for cell in cells:
        sweep.records[cell.name] = store.failure_version(sweep.folder(cell))
    own = list(cells[shard.index :: shard.count])
    if shard.helps:
        own += [c for k, c in enumerate(cells) if k % shard.count != shard.index]
    waiting, total, told = own, sum(cell.work for cell in own), False
    while waiting:
        held: list[Cell] = []
        for place, cell in enumerate(waiting, 1):
            left = sum(other.work for other in held + waiting[place:])
            if _turn(sweep, cell, 1 - left / total) == HELD:
                held.append(cell)
        done = 1 - sum(cell.work for cell in held) / total
        if len(held) == len(waiting):
            if not told:
                names = _listed([cell.name for cell in held])
                report(f"waits for other processes, which hold {names}", done)
            told = True
            time.sleep(PAUSE)
        waiting = held
    if jax.process_index() or not shard.sums_up:
        raise Unfinished("the first process sums up.")
    found = [sweep.read(cell) for cell in cells]
    whole = [arrays for arrays in found if arrays is not None]
    if len(whole) < len(cells):
        missing = [c for c, arrays in zip(cells, found, strict=True) if arrays is None]
        raise Unfinished(_missing(sweep, missing, len(cells)), len(sweep.failed))
    return whole, sum(store.cell_seconds(sweep.folder(cell)) for cell in cells)


def _turn(sweep: _Sweep, cell: Cell, share: float) -> int:
    """Measures a cell if need be, and if no other process does.

    Returns:
        `HELD`, or what became of it.
    """
    preemption.stop_if_asked()
    with contextlib.ExitStack() as stack:
        state, still = HELD, None
        if jax.process_index() == 0:
            state, still = _look(sweep, cell, share, stack)
        state = agreed(state)
        if state == ON_DISK:
            sweep.report(f"{cell.name}: on disk", share)
        if state == MEASURED:
            return _measure(sweep, cell, share, still)
        return state


def _look(
    sweep: _Sweep, cell: Cell, share: float, stack: contextlib.ExitStack
) -> tuple[int, Any]:
    """What is to be done; to be `MEASURED`, it is held until the stack unwinds."""
    folder = sweep.folder(cell)
    with contextlib.suppress(store.DamagedError):
        if sweep.read(cell) is not None:
            locks.forget(folder)
            return ON_DISK, None
    folder.mkdir(parents=True, exist_ok=True)
    still = stack.enter_context(locks.held(folder, sweep.seen))
    if still is None:
        return HELD, None
    try:
        if sweep.read(cell) is not None:  # stored by another process, just now
            return ON_DISK, None
    except store.DamagedError as e:
        sweep.report(f"{e}; measured again", share)
    store.sweep_parts(folder)
    if store.failure_version(folder) != sweep.records[cell.name]:
        why = store.read_failure(folder) or "its failed.json is gone"
        sweep.failed[cell.name] = why
        sweep.report(f"{cell.name}: failed for another process: {why}", share)
        return FAILED, None
    return MEASURED, still


def _measure(sweep: _Sweep, cell: Cell, share: float, still: Any) -> int:
    """Measures a cell that is held, and stores it, or why it failed."""
    folder, began = sweep.folder(cell), time.monotonic()
    scratch = folder / "checkpoint"
    try:
        arrays = _arrays(sweep, cell, share, scratch)
        about = cell.about()
    except preemption.Preempted:
        raise
    except Exception as error:
        # Of several processes the others may be waiting for this one: all have to end.
        if jax.process_count() > 1 or store.is_fault(error):
            raise
        sweep.failed[cell.name] = _reason(error)
        said = {"reason": _reason(error), "traceback": traceback.format_exc()}
        store.write_json(folder / "failed.json", said | {"versions": versions()})
        sweep.report(f"{cell.name}: failed: {_reason(error)}", share)
        return MEASURED
    took = time.monotonic() - began
    if still is not None:
        if not still():  # this process was stopped for so long that another one began
            return HELD
        said = {"seconds": took, "versions": versions(), **about}
        store.write_cell(folder, sweep.depends(cell), arrays, said)
        segments.forget(scratch)
        locks.forget(folder)
    sweep.report(f"{cell.name}: {took:.1f} s", share)
    return MEASURED


def _arrays(sweep: _Sweep, cell: Cell, share: float, scratch: Path) -> Arrays:
    """What a cell measures, from its checkpoint on if that is sound."""
    if not cell.resumes:
        return cell.measure()
    if scratch.exists():
        sweep.report(f"{cell.name}: goes on from its checkpoint", share)
    try:
        return cell.measure(scratch)
    except store.DamagedError as e:  # in all processes, before any training
        sweep.report(f"{cell.name}: {e}; begun anew", share)
    if jax.process_index() == 0:
        segments.forget(scratch)
    return cell.measure(scratch)


def _reason(error: Exception) -> str:
    """An error in a line."""
    said = " ".join(str(error).split())
    kind = type(error).__name__
    if out_of_memory(error):
        kind = "out of memory"
    return f"{kind}: {said[:300]}"


def out_of_memory(error: Exception) -> bool:
    """Whether Python, NumPy or XLA found no memory."""
    if isinstance(error, jax.errors.JaxRuntimeError):
        return bool(EXHAUSTED.search(str(error)))
    return isinstance(error, MemoryError)


def _missing(sweep: _Sweep, missing: list[Cell], total: int) -> str:
    """Which cells are missing, why, and what to do."""

    def named(cell: Cell) -> str:
        why = sweep.failed.get(cell.name) or store.read_failure(sweep.folder(cell))
        return f"{cell.name} (failed: {why[:80]})" if why else cell.name

    hint = "Their failed.json say more; the same command tries them again."
    if not sweep.failed:
        hint = "The last shard, or the same command without --shard, sums up."
    return (
        f"no summary, since {len(missing)} of {total} cells are missing: "
        f"{_listed([named(cell) for cell in missing])}. {hint}"
    )


def _listed(names: list[str]) -> str:
    """The first of them, and how many more there are."""
    more = f" and {len(names) - NAMED} more" if names[NAMED:] else ""
    return ", ".join(names[:NAMED]) + more


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
