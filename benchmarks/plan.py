"""A plan beside what then happens: `python -m benchmarks.plan`.

Both in fresh processes, so that nothing is compiled already.
"""

import json
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from absl import app, flags

ARGS = flags.DEFINE_list(
    "args",
    ["--widths=128,256,512,1024", "--seeds=4", "--steps=500"],
    "Flags of experiments.lazy_gap.",
)
UNITS = {"s": 1, "min": 60, "h": 3600}


def run(*options: str) -> tuple[str, float]:
    """What a run prints, and its seconds."""
    command = [sys.executable, "-m", "experiments.lazy_gap", *ARGS.value, *options]
    began = time.monotonic()
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return done.stdout, time.monotonic() - began


def main(_) -> None:
    said, _ = run("--plan")
    amount, unit = re.search(r"In all ([\d.e+]+) (\w+)", said).groups()
    planned = float(amount) * UNITS[unit]
    with tempfile.TemporaryDirectory() as workdir:
        _, whole = run(f"--workdir={workdir}")
        summary = json.loads((Path(workdir) / "summary.json").read_text())
    cells = summary["seconds"]
    print(said)
    print(f"planned {planned:.1f} s, cells {cells:.1f} s, program {whole:.1f} s")


if __name__ == "__main__":
    app.run(main)
