"""IDX files: read in the right order, and refused when anything about them is wrong."""

import gzip
import hashlib
import struct

import numpy as np
import pytest

from zoo.data import load
from zoo.data.idx import IdxFiles, read_idx
from zoo.data.images import (
    FASHION_MNIST,
    Source,
    fashion_mnist,
    idx_form,
    load_images,
)
from zoo.data.official import FASHION_MD5

STEMS = ("train-images", "train-labels", "t10k-images", "t10k-labels")


def idx_bytes(array):
    """The IDX file of an array of bytes, from the format's own description."""
    header = struct.pack(">BBBB", 0, 0, 8, array.ndim)
    return header + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def md5(content):
    return hashlib.md5(content).hexdigest()


@pytest.fixture
def arrays():
    """30 training and 20 test images of 3 x 5 pixels, 10 classes, all different."""
    rng = np.random.default_rng(0)
    return {
        "train-images": rng.integers(0, 256, (30, 3, 5), dtype=np.uint8),
        "train-labels": np.tile(np.arange(10, dtype=np.uint8), 3),
        "t10k-images": rng.integers(0, 256, (20, 3, 5), dtype=np.uint8),
        "t10k-labels": np.repeat(np.arange(10, dtype=np.uint8), 2),
    }


def tiny(folder, hashes):
    """A dataset of four IDX files that a package has put into a folder."""
    form = idx_form(IdxFiles(hashes))
    return Source("tiny", (form,), directory=folder, package="dataset-tiny")


@pytest.fixture
def hashes(arrays):
    return {stem: md5(idx_bytes(arrays[stem])) for stem in STEMS}


@pytest.fixture
def source(arrays, hashes, tmp_path, monkeypatch):
    """The four files in a folder, half of them compressed, with their hashes."""
    monkeypatch.setenv("LAZY_ZOO_DATA", str(tmp_path / "no cache"))
    contents = {stem: idx_bytes(arrays[stem]) for stem in STEMS}
    for stem, content in contents.items():
        if stem.startswith("train"):
            (tmp_path / stem).write_bytes(content)
        else:
            (tmp_path / f"{stem}.gz").write_bytes(gzip.compress(content))
    return tiny(tmp_path, hashes)


def test_images_keep_their_pixels_labels_and_split(arrays, source):
    data = load_images(source, 30, 20, seed=4)
    assert (data.image_shape, data.classes) == ((3, 5, 1), 10)
    mu = arrays["train-images"].mean()
    for split, part in (("train", "train"), ("t10k", "test")):
        x = arrays[f"{split}-images"].reshape(-1, 15) - mu
        x *= np.sqrt(15) / np.linalg.norm(x, axis=1, keepdims=True)
        got = getattr(data, f"x_{part}")
        distance = np.linalg.norm(got[:, None] - x[None], axis=-1)
        where = distance.argmin(axis=1)
        assert distance.min(axis=1).max() < 1e-5
        assert sorted(where) == list(range(len(x)))  # all drawn, each once
        labels = getattr(data, f"y_{part}").argmax(axis=1)
        np.testing.assert_array_equal(labels, arrays[f"{split}-labels"][where])


def test_draws_are_balanced_and_follow_the_seed(source):
    first, again, other = (load_images(source, 10, 10, seed) for seed in (0, 0, 1))
    for part in ("train", "test"):
        labels = getattr(first, f"y_{part}").argmax(axis=1)
        assert sorted(labels) == list(range(10))
        x = [getattr(data, f"x_{part}") for data in (first, again, other)]
        np.testing.assert_array_equal(x[0], x[1])
        assert (x[0] != x[2]).any()


def test_data_dir_comes_before_the_default_folder(source, hashes, tmp_path):
    elsewhere = tiny(tmp_path / "empty", hashes)
    found = load_images(elsewhere, 5, 5, data_dir=str(tmp_path))
    np.testing.assert_array_equal(found.x_train, load_images(source, 5, 5).x_train)
    with pytest.raises(FileNotFoundError, match="empty"):
        load_images(source, 5, 5, data_dir=tmp_path / "empty")


@pytest.mark.parametrize("stem", STEMS)
def test_a_missing_file_is_named_with_its_folder_and_package(source, tmp_path, stem):
    next(tmp_path.glob(f"{stem}*")).unlink()
    with pytest.raises(FileNotFoundError) as error:
        load_images(source, 5, 5)
    for part in (stem, str(tmp_path), "dataset-tiny", "tiny:"):
        assert part in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("stem", STEMS)
def test_one_changed_byte_is_found_by_the_hash(source, hashes, arrays, tmp_path, stem):
    path = next(tmp_path.glob(f"{stem}*"))
    content = bytearray(idx_bytes(arrays[stem]))
    content[-1] ^= 1
    zipped = path.suffix == ".gz"
    path.write_bytes(gzip.compress(content) if zipped else content)
    with pytest.raises(ValueError) as error:
        load_images(source, 5, 5)
    for part in (str(path), hashes[stem], md5(content)):
        assert part in str(error.value)


@pytest.mark.parametrize("damage", ["truncate", "no gzip", "no deflate", "flip"])
def test_a_damaged_gz_is_a_corrupt_file(source, hashes, tmp_path, damage):
    path = tmp_path / "t10k-images.gz"
    content = bytearray(path.read_bytes())
    if damage == "truncate":
        content = content[:-20]
    elif damage == "no gzip":
        content[0] = 0
    elif damage == "no deflate":
        content[10] = 0xFF  # the first block's type, after a header without a name
    else:
        content[40] ^= 255
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"t10k-images\.gz is corrupt: ") as error:
        load_images(source, 5, 5)
    assert hashes["t10k-images"] in str(error.value)
    assert "\n" not in str(error.value)


def test_a_truncated_raw_file_is_a_corrupt_file(source, tmp_path):
    path = tmp_path / "train-images"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(
        ValueError, match="train-images is corrupt: its content has the"
    ):
        load_images(source, 5, 5)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", r"no IDX file of unsigned bytes: it begins with the bytes ,"),
        (b"\0\0\x08", r"begins with the bytes 00 00 08,"),
        (b"\0\0\x08\x02\0\0\0\1", r"begins with the bytes 00 00 08 02,"),
        (b"\0\0\x0d\x01\0\0\0\1\1", r"begins with the bytes 00 00 0d 01,"),
        (b"PNG...", r"begins with the bytes 50 4e 47 2e,"),
        (b"\0\0\x08\x01\0\0\0\3\1\2", r"promises 3 entries \(shape \(3,\)\), and 2 "),
        (b"\0\0\x08\x01\0\0\0\1\1\2", r"promises 1 entries \(shape \(1,\)\), and 2 "),
    ],
    ids=str,
)
def test_what_is_no_idx_file_is_refused_even_with_the_right_hash(
    tmp_path, content, message
):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=message):
        read_idx(path, md5(content))


def test_another_datasets_file_is_called_by_its_name(tmp_path):
    path = tmp_path / "file"
    path.write_bytes(idx_bytes(np.zeros(3, np.uint8)))
    others = {md5(path.read_bytes()): "Other"}
    for wanted in (None, "0" * 32):
        with pytest.raises(
            ValueError, match="file is Other's: its content has the MD5"
        ):
            read_idx(path, wanted, others=others)


def test_axes_come_slowest_first(tmp_path):
    array = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    path = tmp_path / "file"
    path.write_bytes(idx_bytes(array))
    np.testing.assert_array_equal(read_idx(path, md5(idx_bytes(array))), array)


@pytest.mark.parametrize(
    ("n_train", "n_test", "message"),
    [
        (31, 5, r"n_train=31 is larger than what tiny has: 30 train examples"),
        (5, 21, r"n_test=21 is larger than what tiny has: 20 test examples"),
        (5, 0, r"n_test=0 is too small"),
    ],
)
def test_more_than_there_is_is_refused(source, n_train, n_test, message):
    with pytest.raises(ValueError, match=message):
        load_images(source, n_train, n_test)


def test_fashion_mnist_looks_in_the_folder_that_is_given(tmp_path):
    with pytest.raises(FileNotFoundError) as error:
        load("fashion_mnist", 10, 10, data_dir=tmp_path)
    for part in (str(tmp_path), "train-images-idx3-ubyte", "dataset-fashion-mnist"):
        assert part in str(error.value)


def test_fashion_mnist_is_told_from_other_files_by_its_hash(source, tmp_path):
    for stem, official in zip(STEMS, FASHION_MD5, strict=True):
        path = next(tmp_path.glob(f"{stem}*"))
        path.rename(tmp_path / (official + path.suffix))
    with pytest.raises(
        ValueError, match=r"is corrupt: .*f4a8712d7a061bf5bd6d2ca38dc4d"
    ):
        fashion_mnist(10, 10, data_dir=tmp_path)


def test_debian_fashion_mnist(system_program):
    """The real files, with the official hashes: 784 pixels, 10 classes, balanced."""
    system_program(str(FASHION_MNIST.directory))
    data = load("fashion_mnist", n_train=500, n_test=300, seed=2)
    assert data.x_train.shape == (500, 784)
    assert data.image_shape == (28, 28, 1)
    norms = (data.x_test.astype(float) ** 2).mean(axis=1)
    np.testing.assert_allclose(norms, 1, rtol=4e-6)
    for y, each in ((data.y_train, 50), (data.y_test, 30)):
        np.testing.assert_array_equal(np.bincount(y.argmax(axis=1)), [each] * 10)
    # Class means tell the classes apart: 71 % of test images are nearest to their own
    # (10 % by chance), which they would not with labels in another order.
    means = (data.y_train + 0.1).T @ data.x_train / 50
    nearest = np.linalg.norm(data.x_test[:, None] - means, axis=-1).argmin(axis=1)
    assert (nearest == data.y_test.argmax(axis=1)).mean() > 0.6
