"""IDX files, in which MNIST and Fashion-MNIST are distributed.

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
from jaxtyping import UInt8

from zoo.data.base import Examples


@dataclass(frozen=True)
class IdxFiles:
    """The four files of a dataset, and what they must contain.

    Args:
        md5: the MD5 of each file's content, uncompressed, by the file's name without
            .gz, in the order: training images and labels, test images and labels.
            None: not checked.
        others: datasets that these must not be, by the MD5 of a file's content: the
            files of Fashion-MNIST have the names of those of MNIST.
    """

    md5: Mapping[str, str | None]
    others: Mapping[str, str] | None = None

    def read(self, paths: list[Path]) -> tuple[Examples, Examples]:
        """Training and test examples from the four files, in the order of `md5`.

        Raises:
            ValueError: `read_idx` refuses one.
        """
        arrays = [
            read_idx(path, md5, axes, self.others)
            for path, md5, axes in zip(
                paths, self.md5.values(), (3, 1) * 2, strict=True
            )
        ]
        train, test = (
            Examples(images[..., None], labels.astype(int))
            for images, labels in (arrays[:2], arrays[2:])
        )
        return train, test


def read_idx(
    path: Path,
    md5: str | None = None,
    axes: int | None = None,
    others: Mapping[str, str] | None = None,
) -> UInt8[np.ndarray, "..."]:
    """The array in an IDX file of unsigned bytes, compressed if its name ends in .gz.

    Args:
        path: the file.
        md5: the MD5 of its content (which guards against damage, not against malice),
            or None for any.
        axes: how many axes the array has, or None for any number.
        others: names of datasets, by the MD5 of contents that are refused.

    Raises:
        ValueError: it cannot be decompressed, has another MD5, is another dataset's,
            or is no IDX file of unsigned bytes with so many axes.
    """
    content = path.read_bytes()
    if path.suffix == ".gz":
        try:
            content = gzip.decompress(content)
        except (EOFError, OSError, zlib.error) as error:
            should = f" Its content should have the MD5 {md5}." if md5 else ""
            raise ValueError(f"{path} is corrupt: {error}{should}") from error
    found = hashlib.md5(content, usedforsecurity=False).hexdigest()
    if others and found in others:
        raise ValueError(
            f"{path} is {others[found]}'s: its content has the MD5 {found}."
        )
    if md5 is not None and found != md5:
        raise ValueError(
            f"{path} is corrupt: its content has the MD5 {found}, not {md5}."
        )
    return _parse(path, content, axes)


def _parse(path: Path, content: bytes, wanted: int | None) -> UInt8[np.ndarray, "..."]:
    """The array that the bytes of an IDX file describe."""
    if content[:3] != b"\0\0\x08" or len(content) < 4 + 4 * sum(content[3:4]):
        raise ValueError(
            f"{path} is no IDX file of unsigned bytes: it begins with the bytes "
            f"{content[:4].hex(' ')}, not with 00 00 08 and the number of axes."
        )
    axes = content[3]
    if wanted is not None and axes != wanted:
        raise ValueError(
            f"{path} is not the IDX file that its name says: it begins with the bytes "
            f"{content[:4].hex(' ')}, not with 00 00 08 {wanted:02x}."
        )
    shape = tuple(np.frombuffer(content, dtype=">u4", count=axes, offset=4).tolist())
    if len(content) != 4 + 4 * axes + math.prod(shape):
        raise ValueError(
            f"{path} is no IDX file: its header promises {math.prod(shape)} entries "
            f"(shape {shape}), and {len(content) - 4 - 4 * axes} follow."
        )
    return np.frombuffer(content, dtype=np.uint8, offset=4 + 4 * axes).reshape(shape)
