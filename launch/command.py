"""What the launchers share: a command after their own flags, errors of one line."""

import importlib.util
import os
import signal
import sys
from collections.abc import Callable, Sequence
from types import FrameType
from typing import NoReturn

from absl import app, flags, logging

AGAIN = 75  # a program's exit status: preempted, saved, run me again


def fail(message: object, status: int = 1) -> NoReturn:
    """Ends the program with one line on standard error."""
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
    sys.exit(status)


Handler = Callable[[int, FrameType | None], object] | signal.Handlers


def on_request_to_stop(handler: Handler) -> None:
    """Calls it at Ctrl-C, at SIGTERM, and when the terminal goes (not under nohup)."""
    numbers = {signal.SIGINT, signal.SIGTERM, signal.SIGHUP}
    if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
        numbers.remove(signal.SIGHUP)
    for number in numbers:
        signal.signal(number, handler)


def show(text: str) -> bool:
    """Prints it; False where nobody reads any more: what follows goes nowhere."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except OSError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return False
    return True


def parse_flags(argv: Sequence[str]) -> list[str]:
    """absl's flag parser, with its errors as one line and status 2."""
    try:
        rest = flags.FLAGS(list(argv))
    except flags.Error as e:
        fail(e, status=2)
    logging.set_verbosity(logging.WARNING)
    return rest


def run(main: Callable[[list[str]], int]) -> None:
    """Runs `main` on a module and its flags; it returns the exit status."""

    def with_command(argv: Sequence[str]) -> int:
        command = list(argv[1:])
        if not command:
            fail("what to run is missing: -- experiments.lazy_gap --arch=...", 2)
        if not exists(command[0]):
            fail(f"there is no module '{command[0]}' to run.", 2)
        return main(command)

    app.run(with_command, flags_parser=parse_flags)


def exists(module: str) -> bool:
    """Whether `python -m module` finds it."""
    try:
        return importlib.util.find_spec(module) is not None
    except (ImportError, ValueError):
        return False
