"""Training in segments, so that a later process goes on where this one had to stop.

One compiled program advances a training by any number of steps, the same one whether it
is cut or not, so that the numbers do not depend, to the bit, on where it was cut. Seeds
train in parts, one after the other: of those in a part all take the same step.

Between two segments a run may be asked to stop (`preemption`). It then stores its
progress with Orbax, as it does now and then in a training that takes long.
"""

import contextlib
import hashlib
import shutil
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int
from orbax.checkpoint import v1 as ocp

from zoo.gap import preemption, store
from zoo.gap.processes import agreed

SEGMENT = 3.0  # seconds between two places to stop
GROWTH = 8  # of a segment over the one before it, at most
SAVE = 600  # seconds between two checkpoints of a training that nobody stops
DIGEST = "sha256.txt"  # of all other files of a checkpoint, written after them


class Progress(NamedTuple):
    """A training on its way; all leaves begin with the seeds, [s, ...].

    Attributes:
        state: what a step changes; the parameters come first.
        seen: what is recorded, [s, t, ...]; 0 at steps that are still to come.
    """

    state: Any
    seen: Any


def empty(seen: Any, seeds: int, records: int) -> Any:
    """Room for what is recorded of all seeds; `seen` is of one, as shapes."""
    return jax.tree.map(lambda a: jnp.zeros((seeds, records, *a.shape), a.dtype), seen)


def advance(
    steps: Callable[[Any, jax.Array, jax.Array], Any],
    observe: Callable[[Any], Any],
    progress: Progress,
    times: Int[Array, " t"],
    bounds: Int[Array, "4"],
) -> Progress:
    """One seed's training, traced: steps between two bounds, records on the way.

    Args:
        steps: (state, first, last) -> state.
        observe: parameters -> what is recorded.
        progress: of one seed, without the seeds' axis.
        times: recorded steps.
        bounds: see `bounds`. A last record before its time is written over later.
    """
    low, high, first, last = bounds

    def record(i: jax.Array, progress: Progress) -> Progress:
        start = jnp.where(i > 0, times[i - 1], 0)
        ends = jnp.maximum(start, first), jnp.minimum(times[i], last)
        state = steps(progress.state, *ends)
        seen = jax.tree.map(
            lambda all, now: all.at[i].set(now), progress.seen, observe(state[0])
        )
        return Progress(state, seen)

    return jax.lax.fori_loop(low, high, record, progress)


def bounds(times: np.ndarray, first: int, last: int) -> Int[np.ndarray, "4"]:
    """Records from the first to before the second, and steps from one to another.

    >>> bounds(np.array([0, 1, 10]), -1, 10).tolist()  # -1: not begun
    [0, 3, -1, 10]
    >>> bounds(np.array([0, 1, 10]), 1, 5).tolist()
    [2, 3, 1, 5]
    """
    low = np.searchsorted(times, first, side="right")
    high = np.searchsorted(times, last, side="left") + 1
    return np.asarray([low, high, first, last], np.int32)


def by_part(one: Callable, size: int, part: jax.Array, progress: Any, *shared: Any):
    """Advances one part, `size` seeds, traced.

    Args:
        one: (progress, *shared) -> progress, of one seed.
        size: seeds of a part.
        part: which.
        progress: of all seeds.
        shared: of all seeds, too; not changed.
    """

    def own(leaf: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice_in_dim(leaf, part * size, size)

    def put(leaf: jax.Array, new: jax.Array) -> jax.Array:
        return jax.lax.dynamic_update_slice_in_dim(leaf, new, part * size, 0)

    moved = jax.vmap(one)(*jax.tree.map(own, (progress, *shared)))
    return jax.tree.map(put, progress, moved)


class _Place(NamedTuple):
    """Parts before `part` are whole, and this one has taken so many steps.

    -1 steps: not begun, and step 0 not recorded either.
    """

    part: int = 0
    step: int = -1


def train(
    program: Callable[[Any, Any, Any], Any],
    progress: Any,
    parts: int,
    times: np.ndarray,
    scratch: Path | None = None,
) -> Any:
    """Trains part after part.

    Args:
        program: (progress, part, bounds) -> progress, compiled.
        progress: at the start.
        parts: how many.
        times: recorded steps.
        scratch: where a checkpoint is kept; None trains whole parts, and never stops.

    Raises:
        Preempted: the run was asked to stop, and the progress is stored.
        DamagedError: the checkpoint cannot be gone on from, in all processes alike;
            without it (`forget`) the training begins anew.
    """
    last = int(times[-1])
    if scratch is None:
        for part in range(parts):
            progress = program(progress, np.int32(part), bounds(times, -1, last))
        return progress
    with contextlib.ExitStack() as stack:
        saver, place, size, began = None, _Place(), 1, time.monotonic()
        if agreed(scratch.exists()):
            saver = stack.enter_context(_checkpointer(scratch))
            progress, place = _load(saver, scratch, progress)
        while place.part < parts:
            stop, start = min(max(place.step, 0) + size, last), time.monotonic()
            between = bounds(times, place.step, stop)
            progress = jax.block_until_ready(
                program(progress, np.int32(place.part), between)
            )
            pace = (time.monotonic() - start) / max(stop - place.step, 1)
            size = agreed(int(np.clip(SEGMENT / max(pace, 1e-9), 1, GROWTH * size)))
            place = _Place(place.part, stop)
            if stop == last:
                place = _Place(place.part + 1)
            if place.part == parts:
                break
            number = preemption.next_place(_number(saver))
            stopping = preemption.reached(number)
            if saver is None and agreed(stopping or time.monotonic() - began > SAVE):
                saver = stack.enter_context(_checkpointer(scratch))
            if saver is not None:
                _save(saver, scratch, number, progress, place, stopping)
            if stopping:
                raise preemption.Preempted
        return progress


def _checkpointer(scratch: Path) -> Any:
    policies: Any = ocp.training.save_decision_policies
    now_and_then = policies.ContinuousCheckpointingPolicy(minimum_interval_secs=SAVE)
    kept: Any = ocp.training.preservation_policies.LatestN(1)
    return ocp.training.Checkpointer(
        str(scratch.absolute()),
        save_decision_policy=policies.AnySavePolicy(
            [policies.PreemptionCheckpointingPolicy(), now_and_then]
        ),
        preservation_policy=kept,
        cleanup_tmp_directories=True,
    )


def _number(saver: Any) -> int:
    """That of the last checkpoint, which the next ones have to exceed."""
    return saver.latest.step if saver is not None and saver.latest is not None else 0


def _leaves(tree: Any) -> dict[str, Any]:
    """Arrays of a tree by their place, without the empty ones, which Orbax refuses.

    What a process has to itself, each of a run the same, is stored once.
    """
    leaves = {str(i): leaf for i, leaf in enumerate(jax.tree.leaves(tree)) if leaf.size}
    return {
        i: np.asarray(a) if a.is_fully_addressable else a for i, a in leaves.items()
    }


def _save(
    saver: Any,
    scratch: Path,
    number: int,
    progress: Any,
    place: _Place,
    stopping: bool,
) -> None:
    """Stores the progress, if a policy or a request to stop says so."""
    said = {"leaves": _leaves(progress), "place": np.asarray(place)}
    try:
        if saver.save(number, said, force=stopping) and jax.process_index() == 0:
            folder = scratch / str(number)
            store.write_text(folder / DIGEST, _digest(folder))
    except (OSError, ValueError) as e:  # a full disk is no reason to lose a training
        said = " ".join(str(e).split())[:300]
        warnings.warn(f"no checkpoint could be stored: {said}", stacklevel=2)


def _load(saver: Any, scratch: Path, progress: Any) -> tuple[Any, _Place]:
    """The progress that is stored; that of the start where there is none."""
    if saver.latest is None:
        return progress, _Place()
    if not agreed(_is_sound(scratch / str(saver.latest.step))):
        raise store.DamagedError("its checkpoint is damaged (its checksum differs)")
    wanted = {"leaves": _leaves(progress), "place": np.zeros(2, int)}
    try:
        found = saver.load(saver.latest, jax.tree.map(_shape, wanted))
    except Exception as e:  # Orbax has its own for everything that may be missing
        if store.is_fault(e) or isinstance(e, MemoryError):
            raise
        said = f"{type(e).__name__}: {' '.join(str(e).split())[:100]}"
        raise store.DamagedError(f"its checkpoint is damaged ({said})") from e
    leaves, tree = jax.tree.flatten(progress)
    new = [found["leaves"].get(str(i), leaf) for i, leaf in enumerate(leaves)]
    return jax.tree.unflatten(tree, new), _Place(*map(int, found["place"]))


def _is_sound(folder: Path) -> bool:
    """Whether a checkpoint is what was stored.

    That of a process that was killed before it wrote the digest is whole all the same.
    """
    path = folder / DIGEST
    if jax.process_index() or not path.exists():  # the first process says it
        return True
    return path.read_bytes() == _digest(folder).encode()


def _digest(folder: Path) -> str:
    """Of the names and contents of a checkpoint's files."""
    total = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != DIGEST and store.PART not in path.name:
            with path.open("rb") as file:
                own = hashlib.file_digest(file, "sha256").hexdigest()
            total.update(f"{path.relative_to(folder)} {own}\n".encode())
    return total.hexdigest()


def _shape(leaf: Any) -> Any:
    """What Orbax has to know of an array: also on which devices it lies."""
    if isinstance(leaf, np.ndarray):
        return leaf
    return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=leaf.sharding)


def forget(scratch: Path) -> None:
    """Deletes the checkpoint of a training that is done."""
    shutil.rmtree(scratch, ignore_errors=True)
