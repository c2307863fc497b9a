"""Products of derivatives, against one einsum; and the symmetric halves."""

import jax
import numpy as np
import pytest

from zoo.finite import gram
from zoo.finite.gram import (
    Apart,
    Flat,
    Pair,
    Stream,
    contract,
    multiplied,
    order,
    splits,
)

K, P, Q, M = 3, 4, 5, 7


def drawn(n, seed, k=K, p=P, q=Q, m=M):
    rng = np.random.default_rng(seed)
    return rng.normal(size=(n, p, q)), rng.normal(size=(k, n, p, m))


def wanted(left, right, full):
    d, e = (np.einsum("npq,knpm->knqm", *side) for side in (left, right))
    return np.einsum("knqm,jaqm->knja" if full else "knqm,kaqm->na", d, e)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("kind", [Pair, Stream, multiplied])
@pytest.mark.parametrize("numbers", [gram.NUMBERS, 200, 1])
def test_products(x64, monkeypatch, kind, full, numbers):
    """Streams in one part, in parts of 2 of 7 units (the last one padded), one each."""
    monkeypatch.setattr(gram, "NUMBERS", numbers)
    left, right = drawn(6, 0), drawn(9, 1)
    factors = [kind(*map(jax.numpy.asarray, side)) for side in (left, right)]
    got = contract([factors[0]] * 2, [factors[1]] * 2, full)
    np.testing.assert_allclose(got, 2 * wanted(left, right, full), rtol=1e-12)
    got = contract([factors[0]] * 2, None, full)
    np.testing.assert_allclose(got, 2 * wanted(left, left, full), rtol=1e-12)


@pytest.mark.parametrize("full", [False, True])
@pytest.mark.parametrize("kind", [Pair, Stream, multiplied])
def test_upper_blocks_make_all(x64, monkeypatch, kind, full):
    monkeypatch.setattr(gram, "ROWS", 3)
    monkeypatch.setattr(gram, "NUMBERS", 300)
    some = drawn(11, 2)
    factor = kind(*map(jax.numpy.asarray, some))
    assert len(splits(11, factor.height(full))) > 1
    got = contract([factor], None, full)
    np.testing.assert_allclose(got, wanted(some, some, full), rtol=1e-11)


def test_rows_are_points():
    for kind in (Pair, Stream, multiplied):
        h, g = drawn(6, 3)
        some = kind(*map(jax.numpy.asarray, (h, g))).rows(2, 5)
        assert type(some) is (Flat if kind is multiplied else kind)
        assert some.points == 3


@pytest.mark.parametrize("count", [1, 2, 5, 100])
def test_splits_cover_all_points(count):
    starts = splits(count, 10**4)
    assert starts[0] == 0 and starts == sorted(set(starts)) and starts[-1] < count


def test_order_of_the_products():
    """Dense layers in pairs; convolutions multiplied out, kept if needed again."""
    assert order((1, 1024, 1024), (256, 256, 10, True), True) is Pair
    assert order((256, 576, 64), (64, 64, 10, False), True) is Stream
    assert order((256, 576, 64), (64, 64, 10, False), False) is multiplied
    assert order((16, 256, 256), (128, 128, 10, False), True) is Pair
    assert order((16, 256, 256), (128, 128, 10, True), True, apart=True) is Apart
    assert order((1, 1024, 1024), (256, 256, 10, True), True, apart=True) is Pair
