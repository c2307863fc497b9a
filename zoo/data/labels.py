"""Other targets for the same inputs: offset, random, noisy or binary labels.

Each takes a dataset of classes and returns one with other targets. A label is the
argmax of its row; a row has one value at its label and another elsewhere, and what
changes labels leaves these two values, so that the order of two changes is free.
"""

import dataclasses

import numpy as np
from jaxtyping import Float32, Int

from zoo.data.base import Dataset, centred_one_hot

# Apart from the streams that draw points with the same seed.
RANDOM, NOISE = 1, 2
CNTK_OFFSET = 0.1


def class_labels(
    data: Dataset,
) -> tuple[Int[np.ndarray, " n"], Int[np.ndarray, " t"]]:
    """Labels of the training and of the test points.

    Raises:
        ValueError: the dataset has no classes.
    """
    if data.classes is None:
        raise ValueError(f"dataset {data.name} has no classes: its targets are values.")
    return data.y_train.argmax(axis=1), data.y_test.argmax(axis=1)


def centred(data: Dataset) -> Dataset:
    """Targets one_hot - 1/k, as every dataset of classes has them at first."""
    return _with_targets(
        data, *(centred_one_hot(labels, _k(data)) for labels in class_labels(data))
    )


def offset_one_hot(
    labels: Int[np.ndarray, " e"], classes: int, offset: float = CNTK_OFFSET
) -> Float32[np.ndarray, "e k"]:
    """One-hot rows less a constant; labels count from 0.

    >>> offset_one_hot(np.array([1, 0]), 2, offset=0.25).tolist()
    [[-0.25, 0.75], [0.75, -0.25]]
    """
    return (np.eye(classes)[labels] - offset).astype(np.float32)


def offset(data: Dataset, by: float = CNTK_OFFSET) -> Dataset:
    """Targets one_hot - 0.1, as in Arora et al. 2019 (the CNTK): centred if k = 10."""
    return _with_targets(
        data, *(offset_one_hot(labels, _k(data), by) for labels in class_labels(data))
    )


def random_labels(data: Dataset, seed: int = 0) -> Dataset:
    """All labels, of training and test points, drawn uniformly and independently.

    The labels of the first training points do not depend on how many there are.
    """
    _require_seed(seed)
    given = class_labels(data)
    streams = np.random.SeedSequence((seed, RANDOM)).spawn(2)
    drawn = [
        np.random.default_rng(stream).integers(_k(data), size=len(labels))
        for stream, labels in zip(streams, given, strict=True)
    ]
    return _with_labels(data, *drawn)


def label_noise(data: Dataset, share: float, seed: int = 0) -> Dataset:
    """A share of the training labels, each replaced by one of the others, uniformly.

    Exactly round(share * n) labels change; those of test points stay. Two shares of one
    seed change nested sets of points.

    Raises:
        ValueError: share is not in 0 .. 1, or there is no other label.
    """
    _require_seed(seed)
    if not 0 <= share <= 1:
        raise ValueError(f"share={share} is not allowed: 0 <= share <= 1.")
    train, test = class_labels(data)
    if _k(data) < 2:
        raise ValueError(f"dataset {data.name} has one class: no other label to take.")
    rng = np.random.default_rng((seed, NOISE))
    order = rng.permutation(len(train))
    shifts = rng.integers(1, _k(data), size=len(train))
    hit = order[: round(share * len(train))]
    train[hit] = (train[hit] + shifts[hit]) % _k(data)
    return _with_labels(data, train, test)


def parity(data: Dataset) -> Dataset:
    """One target: +1 for an even label, -1 for an odd one (Geiger et al. 2020's MNIST).

    The dataset has no classes then: the sign of a value decides, and no argmax.
    """
    columns = (
        (1 - 2 * (labels % 2)).astype(np.float32)[:, None]
        for labels in class_labels(data)
    )
    return dataclasses.replace(_with_targets(data, *columns), classes=None)


def _k(data: Dataset) -> int:
    return data.y_train.shape[1]


def _require_seed(seed: int) -> None:
    if seed < 0:
        raise ValueError(f"seed={seed} is too small: at least 0 is needed.")


def _with_labels(
    data: Dataset, train: Int[np.ndarray, " n"], test: Int[np.ndarray, " t"]
) -> Dataset:
    """Other labels, in the two values that the targets have."""
    low, high = data.y_train.min(), data.y_train.max()
    y_train, y_test = (
        np.where(np.eye(_k(data), dtype=bool)[labels], high, low)
        for labels in (train, test)
    )
    return _with_targets(data, y_train, y_test)


def _with_targets(
    data: Dataset,
    y_train: Float32[np.ndarray, "n k"],
    y_test: Float32[np.ndarray, "t k"],
) -> Dataset:
    return dataclasses.replace(data, y_train=y_train, y_test=y_test)
