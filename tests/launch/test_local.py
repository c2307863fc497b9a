"""Processes of one run on this machine: together from start to end."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch.local import free_port

HERE = Path(__file__).parent


def environment(**more):
    """As a user has it, with this folder's programs."""
    kept = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    return kept | {"PYTHONPATH": str(HERE), **more}


def launch(logs, *line):
    command = [sys.executable, "-m", "launch.local", f"--logs={logs}", *line]
    return subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env=environment(),
    )


def ended(process):
    """(exit status, what it printed, its errors)."""
    out, errors = process.communicate(timeout=120)
    return process.returncode, out, errors


def output(logs):
    """What each process wrote, by its number."""
    return [path.read_text() for path in sorted(logs.glob("*/*.txt"))]


@pytest.mark.slow
def test_processes_are_one_run(tmp_path):
    line = "--processes=2 --devices_per_process=4 -- rendezvous".split()
    status, out, errors = ended(launch(tmp_path, *line))
    assert (status, errors) == (0, "")
    assert "process 0 of 2: sum 8" in out
    assert "process 1 of 2" not in out
    zero, one = output(tmp_path)
    assert zero == out
    assert "process 1 of 2: sum 8" in one


@pytest.mark.slow
def test_processes_share_the_cells_of_a_sweep(tmp_path, sweep):
    """Each is measured once, by one of them; the first one sums up, alone."""
    (line, check), workdir, logs = sweep, tmp_path / "run", tmp_path / "logs"
    process = launch(logs, "--", *line, f"--workdir={workdir}")
    status, _, errors = ended(process)
    assert (status, errors) == (0, "")
    check(workdir)
    zero, one = output(logs)
    measured = [
        re.findall(r"process . of 2, .*(mlp-\S+): [\d.]+ s", t) for t in (zero, one)
    ]
    assert min(map(len, measured)) > 0
    assert sum(map(len, measured)) == 6
    assert "Report: " in zero
    assert "Report: " not in one


FAILURES = {
    "fail": (3, "process 1 of 2 failed with status 3", "error: something is wrong"),
    "again": (75, "process 1 of 2 stopped and saved (status 75)", "sum 2"),
    "killed": (137, "process 1 of 2 was ended by SIGKILL", "sum 2"),
}


@pytest.mark.slow
@pytest.mark.parametrize("how", FAILURES)
def test_one_that_fails_ends_all(how, tmp_path):
    """The other one sleeps for ten minutes, or computes for ever."""
    status, what, last = FAILURES[how]
    process = launch(tmp_path, "--", "rendezvous", f"--how={how}")
    got, _, errors = ended(process)
    assert got == status
    (line,) = errors.strip().splitlines()
    assert line.startswith(f"error: {what}")
    assert line.endswith(last)
    for text in output(tmp_path):
        pid = int(text.split("pid ")[1].split()[0])
        with pytest.raises(ProcessLookupError):
            os.kill(pid, 0)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_reach_every_process(number, tmp_path):
    process = launch(tmp_path, "--", "rendezvous", "--how=wait")
    while not all("waiting" in text for text in output(tmp_path) or [""]):
        assert process.poll() is None
    process.send_signal(number)
    status, _, errors = ended(process)
    assert status == {signal.SIGTERM: 75, signal.SIGINT: 130}[number]
    assert len(errors.strip().splitlines()) == 1
    assert [f"got {number.name}" in text for text in output(tmp_path)] == [True, True]


LEFT = {
    "its terminal is closed": lambda launcher: launcher.send_signal(signal.SIGHUP),
    "nobody reads on": lambda launcher: launcher.stdout.close(),
    "it is killed": lambda launcher: launcher.kill(),
}


@pytest.mark.parametrize("how", LEFT)
def test_processes_do_not_outlive_their_launcher(how, tmp_path):
    with launch(tmp_path, "--", "patient") as launcher:
        while not all("waiting" in text for text in output(tmp_path) or [""]):
            assert launcher.poll() is None
        LEFT[how](launcher)
        status = launcher.wait(timeout=60)
        errors = launcher.stderr.read().splitlines()
    assert (status, len(errors)) == ((-9, 0) if how == "it is killed" else (75, 1))
    until = time.monotonic() + 30
    while not all("got SIGTERM" in text for text in output(tmp_path)):
        assert time.monotonic() < until
        time.sleep(0.02)


def pair(how):
    """Two processes that compute together until one is lost, started by hand."""
    told = {"ZOO_COORDINATOR": f"localhost:{free_port()}", "ZOO_PROCESSES": "2"}
    return [
        subprocess.Popen(
            [sys.executable, "-m", "rendezvous", f"--how={how}"],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=environment(JAX_PLATFORMS="cpu", ZOO_PROCESS=str(i), **told),
        )
        for i in range(2)
    ]


@pytest.mark.slow
def test_a_collective_that_lost_a_process_ends_with_a_clear_error():
    """Nobody stops the survivors here: they notice by themselves, within a minute."""
    (survivor, killed), (other, stopped) = pair("killed"), pair("stopped")
    assert "sum 2" in killed.communicate()[0]
    assert killed.returncode == -signal.SIGKILL
    for process in (survivor, other):
        said, _ = process.communicate(timeout=60)
        assert process.returncode not in (0, 75)
        assert "process 0 of 2 ended by" in said or "another task died" in said
    stopped.kill()
    stopped.communicate()


BAD = {
    "-- rendevous": "there is no module 'rendevous' to run",
    "--processes=0 -- rendezvous": "--processes=0",
    "--proceses=2 -- rendezvous": "proceses",
    "--processes=2": "what to run is missing",
    "--logs=/proc/nowhere -- rendezvous": "--logs=/proc/nowhere cannot be used",
}


@pytest.mark.parametrize("line", BAD)
def test_bad_input_is_one_line(line, tmp_path):
    status, out, errors = ended(launch(tmp_path, *line.split()))
    assert status in (1, 2)
    assert out == ""
    assert BAD[line] in errors
    assert len(errors.strip().splitlines()) == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_on_without_a_cluster_is_one_line(tmp_path):
    line = [sys.executable, "-m", "rendezvous", "--distributed=on"]
    done = subprocess.run(line, capture_output=True, text=True, env=environment())
    assert done.returncode == 1
    assert done.stderr.startswith("error: --distributed=on finds no other processes")
    assert len(done.stderr.strip().splitlines()) == 1
