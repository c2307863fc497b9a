"""The same command as several processes of this machine.

    python -m launch.local --processes=2 --devices_per_process=4 -- \\
        experiments.lazy_gap --arch=mlp --workdir=runs/lazy_gap

They share the cells of the folder; with --mesh they are one run of jax.distributed (on
CPUs by gloo). Each process writes into a file of its own, and process 0 to the terminal
too. Where one fails the others are stopped; SIGTERM and Ctrl-C reach them all, and none
outlives the launcher; the exit status is that of the first that failed, so that 75
still means: saved, run me again.
"""

import ctypes
import os
import signal
import socket
import subprocess
import sys
import tempfile
import time
from functools import partial
from pathlib import Path

from absl import flags

from launch import command

PROCESSES = flags.DEFINE_integer("processes", 2, "How many.", lower_bound=1)
DEVICES = flags.DEFINE_integer(
    "devices_per_process", 1, "Virtual devices (CPUs) of each.", lower_bound=1
)
LOGS = flags.DEFINE_string("logs", "runs/logs", "Folder of the processes' output.")

POLL_SECONDS = 0.05
GRACE_SECONDS = 5.0  # between SIGTERM and SIGKILL, once a process has failed
PR_SET_PDEATHSIG = 1  # of Linux's prctl: the signal that comes when the parent is gone


def free_port() -> int:
    """A port of localhost that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("localhost", 0))
        return probe.getsockname()[1]


def environment(process: int, address: str) -> dict[str, str]:
    """What a process is told, for `experiments.cluster` and JAX."""
    return {"JAX_PLATFORMS": "cpu", **os.environ} | {
        "JAX_NUM_CPU_DEVICES": str(DEVICES.value),
        "ZOO_COORDINATOR": address,
        "ZOO_PROCESS": str(process),
        "ZOO_PROCESSES": str(PROCESSES.value),
    }


def start(line: list[str], logs: list[Path]) -> list[subprocess.Popen]:
    """The processes, each a session of its own: a Ctrl-C comes from here alone."""
    address = f"localhost:{free_port()}"
    running = []
    orphaned = None
    if sys.platform == "linux":
        kernel = ctypes.CDLL(None)
        orphaned = partial(kernel.prctl, PR_SET_PDEATHSIG, int(signal.SIGTERM))
    for process, path in enumerate(logs):
        with path.open("wb") as log:
            running.append(
                subprocess.Popen(
                    [sys.executable, "-m", *line],
                    env=environment(process, address),
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    start_new_session=True,
                    preexec_fn=orphaned,
                )
            )
    return running


def wait(running: list[subprocess.Popen], log: Path, signals: list[int]) -> int | None:
    """Waits until all have ended, and shows the first one's output meanwhile.

    Args:
        running: the processes.
        log: what is shown.
        signals: those that were received and not handed on yet; another thread of
            control (a signal handler) appends to it.

    Returns:
        the number of the first process that failed, or None.
    """
    failed, kill_at = None, float("inf")
    with log.open(errors="replace") as shown:
        while True:
            codes = [process.poll() for process in running]
            if not command.show(shown.read()):
                signals.append(signal.SIGTERM)
            if failed is None and any(codes):
                # Of several at once one that a signal ended (below 0) is the cause.
                failed = min((code, i) for i, code in enumerate(codes) if code)[1]
                signals.append(signal.SIGTERM)
                if codes[failed] != command.AGAIN:
                    kill_at = time.monotonic() + GRACE_SECONDS
            if None not in codes:
                return failed
            if time.monotonic() > kill_at:
                signals.append(signal.SIGKILL)
            while signals:
                number = signals.pop(0)
                for process in running:
                    process.send_signal(number)
            time.sleep(POLL_SECONDS)


def how(code: int) -> str:
    """How a process ended."""
    if code == command.AGAIN:
        return "stopped and saved (status 75); the same command goes on"
    if code < 0:
        return f"was ended by {signal.Signals(-code).name}"
    return f"failed with status {code}"


def last_line(log: Path) -> str:
    """Of a file; "" if it has none."""
    lines = log.read_text(errors="replace").split("\n")
    return next((line.strip() for line in reversed(lines) if line.strip()), "")


def main(line: list[str]) -> int:
    """Runs the command; returns its exit status."""
    try:
        Path(LOGS.value).mkdir(parents=True, exist_ok=True)
        folder = Path(
            tempfile.mkdtemp(prefix=time.strftime("%m%d-%H%M%S-"), dir=LOGS.value)
        )
    except OSError as e:
        command.fail(f"--logs={LOGS.value} cannot be used: {e}.")
    logs = [folder / f"{process}.txt" for process in range(PROCESSES.value)]
    signals: list[int] = []
    handed_on = {int(signal.SIGHUP): int(signal.SIGTERM)}
    command.on_request_to_stop(lambda n, _: signals.append(handed_on.get(n, n)))
    running = start(line, logs)
    failed = wait(running, logs[0], signals)
    if failed is None:
        return 0
    code, log = running[failed].returncode, logs[failed]
    print(
        f"error: process {failed} of {len(running)} {how(code)}. Its output, {log}, "
        f"ends with: {last_line(log)}",
        file=sys.stderr,
    )
    return code if code > 0 else 128 - code


if __name__ == "__main__":
    command.run(main)
