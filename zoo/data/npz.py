"""A user's own data: one NumPy archive with training and test points."""

import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Float32, Shaped

from zoo.data.base import Dataset, centred_one_hot, check_counts, generators

ARRAYS = ("x_train", "y_train", "x_test", "y_test")
# What NumPy raises at a file that is truncated, damaged or of another kind.
DAMAGE = (
    EOFError,
    NotImplementedError,
    OSError,
    TypeError,
    ValueError,
    zipfile.BadZipFile,
    zlib.error,
)
EXACT = 2**24  # whole numbers up to it are what they were, in float32


def load_npz(path: str | Path, n_train: int, n_test: int, seed: int = 0) -> Dataset:
    """Points drawn from a file with the arrays x_train, y_train, x_test, y_test.

    Inputs are taken as they are, in float32 and unscaled: [n, d] vectors, [n, t, d]
    sequences or [n, height, width, channels] images. A module of the user's own gets
    whole numbers up to 2^24, such as tokens [n, t], as int32. Targets: whole numbers
    [n] are classes counted from 0, and become one-hot vectors less 1/k; other numbers,
    [n] or [n, k], are values.

    Args:
        path: the .npz file.
        n_train: number of training points, drawn without replacement.
        n_test: number of test points.
        seed: draws the points.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: an array is missing, has another length or rank than the others
            imply, has an entry that is not finite in float32, or has too few points.
    """
    check_counts(n_train, n_test, seed)
    arrays = read_npz(Path(path), ARRAYS)
    draws = generators(seed)
    classes = _classes(arrays["y_train"], arrays["y_test"])
    drawn: dict[str, Any] = {}
    for split, n, rng in zip(("train", "test"), (n_train, n_test), draws, strict=True):
        x, y = arrays[f"x_{split}"], arrays[f"y_{split}"]
        _check_split(path, split, x, y, n)
        chosen = rng.permutation(len(x))[:n]
        drawn[f"x_{split}"] = x[chosen].astype(np.float32).reshape(n, -1)
        drawn[f"y_{split}"] = _targets(y[chosen], classes)
    shape = arrays["x_train"].shape[1:]
    if shape != arrays["x_test"].shape[1:]:
        raise ValueError(
            f"{path}: x_train has points of shape {shape}, x_test of "
            f"{arrays['x_test'].shape[1:]}; they must be equal."
        )
    outputs = [drawn[f"y_{split}"].shape[1] for split in ("train", "test")]
    if outputs[0] != outputs[1]:
        raise ValueError(
            f"{path}: y_train has {outputs[0]} values a point, y_test {outputs[1]}; "
            "they must be equal."
        )
    tokens = all(_is_whole(arrays[f"x_{split}"]) for split in ("train", "test"))
    return Dataset(
        str(path),
        **drawn,
        classes=classes,
        image_shape={1: None, 2: (*shape, 1), 3: shape}.get(len(shape)),
        own_shape=shape,
        own_type=np.int32 if tokens else np.float32,
    )


def _is_whole(x: np.ndarray) -> bool:
    """Whether x is of whole numbers that float32 holds exactly."""
    return np.issubdtype(x.dtype, np.integer) and bool(
        np.all((x >= -EXACT) & (x <= EXACT))
    )


def read_npz(path: Path, names: Sequence[str]) -> dict[str, np.ndarray]:
    """The arrays of these names in a .npz file.

    Raises:
        FileNotFoundError: there is no such file.
        ValueError: it is no .npz file of plain arrays, or one of them is missing.
    """
    if not path.is_file():
        raise FileNotFoundError(f"dataset {path}: there is no such file.")
    try:
        with path.open("rb") as content, np.load(content, allow_pickle=False) as file:
            arrays = {name: file[name] for name in names if name in file}
    except DAMAGE as error:
        raise ValueError(f"{path} is no .npz file of plain arrays: {error}") from error
    missing = [name for name in names if name not in arrays]
    if missing:
        raise ValueError(
            f"{path} has no array {missing[0]}: it needs {', '.join(names)}."
        )
    return arrays


def _check_split(path, split: str, x: np.ndarray, y: np.ndarray, n: int) -> None:
    if x.ndim not in (2, 3, 4) or y.ndim not in (1, 2) or len(x) != len(y):
        raise ValueError(
            f"{path}: x_{split} has the shape {x.shape}, y_{split} {y.shape}; allowed "
            "are [n, d], [n, t, d] or [n, h, w, c] beside [n] or [n, k]."
        )
    if n > len(x):
        raise ValueError(
            f"n_{split}={n} is larger than what {path} has: {len(x)} {split} points."
        )
    for name, values in ((f"x_{split}", x), (f"y_{split}", y)):
        real = (np.integer, np.floating)
        if not any(np.issubdtype(values.dtype, kind) for kind in real):
            raise ValueError(
                f"{path}: {name} has the type {values.dtype}, no real number."
            )
        bad = ~(np.abs(values) <= np.finfo(np.float32).max)  # NaN too
        if np.any(bad):
            where = tuple(int(i) for i in np.argwhere(bad)[0])
            raise ValueError(f"{path}: {name} has {values[where]} at {where}.")


def _classes(*labels: np.ndarray) -> int | None:
    """Number of classes, or None where the targets are values."""
    if not all(np.issubdtype(y.dtype, np.integer) and y.ndim == 1 for y in labels):
        return None
    if min(y.min(initial=0) for y in labels) < 0:
        raise ValueError("y has a negative whole number: classes count from 0.")
    return 1 + max(int(y.max(initial=0)) for y in labels)


def _targets(
    y: Shaped[np.ndarray, "n ..."], classes: int | None
) -> Float32[np.ndarray, "n k"]:
    if classes is not None:
        return centred_one_hot(y, classes)
    return y.astype(np.float32).reshape(len(y), -1)
