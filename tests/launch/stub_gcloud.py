"""Stands for gcloud: TPUs whose states are a story, a bucket that is a folder.

$STORY holds `lives.json`, the states that each creation goes through, one a look; and
`bucket`. In the last state of the last life the program has ended.
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
    if verb == "rsync":
        shutil.copytree(*places, dirs_exist_ok=True)
    elif not places[0].exists():
        sys.exit("ERROR: The following URLs matched no objects or files: not found")
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


def log():
    return (STORY / "log.txt").read_text()


def main(words):
    with (STORY / "log.txt").open("a") as file:
        print("gcloud", *words, file=file)
    if words[0] == "storage":
        storage(*words[1:])
    else:
        (verb,) = {"create", "describe", "delete"} & set(words)
        tpu(verb)


if __name__ == "__main__":
    main(sys.argv[1:])
