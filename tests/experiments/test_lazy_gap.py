"""The program as a user runs it: in a process of its own, on a command line."""

import json
import os
import re
import subprocess
import sys
import time

import numpy as np
import pytest

SMALL = (
    "--widths=8,16 --seeds=2 --cell_seeds=1 --n_train=12 --n_test=10 --steps=20 "
    "--records=4 --depth=1"
).split()


def command(*flags):
    return [sys.executable, "-m", "experiments.lazy_gap", *flags]


def environment():
    """As a user has it, without the tests' 8 virtual devices."""
    return {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}


def call(*flags, **options):
    return subprocess.run(
        command(*flags), capture_output=True, text=True, env=environment(), **options
    )


def arrays_of(workdir):
    return {
        (folder.name, name): value
        for folder in sorted((workdir / "cells").iterdir())
        for name, value in np.load(folder / "traj.npz").items()
    }


def same(a, b):
    assert a.keys() == b.keys()
    for key in a:
        np.testing.assert_array_equal(a[key], b[key], err_msg=str(key))


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    workdir = tmp_path_factory.mktemp("cli") / "run"
    done = call(*SMALL, f"--workdir={workdir}")
    assert done.returncode == 0, done.stderr
    return workdir, done.stdout


@pytest.mark.slow
def test_a_plan_is_printed_and_nothing_is_written(tmp_path):
    done = call(*SMALL, "--plan", f"--workdir={tmp_path / 'run'}")
    assert done.returncode == 0, done.stderr
    rows = re.findall(r"(\d+) . 2 of 1 seeds . +([\d,]+) ", done.stdout)
    assert rows == [(str(m), f"{m * (64 + 10):,}") for m in (8, 16)]
    said = r"In all .*of it to prepare\.\nBeside it the start, .* s, and the report\."
    assert re.search(said, done.stdout)
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_first_command(finished):
    workdir, said = finished
    # Two seeds: the interval decides between the two verbs.
    assert re.search(r"kernel error at init (falls|varies) as m\^-", said)
    assert "theory: -1/2" in said
    assert f"Report: {workdir / 'report.html'}" in said
    assert "learning rate" in said
    for name in ("flags.txt", "config.json", "summary.json", "report.html"):
        assert (workdir / name).stat().st_size > 0
    assert {p.suffix for p in (workdir / "figures").iterdir()} == {".svg", ".pdf"}
    assert len(list((workdir / "cells").iterdir())) == 4


@pytest.mark.slow
def test_flagfile_runs_it_again_and_skips_what_is_done(finished, tmp_path):
    workdir, _ = finished
    before = json.loads((workdir / "summary.json").read_text())
    done = call(f"--flagfile={workdir / 'flags.txt'}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("on disk") == 4
    after = json.loads((workdir / "summary.json").read_text())
    assert after["metrics"] == before["metrics"]


@pytest.mark.slow
def test_killed_and_started_again_gives_the_same_bits(finished, tmp_path):
    """kill -9 at several instants, the last of them between cells."""
    whole, _ = finished
    workdir = tmp_path / "run"
    flags = (*SMALL, f"--workdir={workdir}")
    for seconds in (1.0, 4.0, 7.0):
        with subprocess.Popen(
            command(*flags), stdout=subprocess.DEVNULL, env=environment()
        ) as process:
            time.sleep(seconds)
            process.kill()
    while not list(workdir.glob("cells/*/run.json")):  # killed after the first cell
        with subprocess.Popen(
            command(*flags), stdout=subprocess.PIPE, text=True, env=environment()
        ) as process:
            for line in process.stdout:
                if " s " in line and "mlp-w8-s0-0" in line:
                    process.kill()
    done = call(*flags)
    assert done.returncode == 0, done.stderr
    assert "on disk" in done.stdout
    same(arrays_of(whole), arrays_of(workdir))


@pytest.mark.slow
def test_two_launches_on_one_folder_share_the_work(finished, tmp_path):
    """All of it and a shard of it at once: either way each cell is measured once."""
    whole, _ = finished
    flags = (*SMALL, f"--workdir={tmp_path}")
    launches = [
        subprocess.Popen(
            command(*flags, *own),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env=environment(),
        )
        for own in ((), ("--shard=1/2",))
    ]
    said = [launch.communicate() for launch in launches]
    assert [launch.returncode for launch in launches] == [0, 0], said
    lines = "".join(out for out, _ in said)
    assert len(re.findall(r"mlp-w\d+-s\d-\d: [\d.]+ s", lines)) == 4
    assert (tmp_path / "report.html").exists()
    assert "--shard" not in (tmp_path / "flags.txt").read_text()
    same(arrays_of(whole), arrays_of(tmp_path))


@pytest.mark.slow
def test_asked_to_stop_and_started_again_gives_the_same_bits(finished, tmp_path):
    """SIGTERM in the first cell, as schedulers send it."""
    whole, _ = finished
    workdir = tmp_path / "run"
    flags = (*SMALL, f"--workdir={workdir}")
    with subprocess.Popen(
        command(*flags),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    ) as process:
        while "learning rate" not in process.stdout.readline():
            assert process.poll() is None
        process.terminate()
        said = process.communicate()[1]
    assert process.returncode == 75
    assert said == "error: preempted; the same command goes on from here.\n"
    done = call(*flags)
    assert done.returncode == 0, done.stderr
    same(arrays_of(whole), arrays_of(workdir))


@pytest.mark.slow
def test_a_reader_who_has_seen_enough_ends_it_quietly(tmp_path):
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    line = command(*SMALL, f"--workdir={tmp_path / 'run'}")
    with subprocess.Popen(line, env=environment(), **pipes) as process:
        process.stdout.readline()
        process.stdout.close()
        assert process.stderr.read() == b""
    assert process.returncode == 1


FAILING = """
import flax.linen as nn

class Net(nn.Module):
    width: int
    out: int

    @nn.compact
    def __call__(self, x):
        if self.width == 16 and len(x) == 22:
            raise ValueError("22 points are too many")
        return nn.Dense(self.out)(nn.relu(nn.Dense(self.width)(x)))
"""


@pytest.mark.slow
def test_the_exit_status_counts_the_cells_that_failed(tmp_path):
    (tmp_path / "failing.py").write_text(FAILING)
    small = [flag for flag in SMALL if not flag.startswith("--depth")]
    flags = (*small, f"--workdir={tmp_path / 'run'}", "--limit=none")
    done = subprocess.run(
        command(*flags, "--arch=failing:Net", "--learning_rate=0.01"),
        capture_output=True,
        text=True,
        env=environment() | {"PYTHONPATH": str(tmp_path)},
    )
    assert done.returncode == 2, done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert "2 of 4 cells are missing" in done.stderr
    assert "22 points are too many" in done.stderr
    assert len(list((tmp_path / "run").glob("cells/*/run.json"))) == 2


BAD = {
    "--arch=mpl": "did you mean 'mlp'",
    "--dataset=digit": "did you mean 'digits'",
    "--widths=8,0": "--widths=8,0 is not allowed",
    "--widths=8,x": "--widths=8,x is not allowed",
    "--widths=8,8": "each width once",
    "--seeds=-2": "--seeds=-2",
    "--seeds=two": "--seeds=two",
    "--n_train=5000": "n_train=5000 is larger than what digits has",
    "--learning_rate=50": "--allow_divergence",
    "--activation=rleu": "did you mean 'relu'",
    "--depth=0": "MLP needs depth >= 1, got depth=0",
    "--parameterization=nkt": "did you mean 'ntk'",
    "--arch=cnn --net=kernel_size=9,padding=VALID": "got kernel_size=9",
    "--arch=cnn --net=stride=9": "got stride=9",
    "--arch=cnn --dataset=sphere": "no inputs of kind 'image'",
    "--arch=nowhere:Net": "--arch=nowhere:Net cannot be imported",
    "--dataset=none.npz": "none.npz: there is no such file",
    "--net=strid=2": "no hyper-parameter strid=2",
    "--wdths=8": "wdths",
    "--shard=2/2": "--shard=2/2 is not allowed",
    "--shard=half": "--shard=half is not allowed: it takes i/N",
    "stray": "unexpected argument 'stray'",
}


@pytest.mark.slow
@pytest.mark.parametrize("flag", sorted(BAD))
def test_bad_input_is_one_line_and_writes_nothing(flag, tmp_path):
    workdir = tmp_path / "run"
    done = call(*SMALL, f"--workdir={workdir}", *flag.split(" "))
    assert done.returncode in (1, 2)
    assert BAD[flag] in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1, done.stderr
    assert not workdir.exists()


@pytest.mark.slow
def test_bad_data_files(tmp_path):
    workdir = tmp_path / "run"
    flags = ("--dataset=fashion_mnist", *SMALL, f"--workdir={workdir}")
    done = call(*flags, f"--data_dir={tmp_path}")
    assert done.returncode == 1
    assert "dataset-fashion-mnist" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    for name in ("train-images-idx3", "train-labels-idx1", "t10k-images-idx3"):
        (tmp_path / f"{name}-ubyte").write_bytes(b"\0\0\x08\x03corrupt")
    (tmp_path / "t10k-labels-idx1-ubyte").write_bytes(b"\0\0\x08\x01corrupt")
    done = call(*flags, f"--data_dir={tmp_path}")
    assert done.returncode == 1
    assert "ubyte" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert not workdir.exists()


@pytest.mark.slow
def test_workdir_is_protected(finished):
    workdir, _ = finished
    before = (workdir / "flags.txt").read_bytes()
    done = call(*SMALL, f"--workdir={workdir}", "--steps=21")
    assert done.returncode == 1
    assert "holds another configuration: its steps is 20, not 21" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1
    assert (workdir / "flags.txt").read_bytes() == before
    done = call(*SMALL, "--workdir=/proc/nowhere")
    assert done.returncode == 1
    assert "--workdir=/proc/nowhere cannot be used" in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


LIMITED = """
import resource, sys
resource.setrlimit(resource.RLIMIT_FSIZE, (4096, 4096))
import signal
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
import runpy
sys.argv[0] = "experiments.lazy_gap"
runpy.run_module("experiments.lazy_gap", run_name="__main__")
"""


@pytest.mark.slow
def test_full_disk_leaves_nothing_half_written(tmp_path):
    """A real write failure in mid-run: files may hold 4 kB, a cell needs more."""
    workdir = tmp_path / "run"
    flags = (*SMALL, f"--workdir={workdir}")
    failed = subprocess.run(
        [sys.executable, "-c", LIMITED, *flags],
        capture_output=True,
        text=True,
        env=environment(),
    )
    assert failed.returncode == 1
    assert len(failed.stderr.strip().splitlines()) == 1, failed.stderr
    assert "goes on from it" in failed.stderr
    assert not list(workdir.rglob("*.npz*"))
    done = call(*flags)
    assert done.returncode == 0, done.stderr
