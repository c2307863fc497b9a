"""The edge between a user and the library: flags in, one line per error out."""

import contextlib
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

import jax
from absl import app, flags, logging

from experiments import cluster
from zoo.gap import preemption
from zoo.gap.store import WorkdirError, is_fault
from zoo.gap.sweep import Unfinished

PLACE = ("shard", "compilation_cache")  # flags that say who measures, not what
MOST_FAILED = 63  # as an exit status; higher ones have other meanings
INTERRUPTED = "interrupted; the same command goes on from what was finished."


def fail(message: object, status: int = 1) -> NoReturn:
    """Ends the program with one line on standard error."""
    print(f"error: {' '.join(str(message).split())}", file=sys.stderr)
    sys.exit(status)


def leave(message: str, status: int) -> NoReturn:
    """Ends the program at once, with one line on standard error.

    In compiled programs that are still at work Python's own exit can crash.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    with contextlib.suppress(OSError):
        sys.stdout.flush()
    with contextlib.suppress(OSError):
        print(f"error: {message}", file=sys.stderr, flush=True)
    if status == preemption.STATUS and jax.distributed.is_initialized():
        with contextlib.suppress(RuntimeError):
            jax.distributed.shutdown()  # all processes end together
    os._exit(status)


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
    """Runs `main` under absl; what ends it early is said in one line.

    The exit status is 1 or 2 for refused input, 75 where the run was asked to stop and
    can go on, the number of cells that failed, and 0 for a shard that waits for others.
    """

    def guarded(argv: Sequence[str]) -> None:
        try:
            listen()
            main()
        except Unfinished as e:
            if e.failed:
                fail(e, min(e.failed, MOST_FAILED))
            print(e)
        except preemption.Preempted:
            leave("preempted; the same command goes on from here.", preemption.STATUS)
        except (WorkdirError, cluster.ClusterError) as e:
            fail(e)
        except BrokenPipeError:  # whoever read the output has seen enough
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(1)
        except OSError as e:
            if not is_fault(e):
                raise
            fail(
                f"results cannot be stored: {e}. What was finished is kept; the same "
                "command goes on from it."
            )
        except KeyboardInterrupt:
            leave(INTERRUPTED, 130)

    with cluster.no_farewell():
        app.run(guarded, flags_parser=parse_flags)


def listen() -> None:
    """Starts jax.distributed, if need be; from now on signals end the run in order."""
    if signal.getsignal(signal.SIGINT) is not signal.SIG_IGN:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.unraisablehook = unraisable
    preemption.listen(grace=0.0)  # to wait for other processes can take minutes
    cluster.start()
    if jax.distributed.is_initialized():
        signal.set_wakeup_fd(-1)  # from here on it is JAX that listens
    preemption.listen()


def unraisable(lost: Any) -> None:
    """Ends the program if Ctrl-C came in a callback, whose exceptions Python drops."""
    if lost.exc_type is KeyboardInterrupt:
        os.write(2, f"error: {INTERRUPTED}\n".encode())
        os._exit(130)
    sys.__unraisablehook__(lost)


def flags_text() -> str:
    """The program's own flags with their values, as a file for --flagfile."""
    own = flags.FLAGS.get_key_flags_for_module(sys.argv[0])
    kept = [flag for flag in own if flag.value is not None and flag.name not in PLACE]
    lines = [flag.serialize() for flag in kept]
    return "\n".join(line for line in lines if line) + "\n"
