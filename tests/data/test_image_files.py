"""MNIST, CIFAR-10 and SVHN from small files in each of their true formats."""

import gzip
import hashlib
import io
import pickle
import struct
import tarfile

import numpy as np
import pytest
import scipy.io

from zoo.data import images, load
from zoo.data.official import FASHION_MD5, MNIST_MD5, STEMS

SHAPES = {"mnist": (28, 28, 1), "cifar10": (32, 32, 3), "svhn": (32, 32, 3)}
BATCHES = [*(f"data_batch_{i}" for i in range(1, 6)), "test_batch"]
LABELS = np.arange(10)


def examples(name):
    """30 training and 10 test images, three and one of each class, all different."""
    rng = np.random.default_rng(len(name))
    x = rng.integers(0, 256, (40, *SHAPES[name]), dtype=np.uint8)
    return (x[:30], np.tile(LABELS, 3)), (x[30:], LABELS)


def idx(array):
    head = struct.pack(">BBBB", 0, 0, 8, array.ndim)
    return head + struct.pack(f">{array.ndim}I", *array.shape) + array.tobytes()


def idx_files():
    (x, y), (x_test, y_test) = examples("mnist")
    arrays = (x[..., 0], y.astype(np.uint8), x_test[..., 0], y_test.astype(np.uint8))
    return dict(zip(STEMS, map(idx, arrays), strict=True))


def rows(x):
    """Images as CIFAR-10's rows: all of red, then green, then blue."""
    return np.stack(
        [
            [im[i, j, c] for c in range(3) for i in range(32) for j in range(32)]
            for im in x
        ]
    )


def batches():
    """Rows and labels of six batches: five of 6 training images, one of 10."""
    (x, y), (x_test, y_test) = examples("cifar10")
    return [*((rows(x[i::5]), y[i::5]) for i in range(5)), (rows(x_test), y_test)]


def binary_files():
    return {
        f"{name}.bin": b"".join(
            bytes([label]) + row.tobytes() for row, label in zip(x, y, strict=True)
        )
        for name, (x, y) in zip(BATCHES, batches(), strict=True)
    }


def python_files():
    return {
        name: pickle.dumps({"data": x, "labels": y.tolist()})
        for name, (x, y) in zip(BATCHES, batches(), strict=True)
    }


def tar(files, folder):
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w:gz") as archive:
        for name, data in {"readme.html": b"<html>", **files}.items():
            member = tarfile.TarInfo(f"{folder}/{name}")
            member.size = len(data)
            archive.addfile(member, io.BytesIO(data))
    return content.getvalue()


def mat(x, y):
    content = io.BytesIO()
    labels = np.where(y == 0, 10, y).astype(np.uint8)[:, None]
    scipy.io.savemat(
        content, {"X": np.stack(list(x), axis=-1), "y": labels}, do_compression=True
    )
    return content.getvalue()


def mat_files():
    train, test = examples("svhn")
    return {"train_32x32.mat": mat(*train), "test_32x32.mat": mat(*test)}


def npz(name, column=False):
    (x, y), (x_test, y_test) = examples(name)
    if name == "mnist":
        x, x_test = x[..., 0], x_test[..., 0]
    if column:  # keras' CIFAR-10
        y, y_test = y[:, None].astype(np.uint8), y_test[:, None].astype(np.uint8)
    content = io.BytesIO()
    np.savez_compressed(content, x_train=x, y_train=y, x_test=x_test, y_test=y_test)
    return {f"{name}.npz": content.getvalue()}


def zipped(files):
    return {f"{name}.gz": gzip.compress(content) for name, content in files.items()}


def inside(folder, files):
    return {f"{folder}/{name}": content for name, content in files.items()}


FORMS = {
    "idx": ("mnist", idx_files),
    "idx.gz": ("mnist", lambda: zipped(idx_files())),
    "torchvision": ("mnist", lambda: inside("MNIST/raw", idx_files())),
    "mnist.npz": ("mnist", lambda: npz("mnist")),
    "binary": ("cifar10", binary_files),
    "bin folder": ("cifar10", lambda: inside("cifar-10-batches-bin", binary_files())),
    "bin archive": (
        "cifar10",
        lambda: {"cifar-10-binary.tar.gz": tar(binary_files(), "cifar-10-batches-bin")},
    ),
    "python": ("cifar10", python_files),
    "py folder": ("cifar10", lambda: inside("cifar-10-batches-py", python_files())),
    "py archive": (
        "cifar10",
        lambda: {"cifar-10-python.tar.gz": tar(python_files(), "cifar-10-batches-py")},
    ),
    "cifar10.npz": ("cifar10", lambda: npz("cifar10", column=True)),
    "mat": ("svhn", mat_files),
    "svhn.npz": ("svhn", lambda: npz("svhn")),
}


def write(folder, files):
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return folder


@pytest.mark.parametrize("form", FORMS)
def test_images_keep_their_pixels_and_labels(form, tmp_path):
    name, make = FORMS[form]
    data = load(name, 30, 10, seed=2, data_dir=write(tmp_path, make()))
    assert (data.name, data.classes, data.image_shape) == (name, 10, SHAPES[name])
    (x, y), (x_test, y_test) = examples(name)
    mu, d = x.mean(), np.prod(SHAPES[name])
    for part, pixels, labels in (("train", x, y), ("test", x_test, y_test)):
        flat = pixels.reshape(-1, d) - mu
        flat *= np.sqrt(d) / np.linalg.norm(flat, axis=1, keepdims=True)
        got = getattr(data, f"x_{part}")
        distance = np.linalg.norm(got[:, None] - flat[None], axis=-1)
        where = distance.argmin(axis=1)
        assert distance.min(axis=1).max() < 1e-4
        assert sorted(where) == list(range(len(labels)))
        drawn = getattr(data, f"y_{part}").argmax(axis=1)
        np.testing.assert_array_equal(drawn, labels[where])


@pytest.mark.parametrize("form", FORMS)
def test_the_cache_is_read_like_a_data_dir(form, tmp_path, monkeypatch):
    name, make = FORMS[form]
    monkeypatch.setenv("LAZY_ZOO_DATA", str(tmp_path))
    write(tmp_path / name, make())
    cached = load(name, 5, 5)
    given = load(name, 5, 5, data_dir=tmp_path / name)
    np.testing.assert_array_equal(cached.x_train, given.x_train)


@pytest.mark.parametrize("form", FORMS)
def test_a_truncated_file_is_named(form, tmp_path):
    """Cut to half, by some bytes, and to nothing: each file of each form."""
    name, make = FORMS[form]
    files = make()
    for file, content in files.items():
        # The last 8 bytes of a .tar.gz are its checksum.
        for length in (
            0,
            1,
            len(content) // 2 + 1,
            len(content) - 20,
            len(content) - 1,
        ):
            write(tmp_path, files | {file: content[:length]})
            with pytest.raises(ValueError) as error:
                load(name, 5, 5, data_dir=tmp_path)
            assert str(tmp_path / file) in str(error.value)
            assert "\n" not in str(error.value)


@pytest.mark.parametrize("form", FORMS)
def test_a_missing_file_is_named_with_the_ways_out(form, tmp_path):
    name, make = FORMS[form]
    files = make()
    gone = next(iter(files))
    del files[gone]
    with pytest.raises(FileNotFoundError) as error:
        load(name, 5, 5, data_dir=write(tmp_path, files))
    message = str(error.value)
    assert "\n" not in message
    for part in (str(tmp_path), name, "SHA-256", "give data_dir a folder with"):
        assert part in message
    if files:  # otherwise any of the forms' first files is named
        assert gone.rpartition("/")[2] in message


def change(file, at, value):
    def damaged(files):
        content = bytearray(files[file])
        content[at] = value
        return {file: bytes(content)}

    return damaged


def replace(file, content):
    return lambda files: {file: content}


SOLID = np.zeros((30, 28, 28), np.uint8)
MAT73 = b"MATLAB 7.3 MAT-file".ljust(124) + b"\x00\x02IM" + bytes(300)
WRONG = {
    # What the magic number says: the type, then the number of axes.
    "magic type": ("idx", change(STEMS[0], 2, 13), "with the bytes 00 00 0d 03"),
    "magic axes": (
        "idx",
        replace(STEMS[0], idx(SOLID[0])),
        r"with the bytes 00 00 08 02, not with 00 00 08 03",
    ),
    "labels as images": (
        "idx",
        lambda files: {STEMS[0]: files[STEMS[1]]},
        "train-images-idx3-ubyte is not the IDX file that its name says",
    ),
    "count": (
        "idx",
        replace(STEMS[0], idx(SOLID[:29])),
        "mnist in .* the train set has 29 images and 30 labels",
    ),
    "size": (
        "idx",
        replace(STEMS[2], idx(SOLID[:10, :14])),
        r"the test set has images of shape \(14, 28, 1\), not \(28, 28, 1\)",
    ),
    "label": ("idx", change(STEMS[1], -1, 10), "the label 10 at 29; labels are 0 to 9"),
    "cifar label": ("binary", change("test_batch.bin", 3073, 10), "the label 10 at 1"),
    "cifar rows": (
        "python",
        replace(
            "data_batch_2",
            pickle.dumps({"data": np.zeros((2, 99), np.uint8), "labels": [1, 2]}),
        ),
        "data_batch_2 is no batch of CIFAR-10: it needs data, bytes",
    ),
    "cifar count": (
        "python",
        replace(
            "test_batch",
            pickle.dumps({"data": np.zeros((2, 3072), np.uint8), "labels": [1]}),
        ),
        "the test set has 2 images and 1 labels",
    ),
    "cifar names": (
        "python",
        replace("test_batch", pickle.dumps({"data": np.zeros((1, 3072), np.uint8)})),
        "test_batch: labels has the shape",
    ),
    "cifar ragged": (
        "python",
        replace(
            "test_batch",
            pickle.dumps({"data": np.zeros((1, 3072), np.uint8), "labels": [[1], 2]}),
        ),
        "test_batch is no batch of CIFAR-10",
    ),
    "no archive": (
        "py archive",
        replace("cifar-10-python.tar.gz", b"<html>"),
        "cifar-10-python.tar.gz is corrupt: Not a gzipped file",
    ),
    "other archive": (
        "py archive",
        replace("cifar-10-python.tar.gz", tar({"data_batch_7": b""}, "a")),
        "cifar-10-python.tar.gz has no file data_batch_1",
    ),
    "mat 7.3": ("mat", replace("test_32x32.mat", MAT73), "no MATLAB file of version 5"),
    "mat label": (
        "mat",
        lambda files: {"test_32x32.mat": mat(examples("svhn")[1][0], LABELS + 2)},
        r"y has 11 at 9; SVHN's labels are 1 to 10",
    ),
    "mat arrays": (
        "mat",
        lambda files: {"test_32x32.mat": mat(np.zeros((10, 2)), LABELS)},
        r"test_32x32.mat is no file of SVHN: it needs X",
    ),
    "npz type": (
        "svhn.npz",
        lambda files: {"svhn.npz": floats()},
        r"svhn.npz: x_train has the shape \(3, 32, 32, 3\) and the type float64",
    ),
}


def floats():
    content, x = io.BytesIO(), np.zeros((3, 32, 32, 3))
    y = LABELS[:3]
    np.savez(content, x_train=x, y_train=y, x_test=x, y_test=y)
    return content.getvalue()


@pytest.mark.parametrize("case", WRONG)
def test_what_has_another_format_is_refused(case, tmp_path):
    form, damage, message = WRONG[case]
    name, make = FORMS[form]
    files = make()
    with pytest.raises(ValueError, match=message) as error:
        load(name, 5, 5, data_dir=write(tmp_path, files | damage(files)))
    assert str(tmp_path) in str(error.value)
    assert "\n" not in str(error.value)


class Touch:
    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return open, (self.path, "w")


@pytest.mark.parametrize("form", ["python", "py archive"])
def test_a_hostile_batch_is_not_run(form, tmp_path):
    made = tmp_path / "made"
    files = python_files()
    files["data_batch_3"] = pickle.dumps({"data": Touch(str(made)), "labels": []})
    if form == "py archive":
        files = {"cifar-10-python.tar.gz": tar(files, "cifar-10-batches-py")}
    with pytest.raises(
        ValueError, match=r"data_batch_3 is refused: .* asks for _?io\.o"
    ):
        load("cifar10", 5, 5, data_dir=write(tmp_path, files))
    assert not made.exists()


def test_an_archive_writes_nothing(tmp_path):
    """Its names may climb out of the folder; only their last part counts."""
    files = {f"../../{name}": content for name, content in python_files().items()}
    write(tmp_path / "in", {"cifar-10-python.tar.gz": tar(files, "a")})
    assert load("cifar10", 5, 5, data_dir=tmp_path / "in").classes == 10
    assert [p.name for p in tmp_path.rglob("*")] == ["in", "cifar-10-python.tar.gz"]


def test_a_member_larger_than_any_batch_is_not_read(tmp_path, monkeypatch):
    monkeypatch.setattr(images.archives, "LARGEST", 1000)
    write(tmp_path, FORMS["bin archive"][1]())
    with pytest.raises(ValueError, match="more than any batch"):
        load("cifar10", 5, 5, data_dir=tmp_path)


def test_the_digit_0_has_the_label_10_in_svhn(tmp_path):
    write(tmp_path, mat_files())
    stored = scipy.io.loadmat(tmp_path / "test_32x32.mat")["y"][:, 0]
    assert stored.tolist() == [10, *range(1, 10)]
    labels = load("svhn", 30, 10, data_dir=tmp_path).y_test.argmax(axis=1)
    assert sorted(labels) == list(range(10))


def test_fashion_mnists_files_are_not_taken_for_mnists(system_program):
    folder = system_program(str(images.FASHION_MNIST.directory))
    with pytest.raises(
        ValueError, match=r"is Fashion-MNIST's: its content has the MD5"
    ):
        load("mnist", 5, 5, data_dir=folder)


def test_the_table_of_official_files():
    """Hashes are distinct and of full length, mirrors are folders."""
    files = {
        file.sha256: file
        for source in (images.MNIST, images.FASHION_MNIST, images.CIFAR10, images.SVHN)
        for file in source.downloads
    }
    assert len(files) == 11
    assert {len(bytes.fromhex(digest)) for digest in files} == {32}
    hashes = [*MNIST_MD5.values(), *FASHION_MD5.values()]
    assert len(set(hashes)) == 8
    assert {len(bytes.fromhex(h)) for h in hashes} == {hashlib.md5().digest_size}
    for source in (images.MNIST, images.FASHION_MNIST):
        assert [f.name for f in source.downloads] == [f"{stem}.gz" for stem in STEMS]
    for file in files.values():
        assert all(mirror.endswith("/") for mirror in file.mirrors)
        assert file.mirrors
