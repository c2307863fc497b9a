"""Signals before a program's own first line, while it imports JAX or waits for others.

A schedule's SIGTERM must not look like a failure then, nor Ctrl-C like a success.
"""

import os
import signal
import socket
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


def start(*line, **more):
    return subprocess.Popen(
        [sys.executable, *line],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"JAX_PLATFORMS": "cpu", **more},
    )


def ended(process):
    """(exit status, its errors), without Python's own list of imports."""
    out, errors = process.communicate(timeout=60)
    assert out == ""
    lines = errors.splitlines()
    return process.returncode, [x for x in lines if not x.startswith("import time")]


ENDS = {
    signal.SIGTERM: (75, "error: preempted; the same command starts anew."),
    signal.SIGINT: (130, "error: interrupted; the same command starts anew."),
}


@pytest.mark.parametrize("module", ["numpy", "jax"])
@pytest.mark.parametrize("number", ENDS)
def test_a_signal_among_the_imports(number, module):
    process = start("-X", "importtime", "-m", "experiments.lazy_gap")
    while not process.stderr.readline().endswith(f" {module}\n"):
        assert process.poll() is None
    process.send_signal(number)
    status, line = ENDS[number]
    assert ended(process) == (status, [line])


def test_a_signal_while_other_processes_are_waited_for(tmp_path):
    """Compiled code waits, for minutes, so that no handler of Python's runs."""
    with socket.create_server(("localhost", 0)) as silent:
        process = start(
            *("-m", "experiments.lazy_gap", "--mesh=seed:2", f"--workdir={tmp_path}"),
            ZOO_COORDINATOR=f"localhost:{silent.getsockname()[1]}",
            ZOO_PROCESS="1",
            ZOO_PROCESSES="2",
        )
        silent.settimeout(60)
        connection, _ = silent.accept()
        process.send_signal(signal.SIGTERM)
        line = "error: preempted; the same command goes on from here."
        assert ended(process) == (75, [line])
        connection.close()


def test_the_package_as_a_library_leaves_signals_alone():
    code = """
        import signal
        before = [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)]
        import experiments
        assert [signal.getsignal(n) for n in (signal.SIGTERM, signal.SIGINT)] == before
    """
    assert ended(start("-c", textwrap.dedent(code))) == (0, [])


def test_a_ctrl_c_in_a_callback_of_the_garbage_collector():
    code = """
        import gc, signal
        from experiments import edge
        def main():
            gc.callbacks.append(lambda *_: signal.raise_signal(signal.SIGINT))
            gc.collect()
        edge.run(main)
    """
    line = "error: interrupted; the same command goes on from what was finished."
    assert ended(start("-c", textwrap.dedent(code))) == (130, [line])


LATER = {
    signal.SIGTERM: (75, "error: preempted; the same command goes on from here."),
    signal.SIGINT: (
        130,
        "error: interrupted; the same command goes on from what was finished.",
    ),
}


@pytest.mark.parametrize("number", LATER)
def test_asked_to_stop_it_ends_without_pythons_own_exit(number):
    """Which compiled programs at work can crash. What was printed is not lost."""
    code = f"""
        import atexit, signal
        from experiments import edge
        from zoo.gap import preemption
        def main():
            atexit.register(print, "Python's own")
            print("so far")
            signal.raise_signal({int(number)})
            while True:
                preemption.stop_if_asked()
        edge.run(main)
    """
    process = start("-c", textwrap.dedent(code))
    out, errors = process.communicate(timeout=60)
    assert (process.returncode, errors.strip()) == LATER[number]
    assert out == "so far\n"
