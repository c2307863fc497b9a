"""Inputs of norm 1 whose last coordinate is constant, for networks without biases."""

import dataclasses

import numpy as np
from jaxtyping import Float32

from zoo.data.base import Dataset
from zoo.data.digits import digits


def unit_digits(n_train: int, n_test: int, seed: int = 0) -> Dataset:
    r"""The points of `digits`, each scaled to the norm 1/sqrt(2) and given a bias.

        x' = (x / |x|, 1) / sqrt(2),    |x'| = 1,

    the inputs of Allen-Zhu, Li & Song 2019: the last coordinate does what biases would.
    """
    data = digits(n_train, n_test, seed)
    return dataclasses.replace(
        data,
        name="unit_digits",
        x_train=_with_constant(data.x_train),
        x_test=_with_constant(data.x_test),
        image_shape=None,
    )


def _with_constant(x: Float32[np.ndarray, "e d"]) -> Float32[np.ndarray, "e d2"]:
    """The directions of the rows of x and a one, over sqrt(2)."""
    x = x.astype(np.float64)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    ones = np.ones((len(x), 1))
    return (np.concatenate([x, ones], axis=1) / np.sqrt(2)).astype(np.float32)
