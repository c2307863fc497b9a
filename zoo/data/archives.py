"""The formats of CIFAR-10, of SVHN and of .npz files of images.

CIFAR-10 comes in batches of rows of 3072 bytes, 32 x 32 pixels of red, then green, then
blue. In the binary version a byte with the label stands before each row; in the Python
version a batch is a pickled dictionary with `data` and `labels`. SVHN's cropped digits
are MATLAB files (version 5) with X [32, 32, 3, n] and y, where the digit 0 has the
label 10.
"""

import gzip
import tarfile
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import numpy as np
from jaxtyping import UInt8

from zoo.data.base import Examples
from zoo.data.npz import ARRAYS, read_npz
from zoo.data.pickles import read_pickle

BATCHES = (*(f"data_batch_{i}" for i in range(1, 6)), "test_batch")
BINARY = tuple(f"{name}.bin" for name in BATCHES)
PIXELS = 3 * 32 * 32
LARGEST = 1 << 26  # bytes of a batch; the official ones have 31e6
Parse = Callable[[str, bytes], Examples]
Pair = tuple[Examples, Examples]


def cifar_binary(where: str, content: bytes) -> Examples:
    """The examples of a batch of the binary version.

    Raises:
        ValueError: it is no whole number of rows.
    """
    if not content or len(content) % (1 + PIXELS):
        raise ValueError(
            f"{where} is no batch of CIFAR-10, or truncated: its {len(content)} bytes "
            f"are no multiple of {1 + PIXELS}, a label and {PIXELS} pixels."
        )
    rows = np.frombuffer(content, np.uint8).reshape(-1, 1 + PIXELS)
    return Examples(_by_pixels(rows[:, 1:]), rows[:, 0].astype(int))


def cifar_pickle(where: str, content: bytes) -> Examples:
    """The examples of a batch of the Python version.

    Raises:
        ValueError: `zoo.data.pickles.read_pickle` refuses it, or it has other arrays.
    """
    batch = read_pickle(where, content)
    try:
        pixels, labels = (np.asarray(batch.get(name)) for name in ("data", "labels"))
    except ValueError as error:
        raise ValueError(f"{where} is no batch of CIFAR-10: {error}.") from error
    if pixels.dtype != np.uint8 or pixels.shape[1:] != (PIXELS,) or pixels.ndim != 2:
        raise ValueError(
            f"{where} is no batch of CIFAR-10: it needs data, bytes of the shape "
            f"[n, {PIXELS}], and labels."
        )
    return Examples(_by_pixels(pixels), _column(where, "labels", labels))


def _by_pixels(rows: UInt8[np.ndarray, "e p"]) -> UInt8[np.ndarray, "e 32 32 3"]:
    return np.moveaxis(rows.reshape(-1, 3, 32, 32), 1, -1)


def _column(where: object, name: str, labels: np.ndarray) -> np.ndarray:
    """Labels [n] or [n, 1] as [n]."""
    if labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels.ndim != 1 or labels.dtype.kind not in "iu":
        raise ValueError(
            f"{where}: {name} has the shape {labels.shape} and the type "
            f"{labels.dtype}, and is no list of whole numbers."
        )
    return labels.astype(int)


def from_batches(parse: Parse) -> Callable[[list[Path]], Pair]:
    """A reader of the six unpacked batches, in the order of `BATCHES`."""

    def read(paths: list[Path]) -> Pair:
        return _join([parse(str(path), path.read_bytes()) for path in paths])

    return read


def from_tar(names: Sequence[str], parse: Parse) -> Callable[[list[Path]], Pair]:
    """A reader of the batches in one archive, of which nothing is unpacked to disk."""

    def read(paths: list[Path]) -> Pair:
        (path,) = paths
        try:
            found = {
                name: parse(f"{path}: {name}", c) for name, c in _members(path, names)
            }
        except (EOFError, OSError, tarfile.TarError, zlib.error) as error:
            raise ValueError(f"{path} is corrupt: {error}.") from error
        missing = [name for name in names if name not in found]
        if missing:
            raise ValueError(f"{path} has no file {missing[0]}, or is truncated.")
        return _join([found[name] for name in names])

    return read


def _members(path: Path, names: Sequence[str]) -> Iterator[tuple[str, bytes]]:
    """Names and contents of the files of these names, in any folder of the archive."""
    with gzip.open(path) as plain, tarfile.open(fileobj=plain, mode="r:") as archive:
        for member in archive:
            name = member.name.rpartition("/")[2]
            if name not in names or not member.isfile():
                continue
            if member.size > LARGEST:
                raise ValueError(
                    f"{path}: {name} has {member.size} bytes, more than any batch."
                )
            content = archive.extractfile(member)
            if content is not None:
                yield name, content.read()
        while plain.read(LARGEST):  # to the checksum at the end
            pass


def _join(batches: list[Examples]) -> Pair:
    """All but the last batch together, and the last."""
    images, labels = (np.concatenate([b[i] for b in batches[:-1]]) for i in range(2))
    return Examples(images, labels), batches[-1]


def svhn_mat(paths: list[Path]) -> Pair:
    """Training and test examples from two MATLAB files; the label 10 becomes 0.

    Raises:
        ValueError: one cannot be read, or lacks X or y as SVHN has them.
    """
    train, test = map(_read_mat, paths)
    return train, test


def _read_mat(path: Path) -> Examples:
    from scipy.io import loadmat  # takes half a second, so on use only

    try:
        found = loadmat(str(path), variable_names=["X", "y"])
    except Exception as error:  # of any type: scipy's readers trust what they read
        why = " ".join(str(error).split()).rstrip(".") or type(error).__name__
        raise ValueError(
            f"{path} is no MATLAB file of version 5, or damaged: {why}."
        ) from error
    X, y = found.get("X"), found.get("y")
    if X is None or y is None or X.ndim != 4 or X.dtype != np.uint8:
        raise ValueError(
            f"{path} is no file of SVHN: it needs X, bytes of the shape "
            "[32, 32, 3, n], and y."
        )
    if y.dtype.kind == "f" and np.array_equal(y, np.round(y)):
        y = y.astype(int)  # MATLAB's own type of a number
    labels = _column(path, "y", y)
    outside = (labels < 1) | (labels > 10)
    if outside.any():
        raise ValueError(
            f"{path}: y has {labels[outside][0]} at {np.argmax(outside)}; SVHN's "
            "labels are 1 to 10, where 10 is the digit 0."
        )
    return Examples(np.moveaxis(X, -1, 0), labels % 10)


def images_npz(paths: list[Path]) -> Pair:
    """Examples from one .npz with x_train, y_train, x_test, y_test, as keras has them.

    Images [n, height, width] or [n, height, width, channels] of bytes; labels from 0.

    Raises:
        ValueError: it is no such file.
    """
    (path,) = paths
    found = read_npz(path, ARRAYS)
    pair = []
    for split in ("train", "test"):
        x, y = found[f"x_{split}"], found[f"y_{split}"]
        if x.ndim not in (3, 4) or x.dtype != np.uint8:
            raise ValueError(
                f"{path}: x_{split} has the shape {x.shape} and the type {x.dtype}; "
                "images are bytes (uint8), [n, h, w] or [n, h, w, c]."
            )
        images = x[..., None] if x.ndim == 3 else x
        pair.append(Examples(images, _column(path, f"y_{split}", y)))
    return pair[0], pair[1]
