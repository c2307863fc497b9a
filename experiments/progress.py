"""Progress: a live bar on a terminal, plain lines anywhere else."""

import contextlib
import sys
import time
from collections.abc import Callable, Iterator

from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from experiments import cluster


@contextlib.contextmanager
def progress(title: str) -> Iterator[Callable[[str, float], None]]:
    """Yields `report(message, share)`, with `share` of the work done in [0, 1]."""
    if not sys.stdout.isatty():
        start = time.monotonic()
        number, count = cluster.place()
        who = f"process {number} of {count}, " if count > 1 else ""

        def line(message: str, share: float) -> None:
            seconds = time.monotonic() - start
            print(f"[{who}{seconds:6.1f} s {share:4.0%}] {message}", flush=True)

        yield line
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn())
    with Progress(*columns) as bar:
        task = bar.add_task(title, total=1.0)
        yield lambda message, share: bar.update(
            task, completed=share, description=message
        )
