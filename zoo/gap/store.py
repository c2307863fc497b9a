"""Results on disk: a folder whose files are either whole or absent.

    <workdir>/config.json                       what is measured
    <workdir>/cells/<cell>/{traj.npz,run.json}  one cell; run.json is written last

Every file is written beside its place, flushed, and moved there in one step. A cell is
finished when its `run.json` names the configuration and the checksum of its arrays.
"""

import contextlib
import hashlib
import json
import math
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

PART = ".lazy-regime-zoo-part-"  # begins the name of a file that is being written


class WorkdirError(Exception):
    """The working directory cannot be used; the message says why, in one line."""


@contextlib.contextmanager
def atomic(path: Path) -> Iterator[BinaryIO]:
    """A binary file that appears at `path` when the block ends without an error."""
    handle, part = tempfile.mkstemp(dir=path.parent, prefix=PART)
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
            _check_same(workdir, json.loads(path.read_text()), config)
        (workdir / "cells").mkdir(parents=True, exist_ok=True)
        for folder in (workdir, *(workdir / "cells").iterdir()):
            for part in folder.glob(f"{PART}*"):
                part.unlink()
        if not path.exists():
            write_json(path, config)
    except (OSError, json.JSONDecodeError) as e:
        raise WorkdirError(f"--workdir={workdir} cannot be used: {e}.") from e


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
    with atomic(folder / "traj.npz") as file:
        np.savez(file, **arrays)
    run = run | {"config": config, "sha256": _checksum(folder / "traj.npz")}
    write_json(folder / "run.json", run)


def read_cell(folder: Path, config: dict) -> dict[str, np.ndarray] | None:
    """The arrays of a finished cell; None if it has to be measured (again)."""
    try:
        run = json.loads((folder / "run.json").read_text())
        if run["config"] != _finite(config):
            return None
        if run["sha256"] != _checksum(folder / "traj.npz"):
            return None
        with np.load(folder / "traj.npz") as file:
            return dict(file)
    except (OSError, ValueError, KeyError, TypeError):
        return None


def cell_seconds(folder: Path) -> float:
    """How long a finished cell took to measure, whenever that was."""
    return float(json.loads((folder / "run.json").read_text())["seconds"])


def _checksum(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
