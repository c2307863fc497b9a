"""Programs: absl flags -> a frozen configuration -> zoo."""

import os
import signal
import sys
from types import FrameType


def _end(number: int, _: FrameType | None) -> None:
    """Ends a program that is still importing: nothing was begun.

    At once, since an exception in a callback of the garbage collector is lost.
    """
    what, status = {
        signal.SIGTERM: ("preempted", 75),  # as `zoo.gap.preemption.STATUS`
        signal.SIGINT: ("interrupted", 130),
    }[signal.Signals(number)]
    os.write(2, f"error: {what}; the same command starts anew.\n".encode())
    os._exit(status)


# What Python says while it looks for the module of `python -m experiments.x`. Where
# this package is a library of another program its signals are none of our business.
if sys.argv[:1] == ["-m"]:
    signal.signal(signal.SIGTERM, _end)
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, _end)
