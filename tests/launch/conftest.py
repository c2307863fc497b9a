"""A sweep that nobody disturbed, and a real Slurm of two nodes on this machine."""

import contextlib
import os
import secrets
import socket
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from launch.local import free_port

# Programs that the tests start; a doctest run would import them, and their flags.
collect_ignore = ["again.py", "patient.py", "rendezvous.py", "stub_gcloud.py"]

# Nodes are called what JAX can connect to: the first one's name is its coordinator's.
NODES = ("127.0.0.1", "127.0.0.2")
# Jobs of `high` take the nodes of those of `low`, which are told 10 s before. Nothing
# is accounted, bound to CPUs or held in cgroups.
CONFIG = """
ClusterName=tests
SlurmctldHost=localhost(127.0.0.1)
SlurmctldPort={controller}
SlurmUser={user}
SlurmdUser={user}
AuthType=auth/munge
AuthInfo=socket={folder}/munge.socket
CredType=cred/munge
StateSaveLocation={folder}/state
SlurmdSpoolDir={folder}/spool-%n
SlurmctldPidFile={folder}/controller.pid
SlurmdPidFile={folder}/%n.pid
ProctrackType=proctrack/linuxproc
TaskPlugin=task/none
JobAcctGatherType=jobacct_gather/none
AccountingStorageType=accounting_storage/none
JobCompType=jobcomp/none
MpiDefault=none
SelectType=select/cons_tres
SelectTypeParameters=CR_CPU
SchedulerType=sched/backfill
SchedulerParameters=sched_interval=2,sched_min_interval=0,batch_sched_delay=0,bf_interval=2
SlurmdParameters=config_overrides
ReturnToService=2
KillWait=10
PreemptType=preempt/partition_prio
PreemptMode=REQUEUE
{nodes}
PartitionName=low Nodes=ALL Default=YES State=UP PriorityTier=1 GraceTime=10
PartitionName=high Nodes=ALL State=UP PriorityTier=10 PreemptMode=OFF
"""
NODE = "NodeName={name} NodeHostname={host} NodeAddr={name} Port={port} CPUs=1"


def write_config(folder):
    """slurm.conf, with ports that nobody listens on."""
    host = socket.gethostname().split(".")[0]
    nodes = [NODE.format(name=n, host=host, port=free_port()) for n in NODES]
    path = folder / "slurm.conf"
    path.write_text(
        CONFIG.format(
            folder=folder,
            controller=free_port(),
            user=Path.home().owner(),
            nodes="\n".join(nodes),
        )
    )
    return path


@pytest.fixture(scope="session")
def slurm(tmp_path_factory, system_program):
    """The environment in which srun and sbatch reach the cluster: `SLURM_CONF`."""
    munged, controller, daemon = map(
        system_program, ("/usr/sbin/munged", "/usr/sbin/slurmctld", "/usr/sbin/slurmd")
    )
    folder = tmp_path_factory.mktemp("slurm")
    for part in (folder, *folder.parents[:3]):
        part.chmod(0o755)  # munge wants to be reachable
    (folder / "state").mkdir()
    key = folder / "munge.key"
    key.touch(0o600)
    key.write_bytes(secrets.token_bytes(128))
    files = [f"--{k}-file={folder}/munge.{k}" for k in ("key", "pid", "seed", "log")]
    socket_file = f"--socket={folder}/munge.socket"
    config = write_config(folder)
    lines = [
        [munged, "--foreground", "--force", socket_file, *files],
        [controller, "-D", "-c", "-f", str(config)],
        *([daemon, "-D", "-f", str(config), "-N", node] for node in NODES),
    ]
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    environment |= {"SLURM_CONF": str(config), "JAX_PLATFORMS": "cpu"}
    with contextlib.ExitStack() as stack:
        for number, line in enumerate(lines):
            with (folder / f"daemon-{number}.txt").open("wb") as log:
                process = subprocess.Popen(
                    line, stdout=log, stderr=log, env=environment
                )
            stack.callback(process.wait)
            stack.callback(process.terminate)
        await_nodes(environment, folder)
        yield environment
        cancel = ["scancel", "--partition=low,high", "--signal=KILL"]
        subprocess.run(cancel, env=environment)


def await_nodes(environment, folder):
    """Returns once both nodes are idle."""
    line = ["sinfo", "--noheader", "--partition=low", "--format=%D %T"]
    for _ in range(120):
        said = subprocess.run(line, env=environment, capture_output=True, text=True)
        if said.stdout.strip() == f"{len(NODES)} idle":
            return
        time.sleep(0.25)
    logs = "".join(path.read_text() for path in sorted(folder.glob("daemon-*.txt")))
    pytest.fail(f"Slurm did not start: {said.stdout}{said.stderr}{logs}")


SWEEP = (
    "experiments.lazy_gap --widths=8,16,24 --seeds=2 --cell_seeds=1 --n_train=12 "
    "--n_test=10 --steps=20 --records=4 --depth=1"
).split()


@pytest.fixture(scope="session")
def sweep(tmp_path_factory):
    """A small sweep: its command, and `check(workdir)`: whether its results are there.

    They are what one process measures, to the bit.
    """
    workdir = tmp_path_factory.mktemp("undisturbed")
    environment = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    line = [sys.executable, "-m", *SWEEP, f"--workdir={workdir}"]
    subprocess.run(line, check=True, env=environment, capture_output=True)
    expected = arrays_of(workdir)
    assert len({cell for cell, _ in expected}) == 6

    def check(other):
        got = arrays_of(other)
        assert got.keys() == expected.keys()
        for key, value in expected.items():
            np.testing.assert_array_equal(got[key], value, err_msg=str(key))
        for name in ("summary.json", "report.html"):
            assert (other / name).stat().st_size

    return SWEEP, check


def arrays_of(workdir):
    """All arrays of all cells, by the cell's name and their own."""
    return {
        (folder.name, name): value
        for folder in sorted((workdir / "cells").iterdir())
        for name, value in np.load(folder / "traj.npz").items()
    }
