"""Files from the network: a list of mirrors, resumed, and verified by SHA-256."""

import hashlib
import os
import sys
from dataclasses import dataclass
from http.client import HTTPException
from pathlib import Path
from urllib.request import Request, urlopen

CHUNK = 1 << 16
TIMEOUT = 30.0  # seconds without a byte


class DownloadError(OSError):
    """No mirror gave the file."""


class _Wrong(Exception):
    """What has been received is not the file."""


@dataclass(frozen=True)
class Official:
    """A file as its authors published it.

    Args:
        name: its name.
        size: its length in bytes.
        sha256: its SHA-256, in hexadecimal.
        mirrors: addresses of folders that have it, ending in /; tried in this order.
    """

    name: str
    size: int
    sha256: str
    mirrors: tuple[str, ...]


def cache_folder() -> Path:
    """Where downloads are kept: $LAZY_ZOO_DATA, or ~/.cache/lazy-regime-zoo."""
    given = os.environ.get("LAZY_ZOO_DATA")
    return Path(given) if given else Path.home() / ".cache" / "lazy-regime-zoo"


def fetch(file: Official, folder: Path, timeout: float = TIMEOUT) -> Path:
    """The path of the file in the folder, downloaded unless it is there.

    What has arrived is kept as NAME.part, from which the next mirror or the next call
    goes on (HTTP Range). Only a file of the right size and hash gets its name; one of
    the wrong hash is removed, and the next mirror is tried. Two processes that download
    the same file at once spoil each other's part, which the hash finds. A line on
    standard error says that a mirror has begun.

    Args:
        file: what to download.
        folder: where it is kept; made if it does not exist.
        timeout: seconds without a byte after which a mirror is given up.

    Raises:
        DownloadError: no mirror gave it, or the folder cannot be written; the message
            has one reason for each mirror.
    """
    target, part = folder / file.name, folder / f"{file.name}.part"
    if target.is_file():
        return target
    reasons = []
    for url in (mirror + file.name for mirror in file.mirrors):
        try:
            _from_mirror(url, file, part, timeout)
            os.replace(part, target)
            return target
        except (OSError, HTTPException, ValueError, _Wrong) as error:
            reasons.append(f"{url}: {error or type(error).__name__}")
    kept = f" ({_size(part)} bytes are kept)" if _size(part) else ""
    raise DownloadError(
        f"no mirror gave {file.name}, {file.size} bytes with the SHA-256 "
        f"{file.sha256}{kept}: {'; '.join(reasons)}."
    )


def _from_mirror(url: str, file: Official, part: Path, timeout: float) -> None:
    """Completes the part from one mirror, which has as many tries as it adds bytes.

    A part of the wrong hash that other mirrors began is no fault of this one's: it is
    received once more, from its first byte.
    """
    again = True
    while True:
        before = _size(part)
        try:
            if before < file.size:
                _receive(url, file.size, part, timeout)
            _verify(file, part)
            return
        except _Wrong:
            part.unlink(missing_ok=True)
            if not (before and again):
                raise
            again = False
        except (OSError, HTTPException):
            if _size(part) <= before:
                raise


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _receive(url: str, size: int, part: Path, timeout: float) -> None:
    """Appends what the part lacks, or writes it anew if the mirror cannot resume."""
    start = _size(part)
    headers = {"Accept-Encoding": "identity", "User-Agent": "lazy-regime-zoo"}
    if start:
        headers["Range"] = f"bytes={start}-"
    with urlopen(Request(url, headers=headers), timeout=timeout) as reply:
        if reply.status != 206:
            start = 0
        elif not reply.headers.get("Content-Range", "").startswith(f"bytes {start}-"):
            raise OSError(f"it resumed at another byte than {start}")
        if reply.length is not None and start + reply.length != size:
            raise OSError(f"it has {start + reply.length} bytes, not {size}")
        print(f"downloading {url}, {size / 1e6:.3g} MB", file=sys.stderr, flush=True)
        part.parent.mkdir(parents=True, exist_ok=True)
        with part.open("ab" if start else "wb") as out:
            while chunk := reply.read(CHUNK):
                out.write(chunk)
                start += len(chunk)
                if start > size:
                    raise _Wrong(f"it has more than {size} bytes")
    if start < size:
        raise OSError(f"it broke off after {start} of {size} bytes")


def _verify(file: Official, part: Path) -> None:
    if _size(part) != file.size:
        raise _Wrong(f"it has {_size(part)} bytes, not {file.size}")
    with part.open("rb") as content:
        found = hashlib.file_digest(content, "sha256").hexdigest()
    if found != file.sha256:
        raise _Wrong(f"its SHA-256 is {found}")
