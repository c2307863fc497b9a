"""The 1797 handwritten digits that scikit-learn carries: the embedded dataset."""

import numpy as np

from zoo.data.base import (
    Dataset,
    balanced_order,
    check_counts,
    generators,
    image_dataset,
)


def digits(n_train: int, n_test: int, seed: int = 0) -> Dataset:
    """Images of 8 x 8 pixels, 0 to 16, of 10 digits (Alpaydin & Kaynak 1998, UCI).

    The test points are drawn first, the training points from what they leave; both
    are balanced over the classes. Which images a seed tests on does not depend on
    n_train, and its training sets are nested. `zoo.data.base.image_dataset` says how
    inputs and targets are scaled.

    Raises:
        ValueError: there are fewer than n_train + n_test examples.
    """
    from sklearn.datasets import load_digits  # takes a second, so on use only

    check_counts(n_train, n_test, seed)
    pixels, labels = map(np.asarray, load_digits(return_X_y=True))
    images, total = pixels.reshape(-1, 8, 8, 1), len(labels)
    if n_test >= total:
        raise ValueError(
            f"n_test={n_test} leaves nothing to train on: digits has {total} examples."
        )
    if n_train > total - n_test:
        raise ValueError(
            f"n_train={n_train} is larger than what digits has: {total} examples, "
            f"n_test={n_test} of them kept for testing."
        )
    for_train, for_test = generators(seed)
    test = balanced_order(labels, for_test)[:n_test]
    rest = np.setdiff1d(np.arange(total), test)
    train = rest[balanced_order(labels[rest], for_train)[:n_train]]
    return image_dataset(
        "digits",
        (images[train], labels[train]),
        (images[test], labels[test]),
        classes=10,
    )
