"""SkyPilot reads its files; it has an environment of its own, named by SKY_PYTHON."""

import os
import subprocess
from pathlib import Path

import pytest

FILES = sorted((Path(__file__).parents[2] / "launch" / "sky").glob("*.yaml"))
PYTHON = os.environ.get("SKY_PYTHON")
READ = """
import sys
import sky
task = sky.Task.from_yaml(sys.argv[1])
print(*task.resources)
"""


@pytest.mark.skipif(PYTHON is None, reason="SKY_PYTHON names no Python with SkyPilot")
@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_a_task_is_what_skypilot_takes(path, tmp_path):
    def read(file):
        line = [str(PYTHON), "-c", READ, str(file)]
        home = os.environ | {
            "HOME": str(tmp_path),
            "SKYPILOT_DISABLE_USAGE_COLLECTION": "1",
        }
        return subprocess.run(line, capture_output=True, text=True, env=home)

    done = read(path)
    assert done.returncode == 0, done.stderr
    where = {"tpu": "GCP", "slurm": "Slurm", "kubernetes": "Kubernetes"}
    assert where[path.stem] in done.stdout
    wrong = tmp_path / "wrong.yaml"
    wrong.write_text(path.read_text().replace("accelerators:", "acelerators:"))
    assert read(wrong).returncode != 0


def test_the_programs_of_a_task_are_bash():
    """Everywhere: what YAML folds into `setup` and `run`."""
    assert len(FILES) == 3
    for path in FILES:
        blocks = path.read_text().split("|\n")[1:]
        for block in blocks:
            lines = [line for line in block.splitlines() if line.startswith("  ")]
            subprocess.run(
                ["bash", "-n"], input="\n".join(lines), text=True, check=True
            )
