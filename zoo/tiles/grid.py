"""Which tiles a kernel has, and the points along their sides."""

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Grid:
    """Square tiles of equal size over the pairs of n1 and n2 points.

    Attributes:
        rows: n1.
        columns: n2.
        side: points b along a side of a tile; the last tiles reach beyond n1 and n2.
        symmetric: whether both sets are one, so that the upper half is all.
    """

    rows: int
    columns: int
    side: int
    symmetric: bool

    @property
    def blocks(self) -> tuple[int, int]:
        """Number of tiles from the top and from the left."""
        return -(-self.rows // self.side), -(-self.columns // self.side)

    @property
    def count(self) -> int:
        """Number of tiles."""
        height, width = self.blocks
        return height * (height + 1) // 2 if self.symmetric else height * width

    def pairs(self) -> list[tuple[int, int]]:
        """Every tile, by its number from the top and from the left."""
        height, width = self.blocks
        return [
            (i, j)
            for i in range(height)
            for j in range(i if self.symmetric else 0, width)
        ]


def even_side(points: int, side: int) -> int:
    """The side of as many tiles of equal size, none larger than `side`."""
    return -(-points // max(1, -(-points // side)))


def block(x: np.ndarray, i: int, side: int) -> np.ndarray:
    """The i-th points along a tile, [side, ...]; the last one fills the last tile."""
    some = x[i * side : (i + 1) * side]
    return np.concatenate([some, np.repeat(x[-1:], side - len(some), 0)])
