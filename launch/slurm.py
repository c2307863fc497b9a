r"""The same command as a Slurm job: an array of shards, or processes on several nodes.

    python -m launch.slurm --partition=gpu --array=8 --time=4:00:00 \
        --sbatch=--gpus-per-task=1 -- experiments.lazy_gap --arch=mlp --workdir=runs/gap

Writes a batch script and submits it. Each of the --array's tasks measures its shard of
the cells, and the last one sums up; --nodes=2 is one job of one process a node instead:
they share the cells, or with --mesh are one run of jax.distributed. A task that is
preempted, or whose time is nearly over, is told by SIGTERM, saves, ends with status 75
and is queued again.
"""

import os
import re
import shlex
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import flags

from launch import command

ARRAY = flags.DEFINE_integer("array", 1, "Shards, each a task.", lower_bound=1)
NODES = flags.DEFINE_integer("nodes", 1, "Nodes of one job.", lower_bound=1)
PARTITION = flags.DEFINE_string("partition", None, "Default: the cluster's own.")
TIME = flags.DEFINE_string("time", None, "Of a task: minutes, H:M:S, D-H:M:S.")
SBATCH = flags.DEFINE_multi_string(
    "sbatch", [], "Another option of sbatch, as --sbatch=--account=me; many times."
)
SETUP = flags.DEFINE_multi_string(
    "setup", [], "A line of the script before the program, as --setup='module load x'."
)
LOGS = flags.DEFINE_string("logs", "runs/logs", "Folder of script and output.")
SCRIPT = flags.DEFINE_string("script", None, "The script; default: in --logs.")
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Prints the script, and ends.")

NOTICE_SECONDS = 120  # between SIGTERM and the end of a task's time
# An array's first task may have the array's own number as SLURM_JOB_ID, under which
# `scontrol requeue` takes all of the array. srun knows of --cpus-per-task only by this.
BODY = """
set -u
if [ -n "${{SLURM_CPUS_PER_TASK:-}}" ]; then
    export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK
fi
job=$SLURM_JOB_ID
if [ -n "${{SLURM_ARRAY_JOB_ID:-}}" ]; then
    job=${{SLURM_ARRAY_JOB_ID}}_$SLURM_ARRAY_TASK_ID
fi
{setup}srun --kill-on-bad-exit=0 {program}
status=$?
if [ "$status" -eq {again} ]; then
    echo "$job is queued again"
    scontrol requeue "$job"
fi
exit "$status"
"""


def seconds(text: str) -> int | None:
    """Of a time as Slurm reads it; None where it has no end or is not understood.

    Examples:
        >>> [seconds(t) for t in ("2", "2:30", "1:0:0", "1-0", "1-0:1", "1-0:0:1", "0")]
        [120, 150, 3600, 86400, 86460, 86401, None]
    """
    if not re.fullmatch(r"\d+(:\d+){0,2}|\d+-\d+(:\d+){0,2}", text):
        return None
    days, dash, rest = text.rpartition("-")
    parts = [int(part) for part in rest.split(":")]
    if not dash and len(parts) < 3:
        parts = [0, *parts]  # minutes come first
    hours, minutes, last = (*parts, 0, 0)[:3]
    return (((int(days or 0) * 24 + hours) * 60 + minutes) * 60 + last) or None


def directives(name: str) -> list[str]:
    """Options of sbatch, as the script states them."""
    task = "%A_%a" if ARRAY.value > 1 else "%j"
    options = [
        f"--job-name={name}",
        *([f"--array=0-{ARRAY.value - 1}"] if ARRAY.value > 1 else []),
        f"--nodes={NODES.value}",
        "--ntasks-per-node=1",
        *([f"--partition={PARTITION.value}"] if PARTITION.value else []),
        *([f"--time={TIME.value}"] if TIME.value else []),
        f"--signal=TERM@{NOTICE_SECONDS}",
        "--requeue",
        "--open-mode=append",
        f"--chdir={Path.cwd()}",
        f"--output={Path(LOGS.value).absolute() / f'{name}-{task}.txt'}",
        *SBATCH.value,
    ]
    return [shlex.quote(option) for option in options]


def script(line: list[str]) -> str:
    """The batch script that runs a module with its flags."""
    name = line[0].rpartition(".")[2]
    options = "".join(f"#SBATCH {option}\n" for option in directives(name))
    body = BODY.format(
        setup="".join(f"{text}\n" for text in SETUP.value),
        program=shlex.join([sys.executable, "-m", *line]),
        again=command.AGAIN,
    )
    return f"#!/usr/bin/env bash\n{options}{body}"


def write(text: str) -> Path:
    """Stores the script, under a new name unless --script gives one."""
    try:
        Path(LOGS.value).mkdir(parents=True, exist_ok=True)
        path = SCRIPT.value
        if path is None:
            prefix = time.strftime("slurm-%m%d-%H%M%S-")
            handle, path = tempfile.mkstemp(".sh", prefix, LOGS.value)
            os.close(handle)
        Path(path).write_text(text)
    except OSError as e:
        command.fail(f"the script cannot be stored: {e}.")
    return Path(path)


def refuse_bad_flags(line: list[str]) -> None:
    """Ends with one line where flags do not make sense, alone or with the command's."""
    if ARRAY.value > 1 and NODES.value > 1:
        command.fail(
            f"--array={ARRAY.value} and --nodes={NODES.value} are not allowed "
            "together: shards are independent jobs, nodes are one.",
            2,
        )
    given = [word for word in line if re.match("--?shard(=|$)", word)]
    if ARRAY.value > 1 and given:
        command.fail(
            f"--array={ARRAY.value} and {given[0]} are not allowed together: each "
            "task of an array has a shard of its own.",
            2,
        )
    limit = seconds(TIME.value or "")
    if limit is not None and limit <= NOTICE_SECONDS:
        command.fail(
            f"--time={TIME.value} is not allowed: that is {limit} s, and a task is "
            f"told {NOTICE_SECONDS} s before its end to save.",
            2,
        )


def main(line: list[str]) -> int:
    """Submits the command; returns the exit status."""
    refuse_bad_flags(line)
    text = script(line)
    if DRY_RUN.value:
        command.show(text)
        return 0
    path = write(text)
    try:
        done = subprocess.run(
            ["sbatch", "--parsable", str(path)], capture_output=True, text=True
        )
    except FileNotFoundError:
        command.fail(
            "there is no sbatch here: this is no host of a Slurm cluster. --dry_run "
            "prints the script."
        )
    if done.returncode:
        command.fail(f"sbatch refuses {path}: {done.stderr}")
    job = done.stdout.strip().partition(";")[0]
    print(f"Job {job} is queued: {path}, output in {LOGS.value}.")
    return 0


if __name__ == "__main__":
    command.run(main)
