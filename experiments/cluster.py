"""Whether this process is one of several, and jax.distributed, where it has to be."""

import contextlib
import importlib.util
import os
import sys
import traceback
import urllib.request
from collections.abc import Iterator
from typing import Any

import jax
from absl import flags

DISTRIBUTED = flags.DEFINE_enum(
    "distributed",
    "auto",
    ("auto", "on", "off"),
    "Whether processes are one run of jax.distributed; auto: those of a TPU slice are, "
    "and with --mesh those of launch.local, of a Slurm step and of Open MPI, which "
    "without it share the cells of a folder; off: this one is alone.",
)
HEARTBEAT_SECONDS = 20  # a process that is silent for longer counts as lost
METADATA_SECONDS = 5
# Where launch.local, Slurm (in a step, not in a batch script) and Open MPI say it.
PLACES = (
    ("ZOO_PROCESS", "ZOO_PROCESSES"),
    ("SLURM_PROCID", "SLURM_STEP_NUM_TASKS"),
    ("OMPI_COMM_WORLD_RANK", "OMPI_COMM_WORLD_SIZE"),
)
AGAIN = 75  # exit status: stopped and saved, the same command goes on


class ClusterError(Exception):
    """The processes of a run cannot be brought together; the message says why."""


def start() -> None:
    """Starts jax.distributed, as --distributed says; before any use of a device.

    Raises:
        ClusterError: it is on, and nothing tells of other processes.
    """
    asked = DISTRIBUTED.value
    if asked == "off" or (asked == "auto" and not needed()):
        return
    try:
        jax.distributed.initialize(
            **_launched(), heartbeat_timeout_seconds=HEARTBEAT_SECONDS
        )
    except ValueError as e:  # JAX's own search has found nothing
        raise ClusterError(
            f"--distributed={asked} finds no other processes: this is none of "
            "launch.local, of a Slurm step (srun), of Open MPI or of a TPU slice."
        ) from e


def needed() -> bool:
    """Whether this process can only work together with others."""
    mesh = "mesh" in flags.FLAGS and flags.FLAGS["mesh"].value
    return bool(mesh and place()[1] > 1) or tpu_hosts() > 1


def place() -> tuple[int, int]:
    """(number, count) of this process among those that were started together.

    Raises:
        ClusterError: what the launcher says are not such numbers.
    """
    if DISTRIBUTED.value == "off":
        return 0, 1
    for rank, size in PLACES:
        if size in os.environ and rank in os.environ:
            number, count = _number(rank), _number(size)
            if number >= count:
                raise ClusterError(
                    f"{rank}={number} is not allowed: it is below {size}={count}."
                )
            return number, count
    return 0, 1


def _number(name: str) -> int:
    """Of a variable of the environment."""
    said = os.environ[name]
    if not (said.isascii() and said.isdecimal()):
        raise ClusterError(f"{name}={said} is not allowed: it takes a whole number.")
    return int(said)


@contextlib.contextmanager
def no_farewell() -> Iterator[None]:
    """One process of several that fails ends at once, with its error as the last line.

    JAX's own exit would wait for the others first, which may be waiting for this one,
    and then abort. Status 75 is no failure: all processes end with it together.
    """
    try:
        yield
    except BaseException as e:
        status = e.code if isinstance(e, SystemExit) else 1
        if not jax.distributed.is_initialized() or status in (None, 0, AGAIN):
            raise
        if not isinstance(e, SystemExit):
            traceback.print_exc()
            who = f"process {jax.process_index()} of {jax.process_count()}"
            why = " ".join(str(e).split())
            print(f"error: {who} ended by {type(e).__name__}: {why}", file=sys.stderr)
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status if isinstance(status, int) else 1)


def _launched() -> dict[str, Any]:
    """What launch.local says; nothing elsewhere, where JAX asks the cluster."""
    if "ZOO_COORDINATOR" not in os.environ:
        return {}
    return {
        "coordinator_address": os.environ["ZOO_COORDINATOR"],
        "num_processes": _number("ZOO_PROCESSES"),
        "process_id": _number("ZOO_PROCESS"),
    }


def tpu_hosts() -> int:
    """Hosts of the TPU slice, or slices, that this is one of; 1 without a TPU."""
    if importlib.util.find_spec("libtpu") is None:
        return 1
    hosts = os.environ.get("TPU_PROCESS_ADDRESSES")
    hosts = hosts or os.environ.get("TPU_WORKER_HOSTNAMES") or _tpu_endpoints()
    slices = int(os.environ.get("MEGASCALE_NUM_SLICES") or 1)
    return len(hosts.split(",")) * slices


def _tpu_endpoints() -> str:
    """Hosts of a TPU VM's slice, by its metadata server; "" where there is none."""
    if "TPU_SKIP_MDS_QUERY" in os.environ:
        return ""
    server = os.environ.get("GCE_METADATA_IP", "metadata.google.internal")
    request = urllib.request.Request(
        f"http://{server}/computeMetadata/v1/instance/attributes/"
        "worker-network-endpoints",
        headers={"Metadata-Flavor": "Google"},
    )
    try:
        with urllib.request.urlopen(request, timeout=METADATA_SECONDS) as answer:
            return answer.read().decode()
    except OSError:
        return ""
