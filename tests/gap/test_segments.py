"""A training that is cut anywhere, and goes on later, is the same to the bit."""

import numpy as np
import pytest

from zoo.gap import preemption, segments, store
from zoo.gap.config import Config
from zoo.gap.run import Experiment
from zoo.gap.sweep import Cell, measure_cells

# Momentum is a memory that steps change, and batches come in an order.
CONFIG = Config(
    widths=(8,),
    depth=1,
    seeds=4,
    cell_seeds=4,
    n_train=6,
    n_test=4,
    steps=20,
    records=4,
    optimizer="momentum",
    batch_size=2,
    learning_rate=0.01,
    memory_gb=30_000 / 2**30,
    limit="none",
)


@pytest.fixture(scope="module")
def experiment():
    return Experiment(CONFIG, allow_divergence=True)


@pytest.fixture(scope="module")
def whole(experiment):
    return experiment.measure(8, np.arange(4))


@pytest.fixture
def cut(monkeypatch):
    """`cut(k)`: from the k-th place on the run is asked to stop; none is a no-op."""

    def at(k):
        places = iter(range(10**6))
        monkeypatch.setattr(preemption, "reached", lambda place: next(places) >= k)

    return at


def same(a, b):
    assert a.keys() == b.keys()
    for name in a:
        np.testing.assert_array_equal(a[name], b[name], err_msg=name)


def test_segments_do_not_change_a_bit(experiment, whole, tmp_path, monkeypatch):
    for seconds in (0.0, 1e-4, 1e9):  # a step each, some, all but the first ones
        monkeypatch.setattr(segments, "SEGMENT", seconds)
        same(whole, experiment.measure(8, np.arange(4), tmp_path / "c"))
        assert not (tmp_path / "c").exists()  # nobody asked, and it was short


def test_cut_anywhere_it_goes_on_to_the_same_bits(
    experiment, whole, tmp_path, monkeypatch, cut
):
    """Every segment in what is as good as a process of its own; one step each."""
    monkeypatch.setattr(segments, "SEGMENT", 0.0)
    scratch, stops = tmp_path / "c", 0
    while stops < 60:
        cut(stops % 3)
        try:
            found = experiment.measure(8, np.arange(4), scratch)
            break
        except preemption.Preempted:
            stops += 1
            assert len(list(scratch.iterdir())) == 1
    else:
        pytest.fail("it does not go on")
    same(whole, found)
    assert 15 < stops < 40  # in two parts of 20 steps


def test_a_long_training_is_stored_now_and_then(
    experiment, whole, tmp_path, monkeypatch
):
    """So that a kill that does not ask costs no more than that."""
    monkeypatch.setattr(segments, "SEGMENT", 0.0)
    monkeypatch.setattr(segments, "SAVE", 0)
    scratch = tmp_path / "c"

    def killed(place):
        if place == 25:
            raise InterruptedError
        return False

    monkeypatch.setattr(preemption, "_place", 0)
    monkeypatch.setattr(preemption, "reached", killed)
    with pytest.raises(InterruptedError):
        experiment.measure(8, np.arange(4), scratch)
    assert [folder.name for folder in scratch.iterdir()] == ["24"]
    monkeypatch.setattr(preemption, "reached", lambda place: False)
    same(whole, experiment.measure(8, np.arange(4), scratch))


def halve(files):
    for path in files:
        path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def flip_a_bit(files):
    path = max(files, key=lambda path: path.stat().st_size)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def delete(files):
    for path in files:
        path.unlink()


DAMAGES = {
    "data are truncated": (halve, "d/*"),
    "a bit is flipped": (flip_a_bit, "*"),
    "metadata are missing": (delete, "*METADATA"),
    "all files are missing": (delete, "*"),
}


@pytest.mark.filterwarnings("ignore")  # Orbax's, of what it misses
@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_checkpoint_is_said_and_dropped(
    experiment, whole, tmp_path, cut, damage
):
    said = []

    def measure():
        cell = Cell(
            "c", 1.0, lambda at: experiment.measure(8, np.arange(4), at), resumes=True
        )
        return measure_cells([cell], tmp_path, {}, lambda m, s: said.append(m))[0]

    store.open_workdir(tmp_path, {})
    cut(1)
    with pytest.raises(preemption.Preempted):
        measure()
    scratch = tmp_path / "cells" / "c" / "checkpoint"
    harm, which = DAMAGES[damage]
    files = [path for path in scratch.rglob(which) if path.is_file()]
    assert files
    harm(files)
    cut(10**6)
    same(whole, measure()[0])
    assert said[0] == "c: goes on from its checkpoint"
    assert said[1].startswith("c: its checkpoint is damaged (")
    assert said[1].endswith("); begun anew")
    assert not scratch.exists()
