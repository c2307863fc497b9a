"""Image datasets in IDX files, verified by the hash of what they contain.

An IDX file is: 0 0, a type (8: unsigned byte), the number of axes, each axis' length as
a big-endian uint32, and the entries, last axis fastest. It may be compressed (.gz); the
hash is that of the content, since repackaged files differ in their compression alone.
"""

import gzip
import hashlib
import math
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from jaxtyping import Int, UInt8

from zoo.data.base import (
    Dataset,
    balanced_order,
    check_counts,
    generators,
    image_dataset,
)


@dataclass(frozen=True)
class IdxSource:
    """Where a dataset's four files are, and what they must contain.

    Args:
        name: the dataset's name.
        directory: where they lie if no `data_dir` is given.
        package: the Debian package that puts them there.
        md5: the MD5 of each file's content, uncompressed, by the file's name without
            .gz, in the order: training images and labels, test images and labels.
        classes: number of classes.
    """

    name: str
    directory: Path
    package: str
    md5: Mapping[str, str]
    classes: int = 10


FASHION_MNIST = IdxSource(
    name="fashion_mnist",
    directory=Path("/usr/share/datasets/fashion-mnist"),
    package="dataset-fashion-mnist",
    md5={
        "train-images-idx3-ubyte": "f4a8712d7a061bf5bd6d2ca38dc4d50a",
        "train-labels-idx1-ubyte": "9018921c3c673c538a1fc5bad174d6f9",
        "t10k-images-idx3-ubyte": "8181f5470baa50b63fa0f6fddb340f0a",
        "t10k-labels-idx1-ubyte": "15d484375f8d13e6eb1aabb0c3f46965",
    },
)


def fashion_mnist(
    n_train: int, n_test: int, seed: int = 0, data_dir: str | Path | None = None
) -> Dataset:
    """Images of 28 x 28 pixels of 10 kinds of clothes (Xiao, Rasul & Vollgraf 2017).

    Training points come from the official 60000, test points from the official 10000,
    both balanced over the classes; no two of these 70000 images are equal.
    `zoo.data.base.image_dataset` says how inputs and targets are scaled.

    Args:
        n_train: number of training points.
        n_test: number of test points.
        seed: draws the points.
        data_dir: the folder with the four files, .gz or not; by default where Debian's
            package dataset-fashion-mnist puts them.
    """
    return load_idx(FASHION_MNIST, n_train, n_test, seed, data_dir)


def load_idx(
    source: IdxSource,
    n_train: int,
    n_test: int,
    seed: int = 0,
    data_dir: str | Path | None = None,
) -> Dataset:
    """A balanced draw from the official training files and one from the test files.

    Raises:
        FileNotFoundError: a file is in neither form in the folder.
        ValueError: a file is corrupt, or has fewer examples than asked for.
    """
    check_counts(n_train, n_test, seed)
    folder = Path(data_dir) if data_dir is not None else source.directory
    paths = [_find(source, folder, stem) for stem in source.md5]
    for_train, for_test = generators(seed)
    train = _draw(source, paths[:2], "train", n_train, for_train)
    test = _draw(source, paths[2:], "test", n_test, for_test)
    return image_dataset(source.name, train, test, source.classes)


def _find(source: IdxSource, folder: Path, stem: str) -> Path:
    """The file `stem` or `stem`.gz in the folder."""
    for path in (folder / stem, folder / f"{stem}.gz"):
        if path.is_file():
            return path
    raise FileNotFoundError(
        f"{source.name}: no {stem} or {stem}.gz in {folder}: give data_dir a folder "
        f"with its {len(source.md5)} files, or install Debian's {source.package}."
    )


def _draw(
    source: IdxSource, paths: list[Path], split: str, n: int, rng: np.random.Generator
) -> tuple[UInt8[np.ndarray, "n h w 1"], Int[np.ndarray, " n"]]:
    """`n` images and labels of one split, balanced over the classes."""
    images, labels = (
        read_idx(p, source.md5[p.name.removesuffix(".gz")]) for p in paths
    )
    if n > len(labels):
        raise ValueError(
            f"n_{split}={n} is larger than what {source.name} has: "
            f"{len(labels)} {split} examples."
        )
    chosen = balanced_order(labels.astype(int), rng)[:n]
    return images[chosen, ..., None], labels[chosen].astype(int)


def read_idx(path: Path, md5: str) -> UInt8[np.ndarray, "..."]:
    """The array in an IDX file of unsigned bytes, compressed if its name ends in .gz.

    Raises:
        ValueError: it cannot be decompressed, has another MD5 than `md5` (which guards
            against damage, not against malice), or is no IDX file of unsigned bytes.
    """
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            raise ValueError(
                f"{path} is corrupt: {error} Its content should have the MD5 {md5}."
            ) from error
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if found != md5:
        raise ValueError(
            f"{path} is corrupt: its content has the MD5 {found}, not {md5}."
        )
    return _parse(path, content)


def _parse(path: Path, content: bytes) -> UInt8[np.ndarray, "..."]:
    """The array that the bytes of an IDX file describe."""
    if content[:3] != b"\0\0\x08" or len(content) < 4 + 4 * sum(content[3:4]):
        raise ValueError(
            f"{path} is no IDX file of unsigned bytes: it begins with the bytes "
            f"{content[:4].hex(' ')}, not with 00 00 08 and the number of axes."
        )
    axes = content[3]
    shape = tuple(np.frombuffer(content, dtype=">u4", count=axes, offset=4).tolist())
    if len(content) != 4 + 4 * axes + math.prod(shape):
        raise ValueError(
            f"{path} is no IDX file: its header promises {math.prod(shape)} entries "
            f"(shape {shape}), and {len(content) - 4 - 4 * axes} follow."
        )
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * axes).reshape(shape)
