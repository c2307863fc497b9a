"""Jobs of a real Slurm, on two nodes of this machine."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

HERE = Path(__file__).parent


def launch(environment, *line, cwd=None):
    return subprocess.run(
        [sys.executable, "-m", "launch.slurm", *line],
        capture_output=True,
        text=True,
        env={**environment, "PYTHONPATH": f"{HERE.parents[1]}:{HERE}"},
        cwd=cwd,
    )


def submit(environment, *line, cwd=None):
    """The number of the job that launch.slurm queues."""
    done = launch(environment, *line, cwd=cwd)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()[1]


def states(environment, job):
    """Of a job's tasks that have not been forgotten: {number: state and reason}."""
    line = ["squeue", "--noheader", "--states=all", "--array", "--format=%i %T %r"]
    said = subprocess.run(
        [*line, f"--jobs={job}"], env=environment, capture_output=True, text=True
    )
    return {row.split()[0]: row.split()[1:] for row in said.stdout.splitlines()}


def await_end(environment, job, logs):
    """Returns once all tasks are completed.

    One that was queued again would wait for two minutes. It waits for seconds instead:
    a node refuses what was taken from it within the second.
    """
    hastened = set()
    for _ in range(600):
        found = states(environment, job)
        if {state for state, _ in found.values()} == {"COMPLETED"}:
            return
        for task, (state, reason) in found.items():
            assert state not in ("FAILED", "CANCELLED", "TIMEOUT"), read(logs)
            if reason == "BeginTime" and task not in hastened:
                hastened.add(task)
                start = ["scontrol", "update", f"JobId={task}", "StartTime=now+3"]
                subprocess.run(start, env=environment, check=True)
        time.sleep(0.2)
    pytest.fail(f"{found}: {read(logs)}")


def restarts(environment, job):
    """How often each of the two tasks of an array was queued again."""
    line = ["scontrol", "show", "job", job]
    done = subprocess.run(line, env=environment, capture_output=True, text=True)
    return [int(count) for count in re.findall(r"Restarts=(\d+)", done.stdout)]


def read(logs):
    """All output of all tasks."""
    return "\n".join(path.read_text() for path in sorted(logs.glob("*.txt")))


@pytest.mark.slow
def test_processes_on_two_nodes_are_one_run(slurm, tmp_path):
    job = submit(slurm, "--nodes=2", f"--logs={tmp_path}", "--", "rendezvous")
    await_end(slurm, job, tmp_path)
    said = read(tmp_path)
    assert "process 0 of 2: sum 2" in said
    assert "process 1 of 2: sum 2" in said


@pytest.mark.slow
def test_an_array_of_shards_completes_a_sweep(slurm, tmp_path, sweep):
    (line, check), workdir = sweep, tmp_path / "run"
    where = ["--array=2", f"--logs={tmp_path}"]
    job = submit(slurm, *where, "--", *line, f"--workdir={workdir}")
    await_end(slurm, job, tmp_path)
    check(workdir)
    said = [path.read_text() for path in sorted(tmp_path.glob("*.txt"))]
    measured = [len(re.findall(r"mlp-\S+: [\d.]+ s", text)) for text in said]
    assert len(measured) == 2
    assert sum(measured) == 6  # a task that begins late is helped by the other one
    assert min(measured) >= 1


@pytest.mark.slow
def test_preempted_requeued_and_resumed_it_is_the_same_sweep(slurm, tmp_path, sweep):
    """A job of higher priority takes both nodes in the middle of the sweep."""
    (line, check), workdir = sweep, tmp_path / "run"
    where = ["--array=2", f"--logs={tmp_path}"]
    job = submit(slurm, *where, "--", *line, f"--workdir={workdir}")
    while not list(workdir.glob("cells/*/run.json")):
        assert all(s in ("PENDING", "RUNNING") for s, _ in states(slurm, job).values())
        time.sleep(0.05)
    urgent = ["srun", "--partition=high", "--nodes=2", "--exclusive", "true"]
    subprocess.run(urgent, env=slurm, check=True, timeout=60)
    await_end(slurm, job, tmp_path)
    check(workdir)
    said = read(tmp_path)
    assert said.count("error: preempted; the same command") == 2
    # Where GraceTime is over before the script says so, Slurm queues the task itself.
    assert said.count(" is queued again") >= 1
    assert "on disk" in said
    assert restarts(slurm, job) == [1, 1]


@pytest.mark.slow
def test_a_task_that_is_queued_again_leaves_the_others_alone(slurm, tmp_path):
    """Even the one whose job number is that of the array; in a folder of any name."""
    folder = tmp_path / "John's runs"
    folder.mkdir()
    job = submit(slurm, "--array=2", "--logs=logs", "--", "again", cwd=folder)
    await_end(slurm, job, folder / "logs")
    assert sorted(restarts(slurm, job)) == [0, 1]
    assert read(folder / "logs").count(f"in {folder}") == 3


@pytest.mark.slow
def test_a_task_that_is_cancelled_is_not_queued_again(slurm, tmp_path):
    """Its program ends with 75, like one that is preempted."""
    job = submit(slurm, f"--logs={tmp_path}", "--", "patient")
    while "waiting" not in read(tmp_path):
        time.sleep(0.05)
    subprocess.run(["scancel", job], env=slurm, check=True)
    while states(slurm, job).get(job, ["GONE"])[0] in ("RUNNING", "COMPLETING"):
        time.sleep(0.1)
    assert "got SIGTERM" in read(tmp_path)
    assert states(slurm, job)[job][0] == "CANCELLED"
    assert restarts(slurm, job) == [0]


BAD = {
    "--array=2 --nodes=2 -- rendezvous": "--array=2 and --nodes=2",
    "--array=2 -- rendezvous --shard=0/2": "--array=2 and --shard=0/2",
    "--array=2 -- rendezvous --shard 0/2": "--array=2 and --shard",
    "--array=0 -- rendezvous": "--array=0",
    "-- rendevous": "no module 'rendevous'",
    "--script=/proc/x.sh -- rendezvous": "/proc/x.sh",
    "--partition=none -- rendezvous": "invalid partition",
    "--time=2 -- rendezvous": "--time=2 is not allowed: that is 120 s",
    "--time=1:59 -- rendezvous": "--time=1:59 is not allowed: that is 119 s",
    "--time=0-0:1 -- rendezvous": "--time=0-0:1 is not allowed: that is 60 s",
}


@pytest.mark.parametrize("line", BAD)
def test_bad_input_of_a_job_is_one_line(slurm, line, tmp_path):
    done = launch(slurm, f"--logs={tmp_path}", *line.split())
    assert done.returncode in (1, 2)
    assert BAD[line] in done.stderr
    assert len(done.stderr.strip().splitlines()) == 1


def test_times_are_read_as_slurm_reads_them():
    line = [sys.executable, "-m", "doctest", "-v", "launch/slurm.py"]
    done = subprocess.run(line, capture_output=True, text=True, cwd=HERE.parents[1])
    assert (done.returncode, done.stderr) == (0, "")
    assert "1 passed" in done.stdout


def test_options_may_hold_spaces(slurm, tmp_path):
    options = [
        f"--logs={tmp_path}",
        "--sbatch=--hold",
        "--sbatch=--job-name=John's run",
    ]
    job = submit(slurm, *options, "--", "rendezvous")
    line = ["scontrol", "show", "job", job]
    done = subprocess.run(line, env=slurm, capture_output=True, text=True)
    subprocess.run(["scancel", job], env=slurm, check=True)
    assert "JobName=John's run\n" in done.stdout
    done = launch(slurm, "--dry_run", "--partition=a b", "--", "rendezvous")
    assert "#SBATCH '--partition=a b'\n" in done.stdout


def test_nobody_reads_the_script():
    line = [sys.executable, "-m", "launch.slurm", "--dry_run", "--", "launch.local"]
    with subprocess.Popen(
        line, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=HERE.parents[1]
    ) as process:
        process.stdout.close()
        assert (process.stderr.read(), process.wait()) == (b"", 0)


def test_the_script_can_be_seen_first(tmp_path):
    """Without a Slurm: what is in it is what a site's manual is about."""
    options = "--dry_run --array=3 --time=1:00:00 --sbatch=--account=me --setup=true"
    done = launch(os.environ, *options.split(), "--", "rendezvous", "--how=a b")
    assert done.returncode == 0
    said = done.stdout.splitlines()
    for option in (
        "--array=0-2",
        "--time=1:00:00",
        "--account=me",
        "--signal=TERM@120",
        "--requeue",
        "--open-mode=append",
    ):
        assert f"#SBATCH {option}" in said
    program = f"{sys.executable} -m rendezvous '--how=a b'"
    assert said.index("true") < said.index(f"srun --kill-on-bad-exit=0 {program}")
    absent = launch(
        {"PATH": "", "HOME": str(tmp_path)}, f"--logs={tmp_path}", "--", "rendezvous"
    )
    assert absent.stderr.startswith("error: there is no sbatch here")
