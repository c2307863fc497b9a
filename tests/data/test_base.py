"""Scaling, drawing and refusing, for every dataset that needs no file."""

import chex
import numpy as np
import pytest

from zoo.data import DATASETS, ON_DISK, load
from zoo.data.base import balanced_order, centred_one_hot, on_sphere

EMBEDDED = [
    "digits",
    "sphere",
    "heavy_tailed",
    "teacher",
    "unit_digits",
    "waves",
    "poisson",
    "digit_field",
]


def rows(x):
    return {row.tobytes() for row in x}


def test_the_registry_is_what_these_tests_cover():
    assert {*EMBEDDED, *ON_DISK, "digits_graph"} == set(DATASETS)


@pytest.mark.parametrize("name", EMBEDDED)
def test_shapes_and_dtypes(name):
    data = load(name, n_train=37, n_test=21, seed=3)
    assert data.name == name
    assert len(data.x_train) == len(data.y_train) == 37
    assert len(data.x_test) == len(data.y_test) == 21
    chex.assert_type([data.x_train, data.y_train, data.x_test, data.y_test], np.float32)
    if data.image_shape is not None:
        assert np.prod(data.image_shape) == data.x_train.shape[1]


@pytest.mark.parametrize("name", EMBEDDED)
def test_no_point_is_in_both_sets_or_twice_in_one(name):
    data = load(name, n_train=900, n_test=800)
    train, test = rows(data.x_train), rows(data.x_test)
    assert len(train) == 900
    assert len(test) == 800
    assert not train & test


@pytest.mark.parametrize("name", EMBEDDED)
def test_the_seed_alone_decides(name):
    first, again, other = (load(name, 30, 20, seed) for seed in (5, 5, 6))
    for field in ("x_train", "y_train", "x_test", "y_test"):
        np.testing.assert_array_equal(getattr(first, field), getattr(again, field))
        assert (getattr(first, field) != getattr(other, field)).any()


@pytest.mark.parametrize("name", EMBEDDED)
def test_test_points_stay_and_training_sets_are_nested_as_n_train_grows(name):
    few, many = (load(name, n_train, 40) for n_train in (50, 300))
    # The labels of classes, and all of synthetic data, show which points were drawn;
    # images are scaled by a mean over the training points, so their rows move a little.
    np.testing.assert_array_equal(few.y_test, many.y_test)
    np.testing.assert_array_equal(few.y_train, many.y_train[:50])
    np.testing.assert_allclose(few.x_test, many.x_test, atol=0.1)
    np.testing.assert_allclose(few.x_train, many.x_train[:50], atol=0.1)


def test_a_prefix_is_balanced_while_every_class_has_examples():
    rng = np.random.default_rng(0)
    labels = rng.permutation(np.repeat(np.arange(4), [5, 50, 60, 70]))
    order = balanced_order(labels, rng)
    assert sorted(order) == list(range(len(labels)))
    for n in range(1, len(labels) + 1):
        counts = np.bincount(labels[order[:n]], minlength=4)
        left = counts < np.bincount(labels)
        assert counts.max() - counts[left].min(initial=counts.max()) <= 1


def test_the_order_within_a_class_is_random():
    labels = np.zeros(1000, dtype=int)
    order = balanced_order(labels, np.random.default_rng(1))
    # Rank correlation with the given order; its s.e. is 1 / sqrt(999) = 0.03.
    assert abs(np.corrcoef(order, np.arange(1000))[0, 1]) < 5 / np.sqrt(999)


def test_inputs_on_the_sphere():
    x = on_sphere(np.array([[3.0, 4.0, 0.0, 0.0], [0.0, -1e-3, 0.0, 0.0]]))
    np.testing.assert_allclose(x, [[1.2, 1.6, 0, 0], [0, -2, 0, 0]], rtol=1e-7)
    with pytest.raises(ValueError, match=r"input 1 is 0 in all 4 coordinates"):
        on_sphere(np.array([[1.0, 0, 0, 0], [0, 0, 0, 0]]))


def test_labels_are_centred_one_hot():
    y = centred_one_hot(np.array([2, 0]), 4)
    np.testing.assert_allclose(y, [[-0.25, -0.25, 0.75, -0.25], [0.75, *[-0.25] * 3]])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (dict(name="digit"), r"unknown dataset 'digit'; did you mean 'digits'\?"),
        (
            dict(name="cats"),
            r"unknown dataset 'cats'; Allowed: cifar10, digit_field, dig",
        ),
        (dict(n_train=0), r"n_train=0 is too small"),
        (dict(n_test=-1), r"n_test=-1 is too small"),
        (dict(seed=-1), r"seed=-1 is too small"),
        (dict(name="sphere", n_train=0), r"n_train=0 is too small"),
        (dict(name="teacher", n_test=0), r"n_test=0 is too small"),
        (dict(name="fashion_mnist", n_train=0), r"n_train=0 is too small"),
        (
            dict(n_train=1670),
            r"n_train=1670 is larger than what digits has: 1797 examples, "
            r"n_test=128 of them kept for testing\.$",
        ),
        (dict(n_test=1797), r"n_test=1797 leaves nothing to train on: .* 1797 ex"),
        (dict(data_dir="here"), r"data_dir=here has no use: digits is not read from"),
    ],
    ids=str,
)
def test_bad_input_is_refused_in_one_line(arguments, message):
    given = dict(name="digits", n_train=128, n_test=128) | arguments
    with pytest.raises(ValueError, match=message) as error:
        load(**given)
    assert "\n" not in str(error.value)


def test_all_of_digits_can_be_used():
    assert len(load("digits", n_train=1669, n_test=128).x_train) == 1669
