"""What every host of a TPU does at each start: install, go on, store."""

import shlex
from itertools import pairwise
from pathlib import PurePosixPath

# As root, by the image's own service, which sends SIGTERM before the host goes: the
# program then saves, and what it saved is stored. Python comes by uv, since the images'
# own is too old.
SCRIPT = """#!/usr/bin/env bash
set -uo pipefail
place={place}
results={results}
attributes=metadata.google.internal/computeMetadata/v1/instance/attributes
host=$(curl -sf -H Metadata-Flavor:Google "$attributes/agent-worker-number" || echo 0)
home=${{ZOO_HOME:-/opt/zoo}}
mkdir -p "$home" && cd "$home" || exit
exec > >(tee -a "log-$host.txt") 2>&1
store() {{
    gcloud storage rsync --recursive "$results" "$place/results" --quiet
    gcloud storage cp "log-$host.txt" "$place/log-$host.txt" --quiet
}}
end() {{
    store
    echo "$1" > status
    if [ "$host" -eq 0 ]; then gcloud storage cp status "$place/status" --quiet; fi
    exit "$1"
}}
install() {{
    gcloud storage cp "$place/code.tar.gz" . --quiet && tar xzf code.tar.gz &&
        python3 -m pip install --quiet uv &&
        python3 -m uv venv --quiet --clear --python 3.12 .venv &&
        python3 -m uv pip install --quiet --python .venv \\
            --constraint constraints/python3.12.txt --editable '.[tpu]'
}}
mkdir -p "$results"
install || end 1
gcloud storage rsync --recursive "$place/results" "$results" --quiet
{program} &
program=$!
told=
trap 'told=1; kill -TERM "$program"' TERM
while kill -0 "$program" 2> /dev/null; do
    sleep 60 > /dev/null 2>&1 &
    wait -n "$program" $! # a signal ends this too
    store
done
wait "$program"
status=$?
# This host is being taken away; its successor goes on.
if [ "$status" -eq {again} ] || [ "$status" -ne 0 -a -n "$told" ]; then store; exit; fi
end "$status"
"""


def results(words: list[str]) -> str | None:
    """The command's --workdir, if it is one below the current folder."""
    split = [w for word in words for w in word.split("=", 1)] + [""]
    given = [after for word, after in pairwise(split) if word == "--workdir"]
    if not given or not given[-1]:
        return None
    path = PurePosixPath(given[-1])
    below = path.parts and not path.is_absolute() and ".." not in path.parts
    return str(path) if below else None


def script(words: list[str], place: str, results: str, again: int = 75) -> str:
    """The startup script that runs a module with its flags.

    Args:
        words: the module and its flags.
        place: folder of the bucket.
        results: folder that is kept there.
        again: the exit status that means: run me again.
    """
    return SCRIPT.format(
        place=shlex.quote(place),
        results=shlex.quote(results),
        program=shlex.join([".venv/bin/python", "-m", *words]),
        again=again,
    )
