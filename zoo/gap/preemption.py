"""A request to stop (SIGTERM), and the places where a run stops.

Schedulers send SIGTERM some time before they kill: Slurm at `--signal`, a cloud before
it takes a machine back. A run asks `reached` where it could go on later: between cells,
and in long trainings between segments. In a run of several processes JAX makes them
agree on the place.
"""

import os
import signal
import threading

import jax
from jax.experimental import multihost_utils

STATUS = 75  # EX_TEMPFAIL: what is done is kept, run the same command again
GRACE = 20.0  # seconds from the signal to the next place to stop, at most

_asked, _stopping = threading.Event(), threading.Event()
_place = 0


class Preempted(Exception):
    """The run was asked to stop, and can go on later."""


def listen(grace: float = GRACE) -> None:
    """From now on SIGTERM asks this process to stop; called by the main thread.

    A thread of its own receives it, since Python's handlers wait for compiled programs
    to return. Where the run does not come to a place to stop in time, the process ends
    with `STATUS` all the same: what it has stored is kept, its cell begins anew.
    Processes of one run leave the signal to JAX, which tells all of them.
    """
    if os.name != "posix" or jax.distributed.is_initialized():
        return
    receiver, sender = os.pipe()
    os.set_blocking(sender, False)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.set_wakeup_fd(sender, warn_on_full_buffer=False)
    threading.Thread(target=_receive, args=(receiver, grace), daemon=True).start()


def _receive(receiver: int, grace: float) -> None:
    while os.read(receiver, 1)[0] != signal.SIGTERM:
        pass  # other signals, which have handlers of their own
    _asked.set()
    if not _stopping.wait(grace):
        os.write(2, b"error: preempted; the same command goes on from here.\n")
        os._exit(STATUS)


def next_place(after: int = 0) -> int:
    """The number of the next place where the run may stop, the same in all processes.

    Args:
        after: numbers that are taken: those of checkpoints, which count on.
    """
    global _place
    _place = max(_place, after) + 1
    return _place


def reached(place: int) -> bool:
    """Whether the run has to stop at this place."""
    if jax.distributed.is_initialized():
        return multihost_utils.reached_preemption_sync_point(place)
    if _asked.is_set():
        _stopping.set()
    return _asked.is_set()


def stop_if_asked() -> None:
    """Raises `Preempted` if the run has to stop here."""
    if reached(next_place()):
        raise Preempted
