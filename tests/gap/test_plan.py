"""What a sweep will take: counts by hand, and what is said where nothing fits."""

import itertools
import re
import types

import pytest

from zoo.gap import plan as planning
from zoo.gap.config import Config
from zoo.gap.plan import count, plan
from zoo.gap.run import Experiment
from zoo.report import plans

SIZE = {"seeds": 4, "cell_seeds": 2, "n_train": 16, "n_test": 8, "records": 3}


@pytest.fixture(scope="module")
def experiment():
    return Experiment(Config(widths=(32, 256), steps=50, sigma_b=0.0, **SIZE))


def test_operations_are_those_of_the_products(experiment):
    """Two hidden layers of digits: 64 m + m^2 + 10 m weights, 2 a weight and point."""
    m, n, k, steps, records = 256, 16, 10, 50, len(experiment.times)
    work = count(experiment, m)
    weights = 64 * m + m**2 + k * m
    assert work.parameters == weights
    step = 2 * n * (3 * weights - 64 * m)  # no derivative by the inputs
    record = 2 * (n + 8) * weights
    assert work.training == pytest.approx(steps * step + records * record, rel=0.1)
    assert work.kernels > 2 * (n * k) ** 2 * steps


@pytest.mark.slow
def test_a_width_that_does_not_fit_is_not_run(experiment):
    narrow, wide = plan(experiment)
    assert (narrow.cells, narrow.seeds) == (2, 2)
    assert 0 < narrow.running and 0 < wide.running
    copies = 4 * 2 * wide.work.parameters  # float32, two seeds
    assert 2 * copies < wide.bytes < 20 * copies + 2**24
    alone, large = plan(experiment, free=(narrow.bytes + wide.bytes) // 2)
    assert alone.running is not None
    assert large.running is not None  # at the rate of the narrow one
    none = plan(experiment, free=0)
    assert [width.running for width in none] == [None, None]
    assert plans.total(none).endswith("Without widths 32, 256.")
    work = wide.work.training + wide.work.kernels
    given = plan(experiment, free=0, rate=1e9)[1].running
    assert given == pytest.approx(4 * work / 1e9)
    rows = re.findall(r"(\d+) of 2 seeds", plans.table([narrow, wide]))
    assert rows == ["2", "2"]


@pytest.mark.slow
def test_seconds_are_those_of_the_parts_of_a_cell(monkeypatch):
    """By a clock of which every part, and every few steps, take a second.

    Three seeds of cells of two, one after the other: the first step of a part is timed,
    and is the longest that is.
    """
    clock = types.SimpleNamespace(monotonic=itertools.count(0.0).__next__)
    monkeypatch.setattr(planning, "time", clock)
    monkeypatch.setattr(planning, "MOST", 1e9)
    size = SIZE | {"seeds": 3, "memory_gb": 1e-6}
    experiment = Experiment(Config(widths=(16,), steps=40, **size))
    pair, single = plan(experiment)
    assert (pair.cells, pair.seeds, single.cells, single.seeds) == (1, 2, 1, 1)
    assert pair.running == 1 + 2 * 40 + 1
    assert single.running == 1 + 40 + 1
    monkeypatch.setattr(planning, "MOST", 0.0)  # as if kernels took too long
    pair, single = plan(experiment)
    kernels = pair.work.kernels / pair.work.training * 40
    assert pair.running == pytest.approx(1 + 2 * 40 + 2 * kernels)
    assert pair.preparing == single.preparing == 1
