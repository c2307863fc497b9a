"""Datasets by name: `load("digits", n_train=128, n_test=128)`."""

from collections.abc import Callable
from pathlib import Path

from zoo.data.base import Dataset
from zoo.data.coordinates import digit_field, poisson, waves
from zoo.data.digits import digits
from zoo.data.graph import digits_graph
from zoo.data.images import cifar10, fashion_mnist, mnist, svhn
from zoo.data.npz import load_npz
from zoo.data.synthetic import heavy_tailed, sphere, teacher
from zoo.data.unit import unit_digits
from zoo.names import check_name

DATASETS: dict[str, Callable[..., Dataset]] = {
    "digits": digits,
    "digits_graph": digits_graph,
    "mnist": mnist,
    "fashion_mnist": fashion_mnist,
    "cifar10": cifar10,
    "svhn": svhn,
    "sphere": sphere,
    "heavy_tailed": heavy_tailed,
    "teacher": teacher,
    "unit_digits": unit_digits,
    "waves": waves,
    "poisson": poisson,
    "digit_field": digit_field,
}
# Those that are read from files: a data_dir, a cache, a package or a download.
ON_DISK = frozenset({"mnist", "fashion_mnist", "cifar10", "svhn"})


def load(
    name: str,
    n_train: int,
    n_test: int,
    seed: int = 0,
    data_dir: str | Path | None = None,
) -> Dataset:
    """Draws training and test points from a dataset.

    >>> data = load("digits", n_train=20, n_test=10)
    >>> data.x_train.shape, data.y_train.shape, data.x_test.shape
    ((20, 64), (20, 10), (10, 64))

    Args:
        name: one of `DATASETS`, or the path of a .npz file (`zoo.data.npz.load_npz`).
        n_train: number of training points.
        n_test: number of test points.
        seed: draws the points; the same seed gives the same points.
        data_dir: the folder of a dataset that is read from disk (`zoo.data.images`
            says where else it is looked for).

    Raises:
        ValueError: the name is unknown, a number is out of range, a file is corrupt, or
            a data_dir is given for a dataset that is not read from disk.
        FileNotFoundError: a file is missing; the message says how to get it.
    """
    if name.endswith(".npz"):
        return load_npz(name, n_train, n_test, seed)
    check_name("dataset", name, DATASETS)
    if name in ON_DISK:
        return DATASETS[name](n_train, n_test, seed, data_dir=data_dir)
    if data_dir is not None:
        raise ValueError(
            f"data_dir={data_dir} has no use: {name} is not read from disk; "
            f"only {', '.join(sorted(ON_DISK))} are."
        )
    return DATASETS[name](n_train, n_test, seed)


__all__ = ["DATASETS", "Dataset", "load"]
