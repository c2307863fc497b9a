"""MNIST, Fashion-MNIST, CIFAR-10 and SVHN: where their files are, and how to draw.

A data_dir that is given is the only place that is looked at. Without one the files come
from the first of: the cache ($LAZY_ZOO_DATA or ~/.cache/lazy-regime-zoo, one folder per
dataset), the folder of a Debian package, a download into the cache.

What is verified: a download by the size and SHA-256 of the official file; the IDX
files of Fashion-MNIST, wherever they lie, by the MD5 of their content, since those of
MNIST have the same names (and must not be Fashion-MNIST's, in turn); all other files by
their format alone: magic numbers, lengths, shapes, range of the labels. A data_dir may
thus hold a part of a dataset, or files that were compressed anew.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from zoo.data import archives, official
from zoo.data.base import (
    Dataset,
    Examples,
    balanced_order,
    check_counts,
    generators,
    image_dataset,
)
from zoo.data.download import DownloadError, Official, cache_folder, fetch
from zoo.data.idx import IdxFiles


@dataclass(frozen=True)
class Form:
    """One way in which a dataset's files may lie in a folder.

    Args:
        files: their names; all are needed.
        read: training and test examples from their paths, in that order.
        folders: sub-folders in which they may lie together.
        endings: what their names may end in.
    """

    files: tuple[str, ...]
    read: Callable[[list[Path]], tuple[Examples, Examples]]
    folders: tuple[str, ...] = (".",)
    endings: tuple[str, ...] = ("",)

    def find(self, root: Path) -> list[Path | None]:
        """Paths of the files, None for what is missing, where most of them lie."""
        return max((self._find(root / f) for f in self.folders), key=_present)

    def _find(self, folder: Path) -> list[Path | None]:
        candidates = ([folder / (f + e) for e in self.endings] for f in self.files)
        return [next(filter(Path.is_file, paths), None) for paths in candidates]


def _present(paths: list[Path | None]) -> int:
    return sum(path is not None for path in paths)


@dataclass(frozen=True)
class Source:
    """A dataset of images that is read from files.

    Args:
        name: the dataset's name.
        forms: the forms of its files, the first first.
        shape: height, width and channels of its images; None for any.
        downloads: the official files, which together are one of the forms.
        directory: where a Debian package puts them, or None.
        package: that package.
        classes: number of classes.
    """

    name: str
    forms: tuple[Form, ...]
    shape: tuple[int, int, int] | None = None
    downloads: tuple[Official, ...] = ()
    directory: Path | None = None
    package: str = ""
    classes: int = 10


def idx_form(files: IdxFiles, *folders: str) -> Form:
    """Four IDX files, each compressed or not."""
    return Form(tuple(files.md5), files.read, (".", *folders), ("", ".gz"))


def _npz_form(name: str) -> Form:
    return Form((f"{name}.npz",), archives.images_npz)


NO_MNIST = dict.fromkeys(official.MNIST_MD5.values(), "MNIST")
NO_FASHION = dict.fromkeys(official.FASHION_MD5.values(), "Fashion-MNIST")
MNIST = Source(
    name="mnist",
    forms=(
        idx_form(
            IdxFiles(dict.fromkeys(official.STEMS), NO_FASHION),
            "MNIST/raw",  # torchvision's
        ),
        _npz_form("mnist"),
    ),
    shape=(28, 28, 1),
    downloads=official.MNIST_FILES,
)
FASHION_MNIST = Source(
    name="fashion_mnist",
    forms=(
        idx_form(IdxFiles(official.FASHION_MD5, NO_MNIST), "FashionMNIST/raw"),
        _npz_form("fashion_mnist"),
    ),
    shape=(28, 28, 1),
    downloads=official.FASHION_FILES,
    directory=Path("/usr/share/datasets/fashion-mnist"),
    package="dataset-fashion-mnist",
)
CIFAR10 = Source(
    name="cifar10",
    forms=(
        Form(
            archives.BINARY,
            archives.from_batches(archives.cifar_binary),
            (".", "cifar-10-batches-bin"),
        ),
        Form(
            ("cifar-10-binary.tar.gz",),
            archives.from_tar(archives.BINARY, archives.cifar_binary),
        ),
        Form(
            archives.BATCHES,
            archives.from_batches(archives.cifar_pickle),
            (".", "cifar-10-batches-py"),
        ),
        Form(
            ("cifar-10-python.tar.gz",),
            archives.from_tar(archives.BATCHES, archives.cifar_pickle),
        ),
        _npz_form("cifar10"),
    ),
    shape=(32, 32, 3),
    downloads=official.CIFAR_FILES,
)
SVHN = Source(
    name="svhn",
    forms=(
        Form(("train_32x32.mat", "test_32x32.mat"), archives.svhn_mat),
        _npz_form("svhn"),
    ),
    shape=(32, 32, 3),
    downloads=official.SVHN_FILES,
)


def mnist(
    n_train: int, n_test: int, seed: int = 0, data_dir: str | Path | None = None
) -> Dataset:
    """Images of 28 x 28 pixels of 10 handwritten digits (LeCun, Cortes & Burges 1998).

    Files: the four IDX files, compressed or not, or keras' mnist.npz. `load_images`
    says where they are looked for and how points are drawn.
    """
    return load_images(MNIST, n_train, n_test, seed, data_dir)


def fashion_mnist(
    n_train: int, n_test: int, seed: int = 0, data_dir: str | Path | None = None
) -> Dataset:
    """Images of 28 x 28 pixels of 10 kinds of clothes (Xiao, Rasul & Vollgraf 2017).

    Files: the four IDX files, compressed or not, or fashion_mnist.npz; also those of
    Debian's package dataset-fashion-mnist. Training points come from the official
    60000, test points from the official 10000; no two of these 70000 images are equal.
    `load_images` says how points are drawn.
    """
    return load_images(FASHION_MNIST, n_train, n_test, seed, data_dir)


def cifar10(
    n_train: int, n_test: int, seed: int = 0, data_dir: str | Path | None = None
) -> Dataset:
    """Colour images of 32 x 32 pixels of 10 kinds of things (Krizhevsky 2009).

    Files: the binary or the Python version, unpacked or as cifar-10-binary.tar.gz or
    cifar-10-python.tar.gz, or cifar10.npz. Pickles are read by `zoo.data.pickles`,
    which runs nothing of them. `load_images` says where files are looked for and how
    points are drawn.
    """
    return load_images(CIFAR10, n_train, n_test, seed, data_dir)


def svhn(
    n_train: int, n_test: int, seed: int = 0, data_dir: str | Path | None = None
) -> Dataset:
    """Colour images of 32 x 32 pixels of house numbers' digits (Netzer et al. 2011).

    Files: train_32x32.mat and test_32x32.mat (the extra images are not used), or
    svhn.npz with labels from 0. `load_images` says where they are looked for and how
    points are drawn.
    """
    return load_images(SVHN, n_train, n_test, seed, data_dir)


def load_images(
    source: Source,
    n_train: int,
    n_test: int,
    seed: int = 0,
    data_dir: str | Path | None = None,
) -> Dataset:
    """A balanced draw from the official training examples and one from the test ones.

    `zoo.data.base.image_dataset` says how inputs and targets are scaled.

    Args:
        source: the dataset.
        n_train: number of training points.
        n_test: number of test points.
        seed: draws the points.
        data_dir: the folder with the files, checked for their format and not for their
            hash, except Fashion-MNIST's; by default the cache, a package, a download.

    Raises:
        FileNotFoundError: a file is nowhere, and cannot be downloaded.
        ValueError: a file is corrupt, or has fewer examples than asked for.
    """
    check_counts(n_train, n_test, seed)
    root = Path(data_dir) if data_dir is not None else _default_folder(source)
    form, paths = _choose(source, root)
    drawn = []
    for split, examples, n, rng in zip(
        ("train", "test"),
        form.read(paths),
        (n_train, n_test),
        generators(seed),
        strict=True,
    ):
        _check(source, paths[0].parent, split, examples)
        drawn.append(_draw(source, split, examples, n, rng))
    return image_dataset(source.name, drawn[0], drawn[1], source.classes)


def _choose(source: Source, root: Path) -> tuple[Form, list[Path]]:
    """The first form whose files are all in the folder, and their paths."""
    found = [(form, form.find(root)) for form in source.forms]
    for form, paths in found:
        whole = [path for path in paths if path is not None]
        if len(whole) == len(form.files):
            return form, whole
    nearest, paths = max(found, key=lambda pair: _present(pair[1]))
    stem = nearest.files[paths.index(None)]
    missing = " or ".join(stem + ending for ending in nearest.endings)
    raise FileNotFoundError(
        f"{source.name}: no {missing} in {root}{_hash(source, stem)}: give data_dir a "
        f"folder with {_forms(source)}{_package(source)}."
    )


def _hash(source: Source, stem: str) -> str:
    """What the official file of that name, or else the first, has to contain."""
    fits = [f for f in source.downloads if f.name.startswith(stem)]
    for file in fits or source.downloads[:1]:
        return f" (the official {file.name} has the SHA-256 {file.sha256})"
    return ""


def _forms(source: Source) -> str:
    """The files of each form, in words."""
    ways = []
    for form in source.forms:
        more = len(form.files) - 1
        ways.append(form.files[0] + (f" and {more} more" if more else ""))
    return ", or ".join(ways)


def _package(source: Source) -> str:
    return f", or install Debian's {source.package}" if source.package else ""


def _default_folder(source: Source) -> Path:
    """The cache or the package's folder, whichever has the files; else a download."""
    cache = cache_folder() / source.name
    folders = [cache] if source.directory is None else [cache, source.directory]
    for folder in folders:
        if any(None not in form.find(folder) for form in source.forms):
            return folder
    if not source.downloads:
        return folders[-1]
    try:
        for file in source.downloads:
            fetch(file, cache)
    except DownloadError as error:
        raise FileNotFoundError(
            f"{source.name}: {error} Put it into {cache}, or give data_dir a folder "
            f"with {_forms(source)}{_package(source)}."
        ) from error
    return cache


def _check(source: Source, folder: Path, split: str, examples: Examples) -> None:
    """Raises ValueError unless images and labels are of one length and in range."""
    images, labels = examples
    where = f"{source.name} in {folder}: the {split} set"
    if len(images) != len(labels):
        raise ValueError(f"{where} has {len(images)} images and {len(labels)} labels.")
    if source.shape is not None and images.shape[1:] != source.shape:
        raise ValueError(
            f"{where} has images of shape {images.shape[1:]}, not {source.shape}."
        )
    outside = (labels < 0) | (labels >= source.classes)
    if outside.any():
        raise ValueError(
            f"{where} has the label {labels[outside][0]} at {np.argmax(outside)}; "
            f"labels are 0 to {source.classes - 1}."
        )


def _draw(
    source: Source, split: str, examples: Examples, n: int, rng: np.random.Generator
) -> Examples:
    """`n` of the examples, balanced over the classes."""
    images, labels = examples
    if n > len(labels):
        raise ValueError(
            f"n_{split}={n} is larger than what {source.name} has: "
            f"{len(labels)} {split} examples."
        )
    chosen = balanced_order(labels, rng)[:n]
    return Examples(images[chosen], labels[chosen])
