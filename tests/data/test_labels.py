"""Label transforms: exact counts, standard errors of draws, inputs left alone."""

import dataclasses

import numpy as np
import pytest

from zoo.data import load
from zoo.data.labels import (
    centred,
    class_labels,
    label_noise,
    offset,
    offset_one_hot,
    parity,
    random_labels,
)

CHANGES = {
    "centred": centred,
    "offset": offset,
    "random": random_labels,
    "noise": lambda data: label_noise(data, 0.5),
    "parity": parity,
}


@pytest.fixture(scope="module")
def data():
    return load("digits", 1000, 600, seed=3)


@pytest.fixture(scope="module")
def few():
    """The same with four classes, where 1/k is not 0.1."""
    rng = np.random.default_rng(0)
    labels = rng.integers(4, size=(2, 4000))
    y_train, y_test = (np.eye(4)[row].astype(np.float32) - 0.25 for row in labels)
    x = np.zeros((4000, 1), np.float32)
    whole = load("digits", 1, 1)
    return dataclasses.replace(
        whole, x_train=x, y_train=y_train, x_test=x, y_test=y_test, classes=4
    )


@pytest.mark.parametrize("name", CHANGES)
def test_a_change_is_pure_and_leaves_inputs(data, name):
    before = data.y_train.copy(), data.y_test.copy()
    first, again = CHANGES[name](data), CHANGES[name](data)
    for part, old in zip(("train", "test"), before, strict=True):
        y = getattr(first, f"y_{part}")
        assert y.dtype == np.float32
        np.testing.assert_array_equal(y, getattr(again, f"y_{part}"))
        np.testing.assert_array_equal(getattr(data, f"y_{part}"), old)
        assert getattr(first, f"x_{part}") is getattr(data, f"x_{part}")


def test_the_two_values_of_a_target(few):
    labels = class_labels(few)
    for changed, low in ((centred(offset(few)), -0.25), (offset(few), -0.1)):
        for y, label in zip((changed.y_train, changed.y_test), labels, strict=True):
            assert sorted(np.unique(y)) == pytest.approx([low, 1 + low])
            np.testing.assert_array_equal((y > 0).sum(axis=1), 1)
            np.testing.assert_array_equal(y.argmax(axis=1), label)
    np.testing.assert_array_equal(centred(few).y_train, few.y_train)


def test_the_cntks_offset_by_hand():
    np.testing.assert_allclose(
        offset_one_hot(np.array([2, 0]), 3), [[-0.1, -0.1, 0.9], [0.9, -0.1, -0.1]]
    )


def test_changes_of_labels_keep_the_encoding(few):
    for change in (random_labels, lambda data: label_noise(data, 0.3)):
        one, other = change(offset(few)), offset(change(few))
        np.testing.assert_array_equal(one.y_train, other.y_train)
        np.testing.assert_array_equal(one.y_test, other.y_test)


def test_random_labels_are_uniform_and_independent_of_the_true(few):
    drawn = random_labels(few, seed=1)
    for old, new in zip(class_labels(few), class_labels(drawn), strict=True):
        counts = np.zeros((4, 4))
        np.add.at(counts, (old, new), 1)
        expected = counts.sum(axis=1, keepdims=True) / 4
        # Chi-squared with 12 degrees of freedom: mean 12, sd sqrt(24).
        chi = ((counts - expected) ** 2 / expected).sum()
        assert abs(chi - 12) < 5 * np.sqrt(24)
    train, test = class_labels(drawn)
    assert abs((train == test).mean() - 0.25) < 5 * np.sqrt(3 / 16 / 4000)
    other = random_labels(few, seed=2)
    assert abs((class_labels(other)[0] == train).mean() - 0.25) < 0.035


def test_random_labels_do_not_depend_on_the_number_of_points():
    few, many = (random_labels(load("digits", n, 50), seed=4) for n in (40, 200))
    np.testing.assert_array_equal(few.y_train, many.y_train[:40])
    np.testing.assert_array_equal(few.y_test, many.y_test)


@pytest.mark.parametrize("share", [0.0, 0.1, 0.333, 1.0])
def test_noise_changes_exactly_its_share_to_other_labels(few, share):
    noisy = label_noise(few, share, seed=5)
    old, new = class_labels(few)[0], class_labels(noisy)[0]
    moved = old != new
    assert moved.sum() == round(share * 4000)
    np.testing.assert_array_equal(noisy.y_test, few.y_test)
    # Each of the 3 other labels is as frequent.
    for shift in range(1, 4):
        error = np.sqrt(2 / 9 * moved.sum())
        assert abs(((new - old) % 4 == shift).sum() - moved.sum() / 3) <= 5 * error


def test_more_noise_changes_more_of_the_same(few):
    some, more = (class_labels(label_noise(few, s, seed=6))[0] for s in (0.2, 0.5))
    old = class_labels(few)[0]
    hit = some != old
    np.testing.assert_array_equal(more[hit], some[hit])


def test_which_labels_are_noisy_is_random(few):
    moved = class_labels(label_noise(few, 0.5, seed=7))[0] != class_labels(few)[0]
    assert abs(moved[:2000].mean() - 0.5) < 5 * np.sqrt(0.25 / 4000)


def test_parity(data):
    even = parity(data)
    assert (even.classes, even.y_train.shape) == (None, (1000, 1))
    for part, labels in zip(("train", "test"), class_labels(data), strict=True):
        sign = [1.0 if label in (0, 2, 4, 6, 8) else -1.0 for label in labels]
        np.testing.assert_array_equal(getattr(even, f"y_{part}")[:, 0], sign)


@pytest.mark.parametrize("change", [*CHANGES.values()])
def test_values_are_no_labels(change):
    with pytest.raises(ValueError, match="dataset sphere has no classes"):
        change(load("sphere", 5, 5))


def test_what_is_no_share_or_seed_is_refused(data):
    for share in (-0.1, 1.5, float("nan")):
        with pytest.raises(ValueError, match=f"share={share} is not allowed"):
            label_noise(data, share)
    for change in (random_labels, lambda d, seed: label_noise(d, 0.1, seed)):
        with pytest.raises(ValueError, match="seed=-1 is too small"):
            change(data, seed=-1)


def test_the_draw_of_a_seed_does_not_change_with_versions(data):
    """Stored results name only the seed: pins what numpy's generator makes of it."""
    assert class_labels(random_labels(data, 0))[0][:8].tolist() == [
        9,
        9,
        7,
        4,
        1,
        8,
        0,
        2,
    ]
    moved = class_labels(label_noise(data, 0.01, 0))[0] != class_labels(data)[0]
    assert np.flatnonzero(moved)[:4].tolist() == [19, 101, 318, 448]
