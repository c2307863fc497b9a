"""Results on disk: a folder whose files are either whole or absent.

    <workdir>/config.json                       what is measured
    <workdir>/cells/<cell>/{traj.npz,run.json}  one cell; run.json is written last
    <workdir>/cells/<cell>/failed.json          why there is none, at the last try

Every file is written beside its place, flushed, and moved there in one step. A cell is
finished when its `run.json` names the configuration and the checksum of its arrays.
Several processes may use a folder at once; one at a time writes a cell (`locks`).
"""

import contextlib
import errno
import hashlib
import io
import json
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from zoo.gap import locks

PART = ".lazy-regime-zoo-part-"  # begins the name of a file that is being written


# What the system answers when results cannot be stored.
FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS)


class WorkdirError(Exception):
    """The working directory cannot be used; the message says why, in one line."""


class DamagedError(WorkdirError):
    """A cell, or a checkpoint, is not what was stored; the message says how."""


def is_fault(error: Exception) -> bool:
    """Whether results cannot be stored, these or any others."""
    return isinstance(error, OSError) and error.errno in FAULTS


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """A binary file, in memory, that appears at `path` when the block ends.

    What is there already is not written again: of a finished folder a disk that can
    only be read is enough.
    """
    file = io.BytesIO()
    yield file
    if not (path.is_file() and path.read_bytes() == file.getvalue()):
        with streamed(path) as whole:
            whole.write(file.getvalue())


@contextlib.contextmanager
def streamed(path: Path) -> Iterator[BinaryIO]:
    """A binary file that appears at `path` when the block ends without an error."""
    handle, part = _new_part(path.parent)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        os.chmod(part, 0o644)
        os.replace(part, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(part)
        raise


def _new_part(folder: Path) -> tuple[int, str]:
    """A new file that `sweep_parts` leaves alone while this process lives."""
    while True:
        handle, part = tempfile.mkstemp(dir=folder, prefix=PART)
        locks.claim(handle)
        if os.path.exists(part):  # not swept before it was claimed
            return handle, part
        os.close(handle)


def sweep_parts(folder: Path) -> None:
    """Deletes what processes that were killed have left half-written."""
    for part in folder.glob(f"{PART}*"):
        with contextlib.suppress(FileNotFoundError), part.open("r+b") as file:
            if locks.claim(file.fileno()):
                part.unlink()


def write_text(path: Path, text: str) -> None:
    """Writes a text file atomically."""
    with atomic(path) as file:
        file.write(text.encode())


def write_json(path: Path, value: Any) -> None:
    """Writes JSON atomically; numbers that are not finite become null."""
    write_text(path, json.dumps(_finite(value), indent=1, allow_nan=False) + "\n")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {str(k): _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_finite(v) for v in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value


def open_workdir(workdir: Path, config: dict[str, Any]) -> None:
    """Makes the folder, or takes one that holds the same configuration.

    Raises:
        WorkdirError: if it holds another configuration, or cannot be written.
    """
    path = workdir / "config.json"
    try:
        if path.exists():
            _check_same(workdir, _config(path), config)
        (workdir / "cells").mkdir(parents=True, exist_ok=True)
        sweep_parts(workdir)
        if not path.exists():
            write_json(path, config)
    except OSError as e:
        raise WorkdirError(f"--workdir={workdir} cannot be used: {e}.") from e


def _config(path: Path) -> Any:
    try:
        return json.loads(path.read_text())
    except ValueError as e:
        raise WorkdirError(
            f"--workdir={path.parent} cannot be used: its {path.name} is damaged "
            f"({e}). Take another folder; or delete that file if it is of this run."
        ) from e


def _check_same(workdir: Path, held: Any, wanted: dict) -> None:
    if not isinstance(held, dict):
        raise WorkdirError(
            f"--workdir={workdir} cannot be used: its config.json is not a run's."
        )
    wanted = _finite(wanted)
    for name in sorted(held.keys() | wanted.keys()):
        if held.get(name) != wanted.get(name):
            raise WorkdirError(
                f"--workdir={workdir} holds another configuration: its {name} is "
                f"{held.get(name)}, not {wanted.get(name)}. Take another folder."
            )


def write_cell(folder: Path, config: dict, arrays: dict, run: dict) -> None:
    """Stores a finished cell: arrays first, then the `run.json` that vouches."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "run.json").unlink(missing_ok=True)
    with streamed(folder / "traj.npz") as file:
        np.savez(file, **arrays)
    run = run | {"config": config, "sha256": _checksum(folder / "traj.npz")}
    write_json(folder / "run.json", run)
    (folder / "failed.json").unlink(missing_ok=True)


def read_cell(folder: Path, config: dict) -> dict[str, np.ndarray] | None:
    """The arrays of a finished cell; None if it has to be measured.

    Raises:
        DamagedError: it was finished, and its files are not what was written.
    """
    if not (folder / "run.json").exists():
        return None
    try:
        run = json.loads((folder / "run.json").read_text())
        if run["config"] != _finite(config):
            return None
        sound = run["sha256"] == _checksum(folder / "traj.npz")
    except FileNotFoundError as e:
        raise DamagedError(f"{folder.name}: {Path(e.filename).name} is missing") from e
    except (ValueError, KeyError, TypeError) as e:
        raise DamagedError(f"{folder.name}: run.json is damaged") from e
    if not sound:
        raise DamagedError(f"{folder.name}: traj.npz is damaged (its checksum differs)")
    with np.load(folder / "traj.npz") as file:
        return dict(file)


def read_failure(folder: Path) -> str | None:
    """Why a cell could not be measured at the last try; None without a reason."""
    try:
        return str(json.loads((folder / "failed.json").read_text())["reason"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def failure_version(folder: Path) -> tuple[int, int] | None:
    """What differs from one record of a failure to the next; None without one."""
    try:
        found = (folder / "failed.json").stat()
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns


def cell_seconds(folder: Path) -> float:
    """How long a finished cell took to measure, whenever that was."""
    return float(json.loads((folder / "run.json").read_text())["seconds"])


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
