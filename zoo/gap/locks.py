"""One process at a time on a folder, among hosts that share a disk and no clock.

    <folder>/lock-<g>     generation g = 0, 1, ...; the highest one counts

A process takes the folder by creating the next generation, which only one can do. While
it lives it keeps a counter in its file going; one that is seen to stand still for
`STALE` seconds of the observer's own clock is taken over, and no file's time is ever
looked at. Processes of one kernel need not wait so long: a file whose `flock` is free
has lost its process. Generations are deleted only where nothing is left to do, by
`forget`, so that a slow observer cannot take what has meanwhile begun anew.
"""

import contextlib
import os
import platform
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None

PREFIX = "lock-"
BEAT, STALE = 5.0, 60.0  # seconds
FREE = b"free\n"
Seen = dict[Path, tuple[bytes, float]]  # what a file held, and since when it does


@contextlib.contextmanager
def held(
    folder: Path, seen: Seen, beat: float = BEAT, stale: float = STALE
) -> Iterator[Callable[[], bool] | None]:
    """Holds a folder for the length of the block.

    Args:
        folder: exists.
        seen: an empty dictionary, the same at every try: what was found of others.
        beat: seconds between two signs of life.
        stale: seconds without one after which another process has ended.

    Yields:
        None where another process holds the folder. Otherwise whether this one still
        does, as a function to ask before results are stored: a process that was stopped
        for `stale` seconds has lost its place.
    """
    mine = _take(folder, seen, stale)
    if mine is None:
        yield None
        return
    path, file = mine
    after = folder / f"{PREFIX}{_generation(path) + 1}"
    ended = threading.Event()
    heart = threading.Thread(target=_beat, args=(file, beat, ended), daemon=True)
    heart.start()
    try:
        yield lambda: path.exists() and not after.exists()
    finally:
        ended.set()
        heart.join()
        with contextlib.suppress(OSError), file:
            file.seek(0)
            file.write(FREE)  # over what is there: the file never lacks a word


def forget(folder: Path) -> None:
    """Deletes the locks of a folder in which nothing is left to do."""
    with contextlib.suppress(OSError):
        for path in folder.glob(f"{PREFIX}*"):
            path.unlink(missing_ok=True)


def claim(handle: int) -> bool:
    """Marks an open file as that of a living process of this kernel.

    False where the file system, or the operating system, has no such marks.
    """
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)  # type: ignore[union-attr]
    except (AttributeError, OSError):
        return False
    return True


def kernel() -> str:
    """What all processes, in any container, that share `flock` with this one share."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except OSError:
        return platform.node()


def _generation(path: Path) -> int:
    return int(path.name.removeprefix(PREFIX))


def _take(folder: Path, seen: Seen, stale: float) -> tuple[Path, BinaryIO] | None:
    """A new generation's file, or None where the highest one's process lives."""
    last = max(folder.glob(f"{PREFIX}*"), key=_generation, default=None)
    if last is not None and not _ended(last, seen, stale):
        return None
    path = folder / f"{PREFIX}{0 if last is None else _generation(last) + 1}"
    mark, process = kernel(), f"{platform.node()} {os.getpid()}"
    try:
        file = path.open("x+b", buffering=0)
    except FileExistsError:
        return None
    # Until its first line is there, no other process looks at the flock; one that is
    # killed here is waited for until it is stale.
    mark = mark if claim(file.fileno()) else ""
    file.write(f"{mark}\n{process}\n".encode())
    return path, file


def _beat(file: BinaryIO, beat: float, ended: threading.Event) -> None:
    """Counts in the file, at its end, until told to stop."""
    place, count = file.tell(), 0
    while not ended.wait(beat):
        count += 1
        with contextlib.suppress(OSError):
            file.seek(place)
            file.write(f"{count}\n".encode())
            os.fsync(file.fileno())


def _ended(path: Path, seen: Seen, stale: float) -> bool:
    """Whether the process of this generation gave up its place, or is dead."""
    try:
        with path.open("r+b") as file:
            said = file.read()
            if said.startswith(FREE):
                return True
            if said.split(b"\n")[0] == kernel().encode() and claim(file.fileno()):
                return True
    except FileNotFoundError:  # forgotten: look again later
        return False
    before, since = seen.get(path, (None, 0.0))
    if said != before:
        seen[path] = said, time.monotonic()
        return False
    return time.monotonic() - since > stale
