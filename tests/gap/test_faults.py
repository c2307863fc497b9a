"""Sweeps whose processes are killed, asked to stop, or find the disk full."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time

import numpy as np
import pytest

from launch.local import free_port
from zoo.gap import preemption, segments, store
from zoo.gap.config import Config
from zoo.gap.run import Experiment
from zoo.gap.sweep import Cell, measure_cells

ENVIRONMENT = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
same = np.testing.assert_equal
PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}
# A sweep of 40 small trainings. The parent loads everything once and starts no JAX; its
# children do, and are killed.
SWEEP = """
import functools, json, os, random, signal, sys, time
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np, optax
from zoo.finite.train import train
from zoo.gap import store
from zoo.gap.sweep import Cell, measure_cells

def sweep(workdir, ready):
    x = jnp.linspace(-1, 1, 6)[:, None]

    def apply(w, x):
        return jnp.tanh(x @ w[:1]) @ w[1:2] + w[2:]

    @jax.jit
    def outputs(seed):
        params = jax.random.normal(jax.random.key(seed), (3, 1))
        times, sgd = jnp.arange(9), optax.sgd(0.1)
        return train(apply, params, x, jnp.sin(x), sgd, times).outputs

    cells = [
        Cell(f"s{i}", 1.0, lambda i=i: {"f": np.asarray(outputs(i))}) for i in range(40)
    ]
    outputs(0)
    os.write(ready, b"x")
    store.open_workdir(workdir, {})
    measure_cells(cells, workdir, {}, lambda m, s: None)

def child(workdir, life):
    \"\"\"Its seconds, if it came to its end before it was killed.\"\"\"
    ready, other = os.pipe()
    pid = os.fork()
    if not pid:
        sweep(workdir, other)
        os._exit(0)
    os.read(ready, 1)
    start = time.monotonic()
    if life is not None:
        time.sleep(life)
        os.kill(pid, signal.SIGKILL)
    _, status = os.waitpid(pid, 0)
    assert status in (0, signal.SIGKILL), status
    return time.monotonic() - start if status == 0 else None

folder, wanted = Path(sys.argv[1]), int(sys.argv[2])
whole, draw = child(folder / "whole", None), random.Random(0)
sweeps, kills, held, halves = 1, 0, 0, 0
while kills < wanted:
    cut = folder / f"cut{sweeps}"
    if child(cut, draw.uniform(0, 2 * whole / wanted)) is not None:
        sweeps += 1
        continue
    kills += 1
    held += bool(list(cut.glob("cells/*/lock-*")))
    halves += bool(list(cut.rglob(f"{store.PART}*")))
child(folder / f"cut{sweeps}", None)
print(json.dumps({"kills": kills, "in a cell": held, "in a file": halves}))
"""


def arrays_of(workdir):
    return {
        (folder.name, name): value
        for folder in sorted((workdir / "cells").iterdir())
        for name, value in np.load(folder / "traj.npz").items()
    }


@pytest.mark.slow
def test_30_kills_at_random_instants(tmp_path):
    command = [sys.executable, "-c", SWEEP, str(tmp_path), "30"]
    done = subprocess.run(command, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    counts = json.loads(done.stdout)
    assert counts["kills"] == 30
    assert counts["in a cell"] >= 10
    for workdir in tmp_path.iterdir():  # one sweep, or more of them
        same(arrays_of(tmp_path / "whole"), arrays_of(workdir))
        left = {path.name for path in workdir.rglob("*") if path.is_file()}
        assert left == {"config.json", "traj.npz", "run.json"}


@pytest.fixture
def listening():
    """SIGTERM asks this process to stop, for the length of a test."""
    handler, before = signal.getsignal(signal.SIGTERM), signal.set_wakeup_fd(-1)
    preemption.listen(grace=100.0)
    yield
    signal.signal(signal.SIGTERM, handler)
    signal.set_wakeup_fd(before)
    preemption._asked.clear()
    preemption._stopping.clear()


LONG = Config(
    widths=(8,),
    depth=1,
    seeds=1,
    cell_seeds=1,
    n_train=6,
    n_test=4,
    steps=500_000,
    records=4,
    limit="none",
)


def test_sigterm_in_mid_step_stores_and_goes_on_to_the_same_bits(
    listening, tmp_path, monkeypatch
):
    monkeypatch.setattr(segments, "SEGMENT", 0.02)
    experiment, said = Experiment(LONG), []

    def observed(at):
        return experiment.measure(8, np.arange(1), at)

    def measure(workdir):
        store.open_workdir(workdir, {})
        cells = [Cell("c", 1.0, observed, resumes=True)]
        measure_cells(cells, workdir, {}, lambda m, s: said.append(m))
        return arrays_of(workdir)

    def ask():
        while preemption._place < begun + 8:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    whole = measure(tmp_path / "whole")
    begun = preemption._place
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    with pytest.raises(preemption.Preempted):
        measure(tmp_path / "cut")
    asking.join()
    assert preemption._place >= begun + 8
    assert list((tmp_path / "cut/cells/c/checkpoint").iterdir())
    with pytest.raises(preemption.Preempted):  # it is still asked to stop
        measure(tmp_path / "cut")
    preemption._asked.clear()
    same(whole, measure(tmp_path / "cut"))
    assert "c: goes on from its checkpoint" in said
    names = {path.name for path in (tmp_path / "cut" / "cells" / "c").iterdir()}
    assert names == {"traj.npz", "run.json"}


# Two networks of three parameters, trained in two parts; no more is compiled than that.
PROCESS = """
import os, signal, sys, threading, time
from pathlib import Path
import jax, jax.numpy as jnp, numpy as np, optax
place, port, workdir, ask = int(sys.argv[1]), *sys.argv[2:]
if port != "none":
    jax.distributed.initialize(f"localhost:{port}", 2, place)
from zoo.finite.train import descent
from zoo.gap import preemption, segments, store
from zoo.gap.sweep import Cell, Unfinished, measure_cells

def asking():
    while preemption._place < 4:
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGTERM)

def slowly(place, reached=preemption.reached):  # it takes JAX seconds to tell all
    time.sleep(0.2)
    return reached(place)

def apply(w, x):
    return jnp.tanh(x @ w[:1]) @ w[1:2] + w[2:]

x, times = jnp.linspace(-1, 1, 6)[:, None], np.array([0, 9, 4_000_000])
start, steps = descent(apply, x, jnp.sin(x), optax.sgd(0.1, momentum=0.9))
one = lambda own, bounds: segments.advance(
    steps, lambda w: apply(w, x), own, jnp.asarray(times), bounds
)
program = jax.jit(lambda progress, part, bounds: segments.by_part(
    lambda own: one(own, bounds), 1, part, progress
))

def measure(scratch):
    params = jax.random.normal(jax.random.key(0), (2, 3, 1))
    seen = segments.empty(jax.ShapeDtypeStruct((6, 1), jnp.float32), 2, 3)
    progress = segments.Progress(jax.vmap(start)(params), seen)
    return {"f": np.asarray(segments.train(program, progress, 2, times, scratch).seen)}

def begins(*those, load=segments._load):
    found, place = load(*those)
    print("begins at step", place.step)
    return found, place

segments.SEGMENT, segments._load = 0.02, begins
workdir = Path(workdir)
store.open_workdir(workdir, {})
if ask == str(place):
    preemption.reached = slowly
    threading.Thread(target=asking, daemon=True).start()
try:
    cells = [Cell("c", 1.0, measure, resumes=True)]
    measure_cells(cells, workdir, {}, lambda m, s: print(m))
except preemption.Preempted:
    print("stopped at", preemption._place)
    sys.exit(preemption.STATUS)
except Unfinished as e:
    print(e)
"""


def processes(count, workdir, ask="nobody"):
    """The exit status of one run's processes, and what each says."""
    port = str(free_port()) if count > 1 else "none"
    run = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, str(i), port, workdir, ask],
            env=ENVIRONMENT,
            **PIPES,
        )
        for i in range(count)
    ]
    said = [process.communicate() for process in run]
    codes = {process.returncode for process in run}
    assert len(codes) == 1, said
    return codes.pop(), [re.sub(r"\[Gloo].*\n", "", out) for out, _ in said]


@pytest.mark.slow
def test_two_processes_stop_at_the_same_step_and_go_on(tmp_path):
    """The second one is asked; both stop, and the first one stores."""
    status, (first, second) = processes(2, tmp_path / "cut", "1")
    assert status == preemption.STATUS
    assert first == second
    number = first.strip().removeprefix("stopped at ")
    scratch = tmp_path / "cut/cells/c/checkpoint"
    assert [path.name for path in scratch.iterdir()] == [number]
    status, (first, second) = processes(2, tmp_path / "cut")
    assert status == 0
    steps = re.findall(r"^begins at step (\d+)$", first + second, re.MULTILINE)
    assert len(steps) == 2 and all(map(int, steps))
    assert second.endswith("\nthe first process sums up.\n")
    assert processes(1, tmp_path / "whole")[0] == 0
    same(arrays_of(tmp_path / "whole"), arrays_of(tmp_path / "cut"))


# The second process of a run fails in its cell; the first one is still at it.
BROKEN = """
import os, sys, time
from pathlib import Path
import jax
jax.distributed.initialize(f"localhost:{sys.argv[2]}", 2, int(sys.argv[1]))
from zoo.gap.sweep import Cell, measure_cells

def measure():
    print("measuring", flush=True)
    if jax.process_index():
        raise KeyError("broken")
    time.sleep(600)

cells, workdir = [Cell("c", 1.0, measure)], Path(sys.argv[3])
try:
    measure_cells(cells, workdir, {}, lambda m, s: None)
except Exception as e:
    os.write(1, f"{e!r}".encode())
os._exit(0)
"""


def test_a_failure_in_one_process_of_a_run_ends_it(tmp_path):
    """Recorded as a failed cell, it would leave the others waiting for ever."""
    line, port = [sys.executable, "-c", BROKEN], str(free_port())
    first, second = (
        subprocess.Popen([*line, str(i), port, tmp_path], env=ENVIRONMENT, **PIPES)
        for i in range(2)
    )
    with first, second:
        try:
            said = second.communicate(timeout=60)[0]
            assert first.poll() is None
        finally:
            first.kill()
            second.kill()
    assert said.endswith("measuring\nKeyError('broken')")
    assert not list(tmp_path.rglob("failed.json"))


STUCK = """
import sys, time
from pathlib import Path
from zoo.gap import preemption, store
from zoo.gap.sweep import Cell, measure_cells
preemption.listen(grace=0.5)
workdir = Path(sys.argv[1])
store.open_workdir(workdir, {})

def measure():
    print("measuring", flush=True)
    time.sleep(600)

measure_cells([Cell("c", 1.0, measure)], workdir, {}, lambda m, s: None)
"""


def test_sigterm_drops_a_cell_that_knows_no_place_to_stop(tmp_path):
    command = [sys.executable, "-c", STUCK, str(tmp_path)]
    with subprocess.Popen(command, **PIPES) as process:
        assert process.stdout.readline() == "measuring\n"
        process.terminate()
        said = process.communicate(timeout=60)[1]
    assert process.returncode == preemption.STATUS
    assert said == "error: preempted; the same command goes on from here.\n"
    cell = Cell("c", 1.0, lambda: {"f": np.zeros(1)})
    measure_cells([cell], tmp_path, {}, lambda m, s: None)  # nobody holds it any more


@pytest.fixture
def disk(tmp_path):
    """`disk(options)`: a file system of 300 kB, as root; mounted anew with options."""
    if os.name != "posix" or os.geteuid() != 0:
        pytest.skip("only root makes file systems")
    made = ["mount", "-t", "tmpfs", "-o", "size=300k", "tmpfs", str(tmp_path)]
    if subprocess.run(made, capture_output=True).returncode:
        pytest.skip("no file system can be made here")

    def mount(options):
        again = ["mount", "-o", f"remount,{options}", str(tmp_path)]
        subprocess.run(again, check=True, capture_output=True)

    yield mount
    subprocess.run(["umount", str(tmp_path)], check=True)


def large_cells(measured):
    def measure(i):
        measured.append(i)
        return {"f": np.random.default_rng(i).normal(size=10_000)}  # 80 kB

    return [Cell(f"c{i}", 1.0, lambda i=i: measure(i)) for i in range(6)]


def test_a_full_disk_keeps_what_is_done(disk, tmp_path):
    measured = []
    store.open_workdir(tmp_path, {})

    def run():
        return measure_cells(large_cells(measured), tmp_path, {}, lambda m, s: None)

    with pytest.raises(OSError, match="No space left") as e:
        run()
    assert store.is_fault(e.value)
    assert 2 <= len(measured) < 6
    assert not list(tmp_path.rglob(f"{store.PART}*"))
    disk("size=4m")
    kept = len(measured) - 1
    found, _ = run()
    assert measured[kept:] == [kept, *range(kept, 6)]
    assert [len(arrays["f"]) for arrays in found] == [10_000] * 6


def test_a_read_only_folder_is_said_and_read(disk, tmp_path):
    measured = []
    store.open_workdir(tmp_path, {})
    cells = large_cells(measured)[:2]
    measure_cells(cells[:1], tmp_path, {}, lambda m, s: None)
    store.write_text(tmp_path / "flags.txt", "--a=1")
    disk("ro")
    try:
        store.open_workdir(tmp_path, {})
        store.write_text(tmp_path / "flags.txt", "--a=1")
        measure_cells(cells[:1], tmp_path, {}, lambda m, s: None)  # all is there
        with pytest.raises(OSError, match="Read-only") as e:
            measure_cells(cells, tmp_path, {}, lambda m, s: None)
        assert store.is_fault(e.value)
        assert measured == [0]
        with pytest.raises(store.WorkdirError, match=r"cannot be used.*Read-only"):
            store.open_workdir(tmp_path / "new", {})
    finally:
        disk("rw")
