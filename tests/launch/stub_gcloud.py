"""Stands for gcloud: TPUs whose states are a story, a bucket that is a folder.

$STORY holds `lives.json`, the states that each creation goes through, one a look; and
`bucket`. In the last state of the last life the program has ended. Each line of
`faults` is a verb that fails once.
"""

import json
import os
import shutil
import sys
from pathlib import Path

STORY = Path(os.environ.get("STORY", ""))


def path(word):
    return (
        STORY / "bucket" / word.removeprefix("gs://") if "://" in word else Path(word)
    )


def storage(verb, *words):
    places = [path(word) for word in words if not word.startswith("--")]
    if verb == "rsync" and not places[0].exists():
        sys.exit(f"ERROR: Did not find existing container at: {words[1]}")
    if verb == "rsync":
        shutil.copytree(*places, dirs_exist_ok=True)
    elif not places[0].exists():
        sys.exit(f"ERROR: The following URLs matched no objects or files:\n{words[0]}")
    elif verb == "cp":
        places[1].parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(*places)
    elif verb == "cat":
        print(places[0].read_text())
    else:
        places[0].unlink()


def tpu(verb):
    life = STORY / "life.json"
    if verb == "create":
        assert not life.exists(), "it exists already"
        number = sum(" create " in line for line in log().splitlines()) - 1
        lives = json.loads((STORY / "lives.json").read_text())
        life.write_text(json.dumps(lives[min(number, len(lives) - 1)]))
    elif not life.exists():
        sys.exit("ERROR: NOT_FOUND: Resource 'tpu' was not found")
    elif verb == "delete":
        life.unlink()
    else:
        states = json.loads(life.read_text())
        print(states[0])
        life.write_text(json.dumps(states[1:] or states))
        if len(states) == 1 and states[0] in ("ACTIVE", "RUNNING"):
            end()


def end():
    results = STORY / "bucket" / "mine" / "gap" / "results"
    results.mkdir(parents=True, exist_ok=True)
    (results / "summary.json").write_text("{}")
    (results.parent / "status").write_text(os.environ.get("STATUS", "0"))


def fail(words):
    """As where the network is gone, if that is what the story tells."""
    faults = STORY / "faults"
    left = faults.read_text().split() if faults.exists() else []
    for verb in set(left) & set(words):
        left.remove(verb)
        faults.write_text("\n".join(left))
        sys.exit("ERROR: There was a problem refreshing your auth tokens:\ntimed out")


def log():
    return (STORY / "log.txt").read_text()


def main(words):
    with (STORY / "log.txt").open("a") as file:
        print("gcloud", *words, file=file)
    fail(words[1:])
    if words[0] == "storage":
        storage(*words[1:])
    else:
        (verb,) = {"create", "describe", "delete"} & set(words)
        tpu(verb)


if __name__ == "__main__":
    main(sys.argv[1:])
