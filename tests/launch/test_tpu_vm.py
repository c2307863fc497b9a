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
    out, errors = process.communicate(timeout=30)
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
    earlier = folder / "bucket/mine/gap/status"
    earlier.parent.mkdir(parents=True)
    earlier.write_text("7")
    lives = [[*WAITING, "SUSPENDING", "SUSPENDED"], ["FAILED"], [*WAITING, "ACTIVE"]]
    process = start(lives, *WHERE, BUCKET, QUICK, *RUN, STATUS="3")
    status, out, errors = ended(process)
    assert (status, errors) == (3, "")  # the program's own
    assert verbs(said()) == [*["create", "delete"] * 2, "create", "delete", "rsync"]
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
    assert verbs(said()) == ["create", "delete", "create", "delete", "rsync"]
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
    assert verbs(said()) == ["create", "delete", "rsync"]


STOPS = {
    "SIGTERM": lambda process: process.send_signal(signal.SIGTERM),
    "Ctrl-C": lambda process: process.send_signal(signal.SIGINT),
    "a closed terminal": lambda process: process.send_signal(signal.SIGHUP),
    "nobody reads on": lambda process: process.stdout.close(),
}


@pytest.mark.parametrize("how", STOPS)
def test_stopped_it_leaves_nothing_that_costs(story, how):
    start, said, _, folder = story
    lives = [["PROVISIONING", *["CREATING", "ACCEPTED"] * 100]]
    process = start(lives, *WHERE, BUCKET, QUICK, *RUN)
    while "PROVISIONING" not in process.stdout.readline():
        assert process.poll() is None
    STOPS[how](process)
    status, _, errors = ended(process)
    assert status == 130
    assert errors.startswith("error: interrupted")
    assert len(errors.splitlines()) == 1
    assert verbs(said())[-2:] == ["delete", "rsync"]
    assert not (folder / "life.json").exists()


def test_errors_of_gcloud_are_outlived(story):
    start, said, clone, folder = story
    faults = ["create", "cat"] * 4 + ["delete"] * 9
    (folder / "faults").write_text("\n".join(faults))
    process = start([["ACTIVE"] * 2], *WHERE, BUCKET, QUICK, *RUN)
    status, out, errors = ended(process)
    assert status == 0
    assert out.count("timed out; tried again") == 8
    assert errors.count("error: gap is not deleted: ERROR") == 9
    assert verbs(said()) == [*["create"] * 5, *["delete"] * 10, "rsync"]
    assert (clone / "runs/gap/summary.json").exists()


def test_what_cannot_be_deleted_is_said(story):
    start, _, clone, folder = story
    (folder / "faults").write_text("delete\n" * 99)
    status, _, errors = ended(start([["ACTIVE"]], *WHERE, BUCKET, QUICK, *RUN))
    assert status == 1
    assert errors.splitlines()[-1] == (
        "error: the TPU gap in us-west4-a may still be running and cost money; delete "
        "it with: gcloud compute tpus queued-resources delete gap --zone=us-west4-a "
        "--quiet --force"
    )
    assert (clone / "runs/gap/summary.json").exists()


def test_what_always_fails_is_given_up(story):
    start, _, _, folder = story
    process = start([["FAILED"]], *WHERE, BUCKET, QUICK, *RUN)
    status, _, errors = ended(process)
    assert status == 1
    assert "error: --name=gap: created 5 times, failed each time." in errors
    assert not (folder / "life.json").exists()


# The first two hosts are told to go, the one after them finds what they left.
PROGRAM = """
import pathlib, signal, sys, time
left = pathlib.Path("runs/gap/left")
if (left / "saved").exists():
    sys.exit(3)
signal.signal(signal.SIGTERM, lambda *_: sys.exit(75))
if left.exists():
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    (left / "saved").touch()
left.mkdir(exist_ok=True)
time.sleep(60)
"""
STUBS = {  # of what an image has; minutes are short
    "python3": f"""case "$*" in
        *"uv venv"*) mkdir -p .venv/bin && ln -sf {sys.executable} .venv/bin;;
    esac""",
    "curl": 'if [ -n "$NUMBER" ]; then echo "$NUMBER"; else exit 22; fi',
    "sleep": '[ "$1" = 60 ] && set -- 0.2; exec /bin/sleep "$@"',
}


@pytest.fixture
def host(story, tmp_path):
    """`host(name, number)`: the script itself, in bash, on another new host."""
    _, _, clone, folder = story
    for name, text in STUBS.items():
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{text}\n")
        (tmp_path / "bin" / name).chmod(0o755)
    (clone / "program.py").write_text(PROGRAM)
    place = folder / "bucket" / "mine" / "gap"
    (place / "results").mkdir(parents=True)
    subprocess.run(["tar", "czf", place / "code.tar.gz", "program.py"], cwd=clone)
    script = tmp_path / "startup.sh"
    words = ["program", "--workdir", "runs/gap"]
    script.write_text(tpu_host.script(words, "gs://mine/gap", "runs/gap"))
    path = f"{tmp_path / 'bin'}:{os.environ['PATH']}"

    def start(name, number=""):
        home = {"ZOO_HOME": str(tmp_path / name), "PATH": path, "STORY": str(folder)}
        environment = os.environ | home | {"NUMBER": number}
        return subprocess.Popen(["bash", script], env=environment)

    return start, place


def test_the_hosts_script_saves_when_told_to_go_and_goes_on_elsewhere(host):
    """One that saves, and one that has no time to: it only began."""
    start, place = host
    for name, stored in (("first", "left"), ("second", "left/saved")):
        going, until = start(name), time.monotonic() + 30
        while not (place / "results" / stored).exists():  # within the minute
            assert going.poll() is None
            assert time.monotonic() < until
            time.sleep(0.02)
        going.send_signal(signal.SIGTERM)
        assert going.wait(timeout=60) == 0
        assert not (place / "status").exists()
    assert start("another", "1").wait(timeout=60) == 3
    assert (place / "log-1.txt").exists()
    assert not (place / "status").exists()  # the first host tells
    assert start("third", "0").wait(timeout=60) == 3
    assert (place / "status").read_text() == "3\n"
    assert (place / "log-0.txt").exists()


WORKDIRS = {
    "--workdir=runs/gap": "runs/gap",
    "--workdir runs/gap": "runs/gap",
    "--workdir=a --net=b --workdir=c": "c",
    "--workdir": None,
    "--workdir=": None,
    "--workdir=../a": None,
    "--workdir=.": None,
    "--workdir=./": None,
    "--workdir=./runs/": "runs",
}


@pytest.mark.parametrize("words", WORKDIRS)
def test_the_commands_folder(words):
    assert tpu_host.results(["rendezvous", *words.split()]) == WORKDIRS[words]


BAD = {
    "--bucket=mine -- rendezvous --workdir=w": "--bucket=mine is not allowed",
    "-- rendezvous --workdir=w": "missing: --bucket=... (gs://..., where results",
    f"{BUCKET} -- rendezvous --workdir=pyproject.toml/w": "pyproject.toml/w cannot be",
    f"{BUCKET} --accelerator_type=nonsense-99 -- rendezvous --workdir=w": "v5litepod",
    f"{BUCKET} -- rendezvous": "--workdir",
    f"{BUCKET} -- rendezvous --workdir=/w": "--workdir",
    f"{BUCKET} --api=gce -- rendezvous --workdir=w": "--image=family,project",
    f"{BUCKET} --api=no -- rendezvous --workdir=w": "--api=no",
}


@pytest.mark.parametrize("line", BAD)
def test_bad_input_is_refused_before_gcloud_is_called(story, line):
    start, _, _, folder = story
    process = start([["ACTIVE"]], *WHERE, QUICK, *line.split())
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
        "queued-resources delete",
        "--recursive gs://mine/gap/results",
    ]


def test_nobody_reads_a_dry_run(story):
    start = story[0]
    process = start([], *WHERE, BUCKET, "--dry_run", *RUN)
    process.stdout.close()
    status, _, errors = ended(process)
    assert (status, errors) == (0, "")
