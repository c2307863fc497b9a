"""Cells of a folder: shards, failures, damage, and other processes at work on it."""

import functools
import json
import re
import threading
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from zoo.finite.train import train
from zoo.gap import locks, store, sweep
from zoo.gap.sweep import Cell, Shard, Unfinished, measure_cells

CONFIG = {"steps": 3}
X = np.linspace(-1, 1, 6, dtype=np.float32)[:, None]


@jax.jit
def outputs(seed):
    """A network of three parameters, trained."""
    params = jax.random.normal(jax.random.key(seed), (3, 1))

    def apply(w, x):
        return jnp.tanh(x @ w[:1]) @ w[1:2] + w[2:]

    x = jnp.asarray(X)
    return train(apply, params, x, jnp.sin(x), optax.sgd(0.1), jnp.arange(4)).outputs


class Sweep:
    """Four cells in a folder, and what was said and measured of them."""

    def __init__(self, workdir, broken=()):
        store.open_workdir(workdir, CONFIG)
        self.workdir, self.measured, self.said, self.shares = workdir, [], [], []
        self.broken = dict(broken)
        self.cells = [
            Cell(f"s{seed}", 1.0, functools.partial(self.measure, seed))
            for seed in range(4)
        ]

    def measure(self, seed):
        self.measured.append(seed)
        if seed in self.broken:
            raise self.broken[seed]
        return {"f": np.asarray(outputs(seed))}

    def __call__(self, shard=sweep.WHOLE):
        self.measured, self.said, self.shares = [], [], []

        def report(message, share):
            self.said.append(message)
            self.shares.append(share)

        found, _ = measure_cells(self.cells, self.workdir, CONFIG, report, shard)
        return [arrays["f"] for arrays in found]

    def names(self):
        return {path.name for path in self.workdir.glob("cells/*/*")}


@functools.cache
def expected():
    return [np.asarray(outputs(seed)) for seed in range(4)]


def test_cells_are_measured_once_and_in_order(tmp_path):
    run = Sweep(tmp_path)
    np.testing.assert_array_equal(run(), expected())
    assert run.measured == [0, 1, 2, 3]
    assert run.names() == {"traj.npz", "run.json"}
    np.testing.assert_array_equal(run(), expected())
    assert run.measured == []
    assert run.said == [f"s{seed}: on disk" for seed in range(4)]


def test_the_last_shard_sums_up(tmp_path):
    run = Sweep(tmp_path)
    with pytest.raises(Unfinished, match=r"2 of 4 cells are missing: s1, s3\.") as e:
        run(Shard(0, 2))
    assert e.value.failed == 0
    assert run.measured == [0, 2]
    np.testing.assert_array_equal(run(Shard(1, 2)), expected())
    assert run.measured == [1, 3]
    with pytest.raises(Unfinished, match="s0, s1, s2, s3"):
        Sweep(tmp_path / "more")(Shard(7, 8))  # a share of no cell


def test_one_of_several_begins_at_its_own_and_helps(tmp_path):
    run = Sweep(tmp_path)
    with pytest.raises(Unfinished, match="the first process sums up"):
        run(Shard(1, 3, sums_up=False, helps=True))
    assert run.measured == [1, 0, 2, 3]
    np.testing.assert_array_equal(run(Shard(0, 3, helps=True)), expected())
    assert run.measured == []


def test_a_failure_is_recorded_and_the_sweep_goes_on(tmp_path):
    broken = {1: ValueError("no\nkernel"), 2: MemoryError("2 TB")}
    run = Sweep(tmp_path, broken)
    with pytest.raises(
        Unfinished, match=r"2 of 4 .*: s1 \(failed: ValueError: no ke"
    ) as e:
        run()
    assert "s2 (failed: out of memory: 2 TB)" in str(e.value)
    assert e.value.failed == 2
    assert run.measured == [0, 1, 2, 3]
    record = json.loads((tmp_path / "cells" / "s1" / "failed.json").read_text())
    assert record["reason"] == "ValueError: no kernel"
    assert "raise self.broken[seed]" in record["traceback"]
    with pytest.raises(Unfinished, match=r"s1 \(failed: ValueError") as e:
        run(Shard(0, 4))  # another shard's failure is said, and not counted
    assert e.value.failed == 0
    run.broken = {}
    np.testing.assert_array_equal(run(), expected())
    assert run.measured == [1, 2]
    assert run.names() == {"traj.npz", "run.json"}


def test_what_fails_for_another_process_meanwhile_is_not_tried_again(tmp_path):
    other = Sweep(tmp_path, {1: ValueError("no kernel")})
    with pytest.raises(Unfinished):
        other()  # before: no reason not to try
    run, first = Sweep(tmp_path, other.broken), other.cells[0]

    def slow():
        with pytest.raises(Unfinished):
            other(Shard(1, 4))
        return first.measure()

    (tmp_path / "cells" / "s0" / "run.json").unlink()
    run.cells[0] = Cell("s0", 1.0, slow)
    with pytest.raises(Unfinished, match=r"1 of 4 .*: s1 \(failed: ValueError") as e:
        run()
    assert e.value.failed == 1
    assert other.measured == [1, 0]
    assert run.measured == []
    assert run.said[1] == "s1: failed for another process: ValueError: no kernel"
    run.cells = other.cells
    with pytest.raises(Unfinished):
        run()
    assert other.measured == [1, 0, 1]


def test_memory_that_xla_lacks_is_called_by_its_name(tmp_path):
    """XLA's own error, for an array of 140 TB."""
    run = Sweep(tmp_path)

    def too_large():
        long = jax.jit(lambda value: jnp.broadcast_to(value, (2**45,)))
        return {"f": np.asarray(long(jnp.float32(1)))}

    run.cells[0] = Cell("s0", 1.0, too_large)
    with pytest.raises(Unfinished, match=r"s0 \(failed: out of memory: RESOURCE_EXH"):
        run()
    assert run.measured == [1, 2, 3]


def test_memory_that_the_system_lacks_is_called_by_its_name(tmp_path):
    """XLA's error for a program whose argument could not be had: 4 GB, of 1 GB left."""
    resource = pytest.importorskip("resource")
    run, before = Sweep(tmp_path), resource.getrlimit(resource.RLIMIT_AS)
    pages = Path("/proc/self/statm")
    if not pages.exists():
        pytest.skip("the system does not say what this process has")
    key, shape = jax.random.key(0), (2**15, 2**15)
    draw = jax.jit(lambda key: jax.random.normal(key, shape)).lower(key).compile()
    drawn = jax.ShapeDtypeStruct(shape, jnp.float32)
    total = jax.jit(jnp.sum).lower(drawn).compile()

    def too_large():
        held = int(pages.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (held + 2**30, before[1]))
        try:
            return {"f": np.asarray(total(draw(key)))}
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)

    run.cells[0] = Cell("s0", 1.0, too_large)
    with pytest.raises(Unfinished, match=r"s0 \(failed: out of memory: ") as e:
        run()
    assert "RESOURCE_EXHAUSTED" not in str(e.value)


def test_a_damaged_cell_is_said_and_measured_again(tmp_path):
    run = Sweep(tmp_path)
    run()
    data = bytearray((tmp_path / "cells" / "s2" / "traj.npz").read_bytes())
    data[len(data) // 2] ^= 1
    (tmp_path / "cells" / "s2" / "traj.npz").write_bytes(data)
    np.testing.assert_array_equal(run(), expected())
    assert run.measured == [2]
    assert "s2: traj.npz is damaged (its checksum differs); measured again" in run.said


def test_what_another_process_holds_is_come_back_to(tmp_path, monkeypatch):
    monkeypatch.setattr(sweep, "PAUSE", 0.05)
    run, folder = Sweep(tmp_path), tmp_path / "cells" / "s1"
    folder.mkdir()
    others, release = {"f": expected()[1]}, threading.Event()

    def another():
        with locks.held(folder, {}):
            began.set()
            assert release.wait(60)
            store.write_cell(folder, CONFIG, others, {"seconds": 1.0})

    began = threading.Event()
    thread = threading.Thread(target=another)
    thread.start()
    assert began.wait(60)
    threading.Timer(0.5, release.set).start()
    np.testing.assert_array_equal(run(), expected())
    thread.join()
    assert run.measured == [0, 2, 3]
    told = "waits for other processes, which hold s1"
    assert run.said[3:] == [told, "s1: on disk"]  # once, at many looks
    assert run.shares == [0.25, 0.5, 0.75, 0.75, 1.0]


def test_a_result_of_a_process_that_lost_its_place_is_dropped(tmp_path, monkeypatch):
    """It stood still (a suspended machine); another one measured meanwhile."""
    run, folder = Sweep(tmp_path), tmp_path / "cells" / "s1"

    def slow():
        run.measured.append("slow")
        (folder / f"{locks.PREFIX}1").write_bytes(locks.FREE)  # came, and has gone
        store.write_cell(folder, CONFIG, {"f": expected()[1]}, {"seconds": 1.0})
        return {"f": np.zeros(1)}

    run.cells[1] = Cell("s1", 1.0, slow)
    np.testing.assert_array_equal(run(), expected())
    assert run.measured == [0, "slow", 2, 3]


def test_half_written_files_of_a_cell_are_swept(tmp_path):
    run = Sweep(tmp_path)
    (tmp_path / "cells" / "s1").mkdir()
    (tmp_path / "cells" / "s1" / f"{store.PART}x").touch()
    run()
    assert run.names() == {"traj.npz", "run.json"}


def test_a_full_disk_ends_the_sweep(tmp_path):
    """It is no failure of a cell: no other one could be stored either."""
    run = Sweep(tmp_path, {1: OSError(28, "No space left on device")})
    with pytest.raises(OSError, match="No space"):
        run()
    assert run.measured == [0, 1]
    assert not list(tmp_path.rglob("failed.json"))
    run.broken = {}
    run()
    assert run.measured == [1, 2, 3]


def test_many_missing_cells_are_counted(tmp_path):
    store.open_workdir(tmp_path, CONFIG)
    cells = [Cell(f"c{i}", 1.0, dict) for i in range(20)]
    said = re.escape("19 of 20 cells are missing: c1, c2, c3, c4, c5, c6 and 13 more.")
    with pytest.raises(Unfinished, match=said):
        measure_cells(cells, tmp_path, CONFIG, lambda m, s: None, Shard(0, 20))
