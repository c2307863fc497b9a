"""The same command on a Cloud TPU, created anew for as long as it is preempted.

    python -m launch.tpu_vm --name=gap --zone=us-west4-a --bucket=gs://mine --spot \\
        --accelerator_type=v5litepod-8 -- experiments.lazy_gap --workdir=runs/gap

Stores this folder's tracked files in the bucket, and creates the TPU with a startup
script: every host installs them, takes back what is in the bucket, runs the command,
and stores its results there every minute. So a slice that is created anew goes on by
itself. Watches it until the program ends, deletes the TPU, whatever happens here, and
copies the results.
"""

import contextlib
import shlex
import signal
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import NamedTuple

from absl import flags

from launch import command, tpu_host

NAME = flags.DEFINE_string("name", "", "Of the TPU.")
ZONE = flags.DEFINE_string("zone", "", "Of Google Cloud.")
KIND = flags.DEFINE_string(
    "accelerator_type", "", "As v5litepod-8; a machine type of --api=gce."
)
BUCKET = flags.DEFINE_string("bucket", "", "gs://..., for results.")
SPOT = flags.DEFINE_bool("spot", False, "Cheaper, and may be preempted.")
PROJECT = flags.DEFINE_string("project", None, "Default: gcloud's own.")
VERSION = flags.DEFINE_string("runtime_version", None, "Default: by accelerator type.")
IMAGE = flags.DEFINE_list("image", [], "Family and project of --api=gce's image.")
POLL = flags.DEFINE_float("poll_seconds", 30.0, "Between two looks.", lower_bound=0.0)
DRY_RUN = flags.DEFINE_bool("dry_run", False, "Prints script and commands, and ends.")

VERSIONS = {
    "v5litepod": "v2-alpha-tpuv5-lite",
    "v5p": "v2-alpha-tpuv5",
    "v6e": "v2-alpha-tpuv6e",
}
NEEDED = {
    "name": "what the TPU shall be called",
    "zone": "a zone of Google Cloud, as us-west4-a",
    "accelerator_type": "as v5litepod-8",
    "bucket": "gs://..., where results are kept",
}
FAMILIES = ("v2", "v3", "v4", "v5litepod", "v5p", "v6e")  # of queued resources
PATIENCE = 5  # errors of gcloud, or creations that fail, one after the other
TRIES = 10  # to delete, one a --poll_seconds


class Api(NamedTuple):
    """A way to a TPU: gcloud's group of commands, and the states it reports.

    Attributes:
        group: words before create, describe and delete.
        state: where `describe` has it.
        active: the program runs, or has run.
        lost: preempted; has to be deleted before it is created anew.
        failed: could not be created.
        delete: options.
    """

    group: tuple[str, ...]
    state: str
    active: str
    lost: frozenset[str]
    failed: frozenset[str] = frozenset()
    delete: tuple[str, ...] = ()


APIS = {
    "queued_resources": Api(
        ("compute", "tpus", "queued-resources"),
        "state.state",
        "ACTIVE",
        frozenset({"SUSPENDED"}),
        frozenset({"FAILED"}),
        ("--force",),
    ),
    "gce": Api(
        ("compute", "instances"),
        "status",
        "RUNNING",
        frozenset({"STOPPED", "TERMINATED", "SUSPENDED"}),
    ),
}
API = flags.DEFINE_enum("api", "queued_resources", list(APIS), "v2 to v6e, or newer.")


class GcloudError(Exception):
    """gcloud has failed; the message is its own, in one line."""


def place() -> str:
    """The folder of the bucket."""
    return f"{BUCKET.value.rstrip('/')}/{NAME.value}"


def line(verb: str, *options: str) -> list[str]:
    """A command of gcloud about the TPU."""
    project = [f"--project={PROJECT.value}"] if PROJECT.value else []
    group = APIS[API.value].group
    where = [f"--zone={ZONE.value}", *project, "--quiet"]
    return ["gcloud", *group, verb, NAME.value, *where, *options]


def create(script: Path) -> list[str]:
    """The command that creates it."""
    start = f"--metadata-from-file=startup-script={script}"
    kind = KIND.value
    if API.value == "gce":
        family, project = IMAGE.value
        spot = ["--provisioning-model=SPOT", "--instance-termination-action=STOP"]
        return line(
            "create",
            f"--machine-type={kind}",
            f"--image-family={family}",
            f"--image-project={project}",
            "--maintenance-policy=TERMINATE",
            "--scopes=cloud-platform",
            start,
            *(spot if SPOT.value else []),
        )
    version = VERSION.value or VERSIONS.get(kind.split("-")[0], "tpu-ubuntu2204-base")
    return line(
        "create",
        f"--node-id={NAME.value}",
        f"--accelerator-type={kind}",
        f"--runtime-version={version}",
        "--scopes=https://www.googleapis.com/auth/cloud-platform",
        start,
        *(["--spot"] if SPOT.value else []),
    )


def describe() -> list[str]:
    """The command that prints its state."""
    return line("describe", f"--format=value({APIS[API.value].state})")


def delete() -> list[str]:
    """The command that deletes it."""
    return line("delete", *APIS[API.value].delete)


def storage(*words: str) -> list[str]:
    """A command about the bucket."""
    return ["gcloud", "storage", *words, "--quiet"]


def gcloud(words: list[str]) -> str:
    """What a command prints.

    Raises:
        GcloudError: it fails.
    """
    try:
        done = subprocess.run(words, capture_output=True, text=True)
    except FileNotFoundError:
        raise GcloudError("there is no gcloud here; --dry_run is without") from None
    if done.returncode:
        raise GcloudError(" ".join(done.stderr.split()) or "it does not say why")
    return done.stdout.strip()


def state() -> str:
    """Of the TPU; "" if there is none."""
    try:
        return gcloud(describe())
    except GcloudError as e:
        if absent(e):
            return ""
        raise


def absent(error: GcloudError) -> bool:
    """Whether what a command is about does not exist."""
    said = str(error).lower().replace("_", " ")
    return any(words in said for words in ("not found", "did not find", "matched no"))


def status() -> int | None:
    """The program's exit status on the first host; None while it runs."""
    try:
        return int(gcloud(storage("cat", f"{place()}/status")))
    except GcloudError as e:
        if not absent(e):
            raise
    except ValueError:
        pass  # half of it is there
    return None


def pack(path: Path) -> None:
    """Stores this folder's tracked files, as they are, in an archive."""
    listed = subprocess.run(["git", "ls-files"], capture_output=True, text=True)
    if listed.returncode or not Path("pyproject.toml").exists():
        command.fail("run this in the project's own folder, a clone of git.")
    with tarfile.open(path, "w:gz") as archive:
        for name in listed.stdout.splitlines():
            if Path(name).exists():
                archive.add(name)


def prepare(folder: Path) -> None:
    """Puts the code into the bucket, and takes an earlier run's status out of it."""
    pack(folder / "code.tar.gz")
    gcloud(storage("cp", str(folder / "code.tar.gz"), f"{place()}/code.tar.gz"))
    try:
        gcloud(storage("rm", f"{place()}/status"))
    except GcloudError as e:
        if not absent(e):
            raise


def say(text: object) -> None:
    """One line about the TPU.

    Raises:
        KeyboardInterrupt: nobody reads it any more.
    """
    if not command.show(f"{NAME.value}: {' '.join(str(text).split())}\n"):
        raise KeyboardInterrupt


def watch(script: Path) -> int:
    """Creates the TPU as often as need be; returns the program's exit status.

    Raises:
        GcloudError: `PATIENCE` commands, or creations, have failed one after the other.
    """
    api, before, errors, failures = APIS[API.value], None, 0, 0
    while True:
        try:
            now = state()
            if now != before:
                say(now or "does not exist")
            before = now
            if now in api.failed:
                failures += 1
                if failures == PATIENCE:
                    errors = PATIENCE
                    raise GcloudError(f"created {failures} times, failed each time")
            if now in api.lost | api.failed:
                gcloud(delete())
            elif not now:
                gcloud(create(script))
            elif now == api.active:
                failures = 0
                ended = status()
                if ended is not None:
                    return ended
            errors = 0
        except GcloudError as e:
            errors += 1
            if errors >= PATIENCE:
                raise
            say(f"{e}; tried again")
        time.sleep(POLL.value)


def refuse_bad_flags() -> None:
    """Ends with one line where flags do not make sense."""
    missing = [
        f"--{k}=... ({v})" for k, v in NEEDED.items() if not flags.FLAGS[k].value
    ]
    if missing:
        command.fail(f"missing: {', '.join(missing)}.", 2)
    if not BUCKET.value.startswith("gs://"):
        command.fail(f"--bucket={BUCKET.value} is not allowed: it takes gs://...", 2)
    if API.value == "gce":
        if len(IMAGE.value) != 2:
            command.fail(
                "--api=gce needs --image=family,project: see docs/launch.md.", 2
            )
        return
    family, _, count = KIND.value.partition("-")
    if family not in FAMILIES or not count.isdecimal():
        command.fail(
            f"--accelerator_type={KIND.value} is not allowed: it takes a family and a "
            f"number, as v5litepod-8, of {', '.join(FAMILIES)}; newer ones: --api=gce.",
            2,
        )


def main(words: list[str]) -> int:
    """Runs the command on a TPU; returns its exit status."""
    refuse_bad_flags()
    results = tpu_host.results(words)
    if results is None:
        command.fail("the command needs --workdir=..., a folder below this one.", 2)
    fetch = storage("rsync", "--recursive", f"{place()}/results", results)
    with tempfile.TemporaryDirectory() as folder:
        script = Path(folder) / "startup.sh"
        script.write_text(tpu_host.script(words, place(), results))
        if DRY_RUN.value:
            upload = storage("cp", "code.tar.gz", f"{place()}/code.tar.gz")
            ended = storage("cat", f"{place()}/status")
            lines = (upload, create(script), describe(), ended, delete(), fetch)
            said = [script.read_text(), *map(shlex.join, lines)]
            command.show("\n".join(said) + "\n")
            return 0
        return supervise(Path(folder), fetch, results)


def supervise(folder: Path, fetch: list[str], results: str) -> int:
    """Watches the TPU; deletes it and copies results, however this ends."""
    try:
        Path(results).mkdir(parents=True, exist_ok=True)
        tempfile.TemporaryFile(dir=results).close()
    except OSError as e:
        command.fail(f"--workdir={results} cannot be used here: {e}.")
    command.on_request_to_stop(interrupt)
    try:
        if not state():
            prepare(folder)
        try:
            ended = watch(folder / "startup.sh")
        finally:
            command.on_request_to_stop(signal.SIG_IGN)
            whole = all([tear_down(), copy(fetch)])
    except GcloudError as e:
        command.fail(f"--name={NAME.value}: {e}.")
    except KeyboardInterrupt:
        command.fail("interrupted; the same command goes on from the bucket.", 130)
    return ended if whole else ended or 1


def interrupt(*_: object) -> None:
    """Ends the watch, once: what follows is not to be interrupted."""
    command.on_request_to_stop(signal.SIG_IGN)
    raise KeyboardInterrupt


def tear_down() -> bool:
    """Deletes the TPU; whether it is gone."""
    for again in reversed(range(TRIES)):
        try:
            gcloud(delete())
            return True
        except GcloudError as e:
            if absent(e):
                return True
            complain(f"{NAME.value} is not deleted: {e}")
        if again:
            time.sleep(POLL.value)
    complain(
        f"the TPU {NAME.value} in {ZONE.value} may still be running and cost money; "
        f"delete it with: {shlex.join(delete())}"
    )
    return False


def copy(fetch: list[str]) -> bool:
    """Copies the results that there are; whether that was done.

    After the end: a host that is told to go stores what it has.
    """
    try:
        gcloud(fetch)
    except GcloudError as e:
        if not absent(e):
            complain(f"{shlex.join(fetch)}: {e}")
            return False
    return True


def complain(text: str) -> None:
    """One line of error, if there is still a terminal."""
    with contextlib.suppress(OSError):
        print(f"error: {text}", file=sys.stderr, flush=True)


if __name__ == "__main__":
    command.run(main)
