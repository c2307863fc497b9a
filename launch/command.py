"""What the launchers share: a command after their own flags, errors of one line."""

import importlib.util
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import app, flags, logging

AGAIN = 75  # a program's exit status: preempted, saved, run me again


def fail(message: object, status: int = 1) -> NoReturn:
    """Ends the program with one line on standard error."""
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
    sys.exit(status)


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
