"""What a dataset is, how its inputs are scaled, and how examples are drawn from it.

Letters in shapes: n training points, t test points, d inputs, k outputs, e examples
from which they are drawn.
"""

import dataclasses
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float32, Int, Real, Shaped, UInt8

from zoo.graphs import Graph


@dataclass(frozen=True, eq=False)
class Dataset:
    """Training and test points in memory, float32, no example in both.

    Args:
        name: the name under which `load` knows it.
        x_train: training inputs; images are flattened, row by row. The number of a
            node where the data is one graph.
        y_train: training targets. For classes: the one-hot vector less 1/k, so that
            each row sums to 0 and its argmax is the label.
        x_test: test inputs, scaled like the training inputs.
        y_test: test targets.
        classes: number of classes, or None for regression.
        image_shape: (height, width, channels) of an input, or None if it is no image.
        graph: the graph whose nodes the points are, or None.
        own_shape: shape of an input in the user's file that it comes from, or None.
        own_type: type of an input there: int32 for whole numbers, such as tokens.
    """

    name: str
    x_train: Shaped[np.ndarray, "n ..."]
    y_train: Float32[np.ndarray, "n k"]
    x_test: Shaped[np.ndarray, "t ..."]
    y_test: Float32[np.ndarray, "t k"]
    classes: int | None = None
    image_shape: tuple[int, int, int] | None = None
    graph: Graph | None = None
    own_shape: tuple[int, ...] | None = None
    own_type: type[np.number] = np.float32

    def shaped(self, inputs: str) -> "Dataset":
        """The same points in the form that a network takes.

        Args:
            inputs: "vector" [d], "image" [height, width, channels], "tokens" (the rows
                of an image, [height, width * channels]), "nodes" or "any" (as it is;
                of a user's file, in the shape and the type of the file).

        Raises:
            ValueError: if the data has no such form.
        """
        whole = np.issubdtype(self.x_train.dtype, np.integer)
        if inputs != "any" and whole != (inputs == "nodes"):
            raise ValueError(f"dataset {self.name} has no inputs of kind '{inputs}'.")
        if inputs == "any" and self.own_shape is not None:
            return self._reshaped(self.own_shape, self.own_type)
        if inputs not in ("image", "tokens"):
            return self
        if self.image_shape is None:
            raise ValueError(
                f"dataset {self.name} has no inputs of kind '{inputs}': its points are "
                f"vectors of {self.x_train.shape[1]} entries, not images."
            )
        height, width, channels = self.image_shape
        shape = (height, width, channels)
        if inputs == "tokens":
            shape = (height, width * channels)
        return self._reshaped(shape)

    def _reshaped(self, shape: tuple[int, ...], kind: type = np.float32) -> "Dataset":
        return dataclasses.replace(
            self,
            x_train=self.x_train.reshape(-1, *shape).astype(kind),
            x_test=self.x_test.reshape(-1, *shape).astype(kind),
        )


class Examples(NamedTuple):
    """Images of one split, [e, height, width, channels], and their labels from 0."""

    images: UInt8[np.ndarray, "e h w c"]
    labels: Int[np.ndarray, " e"]


def check_counts(n_train: int, n_test: int, seed: int) -> None:
    """Raises ValueError unless n_train >= 1, n_test >= 1 and seed >= 0."""
    for what, value, least in (
        ("n_train", n_train, 1),
        ("n_test", n_test, 1),
        ("seed", seed, 0),
    ):
        if value < least:
            raise ValueError(
                f"{what}={value} is too small: at least {least} is needed."
            )


def generators(seed: int) -> tuple[np.random.Generator, np.random.Generator]:
    """Independent generators for training and test points: neither moves the other."""
    train, test = np.random.SeedSequence(seed).spawn(2)
    return np.random.default_rng(train), np.random.default_rng(test)


def balanced_order(
    labels: Int[np.ndarray, " e"], rng: np.random.Generator
) -> Int[np.ndarray, " e"]:
    """A random order of all examples in which every prefix is balanced over classes.

    Counts of two classes in a prefix differ by at most 1 while both have examples
    left. Longer prefixes contain shorter ones, so training sets of one seed are nested.

    >>> labels = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    >>> order = balanced_order(labels, np.random.default_rng(0))
    >>> sorted(labels[order[:2]].tolist()), sorted(labels[order[:4]].tolist())
    ([0, 1], [0, 0, 1, 1])
    """
    shuffled = rng.permutation(len(labels))
    rank = np.empty(len(labels), dtype=int)  # position within its own class
    for label in np.unique(labels):
        members = shuffled[labels[shuffled] == label]
        rank[members] = np.arange(len(members))
    return shuffled[np.argsort(rank[shuffled], kind="stable")]


def image_dataset(
    name: str,
    train: tuple[Real[np.ndarray, "n h w c"], Int[np.ndarray, " n"]],
    test: tuple[Real[np.ndarray, "t h w c"], Int[np.ndarray, " t"]],
    classes: int,
) -> Dataset:
    """Flattens and scales images (pixels of any unit), and centres labels.

    With mu the mean over all pixels of the training images drawn, one number,

        x = sqrt(d) (pixels - mu) / |pixels - mu|,     y = one_hot(label) - 1/k,

    so that x.x / d = 1 for every input: the kernel of a network on such inputs has a
    constant diagonal, and depends on the angle between two inputs alone.

    Args:
        name: the dataset's name.
        train: images and labels (counted from 0) to train on.
        test: images and labels to test on.
        classes: number of classes k.

    Raises:
        ValueError: an image equals mu at each pixel, so that it has no direction.
    """
    mu = train[0].mean(dtype=np.float64)
    return Dataset(
        name=name,
        x_train=on_sphere(train[0].reshape(len(train[0]), -1) - mu),
        y_train=centred_one_hot(train[1], classes),
        x_test=on_sphere(test[0].reshape(len(test[0]), -1) - mu),
        y_test=centred_one_hot(test[1], classes),
        classes=classes,
        image_shape=train[0].shape[1:],
    )


def on_sphere(x: Float[np.ndarray, "e d"]) -> Float32[np.ndarray, "e d"]:
    """Rows scaled to the norm sqrt(d), in float64, then rounded to float32."""
    x = x.astype(np.float64)
    norm = np.linalg.norm(x, axis=1, keepdims=True)
    if not norm.all():
        raise ValueError(
            f"input {np.argmin(norm)} is 0 in all {x.shape[1]} coordinates after "
            "centring: it has no direction and cannot be scaled."
        )
    return (np.sqrt(x.shape[1]) * x / norm).astype(np.float32)


def centred_one_hot(
    labels: Int[np.ndarray, " e"], classes: int
) -> Float32[np.ndarray, "e k"]:
    """One-hot rows less 1/k; labels count from 0.

    >>> centred_one_hot(np.array([1, 0]), 2).tolist()
    [[-0.5, 0.5], [0.5, -0.5]]
    """
    return (np.eye(classes)[labels] - 1 / classes).astype(np.float32)
