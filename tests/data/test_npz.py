"""A user's own data, and what is refused of it."""

from pathlib import Path

import numpy as np
import pytest

from zoo.data import load

RNG = np.random.default_rng(0)
GOOD = {
    "x_train": RNG.normal(size=(6, 4)),
    "y_train": np.asarray([0, 1, 2, 0, 1, 2]),
    "x_test": RNG.normal(size=(5, 4)),
    "y_test": np.asarray([0, 1, 2, 0, 1]),
}


def save(folder, **changes):
    path = folder / "mine.npz"
    np.savez(path, **{k: v for k, v in (GOOD | changes).items() if v is not None})
    return str(path)


def test_points_are_the_files_own(tmp_path):
    data = load(save(tmp_path), 6, 3, seed=1)
    order = [int(np.argmin(np.abs(GOOD["x_train"] - x).sum(1))) for x in data.x_train]
    assert sorted(order) == list(range(6))
    np.testing.assert_array_equal(np.argmax(data.y_train, 1), GOOD["y_train"][order])
    assert data.classes == 3
    np.testing.assert_allclose(data.y_train.sum(1), 0, atol=1e-6)
    assert data.x_train.dtype == np.float32
    assert load(save(tmp_path), 4, 3, seed=2).x_train.shape == (4, 4)


def test_values_and_shapes(tmp_path):
    values = {"y_train": RNG.normal(size=6), "y_test": RNG.normal(size=5)}
    data = load(save(tmp_path, **values), 6, 5)
    assert (data.classes, data.y_train.shape) == (None, (6, 1))
    images = {
        "x_train": RNG.normal(size=(6, 3, 4, 2)),
        "x_test": RNG.normal(size=(5, 3, 4, 2)),
    }
    data = load(save(tmp_path, **images), 6, 5)
    assert data.shaped("image").x_train.shape == (6, 3, 4, 2)
    assert data.shaped("tokens").x_train.shape == (6, 3, 8)
    assert data.shaped("vector").x_train.shape == (6, 24)
    tokens = {k: v[..., 0] for k, v in images.items()}
    data = load(save(tmp_path, **tokens), 6, 5)
    assert data.shaped("tokens").x_test.shape == (5, 3, 4)
    with pytest.raises(ValueError, match="no inputs of kind 'image'"):
        load(save(tmp_path), 6, 5).shaped("image")
    with pytest.raises(ValueError, match="no inputs of kind 'nodes'"):
        load(save(tmp_path), 6, 5).shaped("nodes")


def test_whole_numbers_reach_a_users_module_as_they_are(tmp_path):
    """As tokens for nn.Embed; the zoo's own networks get float32 all the same."""
    tokens = {
        "x_train": RNG.integers(0, 9, (6, 4)),
        "x_test": np.ones((5, 4), np.uint8),
    }
    data = load(save(tmp_path, **tokens), 6, 5)
    assert data.x_train.dtype == data.shaped("vector").x_train.dtype == np.float32
    own = data.shaped("any")
    assert (own.x_train.dtype, own.x_test.dtype) == (np.int32, np.int32)
    np.testing.assert_array_equal(own.x_train, data.x_train)
    # Of two types, or beyond what float32 holds exactly, they are numbers like others.
    for changes in (
        {"x_test": np.ones((5, 4))},
        {"x_test": np.full((5, 4), 2**24 + 1)},
    ):
        mixed = load(save(tmp_path, **tokens | changes), 6, 5).shaped("any")
        assert (mixed.x_train.dtype, mixed.x_test.dtype) == (np.float32, np.float32)


NAN = GOOD["x_train"].copy()
NAN[2, 1] = np.nan


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"x_train": NAN}, r"x_train has nan at \(2, 1\)"),
        ({"y_test": np.full(5, np.inf)}, r"y_test has inf at \(0,\)"),
        ({"y_train": None}, "has no array y_train"),
        ({"x_test": RNG.normal(size=(5, 3))}, r"shape \(4,\), x_test of \(3,\)"),
        ({"y_train": np.arange(4)}, r"y_train \(4,\)"),
        (
            {"y_train": np.ones((6, 2)), "y_test": np.ones((5, 3))},
            "y_train has 2 values a point, y_test 3; they must be equal",
        ),
        ({"x_test": np.full((5, 4), 1e39)}, r"x_test has 1e\+39 at \(0, 0\)"),
        ({"x_train": np.full((6, 4), "a")}, "type <U1, no real number"),
        ({"x_train": np.full((6, 4), 1j)}, "x_train has the type complex128, no real"),
        ({"y_test": np.full(5, 1j)}, "y_test has the type complex128, no real number"),
        ({"y_train": np.asarray([0, -1, 2, 0, 1, 2])}, "negative whole number"),
        ({"x_train": np.zeros(6)}, r"x_train has the shape \(6,\)"),
    ],
)
def test_bad_files_are_refused_by_value(changes, message, tmp_path):
    with pytest.raises(ValueError, match=message):
        load(save(tmp_path, **changes), 6, 5)


def test_files_that_are_none(tmp_path):
    with pytest.raises(FileNotFoundError, match="there is no such file"):
        load(str(tmp_path / "none.npz"), 6, 5)
    (tmp_path / "text.npz").write_text("hello")
    with pytest.raises(ValueError, match=r"is no \.npz file of plain arrays"):
        load(str(tmp_path / "text.npz"), 6, 5)
    with (tmp_path / "array.npz").open("wb") as file:
        np.save(file, GOOD["x_train"])  # what a .npy file holds
    with pytest.raises(
        ValueError, match=r"array\.npz is no \.npz file of plain arrays"
    ):
        load(str(tmp_path / "array.npz"), 6, 5)
    whole = Path(save(tmp_path)).read_bytes()
    for length in (0, 10, len(whole) // 2, len(whole) - 1):
        (tmp_path / "cut.npz").write_bytes(whole[:length])
        with pytest.raises(ValueError, match=r"cut\.npz is no \.npz file of plain arr"):
            load(str(tmp_path / "cut.npz"), 6, 5)
    np.save(tmp_path / "array.npy", GOOD["x_train"])
    with pytest.raises(ValueError, match=r"unknown dataset '.*array\.npy'"):
        load(str(tmp_path / "array.npy"), 6, 5)
    with pytest.raises(ValueError, match="n_train=7 is larger"):
        load(save(tmp_path), 7, 5)
