"""The edge between a user and the library: flags in, one line per error out."""

import errno
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from absl import app, flags, logging

from zoo.gap.store import WorkdirError

# What the system answers when results cannot be stored.
STORAGE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EACCES, errno.EROFS)


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
    if flags.FLAGS["verbosity"].using_default_value:
        logging.set_verbosity(logging.WARNING)  # at absl's own default libraries chat
    if rest[1:]:
        fail(f"unexpected argument '{rest[1]}'; options start with --.", status=2)
    return rest


def run(main: Callable[[], None]) -> None:
    """Runs `main` under absl; refused input and failed storage end in one line."""

    def guarded(argv: Sequence[str]) -> None:
        try:
            main()
        except WorkdirError as e:
            fail(e)
        except OSError as e:
            if e.errno not in STORAGE:
                raise
            fail(
                f"results cannot be stored: {e}. What was finished is kept; the same "
                "command goes on from it."
            )
        except KeyboardInterrupt:
            fail("interrupted; the same command goes on from what was finished.", 130)

    app.run(guarded, flags_parser=parse_flags)


def flags_text() -> str:
    """The program's own flags with their values, as a file for --flagfile."""
    own = flags.FLAGS.get_key_flags_for_module(sys.argv[0])
    lines = [flag.serialize() for flag in own if flag.value is not None]
    return "\n".join(line for line in lines if line) + "\n"
