"""Inputs of norm 1, with or without a constant coordinate in the place of biases."""

import dataclasses

import numpy as np
from jaxtyping import Float

from zoo.data.base import Dataset
from zoo.data.digits import digits


def unit_digits(n_train: int, n_test: int, seed: int = 0) -> Dataset:
    r"""The points of `digits`, each scaled to the norm 1/sqrt(2) and given a bias.

        x' = (x / |x|, 1) / sqrt(2),    |x'| = 1,

    the inputs of Allen-Zhu, Li & Song 2019: the last coordinate does what biases would.
    """
    data = with_constant(digits(n_train, n_test, seed))
    return dataclasses.replace(data, name="unit_digits")


def with_constant(data: Dataset) -> Dataset:
    """Inputs (x / |x|, 1) / sqrt(2), which have the norm 1 and are no images.

    Raises:
        ValueError: an input is 0, or the data is a graph.
    """
    x_train, x_test = (
        np.concatenate([x, np.ones((len(x), 1))], axis=1) / np.sqrt(2)
        for x in _directions(data)
    )
    scaled = _with_inputs(data, x_train, x_test)
    return dataclasses.replace(scaled, image_shape=None, own_shape=None)


def unit_norm(data: Dataset) -> Dataset:
    """Inputs x / |x|, as in Du et al. 2019 and Arora et al. 2019.

    Raises:
        ValueError: an input is 0, or the data is a graph.
    """
    return _with_inputs(data, *_directions(data))


def _directions(data: Dataset) -> list[np.ndarray]:
    """The inputs x / |x| of both splits, in float64."""
    if data.graph is not None:
        raise ValueError(f"dataset {data.name} is a graph: its points have no norm.")
    scaled = []
    for split, x in (("train", data.x_train), ("test", data.x_test)):
        x = x.astype(np.float64)
        norm = np.linalg.norm(x, axis=1, keepdims=True)
        if not norm.all():
            raise ValueError(
                f"dataset {data.name}: {split} input {np.argmin(norm)} is 0 in all "
                "coordinates and has no direction."
            )
        scaled.append(x / norm)
    return scaled


def _with_inputs(
    data: Dataset, x_train: Float[np.ndarray, "n d"], x_test: Float[np.ndarray, "t d"]
) -> Dataset:
    return dataclasses.replace(
        data,
        x_train=x_train.astype(np.float32),
        x_test=x_test.astype(np.float32),
        own_type=np.float32,
    )
