"""A request to stop (SIGTERM), and the places where a run stops.

Schedulers send SIGTERM some time before they kill: Slurm at `--signal`, a cloud before
it takes a machine back. A run asks `reached` where it could go on later: between cells,
and in long trainings between segments. In a run of several processes JAX makes them
agree on the place.
"""

import itertools
import os
import signal
import socket
import threading

import jax
from jax.experimental import multihost_utils

STATUS = 75  # EX_TEMPFAIL: what is done is kept, run the same command again
GRACE = 20.0  # seconds from the signal to the next place to stop, at most

_asked, _stopping = threading.Event(), threading.Event()
_places = itertools.count()


class Preempted(Exception):
    """The run was asked to stop, and can go on later."""


def listen(grace: float = GRACE) -> None:
    """From now on SIGTERM asks this process to stop; called by the main thread.

    A thread of its own receives it, since Python's handlers wait for compiled programs
    to return. Where the run does not come to a place to stop in time, the process ends
    with `STATUS` all the same: what it has stored is kept, its cell begins anew.
    Processes of one run leave the signal to JAX, which tells all of them.
    """
    if jax.distributed.is_initialized():
        return
    receiver, sender = socket.socketpair()
    sender.setblocking(False)
    signal.signal(signal.SIGTERM, lambda *_: None)
    signal.set_wakeup_fd(sender.fileno(), warn_on_full_buffer=False)
    arguments = (receiver, sender, grace)
    threading.Thread(target=_receive, args=arguments, daemon=True).start()


def _receive(receiver: socket.socket, sender: socket.socket, grace: float) -> None:
    while receiver.recv(1)[0] != signal.SIGTERM:
        pass  # other signals, which have handlers of their own
    _asked.set()
    if not _stopping.wait(grace):
        os.write(2, b"error: preempted; the same command goes on from here.\n")
        os._exit(STATUS)


def reached() -> bool:
    """Whether to stop here; processes of one run ask at the same places."""
    if jax.distributed.is_initialized():
        return multihost_utils.reached_preemption_sync_point(next(_places))
    if _asked.is_set():
        _stopping.set()
    return _asked.is_set()


def stop_if_asked() -> None:
    """Raises `Preempted` where the run has to stop here."""
    if reached():
        raise Preempted
