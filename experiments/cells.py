"""Flags of programs that measure cells: where results are kept, and which share."""

import os
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import jax
from absl import flags

from experiments import cluster, compiled, edge
from zoo.gap import store
from zoo.gap.sweep import Shard, Unfinished

flags.disclaim_key_flags()  # the flags belong to the program that calls `define`

ARRAY = {"ID": 0, "COUNT": 1, "MIN": 0, "STEP": 1}  # Slurm's, and where it says none


def define(workdir: str) -> None:
    """Defines --workdir, with this default, --shard and --compilation_cache."""
    flags.DEFINE_string("workdir", workdir, "Where results are kept.")
    flags.DEFINE_string(
        "shard",
        None,
        "i/N: measures every N-th cell from the i-th on, from 0; the last of the N "
        "processes sums up. Default: the place in a Slurm array; or the number of this "
        "process among those started with it, which goes on with what they left.",
    )
    flags.DEFINE_string(
        "compilation_cache",
        None,
        "Folder of compiled programs, for this run and later ones; default: none.",
    )


def begin() -> Shard:
    """What has to be set before anything is compiled; the cells to measure.

    Of processes that were started together the first one sums up.

    Raises:
        ValueError: --shard, or what Slurm says, is no part of a whole; or
            --compilation_cache is no folder.
    """
    if flags.FLAGS["compilation_cache"].value is not None:
        folder = str(flags.FLAGS["compilation_cache"].value)
        try:
            compiled.keep(folder)
        except OSError as e:
            raise ValueError(
                f"--compilation_cache={folder} is not allowed: it takes a folder that "
                f"is there or can be made ({e.strerror})."
            ) from e
    alone = jax.distributed.is_initialized()  # or all take part in every cell
    place = (0, 1) if alone else cluster.place()
    return shard(flags.FLAGS["shard"].value, os.environ, place)


def shard(
    given: str | None, environment: Mapping[str, str], place: tuple[int, int] = (0, 1)
) -> Shard:
    """The cells that a process measures.

    Args:
        given: --shard.
        environment: where Slurm says which task of an array this is.
        place: number of this process among those started together, and their count.

    Raises:
        ValueError: it is no part of a whole.
    """
    said = f"--shard={given}"
    if given is None:
        if "SLURM_ARRAY_TASK_ID" not in environment:
            return Shard(*place, sums_up=place[0] == 0, helps=True)
        task, count, first, step = (
            _number(environment, f"SLURM_ARRAY_TASK_{name}", default)
            for name, default in ARRAY.items()
        )
        given = f"{(task - first) // step}/{count}"
        said = f"SLURM_ARRAY_TASK_ID={task}, a shard of {given},"
    index, _, count = given.partition("/")
    if not (index.isdecimal() and count.isdecimal()):
        raise ValueError(f"{said} is not allowed: it takes i/N, two whole numbers.")
    if not int(index) < int(count):
        raise ValueError(f"{said} is not allowed: of i/N, i is at least 0 and below N.")
    return Shard(int(index), int(count))


def each(*parts: Callable[[], Any]) -> list[Any]:
    """What the parts of a program return, each of which measures cells.

    Raises:
        Unfinished: one or more are, after all of them had their turn.
    """
    found, missing = [], []
    for part in parts:
        try:
            found.append(part())
        except Unfinished as e:
            missing.append(e)
    if missing:
        said = " ".join(dict.fromkeys(map(str, missing)))
        raise Unfinished(said, sum(e.failed for e in missing))
    return found


def _number(environment: Mapping[str, str], name: str, default: int) -> int:
    said = environment.get(name, str(default))
    if not said.isdecimal():
        raise ValueError(f"{name}={said} is not allowed: it takes a whole number.")
    return int(said)


def open_workdir(config: dict[str, Any]) -> Path:
    """The folder of --workdir, which holds this configuration and the flags."""
    workdir = Path(str(flags.FLAGS["workdir"].value))
    store.open_workdir(workdir, config)
    store.write_text(workdir / "flags.txt", edge.flags_text())
    return workdir
