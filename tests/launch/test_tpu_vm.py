"""TPUs that come and go. No cloud is reachable: gcloud is a stub that tells a story."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from launch import tpu_host

HERE = Path(__file__).parent
WHERE = "--name=gap --zone=us-west4-a --accelerator_type=v5litepod-8 --spot".split()
BUCKET = "--bucket=gs://mine"
QUICK = "--poll_seconds=0.05"


@pytest.fixture
def story(tmp_path):
    """`start(lives, *flags)`: launch.tpu_vm in a clone; `said()`: gcloud's commands."""
    clone, folder, programs = (tmp_path / n for n in ("clone", "story", "bin"))
    for each in (clone, folder, programs):
        each.mkdir()
    stub = programs / "gcloud"
    stub.write_text(f"#!{sys.executable}\n{(HERE / 'stub_gcloud.py').read_text()}")
    stub.chmod(0o755)
    (clone / "pyproject.toml").touch()
    subprocess.run("git init -q && git add .", shell=True, check=True, cwd=clone)
    environment = os.environ | {
        "PATH": f"{programs}:{os.environ['PATH']}",
        "PYTHONPATH": f"{HERE.parents[1]}:{HERE}",
        "STORY": str(folder),
    }

    def start(lives, *line, **more):
        (folder / "lives.json").write_text(json.dumps(lives))
        return subprocess.Popen(
            [sys.executable, "-m", "launch.tpu_vm", *line],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            cwd=clone,
            env=environment | more,
        )

    def said():
        return (folder / "log.txt").read_text().splitlines()

    return start, said, clone, folder


def ended(process):
    """(exit status, what it printed, its errors)."""
    out, errors = process.communicate(timeout=60)
    return process.returncode, out, errors


def verbs(said):
    """What was done to the TPU, without looks."""
    words = ("create", "delete", "rsync")
    found = [word for text in said for word in text.split() if word in words]
    assert all(BUCKET.partition("=")[2] in t or "gap" in t for t in said)
    return found


RUN = ["--", "rendezvous", "--workdir=runs/gap"]
WAITING = ["ACCEPTED", "WAITING_FOR_RESOURCES", "PROVISIONING", "ACTIVE"]


def test_preempted_it_is_deleted_and_created_until_the_program_ends(story):
    start, said, clone, folder = story
    lives = [[*WAITING, "SUSPENDING", "SUSPENDED"], ["FAILED"], [*WAITING, "ACTIVE"]]
    process = start(lives, *WHERE, BUCKET, QUICK, *RUN, STATUS="3")
    status, out, errors = ended(process)
    assert (status, errors) == (3, "")  # the program's own
    assert verbs(said()) == [*["create", "delete"] * 2, "create", "rsync", "delete"]
    told = [line.removeprefix("gap: ") for line in out.splitlines()]
    gone = "does not exist"
    assert told == [gone, *lives[0], gone, "FAILED", gone, *WAITING]
    assert (clone / "runs/gap/summary.json").read_text() == "{}"
    assert (folder / "bucket/mine/gap/code.tar.gz").stat().st_size
    create = next(line for line in said() if " create " in line)
    for option in (
        "compute tpus queued-resources create gap",
        "--node-id=gap",
        "--accelerator-type=v5litepod-8",
        "--runtime-version=v2-alpha-tpuv5-lite",
        "--spot",
        "--metadata-from-file=startup-script=",
    ):
        assert option in create


def test_a_virtual_machine_of_compute_engine(story):
    start, said, _, _ = story
    where = [*WHERE[:2], "--accelerator_type=ct6e-standard-8t", "--spot", "--api=gce"]
    lives = [["PROVISIONING", "RUNNING", "STOPPING", "TERMINATED"], ["RUNNING"]]
    process = start(lives, *where, "--image=family,images", BUCKET, QUICK, *RUN)
    assert ended(process)[0] == 0
    assert verbs(said()) == ["create", "delete", "create", "rsync", "delete"]
    create = next(line for line in said() if " create " in line)
    assert "compute instances create gap" in create
    assert "--machine-type=ct6e-standard-8t" in create
    assert "--provisioning-model=SPOT" in create


def test_a_tpu_that_is_there_is_watched_on(story):
    """As after kill -9 of this launcher."""
    start, said, _, folder = story
    process = start([["PROVISIONING"] * 1000], *WHERE, BUCKET, QUICK, *RUN)
    while not (folder / "life.json").exists():
        assert process.poll() is None
        time.sleep(0.02)
    process.kill()
    ended(process)
    (folder / "life.json").write_text('["ACTIVE"]')
    process = start([["FAILED"]], *WHERE, BUCKET, QUICK, *RUN)
    assert ended(process)[0] == 0
    assert verbs(said()) == ["create", "rsync", "delete"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_interrupted_it_leaves_nothing_that_costs(story, number):
    start, said, _, folder = story
    process = start([["PROVISIONING"]], *WHERE, BUCKET, QUICK, *RUN)
    while "PROVISIONING" not in process.stdout.readline():
        assert process.poll() is None
    process.send_signal(number)
    status, _, errors = ended(process)
    assert status == 130
    assert "interrupted" in errors
    assert verbs(said())[-1] == "delete"
    assert not (folder / "life.json").exists()


def test_what_always_fails_is_given_up(story):
    start, _, _, folder = story
    process = start([["FAILED"]], *WHERE, BUCKET, QUICK, *RUN)
    status, _, errors = ended(process)
    assert status == 1
    assert "error: --name=gap: created 5 times, failed each time." in errors
    assert not (folder / "life.json").exists()


# The first host is told to go, the second one finds what it left.
PROGRAM = """
import pathlib, signal, sys, time
left = pathlib.Path("runs/gap/left")
if left.exists():
    sys.exit(0)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
left.touch()
time.sleep(600)
"""
UV = f"""#!/bin/sh
case "$*" in *"uv venv"*) mkdir -p .venv/bin && ln -sf {sys.executable} .venv/bin;; esac
"""


def test_the_hosts_script_saves_when_told_to_go_and_goes_on_elsewhere(story, tmp_path):
    """The script itself, in bash; without a metadata server, and with no real uv."""
    _, _, clone, folder = story
    for name, text in (("python3", UV), ("curl", "#!/bin/sh\nexit 22\n")):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    (clone / "program.py").write_text(PROGRAM)
    (folder / "lives.json").write_text("[]")
    place = folder / "bucket" / "mine" / "gap"
    (place / "results").mkdir(parents=True)
    subprocess.run(["tar", "czf", place / "code.tar.gz", "program.py"], cwd=clone)
    script = tmp_path / "startup.sh"
    words = ["program", "--workdir=runs/gap"]
    script.write_text(tpu_host.script(words, "gs://mine/gap", "runs/gap"))
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"

    def host(name):
        home = {"ZOO_HOME": str(tmp_path / name), "PATH": path, "STORY": str(folder)}
        return subprocess.Popen(["bash", script], env=os.environ | home)

    first = host("first")
    while not (tmp_path / "first/runs/gap/left").exists():
        assert first.poll() is None
        time.sleep(0.02)
    first.send_signal(signal.SIGTERM)
    first.wait(timeout=60)
    assert (place / "results" / "left").exists()
    assert not (place / "status").exists()
    assert host("second").wait(timeout=60) == 0
    assert (place / "status").read_text() == "0\n"
    assert (place / "log-0.txt").exists()


BAD = {
    "--bucket=mine -- rendezvous --workdir=w": "--bucket=mine is not allowed",
    "-- rendezvous --workdir=w": "bucket",
    f"{BUCKET} -- rendezvous": "--workdir",
    f"{BUCKET} -- rendezvous --workdir=/w": "--workdir",
    f"{BUCKET} --api=gce -- rendezvous --workdir=w": "--image=family,project",
    f"{BUCKET} --api=no -- rendezvous --workdir=w": "--api=no",
}


@pytest.mark.parametrize("line", BAD)
def test_bad_input_is_refused_before_gcloud_is_called(story, line):
    start, _, _, folder = story
    process = start([["ACTIVE"]], *WHERE, *line.split())
    status, _, errors = ended(process)
    assert status in (1, 2)
    assert BAD[line] in errors
    assert len(errors.strip().splitlines()) == 1
    assert not (folder / "log.txt").exists()


def test_a_dry_run_prints_every_command_and_a_script_that_bash_reads(story):
    start, _, clone, folder = story
    process = start([], *WHERE, BUCKET, "--dry_run", *RUN, "--net=a b")
    status, out, _ = ended(process)
    assert status == 0
    assert not (folder / "log.txt").exists()
    assert not (clone / "runs").exists()
    script, _, commands = out.partition("gcloud storage cp code.tar.gz")
    assert ".venv/bin/python -m rendezvous --workdir=runs/gap '--net=a b' &" in script
    subprocess.run(["bash", "-n"], input=script, text=True, check=True)
    done = [line.split()[3:5] for line in commands.splitlines()[1:]]
    assert [" ".join(words) for words in done] == [
        "queued-resources create",
        "queued-resources describe",
        "gs://mine/gap/status --quiet",
        "--recursive gs://mine/gap/results",
        "queued-resources delete",
    ]
